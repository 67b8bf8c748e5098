//! The load generator's FTP client: blocking, cheap, strict about replies.

use crate::Result;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// No answer within this time fails the row.
const DEADLINE: Duration = Duration::from_secs(60);

/// A control connection.
pub struct Client {
    stream: Wire,
    #[cfg(feature = "ftps")]
    tls: Option<crate::tls::Tls>,
    buffer: Vec<u8>,
    start: usize,
}

impl Client {
    /// Connects and takes the greeting.
    pub fn connect(port: u16) -> Result<Client> {
        let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let mut client = Client {
            stream: Wire::Plain(stream),
            #[cfg(feature = "ftps")]
            tls: None,
            buffer: Vec::with_capacity(4096),
            start: 0,
        };
        client.expect(220)?;
        Ok(client)
    }

    /// Logs in and sets TYPE I.
    pub fn login(&mut self, user: &str, password: &str) -> Result<()> {
        self.send(&format!("USER {user}\r\n"))?;
        if self.reply()? == 331 {
            self.send(&format!("PASS {password}\r\n"))?;
            self.expect(230)?;
        }
        Ok(())
    }

    /// A session of the named user, in TYPE I.
    pub fn session(port: u16) -> Result<Client> {
        let mut client = Client::connect(port)?;
        client.login(crate::isolate::USER, crate::isolate::PASSWORD)?;
        client.command("TYPE I", 200)?;
        Ok(client)
    }

    /// A session of the named user with AUTH TLS and PROT P, in TYPE I.
    #[cfg(feature = "ftps")]
    pub fn secure_session(port: u16, manner: crate::tls::Manner) -> Result<Client> {
        let mut client = Client::connect(port)?;
        client.command("AUTH TLS", 234)?;
        let Wire::Plain(stream) = client.stream else {
            return Err("already under TLS".into());
        };
        let (tls, stream) = crate::tls::Tls::control(stream, manner)?;
        client.stream = Wire::Tls(Box::new(stream));
        client.tls = Some(tls);
        client.command("PBSZ 0", 200)?;
        client.command("PROT P", 200)?;
        client.login(crate::isolate::USER, crate::isolate::PASSWORD)?;
        client.command("TYPE I", 200)?;
        Ok(client)
    }

    /// How many data connections so far resumed a session.
    #[cfg(feature = "ftps")]
    pub fn resumed(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.resumed)
    }

    /// Puts a data connection under TLS when the session is.
    pub fn protect(&mut self, data: TcpStream) -> Result<Wire> {
        #[cfg(feature = "ftps")]
        if let Some(tls) = &mut self.tls {
            return Ok(Wire::Tls(Box::new(tls.data(data)?)));
        }
        Ok(Wire::Plain(data))
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.stream.write_all(text.as_bytes())?)
    }

    /// Sends one command and requires the code of its reply.
    pub fn command(&mut self, line: &str, code: u16) -> Result<()> {
        self.send(&format!("{line}\r\n"))?;
        self.expect(code)
            .map_err(|error| format!("{line}: {error}").into())
    }

    /// Takes one reply and requires its code.
    pub fn expect(&mut self, code: u16) -> Result<()> {
        let line = self.reply_line()?;
        if line.starts_with(&code.to_string()) {
            Ok(())
        } else {
            Err(format!("wanted {code}, got {line}").into())
        }
    }

    /// Takes one reply and returns its code.
    pub fn reply(&mut self) -> Result<u16> {
        Ok(self.reply_line()?.get(..3).unwrap_or_default().parse()?)
    }

    /// Takes one reply, however many lines it has, and returns its last line.
    pub fn reply_line(&mut self) -> Result<String> {
        let mut multi: Option<String> = None;
        loop {
            let line = self.line()?;
            let code = line.get(..3).unwrap_or_default().to_owned();
            match (&multi, line.as_bytes().get(3)) {
                (None, Some(b'-')) => multi = Some(code),
                (None, _) => return Ok(line),
                (Some(first), Some(b' ')) if *first == code => return Ok(line),
                _ => {}
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        loop {
            let waiting = &self.buffer[self.start..];
            if let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&waiting[..end])
                    .trim_end()
                    .to_owned();
                self.start += end + 1;
                return Ok(line);
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let mut more = [0; 4096];
            let count = self.stream.read(&mut more)?;
            if count == 0 {
                return Err("the server closed the control connection".into());
            }
            self.buffer.extend_from_slice(&more[..count]);
        }
    }

    /// Opens a data connection with EPSV.
    pub fn passive(&mut self) -> Result<TcpStream> {
        self.send("EPSV\r\n")?;
        let line = self.reply_line()?;
        let port = line
            .split_once("(|||")
            .and_then(|(_, rest)| rest.split_once('|'))
            .and_then(|(port, _)| port.parse::<u16>().ok())
            .ok_or_else(|| format!("EPSV: {line}"))?;
        let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(stream)
    }

    /// Runs a command that sends data to us and throws the data away; returns its length.
    pub fn fetch(&mut self, line: &str) -> Result<u64> {
        let data = self.passive()?;
        self.send(&format!("{line}\r\n"))?;
        self.preliminary(line)?;
        let length = self.protect(data)?.discard()?;
        self.expect(226)
            .map_err(|error| format!("{line}: {error}"))?;
        Ok(length)
    }

    /// Runs a command that takes data and sends `length` bytes of `source`, again and again from its start.
    pub fn store(&mut self, line: &str, source: &Source, length: u64) -> Result<()> {
        let data = self.passive()?;
        self.send(&format!("{line}\r\n"))?;
        self.preliminary(line)?;
        source.send(self.protect(data)?, length)?;
        self.expect(226)
            .map_err(|error| format!("{line}: {error}").into())
    }

    /// Takes the 125 or 150 of a transfer.
    pub fn preliminary(&mut self, line: &str) -> Result<()> {
        let reply = self.reply_line()?;
        if reply.starts_with("150") || reply.starts_with("125") {
            Ok(())
        } else {
            Err(format!("{line}: {reply}").into())
        }
    }

    /// Says QUIT and waits for the end.
    pub fn quit(mut self) -> Result<()> {
        self.send("QUIT\r\n")?;
        let mut rest = [0; 512];
        while self.stream.read(&mut rest)? > 0 {}
        Ok(())
    }
}

