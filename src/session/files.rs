//! The only caller of a user's file system: may I, do it, tell it.
//!
//! Every operation of both protocols goes through [`Files`], so that a right
//! is checked in one place, a name that is denied is denied everywhere, and
//! nothing happens without its event.

mod copy;
mod put;
mod sweep;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Services;
use super::events::{Event, Transferred, Who};
use super::home::Rates;
use super::names;
use super::registry::Live;
use super::transfer::{Bucket, Opened, Transfer};
use crate::auth::{Perms, Right, User};
use crate::config::{Config, DotFiles};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{
    Attributes, Directory, Existing, File, FileSystem, Follow, Metadata, OpenOptions, Space,
    VirtualPath,
};

pub use put::{Put, Readable};
pub(super) use sweep::Sweeps;

/// Names of uploads that are not whole yet begin so.
pub const TEMPORARY_PREFIX: &[u8] = b".wharf-upload-";

/// A logged-in user's files.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

struct Inner {
    services: Arc<Services>,
    config: Arc<Config>,
    live: Arc<Live>,
    user: User,
    down: Bucket,
    up: Bucket,
    shared: Arc<Rates>,
}

impl Files {
    pub(super) fn new(
        services: Arc<Services>,
        config: Arc<Config>,
        live: Arc<Live>,
        user: User,
    ) -> Self {
        Files(Arc::new(Inner {
            down: Bucket::new(config.session_rate_down),
            up: Bucket::new(config.session_rate_up),
            shared: services.homes.rates(&user),
            services,
            config,
            live,
            user,
        }))
    }

    /// The user whose files these are.
    pub fn user(&self) -> &User {
        &self.0.user
    }

