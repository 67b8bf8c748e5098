//! Who may log in, and what they get.
//!
//! *Logging in yields the user's file system*: an [`Authenticator`] turns
//! [`Credentials`] into a [`User`] that carries rights, limits and an
//! `Arc<dyn FileSystem>`. Both protocols log in in the same way.

mod anonymous;
mod authorized_keys;
// Without SFTP nobody shows one; files of keys name their authorities all the same.
#[cfg_attr(not(feature = "sftp"), allow(dead_code))]
mod certificate;
mod chain;
pub(crate) mod grant;
pub(crate) mod helper;
pub(crate) mod home;
pub mod password;
mod perms;
mod public_key;
pub(crate) mod system;
pub(crate) mod totp;
pub(crate) mod user_file;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::{FileSystem, Usage, VirtualPath};

pub use anonymous::Anonymous;
pub use authorized_keys::AuthorizedKeys;
#[cfg(feature = "sftp")]
pub(crate) use certificate::{Bearer, CERTIFICATE, Certificate, plain_algorithm};
pub use chain::Chain;
pub use grant::UserDefaults;
pub(crate) use home::Homes;
pub use perms::{Perms, Right};
pub use public_key::PublicKey;
pub use user_file::UserFile;

/// Decides who may log in.
pub trait Authenticator: Send + Sync {
    /// Checks the credentials and yields the user.
    ///
    /// # Errors
    /// [`ErrorKind::LoginRefused`] for a wrong name, a wrong secret or a user
    /// who may not log in; it must not matter to the time taken which of
    /// these it was. Any other kind means that nobody can be checked now.
    fn authenticate(&self, credentials: &Credentials<'_>) -> Result<User>;

    /// Whether a user who has logged in might do so again; `None`: this source
    /// can't tell. A session whose user might not is ended within a minute.
    fn standing(&self, _name: &str) -> Option<Standing> {
        None
    }

    /// Whether the names of guests, `anonymous` and `ftp`, are logged in here as
    /// guests, whatever their password: it may come in the clear then.
    fn serves_guests(&self) -> bool {
        false
    }

    /// Whether this user's password goes with a code, which a client that can
    /// ask its user twice is asked for on its own.
    fn wants_code(&self, _name: &str) -> bool {
        false
    }
}

/// Kinds of proof, as a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Proofs(u8);

impl Proofs {
    /// None.
    pub const NONE: Proofs = Proofs(0);
    /// A password.
    pub const PASSWORD: Proofs = Proofs(1);
    /// A public key of SSH.
    pub const PUBLIC_KEY: Proofs = Proofs(2);

    /// Those of either.
    pub fn and(self, other: Proofs) -> Proofs {
        Proofs(self.0 | other.0)
    }

