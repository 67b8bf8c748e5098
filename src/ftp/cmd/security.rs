//! TLS on the control and data connections: AUTH, PBSZ, PROT, CCC
//! (RFC 2228, RFC 4217).

use std::time::{Duration, Instant};

use crate::config::TlsRequired;
use crate::error::{Error, ErrorKind, Result};
use crate::ftp::data_port::DataPort;
use crate::ftp::reply::Reply;
use crate::ftp::state::{Interpreter, Protection};
use crate::net::stream::Stream;
use crate::session::log_context::tell_once;
use crate::session::registry::TlsFacts;
use crate::text::Escaped;

/// What a handshake has at the least, however late it begins.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// How long a client may take to go back to plain text after CCC.
const LEAVING: Duration = Duration::from_secs(10);

pub fn auth(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    if state.session.services().tls().is_none() {
        return Ok(if cfg!(feature = "ftps") {
            // RFC 2228, section 3: a required resource is missing.
            Reply::new(431, "No certificate is configured here.")
        } else {
            Reply::new(502, "This server was built without TLS.")
        });
    }
    if state.control.is_secure() {
        return Ok(Reply::new(503, "The connection is under TLS already."));
    }
    if let Some(Err(error)) = state.session.services().tls().map(|tls| tls.usable()) {
        tell_once(log::Level::Warn, "refused AUTH", &error);
        return Ok(Reply::new(431, "The certificate has expired."));
    }
    let protection = match argument.trim_ascii().to_ascii_uppercase().as_slice() {
        b"TLS" | b"TLS-C" => Protection::Clear,
        // The old words mean a protected data connection from the start
        // (draft-murray-auth-ftp-ssl).
        b"SSL" | b"TLS-P" => Protection::Private,
        _ => return Ok(Reply::new(504, "Expected AUTH TLS.")),
    };
    // Logging in before AUTH would carry over to an identity that TLS has not
    // seen (RFC 4217, section 9). The name of HOST only chooses a certificate.
    let host = state.parameters.host.take();
    state.reinitialise();
    state.parameters.host = host;
    state
        .control
        .reply(&Reply::new(234, "Go on with the handshake."));
    state.begin_tls()?;
    state.protection = protection;
    state.buffer_size_said = false;
    Ok(Reply::sent(234))
}

pub fn pbsz(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    if !state.control.is_secure() {
        return Ok(Reply::new(503, "Say AUTH TLS first."));
    }
    // A decimal number of 32 bits (RFC 2228, section 3).
    let size = std::str::from_utf8(argument.trim_ascii()).unwrap_or_default();
    let digits = size.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || size.parse::<u32>().is_err() {
        return Ok(Reply::new(501, "Expected PBSZ 0."));
    }
    state.buffer_size_said = true;
    Ok(match argument.trim_ascii() {
        b"0" => Reply::new(200, "PBSZ=0"),
        // RFC 4217, section 8: the server answers with its own.
        _ => Reply::new(200, "PBSZ=0 is all that TLS needs."),
    })
}

pub fn prot(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    if !state.control.is_secure() && state.tls.is_none() {
        return Ok(Reply::new(503, "Say AUTH TLS first."));
    }
    if !state.buffer_size_said {
        return Ok(Reply::new(503, "Say PBSZ 0 first."));
    }
    match argument.trim_ascii().to_ascii_uppercase().as_slice() {
        b"P" => {
            state.protection = Protection::Private;
            Ok(Reply::new(200, "Data connections are protected."))
        }
        b"C" => {
            let anonymous = state.session.user().is_some_and(|user| user.anonymous);
            if state.tls_required(anonymous) == TlsRequired::Data {
                return Ok(Reply::new(534, "Data connections must be protected."));
            }
            state.protection = Protection::Clear;
            // A connection that has begun TLS can't go back.
            if !matches!(
                state.parameters.data,
                DataPort::None
                    | DataPort::Passive(_)
                    | DataPort::Connected(_)
                    | DataPort::Active(_)
            ) {
                state.parameters.data = DataPort::None;
            }
            Ok(Reply::new(200, "Data connections are not encrypted."))
        }
        b"S" | b"E" => Ok(Reply::new(536, "TLS has no such level; use PROT P.")),
        _ => Ok(Reply::new(504, "Expected PROT C or PROT P.")),
    }
}

pub fn ccc(state: &mut Interpreter, _: &[u8]) -> Result<Reply> {
    if !state.session.config().ccc {
        return Ok(Reply::new(534, "The control connection stays protected."));
    }
    if !state.control.is_secure() {
        return Ok(Reply::new(533, "The control connection is not protected."));
    }
    state.control.reply(&Reply::new(
        200,
        "The control connection is in the clear from now on.",
    ));
    let mut early = Vec::new();
    state.control.change_stream(|stream| match stream {
        Stream::Tls(stream) => {
            let (socket, rest) = stream.into_socket(Instant::now() + LEAVING)?;
            early = rest;
            Ok(Stream::Plain(socket))
        }
        plain => Ok(plain),
    })?;
    state.control.push_read(&early);
    state.session.info().activity().tls = TlsFacts::default();
    Ok(Reply::sent(200))
}

impl Interpreter {
    /// Makes the handshake on the control connection. What the client sent in
    /// the clear before it is forgotten (CVE-2011-0411).
    ///
    /// # Errors
    /// The handshake's; the session must end then.
    // Without TLS in the build nothing can come after a `Tls` that can't exist.
    #[cfg_attr(not(feature = "ftps"), allow(unreachable_code, unused_variables))]
    pub fn begin_tls(&mut self) -> Result<()> {
        let Some(tls) = self.session.services().tls() else {
            return Err(Error::new(ErrorKind::Unsupported, "TLS is not configured"));
        };
        let host = self.parameters.host.as_deref();
        let session = tls
            .session()
            .for_client(self.session.peer().ip())
            .for_host(host);
        let end = self.login_deadline();
        let end = end.unwrap_or_else(|| Instant::now() + Duration::from_secs(60));
        // The process may have been stopped between the connection and this.
        let mut until = end.max(Instant::now() + FIRST_LOOK);
        let outcome = self.control.change_stream(|stream| match stream {
            Stream::Plain(socket) => Ok(session.accept(socket, &mut until)?.into()),
            secure => Ok(secure),
        });
        self.control.put_off(until - end);
        if let Err(error) = outcome {
            self.ending = true;
            log::warn!(
                "no TLS with {}: {error}",
                self.session.peer().ip().to_canonical()
            );
            return Err(ErrorKind::Disconnected.into());
        }
        if let Ok(Stream::Tls(stream)) = self.control.stream() {
            let (version, cipher) = stream.version_and_cipher();
            let subject = stream.peer_subject().unwrap_or_default();
            let certificate = Escaped(subject.as_bytes()).to_string();
            let resumed = stream.resumed();
            log::info!(
                tls = version, cipher = cipher, resumed = resumed,
                certificate = certificate.as_str();
                "{version} {cipher}, {}{}{certificate}",
                if resumed { "resumed" } else { "full handshake" },
                if certificate.is_empty() { "" } else { ", the client's certificate is " },
            );
            self.session.info().activity().tls = TlsFacts {
                version,
                cipher,
                certificate,
                ..TlsFacts::default()
            };
        }
        self.tls = Some(session);
        Ok(())
    }
}
