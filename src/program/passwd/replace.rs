//! A file replaced in one step: readers see the old one or the new one, and
//! after a power cut one of them is there whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, flock};
use wharf::daemon::user_file::FILE_MAX;

/// What is done about a file that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It is made, with mode 0600.
    Create,
    /// It is an error.
    Fail,
}

/// The file, locked against others who replace it in this way, and its text.
pub struct Locked {
    path: PathBuf,
    file: File,
    /// The text when it was locked.
    pub text: Vec<u8>,
}

impl Locked {
    /// Waits for the lock and reads the file.
    pub fn open(path: &Path, missing: Missing) -> io::Result<Self> {
        loop {
            let mut options = File::options();
            options.read(true).custom_flags(libc::O_NONBLOCK);
            if missing == Missing::Create {
                options.write(true).create(true).mode(0o600);
            }
            let mut file = options.open(path)?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("not a regular file"));
            }
            flock(&file, FlockOperation::LockExclusive)?;
            // A link is followed: the file it points to is replaced, not the link.
            let path = fs::canonicalize(path)?;
            // Whoever had the lock has put a new file in this one's place.
            if identity(&fs::metadata(&path)?) != identity(&file.metadata()?) {
                continue;
            }
            let mut text = Vec::new();
            (&mut file)
                .take(FILE_MAX as u64 + 1)
                .read_to_end(&mut text)?;
            if text.len() > FILE_MAX {
                return Err(io::Error::other("larger than 16 MiB"));
            }
            return Ok(Locked { path, file, text });
        }
    }

    /// Puts `text` in the file's place, with its owner and mode.
    pub fn replace(self, text: &[u8]) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let name = self.path.file_name().unwrap_or_default();
        let mut new = directory.as_os_str().to_owned();
        new.push("/.");
        new.push(name);
        new.push(format!(".{}", std::process::id()));
        let new = PathBuf::from(new);
        let written = self
            .write_new(&new, text)
            .and_then(|()| fs::rename(&new, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written?;
        File::open(directory)?.sync_all()
    }

    fn write_new(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        // With our number in it, and under the lock: what is there was left by
        // one of us that was killed.
        let _ = fs::remove_file(path);
        let mut new = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let (old, made) = (self.file.metadata()?, new.metadata()?);
        if (old.uid(), old.gid()) != (made.uid(), made.gid()) {
            std::os::unix::fs::fchown(&new, Some(old.uid()), Some(old.gid()))
                .map_err(|error| io::Error::other(format!("keeping its owner: {error}")))?;
        }
        rustix::fs::fchmod(&new, Mode::from_raw_mode(old.mode() & 0o7777))?;
        new.write_all(text)?;
        new.sync_all()
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
