//! Handlers of the requests of draft-ietf-secsh-filexfer-02, section 6.

use std::time::SystemTime;

use super::SymlinkOrder;
use super::attributes;
use super::handles::{Open, OpenDirectory, OpenFile, Stage};
use super::interpreter::{Answer, Interpreter};
use super::wire::{BUFFER_KEPT, DATA_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::session::log_context::tell_once;
use crate::session::{Put, Readable, Slash};
use crate::ssh_data::Reader;
use crate::storage::{Attributes, Directory, Existing, FileKind, Follow, Metadata, VirtualPath};
use crate::text::Escaped;
use crate::time::seconds_of;

// Replies, section 3.
const HANDLE: u8 = 102;
const DATA: u8 = 103;
pub(super) const NAME: u8 = 104;
const ATTRS: u8 = 105;

// Flags of OPEN, section 6.3.
const READ: u32 = 1;
const WRITE: u32 = 2;
const APPEND: u32 = 4;
const CREAT: u32 = 8;
const TRUNC: u32 = 0x10;
const EXCL: u32 = 0x20;

/// A NAME reply to READDIR ends when it is so long: with one more entry of
/// the longest name it is below the 34000 bytes that every client takes.
const LISTING_MAX: usize = 32_000;
/// So long is a NAME reply where other replies wait.
const LISTING_CROWDED: usize = 4_000;
/// A DATA reply before its data.
const DATA_FRONT: usize = 13;

type Interpreted = Result<Answer>;

pub(super) fn open(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let path = it.file_path(arguments)?;
    let flags = arguments.u32()?;
    let wished = attributes::read(arguments)?;
    it.handles.may_open()?;
    it.handles.settle(&path)?;
    let writes = flags & (WRITE | APPEND) != 0;
    // Flags of neither kind mean reading, as open(2) with 0 does.
    let reads = flags & READ != 0 || !writes;
    let transfer = if writes {
        let readable = if reads { Readable::Yes } else { Readable::No };
        it.files
            .put(&path, how_to_put(flags), readable, wished.mode)?
    } else if flags & TRUNC != 0 {
        return Err(Error::new(ErrorKind::Denied, "truncating without writing"));
    } else {
        if flags & (CREAT | EXCL) == CREAT | EXCL {
            make_empty(it, &path, wished.mode)?;
        }
        match it.files.get(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound && flags & CREAT != 0 => {
                make_empty(it, &path, wished.mode)?;
                it.files.get(&path)?
            }
            outcome => outcome?,
        }
    };
    let length = path.as_bytes().len();
    let handle = it.handles.insert(
        Open::File(OpenFile {
            transfer,
            reads,
            writes,
            failed: None,
        }),
        length,
    )?;
    it.reply(HANDLE);
    it.replies.string(&handle);
    Ok(Answer::Made)
}

/// Makes the file that is opened for reading with CREAT, as open(2) does.
fn make_empty(it: &Interpreter<'_>, path: &VirtualPath, mode: Option<u32>) -> Result<()> {
    let made = it.files.put(path, Put::New, Readable::No, mode)?;
    made.finish()
}

fn how_to_put(flags: u32) -> Put {
    let has = |flag| flags & flag != 0;
    match (has(CREAT), has(EXCL), has(TRUNC), has(APPEND)) {
        (true, true, ..) => Put::New,
        (true, false, true, _) => Put::Replace,
        (true, false, false, true) => Put::Append,
        // OpenSSH's scp writes so and cuts the file at the end.
        (true, false, false, false) => Put::Keep,
        (false, _, true, _) => Put::Overwrite,
        (false, _, false, true) => Put::AppendExisting,
        (false, _, false, false) => Put::Existing,
    }
}

/// CLOSE can't be tried again later: the handle is gone, and so may be the data.
fn failed(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Busy => error.telling("The transfer has failed"),
        _ => error,
    }
}

pub(super) fn close(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    match it.handles.remove(arguments)? {
        Open::Directory(_) => {}
        Open::File(OpenFile {
            failed: Some(kind), ..
        }) => {
            // Dropping the transfer is its broken end.
            return Err(failed(Error::new(
                kind,
                "closing a file after a failed WRITE",
            )));
        }
        Open::File(file) => file.transfer.finish().map_err(failed)?,
    }
    Ok(Answer::Done)
}

