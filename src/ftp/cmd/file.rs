//! Files: RETR, STOR and their kin, names, sizes, times.

use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use crate::error::{Error, ErrorKind, Result};
use crate::ftp::arguments::{quoted_names, settable_facts, word};
use crate::ftp::data_port::DataPort;
use crate::ftp::outcome::{NO_DATA_PORT, no_data_connection, transfer_failed};
use crate::ftp::reply::Reply;
use crate::ftp::state::Interpreter;
use crate::net::tls::Direction;
use crate::session::{Files, Put, Readable, Slash, Transfer};
use crate::storage::{Attributes, Existing, Follow, VirtualPath};
use crate::time::Utc;

/// Names that STOU tries.
const UNIQUE_TRIES: u32 = 100;

fn opening(state: &Interpreter, argument: &[u8], size: Option<u64>) -> Reply {
    let kind = if state.converts() { "ASCII" } else { "BINARY" };
    let mut text = format!("Opening {kind} mode data connection for ").into_bytes();
    text.extend_from_slice(argument);
    match size {
        // curl, FileZilla and ncftp read the size from the last parenthesis.
        Some(size) => text.extend_from_slice(format!(" ({size} bytes).").as_bytes()),
        None => text.push(b'.'),
    }
    Reply::bytes(150, text)
}

fn complete(state: &Interpreter) -> Reply {
    if state.converts() {
        Reply::new(226, "The transfer is complete; line ends were converted.")
    } else {
        Reply::new(226, "The transfer is complete.")
    }
}

pub fn retr(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let (start, range_end) = state.parameters.begin_transfer();
    let path = state.path(argument)?;
    let mut transfer = state.files()?.get(&path)?;
    let size = transfer.file()?.metadata_at_open()?.size;
    if start > size {
        return Err(Error::new(
            ErrorKind::BadOffset,
            "RETR behind the end of the file",
        ));
    }
    let end = range_end.map_or(size, |last| size.min(last.saturating_add(1)));
    let known = Some(end.saturating_sub(start));
    // A size of 0 may be unknown (/proc): reading says so.
    let known = match size {
        0 if has_content(&transfer)? => None,
        _ => known,
    };
    state.session.info().size.store(known.unwrap_or(0), Relaxed);
    let reply = opening(state, argument, known);
    let length = known.unwrap_or(Transfer::UNKNOWN);
    let mut stream = match state.open_data(Direction::Send, || reply) {
        Ok(stream) => stream,
        Err(error) => return Ok(no_data_connection(state, &error)),
    };
    let sent = state
        .send_file(&mut stream, &mut transfer, start, length)
        .and_then(|()| state.close_sent(&mut stream));
    if sent.is_err() {
        transfer.not_arrived(crate::sys::unacknowledged(stream.socket()).unwrap_or(0));
    }
    drop(stream);
    match sent.and_then(|()| transfer.finish()) {
        Ok(()) => Ok(complete(state)),
        Err(error) => Ok(transfer_failed(&error)),
    }
}

fn has_content(transfer: &Transfer) -> Result<bool> {
    // Some files of /proc give 8 bytes at once, or none.
    let read = transfer.file()?.read_at(&mut [0; 8], 0)?;
    Ok(read > 0)
}

/// Where an upload begins, and how many bytes of the old contents stay once
/// its data connection stands: `None` is all of them.
#[derive(Clone, Copy)]
struct Begin {
    offset: u64,
    keep: Option<u64>,
}

const AT_END: Begin = Begin {
    offset: 0,
    keep: None,
};

/// Receives into an open file and says how it went.
fn receive(
    state: &mut Interpreter,
    mut transfer: Transfer,
    begin: Begin,
    first: Reply,
) -> Result<Reply> {
    let mut stream = match state.open_data(Direction::Receive, || first) {
        Ok(stream) => stream,
        Err(error) => return Ok(no_data_connection(state, &error)),
    };
    let received = transfer
        .start(begin.keep)
        .and_then(|()| state.receive_file(&mut stream, &mut transfer, begin.offset));
    // Our close_notify goes out before the file is synced, which may take long.
    let closed = match &received {
        Ok(()) => state.close_data(stream),
        Err(_) => Ok(()),
    };
    if let Err(error) = closed {
        log::debug!("closing after an upload: {error}");
    }
    match received.and_then(|()| transfer.finish()) {
        Ok(()) => Ok(complete(state)),
        Err(error) => Ok(transfer_failed(&error)),
    }
}

