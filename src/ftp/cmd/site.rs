//! The commands behind SITE.

use std::time::Duration;

use crate::config::Symlinks;
use crate::error::{Error, ErrorKind, Result};
use crate::ftp::arguments::{octal, offset, quoted_names, word};
use crate::ftp::reply::Reply;
use crate::ftp::state::Interpreter;
use crate::session::Slash;
use crate::storage::{Attributes, Follow, VirtualPath};
use crate::time::Utc;

pub fn chmod(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let Some((mode, path)) = word(argument).and_then(|(mode, path)| Some((octal(mode)?, path)))
    else {
        return Ok(Reply::new(
            501,
            "Expected SITE CHMOD, an octal mode and a path.",
        ));
    };
    let path = state.path(path)?;
    let attributes = Attributes {
        mode: Some(mode),
        ..Attributes::default()
    };
    state
        .files()?
        .set_attributes(&path, &attributes, Follow::Yes)?;
    Ok(Reply::new(200, "The mode is changed."))
}

pub fn utime(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    // UTIME path atime mtime ctime UTC, or UTIME time path.
    let words: Vec<&[u8]> = argument.rsplitn(5, |byte| *byte == b' ').collect();
    let long = match words[..] {
        [zone, _, modified, accessed, path] if zone.eq_ignore_ascii_case(b"UTC") => {
            Utc::parse(accessed)
                .zip(Utc::parse(modified))
                .map(|(accessed, modified)| (accessed, modified, path))
        }
        _ => None,
    };
    let short = word(argument).and_then(|(time, path)| {
        // Without seconds, too: YYYYMMDDhhmm, as WinSCP and ncftp send it.
        let time = match time.len() {
            12 => Utc::parse(&[time, b"00"].concat()),
            _ => Utc::parse(time),
        };
        time.map(|time| (time, time, path))
    });
    let Some((accessed, modified, path)) = long.or(short) else {
        return Ok(Reply::new(501, "Expected SITE UTIME YYYYMMDDhhmmss path."));
    };
    let path = state.path(path)?;
    let attributes = Attributes {
        accessed: Some(accessed),
        modified: Some(modified),
        ..Attributes::default()
    };
    state
        .files()?
        .set_attributes(&path, &attributes, Follow::Yes)?;
    Ok(Reply::new(200, "The time is changed."))
}

pub fn umask(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let argument = argument.trim_ascii();
    if argument.is_empty() {
        return Ok(Reply::new(
            200,
            format!("The mask is {:03o}.", state.parameters.umask),
        ));
    }
    match octal(argument).filter(|mask| *mask <= 0o777) {
        Some(mask) => {
            state.parameters.umask = mask;
            Ok(Reply::new(200, format!("The mask is {mask:03o} now.")))
        }
        None => Ok(Reply::new(501, "Expected an octal mask.")),
    }
}

pub fn idle(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let most = state.session.config().idle_timeout;
    let argument = argument.trim_ascii();
    if argument.is_empty() {
        let now = state.parameters.idle.unwrap_or(most);
        return Ok(Reply::new(
            200,
            format!(
                "The idle time is {} seconds, at most {}.",
                now.as_secs(),
                most.as_secs()
            ),
        ));
    }
    let wanted = offset(argument).map(Duration::from_secs);
    match wanted.filter(|wanted| !wanted.is_zero() && (most.is_zero() || *wanted <= most)) {
        Some(wanted) => {
            state.parameters.idle = Some(wanted);
            Ok(Reply::new(
                200,
                format!("The idle time is {} seconds now.", wanted.as_secs()),
            ))
        }
        None => Ok(Reply::new(
            501,
            format!("Expected seconds from 1 to {}.", most.as_secs()),
        )),
    }
}

pub fn mkdir(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let path = state.path(argument)?;
    let mode = state.masked(state.session.config().dir_mode.0);
    let mut made = VirtualPath::root();
    let mut outcome = Err(Error::new(ErrorKind::Exists, "the root"));
    for name in path.components() {
        made = made.join(name)?;
        outcome = state.files()?.make_dir(&made, mode);
        match &outcome {
            Ok(()) => {}
            // There already, or not ours to make: the next one tells.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Exists | ErrorKind::Denied | ErrorKind::ReadOnly
                ) => {}
            Err(_) => break,
        }
    }
    match outcome {
        Err(error) if error.kind() == ErrorKind::Exists => {
            state.files()?.enter(&path)?;
            Ok(Reply::new(200, "The directory is there already."))
        }
        outcome => outcome.map(|()| Reply::new(200, "The directories are made.")),
    }
}

pub fn cpfr(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let path = state.path(argument)?;
    let metadata = state.files()?.metadata(&path, Follow::Yes)?;
    if metadata.is_dir() {
        return Err(ErrorKind::IsDirectory.into());
    }
    state.parameters.copy_from = Some(path);
    Ok(Reply::new(350, "Go on with SITE CPTO."))
}

pub fn cpto(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    match state.parameters.copy_from.take() {
        Some(from) => {
            let to = state.named(argument, Slash::File)?;
            copy_file(state, &from, &to)
        }
        None => Ok(Reply::new(503, "Give SITE CPFR first.")),
    }
}

/// SITE QUOTA: what the files of the home take and may take.
pub fn quota(state: &mut Interpreter, _: &[u8]) -> Result<Reply> {
    let Some(usage) = state.files()?.user().usage.clone() else {
        return Ok(Reply::new(200, "There is no quota."));
    };
    let (Some(used), (bytes, files)) = (usage.known(), usage.limits()) else {
        return Ok(Reply::new(200, "The files are being counted."));
    };
    let of = |limit: u64| match limit {
        0 => "no limit".into(),
        limit => limit.to_string(),
    };
    let text = format!(
        "{} bytes of {}, {} files of {}.",
        used.bytes,
        of(bytes),
        used.files,
        of(files)
    );
    Ok(Reply::new(200, text))
}

pub fn copy(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let names = quoted_names(argument);
    let [from, to] = &names[..] else {
        return Ok(Reply::new(
            501,
            "Expected SITE COPY and two names; quote names with blanks.",
        ));
    };
    let (from, to) = (state.path(from)?, state.named(to, Slash::File)?);
    copy_file(state, &from, &to)
}

pub fn symlink(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    if state.session.config().site_symlink == Symlinks::No {
        return Ok(Reply::new(502, "SITE SYMLINK is switched off."));
    }
    let names = quoted_names(argument);
    let [target, link] = &names[..] else {
        return Ok(Reply::new(
            501,
            "Expected SITE SYMLINK, a target and a link; quote names with blanks.",
        ));
    };
    let link = state.named(link, Slash::File)?;
    state.files()?.symlink(target, &link)?;
    Ok(Reply::new(200, "The link is made."))
}

/// Copies a file on the server; counts and stops like a transfer.
fn copy_file(state: &mut Interpreter, from: &VirtualPath, to: &VirtualPath) -> Result<Reply> {
    let files = state.files()?.clone();
    files.copy(from, to, &mut || state.poll_if_due())?;
    Ok(Reply::new(250, "It is copied."))
}
