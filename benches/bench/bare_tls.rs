//! The bare limit under TLS: the loop of [`crate::bare`] after AUTH TLS. One context for all, tickets, records
//! gathered into one send, a flight read at once: what is left is the work of OpenSSL and of the kernel.

use crate::Result;
use crate::bare::{canned, listen};
use openssl::ssl::{Ssl, SslContext, SslFiletype, SslMethod, SslMode, SslStream, SslVerifyMode};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

/// What a handshake needs.
#[derive(Clone)]
pub struct Acceptor(SslContext);

impl Acceptor {
    /// With certificate and key from one PEM file.
    pub fn new(both: &Path) -> Result<Acceptor> {
        let mut builder = SslContext::builder(SslMethod::tls_server())?;
        builder.set_verify(SslVerifyMode::NONE);
        builder.set_mode(SslMode::AUTO_RETRY);
        builder.set_certificate_file(both, SslFiletype::PEM)?;
        builder.set_private_key_file(both, SslFiletype::PEM)?;
        Ok(Acceptor(builder.build()))
    }

    /// Makes the server's handshake on `socket`. On a data connection a client that only uploads reads no ticket, and
    /// resets the connection when it closes before it has.
    fn accept(&self, socket: TcpStream, tickets: usize) -> Result<Line> {
        let gathered = Gathered {
            socket,
            input: vec![0; RECORD / 2],
            start: 0,
            end: 0,
            output: Vec::new(),
        };
        let mut ssl = Ssl::new(&self.0)?;
        ssl.set_num_tickets(tickets)?;
        let mut stream = SslStream::new(ssl, gathered)?;
        stream.accept()?;
        Ok(Line(stream))
    }
}

/// Bytes of a transfer that go at once.
const BLOCK: usize = 256 << 10;

/// Greets, waits for AUTH TLS and serves `home` until the client has gone.
pub fn session(mut socket: TcpStream, home: &Path, acceptor: &Acceptor) -> Result<()> {
    socket.set_nodelay(true)?;
    socket.write_all(b"220 bare\r\n")?;
    let mut auth = [0; 64];
    if !socket
        .read(&mut auth)
        .map(|count| auth[..count].starts_with(b"AUTH"))?
    {
        return Ok(());
    }
    socket.write_all(b"234 Go\r\n")?;
    let mut random = u64::from(socket.peer_addr()?.port()) << 20;
    let mut control = BufReader::new(acceptor.accept(socket, 1)?);
    let mut passive: Option<TcpListener> = None;
    let mut line = String::new();
    while control.read_line(&mut line)? > 0 {
        let (verb, argument) = line
            .trim_end()
            .split_once(' ')
            .unwrap_or((line.trim_end(), ""));
        let answer = control.get_mut();
        match verb {
            "EPSV" => {
                let (listener, port) = listen(&mut random)?;
                write!(answer, "229 Extended passive (|||{port}|)\r\n")?;
                passive = Some(listener);
            }
            "RETR" | "STOR" => {
                let path = home.join(argument);
                let file = match verb {
                    "RETR" => File::open(path)?,
                    _ => File::create(path)?,
                };
                let (data, _) = passive.take().ok_or("no EPSV")?.accept()?;
                answer.write_all(b"150 Go\r\n")?;
                answer.send()?;
                let data = acceptor.accept(data, 0)?;
                match verb {
                    "RETR" => retrieve(data, file)?,
                    _ => store(data, file)?,
                }
                answer.write_all(b"226 Done\r\n")?;
            }
            _ => answer.write_all(canned(verb))?,
        }
        answer.send()?;
        line.clear();
    }
    Ok(())
}

fn retrieve(mut data: Line, mut file: File) -> Result<()> {
    let length = file.metadata()?.len();
    let mut buffer = vec![0; BLOCK.min(length as usize)];
    let mut left = length;
    while left > 0 {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Err("the file became shorter".into());
        }
        data.write_all(&buffer[..count])?;
        left -= count as u64;
    }
    data.end()
}

fn store(mut data: Line, mut file: File) -> Result<()> {
    let mut buffer = vec![0; RECORD];
    loop {
        match data.read(&mut buffer)? {
            0 => return data.end(),
            count => file.write_all(&buffer[..count])?,
        }
    }
}

/// The most that a record holds, and a read gives.
const RECORD: usize = 16 << 10;

/// A connection under TLS. Writes leave with [`Line::send`] or [`Line::end`], or when 256 KiB have come together.
struct Line(SslStream<Gathered>);

impl Line {
    /// Sends what was written.
    fn send(&mut self) -> Result<()> {
        Ok(self.0.get_mut().flush()?)
    }

    /// Sends what was written, and close_notify with it.
    fn end(&mut self) -> Result<()> {
        self.0.shutdown()?;
        self.send()
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Line {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        if self.0.get_ref().output.len() >= BLOCK {
            self.0.get_mut().flush()?;
        }
        self.0.write(data)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.get_mut().flush()
    }
}

struct Gathered {
    socket: TcpStream,
    input: Vec<u8>,
    start: usize,
    end: usize,
    output: Vec<u8>,
}

impl Read for Gathered {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.start == self.end {
            if self.start == self.input.len() {
                // Data flow.
                self.input.resize(4 * RECORD, 0);
            }
            self.start = 0;
            self.end = self.socket.read(&mut self.input)?;
        }
        let count = buffer.len().min(self.end - self.start);
        buffer[..count].copy_from_slice(&self.input[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }
}

impl Write for Gathered {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.output.extend_from_slice(data);
        Ok(data.len())
    }

    /// OpenSSL asks for it at the end of a flight.
    fn flush(&mut self) -> std::io::Result<()> {
        self.socket.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }
}
