//! The transfer log in the xferlog format of wu-ftpd, which vsftpd, ProFTPD
//! and their analysers know. One line a transfer, UTC.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use super::events::{Event, Events, Transferred, Who};
use crate::error::{Doing, Result};
use crate::sync::unpoisoned;
use crate::time::Utc;

/// Writes transfers to a file.
pub struct TransferLog {
    path: PathBuf,
    file: Mutex<File>,
}

impl TransferLog {
    /// Opens the file for appending, or makes it with mode 0640.
    ///
    /// # Errors
    /// What opening said.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Ok(TransferLog {
            path: path.into(),
            file: Mutex::new(open(path)?),
        })
    }

    /// Opens the file again by its name, after it was rotated away.
    ///
    /// # Errors
    /// What opening said; the old file stays in use then.
    pub fn reopen(&self) -> Result<()> {
        let file = open(&self.path)?;
        *unpoisoned(self.file.lock()) = file;
        Ok(())
    }
}

fn open(path: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
        .doing(format!("opening the transfer log {}", path.display()))
}

impl Events for TransferLog {
    fn event(&self, who: &Who<'_>, event: &Event<'_>) {
        let (transferred, direction) = match event {
            Event::Download(transferred) => (transferred, 'o'),
            Event::Upload(transferred) => (transferred, 'i'),
            _ => return,
        };
        let line = line(who, transferred, direction, SystemTime::now());
        let mut file = unpoisoned(self.file.lock());
        // One write, so that lines of several processes never mix.
        if let Err(error) = file.write_all(line.as_bytes()) {
            log::error!("writing the transfer log {}: {error}", self.path.display());
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
        who.protocol,
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

/// The format has no quoting: blanks and controls become `_`, as in wu-ftpd.
fn word(bytes: &[u8]) -> String {
    let shown: Vec<u8> = bytes
        .iter()
        .map(|&byte| {
            if byte <= b' ' || byte == 0x7f {
                b'_'
            } else {
                byte
            }
        })
        .collect();
    String::from_utf8_lossy(&shown).into_owned()
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
    }
}
