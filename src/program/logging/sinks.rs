//! Where lines go.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use wharf::daemon::line_writer::{Sink, append_whole};

use super::line::Format;
use crate::program::syslog::Syslog;

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

/// syslogd.
pub(super) struct ToSyslog {
    pub(super) socket: Syslog,
    pub(super) format: Format,
}

impl Sink for ToSyslog {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        self.socket.send(line)
    }

    fn recovered(&mut self, lost: u64) {
        let _ = self.write_line(&self.format.lost(lost));
    }
}
