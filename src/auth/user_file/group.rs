//! Groups: the line of `@NAME` gives users with `group=NAME` what their own
//! lines leave out. Here: their names and homes.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::auth::home::{self, USER_NAME};

use super::value::{checked_home, decoded};

/// What the name of a group's line begins with.
pub(super) const GROUP: char = '@';

/// The home of a group, where `%u` stands for the name of the user.
pub(super) fn parse_home(field: &[u8]) -> Result<PathBuf, String> {
    let mut home = Vec::new();
    let mut rest = field;
    while let Some(at) = rest.windows(2).position(|two| two == USER_NAME) {
        home.extend_from_slice(&decoded(&rest[..at])?);
        home.extend_from_slice(USER_NAME);
        rest = &rest[at + 2..];
    }
    home.extend_from_slice(&decoded(rest)?);
    checked_home(&home)
}

/// The home that a group gives to a user.
pub(super) fn home_of(group: &Path, name: &str) -> Result<PathBuf, String> {
    let pattern = group.as_os_str().as_bytes();
    if pattern.is_empty() {
        return Err("expected a home: the group has none either".into());
    }
    let home = home::of_user(group, name).ok_or(
        "expected a home: a name with '/' or a '.' at its start is not put in place of %u",
    )?;
    checked_home(home.as_os_str().as_bytes())
}
