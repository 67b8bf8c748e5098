//! USER, PASS, ACCT, REIN, QUIT (RFC 959, section 4.1.1).

use crate::auth::Secret;
use crate::error::{ErrorKind, Result};
use crate::ftp::reply::Reply;
use crate::ftp::state::Interpreter;
use crate::session::Encrypted;

/// Longest name that is looked at.
const NAME_MAX: usize = 256;

pub fn user(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    if state.session.user().is_some() {
        // A second USER is another user, as RFC 959 says: log out first.
        state.reinitialise();
    }
    let name = String::from_utf8_lossy(argument).trim().to_string();
    if name.is_empty() || name.len() > NAME_MAX {
        return Ok(Reply::new(501, "This is no user name."));
    }
    let guest = name.eq_ignore_ascii_case("anonymous") || name.eq_ignore_ascii_case("ftp");
    state.name = Some(name);
    // The same words for known and unknown names.
    Ok(Reply::new(
        331,
        match guest {
            true => "Any password will do; your e-mail address is customary.",
            false => "Please give the password.",
        },
    ))
}

pub fn pass(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    if state.session.user().is_some() {
        return Ok(Reply::new(230, "You are logged in already."));
    }
    let Some(name) = state.name.take() else {
        return Ok(Reply::new(503, "Give USER first."));
    };
    let secure = match state.control.is_secure() {
        true => Encrypted::Yes,
        false => Encrypted::No,
    };
    match state
        .session
        .login(&name, Secret::Password(argument), secure)
    {
        Ok(()) => Ok(Reply::new(230, "Logged in.")),
        Err(error) if error.kind() == ErrorKind::LoginRefused => Err(error),
        Err(error) if error.kind() == ErrorKind::TooMany => {
            log::debug!("session {}: {error}", state.session.live().id);
            state.ending = true;
            Ok(Reply::new(
                421,
                "Too many sessions, or too many failed logins.",
            ))
        }
        Err(error) => {
            log::error!("session {}: {error}", state.session.live().id);
            Ok(Reply::new(451, "Logins can't be checked now."))
        }
    }
}

pub fn acct(_: &mut Interpreter, _: &[u8]) -> Result<Reply> {
    Ok(Reply::new(202, "No account is needed."))
}

pub fn rein(state: &mut Interpreter, _: &[u8]) -> Result<Reply> {
    state.reinitialise();
    Ok(Reply::new(220, "Ready for another user."))
}

pub fn quit(state: &mut Interpreter, _: &[u8]) -> Result<Reply> {
    state.ending = true;
    Ok(Reply::new(221, "Goodbye."))
}
