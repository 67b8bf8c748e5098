//! SYST, NOOP, CLNT, CSID, LANG, ABOR.

use crate::error::Result;
use crate::ftp::data_port::DataPort;
use crate::ftp::reply::Reply;
use crate::ftp::state::Interpreter;
use crate::session::log_context::tell_once;
use crate::text::Escaped;

/// Longest name of a client that is kept.
const CLIENT_MAX: usize = 128;

pub fn syst(_: &mut Interpreter, _: &[u8]) -> Result<Reply> {
    Ok(Reply::new(215, "UNIX Type: L8"))
}

pub fn noop(_: &mut Interpreter, _: &[u8]) -> Result<Reply> {
    Ok(Reply::new(200, "Still here."))
}

fn note_client(argument: &[u8]) {
    let name = &argument[..argument.len().min(CLIENT_MAX)];
    tell_once(log::Level::Info, "the client is", &Escaped(name));
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
    let waiting = !matches!(state.parameters.data, DataPort::None);
    state.parameters.data = DataPort::None;
    Ok(if std::mem::take(&mut state.parameters.aborted) {
        Reply::new(226, "The transfer was aborted.")
    } else if waiting {
        Reply::new(226, "The data connection is closed.")
    } else {
        Reply::new(225, "There is no transfer to abort.")
    })
}

/// RFC 2640, section 4.1: English is what there is, and is what LANG alone
/// goes back to.
pub fn lang(_: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let tag = argument.trim_ascii().to_ascii_lowercase();
    Ok(match tag.as_slice() {
        b"" | b"en" | b"en-us" | b"en-gb" => Reply::new(200, "Replies are in English."),
        _ => Reply::new(504, "Replies are in English only."),
    })
}
