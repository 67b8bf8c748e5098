//! A small SFTP 3 client over a program's standard input and output: a subsystem, or `ssh -s HOST sftp`.
//!
//! It keeps 64 requests of 32 KiB in flight, as OpenSSH's sftp does.

use crate::Result;
use std::io::{BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const PIECE: u64 = 32 << 10;
const IN_FLIGHT: u64 = 64;

const OPEN_READ: u32 = 0x1;
const OPEN_WRITE_NEW: u32 = 0x2 | 0x8 | 0x10;

const INIT: u8 = 1;
const VERSION: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;

/// A session; dropping it closes the pipe and waits for the program.
pub struct Sftp {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    packet: Vec<u8>,
}

impl Sftp {
    /// Starts the program and exchanges versions.
    pub fn start(command: &mut Command) -> Result<Sftp> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output =
            BufReader::with_capacity(256 << 10, child.stdout.take().ok_or("no standard output")?);
        let mut sftp = Sftp {
            child,
            input,
            output,
            packet: Vec::new(),
        };
        sftp.send(&frame(INIT, &[&3u32.to_be_bytes()]))?;
        match sftp.receive()? {
            VERSION => Ok(sftp),
            other => Err(format!("packet {other} in answer to INIT").into()),
        }
    }

    /// The process started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self
            .input
            .as_mut()
            .ok_or("the session is over")?
            .write_all(bytes)?)
    }

    /// Takes one packet into `self.packet`, its type apart.
    fn receive(&mut self) -> Result<u8> {
        let mut length = [0; 4];
        self.output.read_exact(&mut length)?;
        self.packet.resize(u32::from_be_bytes(length) as usize, 0);
        self.output.read_exact(&mut self.packet)?;
        self.packet
            .first()
            .copied()
            .ok_or_else(|| "an empty packet".into())
    }

    fn status(&mut self) -> Result<u32> {
        match self.receive()? {
            STATUS => Ok(number(&self.packet, 5)),
            other => Err(format!("packet {other} where a status belongs").into()),
        }
    }

    fn open(&mut self, path: &str, flags: u32) -> Result<Vec<u8>> {
        self.send(&frame(
            OPEN,
            &[
                &[0; 4],
                &text(path.as_bytes()),
                &flags.to_be_bytes(),
                &[0; 4],
            ],
        ))?;
        match self.receive()? {
            HANDLE => Ok(self.packet[5..].to_vec()),
            STATUS => Err(format!("{path}: status {}", number(&self.packet, 5)).into()),
            other => Err(format!("packet {other} in answer to OPEN").into()),
        }
    }

    fn close(&mut self, handle: &[u8]) -> Result<()> {
        self.send(&frame(CLOSE, &[&[0; 4], handle]))?;
        match self.status()? {
            0 => Ok(()),
            code => Err(format!("CLOSE: status {code}").into()),
        }
    }

    /// Reads a whole file of `size` bytes.
    pub fn get(&mut self, path: &str, size: u64) -> Result<()> {
        let handle = self.open(path, OPEN_READ)?;
        let pieces = size.div_ceil(PIECE);
        let mut asked = 0;
        let mut answered = 0;
        let mut total = 0;
        while answered < pieces {
            // Refill in halves, so that requests travel many in one write.
            if asked < pieces && asked - answered <= IN_FLIGHT / 2 {
                let mut batch = Vec::new();
                while asked < pieces && asked - answered < IN_FLIGHT {
                    let offset = (asked * PIECE).to_be_bytes();
                    let length = (PIECE as u32).to_be_bytes();
                    batch.extend(frame(READ, &[&[0; 4], &handle, &offset, &length]));
                    asked += 1;
                }
                self.send(&batch)?;
            }
            match self.receive()? {
                DATA => total += u64::from(number(&self.packet, 5)),
                other => return Err(format!("packet {other} in answer to READ").into()),
            }
            answered += 1;
        }
        if total != size {
            return Err(format!("{path}: {total} of {size} bytes").into());
        }
        self.close(&handle)
    }

    /// Writes a file of `size` bytes.
    pub fn put(&mut self, path: &str, size: u64) -> Result<()> {
        let handle = self.open(path, OPEN_WRITE_NEW)?;
        let mut sent = 0;
        let mut in_flight = 0;
        let mut packet = Vec::new();
        while sent < size || in_flight > 0 {
            if sent < size && in_flight < IN_FLIGHT {
                let count = PIECE.min(size - sent);
                let offset_at = 4 + 1 + 4 + handle.len();
                if packet.len() != offset_at + 12 + count as usize {
                    let data = text(&vec![b'x'; count as usize]);
                    packet = frame(WRITE, &[&[0; 4], &handle, &[0; 8], &data]);
                }
                packet[offset_at..offset_at + 8].copy_from_slice(&sent.to_be_bytes());
                self.input
                    .as_mut()
                    .ok_or("the session is over")?
                    .write_all(&packet)?;
                sent += count;
                in_flight += 1;
                continue;
            }
            match self.status()? {
                0 => in_flight -= 1,
                code => return Err(format!("WRITE: status {code}").into()),
            }
        }
        self.close(&handle)
    }
}

impl Drop for Sftp {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

fn number(packet: &[u8], at: usize) -> u32 {
    let bytes = packet
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(u32::MAX, u32::from_be_bytes)
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

fn frame(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut out = (length as u32).to_be_bytes().to_vec();
    out.push(kind);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}
