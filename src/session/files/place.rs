//! Where an operation takes place, and what the user may do there: the one
//! function that judges rights, [`Files::place`].
//!
//! SECURITY: rights belong to places. A path is resolved to one without links
//! first; the rule of the innermost directory on it counts, found by device
//! and inode as well as by its path, so that another case, a bind mount or a
//! link of the administrator's is no way around it. What is allowed is done
//! with the resolved path through `FileSystem::without_links`, so whoever
//! swaps a directory for a link in between gets an error.

use super::Files;
use crate::auth::{Perms, Right, User};
use crate::config::{Config, DotFiles};
use crate::error::{Error, ErrorKind, Result};
use crate::session::{names, places};
use crate::storage::{Directory, FileKind, Follow, Metadata, Resolved, VirtualPath};

/// A path that has been judged.
#[derive(Clone)]
pub(in crate::session) struct Place {
    /// What to give to [`Files::file_system`].
    pub(in crate::session) path: VirtualPath,
    /// What the user may do here.
    pub(in crate::session) perms: Perms,
    /// Device and inode of what is here, where that was looked at.
    id: Option<(u64, u64)>,
}

impl Place {
    /// Whether the user has `right` here.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`].
    pub(in crate::session) fn needs(&self, right: Right) -> Result<()> {
        if self.perms.has(right) {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Denied,
                format!("no right {right:?} at {}", self.path),
            ))
        }
    }

    /// Whether the user may replace what is here.
    pub(in crate::session) fn may_replace(&self) -> bool {
        self.perms.has(Right::Write) && self.perms.has(Right::Delete)
    }
}

/// Whether it matters to a user where a path leads. Nobody else pays for it.
pub(super) fn is_judged(user: &User, config: &Config) -> bool {
    let makes = [Right::Write, Right::MakeDir, Right::Rename];
    let is_guest = user.anonymous || !user.perms.has(Right::Delete);
    !user.directories.is_empty()
        || !config.deny_names.is_empty()
        || config.dot_files == DotFiles::Deny
        || is_guest && makes.iter().any(|right| user.perms.has(*right))
}

/// Rights over a file that has this name, whichever name it was given before.
const OF_A_FILE: [Right; 6] = [
    Right::Read,
    Right::Append,
    Right::Delete,
    Right::Write,
    Right::Mode,
    Right::Time,
];

impl Files {
    /// SECURITY: the only way from a client's path to the file system. `follow`
    /// is what the operation does with a link in the last component.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for names that nobody may use.
    pub(in crate::session) fn place(&self, path: &VirtualPath, follow: Follow) -> Result<Place> {
        if !self.0.judged {
            return Ok(Place {
                path: path.clone(),
                perms: self.0.user.perms,
                id: None,
            });
        }
        // A denied name is denied whatever it leads to, and so is a link to one.
        self.may_name(path)?;
        let files = &self.0.user.file_system;
        if follow == Follow::No && !self.0.config.deny_names.is_empty() {
            self.may_name(&files.resolve(path, Follow::Yes)?.path)?;
        }
        self.judge(files.resolve(path, follow)?)
    }

    fn judge(&self, resolved: Resolved) -> Result<Place> {
        self.may_name(&resolved.path)?;
        let depth = resolved.path.components().count();
        Ok(Place {
            perms: places::rights(&self.0.user, &resolved),
            id: resolved.ids.get(depth).copied().filter(places::is_known),
            path: resolved.path,
        })
    }

    /// A pattern is held against the path after links are followed, or
    /// `x -> a.key` would show what `*.key` denies (CVE-2015-1419).
    pub(super) fn may_name(&self, path: &VirtualPath) -> Result<()> {
        let config = &self.0.config;
        if path.components().any(|name| names::is_denied(name, config)) {
            Err(Error::new(
                ErrorKind::NotFound,
                format!("a denied name: {path}"),
            ))
        } else {
            Ok(())
        }
    }

    /// SECURITY: who may not even delete at a place is a guest there, and brings
    /// no `.htaccess`, `.bashrc` or `.ssh/authorized_keys` (wharf-security(7),
    /// attack 28), under whatever name a link gives to its directory.
    pub(super) fn may_make(&self, named: &VirtualPath, place: &Place) -> Result<()> {
        if !self.0.user.anonymous && place.perms.has(Right::Delete) {
            return Ok(());
        }
        let dotted = |path: &VirtualPath| path.components().any(|name| name.starts_with(b"."));
        if dotted(named) || dotted(&place.path) {
            Err(Error::new(
                ErrorKind::Denied,
                format!("guests make no names with a dot in front: {named}"),
            ))
        } else {
            Ok(())
        }
    }

    /// SECURITY: a directory with rights of its own stays where it is, and so
    /// does everything on the way to it: no rename, removal or link may put
    /// something else in its place.
    pub(super) fn may_move(&self, place: &Place) -> Result<()> {
        match places::leads_to_rule(&self.0.user, &place.path, place.id) {
            None => Ok(()),
            Some(rule) => Err(Error::new(
                ErrorKind::Denied,
                format!("{} leads to rights of their own at {rule}", place.path),
            )),
        }
    }

    /// SECURITY: another name must not give rights that the file's own place
    /// does not give.
    pub(super) fn may_name_again(&self, old: &Place, new: &Place) -> Result<()> {
        let gained = |right: &&Right| new.perms.has(**right) && !old.perms.has(**right);
        match OF_A_FILE.iter().find(gained) {
            None => Ok(()),
            Some(right) => Err(Error::new(
                ErrorKind::Denied,
                format!(
                    "{} would give the right {right:?} to {}",
                    new.path, old.path
                ),
            )),
        }
    }

    /// Where a path leads when all links are followed. What does not exist
    /// stays as it is named, so that one can ask before making it; and so does
    /// what leads through links that the user may not see.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for names that nobody may use.
    pub fn real_path(&self, path: &VirtualPath) -> Result<VirtualPath> {
        let user = &self.0.user;
        self.may_name(path)?;
        if user.directories.is_empty() && !user.perms.has(Right::List) {
            return Ok(path.clone());
        }
        let resolved = user.file_system.resolve(path, Follow::Yes)?;
        for link in &resolved.links {
            if !self.place(link, Follow::No)?.perms.has(Right::List) {
                return Ok(path.clone());
            }
        }
        self.may_name(&resolved.path)?;
        Ok(resolved.path)
    }

    /// An open directory whose links are judged where they lead.
    pub(super) fn judged(
        &self,
        directory: Box<dyn Directory>,
        path: VirtualPath,
    ) -> Box<dyn Directory> {
        if self.0.judged {
            Box::new(Judged {
                directory,
                path,
                files: self.clone(),
            })
        } else {
            directory
        }
    }
}

struct Judged {
    directory: Box<dyn Directory>,
    path: VirtualPath,
    files: Files,
}

impl Directory for Judged {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Option<FileKind>>> {
        self.directory.next(name)
    }

    fn metadata(&self, name: &[u8], follow: Follow) -> Result<Metadata> {
        let metadata = self.directory.metadata(name, Follow::No)?;
        match (follow, metadata.kind) {
            (Follow::Yes, FileKind::Link) => self.files.metadata(&self.path.join(name)?, follow),
            _ => Ok(metadata),
        }
    }

    fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.directory.read_link(name)
    }
}
