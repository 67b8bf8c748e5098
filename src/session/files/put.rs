//! Opening files for uploads: by the user's rights, and under another name
//! until they are whole if the server is told so.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::transfer::{Opened, Pending, Transfer};
use super::{Files, Place};
use crate::auth::{Perms, Right};
use crate::error::{Error, ErrorKind, Result};
use crate::session::names::TEMPORARY_PREFIX;
use crate::session::places::is_known;
use crate::session::registry::Busy;
use crate::session::uploads::{Owned, Upload, id};
use crate::storage::{
    Attributes, Create, Existing, Extended, File, FileKind, Follow, Metadata, OpenOptions,
    VirtualPath, Write,
};

/// How an upload treats what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The file is replaced, or made.
    Replace,
    /// As `Replace`, and the old contents stay until [`Transfer::start`].
    ReplaceAtStart,
    /// The file must not exist.
    New,
    /// The file keeps its contents, or is made; the client says where it writes.
    Keep,
    /// The file keeps its contents, or is made; writes always go to the end.
    Append,
    /// The file must exist and keeps its contents.
    Existing,
    /// The file must exist and is replaced.
    Overwrite,
    /// The file must exist, and writes always go to the end.
    AppendExisting,
}

/// Whether an uploaded file can be read through the same handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readable {
    /// Yes.
    Yes,
    /// No.
    No,
}

impl Files {
    /// Opens a file that will be received; `read` also allows reading it
    /// back through the same handle (SFTP). A new file gets those of the
    /// permission bits `mode` that the configured bits have, execution like
    /// directories.
    pub fn put(
        &self,
        path: &VirtualPath,
        put: Put,
        read: Readable,
        mode: Option<u32>,
    ) -> Result<Transfer> {
        let outcome = self.put_once(path, put, read, mode);
        match &outcome {
            Err(error) if error.kind() == ErrorKind::Busy && self.take_over(path, put)? => {
                self.put_once(path, put, read, mode)
            }
            _ => outcome,
        }
    }

    fn put_once(
        &self,
        path: &VirtualPath,
        put: Put,
        read: Readable,
        mode: Option<u32>,
    ) -> Result<Transfer> {
        let (place, options, busy) = self.may_put(path, put, read, mode)?;
        let replaces = options.write == Write::Truncate || put == Put::ReplaceAtStart;
        if self.0.config.atomic_uploads && (replaces || self.is_fresh(put, &place)) {
            self.put_atomic(path, (put, place), options, busy)
        } else {
            self.put_in_place(path, (put, place), options, busy)
        }
    }

    fn put_in_place(
        &self,
        path: &VirtualPath,
        (put, mut place): (Put, Place),
        mut options: OpenOptions,
        busy: Busy,
    ) -> Result<Transfer> {
        let truncates = options.write == Write::Truncate;
        if truncates {
            // Only when it is known that no other upload to the file goes on.
            options.write = Write::At;
        }
        let owned = if self.0.config.atomic_uploads {
            // Its name may be that of an upload that is not there yet.
            let (target, old) = self.end_of_link(&place.path, put)?;
            self.owned_name(&target, old.as_ref())?
        } else {
            Vec::new()
        };
        let mut upload = self.begin_upload(&place.path, owned)?;
        let opened = self.file_system().open(&place.path, &options);
        let file = opened.map_err(|error| match options.create {
            // The user may store but not replace.
            Create::New if put != Put::New && error.kind() == ErrorKind::Exists => {
                no_right_to_replace(path)
            }
            _ => error,
        })?;
        if options.read {
            self.may_be_read(file.as_ref())?;
        }
        if let Some(id) = id(file.as_ref()) {
            if file.is_new() {
                upload.owns_new(id);
                self.has_made(id, &mut place, Right::Write);
            } else {
                upload.owns(id)?;
                if place.may_replace_own_only() && place.id != Some(id) {
                    return Err(no_right_to_replace(path));
                }
            }
        }
        let keeps = options.write == Write::At && !truncates && !place.may_replace();
        let floor = if keeps && !file.is_new() {
            file.metadata_at_open()?.size
        } else {
            0
        };
        if truncates && !file.is_new() {
            let empty = Attributes {
                size: Some(0),
                ..Attributes::default()
            };
            file.set_attributes(&empty)?;
        }
        Ok(self.transfer(Opened {
            file,
            busy,
            path: path.clone(),
            place,
            floor,
            pending: None,
            delete_if_broken: self.0.config.delete_broken_uploads
                && (truncates || put == Put::ReplaceAtStart),
            upload: Some(upload),
        }))
    }