fn put(state: &Interpreter, path: &VirtualPath, put: Put) -> Result<Transfer> {
    let mode = state.masked(state.session.config().file_mode.0);
    let mut transfer = state.files()?.put(path, put, Readable::No, mode)?;
    transfer.hold();
    Ok(transfer)
}

/// An upload that can't come needs no file.
fn no_data_port(state: &Interpreter) -> Option<Reply> {
    matches!(state.parameters.data, DataPort::None).then(|| Reply::new(425, NO_DATA_PORT))
}

pub fn stor(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let (start, _) = state.parameters.begin_transfer();
    if let Some(reply) = no_data_port(state) {
        return Ok(reply);
    }
    let path = state.named(argument, Slash::File)?;
    // What a restart goes on with must be there: it is never made.
    let how = match start {
        0 => Put::ReplaceAtStart,
        _ => Put::Existing,
    };
    let transfer = put(state, &path, how)?;
    let mut keep = Some(start);
    if start > 0 {
        let size = transfer.metadata()?.size;
        if start > size {
            // A hole would look like data that was never sent.
            return Err(Error::new(
                ErrorKind::BadOffset,
                "STOR behind the end of the file",
            ));
        }
        transfer.may_write_at(start)?;
        // What lies behind the restart is the broken tail of the last try.
        if start == size {
            keep = None;
        }
    }
    let first = opening(state, argument, None);
    let begin = Begin {
        offset: start,
        keep,
    };
    receive(state, transfer, begin, first)
}

pub fn appe(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    state.parameters.begin_transfer();
    if let Some(reply) = no_data_port(state) {
        return Ok(reply);
    }
    let path = state.named(argument, Slash::File)?;
    let transfer = put(state, &path, Put::Append)?;
    let first = opening(state, argument, None);
    receive(state, transfer, AT_END, first)
}

