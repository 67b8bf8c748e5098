//! The state of one FTP session: what its commands read and change.

use std::time::Duration;

use super::control::Control;
use super::data::DataPort;
use super::data_peer::Proof;
use super::listing::Facts;
use super::reply::Reply;
use crate::digest::Algorithm;
use crate::error::Result;
use crate::net::closing::Closing;
use crate::net::tls::SessionTls;
use crate::session::{Files, Session};
use crate::storage::VirtualPath;

/// One FTP session (the server-PI and its DTP of RFC 959).
pub struct Interpreter {
    /// The control connection.
    pub control: Control,
    /// Who is there.
    pub session: Session,
    /// The name that USER gave, until PASS.
    pub name: Option<String>,
    /// The working directory.
    pub directory: VirtualPath,
    /// TYPE: how bytes of files travel.
    pub transfer_type: Type,
    /// Facts that MLST and MLSD show.
    pub facts: Facts,
    /// The hash that HASH computes.
    pub hash: Algorithm,
    /// TLS of this session, once AUTH has been said.
    pub tls: Option<SessionTls>,
    /// What PROT has agreed.
    pub protection: Protection,
    /// PBSZ was said, as PROT demands.
    pub buffer_size_said: bool,
    /// The next data connection.
    pub data: DataPort,
    /// What the data connection is known by, once it has been accepted.
    pub data_proof: Proof,
    /// The last data connection, until the client has closed it.
    pub closing: Option<Closing>,
    /// The client has begun TLS on a data connection before the command.
    pub shakes_early: bool,
    /// EPSV ALL was given: nothing but EPSV from now on (RFC 2428, section 4).
    pub epsv_all: bool,
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
    /// The session ends after the reply.
    pub ending: bool,
    /// Lines that were no command, in a row.
    pub unknown: u32,
    /// How long the client may be silent, if SITE IDLE has changed it.
    pub idle: Option<Duration>,
    /// Permission bits that SITE UMASK takes from new files and directories.
    pub umask: u32,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A: lines end with CR LF on the wire.
    Ascii,
    /// I, and L 8: bytes as they are.
    Image,
}

impl Interpreter {
    /// A session that begins, on its control connection.
    pub fn new(control: Control, session: Session) -> Self {
        Interpreter {
            control,
            session,
            name: None,
            directory: VirtualPath::root(),
            // RFC 959 says A; a client that says nothing means it.
            transfer_type: Type::Ascii,
            facts: Facts::default(),
            hash: Algorithm::Sha256,
            tls: None,
            protection: Protection::Clear,
            buffer_size_said: false,
            data: DataPort::None,
            data_proof: Proof::Address,
            closing: None,
            shakes_early: false,
            epsv_all: false,
            restart: 0,
            range_end: None,
            rename_from: None,
            copy_from: None,
            aborted: false,
            ending: false,
            unknown: 0,
            idle: None,
            umask: 0,
        }
    }

    /// Back to the state before login (REIN); the connection stays.
    pub fn reinitialise(&mut self) {
        self.session.logout();
        self.name = None;
        self.directory = VirtualPath::root();
        self.transfer_type = Type::Ascii;
        self.facts = Facts::default();
        self.hash = Algorithm::Sha256;
        self.data = DataPort::None;
        self.restart = 0;
        self.range_end = None;
        self.rename_from = None;
        self.copy_from = None;
        self.umask = 0;
    }

    /// The user's files.
    pub fn files(&self) -> Result<&Files> {
        self.session.files()
    }

    /// The path that an argument means.
    pub fn path(&self, argument: &[u8]) -> Result<VirtualPath> {
        self.directory.join(argument)
    }

    /// The mode of a new file or directory when SITE UMASK was given.
    pub fn masked(&self, mode: u32) -> Option<u32> {
        (self.umask != 0).then_some(mode & !self.umask)
    }

    /// Sends an intermediate reply (1xx) at once.
    pub fn preliminary(&mut self, reply: Reply) -> Result<()> {
        self.control.send(&reply)
    }
}