    /// Owns a file, as an upload to it does, while it is changed or deleted
    /// otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: another session uploads to it.
    pub(super) fn own(&self, path: &VirtualPath, file: &Metadata) -> Result<Upload> {
        let known = Some(file.id).filter(is_known);
        self.begin_upload(path, known.map(Owned::File).into_iter().collect())
    }

    /// Whether a file may get this name or lose it: if an upload of another
    /// session gets the name at its end, the change would be lost then.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`].
    pub(super) fn may_change_name(&self, path: &VirtualPath) -> Result<()> {
        let uploads = &self.0.services.uploads;
        if uploads.is_idle() {
            Ok(())
        } else {
            uploads.may_change(self.0.live.id, path, &self.owned_name(path, None)?)
        }
    }

    fn begin_upload(&self, path: &VirtualPath, owned: Vec<Owned>) -> Result<Upload> {
        let who = (self.0.live.id, self.0.user.name.as_str());
        self.0.services.uploads.begin(who, path, owned)
    }

    /// What an upload owns that gets its name at the end: the name, and the
    /// file that is there now.
    pub(super) fn owned_name(
        &self,
        target: &VirtualPath,
        old: Option<&Metadata>,
    ) -> Result<Vec<Owned>> {
        let directory = self.file_system().metadata(&target.parent(), Follow::Yes)?;
        let name = match directory.id {
            // A back-end without numbers: at least the sessions of one user.
            (0, 0) => [self.0.user.name.as_bytes(), target.as_bytes()].concat(),
            _ => target.name().to_vec(),
        };
        let mut owned = vec![Owned::Name(directory.id, name)];
        owned.extend(old.map(|old| old.id).filter(is_known).map(Owned::File));
        Ok(owned)
    }

    /// Opens a file that the server itself fills, and that appears under its
    /// name when it is whole, whatever `atomic-uploads` says.
    pub(super) fn put_whole(&self, path: &VirtualPath, put: Put) -> Result<Transfer> {
        let (place, mut options, busy) = self.may_put(path, put, Readable::No, None)?;
        options.write = Write::At;
        self.put_atomic(path, (put, place), options, busy)
    }

    /// Where and how to open an upload, if the user may.
    fn may_put(
        &self,
        path: &VirtualPath,
        put: Put,
        read: Readable,
        mode: Option<u32>,
    ) -> Result<(Place, OpenOptions, Busy)> {
        let (place, (write, create)) = self.may_open(path, put)?;
        if read == Readable::Yes {
            place.needs(Right::Read)?;
        }
        let busy = self.info().begin()?;
        let file_mode = self.0.user.file_mode.unwrap_or(self.0.config.file_mode.0);
        let mask = file_mode | self.dir_mode() & 0o111;
        let mode = mode.map_or(file_mode, |wished| wished & mask);
        let mut options = OpenOptions::write(write, create, mode);
        options.read = read == Readable::Yes;
        Ok((place, options, busy))
    }

    /// Where an upload to `path` goes, and how its file is opened by the
    /// rights there.
    pub(super) fn may_open(
        &self,
        path: &VirtualPath,
        put: Put,
    ) -> Result<(Place, (Write, Create))> {
        let follow = match put {
            Put::New => Follow::No,
            _ => Follow::Yes,
        };
        let place = self.place(path, follow)?;
        self.may_store(path, &place)?;
        let how = how_to_open(put, place.perms)
            .ok_or_else(|| Error::new(ErrorKind::Denied, format!("no right to write {path}")))?;
        // A link is something that is there, also one that leads to nothing.
        if how.1 == Create::New && self.place(path, Follow::No)?.path != place.path {
            return Err(no_right_to_replace(path));
        }
        Ok((place, how))
    }

