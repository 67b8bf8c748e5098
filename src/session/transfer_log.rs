//! The transfer log in the xferlog format of wu-ftpd, which vsftpd, ProFTPD
//! and their analysers know. One line a transfer, UTC.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use super::events::{Event, Events, Transferred, Who};
use super::line_writer::{Delivery, LineWriter, Sink, append_whole};
use crate::error::{Doing, Result};
use crate::text::must_be_escaped;
use crate::time::Utc;

/// How long a transfer waits for its line to be written. A disk that works
/// needs far less; one that hangs holds nobody longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes transfers to a file. A transfer's line is in the file before the
/// client is told that the transfer is complete, as long as the disk works.
/// Lines that could not be written are counted, and the log is told how many
/// they are as soon as one can be written again.
pub struct TransferLog {
    writer: LineWriter,
    path: PathBuf,
    is_late: AtomicBool,
}

impl TransferLog {
    /// Opens the file for appending, or makes it with mode 0640.
    ///
    /// # Errors
    /// What opening said.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = TransferFile {
            path: path.into(),
            file: open(path)?,
        };
        Ok(TransferLog {
            writer: LineWriter::new(file, PATIENCE),
            path: path.into(),
            is_late: AtomicBool::new(false),
        })
    }

    /// Opens the file again by its name, after it was rotated away. If that
    /// fails, the log is told and the old file stays in use.
    pub fn reopen(&self) {
        self.writer.reopen();
    }
}

fn open(path: &Path) -> Result<File> {
    crate::sys::open_log(path).doing(format!("opening the transfer log {}", path.display()))
}

struct TransferFile {
    path: PathBuf,
    file: File,
}

impl Sink for TransferFile {
    // One write, so that lines of several processes never mix.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        append_whole(&self.file, line)
    }

    fn reopen(&mut self) {
        match open(&self.path) {
            Ok(file) => self.file = file,
            Err(error) => log::error!("{error}; transfers go on in the old file"),
        }
    }

    fn failed(&mut self, error: &io::Error) {
        log::error!(
            "writing the transfer log {}: {error}; lines are lost until it can be written",
            self.path.display()
        );
    }

    fn recovered(&mut self, lost: u64) {
        log::warn!(
            "the transfer log {} can be written again; {lost} lines are lost",
            self.path.display()
        );
    }
}

impl Events for TransferLog {
    fn event(&self, who: &Who<'_>, event: &Event<'_>) {
        let (transferred, direction) = match event {
            Event::Download(transferred) => (transferred, 'o'),
            Event::Upload(transferred) => (transferred, 'i'),
            _ => return,
        };
        let line = line(who, transferred, direction, SystemTime::now());
        self.writer.start();
        let is_late = self.writer.push_and_wait(line.into_bytes()) != Delivery::Taken;
        if is_late && !self.is_late.swap(true, Relaxed) {
            log::error!(
                "the transfer log {} takes no lines; what finds no room in memory will be lost",
                self.path.display()
            );
        } else if !is_late {
            self.is_late.store(false, Relaxed);
        }
    }
}

/// Added, it rounds to whole seconds.
const HALF: Duration = Duration::from_millis(500);

fn line(who: &Who<'_>, transferred: &Transferred<'_>, direction: char, now: SystemTime) -> String {
    format!(
        "{} {} {} {} {} {} _ {direction} {} {} {} 0 * {}{}{}\n",
        Utc::from(now).ctime(),
        (transferred.time + HALF).as_secs().max(1),
        who.peer.ip().to_canonical(),
        transferred.bytes,
        word(transferred.path.as_bytes()),
        if transferred.ascii { 'a' } else { 'b' },
        if who.anonymous { 'a' } else { 'r' },
        word(who.user.unwrap_or("?").as_bytes()),
        // As ProFTPD has it: `ftps` is any session under TLS.
        if who.tls.is_some() {
            "ftps"
        } else {
            who.protocol
        },
        if transferred.complete { 'c' } else { 'i' },
        // One field more, for those who have asked for it.
        if transferred.sha256.is_some() {
            " "
        } else {
            ""
        },
        transferred.sha256.unwrap_or_default(),
    )
}

/// The format has no quoting: blanks and controls become `_`, as in wu-ftpd,
/// and so does whatever else could forge or hide a line.
fn word(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|character| match character {
            ' ' => '_',
            character if must_be_escaped(character) => '_',
            character => character,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::VirtualPath;
    use std::time::Duration;

    #[test]
    fn lines_are_as_analysers_expect() {
        let path = VirtualPath::root().join(b"a b\n1.txt").unwrap();
        let who = Who {
            session: 1,
            user: Some("ann"),
            anonymous: false,
            peer: "[::ffff:192.0.2.7]:5".parse().unwrap(),
            protocol: "ftp",
            tls: None,
        };
        let transferred = Transferred {
            path: &path,
            bytes: 42,
            time: Duration::from_millis(10),
            complete: true,
            ascii: false,
            sha256: None,
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        assert_eq!(
            line(&who, &transferred, 'o', now),
            "Sun Sep  9 01:46:40 2001 1 192.0.2.7 42 /a_b_1.txt b _ o r ann ftp 0 * c\n"
        );
        let summed = Transferred {
            sha256: Some("ba78"),
            ..transferred
        };
        assert!(line(&who, &summed, 'i', now).ends_with("_ i r ann ftp 0 * c ba78\n"));
        let who = Who {
            tls: Some("TLSv1.3"),
            ..who
        };
        assert!(line(&who, &transferred, 'i', now).ends_with("_ i r ann ftps 0 * c\n"));
    }

    #[test]
    fn no_name_forges_or_hides_a_line() {
        let name =
            "a\u{85}b\u{9b}c\u{2028}d\u{2029}e\u{202e}f\u{2066}g\u{200f}h\x7fi\tj k\u{61c}größe";
        assert_eq!(word(name.as_bytes()), "a_b_c_d_e_f_g_h_i_j_k_größe");
        assert_eq!(word(b"a\xff"), "a\u{fffd}");
    }
}
