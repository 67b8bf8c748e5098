//! Whom the process acts as on the operating system's files.

use crate::auth::Identity;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::sys;

/// What a login does to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdentityScope {
    /// Nothing: it serves many clients. Homes of others are opened by others.
    #[default]
    Nothing,
    /// It becomes the user, for good: it serves one client.
    Process,
}

/// Sees to it that the process acts as `identity`.
///
/// # Errors
/// [`ErrorKind::Internal`] when it does not and may not.
pub fn act_as(identity: &Identity, scope: IdentityScope) -> Result<()> {
    let own = rustix::process::geteuid().as_raw();
    if own == identity.uid && own != 0 {
        return Ok(());
    }
    if own != 0 || scope == IdentityScope::Nothing {
        return Err(Error::new(
            ErrorKind::Internal,
            format!(
                "acting as uid {} needs a wharfd that was started as root",
                identity.uid
            ),
        ));
    }
    let mut groups = identity.groups.clone();
    if !groups.contains(&identity.gid) {
        groups.push(identity.gid);
    }
    sys::become_user(identity.uid, identity.gid, &groups)
        .doing(format!("becoming uid {}", identity.uid))
}
