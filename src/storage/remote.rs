//! [`RemoteFs`]: a file system that another process serves, as another user.
//!
//! Names are worked on over there; an opened file's descriptor comes back, so
//! that reading and writing costs what it costs with [`LocalFs`]. Each session
//! has a connection of its own, with one exchange at a time.

mod channel;
mod serve;
mod wire;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use super::local::OpenFile;
use super::{
    Attributes, Directory, Entry, Existing, Extended, File, FileKind, FileSystem, Follow, Metadata,
    OpenOptions, Resolved, Space, VirtualPath,
};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::unpoisoned;
use wire::Operation;

#[cfg(doc)]
use super::LocalFs;

pub use channel::{MESSAGE_MAX, MessageSocket};
pub use serve::serve;
pub use wire::{Message, Parts};

/// Entries of a directory in the first message; most have no more.
const FIRST_BATCH: u32 = 64;

/// A file system that [`serve`] serves at the other end of a channel.
#[derive(Clone)]
pub struct RemoteFs {
    channel: Arc<Mutex<MessageSocket>>,
    links: Follow,
}

impl RemoteFs {
    /// The file system at the other end.
    pub fn new(channel: MessageSocket) -> Self {
        RemoteFs {
            channel: Arc::new(Mutex::new(channel)),
            links: Follow::Yes,
        }
    }

    fn request(&self, operation: Operation) -> Message {
        Message::request(operation, self.links)
    }

    /// Asks, and takes the answer apart.
    fn ask<T>(
        &self,
        request: Message,
        descriptor: Option<BorrowedFd<'_>>,
        take: impl FnOnce(&mut Parts<'_>, Option<OwnedFd>) -> Result<T>,
    ) -> Result<T> {
        let gone = |error: Error| match error.kind() {
            ErrorKind::Disconnected => ended(),
            _ => error,
        };
        let mut buffer = [0; MESSAGE_MAX];
        let channel = unpoisoned(self.channel.lock());
        channel.send(request.as_bytes(), descriptor).map_err(gone)?;
        let received = channel.receive(&mut buffer).map_err(gone)?;
        drop(channel);
        let (length, descriptor) = received.ok_or_else(ended)?;
        let mut parts = Parts::of(&buffer[..length]);
        match parts.u8()? {
            0 => Err(parts.error()?),
            _ => take(&mut parts, descriptor),
        }
    }

    fn order(&self, request: Message) -> Result<()> {
        self.ask(request, None, |_, _| Ok(()))
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Internal, "the user's worker process has ended")
}

impl FileSystem for RemoteFs {
    fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata> {
        let request = self.request(Operation::Metadata).path(path).follow(follow);
        self.ask(request, None, |parts, _| parts.metadata())
    }

    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        let request = self.request(Operation::Open).path(path).options(options);
        let open = self.ask(request, None, |parts, descriptor| {
            let opened = (parts.metadata()?, parts.u8()? != 0);
            let descriptor = descriptor
                .ok_or_else(|| Error::new(ErrorKind::Busy, "no descriptor is free for the file"))?;
            Ok(OpenFile::new(descriptor, opened, *options))
        })?;
        Ok(Box::new(RemoteFile {
            open,
            files: self.clone(),
            path: path.clone(),
        }))
    }

    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        let request = self.request(Operation::ReadDir).path(path);
        let number = self.ask(request, None, |parts, _| parts.u32())?;
        Ok(Box::new(RemoteDirectory {
            files: self.clone(),
            number,
            batch: None,
            at: 0,
            current: None,
            looked: std::cell::Cell::new(true),
        }))
    }

    fn make_dir(&self, path: &VirtualPath, mode: u32) -> Result<()> {
        self.order(self.request(Operation::MakeDir).path(path).u32(mode))
    }

    fn remove_file(&self, path: &VirtualPath) -> Result<()> {
        self.order(self.request(Operation::RemoveFile).path(path))
    }

    fn remove_dir(&self, path: &VirtualPath) -> Result<()> {
        self.order(self.request(Operation::RemoveDir).path(path))
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, existing: Existing) -> Result<()> {
        let request = self.request(Operation::Rename).path(from).path(to);
        self.order(request.existing(existing))
    }

    fn set_attributes(
        &self,
        path: &VirtualPath,
        attributes: &Attributes,
        follow: Follow,
    ) -> Result<()> {
        let request = self.request(Operation::SetAttributes).path(path);
        self.order(request.attributes(attributes).follow(follow))
    }

    fn read_link(&self, path: &VirtualPath) -> Result<Vec<u8>> {
        let request = self.request(Operation::ReadLink).path(path);
        self.ask(request, None, |parts, _| Ok(parts.bytes()?.to_vec()))
    }

    fn symlink(&self, target: &[u8], path: &VirtualPath) -> Result<()> {
        let request = self.request(Operation::Symlink).bytes(target);
        self.order(request.path(path))
    }

    fn hard_link(&self, path: &VirtualPath, new: &VirtualPath) -> Result<()> {
        self.order(self.request(Operation::HardLink).path(path).path(new))
    }

    fn sync_dir(&self, path: &VirtualPath) -> Result<()> {
        self.order(self.request(Operation::SyncDir).path(path))
    }

    fn extended(&self, path: &VirtualPath) -> Result<Extended> {
        let request = self.request(Operation::Extended).path(path);
        self.ask(request, None, |parts, _| parts.extended())
    }

    fn resolve(&self, path: &VirtualPath, follow: Follow) -> Result<Resolved> {
        let request = self.request(Operation::Resolve).path(path).follow(follow);
        self.ask(request, None, |parts, _| parts.resolved())
    }

    fn without_links(&self) -> Option<Arc<dyn FileSystem>> {
        Some(Arc::new(RemoteFs {
            channel: Arc::clone(&self.channel),
            links: Follow::No,
        }))
    }

    fn space(&self, path: &VirtualPath) -> Result<Space> {
        let request = self.request(Operation::Space).path(path);
        self.ask(request, None, |parts, _| parts.space())
    }
}

