//! The users of the system: /etc/passwd, /etc/shadow and what goes with them.
//!
//! Refused, whatever the password: root (unless allowed), users in
//! /etc/ftpusers, users whose shell is not in /etc/shells, expired accounts
//! and passwords, and everybody but root while /etc/nologin exists. A `!`
//! before the hash locks the account for keys too, as sshd without PAM has
//! it; `*` means no password, and keys are good.
//!
//! The files are read at each login, so a change counts at once.

mod files;
mod keys;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::grant::UserDefaults;
use super::{Authenticator, AuthorizedKeys, Credentials, Identity, PublicKey, Secret, User};
use super::{grant, home, password, refused};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::storage::{FileSystem, Follow, VirtualPath};
use crate::sys::read_at_most;
use files::Shadow;

/// Largest account file.
const FILE_MAX: u64 = 32 << 20;

/// Where the account files are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SystemPaths {
    /// passwd(5)
    pub passwd: PathBuf,
    /// shadow(5)
    pub shadow: PathBuf,
    /// group(5)
    pub group: PathBuf,
    /// shells(5)
    pub shells: PathBuf,
    /// ftpusers(5): who may not log in
    pub ftpusers: PathBuf,
    /// nologin(5): while it exists, nobody may
    pub nologin: PathBuf,
}

impl SystemPaths {
    /// The usual names, in `directory` instead of /etc.
    pub fn below(directory: &Path) -> Self {
        SystemPaths {
            passwd: directory.join("passwd"),
            shadow: directory.join("shadow"),
            group: directory.join("group"),
            shells: directory.join("shells"),
            ftpusers: directory.join("ftpusers"),
            nologin: directory.join("nologin"),
        }
    }
}

impl Default for SystemPaths {
    fn default() -> Self {
        SystemPaths::below(Path::new("/etc"))
    }
}

/// Whether the users with number 0 may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Root {
    /// Never: passwords in the clear must not open the whole system.
    #[default]
    Refused,
    /// Like everybody else.
    Allowed,
}

/// The users of the system.
#[derive(Debug, Clone)]
pub struct SystemUsers {
    paths: SystemPaths,
    defaults: UserDefaults,
    root: Root,
    /// Only members of one of these groups may log in, where there are any.
    groups: Vec<String>,
    /// Instead of the homes of passwd; `%u` is the user's name.
    home: Option<PathBuf>,
}

impl SystemUsers {
    /// Users of the files in `paths`. All have the rights and limits of
    /// `defaults`; root is refused.
    ///
    /// # Errors
    /// When passwd or shadow can't be read: shadow needs root, or membership
    /// in its group. A missing shadow file is none.
    pub fn open(paths: SystemPaths, defaults: UserDefaults) -> Result<Self> {
        let users = SystemUsers {
            paths,
            defaults,
            root: Root::Refused,
            groups: Vec::new(),
            home: None,
        };
        read(&users.paths.passwd)?;
        read_if_any(&users.paths.shadow)?;
        Ok(users)
    }

    /// Sets whether root may log in.
    pub fn with_root(mut self, root: Root) -> Self {
        self.root = root;
        self
    }

    /// Only members of one of these groups may log in; with none, everybody may.
    pub fn with_groups(mut self, groups: Vec<String>) -> Self {
        self.groups = groups;
        self
    }

    /// The homes, instead of those of passwd: `%u` stands for the user's name.
    pub fn with_home(mut self, home: Option<PathBuf>) -> Self {
        self.home = home;
        self
    }

    /// The conditions of the account, once the secret is shown.
    fn conditions(&self, name: &str, account: &files::PasswdLine<'_>) -> Result<()> {
        let is_root = account.uid == 0;
        if is_root && self.root == Root::Refused {
            return Err(refused("root may not log in"));
        }
        if !is_root && self.paths.nologin.exists() {
            return Err(refused("logins are switched off by the nologin file"));
        }
        if let Some(list) = read_if_any(&self.paths.ftpusers)?
            && files::lists(&list, name.as_bytes())
        {
            return Err(refused("the user is in the ftpusers file"));
        }
        // What getusershell(3) has where there is no file.
        let shells = read_if_any(&self.paths.shells)?;
        let shells = shells.as_deref().unwrap_or(b"/bin/sh\n/bin/csh\n");
        if !files::lists(shells, account.shell) {
            return Err(refused("the user's shell is not in the shells file"));
        }
        Ok(())
    }
}

/// A user of the system who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Account {
    /// Whom the user acts as.
    pub identity: Identity,
    /// The home, absolute.
    pub home: PathBuf,
}

