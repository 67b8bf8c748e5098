//! The bare limit: a program that speaks just enough FTP for the load generator and does nothing else.
//!
//! Canned replies, no checks, no jail, no log: what is left is the cost of the system calls themselves.

use crate::Result;
use crate::bare_tls::{self, Acceptor};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

/// Serves `home` on `port` for ever, a thread a connection; after AUTH TLS alone where there is a certificate.
pub fn serve(port: u16, home: &Path, certificate: Option<&Path>) -> Result<()> {
    let acceptor = certificate.map(Acceptor::new).transpose()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    loop {
        let (stream, _) = listener.accept()?;
        let home = home.to_owned();
        let acceptor = acceptor.clone();
        std::thread::Builder::new()
            .stack_size(128 << 10)
            .spawn(move || {
                let _ = match &acceptor {
                    None => session(stream, &home),
                    Some(acceptor) => bare_tls::session(stream, &home, acceptor),
                };
            })?;
    }
}

fn session(mut control: TcpStream, home: &Path) -> Result<()> {
    control.set_nodelay(true)?;
    control.write_all(b"220 bare\r\n")?;
    let mut passive: Option<TcpListener> = None;
    let mut buffer = vec![0; 8192];
    let mut filled = 0;
    let mut replies = Vec::new();
    let mut random = u64::from(control.peer_addr()?.port()) << 20;
    loop {
        let count = control.read(&mut buffer[filled..])?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let mut start = 0;
        while let Some(length) = buffer[start..filled].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&buffer[start..start + length])
                .trim_end()
                .to_owned();
            start += length + 1;
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            match verb {
                "EPSV" => {
                    let (listener, port) = listen(&mut random)?;
                    write!(replies, "229 Extended passive (|||{port}|)\r\n")?;
                    passive = Some(listener);
                }
                "RETR" | "STOR" | "LIST" | "NLST" | "MLSD" => {
                    control.write_all(&replies)?;
                    replies.clear();
                    let listener = passive.take().ok_or("no EPSV")?;
                    transfer(verb, &home.join(argument), home, &listener, &mut control)?;
                    replies.extend_from_slice(b"226 Done\r\n");
                }
                "QUIT" => {
                    control.write_all(b"221 Bye\r\n")?;
                    return Ok(());
                }
                _ => replies.extend_from_slice(canned(verb)),
            }
        }
        control.write_all(&replies)?;
        replies.clear();
        buffer.copy_within(start..filled, 0);
        filled -= start;
    }
}

/// A passive port drawn at random and bound explicitly: binding port 0 searches the whole range, which costs a
/// millisecond and more once thousands of closed connections sit in TIME_WAIT.
pub fn listen(random: &mut u64) -> Result<(TcpListener, u16)> {
    loop {
        *random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let port = 10_000 + ((*random >> 33) % 50_000) as u16;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return Ok((listener, port)),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The reply to a command that only has one.
pub fn canned(verb: &str) -> &'static [u8] {
    match verb {
        "USER" => b"331 Password\r\n",
        "PASS" => b"230 Logged in\r\n",
        "PWD" => b"257 \"/\" is the current directory\r\n",
        "CWD" => b"250 Done\r\n",
        _ => b"200 Done\r\n",
    }
}

fn transfer(
    verb: &str,
    path: &Path,
    home: &Path,
    listener: &TcpListener,
    control: &mut TcpStream,
) -> Result<()> {
    match verb {
        "RETR" => {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            let (data, _) = listener.accept()?;
            control.write_all(b"150 Sending\r\n")?;
            if length >= 1 << 20 {
                // What piles up beyond falls out of the processor's cache: three times the CPU time.
                rustix::net::sockopt::set_socket_send_buffer_size(&data, 256 << 10)?;
            }
            let mut left = length;
            while left > 0 {
                match rustix::fs::sendfile(&data, &file, None, left.min(1 << 30) as usize)? {
                    0 => break,
                    count => left -= count as u64,
                }
            }
        }
        "STOR" => {
            let file = File::create(path)?;
            let (data, _) = listener.accept()?;
            control.write_all(b"150 Receiving\r\n")?;
            receive(&data, &file)?;
        }
        _ => {
            let directory = if path == home {
                PathBuf::from(home)
            } else {
                path.to_owned()
            };
            let (mut data, _) = listener.accept()?;
            control.write_all(b"150 Listing\r\n")?;
            list(verb, &directory, &mut data)?;
        }
    }
    Ok(())
}

/// Through a pipe of 1 MiB: a third less CPU time than reading and writing.
fn receive(data: &TcpStream, file: &File) -> Result<()> {
    use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, pipe, splice};
    const SIZE: usize = 1 << 20;
    let mut first = vec![0; 16 << 10];
    let mut reader = data;
    let mut writer = file;
    loop {
        let count = reader.read(&mut first)?;
        if count == 0 {
            return Ok(());
        }
        writer.write_all(&first[..count])?;
        if count == first.len() {
            break;
        }
    }
    let (output, input) = pipe()?;
    fcntl_setpipe_size(&input, SIZE)?;
    loop {
        let mut left = splice(data, None, &input, None, SIZE, SpliceFlags::MOVE)?;
        if left == 0 {
            return Ok(());
        }
        while left > 0 {
            left -= splice(&output, None, file, None, left, SpliceFlags::MOVE)?;
        }
    }
}

/// Names as the kernel gives them; for LIST and MLSD each with an `lstat` and a line of the usual length.
fn list(verb: &str, directory: &Path, data: &mut TcpStream) -> Result<()> {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir};
    let descriptor = rustix::fs::openat(
        CWD,
        directory,
        OFlags::RDONLY | OFlags::DIRECTORY,
        Mode::empty(),
    )?;
    let mut space = Vec::with_capacity(64 << 10);
    let mut entries = RawDir::new(&descriptor, space.spare_capacity_mut());
    let mut text = Vec::with_capacity(72 << 10);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if verb != "NLST" {
            let stat = rustix::fs::statat(&descriptor, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if verb == "LIST" {
                write!(
                    text,
                    "-rw-r--r-- 1 ftp ftp {:>12} Jan 01 00:00 ",
                    stat.st_size
                )?;
            } else {
                write!(
                    text,
                    "type=file;size={};modify=20260101000000;perm=r;unique=1U{:x};UNIX.mode=0644; ",
                    stat.st_size, stat.st_ino
                )?;
            }
        }
        text.extend_from_slice(name.to_bytes());
        text.extend_from_slice(b"\r\n");
        if text.len() > 64 << 10 {
            data.write_all(&text)?;
            text.clear();
        }
    }
    data.write_all(&text)?;
    Ok(())
}
