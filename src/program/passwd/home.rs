//! The home of a user: `--create-home` makes it.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use wharf::daemon::Settings;

use crate::program::identity;

/// The account that packages run the server as.
const ACCOUNT: &str = "wharf";

/// Makes the home, and what is missing above it, for the server: run by root,
/// it belongs to `ids`, or to the account `wharf`, or to whoever has the
/// directory above it; instead of to root, whose homes a server that has given up
/// root can't enter, to the account that it becomes.
///
/// # Errors
/// The directory can't be made.
pub fn create(home: &Path, ids: Option<(u32, u32)>) -> io::Result<()> {
    if home.exists() {
        return Ok(());
    }
    let above = home.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(above)?;
    std::fs::DirBuilder::new().mode(0o750).create(home)?;
    if rustix::process::geteuid().is_root() {
        let account = || identity::resolve(ACCOUNT).ok();
        let (uid, gid) = match ids.or_else(account) {
            Some(ids) => ids,
            None => owner_like(above)?,
        };
        std::os::unix::fs::chown(home, Some(uid), Some(gid))?;
    }
    Ok(())
}

fn owner_like(above: &Path) -> io::Result<(u32, u32)> {
    let above = std::fs::metadata(above)?;
    if above.uid() == 0 && identity::is_privileged() {
        let account = identity::account(&Settings::default());
        return account.map_err(|failure| io::Error::other(failure.what));
    }
    Ok((above.uid(), above.gid()))
}
