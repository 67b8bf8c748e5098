//! A password from the terminal, unseen and asked twice, or one line from
//! standard input.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use wharf::daemon::PASSWORD_MAX;

/// Why there is no password.
#[derive(Debug)]
pub enum Failure {
    /// It can't be used, or was typed differently; the text says which.
    Unusable(&'static str),
    /// Ctrl-C or the end of input.
    Cancelled,
    /// Reading failed.
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

/// Asks on a terminal, else reads one line.
pub fn password(name: &str) -> Result<Vec<u8>, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line(&mut stdin.lock());
    }
    let _silence = Silence::on(stdin.as_fd())?;
    let first = ask(&format!("Password for {name}: "))?;
    if first.is_empty() {
        return Err(Failure::Unusable("an empty password is none"));
    }
    if first != ask("Again: ")? {
        return Err(Failure::Unusable("the two are not the same"));
    }
    Ok(first)
}

fn ask(prompt: &str) -> Result<Vec<u8>, Failure> {
    let mut terminal = io::stderr();
    terminal.write_all(prompt.as_bytes())?;
    terminal.flush()?;
    // The descriptor itself: std's buffer would keep what follows.
    let read = typed(&mut Unbuffered);
    terminal.write_all(b"\n")?;
    read
}

struct Unbuffered;

impl Read for Unbuffered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(io::stdin(), buffer)?)
    }
}

/// One line of input without its end.
fn line(input: &mut impl BufRead) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    // Two bytes more, for the end of the line.
    input
        .take(PASSWORD_MAX as u64 + 2)
        .read_until(b'\n', &mut line)?;
    for end in [b'\n', b'\r'] {
        if line.last() == Some(&end) {
            line.pop();
        }
    }
    match line.len() {
        0 => Err(Failure::Unusable("there is no password on standard input")),
        1..=PASSWORD_MAX => Ok(line),
        _ => Err(Failure::Unusable("a password has at most 511 bytes")),
    }
}

/// What is typed up to Return. The terminal hands over each key, because with
/// its own line editing Ctrl-C would end us and leave it without an echo.
fn typed(input: &mut impl Read) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    let mut key = [0];
    while input.read(&mut key)? == 1 {
        match key[0] {
            b'\r' | b'\n' => return Ok(line),
            0x03 => return Err(Failure::Cancelled),
            0x04 if line.is_empty() => return Err(Failure::Cancelled),
            // Backspace takes a whole character of UTF-8.
            0x08 | 0x7f => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            0x15 => line.clear(),
            byte if line.len() < PASSWORD_MAX => line.push(byte),
            _ => return Err(Failure::Unusable("a password has at most 511 bytes")),
        }
    }
    Err(Failure::Cancelled)
}

/// The terminal without echo, until dropped.
struct Silence<'a> {
    terminal: rustix::fd::BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Silence<'a> {
    fn on(terminal: rustix::fd::BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Silence { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_a_password() {
        for (keys, want) in [
            (&b"secret\r"[..], Some(&b"secret"[..])),
            (b"secret\n", Some(b"secret")),
            (b"secrex\x7ft\r", Some(b"secret")),
            ("sü\x08ecret\r".as_bytes(), Some(b"secret")),
            (b"\x7f\x7fa\x15b\r", Some(b"b")),
            (b"sec\x03ret\r", None),
            (b"\x04", None),
            (b"no end", None),
            (b"\r", Some(b"")),
        ] {
            assert_eq!(typed(&mut &*keys).ok().as_deref(), want, "{keys:?}");
        }
        assert!(typed(&mut &[b'a'; 600][..]).is_err());
    }

    #[test]
    fn the_first_line_of_input_is_the_password() {
        for (input, want) in [
            (&b"secret\n"[..], Some(&b"secret"[..])),
            (b"secret", Some(b"secret")),
            (b" se cret \r\nmore", Some(b" se cret ")),
            (b"\n", None),
            (b"", None),
        ] {
            assert_eq!(line(&mut &*input).ok().as_deref(), want, "{input:?}");
        }
        assert!(line(&mut &[b'a'; 600][..]).is_err());
        assert_eq!(line(&mut &[b'a'; 511][..]).unwrap().len(), 511);
    }
}
