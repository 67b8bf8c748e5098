//! A user's home as a file system, made first where that is asked for.

use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Identity;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::storage::{FileSystem, LocalFs};

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

/// Opens `home`.
///
/// # Errors
/// [`ErrorKind::Internal`]: the user has shown who they are, and only the
/// administrator can help.
pub(super) fn open(home: &Path, missing: Missing<'_>) -> Result<Arc<dyn FileSystem>> {
    if let Missing::Create { mode, owner } = missing {
        create(home, mode.unwrap_or(HOME_MODE), owner)
            .map_err(|error| unusable("making", home, error))?;
    }
    let file_system = LocalFs::open(home).map_err(|error| unusable("opening", home, error))?;
    Ok(Arc::new(file_system))
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
