//! LIST, NLST, MLSD, MLST and STAT.

use crate::error::Result;
use crate::ftp::arguments::{ListOptions, list_options};
use crate::ftp::lister::{Format, ListSink, ListTarget, Lister, owners, target, write_listing};
use crate::ftp::listing::{self, ListedAs};
use crate::ftp::outcome::{no_data_connection, transfer_failed};
use crate::ftp::reply::Reply;
use crate::ftp::state::{Interpreter, Mode, Type};
use crate::net::tls::Direction;
use crate::session::log_context::tell_once;
use crate::session::registry::DataTls;
use crate::storage::Follow;
use crate::text::Escaped;

/// Opens the data connection, writes, closes, and says how it went. A listing
/// that could not be finished never looks like a whole one.
fn over_data(
    state: &mut Interpreter,
    write: impl FnOnce(&mut Interpreter, &mut ListSink) -> Result<()>,
) -> Result<Reply> {
    let stream = match state.open_data(Direction::Send, || {
        Reply::new(150, "Here comes the listing.")
    }) {
        Ok(stream) => stream,
        Err(error) => return Ok(no_data_connection(state, &error)),
    };
    let mut sink = ListSink::Data(stream);
    let outcome = write(state, &mut sink);
    if let (Ok(()), ListSink::Data(mut stream)) = (&outcome, sink) {
        match state.close_sent(&mut stream) {
            Ok(()) => return Ok(Reply::new(226, "The listing is complete.")),
            Err(error) => return Ok(transfer_failed(&error)),
        }
    }
    Ok(match outcome {
        Err(error) => transfer_failed(&error),
        Ok(()) => Reply::new(451, "The listing has failed."),
    })
}

/// The options in an argument, and the path.
fn parse(state: &Interpreter, argument: &[u8]) -> (ListOptions, Vec<u8>) {
    list_options(argument, |name| {
        let found = state
            .path(name)
            .and_then(|path| state.files()?.metadata(&path, Follow::No));
        found.is_ok()
    })
}

fn list_or_nlst(state: &mut Interpreter, argument: &[u8], format: Format) -> Result<Reply> {
    state.parameters.begin_transfer();
    let (options, path) = parse(state, argument);
    let format = if options.long { Format::Long } else { format };
    let target = target(state, &path, &options)?;
    over_data(state, |state, sink| {
        write_listing(state, sink, format, options, &path, target)
    })
}

pub fn list(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    list_or_nlst(state, argument, Format::Long)
}

pub fn nlst(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    list_or_nlst(state, argument, Format::Names)
}

fn stat_path(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let (mut options, path) = parse(state, argument);
    options.recursive = false;
    let target = target(state, &path, &options)?;
    let code = if matches!(target, ListTarget::File(_)) {
        213
    } else {
        212
    };
    state.control.begin_listing(code, b"Status:");
    let mut sink = ListSink::Control;
    let outcome = write_listing(state, &mut sink, Format::Long, options, &path, target);
    let last = match outcome {
        Ok(()) => "End of status",
        Err(error) if state.control.forget_listing() => return Err(error),
        // The client has read a part of it, which must not look like all.
        Err(error) => {
            tell_once(log::Level::Info, "a listing broke off", &error);
            "The listing is not complete; use LIST."
        }
    };
    state.control.end_listing(&Reply::new(code, last));
    Ok(Reply::sent(code))
}

pub fn mlsd(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    state.parameters.begin_transfer();
    // RFC 3659 has no options; clients send them.
    let (_, argument) = parse(state, argument);
    let path = state.path(&argument)?;
    let files = state.files()?.clone();
    let own = files.metadata(&path, Follow::Yes)?;
    if !own.is_dir() {
        return Ok(Reply::new(501, "MLSD is for directories."));
    }
    let directory = files.list(&path)?;
    let above = files.metadata(&path.parent(), Follow::Yes).unwrap_or(own);
    over_data(state, |state, sink| {
        let options = ListOptions::default();
        let mut lister = Lister::new(state, Format::Facts, options, &path)?;
        lister.facts(b".", &own, ListedAs::Current);
        lister.facts(b"..", &above, ListedAs::Parent);
        lister.directory(state, sink, directory, b"", None, None)?;
        lister.finish(state, sink)
    })
}

pub fn mlst(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let path = state.path(argument)?;
    let files = state.files()?;
    let metadata = files.metadata(&path, Follow::Yes)?;
    let mut line = Vec::new();
    listing::facts_line(
        &mut line,
        state.parameters.facts,
        &metadata,
        files.perms_at(&path),
        owners(files.user()),
        ListedAs::Entry,
        path.as_bytes(),
    );
    Ok(Reply::many(
        250,
        vec![b"Facts:".to_vec(), line, b"End".to_vec()],
    ))
}

pub fn stat(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    if !argument.is_empty() {
        if state.session.user().is_none() {
            return Ok(Reply::new(530, "Please log in with USER and PASS."));
        }
        return stat_path(state, argument);
    }
    Ok(session_status(state))
}

fn session_status(state: &Interpreter) -> Reply {
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
    let tls = state.session.info().activity().tls.clone();
    lines.push(match tls.version {
        "" => b"The control connection is in the clear".to_vec(),
        version => {
            let certificate = match tls.certificate.as_str() {
                "" => String::new(),
                subject => format!(", with your certificate {subject}"),
            };
            let text = format!(
                "The control connection is under {version} {}{certificate}",
                tls.cipher
            );
            text.into_bytes()
        }
    });
    match tls.data {
        DataTls::Unknown => {}
        DataTls::Clear => lines.push(b"The last data connection was in the clear".to_vec()),
        DataTls::Full => {
            lines.push(b"The last data connection had a TLS session of its own".to_vec())
        }
        DataTls::Resumed => {
            lines.push(b"The last data connection resumed the TLS session".to_vec())
        }
    }
    let kind = match state.parameters.transfer_type {
        Type::Ascii => "ASCII",
        Type::Image => "binary",
    };
    let mode = match state.parameters.mode {
        Mode::Stream => "stream",
        Mode::Deflate => "deflate",
    };
    lines.push(format!("TYPE {kind}, STRU file, MODE {mode}").into_bytes());
    let age = state.session.info().since.elapsed().as_secs();
    lines.push(format!("Session began {age} seconds ago").into_bytes());
    lines.push(b"End of status".to_vec());
    Reply::many(211, lines)
}
