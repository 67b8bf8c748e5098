//! The messages between a file system and the process that serves it: fixed
//! numbers in the machine's order, and bytes with their length before them.

use std::time::SystemTime;

use super::super::{
    Attributes, Create, Entry, Existing, Extended, FileKind, Follow, Metadata, OpenOptions,
    Resolved, Space, VirtualPath, Write,
};
use crate::error::{Error, ErrorKind, Result, listed};
use crate::time::{after_1970, since_1970};

listed! {
    /// What is asked for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Operation {
        Metadata,
        Open,
        ReadDir,
        MakeDir,
        RemoveFile,
        RemoveDir,
        Rename,
        SetAttributes,
        ReadLink,
        Symlink,
        HardLink,
        Space,
        Resolve,
        SyncDir,
        Extended,
        /// On the open file whose descriptor comes with the message.
        SetFile,
        SyncFile,
        CurrentPath,
        TakeOver,
        /// On a directory that was opened before, by its number.
        Next,
        EntryMetadata,
        EntryLink,
        /// Has no answer.
        CloseDir,
    }
}

const FILE_KINDS: [FileKind; 4] = [
    FileKind::File,
    FileKind::Directory,
    FileKind::Link,
    FileKind::Other,
];
const WRITES: [Write; 4] = [Write::No, Write::At, Write::Truncate, Write::Append];
const CREATES: [Create; 3] = [Create::Never, Create::IfMissing, Create::New];

/// The place of a value in a table, as a byte.
fn index<T: PartialEq>(table: &[T], value: &T) -> u8 {
    let at = table.iter().position(|known| known == value);
    at.map_or(u8::MAX, |at| at as u8)
}

/// A message in the making.
#[derive(Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// A request; whether links are followed goes with each.
    pub(super) fn request(operation: Operation, links: Follow) -> Self {
        Message(vec![operation as u8]).follow(links)
    }

    /// Everything.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// One byte.
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    /// A number.
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    /// A number.
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    /// Bytes.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0
            .extend_from_slice(&(bytes.len() as u32).to_ne_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    /// An error: its kind, whether it has a cause, and its words for the log.
    pub fn error(self, error: &Error) -> Self {
        let words: String = error.to_string().chars().take(1000).collect();
        self.u8(error.kind() as u8)
            .u8(std::error::Error::source(error).is_some().into())
            .bytes(words.as_bytes())
    }

    pub(super) fn path(self, path: &VirtualPath) -> Self {
        self.bytes(path.as_bytes())
    }

    pub(super) fn follow(self, follow: Follow) -> Self {
        self.u8((follow == Follow::Yes).into())
    }

    pub(super) fn existing(self, existing: Existing) -> Self {
        self.u8((existing == Existing::Replace).into())
    }

    pub(super) fn entry(self, entry: Entry) -> Self {
        self.u8(entry.kind.map_or(u8::MAX, |kind| index(&FILE_KINDS, &kind)))
    }

    pub(super) fn options(self, options: &OpenOptions) -> Self {
        self.u8(options.read.into())
            .u8(index(&WRITES, &options.write))
            .u8(index(&CREATES, &options.create))
            .u32(options.mode)
    }

    pub(super) fn metadata(self, metadata: &Metadata) -> Self {
        self.u8(index(&FILE_KINDS, &metadata.kind))
            .u64(metadata.size)
            .u32(metadata.mode)
            .u32(metadata.uid)
            .u32(metadata.gid)
            .u64(metadata.links)
            .time(metadata.modified)
            .time(metadata.accessed)
            .time(metadata.changed)
            .u64(metadata.id.0)
            .u64(metadata.id.1)
    }

    pub(super) fn attributes(self, attributes: &Attributes) -> Self {
        self.optional(attributes.mode, Message::u32)
            .optional(attributes.modified, Message::time)
            .optional(attributes.accessed, Message::time)
            .optional(attributes.uid, Message::u32)
            .optional(attributes.gid, Message::u32)
            .optional(attributes.size, Message::u64)
    }

    fn time(self, time: SystemTime) -> Self {
        let (seconds, nanos) = since_1970(time);
        self.u64(seconds as u64).u32(nanos)
    }

    fn optional<T>(self, value: Option<T>, put: impl Fn(Self, T) -> Self) -> Self {
        match value {
            Some(value) => put(self.u8(1), value),
            None => self.u8(0),
        }
    }

    pub(super) fn extended(self, extended: &Extended) -> Self {
        let list = extended.list.as_deref();
        let message = self.optional(list, Message::bytes);
        let message = message.u32(extended.attributes.len() as u32);
        let pairs = extended.attributes.iter();
        pairs.fold(message, |message, (name, value)| {
            message.bytes(name).bytes(value)
        })
    }

    pub(super) fn resolved(self, resolved: &Resolved) -> Self {
        let message = self
            .path(&resolved.path)
            .u32(resolved.links.len() as u32)
            .u32(resolved.ids.len() as u32);
        let message = resolved.links.iter().fold(message, Message::path);
        let ids = resolved.ids.iter();
        ids.fold(message, |message, id| message.u64(id.0).u64(id.1))
    }

    pub(super) fn space(self, space: &Space) -> Self {
        self.u64(space.block_size)
            .u64(space.blocks)
            .u64(space.blocks_free)
            .u64(space.blocks_available)
            .u64(space.files)
            .u64(space.files_free)
            .u64(space.name_max)
            .u8(space.read_only.into())
    }
}

