//! The only caller of a user's file system: may I, do it, tell it.
//!
//! Every operation of both protocols goes through [`Files`], so that a right
//! is checked in one place, a name that is denied is denied everywhere, and
//! nothing happens without its event.

mod attributes;
mod copy;
mod directories;
mod lost_uploads;
mod place;
mod put;
mod receipt;
mod slash;
mod sweep;
pub mod transfer;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Services;
use super::events::{Event, Transferred};
use super::home::Rates;
use super::made::Maker;
use super::names;
use super::rate::Bucket;
use super::registry::SessionInfo;
use crate::auth::{Right, User};
use crate::config::{Config, Symlinks};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{
    self, Directory, Existing, File, FileKind, FileSystem, Follow, Metadata, OpenOptions, Seen,
    Space, VirtualPath, Visitor,
};

use transfer::Opened;

pub(super) use place::Place;
pub use put::{Put, Readable};
pub use slash::Slash;
pub(super) use sweep::Sweeps;
pub use transfer::Transfer;

/// A logged-in user's files.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

struct Inner {
    services: Arc<Services>,
    config: Arc<Config>,
    live: Arc<SessionInfo>,
    user: User,
    /// Whether it matters where a path leads.
    judged: bool,
    /// The user's files through paths without links, for who is judged.
    without_links: Option<Arc<dyn FileSystem>>,
    down: Bucket,
    up: Bucket,
    shared: Arc<Rates>,
    /// Who it is for what the session makes, unless the user may do everything.
    maker: Option<Maker>,
}

