//! FEAT, HELP, SYST, NOOP, CLNT, CSID, STAT, ABOR.

use std::sync::atomic::Ordering::Relaxed;

use super::list;
use crate::error::Result;
use crate::ftp::data::DataPort;
use crate::ftp::reply::Reply;
use crate::ftp::state::{Interpreter, Type};
use crate::ftp::table;
use crate::text::Escaped;

/// Longest name of a client that is kept.
const CLIENT_MAX: usize = 128;

pub fn feat(state: &mut Interpreter, _: &[u8]) -> Result<Reply> {
    Ok(table::feat(state))
}

pub fn help(_: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    // "HELP SITE" is what ncftp asks for SITE HELP.
    Ok(match argument.trim_ascii().eq_ignore_ascii_case(b"SITE") {
        true => table::help(table::SITE, b""),
        false => table::help(table::COMMANDS, argument),
    })
}

pub fn syst(_: &mut Interpreter, _: &[u8]) -> Result<Reply> {
    Ok(Reply::new(215, "UNIX Type: L8"))
}

pub fn noop(_: &mut Interpreter, _: &[u8]) -> Result<Reply> {
    Ok(Reply::new(200, "Still here."))
}

fn note_client(argument: &[u8]) {
    let name = &argument[..argument.len().min(CLIENT_MAX)];
    log::info!("the client is {}", Escaped(name));
}

pub fn clnt(_: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    note_client(argument);
    Ok(Reply::new(200, "Noted."))
}

pub fn csid(_: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    note_client(argument);
    Ok(Reply::new(
        200,
        concat!(
            "Name=wharf; Version=",
            env!("CARGO_PKG_VERSION"),
            "; OS=Unix; CaseSensitive=1; DirSep=/;"
        ),
    ))
}

pub fn abor(state: &mut Interpreter, _: &[u8]) -> Result<Reply> {
    let waiting = !matches!(state.data, DataPort::None);
    state.data = DataPort::None;
    Ok(match std::mem::take(&mut state.aborted) {
        true => Reply::new(226, "The transfer was aborted."),
        false if waiting => Reply::new(226, "The data connection is closed."),
        false => Reply::new(225, "There is no transfer to abort."),
    })
}

pub fn stat(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    if !argument.is_empty() {
        if state.session.user().is_none() {
            return Ok(Reply::new(530, "Please log in with USER and PASS."));
        }
        return list::stat_path(state, argument);
    }
    let mut lines = vec![b"Status of this session:".to_vec()];
    let user = state.session.user().map_or("nobody", |user| &user.name);
    lines.push(
        format!(
            "Connected from {}",
            state.session.peer().ip().to_canonical()
        )
        .into_bytes(),
    );
    lines.push(format!("Logged in as {}", Escaped(user.as_bytes())).into_bytes());
    lines.push(match state.session.live().words().tls.as_str() {
        "" => b"The control connection is in the clear".to_vec(),
        protocol => format!("The control connection is under {protocol}").into_bytes(),
    });
    let kind = match state.transfer_type {
        Type::Ascii => "ASCII",
        Type::Image => "binary",
    };
    lines.push(format!("TYPE {kind}, STRU file, MODE stream").into_bytes());
    let age = state.session.live().since.elapsed().as_secs();
    lines.push(format!("Session began {age} seconds ago").into_bytes());
    lines.push(b"End of status".to_vec());
    Ok(Reply::many(211, lines))
}

/// The reply to STAT in the middle of a transfer.
pub fn transfer_status(state: &Interpreter) -> Reply {
    let live = state.session.live();
    let (bytes, size) = (live.bytes.load(Relaxed), live.size.load(Relaxed));
    let of = if size == 0 {
        String::new()
    } else {
        format!(" of {size}")
    };
    let lines = vec![
        b"Status of the transfer:".to_vec(),
        format!("{bytes}{of} bytes so far").into_bytes(),
        b"End of status".to_vec(),
    ];
    Reply::many(213, lines)
}