    /// Opens a file that the server itself writes beside an upload, with the
    /// user's rights to replace what is there.
    pub(in crate::session) fn open_beside(&self, path: &VirtualPath) -> Result<Box<dyn File>> {
        let (place, (write, create)) = self.may_open(path, Put::Replace)?;
        let mode = self.0.user.file_mode.unwrap_or(self.0.config.file_mode.0);
        let options = OpenOptions::write(write, create, mode);
        self.file_system().open(&place.path, &options)
    }

    /// An upload that keeps what is there, with nothing there, can be atomic
    /// like any other. OpenSSH's scp opens its uploads so.
    fn is_fresh(&self, put: Put, place: &Place) -> bool {
        put == Put::Keep
            && self
                .file_system()
                .metadata(&place.path, Follow::Yes)
                .is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }

    fn put_atomic(
        &self,
        path: &VirtualPath,
        (put, place): (Put, Place),
        options: OpenOptions,
        busy: Busy,
    ) -> Result<Transfer> {
        let (target, old) = self.end_of_link(&place.path, put)?;
        let replaces = match put {
            Put::New => false,
            // What is there stays, followed by what comes.
            Put::Append => options.create != Create::New,
            _ => place.may_replace(),
        };
        let existing = if replaces {
            Existing::Replace
        } else {
            Existing::Keep
        };
        // What can be known to fail is told before the first byte is sent.
        match &old {
            None if options.create == Create::Never => return Err(ErrorKind::NotFound.into()),
            None => {}
            Some(_) if put == Put::New => return Err(ErrorKind::Exists.into()),
            Some(old) if old.is_dir() => return Err(ErrorKind::IsDirectory.into()),
            Some(old) if old.kind != FileKind::File => return Err(ErrorKind::Denied.into()),
            Some(_) if existing == Existing::Keep => {
                return Err(no_right_to_replace(path));
            }
            Some(_) => {}
        }
        let old = match old {
            Some(old) => Some((old, self.file_system().extended(&target)?)),
            None => None,
        };
        let mut transfer =
            self.begin_pending((path, place), target, existing, (old, options), busy)?;
        transfer.is_made();
        Ok(transfer)
    }

