//! Users from a file, one a line: `name:hash:home:rights:options`.
//!
//! The text is kept as it is and an index by name beside it, four bytes a
//! user; a line is read again when its user logs in. So a hundred thousand
//! users take little more memory than their file.

mod options;
mod parse;
mod value;

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use super::grant::UserDefaults;
use super::{Authenticator, AuthorizedKeys, Credentials, Secret, User, grant, password, refused};
use crate::error::{Error, ErrorKind, Result, retried};
use crate::stamp::Stamp;
use crate::sync::{Swap, try_unpoisoned};

pub use options::{OPTIONS, OptionRow, Options, Repeat};
pub(super) use parse::parse_options;
pub use parse::{Entry, FILE_MAX, Mistake, encoded, parse, parse_line};

/// How often the file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a read is tried that another writer disturbed.
const READ_TRIES: u32 = 4;

/// The users of a file, which is read again when it changes.
pub struct UserFile {
    path: PathBuf,
    defaults: UserDefaults,
    look_every: Duration,
    table: Swap<LoadedUsers>,
    watch: Mutex<Watch>,
}

impl UserFile {
    /// Reads the file.
    ///
    /// # Errors
    /// What the operating system said, or [`ErrorKind::Invalid`] with one line
    /// for each mistake: file, line, column and what was expected.
    pub fn open(path: impl AsRef<Path>, defaults: UserDefaults) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let (table, stamp) = load(&path)?;
        Ok(UserFile {
            path,
            defaults,
            look_every: LOOK_EVERY,
            table: Swap::new(table),
            watch: Mutex::new(Watch {
                looked: Instant::now(),
                stamp: Some(stamp),
                complained: false,
            }),
        })
    }

    /// How many users the file has.
    pub fn len(&self) -> usize {
        self.table.load().lines.len()
    }

    /// Whether the file has no user.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The line of a user, as the file is now.
    pub(crate) fn entry(&self, name: &str) -> Option<Entry> {
        self.look();
        self.table.load().find(name)
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

    /// Whether the secret is the entry's. An absent entry, or one that can't
    /// log in with a password, takes the time of a wrong password.
    fn proven(
        &self,
        entry: Option<&Entry>,
        table: &LoadedUsers,
        with: &Credentials<'_>,
    ) -> Result<bool> {
        match with.secret {
            Secret::Password(given) => match entry {
                Some(entry) if !password::never_matches(&entry.hash) => {
                    password::verify(&entry.hash, given)
                }
                _ => {
                    password::dummy_verify(given, &table.like);
                    Ok(false)
                }
            },
            Secret::PublicKey(key) => {
                let Some(file) = entry.and_then(|entry| entry.options.keys.as_ref()) else {
                    return Ok(false);
                };
                // Read at each login: a key taken out of it is out at once.
                let file = self.path.with_file_name("").join(file);
                match AuthorizedKeys::read(&file) {
                    Ok(keys) => Ok(keys.allows(key, with.peer, SystemTime::now())),
                    Err(error) => {
                        log::error!("{error}");
                        Ok(false)
                    }
                }
            }
            Secret::Certificate(subject) => Ok(entry.is_some_and(|entry| {
                let known = &entry.options.certificates;
                known.iter().any(|known| known == subject)
            })),
        }
    }
}

impl Authenticator for UserFile {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Result<User> {
        self.look();
        let table = self.table.load();
        let entry = table.find(credentials.name);
        // First the work, then all reasons to refuse: none shows in the time.
        let proven = self.proven(entry.as_ref(), &table, credentials)?;
        let entry = entry.ok_or_else(|| refused("no such user"))?;
        if !proven {
            return Err(refused("wrong secret"));
        }
        grant::conditions(&entry, credentials, SystemTime::now())?;
        grant::user(entry, &self.defaults, credentials)
    }
}

/// What is known about the file on disk.
struct Watch {
    looked: Instant,
    stamp: Option<Stamp>,
    complained: bool,
}

/// The users in force.
struct LoadedUsers {
    text: Vec<u8>,
    /// Offsets of the lines, ordered by name.
    lines: Vec<u32>,
    /// A hash with the most common cost: what an unknown name costs.
    like: String,
}

impl LoadedUsers {
    fn new(text: Vec<u8>) -> Result<Self, Vec<Mistake>> {
        let mut classes: HashMap<String, (u32, String)> = HashMap::new();
        let lines = parse::scan(&text, |_, entry| {
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

    fn find(&self, name: &str) -> Option<Entry> {
        let found = self
            .lines
            .binary_search_by(|&offset| parse::name_at(&self.text, offset).cmp(name.as_bytes()));
        parse::entry_at(&self.text, *self.lines.get(found.ok()?)?)
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
        Err(mistakes) => Err(Error::with_source(
            ErrorKind::Invalid,
            "reading the users' file",
            Mistakes {
                path: path.to_path_buf(),
                mistakes,
            },
        )),
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
    let mut text = Vec::new();
    // One byte more, so that a file past the bound is seen as one.
    file.take(FILE_MAX as u64 + 1).read_to_end(&mut text)?;
    Ok((text, Stamp::of(&metadata), metadata.mode()))
}

/// All mistakes of a file, one a line.
#[derive(Debug)]
struct Mistakes {
    path: PathBuf,
    mistakes: Vec<Mistake>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.mistakes.iter().enumerate() {
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}{}:{mistake}", self.path.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

#[cfg(test)]
mod tests;
