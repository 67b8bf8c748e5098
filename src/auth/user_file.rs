//! Users from a file, one a line: `name:hash:home:rights:options`; or from a
//! directory, one a file, whose name is the user's.

mod directory;
mod group;
mod options;
mod parse;
mod table;
mod value;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::grant::UserDefaults;
use super::{
    Authenticator, AuthorizedKeys, Credentials, Secret, Standing, User, grant, password, refused,
    totp,
};
use crate::error::{Error, ErrorKind, Result};

use directory::DirectoryUsers;
use table::FileUsers;

pub use directory::{is_file_name, line_of};
pub use options::{OPTIONS, OptionRow, Options, Repeat};
pub(super) use parse::parse_options;
pub use parse::{Entry, FILE_MAX, Mistake, parse, parse_line};
pub use value::{Mount, encoded};

/// The users of a file, which is read again when it changes, or of a directory
/// with a file for each, which is read when its user logs in.
pub struct UserFile {
    path: PathBuf,
    defaults: UserDefaults,
    users: Users,
}

enum Users {
    File(FileUsers),
    Directory(DirectoryUsers),
}

/// What there is about a name.
struct Found {
    entry: Option<Entry>,
    /// A hash with the most common cost: what an unknown name costs.
    like: String,
}

impl UserFile {
    /// Reads the file, or looks into the directory.
    ///
    /// # Errors
    /// What the operating system said, or [`ErrorKind::Invalid`] with one line
    /// for each mistake: file, line, column and what was expected.
    pub fn open(path: impl AsRef<Path>, defaults: UserDefaults) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let users = if path.is_dir() {
            Users::Directory(DirectoryUsers::open(path.clone())?)
        } else {
            Users::File(FileUsers::open(path.clone())?)
        };
        Ok(UserFile {
            path,
            defaults,
            users,
        })
    }

    fn find(&self, name: &str) -> Found {
        match &self.users {
            Users::File(users) => users.find(name),
            Users::Directory(users) => users.find(name),
        }
    }

    /// The line of a user, as it is now.
    pub(crate) fn entry(&self, name: &str) -> Option<Entry> {
        self.find(name).entry
    }

    /// Whether the secret is the entry's. An absent entry, or one that can't
    /// log in with a password, takes the time of a wrong password.
    fn proven(&self, entry: Option<&Entry>, like: &str, with: &Credentials<'_>) -> Result<bool> {
        match with.secret {
            Secret::Password(given) => match entry {
                Some(entry) if !password::never_matches(&entry.hash) => {
                    let Some(secret) = &entry.options.totp else {
                        return password::verify(&entry.hash, given);
                    };
                    // SECURITY: only whoever knows the password uses up a code.
                    let (given, code) = totp::split(given);
                    let fits = password::verify(&entry.hash, given)?;
                    let now = SystemTime::now();
                    Ok(fits && code.is_some_and(|code| totp::accepts(secret, code, now)))
                }
                _ => {
                    password::dummy_verify(given, like);
                    Ok(false)
                }
            },
            Secret::PublicKey(key) => {
                if entry.is_some() && self.defaults.vouch_for(key, with) {
                    return Ok(true);
                }
                let Some(file) = entry.and_then(|entry| entry.options.keys.as_ref()) else {
                    return Ok(false);
                };
                // Read at each login: a key taken out of it is out at once.
                let file = self.path.with_file_name("").join(file);
                match AuthorizedKeys::read(&file) {
                    Ok(keys) => Ok(keys.allows(key, with, SystemTime::now())),
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
        let Found { entry, like } = self.find(credentials.name);
        // First the work, then all reasons to refuse: none shows in the time.
        let proven = self.proven(entry.as_ref(), &like, credentials)?;
        let entry = entry.ok_or_else(|| refused("no such user"))?;
        if !proven {
            return Err(refused("wrong secret"));
        }
        grant::conditions(&entry, credentials, SystemTime::now())?;
        let shown = credentials.shown.and(credentials.secret.proof());
        let missing = entry.options.require.beyond(shown);
        if missing.is_empty() {
            return grant::user(entry, &self.defaults, credentials);
        }
        if !credentials.goes_on {
            return Err(refused(
                "require= of the user asks for more than this protocol shows",
            ));
        }
        // Nothing is opened for somebody who is not logged in.
        let dry_run = Credentials {
            dry_run: true,
            ..*credentials
        };
        let mut user = grant::user(entry, &self.defaults, &dry_run)?;
        user.missing = missing;
        Ok(user)
    }

    fn wants_code(&self, name: &str) -> bool {
        let entry = self.entry(name);
        entry.is_some_and(|entry| entry.options.totp.is_some())
    }

    fn standing(&self, name: &str) -> Option<Standing> {
        let entry = match &self.users {
            Users::File(users) => users.find(name).entry,
            // A file that can't be read now bars nobody who is there.
            Users::Directory(users) => users.read(name).ok()?,
        };
        Some(match entry {
            None => Standing::Absent,
            Some(entry) if grant::entry_is_good(&entry, SystemTime::now()).is_ok() => {
                Standing::Good
            }
            Some(_) => Standing::Barred,
        })
    }
}

/// Up to `most` users of a file or a directory of users, for whoever prepares
/// their homes or looks for mistakes: users and what is wrong.
pub fn entries(path: &Path, most: usize) -> (Vec<Entry>, Vec<Error>) {
    let found = if path.is_dir() {
        directory::scan_directory(path, most)
    } else {
        let text = std::fs::read(path).map_err(Error::from);
        text.and_then(|text| parse(&text).map_err(|mistakes| mistaken(path, mistakes)))
            .map(|users| users.into_iter().take(most).map(Ok).collect())
    };
    let (mut users, mut wrong) = (Vec::new(), Vec::new());
    for user in found.unwrap_or_else(|error| vec![Err(error)]) {
        match user {
            Ok(user) => users.push(user),
            Err(error) => wrong.push(error),
        }
    }
    (users, wrong)
}

fn mistaken(path: &Path, mistakes: Vec<Mistake>) -> Error {
    let path = path.to_path_buf();
    Error::with_source(
        ErrorKind::Invalid,
        "reading the users' file",
        Mistakes { path, mistakes },
    )
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
