//! The directory for keys that the server makes itself.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::{Doing, Error, ErrorKind, Result};

/// The directory for keys that the server makes itself: the configured one,
/// or the usual place for this user, if there is one.
pub fn state_dir(config: &Config) -> Option<PathBuf> {
    if let Some(directory) = &config.state_dir {
        return Some(directory.clone());
    }
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/wharf"));
    }
    let variable = |name| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
        .map(|directory| directory.join("wharf"))
}

/// The certificate and its key that [`Config::self_signed`] stands for.
pub fn own_pair(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join("wharf.crt"), directory.join("wharf.key"))
}

/// The directory, made if it is not there.
///
/// # Errors
/// It can't be made, or there is no usual place.
pub(super) fn open(config: &Config) -> Result<PathBuf> {
    let directory = state_dir(config).ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            "there is no place for keys: give --state-dir DIR",
        )
    })?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .doing(format!(
            "making {} for keys; give another --state-dir",
            directory.display()
        ))?;
    Ok(directory)
}