pub fn stou(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    state.parameters.begin_transfer();
    if let Some(reply) = no_data_port(state) {
        return Ok(reply);
    }
    let base = match argument.trim_ascii() {
        b"" => {
            let now = Utc::from(SystemTime::now()).digits();
            [b"upload-", &now[..]].concat()
        }
        name => name.to_vec(),
    };
    for number in 0..UNIQUE_TRIES {
        let name = match number {
            0 => base.clone(),
            number => [&base[..], format!(".{number}").as_bytes()].concat(),
        };
        let path = state.named(&name, Slash::File)?;
        match put(state, &path, Put::New) {
            Ok(transfer) => {
                // RFC 1123, section 4.1.2.9: this form and no other.
                let first = Reply::bytes(150, [b"FILE: ", &name[..]].concat());
                let reply = receive(state, transfer, AT_END, first)?;
                return Ok(match reply.code() {
                    226 => Reply::bytes(226, [b"FILE: ", &name[..]].concat()),
                    _ => reply,
                });
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Exists | ErrorKind::Denied | ErrorKind::Busy
                ) && number + 1 < UNIQUE_TRIES => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::new(ErrorKind::Exists, "no unique name was found"))
}

pub fn dele(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let path = state.named(argument, Slash::Entry)?;
    state.files()?.delete(&path)?;
    Ok(Reply::new(250, "The file is deleted."))
}

pub fn rnfr(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    state.parameters.rename_from = None;
    let path = state.named(argument, Slash::Entry)?;
    state.files()?.may_rename(&path)?;
    state.parameters.rename_from = Some(path);
    Ok(Reply::new(350, "Go on with RNTO."))
}

pub fn rnto(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let Some(from) = state.parameters.rename_from.take() else {
        return Ok(Reply::new(503, "Give RNFR first."));
    };
    let files = state.files()?;
    let to = files.new_name(&from, &state.parameters.directory, argument)?;
    files.rename(&from, &to, Existing::Replace)?;
    Ok(Reply::new(250, "It is renamed."))
}

fn regular(files: &Files, path: &VirtualPath) -> Result<crate::storage::Metadata> {
    let metadata = files.metadata(path, Follow::Yes)?;
    match metadata.kind {
        crate::storage::FileKind::File => Ok(metadata),
        crate::storage::FileKind::Directory => Err(ErrorKind::IsDirectory.into()),
        _ => Err(ErrorKind::Denied.into()),
    }
}

pub fn size(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    // The stored size in TYPE A, too: the size on the wire would cost reading
    // the whole file, and refusing breaks clients.
    let path = state.path(argument)?;
    Ok(Reply::new(
        213,
        regular(state.files()?, &path)?.size.to_string(),
    ))
}

fn set_modified(state: &Interpreter, path: &VirtualPath, modified: SystemTime) -> Result<()> {
    let attributes = Attributes {
        modified: Some(modified),
        ..Attributes::default()
    };
    state
        .files()?
        .set_attributes(path, &attributes, Follow::Yes)
}

pub fn mdtm(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    // "MDTM 20200101000000 file" sets, unless there is a file of that name.
    if let Some((time, path)) =
        word(argument).and_then(|(time, path)| Some((Utc::parse(time)?, path)))
    {
        let whole = state.path(argument)?;
        if state.files()?.metadata(&whole, Follow::Yes).is_err() {
            let path = state.path(path)?;
            set_modified(state, &path, time)?;
            return Ok(Reply::new(213, "The time is changed."));
        }
    }
    let path = state.path(argument)?;
    let metadata = state.files()?.metadata(&path, Follow::Yes)?;
    Ok(Reply::bytes(
        213,
        Utc::from(metadata.modified).digits().to_vec(),
    ))
}

pub fn mfmt(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let Some((digits, time, name)) =
        word(argument).and_then(|(time, path)| Some((time, Utc::parse(time)?, path)))
    else {
        return Ok(Reply::new(501, "Expected MFMT YYYYMMDDhhmmss and a path."));
    };
    let path = state.path(name)?;
    set_modified(state, &path, time)?;
    // What the disk holds: FAT has even seconds, and ext3 ends in 2038.
    let held = state.files()?.metadata(&path, Follow::Yes);
    let held = held.map(|metadata| Utc::from(metadata.modified).digits().to_vec());
    let shown = match &held {
        Ok(held) if !digits.starts_with(held) => held,
        _ => digits,
    };
    Ok(Reply::bytes(213, [b"Modify=", shown, b"; ", name].concat()))
}

pub fn mff(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let Some((facts, name)) = word(argument) else {
        return Ok(Reply::new(501, "Expected MFF, facts and a path."));
    };
    let attributes = match settable_facts(facts) {
        Ok(attributes) => attributes,
        Err(fact) => return Ok(Reply::new(504, format!("The fact {fact} can't be set so."))),
    };
    let path = state.path(name)?;
    state
        .files()?
        .set_attributes(&path, &attributes, Follow::Yes)?;
    Ok(Reply::bytes(213, [facts, b" ", name].concat()))
}

/// COMB joins parts to a file and deletes them, as CuteFTP's segmented
/// uploads want it.
pub fn comb(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let names = quoted_names(argument);
    let [target, parts @ ..] = &names[..] else {
        return Ok(Reply::new(501, "Expected COMB, a target and its parts."));
    };
    if parts.is_empty() {
        return Ok(Reply::new(501, "Expected COMB, a target and its parts."));
    }
    let target = state.named(target, Slash::File)?;
    let parts = parts
        .iter()
        .map(|part| state.path(part))
        .collect::<Result<Vec<_>>>()?;
    let files = state.files()?.clone();
    files.join(&target, &parts, &mut || state.poll_if_due())?;
    Ok(Reply::new(250, "The parts are joined."))
}