    /// The configuration of the session.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.0.live
    }

    pub(super) fn file_system(&self) -> &dyn FileSystem {
        self.0.user.file_system.as_ref()
    }

    /// Tells everybody who listens.
    pub fn emit(&self, event: &Event<'_>) {
        let who = Who {
            session: self.0.live.id,
            user: Some(&self.0.user.name),
            anonymous: self.0.user.anonymous,
            peer: self.0.live.peer,
            protocol: self.0.live.protocol,
        };
        self.0.services.emit(&who, event);
    }

    /// A transfer that has ended, in the log.
    pub(super) fn log_transfer(&self, done: &Transferred<'_>, up: bool) {
        log::info!(
            path:% = done.path, bytes = done.bytes, complete = done.complete;
            "{} {}{}, {} bytes in {}.{:03} s{}{}",
            if up { "received" } else { "sent" },
            done.path,
            if done.complete { "" } else { " not wholly" },
            done.bytes,
            done.time.as_secs(),
            done.time.subsec_millis(),
            if done.sha256.is_some() {
                ", SHA-256 "
            } else {
                ""
            },
            done.sha256.unwrap_or_default(),
        );
    }

    pub(super) fn pace(&self, bytes: u64, up: bool) -> Duration {
        let waits = self.buckets(up).map(|bucket| bucket.take(bytes));
        waits.into_iter().max().unwrap_or_default()
    }

    pub(super) fn is_paced(&self, up: bool) -> bool {
        self.buckets(up).iter().any(|bucket| bucket.is_limited())
    }

    /// Of the session, the user and the server.
    fn buckets(&self, up: bool) -> [&Bucket; 3] {
        let inner = &self.0;
        match up {
            true => [&inner.up, &inner.shared.up, &inner.services.rate_up],
            false => [&inner.down, &inner.shared.down, &inner.services.rate_down],
        }
    }

    /// What the user may do at `path`.
    pub fn perms_at(&self, path: &VirtualPath) -> Perms {
        self.0.user.perms_at(path)
    }

    /// Whether the user has `right` at `path`, and may know of the name at all.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] or, for names nobody may use, [`ErrorKind::NotFound`].
    pub fn may(&self, path: &VirtualPath, right: Right) -> Result<()> {
        self.may_name(path)?;
        match self.perms_at(path).has(right) {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Denied,
                format!("no right {right:?} at {path}"),
            )),
        }
    }

    /// A pattern is held against the path after links are followed, or
    /// `x -> a.key` would show what `*.key` denies (CVE-2015-1419).
    fn may_name(&self, path: &VirtualPath) -> Result<()> {
        let config = &self.0.config;
        if config.deny_names.is_empty() && config.dot_files != DotFiles::Deny {
            return Ok(());
        }
        let denied =
            |path: &VirtualPath| path.components().any(|name| names::is_denied(name, config));
        if denied(path) || denied(&names::resolve(self.file_system(), path)?) {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("a denied name: {path}"),
            ));
        }
        Ok(())
    }

    /// SECURITY: who may not even delete at `path` is a guest there, and brings
    /// no `.htaccess`, `.bashrc` or `.ssh/authorized_keys` (wharf-security(7),
    /// attack 28), under whatever name a link gives to its directory.
    fn may_make(&self, path: &VirtualPath) -> Result<()> {
        if !self.0.user.anonymous && self.perms_at(path).has(Right::Delete) {
            return Ok(());
        }
        let dotted = |path: &VirtualPath| path.components().any(|name| name.starts_with(b"."));
        match dotted(path) || dotted(&names::resolve(self.file_system(), path)?) {
            true => Err(Error::new(
                ErrorKind::Denied,
                format!("guests make no names with a dot in front: {path}"),
            )),
            false => Ok(()),
        }
    }

    /// What is known about a path.
    pub fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata> {
        self.may(path, Right::List)?;
        self.file_system().metadata(path, follow)
    }

    /// Checks that a user may stand in a directory.
    pub fn enter(&self, path: &VirtualPath) -> Result<()> {
        self.may(path, Right::Enter)?;
        match self.file_system().metadata(path, Follow::Yes)?.is_dir() {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::NotDirectory,
                "changing the directory",
            )),
        }
    }

    /// Opens a directory for listing; names nobody may see are left out.
    pub fn list(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        self.may(path, Right::List)?;
        let directory = self.file_system().read_dir(path)?;
        Ok(Box::new(names::Visible::new(
            directory,
            Arc::clone(&self.0.config),
        )))
    }

    /// Opens a file that will be sent.
    pub fn get(&self, path: &VirtualPath) -> Result<Transfer> {
        self.may(path, Right::Read)?;
        let busy = self.live().begin()?;
        let file = self.file_system().open(path, &OpenOptions::read())?;
        // For those who watch; 0 is unknown.
        let size = file.metadata_at_open().map_or(0, |metadata| metadata.size);
        let transfer = self.transfer(Opened {
            file,
            busy,
            path: path.clone(),
            pending: None,
            delete_if_broken: false,
            writes: false,
        });
        self.live().size.store(size, Relaxed);
        Ok(transfer)
    }

    /// Opens a file that is only looked at on the server, for a checksum:
    /// reading it, but not a transfer.
    pub fn inspect(&self, path: &VirtualPath) -> Result<Box<dyn File>> {
        self.may(path, Right::Read)?;
        self.file_system().open(path, &OpenOptions::read())
    }

    /// Where a path leads when all links are followed. What does not exist
    /// stays as it is named, so that one can ask before making it.
    pub fn real_path(&self, path: &VirtualPath) -> Result<VirtualPath> {
        self.may_name(path)?;
        names::resolve(self.file_system(), path)
    }

    fn transfer(&self, opened: Opened) -> Transfer {
        Transfer::new(self.clone(), opened)
    }

    fn dir_mode(&self) -> u32 {
        self.0.user.dir_mode.unwrap_or(self.0.config.dir_mode.0)
    }

    /// Makes a directory; of `mode`, which the client wishes, it gets what
    /// the configured bits have.
    pub fn make_dir(&self, path: &VirtualPath, mode: Option<u32>) -> Result<()> {
        self.may(path, Right::MakeDir)?;
        self.may_make(path)?;
        let dir_mode = self.dir_mode();
        let mode = mode.map_or(dir_mode, |wished| wished & dir_mode);
        self.file_system().make_dir(path, mode)?;
        self.emit(&Event::DirectoryMade(path));
        Ok(())
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &VirtualPath) -> Result<()> {
        self.may(path, Right::Delete)?;
        self.file_system().remove_dir(path)?;
        self.emit(&Event::DirectoryRemoved(path));
        Ok(())
    }

    /// Deletes a file or a link.
    pub fn delete(&self, path: &VirtualPath) -> Result<()> {
        self.may(path, Right::Delete)?;
        self.file_system().remove_file(path)?;
        self.emit(&Event::Deleted(path));
        Ok(())
    }

    /// Whether a rename may begin with `path`: it exists and may be renamed.
    pub fn may_rename(&self, path: &VirtualPath) -> Result<()> {
        self.may(path, Right::Rename)?;
        self.file_system().metadata(path, Follow::No).map(drop)
    }

    /// Renames. The target needs the right to rename too, and replacing
    /// something there is storing and deleting.
    pub fn rename(&self, from: &VirtualPath, to: &VirtualPath, existing: Existing) -> Result<()> {
        self.may(from, Right::Rename)?;
        self.may(to, Right::Rename)?;
        self.may_make(to)?;
        let perms = self.perms_at(to);
        let existing = match perms.has(Right::Delete) && perms.has(Right::Write) {
            true => existing,
            false => Existing::Keep,
        };
        self.file_system().rename(from, to, existing)?;
        self.emit(&Event::Renamed(from, to));
        Ok(())
    }

    /// Checks the rights for everything but the size, and yields what may be
    /// set: the bits that let a program act as its owner never pass.
    pub(super) fn may_set(
        &self,
        path: &VirtualPath,
        attributes: &Attributes,
    ) -> Result<Attributes> {
        if attributes.mode.is_some() || attributes.uid.is_some() || attributes.gid.is_some() {
            self.may(path, Right::Mode)?;
        }
        if attributes.modified.is_some() || attributes.accessed.is_some() {
            self.may(path, Right::Time)?;
        }
        Ok(Attributes {
            mode: attributes.mode.map(|mode| mode & 0o1777),
            ..*attributes
        })
    }

    /// Checks the rights for another size, which are those for replacing.
    pub(super) fn may_resize(&self, path: &VirtualPath, attributes: &Attributes) -> Result<()> {
        if attributes.size.is_some() {
            self.may(path, Right::Write)?;
            self.may(path, Right::Delete)?;
        }
        Ok(())
    }

    /// Changes attributes, each by its own right.
    pub fn set_attributes(
        &self,
        path: &VirtualPath,
        attributes: &Attributes,
        follow: Follow,
    ) -> Result<()> {
        let attributes = self.may_set(path, attributes)?;
        self.may_resize(path, &attributes)?;
        self.file_system().set_attributes(path, &attributes, follow)
    }

    /// The text of a link.
    pub fn read_link(&self, path: &VirtualPath) -> Result<Vec<u8>> {
        self.may(path, Right::List)?;
        self.file_system().read_link(path)
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, target: &[u8], path: &VirtualPath) -> Result<()> {
        self.may(path, Right::Write)?;
        self.may_make(path)?;
        self.may_name(&path.parent().join(target)?)?;
        self.file_system().symlink(target, path)
    }

    /// Makes another name of a file: reading the old, storing the new.
    pub fn hard_link(&self, path: &VirtualPath, new: &VirtualPath) -> Result<()> {
        self.may(path, Right::Read)?;
        self.may(new, Right::Write)?;
        self.may_make(new)?;
        self.file_system().hard_link(path, new)
    }

    /// Room where `path` lies.
    pub fn space(&self, path: &VirtualPath) -> Result<Space> {
        self.may(path, Right::List)?;
        self.file_system().space(path)
    }

    /// Visits everything below a directory, contents before their directory
    /// and never through a link; `visit` gets path and kind. At most
    /// `max-recursion` entries.
    pub fn walk(
        &self,
        top: &VirtualPath,
        visit: &mut dyn FnMut(&VirtualPath, &Metadata) -> Result<()>,
    ) -> Result<()> {
        let mut left = self.0.config.max_recursion;
        let mut stack = vec![(top.clone(), None::<Metadata>)];
        // Each directory stands on the stack twice: to be opened, and, with its
        // metadata, to be visited when everything in it has been.
        while let Some((path, opened)) = stack.pop() {
            if let Some(metadata) = opened {
                visit(&path, &metadata)?;
                continue;
            }
            let metadata = self.file_system().metadata(&path, Follow::No)?;
            if !metadata.is_dir() {
                return Err(ErrorKind::NotDirectory.into());
            }
            stack.push((path.clone(), Some(metadata)));
            let mut directory = self.list(&path)?;
            let mut name = Vec::new();
            while directory.next(&mut name)?.is_some() {
                left = left.checked_sub(1).ok_or_else(|| {
                    Error::new(ErrorKind::TooMany, "max-recursion entries are visited")
                })?;
                let entry = path.join(&name)?;
                let metadata = directory.metadata(&name, Follow::No)?;
                match metadata.is_dir() {
                    true => stack.push((entry, None)),
                    false => visit(&entry, &metadata)?,
                }
            }
        }
        Ok(())
    }
}