    /// Opens the file that will be renamed to `to`, in place of the one that
    /// was renamed from another file system.
    pub(super) fn put_moved(
        &self,
        (from, moved): (&Place, &Metadata),
        to: &Place,
        existing: Existing,
    ) -> Result<Transfer> {
        let busy = self.info().begin()?;
        let there = self.file_system().metadata(&to.path, Follow::No);
        match there {
            Ok(_) if existing == Existing::Keep => return Err(ErrorKind::Exists.into()),
            Ok(there) if there.is_dir() => return Err(ErrorKind::IsDirectory.into()),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let options = OpenOptions::write(Write::At, Create::New, 0);
        let old = Some((*moved, self.file_system().extended(&from.path)?));
        let mut transfer = self.begin_pending(
            (&to.path, to.clone()),
            to.path.clone(),
            existing,
            (old, options),
            busy,
        )?;
        transfer.is_no_upload();
        Ok(transfer)
    }

    /// Opens the temporary file of an upload, which takes over from `old`.
    fn begin_pending(
        &self,
        (path, place): (&VirtualPath, Place),
        target: VirtualPath,
        existing: Existing,
        (old, mut options): (Option<(Metadata, Extended)>, OpenOptions),
        busy: Busy,
    ) -> Result<Transfer> {
        options.create = Create::New;
        if let Some((old, _)) = &old {
            // SECURITY: nobody but the owner sees the data before the file has
            // the access control of the old one.
            options.mode = old.mode & 0o700;
        }
        let there = old.as_ref().map(|(old, _)| old);
        let owned = self.owned_name(&target, there)?;
        let mut upload = self.begin_upload(&target.parent(), owned)?;
        self.sweep(&target.parent());
        let temporary = target.parent().join(&temporary_name(self.0.live.id))?;
        let file = self.file_system().open(&temporary, &options)?;
        if let Some(id) = id(file.as_ref()) {
            upload.owns_new(id);
        }
        if let Some((old, extended)) = &old
            && let Err(error) = file.take_over(old, extended)
        {
            drop(file);
            let _ = self.file_system().remove_file(&temporary);
            return Err(error);
        }
        Ok(self.transfer(Opened {
            file,
            busy,
            path: path.clone(),
            place,
            floor: 0,
            pending: Some(Pending {
                temporary,
                target,
                existing,
                replaces: old.map(|(old, _)| old.id),
            }),
            delete_if_broken: false,
            upload: Some(upload),
        }))
    }

    /// Where an upload to `path` ends up, and what is there. A link keeps
    /// leading to its file: that is the one which is replaced.
    pub(super) fn end_of_link(
        &self,
        path: &VirtualPath,
        put: Put,
    ) -> Result<(VirtualPath, Option<Metadata>)> {
        let files = self.file_system();
        let look = |path: &VirtualPath| match files.metadata(path, Follow::No) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        match look(path)? {
            Some(link) if link.kind == FileKind::Link && put != Put::New => {
                let target = files.resolve(path, Follow::Yes)?.path;
                let there = look(&target)?;
                Ok((target, there))
            }
            there => Ok((path.clone(), there)),
        }
    }
}

fn no_right_to_replace(path: &VirtualPath) -> Error {
    Error::new(ErrorKind::Denied, format!("no right to replace {path}"))
}

/// How to open so that the rights hold without a look beforehand, which
/// another process could make stale.
fn how_to_open(put: Put, perms: Perms) -> Option<(Write, Create)> {
    let store = perms.has(Right::Write);
    let replace = store && perms.has(Right::Delete);
    let go_on = perms.has(Right::Append) || replace;
    let create = |allowed: bool| match (allowed, store) {
        (true, true) => Some(Create::IfMissing),
        (true, false) => Some(Create::Never),
        (false, true) => Some(Create::New),
        (false, false) => None,
    };
    match put {
        Put::Replace => create(replace).map(|create| (Write::Truncate, create)),
        Put::ReplaceAtStart => create(replace).map(|create| (Write::At, create)),
        Put::New => store.then_some((Write::Truncate, Create::New)),
        Put::Keep => create(go_on).map(|create| (Write::At, create)),
        Put::Append => create(go_on).map(|create| (Write::Append, create)),
        Put::Existing => go_on.then_some((Write::At, Create::Never)),
        Put::Overwrite => replace.then_some((Write::Truncate, Create::Never)),
        Put::AppendExisting => go_on.then_some((Write::Append, Create::Never)),
    }
}

/// A name no other upload has: on many nodes with one tree, too.
fn temporary_name(session: u64) -> Vec<u8> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut random = [0; 8];
    // Without randomness the count, the process and the session must do.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::NONBLOCK);
    let mut name = TEMPORARY_PREFIX.to_vec();
    let unique = format!(
        "{:x}-{session:x}-{:x}-{:016x}",
        std::process::id(),
        COUNT.fetch_add(1, Relaxed),
        u64::from_le_bytes(random)
    );
    name.extend_from_slice(unique.as_bytes());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_decide_how_a_file_is_opened() {
        let perms = |letters| Perms::read(letters).unwrap();
        for (put, letters, want) in [
            (
                Put::Replace,
                "wd",
                Some((Write::Truncate, Create::IfMissing)),
            ),
            (Put::Replace, "w", Some((Write::Truncate, Create::New))),
            (
                Put::ReplaceAtStart,
                "wd",
                Some((Write::At, Create::IfMissing)),
            ),
            (Put::ReplaceAtStart, "w", Some((Write::At, Create::New))),
            (Put::Replace, "a", None),
            (Put::Replace, "d", None),
            (Put::New, "w", Some((Write::Truncate, Create::New))),
            (Put::New, "ad", None),
            (Put::Keep, "wa", Some((Write::At, Create::IfMissing))),
            (Put::Keep, "a", Some((Write::At, Create::Never))),
            (Put::Keep, "w", Some((Write::At, Create::New))),
            (Put::Append, "wa", Some((Write::Append, Create::IfMissing))),
            (Put::Append, "r", None),
            (Put::Existing, "a", Some((Write::At, Create::Never))),
            (Put::Existing, "w", None),
            (Put::Overwrite, "wd", Some((Write::Truncate, Create::Never))),
            (Put::Overwrite, "wa", None),
            (
                Put::AppendExisting,
                "a",
                Some((Write::Append, Create::Never)),
            ),
        ] {
            assert_eq!(how_to_open(put, perms(letters)), want, "{put:?} {letters}");
        }
    }
}