impl SystemUsers {
    /// Judges the credentials alone. Where the home is needed to judge, for the
    /// keys in it, `open` opens it.
    ///
    /// # Errors
    /// As [`Authenticator::authenticate`].
    pub fn judge(&self, credentials: &Credentials<'_>, open: &OpenHome<'_>) -> Result<Account> {
        let name = credentials.name;
        let passwd = read(&self.paths.passwd)?;
        let shadow = read_if_any(&self.paths.shadow)?.unwrap_or_default();
        let group = read_if_any(&self.paths.group)?.unwrap_or_default();
        let account = files::account(&passwd, name);
        let line = files::shadow(&shadow, name);
        let hash = account.as_ref().and_then(|account| match account.password {
            b"x" => line.as_ref().map(|line| line.hash),
            // Systems without shadow have the hash in passwd.
            hash => std::str::from_utf8(hash).ok(),
        });
        // First the work, then all reasons to refuse: none shows in the time.
        let found = account.as_ref().map(|account| Account {
            identity: Identity {
                uid: account.uid,
                gid: account.gid,
                groups: files::groups(&group, name, account.gid),
            },
            home: match &self.home {
                None => Path::new(OsStr::from_bytes(account.home)).to_path_buf(),
                // Without a home nobody logs in.
                Some(pattern) => home::of_user(pattern, name).unwrap_or_default(),
            },
        });
        let proven = match credentials.secret {
            Secret::Password(given) => proven(hash, &shadow, given)?,
            Secret::PublicKey(key) => found.as_ref().is_some_and(|found| {
                self.defaults.vouch_for(key, credentials) || key_fits(found, key, credentials, open)
            }),
            Secret::Certificate(_) => false,
        };
        let account = account.ok_or_else(|| refused("no such user"))?;
        if !proven {
            return Err(refused(match hash {
                Some(hash) if password::check(hash).is_err() => {
                    "the password's hash is of a kind that is not known here"
                }
                _ => "wrong secret",
            }));
        }
        let now = SystemTime::now();
        self.conditions(name, &account)?;
        let groups = found
            .as_ref()
            .map_or(&[][..], |found| &found.identity.groups);
        if !self.groups.is_empty() && !files::is_in(&group, groups, &self.groups) {
            return Err(refused("the user is in no group of system-group"));
        }
        if hash.is_some_and(|hash| hash.starts_with('!')) {
            return Err(refused("the account is locked"));
        }
        if let Some(line) = &line {
            ages(line, grant::today(now))?;
        }
        match found.filter(|found| found.home.is_absolute()) {
            Some(found) => Ok(found),
            None => Err(refused("the user has no home")),
        }
    }
}

/// Opens the home of an account, as its user where this process can.
pub type OpenHome<'a> = dyn Fn(&Account) -> Result<Arc<dyn FileSystem>> + 'a;

impl Authenticator for SystemUsers {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Result<User> {
        let open = |account: &Account| home::open(&account.home, home::Missing::Refuse);
        let account = self.judge(credentials, &open)?;
        let mut user = User::new(credentials.name, open(&account)?).with_perms(self.defaults.perms);
        user.limits = self.defaults.limits;
        user.identity = Some(account.identity);
        Ok(user)
    }
}

/// The days of shadow(5). A password that must be changed can't be changed
/// here, so it is as good as expired.
fn ages(line: &Shadow<'_>, today: i64) -> Result<()> {
    if line.expires.is_some_and(|day| today >= day) {
        return Err(refused("the account has expired"));
    }
    match (line.changed, line.longest) {
        (Some(0), _) => Err(refused("the password must be changed first")),
        (Some(changed), Some(longest)) if today > changed.saturating_add(longest) => {
            Err(refused("the password has expired"))
        }
        _ => Ok(()),
    }
}

/// A hash with the most common cost in the file.
fn usual_hash(shadow: &[u8]) -> String {
    let mut classes: HashMap<&str, (u32, &str)> = HashMap::new();
    for hash in files::hashes(shadow) {
        if !password::never_matches(hash) && password::check(hash).is_ok() {
            let class = classes
                .entry(password::cost_class(hash))
                .or_insert((0, hash));
            class.0 += 1;
        }
    }
    let most = classes.into_values().max();
    most.map_or_else(String::new, |(_, hash)| hash.to_owned())
}

/// Whether the password fits; one that nobody has takes the time of a wrong
/// one.
fn proven(hash: Option<&str>, shadow: &[u8], given: &[u8]) -> Result<bool> {
    match hash {
        Some(hash) if !password::never_matches(hash) && password::check(hash).is_ok() => {
            password::verify(hash, given)
        }
        _ => {
            password::dummy_verify(given, &usual_hash(shadow));
            Ok(false)
        }
    }
}

/// Whether a key is in the user's `.ssh/authorized_keys`, which counts only if
/// nobody but the user and root can write it or put another in its place (what
/// sshd calls StrictModes). Links lead nowhere outside of the home.
fn key_fits(
    account: &Account,
    key: &PublicKey,
    with: &Credentials<'_>,
    open: &OpenHome<'_>,
) -> bool {
    if !account.home.is_absolute() {
        return false;
    }
    let read = || -> Result<AuthorizedKeys> {
        let home = open(account)?;
        let directory = VirtualPath::root().join(b".ssh")?;
        let file = directory.join(b"authorized_keys")?;
        let uid = account.identity.uid;
        for path in [&VirtualPath::root(), &directory] {
            let metadata = home.metadata(path, Follow::Yes)?;
            if (metadata.uid != 0 && metadata.uid != uid) || metadata.mode & 0o022 != 0 {
                let what = format!("others may write {}{path}", account.home.display());
                return Err(Error::new(ErrorKind::Denied, what));
            }
        }
        keys::read(home.as_ref(), &file, uid)
    };
    match read() {
        Ok(keys) => keys.allows(key, with, SystemTime::now()),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => {
            log::warn!("{error}");
            false
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let doing = || format!("reading {}", path.display());
    let text = File::open(path).and_then(|file| read_at_most(file, FILE_MAX + 1));
    let text = text.doing(doing())?;
    if text.len() as u64 > FILE_MAX {
        return Err(Error::new(
            ErrorKind::Internal,
            format!("{} is larger than 32 MiB", path.display()),
        ));
    }
    Ok(text)
}

/// `None` if there is no such file; any other trouble is trouble, so that an
/// unreadable list of refused users refuses.
fn read_if_any(path: &Path) -> Result<Option<Vec<u8>>> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
