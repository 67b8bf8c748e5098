//! The key file of a user of this machine, read through the user's home.

use super::super::authorized_keys::{AuthorizedKeys, LARGEST};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::storage::{FileKind, FileSystem, Follow, Metadata, OpenOptions, VirtualPath};

/// Reads a file in the home of a user of this machine, as sshd does: it must
/// be the user's or root's, and one that the user could read, too. Links lead
/// nowhere outside of the home.
///
/// # Errors
/// As [`AuthorizedKeys::read`], and a file of somebody else.
pub(super) fn read(home: &dyn FileSystem, path: &VirtualPath, uid: u32) -> Result<AuthorizedKeys> {
    let doing = || format!("reading the public keys in {path}");
    let judge = |file: &Metadata| {
        let theirs = file.uid == uid || (file.uid == 0 && file.mode & 0o004 != 0);
        let trouble = match () {
            () if file.kind != FileKind::File => "it is no file",
            () if !theirs => "it is not the user's",
            () if file.mode & 0o022 != 0 => "others may write it",
            () if file.size > LARGEST as u64 => "it is larger than 1 MiB",
            () => return Ok(()),
        };
        let what = format!("{}: {trouble}", doing());
        Err(Error::new(ErrorKind::Denied, what))
    };
    // SECURITY: somebody who has not logged in names the user, and the user
    // puts there what they like. It is looked at before it is opened, and
    // again when it is open.
    judge(&home.metadata(path, Follow::Yes).doing(doing())?)?;
    let file = home.open(path, &OpenOptions::read()).doing(doing())?;
    judge(&file.metadata_at_open().doing(doing())?)?;
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match file.read_at(&mut piece, text.len() as u64).doing(doing())? {
            0 => return Ok(AuthorizedKeys::parse(&text, &path.to_string())),
            count => text.extend_from_slice(&piece[..count]),
        }
        if text.len() > LARGEST {
            let what = format!("{}: it is larger than 1 MiB", doing());
            return Err(Error::new(ErrorKind::Denied, what));
        }
    }
}