/// An open file: its bytes are here, its names and its owner over there.
struct RemoteFile {
    open: OpenFile,
    files: RemoteFs,
    path: VirtualPath,
}

impl RemoteFile {
    fn order(&self, operation: Operation, more: impl FnOnce(Message) -> Message) -> Result<()> {
        let request = self
            .files
            .request(operation)
            .path(&self.path)
            .options(self.open.options());
        let descriptor = Some(self.open.as_fd());
        self.files.ask(more(request), descriptor, |_, _| Ok(()))
    }
}

impl File for RemoteFile {
    pass_on! { self.open:
        read_at(buffer: &mut [u8], offset: u64) -> Result<usize>;
        write_all_at(data: &[u8], offset: u64) -> Result<()>;
        metadata() -> Result<Metadata>;
        is_new() -> bool;
    }

    fn metadata_at_open(&self) -> Result<Metadata> {
        Ok(self.open.metadata_at_open())
    }

    fn set_attributes(&self, attributes: &Attributes) -> Result<()> {
        self.open.resize(attributes)?;
        let rest = Attributes {
            size: None,
            ..*attributes
        };
        if rest == Attributes::default() {
            return Ok(());
        }
        self.order(Operation::SetFile, |request| request.attributes(&rest))
    }

    fn current_path(&self) -> Option<VirtualPath> {
        let request = self.files.request(Operation::CurrentPath);
        let request = request.path(&self.path).options(self.open.options());
        let take = |parts: &mut Parts<'_>, _| match parts.u8()? {
            0 => Ok(None),
            _ => parts.path().map(Some),
        };
        let found = self.files.ask(request, Some(self.open.as_fd()), take);
        found.ok().flatten()
    }

    fn take_over(&self, old: &Metadata, extended: &Extended) -> Result<()> {
        self.order(Operation::TakeOver, |request| {
            request.metadata(old).extended(extended)
        })
    }

    fn sync(&self) -> Result<()> {
        self.order(Operation::SyncFile, |request| request)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.open.close()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.open.as_fd())
    }
}

/// An open directory: entries come in batches, looked at already if those
/// before were looked at here.
struct RemoteDirectory {
    files: RemoteFs,
    number: u32,
    /// `None` before the first one.
    batch: Option<Vec<u8>>,
    at: usize,
    /// The entry that was given last, if it was looked at.
    current: Option<(Vec<u8>, Metadata)>,
    looked: std::cell::Cell<bool>,
}

impl RemoteDirectory {
    /// Takes the next batch; it is empty at the end.
    fn refill(&mut self) -> Result<()> {
        let most = match self.batch {
            None => FIRST_BATCH,
            Some(_) => u32::MAX,
        };
        let request = self
            .files
            .request(Operation::Next)
            .u32(self.number)
            .u32(most)
            .u8(self.looked.replace(false).into());
        let batch = (self.files).ask(request, None, |parts, _| Ok(parts.rest().to_vec()))?;
        self.batch = Some(batch);
        self.at = 0;
        Ok(())
    }

    fn rest(&self) -> &[u8] {
        let batch = self.batch.as_deref().unwrap_or_default();
        batch.get(self.at..).unwrap_or_default()
    }
}

impl Directory for RemoteDirectory {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Entry>> {
        name.clear();
        if self.rest().is_empty() {
            self.refill()?;
        }
        let mut parts = Parts::of(self.rest());
        if parts.is_empty() {
            self.current = None;
            return Ok(None);
        }
        name.extend_from_slice(parts.bytes()?);
        let entry = parts.entry()?;
        let looked = match parts.u8()? {
            0 => None,
            _ => Some(parts.metadata()?),
        };
        let left = parts.rest().len();
        self.at = self.batch.as_ref().map_or(0, Vec::len) - left;
        self.current = looked.map(|metadata| (name.clone(), metadata));
        Ok(Some(entry))
    }

    fn metadata(&self, name: &[u8], follow: Follow) -> Result<Metadata> {
        self.looked.set(true);
        if let Some((known, metadata)) = &self.current
            && known == name
            && (follow == Follow::No || metadata.kind != FileKind::Link)
        {
            return Ok(*metadata);
        }
        let request = self
            .files
            .request(Operation::EntryMetadata)
            .u32(self.number)
            .bytes(name)
            .follow(follow);
        self.files.ask(request, None, |parts, _| parts.metadata())
    }

    fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        let request = self
            .files
            .request(Operation::EntryLink)
            .u32(self.number)
            .bytes(name);
        self.files
            .ask(request, None, |parts, _| Ok(parts.bytes()?.to_vec()))
    }
}

impl Drop for RemoteDirectory {
    fn drop(&mut self) {
        let request = self.files.request(Operation::CloseDir).u32(self.number);
        let channel = unpoisoned(self.files.channel.lock());
        // Whoever is gone has closed it.
        let _ = channel.send(request.as_bytes(), None);
    }
}