/// A connection, with or without TLS.
pub enum Wire {
    /// Bytes as they are.
    Plain(TcpStream),
    /// Under TLS.
    #[cfg(feature = "ftps")]
    Tls(Box<openssl::ssl::SslStream<TcpStream>>),
}

impl Wire {
    /// Takes everything until the end and returns its length. Without TLS nothing is copied into this process
    /// (MSG_TRUNC), so that the measured server is not held back by its client.
    pub fn discard(&mut self) -> Result<u64> {
        let mut buffer = vec![0u8; 256 << 10];
        let mut total = 0;
        loop {
            let count = match self {
                Wire::Plain(stream) => {
                    match rustix::net::recv(
                        stream,
                        buffer.as_mut_slice(),
                        rustix::net::RecvFlags::TRUNC,
                    ) {
                        Ok((_, count)) => count,
                        Err(rustix::io::Errno::INTR) => continue,
                        Err(error) => return Err(error.into()),
                    }
                }
                #[cfg(feature = "ftps")]
                Wire::Tls(stream) => stream.read(&mut buffer)?,
            };
            if count == 0 {
                self.finish();
                return Ok(total);
            }
            total += count as u64;
        }
    }

    /// Says close_notify under TLS; closing the socket is left to drop.
    fn finish(&mut self) {
        match self {
            Wire::Plain(_) => {}
            #[cfg(feature = "ftps")]
            Wire::Tls(stream) => {
                let _ = stream.shutdown();
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(buffer),
            #[cfg(feature = "ftps")]
            Wire::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write(buffer),
            #[cfg(feature = "ftps")]
            Wire::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What uploads are made of: pages in memory, handed to the socket without a copy (sendfile), or written
/// through TLS.
pub struct Source {
    file: std::fs::File,
    // Only TLS copies; without it the pages go by themselves.
    #[cfg_attr(not(feature = "ftps"), allow(dead_code))]
    block: Vec<u8>,
    length: u64,
}

impl Source {
    /// Pages of `length` bytes.
    pub fn new(length: usize) -> Result<Source> {
        let descriptor = rustix::fs::memfd_create("upload", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(descriptor);
        let block: Vec<u8> = (0..length).map(|n| (n * 7 + n / 251) as u8).collect();
        file.write_all(&block)?;
        Ok(Source {
            file,
            block,
            length: length as u64,
        })
    }

    fn send(&self, mut stream: Wire, length: u64) -> Result<()> {
        let mut sent = 0;
        while sent < length {
            let mut offset = sent % self.length;
            let count = (length - sent).min(self.length - offset) as usize;
            sent += match &mut stream {
                Wire::Plain(stream) => {
                    match rustix::fs::sendfile(stream, &self.file, Some(&mut offset), count)? {
                        0 => return Err("the source ended early".into()),
                        count => count as u64,
                    }
                }
                #[cfg(feature = "ftps")]
                Wire::Tls(stream) => {
                    let start = offset as usize;
                    stream.write(&self.block[start..start + count])? as u64
                }
            };
        }
        stream.finish();
        Ok(())
    }
}