impl Files {
    pub(super) fn new(
        services: Arc<Services>,
        config: Arc<Config>,
        live: Arc<SessionInfo>,
        user: User,
    ) -> Self {
        let judged = place::is_judged(&user, &config);
        Files(Arc::new(Inner {
            judged,
            without_links: user.file_system.without_links().filter(|_| judged),
            down: Bucket::new(config.session_rate_down),
            up: Bucket::new(config.session_rate_up),
            shared: services.homes.rates(&user),
            maker: place::maker(&services, &config, &live, &user),
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

    pub(super) fn info(&self) -> &Arc<SessionInfo> {
        &self.0.live
    }

    /// What carries out the operations, at paths of [`Files::place`].
    pub(super) fn file_system(&self) -> &dyn FileSystem {
        let plain = self.0.without_links.as_ref();
        plain.unwrap_or(&self.0.user.file_system).as_ref()
    }

    /// Tells everybody who listens.
    pub fn emit(&self, event: &Event<'_>) {
        let who = self.0.live.who(Some(&self.0.user));
        self.0.services.emit(&who, event);
    }

    /// A transfer that has ended, in the log.
    pub(super) fn log_transfer(&self, done: &Transferred<'_>, up: bool) {
        let tls = self.info().activity().tls.clone();
        log::info!(
            path:% = done.path, bytes = done.bytes, complete = done.complete,
            tls = tls.version, cipher = tls.cipher, data_tls = tls.data.word();
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
        if up {
            [&inner.up, &inner.shared.up, &inner.services.rate_up]
        } else {
            [&inner.down, &inner.shared.down, &inner.services.rate_down]
        }
    }

    /// Checks that a user may stand in a directory. Where the user may not
    /// list, the error does not tell a file from a missing name.
    pub fn enter(&self, path: &VirtualPath) -> Result<()> {
        let place = self.allowed(path, Follow::Yes, Right::Enter);
        let found = place.and_then(|place| self.file_system().metadata(&place.path, Follow::Yes));
        let kind = match found {
            Ok(metadata) if metadata.is_dir() => return Ok(()),
            Err(error) if error.kind() != ErrorKind::NotDirectory => return Err(error),
            _ if self.perms_at(path).has(Right::List) => ErrorKind::NotDirectory,
            _ => ErrorKind::NotFound,
        };
        Err(Error::new(kind, "changing the directory"))
    }

    /// Opens a directory for listing; names nobody may see are left out.
    pub fn list(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        let place = self.place(path, Follow::Yes)?;
        let own_only = self.shows_own_only(&place)?;
        let directory = match self.file_system().read_dir(&place.path) {
            // As in [`Files::metadata`], files of others are not there.
            Err(error) if own_only && error.kind() == ErrorKind::NotDirectory => {
                return Err(Error::with_source(ErrorKind::NotFound, "", error));
            }
            outcome => outcome?,
        };
        let directory = if own_only {
            self.own_names(directory, &place.path)
        } else {
            directory
        };
        Ok(Box::new(names::Visible::new(
            self.judged(directory, place.path),
            Arc::clone(&self.0.config),
        )))
    }

    /// Opens a file that will be sent.
    pub fn get(&self, path: &VirtualPath) -> Result<Transfer> {
        let place = self.allowed(path, Follow::Yes, Right::Read)?;
        let busy = self.info().begin()?;
        let file = self.open_to_read(&place.path)?;
        // For those who watch; 0 is unknown.
        let size = file.metadata_at_open().map_or(0, |metadata| metadata.size);
        let transfer = self.transfer(Opened {
            file,
            busy,
            path: path.clone(),
            place,
            pending: None,
            floor: 0,
            delete_if_broken: false,
            upload: None,
        });
        self.info().size.store(size, Relaxed);
        Ok(transfer)
    }

    /// Opens a file that is only looked at on the server, for a checksum:
    /// reading it, but not a transfer.
    pub fn inspect(&self, path: &VirtualPath) -> Result<Box<dyn File>> {
        let place = self.allowed(path, Follow::Yes, Right::Read)?;
        self.open_to_read(&place.path)
    }

    fn open_to_read(&self, place: &VirtualPath) -> Result<Box<dyn File>> {
        let file = self.file_system().open(place, &OpenOptions::read())?;
        self.may_be_read(file.as_ref())?;
        Ok(file)
    }

    /// With `anonymous-world-readable` anonymous users get what is for
    /// everybody. SECURITY: asked of the open file, not of a name.
    fn may_be_read(&self, file: &dyn File) -> Result<()> {
        let judged = self.0.user.anonymous && self.0.config.anonymous_world_readable;
        if judged && !file.is_new() && file.metadata_at_open()?.mode & 0o004 == 0 {
            return Err(Error::new(
                ErrorKind::Denied,
                "the file is not readable by everybody",
            ));
        }
        Ok(())
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
        let mut place = self.allowed(path, Follow::No, Right::MakeDir)?;
        self.may_make(path, &place)?;
        let dir_mode = self.dir_mode();
        let mode = mode.map_or(dir_mode, |wished| wished & dir_mode);
        self.file_system().make_dir(&place.path, mode)?;
        self.has_made_at(&mut place, Right::MakeDir);
        self.emit(&Event::DirectoryMade(path));
        self.keep_names(&place.path)
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &VirtualPath) -> Result<()> {
        let place = self.allowed(path, Follow::No, Right::Delete)?;
        self.may_move(&place)?;
        self.file_system().remove_dir(&place.path)?;
        self.is_gone(&place);
        self.emit(&Event::DirectoryRemoved(path));
        self.keep_names(&place.path)
    }

    /// Deletes a file or a link.
    pub fn delete(&self, path: &VirtualPath) -> Result<()> {
        let place = self.allowed(path, Follow::No, Right::Delete)?;
        self.may_move(&place)?;
        self.may_change_name(&place.path)?;
        self.file_system().remove_file(&place.path)?;
        self.0.services.uploads.gone(self.0.live.id, &place.path);
        self.is_gone(&place);
        self.emit(&Event::Deleted(path));
        self.drop_receipt(&place.path);
        self.keep_names(&place.path)
    }

    /// With `fsync-uploads`, what happened to a name survives a power cut.
    fn keep_names(&self, path: &VirtualPath) -> Result<()> {
        if self.0.config.fsync_uploads {
            self.file_system().sync_dir(&path.parent())
        } else {
            Ok(())
        }
    }

    /// Whether a rename may begin with `path`: it exists and may be renamed.
    pub fn may_rename(&self, path: &VirtualPath) -> Result<()> {
        let place = self.allowed(path, Follow::No, Right::Rename)?;
        self.may_move(&place)?;
        self.file_system()
            .metadata(&place.path, Follow::No)
            .map(drop)
    }

    /// Renames. The target needs the right to rename too, and replacing
    /// something there is storing and deleting.
    pub fn rename(&self, from: &VirtualPath, to: &VirtualPath, existing: Existing) -> Result<()> {
        let source = self.allowed(from, Follow::No, Right::Rename)?;
        let mut target = self.place(to, Follow::No)?;
        source.may_become(&target)?;
        self.may_make(to, &target)?;
        self.may_move(&source)?;
        self.may_move(&target)?;
        // Who may read and delete could carry it there as well.
        if !source.may_be_carried_off() {
            self.may_name_again(&source, &target)?;
        }
        let existing = if target.may_replace() {
            existing
        } else {
            Existing::Keep
        };
        self.may_change_name(&target.path)?;
        match self
            .file_system()
            .rename(&source.path, &target.path, existing)
        {
            Err(error) if error.kind() == ErrorKind::CrossDevice => {
                self.move_by_copy((&source, &target), existing, error)?;
            }
            outcome => outcome?,
        }
        self.is_gone(&target);
        if let Some(by) = source.own {
            self.has_made_at(&mut target, by);
        }
        let (from_there, to_there) = (&source.path, &target.path);
        let uploads = &self.0.services.uploads;
        uploads.gone(self.0.live.id, to_there);
        uploads.renamed(&self.0.user.name, from_there, to_there);
        self.emit(&Event::Renamed(from, to));
        self.move_receipt(from_there, to_there);
        self.keep_names(from_there)?;
        if from_there.parent() == to_there.parent() {
            Ok(())
        } else {
            self.keep_names(to_there)
        }
    }

    /// The text of a link.
    pub fn read_link(&self, path: &VirtualPath) -> Result<Vec<u8>> {
        let place = self.allowed(path, Follow::No, Right::List)?;
        self.file_system().read_link(&place.path)
    }

    /// Makes a symbolic link: storing, by somebody who could also replace, if
    /// the server allows such links.
    pub fn symlink(&self, target: &[u8], path: &VirtualPath) -> Result<()> {
        let place = self.allowed(path, Follow::No, Right::Write)?;
        place.needs(Right::Delete)?;
        self.may_make(path, &place)?;
        self.may_move(&place)?;
        self.may_name(&place.path.parent().join(target)?)?;
        self.may_change_name(&place.path)?;
        let files = self.file_system();
        let why = match self.0.config.site_symlink {
            Symlinks::Anywhere => {
                files.symlink(target, &place.path)?;
                return self.keep_names(&place.path);
            }
            Symlinks::No => "site-symlink is off",
            Symlinks::Inside => {
                // Where the link really lies counts for its `..`.
                let there = files.resolve(&place.path, Follow::No)?.path;
                if there.link_stays_inside(target) {
                    let plain = files.without_links();
                    plain.as_deref().unwrap_or(files).symlink(target, &there)?;
                    return self.keep_names(&there);
                }
                "the link would lead out of the home"
            }
        };
        Err(Error::new(ErrorKind::Denied, why))
    }

    /// Makes another name of a file: reading the old, storing the new, with no
    /// more rights than the old place gives.
    pub fn hard_link(&self, path: &VirtualPath, new: &VirtualPath) -> Result<()> {
        let old = self.allowed(path, Follow::No, Right::Read)?;
        let place = self.allowed(new, Follow::No, Right::Write)?;
        self.may_make(new, &place)?;
        self.may_move(&place)?;
        self.may_name_again(&old, &place)?;
        self.may_keep_name(&old, &place)?;
        self.may_change_name(&place.path)?;
        self.file_system().hard_link(&old.path, &place.path)?;
        self.keep_names(&place.path)
    }

    /// Room where `path` lies.
    pub fn space(&self, path: &VirtualPath) -> Result<Space> {
        let place = self.allowed(path, Follow::Yes, Right::List)?;
        self.file_system().space(&place.path)
    }

    /// Visits everything below a directory and the directory itself, and never
    /// goes through a link. At most `max-recursion` entries.
    pub fn walk(
        &self,
        top: &VirtualPath,
        visit: &mut dyn FnMut(&VirtualPath, &Metadata) -> Result<()>,
    ) -> Result<()> {
        self.walk_as(Visitor::Looks, top, visit)
    }

    /// Removes a directory and everything below it, what may be removed one by
    /// one. `pause` is asked before each and stops it with its error.
    pub fn remove_tree(
        &self,
        top: &VirtualPath,
        pause: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let place = self.allowed(top, Follow::No, Right::Delete)?;
        self.may_move(&place)?;
        self.walk_as(Visitor::Removes, top, &mut |path, metadata| {
            pause()?;
            if metadata.is_dir() {
                self.remove_dir(path)
            } else {
                self.delete(path)
            }
        })
    }

    fn walk_as(
        &self,
        visitor: Visitor,
        top: &VirtualPath,
        visit: &mut dyn FnMut(&VirtualPath, &Metadata) -> Result<()>,
    ) -> Result<()> {
        if !self.metadata(top, Follow::No)?.is_dir() {
            return Err(ErrorKind::NotDirectory.into());
        }
        let mut left = self.0.config.max_recursion;
        let directory = Metadata::new(FileKind::Directory, 0);
        storage::walk(
            top,
            visitor,
            &mut |path| self.list(path).map(Some),
            &mut |seen| {
                left = left.checked_sub(1).ok_or_else(|| {
                    Error::new(ErrorKind::TooMany, "max-recursion entries are visited")
                })?;
                match seen {
                    Seen::Entry(path, name, metadata) => visit(&path.below(name)?, metadata),
                    Seen::Unknown(_, error) => Err(error),
                    Seen::Left(path) => visit(path, &directory),
                }
            },
        )
    }
}
