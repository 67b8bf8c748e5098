//! HOST, USER, PASS, ACCT, REIN, QUIT (RFC 959, section 4.1.1).

use std::net::IpAddr;

use crate::auth::{Anonymous, Secret};
use crate::config::TlsRequired;
use crate::error::{ErrorKind, Result};
use crate::ftp::reply::Reply;
use crate::ftp::state::Interpreter;
use crate::net::stream::Stream;
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
        return Ok(Reply::new(501, "Invalid user name."));
    }
    // Without guests, `ftp` is a user like others.
    let guest =
        Anonymous::is_guest(&name) && state.session.services().authenticator().serves_guests();
    // SECURITY: refused before the password is sent, as RFC 4217, section 6
    // asks; after CCC, too, when another password would go in the clear.
    if !state.control.is_secure() && state.tls_required(guest) != TlsRequired::No {
        return Ok(Reply::new(530, "Logging in needs TLS: say AUTH TLS first."));
    }
    if let Some(reply) = login_by_certificate(state, &name) {
        return Ok(reply);
    }
    state.parameters.name = Some(name);
    // The same words for known and unknown names.
    Ok(Reply::new(
        331,
        if guest {
            "Any password will do; your e-mail address is customary."
        } else {
            "Please give the password."
        },
    ))
}

/// A client certificate that the user's line names needs no password (RFC
/// 4217, section 9; 232 of RFC 2228).
fn login_by_certificate(state: &mut Interpreter, name: &str) -> Option<Reply> {
    let Ok(Stream::Tls(stream)) = state.control.stream() else {
        return None;
    };
    // SECURITY: a common name that looks like a whole subject must not pass
    // for one.
    let common_name = stream.peer_common_name().filter(|name| !name.contains('='));
    let subjects = [stream.peer_subject(), common_name];
    subjects.into_iter().flatten().find_map(|subject| {
        let secret = Secret::Certificate(&subject);
        // Users without it go on with their password, and the log has no
        // failed login of somebody who has not tried.
        state.session.would_admit(name, secret).ok()?;
        state.session.login(name, secret, Encrypted::Yes).ok()?;
        Some(Reply::new(232, "Logged in by your certificate."))
    })
}

pub fn pass(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    if state.session.user().is_some() {
        return Ok(Reply::new(230, "You are logged in already."));
    }
    let Some(name) = state.parameters.name.take() else {
        return Ok(Reply::new(503, "Give USER first."));
    };
    let secure = if state.control.is_secure() {
        Encrypted::Yes
    } else {
        Encrypted::No
    };
    match state
        .session
        .login(&name, Secret::Password(argument), secure)
    {
        Ok(()) => {
            // Checking a password is as deep as a session gets before a
            // transfer, and most sessions then wait for long.
            crate::sys::release_stack();
            Ok(Reply::new(230, "Logged in."))
        }
        Err(error) if error.kind() == ErrorKind::LoginRefused => match error.words() {
            Some(words) => Ok(Reply::new(530, words)),
            None => Err(error),
        },
        Err(error) if error.kind() == ErrorKind::TooMany => {
            log::debug!("{error}");
            state.ending = true;
            Ok(Reply::new(
                421,
                error.words().unwrap_or("Too many sessions."),
            ))
        }
        Err(error) => {
            log::error!("{error}");
            Ok(Reply::new(451, "Logins can't be checked now."))
        }
    }
}

/// HOST (RFC 7151): all names of this server lead to the same files.
pub fn host(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    if state.session.user().is_some() {
        return Ok(Reply::new(503, "Say HOST before USER."));
    }
    let name = String::from_utf8_lossy(argument.trim_ascii()).to_ascii_lowercase();
    // Section 3.1: an address stands in brackets, unless it is of IPv4.
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let by_address = address.parse().is_ok_and(|address: IpAddr| {
        let own = [state.session.local().ip(), state.session.reached()];
        own.iter().any(|own| own.to_canonical() == address)
    });
    let serves = |served: &String| {
        let served = served.to_ascii_lowercase();
        served == name
            || served
                .strip_prefix("*.")
                .is_some_and(|zone| name.split_once('.').is_some_and(|(_, rest)| rest == zone))
    };
    let tls = state.session.services().tls();
    let certificates = tls
        .and_then(|tls| tls.certificates().ok())
        .unwrap_or_default();
    let known = by_address
        || state.session.config().host_names.iter().any(serves)
        || certificates.iter().any(|one| one.names.iter().any(serves));
    if !known {
        return Ok(Reply::new(504, "No such host is served here."));
    }
    state.parameters.name = None;
    // RFC 7151, section 3.3: it chooses the certificate of a handshake to come.
    state.parameters.host = (!by_address).then_some(name);
    Ok(Reply::new(220, "Go on with USER."))
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
