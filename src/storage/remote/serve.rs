//! The side that has the files: one thread serves one connection.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use super::super::{Directory, File, FileSystem, Follow, LocalFs};
use super::channel::{MESSAGE_MAX, MessageSocket};
use super::wire::{Message, Operation, Parts};
use crate::error::{Error, ErrorKind, Result};

/// Directories that are open at a time on one connection.
const DIRECTORIES_MAX: usize = 1024;
/// What an entry takes in a message at most, rounded up.
const ENTRY_MAX: usize = 512;

/// Serves `files` to a [`RemoteFs`](super::RemoteFs) at the other end, until
/// that is gone.
pub fn serve(channel: &MessageSocket, files: &LocalFs) {
    let mut server = Server {
        strict: files.strict(),
        files,
        directories: HashMap::new(),
        next: 0,
    };
    let mut buffer = vec![0; MESSAGE_MAX];
    while let Ok(Some((length, descriptor))) = channel.receive(&mut buffer) {
        let Some(answer) = server.answer(&buffer[..length], descriptor) else {
            continue;
        };
        let sent = match &answer {
            Ok((message, _)) if message.as_bytes().len() > MESSAGE_MAX => {
                let error = Error::new(ErrorKind::NameInvalid, "names are too long");
                channel.send(Message::default().u8(0).error(&error).as_bytes(), None)
            }
            Ok((message, file)) => {
                let descriptor = file.as_ref().and_then(|file| file.descriptor());
                channel.send(message.as_bytes(), descriptor)
            }
            Err(error) => {
                let message = Message::default().u8(0).error(error);
                channel.send(message.as_bytes(), None)
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

struct Server<'a> {
    files: &'a LocalFs,
    /// The files without links.
    strict: LocalFs,
    directories: HashMap<u32, Listing>,
    next: u32,
}

/// An open directory, and what it has failed with after entries that were sent.
struct Listing {
    directory: Box<dyn Directory>,
    failed: Option<Error>,
}

type WorkerAnswer = Result<(Message, Option<Box<dyn File>>)>;

impl Server<'_> {
    /// `None` for what has no answer.
    fn answer(&mut self, message: &[u8], descriptor: Option<OwnedFd>) -> Option<WorkerAnswer> {
        let mut parts = Parts::of(message);
        match parts.operation() {
            Ok(Operation::CloseDir) => {
                if let (Ok(_), Ok(number)) = (parts.follow(), parts.u32()) {
                    self.directories.remove(&number);
                }
                None
            }
            Ok(operation) => Some(self.carry_out(operation, &mut parts, descriptor)),
            Err(error) => Some(Err(error)),
        }
    }

    fn carry_out(
        &mut self,
        operation: Operation,
        parts: &mut Parts<'_>,
        descriptor: Option<OwnedFd>,
    ) -> WorkerAnswer {
        let files = match parts.follow()? {
            Follow::Yes => self.files.clone(),
            Follow::No => self.strict.clone(),
        };
        let mut answer = Message::default().u8(1);
        match operation {
            Operation::Metadata => {
                let metadata = files.metadata(&parts.path()?, parts.follow()?)?;
                answer = answer.metadata(&metadata);
            }
            Operation::Open => {
                let file = files.open(&parts.path()?, &parts.options()?)?;
                let answer = answer
                    .metadata(&file.metadata_at_open()?)
                    .u8(file.is_new().into());
                return Ok((answer, Some(file)));
            }
            Operation::ReadDir => answer = answer.u32(self.open_directory(&files, parts)?),
            Operation::MakeDir => files.make_dir(&parts.path()?, parts.u32()?)?,
            Operation::RemoveFile => files.remove_file(&parts.path()?)?,
            Operation::RemoveDir => files.remove_dir(&parts.path()?)?,
            Operation::Rename => {
                files.rename(&parts.path()?, &parts.path()?, parts.existing()?)?;
            }
            Operation::SetAttributes => {
                files.set_attributes(&parts.path()?, &parts.attributes()?, parts.follow()?)?;
            }
            Operation::ReadLink => answer = answer.bytes(&files.read_link(&parts.path()?)?),
            Operation::Symlink => files.symlink(parts.bytes()?, &parts.path()?)?,
            Operation::HardLink => files.hard_link(&parts.path()?, &parts.path()?)?,
            Operation::Space => answer = answer.space(&files.space(&parts.path()?)?),
            Operation::Resolve => {
                let resolved = files.resolve(&parts.path()?, parts.follow()?)?;
                answer = answer.resolved(&resolved);
            }
            Operation::SetFile => {
                let file = open_file(&files, parts, descriptor)?;
                file.set_attributes(&parts.attributes()?)?;
            }
            Operation::SyncDir => files.sync_dir(&parts.path()?)?,
            Operation::Extended => answer = answer.extended(&files.extended(&parts.path()?)?),
            Operation::CurrentPath => {
                let path = open_file(&files, parts, descriptor)?.current_path();
                answer = match path {
                    Some(path) => answer.u8(1).path(&path),
                    None => answer.u8(0),
                };
            }
            Operation::TakeOver => {
                let file = open_file(&files, parts, descriptor)?;
                file.take_over(&parts.metadata()?, &parts.extended()?)?;
            }
            Operation::SyncFile => open_file(&files, parts, descriptor)?.sync()?,
            Operation::Next => {
                let directory = self.directory(parts)?;
                answer = batch(answer, directory, parts.u32()?, parts.u8()? != 0)?;
            }
            Operation::EntryMetadata => {
                let listing = self.directory(parts)?;
                let metadata = listing
                    .directory
                    .metadata(parts.bytes()?, parts.follow()?)?;
                answer = answer.metadata(&metadata);
            }
            Operation::EntryLink => {
                let listing = self.directory(parts)?;
                answer = answer.bytes(&listing.directory.read_link(parts.bytes()?)?);
            }
            Operation::CloseDir => {}
        }
        Ok((answer, None))
    }

    fn open_directory(&mut self, files: &LocalFs, parts: &mut Parts<'_>) -> Result<u32> {
        if self.directories.len() >= DIRECTORIES_MAX {
            return Err(Error::new(ErrorKind::Busy, "too many open directories"));
        }
        let listing = Listing {
            directory: files.read_dir(&parts.path()?)?,
            failed: None,
        };
        while self.directories.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.directories.insert(number, listing);
        Ok(number)
    }

    fn directory(&mut self, parts: &mut Parts<'_>) -> Result<&mut Listing> {
        self.directories
            .get_mut(&parts.u32()?)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "no such open directory"))
    }
}

