//! From an entry, wherever it came from, to a user: its conditions, its home
//! and its limits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::certificate::plain_algorithm;
use super::user_file::{Entry, Mount, Options};
use super::{AuthorizedKeys, Credentials, Homes, Identity, Perms, PublicKey, User, UserLimits};
use super::{home, refused};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Directory, File, FileSystem, Follow, Metadata, OpenOptions, VirtualPath};

/// What users have where their line says nothing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UserDefaults {
    /// Rights of users whose rights field is empty.
    pub perms: Perms,
    /// Limits.
    pub limits: UserLimits,
    /// Authorities whose certificates log in over SFTP as the users that they
    /// name, one key per line; read at each login.
    pub user_ca: Option<PathBuf>,
    /// Who opens homes; `None`: this process.
    pub(crate) homes: Option<Arc<dyn Homes>>,
}

impl Default for UserDefaults {
    /// Read only, no limits.
    fn default() -> Self {
        UserDefaults {
            perms: Perms::READ_ONLY,
            limits: UserLimits::default(),
            user_ca: None,
            homes: None,
        }
    }
}

impl UserDefaults {
    /// Sets the rights.
    pub fn with_perms(mut self, perms: Perms) -> Self {
        self.perms = perms;
        self
    }

    /// Lets in who shows a certificate by one of the authorities in `file`.
    pub fn with_user_ca(mut self, file: Option<PathBuf>) -> Self {
        self.user_ca = file;
        self
    }

    /// Whether the key is a certificate by one of the authorities for this user.
    pub(super) fn vouch_for(&self, key: &PublicKey, with: &Credentials<'_>) -> bool {
        let is_certificate = plain_algorithm(&key.algorithm).is_some();
        let Some(file) = self.user_ca.as_ref().filter(|_| is_certificate) else {
            return false;
        };
        match AuthorizedKeys::read(file) {
            Ok(keys) => keys.into_authorities().allows(key, with, SystemTime::now()),
            Err(error) => {
                log::error!("{error}");
                false
            }
        }
    }
}

/// The user of an entry: opens the home, making it where the entry says so.
/// For a dry run nothing is made or opened.
///
/// # Errors
/// [`ErrorKind::Internal`] when the home can't be used.
pub(super) fn user(
    entry: Entry,
    defaults: &UserDefaults,
    credentials: &Credentials<'_>,
) -> Result<User> {
    let options = &entry.options;
    let mut identity = options.identity();
    let file_system = match &defaults.homes {
        _ if credentials.dry_run => Arc::new(Unopened),
        // Whoever opens it sees to the identity.
        Some(homes) => {
            if identity.take().is_none() {
                // Where we may; elsewhere they make it.
                let _ = home::make(&entry.home, missing(options, None));
            }
            homes.open(&entry.name)?
        }
        None => home::open(&entry.home, missing(options, identity.as_ref()))?,
    };
    let limits = &defaults.limits;
    let mut user =
        User::new(entry.name, file_system).with_perms(entry.perms.unwrap_or(defaults.perms));
    user.limits = UserLimits {
        max_sessions: options.max_sessions.unwrap_or(limits.max_sessions),
        rate_down: options.rate_down.unwrap_or(limits.rate_down),
        rate_up: options.rate_up.unwrap_or(limits.rate_up),
        quota_bytes: options.quota_bytes.or(limits.quota_bytes),
        quota_files: options.quota_files.or(limits.quota_files),
        quota_full: options.quota_full.or(limits.quota_full),
        retention: options.retention.or(limits.retention),
    };
    user.identity = identity;
    if !credentials.dry_run {
        user.mounts = mounts(&user.name, options, defaults);
    }
    user.file_mode = options.file_mode;
    user.dir_mode = options.dir_mode;
    user.directories = entry.options.directories;
    for mount in entry.options.mounts {
        user.directories
            .extend(mount.perms.map(|perms| (mount.at, perms)));
    }
    Ok(user)
}

/// The shared folders. The disk of one may be missing: the user works in the
/// others meanwhile, and nothing is put under its name.
fn mounts(
    name: &str,
    options: &Options,
    defaults: &UserDefaults,
) -> Vec<(VirtualPath, Arc<dyn FileSystem>)> {
    let open = |(number, mount): (usize, &Mount)| {
        let opened = match &defaults.homes {
            Some(homes) => homes.open_mount(name, number),
            None => home::open(&mount.directory, home::Missing::Refuse),
        };
        let files = opened.unwrap_or_else(|error| {
            log::error!("mount={}: {error}", mount.at);
            Arc::new(Unopened)
        });
        (mount.at.clone(), files)
    };
    options.mounts.iter().enumerate().map(open).collect()
}

/// What happens where the home of an entry is missing.
fn missing<'a>(options: &Options, owner: Option<&'a Identity>) -> home::Missing<'a> {
    if options.create_home {
        home::Missing::Create {
            mode: options.dir_mode,
            owner,
        }
    } else {
        home::Missing::Refuse
    }
}

/// Makes the home of an entry, if its line says so, for whoever opens it then:
/// whom the line names, or `owner`.
///
/// # Errors
/// A home that can't be made.
pub fn make_home(entry: &Entry, owner: Option<&Identity>) -> Result<()> {
    let identity = entry.options.identity();
    let owner = identity.as_ref().or(owner);
    home::make(&entry.home, missing(&entry.options, owner))
}

/// What somebody who has only asked sees of a home: nothing.
pub struct Unopened;

impl Unopened {
    fn refuse<T>() -> Result<T> {
        Err(Error::new(ErrorKind::Denied, "the home was not opened"))
    }
}

impl FileSystem for Unopened {
    fn metadata(&self, _: &VirtualPath, _: Follow) -> Result<Metadata> {
        Unopened::refuse()
    }

    fn open(&self, _: &VirtualPath, _: &OpenOptions) -> Result<Box<dyn File>> {
        Unopened::refuse()
    }

    fn read_dir(&self, _: &VirtualPath) -> Result<Box<dyn Directory>> {
        Unopened::refuse()
    }
}

/// The conditions of the line, once the secret is shown.
pub(super) fn conditions(
    entry: &Entry,
    credentials: &Credentials<'_>,
    now: SystemTime,
) -> Result<()> {
    let options = &entry.options;
    let holds = |networks: &[crate::address::Network]| {
        let mut networks = networks.iter();
        networks.any(|network| network.contains(credentials.peer))
    };
    entry_is_good(entry, now)?;
    if holds(&options.deny) {
        return Err(refused("the address is denied to the user"));
    }
    if !options.allow.is_empty() && !holds(&options.allow) {
        return Err(refused("the address is not allowed to the user"));
    }
    if options.tls_required && !credentials.secure {
        return Err(refused("the user needs an encrypted connection"));
    }
    Ok(())
}

/// The conditions that hold wherever the user comes from.
pub(super) fn entry_is_good(entry: &Entry, now: SystemTime) -> Result<()> {
    if entry.is_locked() {
        return Err(refused("the user is locked"));
    }
    if (entry.options.expires).is_some_and(|day| today(now) >= day) {
        return Err(refused("the user has expired"));
    }
    Ok(())
}

/// Days since 1970 began, in UTC.
pub(super) fn today(now: SystemTime) -> i64 {
    now.duration_since(UNIX_EPOCH)
        .map_or(0, |since| (since.as_secs() / 86_400) as i64)
}
