//! The users of one file: its text as it is and an index by name beside it,
//! four bytes a user; a line is read again when its user logs in. So a hundred
//! thousand users take little more memory than their file.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::parse::{self, Entry, FILE_MAX, Mistake};
use super::{Found, mistaken};
use crate::auth::password;
use crate::error::{Error, Result, retried};
use crate::stamp::Stamp;
use crate::sync::{Swap, try_unpoisoned};

/// How often the file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a read is tried that another writer disturbed.
const READ_TRIES: u32 = 4;

/// The users of a file, which is read again when it changes.
pub(super) struct FileUsers {
    path: PathBuf,
    pub(super) look_every: Duration,
    table: Swap<LoadedUsers>,
    watch: Mutex<Watch>,
}

impl FileUsers {
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let (table, stamp) = load(&path)?;
        Ok(FileUsers {
            path,
            look_every: LOOK_EVERY,
            table: Swap::new(table),
            watch: Mutex::new(Watch {
                looked: Instant::now(),
                stamp: Some(stamp),
                complained: false,
            }),
        })
    }

    /// The line of a user, as the file is now.
    pub(super) fn find(&self, name: &str) -> Found {
        self.look();
        let table = self.table.load();
        Found {
            entry: table.find(name),
            like: table.like.clone(),
        }
    }

    /// Reads the file again if it has changed, looking once a second at most.
    /// While one thread reads, the others go on with the old users.
    fn look(&self) {
        let Some(mut watch) = try_unpoisoned(self.watch.try_lock()) else {
            return;
        };
        if watch.looked.elapsed() < self.look_every {
            return;
        }
        watch.looked = Instant::now();
        let stamp = match retried(|| look_at(&self.path)) {
            Ok(metadata) => Stamp::of(&metadata),
            Err(error) => {
                if !std::mem::replace(&mut watch.complained, true) {
                    log::error!(
                        "{}: {error}; the users read before stay in force",
                        self.path.display()
                    );
                }
                return;
            }
        };
        if watch.stamp == Some(stamp) {
            watch.complained = false;
            return;
        }
        if let Err(error) = self.replace(&mut watch, stamp) {
            log::error!("{error}; the users read before stay in force");
        }
    }

    /// Reads the file and puts its users in force. A broken file is not read
    /// again before it changes, so that its mistakes are logged once.
    fn replace(&self, watch: &mut Watch, seen: Stamp) -> Result<()> {
        watch.complained = false;
        watch.stamp = Some(seen);
        let (table, stamp) = load(&self.path)?;
        watch.stamp = Some(stamp);
        log::info!(
            "{}: read again, {} users",
            self.path.display(),
            table.lines.len()
        );
        self.table.replace(table);
        Ok(())
    }
}

/// What is known about the file on disk.
struct Watch {
    looked: Instant,
    stamp: Option<Stamp>,
    complained: bool,
}

/// The users in force.
pub(super) struct LoadedUsers {
    text: Vec<u8>,
    /// Offsets of the lines, ordered by name.
    lines: Vec<u32>,
    /// A hash with the most common cost: what an unknown name costs.
    pub(super) like: String,
}

impl LoadedUsers {
    pub(super) fn new(text: Vec<u8>) -> Result<Self, Vec<Mistake>> {
        let mut classes: HashMap<String, (u32, String)> = HashMap::new();
        let lines = parse::scan(&text, |entry| {
            if password::never_matches(&entry.hash) {
                return;
            }
            let class = password::cost_class(&entry.hash);
            match classes.get_mut(class) {
                Some((count, _)) => *count += 1,
                None => {
                    let class = class.to_owned();
                    classes.insert(class, (1, entry.hash));
                }
            }
        })?;
        let like = classes
            .into_values()
            .max_by(|a, b| a.cmp(b))
            .map_or_else(String::new, |(_, hash)| hash);
        Ok(LoadedUsers { text, lines, like })
    }

    pub(super) fn find(&self, name: &str) -> Option<Entry> {
        parse::find(&self.text, &self.lines, name)
    }
}

/// Reads and checks the file.
fn load(path: &Path) -> Result<(LoadedUsers, Stamp)> {
    let (text, stamp, mode) = retried(|| read(path)).map_err(|error| unreadable(path, error))?;
    match LoadedUsers::new(text) {
        Ok(table) => {
            // Hashes that anybody can read will be guessed on a fast machine.
            if mode & 0o004 != 0 {
                log::warn!("{}: everybody can read it; chmod o-r", path.display());
            }
            if mode & 0o002 != 0 {
                log::warn!("{}: everybody can write it; chmod o-w", path.display());
            }
            Ok((table, stamp))
        }
        Err(mistakes) => Err(mistaken(path, mistakes)),
    }
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::from(error).doing(format!("reading the users' file '{}'", path.display()))
}

/// The contents, and what the file was when they were read.
fn read(path: &Path) -> io::Result<(Vec<u8>, Stamp, u32)> {
    for _ in 1..READ_TRIES {
        let read = read_once(path)?;
        if Stamp::of(&retried(|| look_at(path))?) == read.1 {
            return Ok(read);
        }
        // Somebody writes it in place, or has just renamed a new one here.
    }
    read_once(path)
}

/// In a directory that is closed to us it is opened by whoever may.
fn look_at(path: &Path) -> io::Result<std::fs::Metadata> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            crate::sys::open_setting(path)?.metadata()
        }
        looked => looked,
    }
}

fn read_once(path: &Path) -> io::Result<(Vec<u8>, Stamp, u32)> {
    let file = crate::sys::open_setting(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    // One byte more, so that a file past the bound is seen as one.
    let text = crate::sys::read_at_most(file, FILE_MAX as u64 + 1)?;
    Ok((text, Stamp::of(&metadata), metadata.mode()))
}