/// The open file that has come with a message.
fn open_file(
    files: &LocalFs,
    parts: &mut Parts<'_>,
    descriptor: Option<OwnedFd>,
) -> Result<Box<dyn File>> {
    let descriptor = descriptor
        .ok_or_else(|| Error::new(ErrorKind::Internal, "a message without its descriptor"))?;
    files.adopt(descriptor, &parts.path()?, &parts.options()?)
}

/// The next entries, `most` of them and what a message holds; none at the end.
fn batch(mut answer: Message, listing: &mut Listing, most: u32, look: bool) -> Result<Message> {
    if let Some(error) = listing.failed.take() {
        return Err(error);
    }
    let mut name = Vec::new();
    for count in 0..most {
        if answer.as_bytes().len() + ENTRY_MAX > MESSAGE_MAX {
            break;
        }
        let entry = match listing.directory.next(&mut name) {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) if count == 0 => return Err(error),
            Err(error) => {
                listing.failed = Some(error);
                break;
            }
        };
        // One that is gone by now, or may not be looked at, is asked for
        // again by whoever wants it, and so gets its error.
        let looked = look.then(|| listing.directory.metadata(&name, Follow::No).ok());
        answer = answer.bytes(&name).entry(entry);
        answer = match looked.flatten() {
            Some(metadata) => answer.u8(1).metadata(&metadata),
            None => answer.u8(0),
        };
    }
    Ok(answer)
}
