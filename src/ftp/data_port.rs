//! Where the next data connection comes from, and what it is known by.

use std::net::SocketAddr;

use crate::error::Error;
use crate::net::passive::PassivePort;
use crate::net::socket::Socket;
use crate::net::stream::Stream;
use crate::net::tls::DataHandshake;
use crate::session::DataFailure;

/// Where the next data connection comes from.
#[derive(Debug, Default)]
pub enum DataPort {
    /// Nowhere: the client has not said.
    #[default]
    None,
    /// The client connects to us.
    Passive(PassivePort),
    /// The client has connected already.
    Connected(Socket),
    /// The client has connected and begun TLS before it said what for.
    Handshake(Box<DataHandshake>),
    /// It has made the whole handshake.
    Ready(Box<Stream>),
    /// What came of that was not good enough.
    Refused(Error),
    /// We connect to the client.
    Active(SocketAddr),
}

/// What a data connection is known by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Proof {
    /// The address at its other end: nothing more is asked than `tls-reuse`.
    #[default]
    Address,
    /// Nothing yet. It is refused unless it resumes the TLS session of the
    /// control connection.
    OwesTlsSession,
}

/// Why there is no data connection.
#[derive(Debug)]
pub struct NoData {
    /// What is counted and told to the client, where the network is the reason.
    pub reason: Option<DataFailure>,
    /// What the log is told.
    pub error: Error,
}

impl NoData {
    /// With a reason that the client is told.
    pub fn because(reason: DataFailure, error: Error) -> Self {
        NoData {
            reason: Some(reason),
            error,
        }
    }
}

impl From<Error> for NoData {
    fn from(error: Error) -> Self {
        NoData {
            reason: None,
            error,
        }
    }
}