pub(super) fn read(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let handle = arguments.string()?;
    let offset = arguments.u64()?;
    let length = (arguments.u32()? as usize).min(DATA_MAX);
    // SECURITY: what a client asks for and does not take is bounded for all
    // sessions together.
    if it.replies.pending().len() + length + DATA_FRONT > BUFFER_KEPT && !it.room.has_permit() {
        return Ok(Answer::Later);
    }
    let file = it.handles.file_named(handle)?;
    if !file.reads {
        return Err(Error::new(
            ErrorKind::Denied,
            "reading a file that is written",
        ));
    }
    it.replies.begin(DATA, it.id);
    let at = it.replies.mark();
    let read = file.transfer.read_at(it.replies.room(length), offset)?;
    if read == 0 && length != 0 {
        it.replies.cancel();
        return Ok(Answer::End);
    }
    it.replies.set_u32(at, read as u32);
    it.replies.advance(read);
    if file.transfer.is_paced() {
        it.owed = file.transfer.pace(read as u64);
    }
    Ok(Answer::Made)
}

pub(super) fn write(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let handle = arguments.string()?;
    let offset = arguments.u64()?;
    write_at(it, handle, offset, arguments.string()?)?;
    Ok(Answer::Done)
}

/// Writes the data of a WRITE, or a part of them.
pub(super) fn write_at(
    it: &mut Interpreter<'_>,
    handle: &[u8],
    offset: u64,
    data: &[u8],
) -> Result<()> {
    let file = it.handles.file_named(handle)?;
    if !file.writes {
        return Err(Error::new(ErrorKind::Denied, "writing a file that is read"));
    }
    file.transfer
        .write_all_at(data, offset)
        .inspect_err(|error| file.failed = Some(error.kind()))?;
    if file.transfer.is_paced() {
        it.owed = file.transfer.pace(data.len() as u64);
    }
    Ok(())
}

pub(super) fn stat(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    look(it, arguments, Follow::Yes)
}

pub(super) fn lstat(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    look(it, arguments, Follow::No)
}

fn look(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>, follow: Follow) -> Interpreted {
    let path = it.path(arguments)?;
    let metadata = match it.handles.pending(&path) {
        Some(transfer) => transfer.metadata()?,
        None => it.files.metadata(&path, follow)?,
    };
    attrs(it, &metadata)
}

pub(super) fn fstat(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let metadata = it.handles.find(arguments)?.metadata()?;
    attrs(it, &metadata)
}

fn attrs(it: &mut Interpreter<'_>, metadata: &Metadata) -> Interpreted {
    it.reply(ATTRS);
    attributes::write(&mut it.replies, metadata);
    Ok(Answer::Made)
}

pub(super) fn setstat(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    set(it, arguments, Follow::Yes)
}

pub(super) fn set(
    it: &mut Interpreter<'_>,
    arguments: &mut Reader<'_>,
    follow: Follow,
) -> Interpreted {
    let path = it.path(arguments)?;
    let attributes = attributes::read(arguments)?;
    match it.handles.pending(&path) {
        Some(transfer) => transfer.set_attributes(&attributes)?,
        None => it.files.set_attributes(&path, &attributes, follow)?,
    }
    Ok(Answer::Done)
}

pub(super) fn fsetstat(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let open = it.handles.find(arguments)?;
    let attributes: Attributes = attributes::read(arguments)?;
    match open {
        Open::File(file) => file.transfer.set_attributes(&attributes)?,
        Open::Directory(directory) => {
            it.files
                .set_attributes(&directory.path, &attributes, Follow::Yes)?
        }
    }
    Ok(Answer::Done)
}

pub(super) fn opendir(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let path = it.path(arguments)?;
    it.handles.may_open()?;
    let length = path.as_bytes().len();
    let directory = it.files.list(&path)?;
    let handle = it.handles.insert(
        Open::Directory(OpenDirectory {
            directory,
            path,
            stage: Stage::Dot,
            name: Vec::new(),
            failed: None,
            told: false,
        }),
        length,
    )?;
    it.reply(HANDLE);
    it.replies.string(&handle);
    Ok(Answer::Made)
}

pub(super) fn readdir(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let id = it.id;
    let listing = it.handles.directory(arguments)?;
    if let Some(error) = listing.failed.take() {
        listing.stage = Stage::End;
        return Err(error);
    }
    it.replies.begin(NAME, id);
    let count_at = it.replies.mark();
    let mut count = 0;
    let now = seconds_of(SystemTime::now());
    let owners = it.options.owners.as_deref();
    let most = if it.room.is_crowded() {
        LISTING_CROWDED
    } else {
        LISTING_MAX
    };
    while it.replies.length() < most {
        let metadata = match next(listing, it.files) {
            Ok(Some(metadata)) => metadata,
            Ok(None) => break,
            Err(error) if count == 0 => {
                listing.stage = Stage::End;
                return Err(error);
            }
            // SECURITY: a listing is never cut without an error; it comes
            // with the next request.
            Err(error) => {
                listing.failed = Some(error);
                break;
            }
        };
        it.replies.string(&listing.name);
        match &metadata {
            Some(metadata) => {
                let replies = &mut it.replies;
                attributes::write_long_name(replies, &listing.name, metadata, owners, now);
                attributes::write(replies, metadata);
            }
            None => {
                let unknown = Metadata::new(FileKind::Other, 0);
                let replies = &mut it.replies;
                attributes::write_long_name(replies, &listing.name, &unknown, owners, now);
                attributes::write_none(replies);
            }
        }
        count += 1;
    }
    if count == 0 {
        it.replies.cancel();
        return Ok(Answer::End);
    }
    it.replies.set_u32(count_at, count);
    Ok(Answer::Made)
}

