//! A user's home as a file system, made first where that is asked for.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Identity;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::storage::{FileSystem, LocalFs};

/// Opens homes as the users that act there: through processes of theirs,
/// where the server itself has no privileges.
pub trait Homes: Send + Sync + fmt::Debug {
    /// The home of the user `name` of the users file.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when it can't be used.
    fn open(&self, name: &str) -> Result<Arc<dyn FileSystem>>;

    /// The directory of the user's `mount=` of this number, from 0.
    ///
    /// # Errors
    /// As [`Homes::open`].
    fn open_mount(&self, _name: &str, _number: usize) -> Result<Arc<dyn FileSystem>> {
        Err(Error::from(ErrorKind::Unsupported))
    }
}

/// Mode of a home that we make, unless the user has another.
const HOME_MODE: u32 = 0o700;

/// What to do about a home that does not exist.
#[derive(Debug, Clone, Copy)]
pub(super) enum Missing<'a> {
    /// The user can't log in.
    Refuse,
    /// It is made, with this mode and owner.
    Create {
        mode: Option<u32>,
        owner: Option<&'a Identity>,
    },
}

/// Stands for the user's name in the pattern of homes.
pub(super) const USER_NAME: &[u8] = b"%u";

/// The home of `name` by a pattern.
///
/// SECURITY: `None` for a name with a slash or a dot at its start, which would
/// be the home of another user.
pub(super) fn of_user(pattern: &Path, name: &str) -> Option<PathBuf> {
    let mut home = Vec::new();
    let mut rest = pattern.as_os_str().as_bytes();
    while let Some(at) = rest.windows(2).position(|two| two == USER_NAME) {
        if name.contains('/') || name.starts_with('.') {
            return None;
        }
        home.extend_from_slice(&rest[..at]);
        home.extend_from_slice(name.as_bytes());
        rest = &rest[at + 2..];
    }
    home.extend_from_slice(rest);
    Some(PathBuf::from(OsString::from_vec(home)))
}

/// Opens `home`.
///
/// # Errors
/// [`ErrorKind::NotFound`] with words for the user, or [`ErrorKind::Internal`]:
/// the user has shown who they are, and only the administrator can help.
pub(super) fn open(home: &Path, missing: Missing<'_>) -> Result<Arc<dyn FileSystem>> {
    make(home, missing)?;
    let file_system = LocalFs::open(home).map_err(|error| match error.kind() {
        ErrorKind::NotFound => missing_home(home),
        _ => unusable("opening", home, error),
    })?;
    Ok(Arc::new(file_system))
}

/// Makes `home` if that is asked for.
///
/// # Errors
/// As [`open`].
pub(super) fn make(home: &Path, missing: Missing<'_>) -> Result<()> {
    match missing {
        Missing::Refuse => Ok(()),
        Missing::Create { mode, owner } => create(home, mode.unwrap_or(HOME_MODE), owner)
            .map_err(|error| unusable("making", home, error)),
    }
}

/// What the user is told when [`missing_home`] is why they can't log in.
pub const MISSING_HOME: &str = "Your home directory is missing.";

/// The error for a home that does not exist. The password was right: the user
/// is told.
pub fn missing_home(home: &Path) -> Error {
    let home = home.display();
    let what = format!("the home '{home}' does not exist: make it, or set create-home=yes");
    Error::new(ErrorKind::NotFound, what).telling(MISSING_HOME)
}

fn unusable(doing: &str, home: &Path, error: Error) -> Error {
    Error::with_source(
        ErrorKind::Internal,
        format!("{doing} the home '{}'", home.display()),
        error,
    )
}

/// Makes the last component only: a tree that appears because a disk is not
/// mounted helps nobody.
fn create(home: &Path, mode: u32, owner: Option<&Identity>) -> Result<()> {
    match rustix::fs::mkdir(home, Mode::from_raw_mode(0o700)) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    // By descriptor and without following links: should somebody who can write
    // to the directory above put a link there now, nothing else is given away.
    let directory = rustix::fs::open(
        home,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    if let Some(owner) = owner {
        rustix::fs::fchown(
            &directory,
            Some(rustix::fs::Uid::from_raw(owner.uid)),
            Some(rustix::fs::Gid::from_raw(owner.gid)),
        )
        .doing("giving it to the user")?;
    }
    // Not in mkdir: the umask would take bits away.
    rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode)).doing("setting its mode")?;
    Ok(())
}
