//! The state of one FTP session: what its commands read and change.

use std::time::{Duration, Instant};

use super::control::ControlConnection;
use super::data_port::{DataPort, Proof};
use super::deflate::Deflater;
use super::listing::Facts;
use super::reply::Reply;
use crate::config::TlsRequired;
use crate::digest::Algorithm;
use crate::error::Result;
use crate::net::closing::Closing;
use crate::net::congestion;
use crate::net::tls::SessionTls;
use crate::session::{Files, Session, Slash};
use crate::storage::VirtualPath;

/// One FTP session (the server-PI and its DTP of RFC 959).
pub struct Interpreter {
    /// The control connection.
    pub control: ControlConnection,
    /// Who is there.
    pub session: Session,
    /// The congestion control of data connections, unless it is the system's.
    pub congestion: Option<String>,
    /// What the commands have set.
    pub parameters: Parameters,
    /// TLS of this session, once AUTH has been said.
    pub tls: Option<SessionTls>,
    /// What PROT has agreed.
    pub protection: Protection,
    /// PBSZ was said, as PROT demands.
    pub buffer_size_said: bool,
    /// The client has begun TLS on a data connection before the command.
    pub early_handshake: bool,
    /// EPSV ALL was given: nothing but EPSV from now on (RFC 2428, section 4).
    /// A NAT on the way relies on it until the connection ends, so REIN does
    /// not undo it.
    pub epsv_all: bool,
    /// What deflates the listing or download that is sent in MODE Z.
    pub deflater: Option<Deflater>,
    /// The last data connection, until the client has closed it.
    pub closing: Option<Closing>,
    /// When the control connection was last looked at.
    pub polled: Instant,
    /// The session ends after the reply.
    pub ending: bool,
    /// Lines that were no command, in a row.
    pub unknown: u32,
}

/// How bytes travel over data connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// As they are.
    #[default]
    Stream,
    /// As a zlib stream.
    Deflate,
}

/// What a session begins with, and goes back to with REIN.
#[derive(Default)]
pub struct Parameters {
    /// The name that USER gave, until PASS.
    pub name: Option<String>,
    /// The name of this server that HOST gave.
    pub host: Option<String>,
    /// The working directory.
    pub directory: VirtualPath,
    /// TYPE: how bytes of files travel.
    pub transfer_type: Type,
    /// MODE: how data connections are coded.
    pub mode: Mode,
    /// OPTS MODE Z LEVEL: how much a deflater tries.
    pub level: Option<u8>,
    /// Facts that MLST and MLSD show.
    pub facts: Facts,
    /// The hash that HASH computes.
    pub hash: Algorithm,
    /// The next data connection.
    pub data: DataPort,
    /// What the data connection is known by, once it has been accepted.
    pub data_proof: Proof,
    /// Where the next transfer begins: REST or RANG.
    pub restart: u64,
    /// The last byte that the next RETR sends: RANG.
    pub range_end: Option<u64>,
    /// The source of the next RNTO.
    pub rename_from: Option<VirtualPath>,
    /// The source of the next SITE CPTO.
    pub copy_from: Option<VirtualPath>,
    /// The last transfer was ended by an ABOR that still waits for its reply.
    pub aborted: bool,
    /// How long the client may be silent, if SITE IDLE has changed it.
    pub idle: Option<Duration>,
    /// Permission bits that SITE UMASK takes from new files and directories.
    pub umask: u32,
}

impl Parameters {
    /// A transfer begins: it takes what REST or RANG have set for it, and ends
    /// a renaming or a copy that was begun and not ended. Commands that
    /// transfer nothing leave all three alone.
    pub fn begin_transfer(&mut self) -> (u64, Option<u64>) {
        (self.rename_from, self.copy_from) = (None, None);
        self.take_range()
    }

    /// Takes what REST or RANG have set: the first byte, and the last one if
    /// RANG has named it.
    pub fn take_range(&mut self) -> (u64, Option<u64>) {
        (std::mem::take(&mut self.restart), self.range_end.take())
    }
}

/// PROT of RFC 2228, as far as TLS knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// C: in the clear.
    Clear,
    /// P: under TLS.
    Private,
}

/// TYPE of RFC 959, section 3.1.1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Type {
    /// A: lines end with CR LF on the wire. What a client means that says
    /// nothing.
    #[default]
    Ascii,
    /// I, and L 8: bytes as they are.
    Image,
}

impl Interpreter {
    /// A session that begins, on its control connection.
    pub fn new(control: ControlConnection, session: Session) -> Self {
        let setting = &session.config().tcp_congestion;
        let congestion = control.socket().ok();
        let congestion = congestion.and_then(|socket| congestion::choose(setting, socket));
        Interpreter {
            congestion: congestion.map(String::from),
            control,
            session,
            parameters: Parameters::default(),
            tls: None,
            protection: Protection::Clear,
            buffer_size_said: false,
            deflater: None,
            closing: None,
            early_handshake: false,
            epsv_all: false,
            polled: Instant::now(),
            ending: false,
            unknown: 0,
        }
    }

    /// Back to the state before login (REIN); the connection stays.
    pub fn reinitialise(&mut self) {
        self.session.logout();
        self.parameters = Parameters::default();
    }

    /// What TLS is demanded of a user.
    pub fn tls_required(&self, anonymous: bool) -> TlsRequired {
        let config = self.session.config();
        if anonymous {
            config.tls_required_anonymous
        } else {
            config.tls_required
        }
    }

    /// The user's files.
    pub fn files(&self) -> Result<&Files> {
        self.session.files()
    }

    /// The path that an argument means; with a slash at its end, a directory's.
    pub fn path(&self, argument: &[u8]) -> Result<VirtualPath> {
        self.named(argument, Slash::Directory)
    }

    /// The path of what a slash at the end means this to be.
    pub fn named(&self, argument: &[u8], slash: Slash) -> Result<VirtualPath> {
        let directory = &self.parameters.directory;
        self.files()?.named(directory, argument, slash)
    }

    /// The mode of a new file or directory when SITE UMASK was given.
    pub fn masked(&self, mode: u32) -> Option<u32> {
        let umask = self.parameters.umask;
        (umask != 0).then_some(mode & !umask)
    }

    /// Sends an intermediate reply (1xx) at once.
    pub fn preliminary(&mut self, reply: Reply) -> Result<()> {
        self.control.send(&reply)
    }
}
