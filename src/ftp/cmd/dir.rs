//! Directories: CWD, PWD, MKD, RMD and what walks through them (RMDA, DSIZ).

use crate::error::{Error, ErrorKind, Result};
use crate::ftp::outcome::transfer_failed;
use crate::ftp::reply::{Reply, quoted};
use crate::ftp::state::Interpreter;
use crate::session::Slash;
use crate::storage::VirtualPath;

pub fn pwd(state: &mut Interpreter, _: &[u8]) -> Result<Reply> {
    Ok(Reply::bytes(
        257,
        [
            &quoted(state.parameters.directory.as_bytes())[..],
            b" is the working directory.",
        ]
        .concat(),
    ))
}

fn change(state: &mut Interpreter, path: VirtualPath) -> Result<Reply> {
    state.files()?.enter(&path)?;
    state.parameters.directory = path;
    Ok(Reply::new(250, "The working directory is changed."))
}

pub fn cwd(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let path = state.path(argument)?;
    change(state, path)
}

pub fn cdup(state: &mut Interpreter, _: &[u8]) -> Result<Reply> {
    let path = state.parameters.directory.parent();
    change(state, path)
}

pub fn mkd(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let path = state.path(argument)?;
    let mode = state.masked(state.session.config().dir_mode.0);
    state.files()?.make_dir(&path, mode)?;
    Ok(Reply::bytes(
        257,
        [&quoted(path.as_bytes())[..], b" is made."].concat(),
    ))
}

pub fn rmd(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let path = state.named(argument, Slash::Entry)?;
    state.files()?.remove_dir(&path)?;
    Ok(Reply::new(250, "The directory is removed."))
}

pub fn rmda(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let path = state.named(argument, Slash::Entry)?;
    if path.is_root() {
        return Err(Error::new(ErrorKind::Denied, "removing the root"));
    }
    let files = state.files()?.clone();
    let outcome = files.remove_tree(&path, &mut || state.poll_if_due());
    match outcome {
        Ok(()) => Ok(Reply::new(250, "The directory and all in it are removed.")),
        Err(error) => walk_failed(error),
    }
}

pub fn dsiz(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let path = state.path(argument)?;
    let files = state.files()?.clone();
    let mut bytes = 0u64;
    let outcome = files.walk(&path, &mut |_, metadata| {
        state.poll_if_due()?;
        if !metadata.is_dir() {
            bytes = bytes.saturating_add(metadata.size);
        }
        Ok(())
    });
    match outcome {
        Ok(()) => Ok(Reply::new(213, bytes.to_string())),
        Err(error) => walk_failed(error),
    }
}

/// Too many entries, or too long paths, end the command and not the session;
/// an ABOR that ended it gets its own reply afterwards.
fn walk_failed(error: Error) -> Result<Reply> {
    match error.kind() {
        ErrorKind::TooMany => Ok(Reply::new(451, "Too many entries in this directory tree.")),
        ErrorKind::NameInvalid => Ok(Reply::new(451, "This directory tree is too deep.")),
        ErrorKind::Aborted => Ok(transfer_failed(&error)),
        _ => Err(error),
    }
}

pub fn avbl(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let path = state.path(argument)?;
    let space = state.files()?.space(&path)?;
    // Clients read it into signed numbers.
    let bytes = space.available().min(i64::MAX as u64);
    Ok(Reply::new(213, bytes.to_string()))
}
