//! Lines of the control connection: bytes in, commands out.
//!
//! RFC 959 speaks the telnet protocol on the control connection; what clients
//! really send of it is IAC IP and IAC DM before ABOR. A line ends with LF, a
//! CR before it is dropped. One line may come in many segments and many lines
//! in one.

use std::io::{self, Read};

/// Longest line: a path of 4096 bytes and a verb with options before it.
const LINE_MAX: usize = 4096 + 256;
/// What a session that waits holds.
const IDLE_SIZE: usize = 512;

/// What a line was.
#[derive(Debug, PartialEq, Eq)]
pub enum ControlLine {
    /// A command, without its line end and without telnet sequences.
    Command(Vec<u8>),
    /// Longer than any command can be; it was thrown away.
    TooLong,
}

/// Cuts a stream of bytes into lines; holds one line at the most.
#[derive(Default)]
pub struct LineReader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that have been handed out.
    start: usize,
    /// Bytes from `start` that hold no LF.
    searched: usize,
    skipping: bool,
}

impl LineReader {
    /// The next line, if it has come whole.
    pub fn next_line(&mut self) -> Option<ControlLine> {
        loop {
            let fresh = self.buffer.get(self.start + self.searched..)?;
            let Some(at) = fresh.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len() - self.start;
                if self.searched > LINE_MAX {
                    self.skipping = true;
                }
                if self.skipping || self.searched == 0 {
                    self.clear();
                }
                return None;
            };
            let end = self.start + self.searched + at;
            let line = &self.buffer[self.start..end];
            let too_long = line.len() > LINE_MAX || std::mem::take(&mut self.skipping);
            let line = if too_long {
                ControlLine::TooLong
            } else {
                ControlLine::Command(without_telnet(line.strip_suffix(b"\r").unwrap_or(line)))
            };
            // SECURITY: it may hold a password, and the buffer stays.
            self.buffer[self.start..end].fill(0);
            self.start = end + 1;
            self.searched = 0;
            if self.start == self.buffer.len() {
                self.clear();
            }
            // The second half of an ABOR, or a line of nothing at all.
            if line == ControlLine::Command(Vec::new()) {
                continue;
            }
            return Some(line);
        }
    }

    /// Reads once from `stream`; 0 is its end.
    pub fn fill(&mut self, stream: &mut impl Read) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let length = self.buffer.len();
        let room = if length < IDLE_SIZE {
            IDLE_SIZE
        } else {
            LINE_MAX + IDLE_SIZE
        };
        self.buffer.resize(room.max(length + 1), 0);
        let outcome = loop {
            match stream.read(&mut self.buffer[length..]) {
                // A read with a timeout ends so after SIGSTOP and SIGCONT or
                // when a debugger comes; the client has done nothing.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        self.buffer
            .truncate(length + *outcome.as_ref().unwrap_or(&0));
        outcome
    }

    /// Whether what waits is the beginning of a TLS handshake (RFC 8446,
    /// section 5.1) and no command.
    pub fn begins_tls(&self) -> bool {
        self.buffer[self.start..].starts_with(&[22, 3])
    }

    /// Takes bytes that were read already.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The lines that have come whole, left where they are.
    pub fn waiting(&self) -> impl Iterator<Item = Vec<u8>> {
        self.buffer[self.start..]
            .split_inclusive(|byte| *byte == b'\n')
            .filter_map(|line| line.strip_suffix(b"\n"))
            .map(|line| without_telnet(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Whether nothing has come that was not handed out.
    pub fn is_empty(&self) -> bool {
        self.buffer.len() == self.start
    }

    /// Whether the buffer is as full as it may get without a reader of lines.
    pub fn is_full(&self) -> bool {
        self.buffer.len() - self.start > LINE_MAX
    }

    /// Forgets everything that has come and not been handed out: what a peer
    /// sends together with AUTH must never be a command (CVE-2011-0411).
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.start = 0;
        self.searched = 0;
        if self.buffer.capacity() > IDLE_SIZE {
            self.buffer.shrink_to(IDLE_SIZE);
        }
    }
}

const IAC: u8 = 0xff;

/// Takes telnet sequences out. Clients that send names in old encodings do
/// not double a 0xff, so only what really is a telnet command is one.
fn without_telnet(line: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after.first()) {
            (IAC, Some(&IAC)) => {
                text.push(IAC);
                &after[1..]
            }
            // WILL, WONT, DO, DONT and the option they speak of.
            (IAC, Some(0xfb..=0xfe)) => after.get(2..).unwrap_or(&[]),
            (IAC, Some(0xf0..=0xfa)) => &after[1..],
            _ => {
                text.push(byte);
                after
            }
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<ControlLine> {
        let mut reader = LineReader::default();
        let mut found = Vec::new();
        for piece in pieces {
            let mut piece = *piece;
            while !piece.is_empty() {
                reader.fill(&mut piece).unwrap();
                while let Some(line) = reader.next_line() {
                    found.push(line);
                }
            }
        }
        found
    }

    fn command(text: &[u8]) -> ControlLine {
        ControlLine::Command(text.to_vec())
    }

    #[test]
    fn lines_come_out_however_they_are_cut() {
        let sent = b"USER ann\r\nPASS  x y \nNOOP\r\r\n\r\n\xff\xf4\xff\xf2ABOR\r\n\xff\xfb\x01X\xff\xff\r\nSTOR \xff\r\n";
        let want = [
            command(b"USER ann"),
            command(b"PASS  x y "),
            command(b"NOOP\r"),
            command(b"ABOR"),
            command(b"X\xff"),
            command(b"STOR \xff"),
        ];
        assert_eq!(lines(&[sent]), want);
        for cut in 1..sent.len() {
            assert_eq!(lines(&[&sent[..cut], &sent[cut..]]), want, "cut at {cut}");
        }
        let single: Vec<&[u8]> = sent.chunks(1).collect();
        assert_eq!(lines(&single), want);
    }

    #[test]
    fn an_interrupted_read_is_tried_again() {
        struct Stopped(bool);
        impl Read for Stopped {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if !std::mem::replace(&mut self.0, true) {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                (&b"NOOP\r\n"[..]).read(buffer)
            }
        }
        let mut reader = LineReader::default();
        assert_eq!(reader.fill(&mut Stopped(false)).unwrap(), 6);
        assert_eq!(reader.next_line(), Some(command(b"NOOP")));
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let mut reader = LineReader::default();
        let piece = vec![b'x'; 1 << 20];
        let mut rest = &piece[..];
        while !rest.is_empty() {
            reader.fill(&mut rest).unwrap();
            assert_eq!(reader.next_line(), None);
            assert!(reader.buffer.capacity() <= 2 * (LINE_MAX + IDLE_SIZE));
        }
        let mut rest = &b"x\r\nNOOP\r\n"[..];
        reader.fill(&mut rest).unwrap();
        assert_eq!(reader.next_line(), Some(ControlLine::TooLong));
        assert_eq!(reader.next_line(), Some(command(b"NOOP")));
    }
}