    /// Those that are not in `shown`.
    pub fn beyond(self, shown: Proofs) -> Proofs {
        Proofs(self.0 & !shown.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self == Proofs::NONE
    }
}

/// What an [`Authenticator`] knows about a name, apart from its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The user may log in.
    Good,
    /// The user is locked or has expired.
    Barred,
    /// There is no such user.
    Absent,
}

/// A closure is one, too.
impl<F> Authenticator for F
where
    F: Fn(&Credentials<'_>) -> Result<User> + Send + Sync,
{
    fn authenticate(&self, credentials: &Credentials<'_>) -> Result<User> {
        self(credentials)
    }
}

/// What somebody who wants to log in has shown.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Credentials<'a> {
    /// The name given.
    pub name: &'a str,
    /// The proof given.
    pub secret: Secret<'a>,
    /// The address of the client.
    pub peer: IpAddr,
    /// Whether the connection is encrypted.
    pub secure: bool,
    /// Whether this only asks if the login would succeed, as SSH clients do
    /// with each key before they sign with it. The answer logs nobody in, so
    /// nothing may be made for the user, and the file system may be any.
    pub dry_run: bool,
    /// What has been shown for this name before, on the same connection.
    pub shown: Proofs,
    /// Whether more can be shown on it: a user of whom more is required is then
    /// told by [`User::missing`], and refused otherwise.
    pub goes_on: bool,
}

impl<'a> Credentials<'a> {
    /// Credentials of a client at `peer` on a connection in the clear.
    pub fn new(name: &'a str, secret: Secret<'a>, peer: IpAddr) -> Self {
        Credentials {
            name,
            secret,
            peer,
            secure: false,
            dry_run: false,
            shown: Proofs::NONE,
            goes_on: false,
        }
    }
}

/// The proof that goes with a name.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Secret<'a> {
    /// A password, as bytes.
    Password(&'a [u8]),
    /// A public key whose signature the transport has verified (or will verify
    /// before anything is opened with the answer).
    PublicKey(&'a PublicKey),
    /// A client certificate that the TLS layer has verified; the subject.
    Certificate(&'a str),
}

impl Secret<'_> {
    /// What it is, as a set.
    pub fn proof(&self) -> Proofs {
        match self {
            Secret::Password(_) => Proofs::PASSWORD,
            Secret::PublicKey(_) => Proofs::PUBLIC_KEY,
            Secret::Certificate(_) => Proofs::NONE,
        }
    }
}

/// A logged-in user: who, what they may do, and where.
#[derive(Clone)]
#[non_exhaustive]
pub struct User {
    /// The name, for logs, limits and hooks.
    pub name: String,
    /// What must be shown besides; the user is not logged in before.
    pub missing: Proofs,
    /// Whether anybody may be this user.
    pub anonymous: bool,
    /// What a guest gave as password, by custom a mail address: cut and
    /// escaped, for the transfer log.
    pub contact: Option<String>,
    /// What the user may do where no line of `directories` says otherwise.
    pub perms: Perms,
    /// Rights of directories and all below them; the innermost counts,
    /// whatever names lead to it.
    pub directories: Vec<(VirtualPath, Perms)>,
    /// The user's files; `/` is the home.
    pub file_system: Arc<dyn FileSystem>,
    /// Sessions, rates, quotas.
    pub limits: UserLimits,
    /// Folders that show other files than those of `file_system`. They count
    /// for no quota.
    pub(crate) mounts: Vec<(VirtualPath, Arc<dyn FileSystem>)>,
    /// Whom the process must act as on the operating system's files to serve
    /// this user; `None`: whoever it is.
    pub identity: Option<Identity>,
    /// What the files take, for a user with a quota; set by the session.
    pub(crate) usage: Option<Arc<Usage>>,
    /// Permission bits of new files, instead of the server's.
    pub file_mode: Option<u32>,
    /// Permission bits of new directories, instead of the server's.
    pub dir_mode: Option<u32>,
}

impl User {
    /// A named user with all rights on `file_system` and no limits.
    pub fn new(name: impl Into<String>, file_system: Arc<dyn FileSystem>) -> Self {
        User {
            name: name.into(),
            missing: Proofs::NONE,
            anonymous: false,
            contact: None,
            perms: Perms::ALL,
            directories: Vec::new(),
            file_system,
            limits: UserLimits::default(),
            mounts: Vec::new(),
            identity: None,
            usage: None,
            file_mode: None,
            dir_mode: None,
        }
    }

    /// Gives the user these rights.
    pub fn with_perms(mut self, perms: Perms) -> Self {
        self.perms = perms;
        self
    }
}

/// Limits of one user; `0` is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserLimits {
    /// Sessions at the same time.
    pub max_sessions: u32,
    /// Bytes a second to the client, for all sessions of the user together.
    pub rate_down: u64,
    /// Bytes a second from the client, for all sessions of the user together.
    pub rate_up: u64,
    /// Bytes that all files of the home may take; `None`: the server's.
    pub quota_bytes: Option<u64>,
    /// Files that the home may hold; `None`: the server's.
    pub quota_files: Option<u64>,
    /// What happens when the quota is full; `None`: the server's.
    pub quota_full: Option<QuotaFull>,
    /// After which time without a change a file is deleted; zero keeps all,
    /// `None`: the server's.
    pub retention: Option<Duration>,
}

/// What happens when a quota is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaFull {
    /// The upload is refused.
    Refuse,
    /// The oldest files are deleted, as far as the user may store where they
    /// are.
    DeleteOldest,
}

/// Whom a process acts as on the operating system's files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// User number.
    pub uid: u32,
    /// Main group's number.
    pub gid: u32,
    /// All groups' numbers.
    pub groups: Vec<u32>,
}

/// The error of a refused login; the cause is for the log alone.
pub fn refused(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::LoginRefused, why)
}

/// A file system that can do nothing, for tests that only log in.
#[cfg(test)]
pub(crate) fn test_file_system() -> Arc<dyn FileSystem> {
    use crate::storage::{Directory, File, Follow, Metadata, OpenOptions};
    struct Nothing;
    fn nothing<T>() -> Result<T> {
        Err(ErrorKind::Unsupported.into())
    }
    impl FileSystem for Nothing {
        fn metadata(&self, _: &VirtualPath, _: Follow) -> Result<Metadata> {
            nothing()
        }
        fn open(&self, _: &VirtualPath, _: &OpenOptions) -> Result<Box<dyn File>> {
            nothing()
        }
        fn read_dir(&self, _: &VirtualPath) -> Result<Box<dyn Directory>> {
            nothing()
        }
    }
    Arc::new(Nothing)
}