/// Goes to the next entry, whose name then stands in the listing; `None` is
/// the end. Metadata are missing for an entry that nobody may look at; one
/// that has vanished meanwhile is left out.
fn next(
    listing: &mut OpenDirectory,
    files: &crate::session::Files,
) -> Result<Option<Option<Metadata>>> {
    loop {
        listing.name.clear();
        let metadata = match listing.stage {
            Stage::Dot => {
                listing.stage = Stage::DotDot;
                listing.name.push(b'.');
                listing.directory.metadata(b".", Follow::No)
            }
            Stage::DotDot => {
                listing.stage = Stage::Entries;
                listing.name.extend_from_slice(b"..");
                files.metadata(&listing.path.parent(), Follow::Yes)
            }
            Stage::Entries => match listing.directory.next(&mut listing.name)? {
                Some(_) => Directory::metadata(&*listing.directory, &listing.name, Follow::No),
                None => {
                    listing.stage = Stage::End;
                    return Ok(None);
                }
            },
            Stage::End => return Ok(None),
        };
        match metadata {
            Ok(metadata) => return Ok(Some(Some(metadata))),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                if !std::mem::replace(&mut listing.told, true) {
                    let what = format_args!("{}: {error}", Escaped(&listing.name));
                    tell_once(log::Level::Warn, "a listing could not look at", &what);
                }
                return Ok(Some(None));
            }
        }
    }
}

pub(super) fn remove(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let path = it.entry(arguments)?;
    it.handles.settle(&path)?;
    it.files.delete(&path)?;
    Ok(Answer::Done)
}

pub(super) fn mkdir(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let path = it.path(arguments)?;
    let wished = attributes::read(arguments)?;
    it.files.make_dir(&path, wished.mode)?;
    Ok(Answer::Done)
}

pub(super) fn rmdir(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let path = it.entry(arguments)?;
    it.files.remove_dir(&path)?;
    Ok(Answer::Done)
}

/// What does not exist (yet) has a path, too: `sftp put -r` and `scp -r` ask
/// for the directory that they are about to make.
pub(super) fn realpath(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let path = it.path(arguments)?;
    let path = it.files.real_path(&path)?;
    name(it, path.as_bytes())
}

/// A NAME reply of one name without attributes.
pub(super) fn name(it: &mut Interpreter<'_>, name: &[u8]) -> Interpreted {
    it.reply(NAME);
    it.replies.u32(1);
    it.replies.string(name);
    it.replies.string(name);
    attributes::write_none(&mut it.replies);
    Ok(Answer::Made)
}

pub(super) fn rename(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    move_to(it, arguments, Existing::Keep)
}

pub(super) fn move_to(
    it: &mut Interpreter<'_>,
    arguments: &mut Reader<'_>,
    existing: Existing,
) -> Interpreted {
    let from = it.entry(arguments)?;
    let to = it.new_name(&from, arguments)?;
    it.handles.settle(&from)?;
    it.files.rename(&from, &to, existing)?;
    Ok(Answer::Done)
}

pub(super) fn readlink(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let path = it.path(arguments)?;
    let target = it.files.read_link(&path)?;
    name(it, &target)
}

/// The draft says link and then target; OpenSSH got it the other way round,
/// and nearly every client does as OpenSSH does.
pub(super) fn symlink(it: &mut Interpreter<'_>, arguments: &mut Reader<'_>) -> Interpreted {
    let mut texts = [arguments.string()?, arguments.string()?];
    if it.options.symlink == SymlinkOrder::LinkFirst {
        texts.reverse();
    }
    let [target, link] = texts;
    let path = it.files.named(&it.options.start, link, Slash::File)?;
    it.files.symlink(target, &path)?;
    Ok(Answer::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_open_mean_what_open_means() {
        for (flags, want) in [
            (WRITE | CREAT | TRUNC, Put::Replace),
            (WRITE | CREAT | EXCL, Put::New),
            (WRITE | CREAT | EXCL | TRUNC, Put::New),
            (READ | WRITE | CREAT, Put::Keep),
            (WRITE | CREAT | APPEND, Put::Append),
            (WRITE | APPEND, Put::AppendExisting),
            (WRITE | TRUNC, Put::Overwrite),
            (WRITE, Put::Existing),
        ] {
            assert_eq!(how_to_put(flags), want, "{flags:#x}");
        }
    }
}
