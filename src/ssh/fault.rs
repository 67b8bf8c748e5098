//! Why a connection ends before its time, and what the peer is told.

use std::borrow::Cow;
use std::io;

use openssl::error::ErrorStack;

use crate::error::{Error, ErrorKind};
use crate::ssh_data::Malformed;

/// The reasons of SSH_MSG_DISCONNECT that this server sends (RFC 4250,
/// section 4.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    ProtocolError = 2,
    KeyExchangeFailed = 3,
    MacError = 5,
    ServiceNotAvailable = 7,
    ProtocolVersionNotSupported = 8,
    ConnectionLost = 10,
    ByApplication = 11,
    TooManyConnections = 12,
    NoMoreAuthMethodsAvailable = 14,
}

/// What ends a connection.
#[derive(Debug)]
pub(super) enum Fault {
    /// This side ends it: SSH_MSG_DISCONNECT with these fixed words.
    Disconnect(Reason, Cow<'static, str>),
    /// The peer sent SSH_MSG_DISCONNECT or closed the connection.
    Left(Cow<'static, str>),
    /// The connection itself failed.
    Io(io::Error),
    /// A deadline passed while waiting for this.
    Timeout(&'static str),
    /// OpenSSL refused something that no peer can cause: a bug, or no memory.
    Crypto(ErrorStack),
}

impl Fault {
    /// The peer broke the protocol.
    pub(super) fn protocol(text: impl Into<Cow<'static, str>>) -> Self {
        Fault::Disconnect(Reason::ProtocolError, text.into())
    }

    /// Reason and words for the peer, where there is still one to tell.
    pub(super) fn disconnect_message(&self) -> Option<(Reason, &str)> {
        match self {
            Fault::Disconnect(reason, text) => Some((*reason, text)),
            Fault::Timeout(_) => Some((Reason::ByApplication, "timeout")),
            Fault::Crypto(_) => Some((Reason::ByApplication, "internal error")),
            Fault::Left(_) | Fault::Io(_) => None,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

impl From<Malformed> for Fault {
    fn from(Malformed(what): Malformed) -> Self {
        Fault::protocol(what)
    }
}

impl From<ErrorStack> for Fault {
    fn from(error: ErrorStack) -> Self {
        Fault::Crypto(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Disconnect(reason, text) => {
                let kind = match reason {
                    Reason::ByApplication => ErrorKind::Aborted,
                    Reason::ConnectionLost => ErrorKind::Timeout,
                    Reason::TooManyConnections => ErrorKind::TooMany,
                    Reason::NoMoreAuthMethodsAvailable => ErrorKind::LoginRefused,
                    _ => ErrorKind::Protocol,
                };
                Error::new(kind, text)
            }
            Fault::Left(text) => Error::new(ErrorKind::Disconnected, text),
            Fault::Io(error) => Error::from(error).doing("talking SSH"),
            Fault::Timeout(what) => Error::new(ErrorKind::Timeout, what),
            Fault::Crypto(error) => {
                Error::with_source(ErrorKind::Internal, "calling OpenSSL", error)
            }
        }
    }
}