/// A message that is taken apart from its front.
pub struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    /// The parts of a message.
    pub fn of(message: &'a [u8]) -> Self {
        Parts(message)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a message is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn one_of<T: Copy>(&mut self, table: &[T]) -> Result<T> {
        let at = self.u8()?;
        table
            .get(usize::from(at))
            .copied()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a message has an unknown word"))
    }

    /// One byte.
    ///
    /// # Errors
    /// The message is cut short, as for all methods that take a part.
    pub fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A number.
    ///
    /// # Errors
    /// See [`Parts::u8`].
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    /// A number.
    ///
    /// # Errors
    /// See [`Parts::u8`].
    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_ne_bytes)
    }

    /// Bytes.
    ///
    /// # Errors
    /// See [`Parts::u8`].
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// Bytes that are UTF-8.
    ///
    /// # Errors
    /// See [`Parts::u8`].
    pub fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?)
            .map_err(|_| Error::new(ErrorKind::Internal, "a message has a text that is none"))
    }

    /// An error of the other side.
    ///
    /// # Errors
    /// See [`Parts::u8`].
    pub fn error(&mut self) -> Result<Error> {
        let kind = self.one_of(ErrorKind::ALL)?;
        let has_cause = self.u8()? != 0;
        let words = self.text()?.to_owned();
        Ok(if has_cause {
            Error::with_source(kind, "", words)
        } else {
            Error::new(kind, words)
        })
    }

    pub(super) fn operation(&mut self) -> Result<Operation> {
        self.one_of(Operation::ALL)
    }

    pub(super) fn path(&mut self) -> Result<VirtualPath> {
        VirtualPath::root().join_deep(self.bytes()?)
    }

    pub(super) fn follow(&mut self) -> Result<Follow> {
        self.one_of(&[Follow::No, Follow::Yes])
    }

    pub(super) fn existing(&mut self) -> Result<Existing> {
        self.one_of(&[Existing::Keep, Existing::Replace])
    }

    pub(super) fn entry(&mut self) -> Result<Entry> {
        Ok(FILE_KINDS.get(usize::from(self.u8()?)).copied().into())
    }

    pub(super) fn options(&mut self) -> Result<OpenOptions> {
        Ok(OpenOptions {
            read: self.u8()? != 0,
            write: self.one_of(&WRITES)?,
            create: self.one_of(&CREATES)?,
            mode: self.u32()?,
        })
    }

    pub(super) fn metadata(&mut self) -> Result<Metadata> {
        Ok(Metadata {
            kind: self.one_of(&FILE_KINDS)?,
            size: self.u64()?,
            mode: self.u32()?,
            uid: self.u32()?,
            gid: self.u32()?,
            links: self.u64()?,
            modified: self.time()?,
            accessed: self.time()?,
            changed: self.time()?,
            id: (self.u64()?, self.u64()?),
        })
    }

    pub(super) fn attributes(&mut self) -> Result<Attributes> {
        Ok(Attributes {
            mode: self.optional(Parts::u32)?,
            modified: self.optional(Parts::time)?,
            accessed: self.optional(Parts::time)?,
            uid: self.optional(Parts::u32)?,
            gid: self.optional(Parts::u32)?,
            size: self.optional(Parts::u64)?,
        })
    }

    fn time(&mut self) -> Result<SystemTime> {
        Ok(after_1970(self.u64()? as i64, self.u32()?))
    }

    fn optional<T>(&mut self, take: impl Fn(&mut Self) -> Result<T>) -> Result<Option<T>> {
        match self.u8()? {
            0 => Ok(None),
            _ => take(self).map(Some),
        }
    }

    pub(super) fn extended(&mut self) -> Result<Extended> {
        let list = self.optional(|parts| Ok(parts.bytes()?.to_vec()))?;
        let pairs = (0..self.u32()?).map(|_| Ok((self.bytes()?.to_vec(), self.bytes()?.to_vec())));
        let attributes = pairs.collect::<Result<_>>()?;
        Ok(Extended { list, attributes })
    }

    pub(super) fn resolved(&mut self) -> Result<Resolved> {
        let path = self.path()?;
        let (links, ids) = (self.u32()?, self.u32()?);
        Ok(Resolved {
            path,
            links: (0..links).map(|_| self.path()).collect::<Result<_>>()?,
            ids: (0..ids)
                .map(|_| Ok((self.u64()?, self.u64()?)))
                .collect::<Result<_>>()?,
        })
    }

    pub(super) fn space(&mut self) -> Result<Space> {
        Ok(Space {
            block_size: self.u64()?,
            blocks: self.u64()?,
            blocks_free: self.u64()?,
            blocks_available: self.u64()?,
            files: self.u64()?,
            files_free: self.u64()?,
            name_max: self.u64()?,
            read_only: self.u8()? != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_arrives() {
        for kind in ErrorKind::ALL {
            let sent = Message::default().error(&Error::new(*kind, "words"));
            let got = Parts::of(sent.as_bytes()).error().unwrap();
            assert_eq!((got.kind(), got.to_string()), (*kind, "words".into()));
        }
    }
}
