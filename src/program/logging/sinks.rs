//! Where lines go.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wharf::daemon::line_writer::{Sink, append_whole};

use super::SYSLOG;
use super::line::Format;

/// Standard error.
pub(super) struct Stderr(pub(super) Format);

impl Sink for Stderr {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        io::stderr().write_all(line)
    }

    fn recovered(&mut self, lost: u64) {
        let _ = self.write_line(&self.0.lost(lost));
    }
}

/// A file that can be opened again while others write to it.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    format: Format,
}

impl LogFile {
    pub(super) fn open(path: &Path, format: Format) -> io::Result<Self> {
        Ok(LogFile {
            path: path.into(),
            file: append(path)?,
            format,
        })
    }
}

impl Sink for LogFile {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        append_whole(&self.file, line)
    }

    fn reopen(&mut self) {
        match append(&self.path) {
            Ok(file) => self.file = file,
            Err(error) => log::error!(
                "log-file {}: {error}; the log goes on in the old file",
                self.path.display()
            ),
        }
    }

    fn recovered(&mut self, lost: u64) {
        let _ = self.write_line(&self.format.lost(lost));
    }
}

fn append(path: &Path) -> io::Result<File> {
    wharf::daemon::os::open_log(path)
}

/// The way to syslogd. One that was started again is found again.
pub(in crate::program) struct Syslog {
    socket: UnixDatagram,
    /// Whoever wants to be told of lost lines sets it.
    pub(super) format: Option<Format>,
}

impl Syslog {
    pub(in crate::program) fn connect() -> io::Result<Self> {
        Ok(Syslog {
            socket: connected()?,
            format: None,
        })
    }
}

fn connected() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SYSLOG)?;
    // Before the log has its thread, a syslogd that hangs must not hold us.
    socket.set_write_timeout(Some(Duration::from_secs(1)))?;
    Ok(socket)
}

impl Sink for Syslog {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        match self.socket.send(line) {
            Ok(_) => Ok(()),
            // It hangs: another socket would not help.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(_) => {
                self.socket = connected()?;
                self.socket.send(line).map(drop)
            }
        }
    }

    fn recovered(&mut self, lost: u64) {
        if let Some(format) = &self.format {
            let _ = self.write_line(&format.lost(lost));
        }
    }
}

impl Write for Syslog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_line(line).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
