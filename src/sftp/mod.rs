//! SFTP version 3 (draft-ietf-secsh-filexfer-02) over anything that reads and
//! writes: the pipes of the subsystem, or a channel of the SSH server.
//!
//! `table` says which requests there are, `requests` and `extensions` are
//! their handlers, `interpreter` is the loop around them, `wire` the bytes.
//! Files are reached through [`Files`] alone, and only `status` turns errors
//! into numbers.

mod attributes;
mod dispatch;
mod extensions;
#[cfg(test)]
pub(crate) mod floods;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/harness/sftp.rs"]
pub mod fuzz;
mod handles;
mod interpreter;
mod owners;
mod requests;
mod room;
#[cfg(feature = "sftp")]
mod scp;
mod status;
mod table;
mod wire;

use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::session::Files;
use crate::storage::VirtualPath;
use dispatch::Step;
use interpreter::Interpreter;

pub use handles::{HANDLES_OWN, share_descriptors};
pub use owners::Owners;
#[cfg(feature = "sftp")]
pub use scp::Scp;
pub use table::{Effect, REQUESTS, Request, RequestSet};

/// How SFTP is served, besides what the user's rights say.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Where relative paths begin: what a client sees as its home.
    pub start: VirtualPath,
    /// The only requests that are allowed.
    pub allow: RequestSet,
    /// Requests that are refused; stronger than `allow`.
    pub deny: RequestSet,
    /// Open files and directories of the session. 512.
    pub max_handles: usize,
    /// What the sessions of a connection share; a clone of the options means
    /// the same connection.
    shared: Arc<room::ConnectionUse>,
    /// Names of the machine's users, if clients may see them.
    pub owners: Option<Arc<Owners>>,
    /// Which path comes first in SYMLINK.
    pub symlink: SymlinkOrder,
}

/// Which path comes first in SYMLINK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymlinkOrder {
    /// What the link points to: OpenSSH's mistake, which clients expect.
    TargetFirst,
    /// The link, as draft-ietf-secsh-filexfer-02 has it.
    LinkFirst,
}

impl SymlinkOrder {
    /// What a client sends to an SSH server that does not call itself OpenSSH.
    pub fn of_client(identification: &[u8]) -> Self {
        let draft = [
            &b"SSH-2.0-AsyncSSH_"[..],
            b"SSH-2.0-libssh_",
            b"SSH-2.0-libssh-",
            // Node's ssh2.
            b"SSH-2.0-ssh2js",
            b"SSH-2.0-WinSCP_",
        ];
        if draft.iter().any(|name| identification.starts_with(name)) {
            SymlinkOrder::LinkFirst
        } else {
            SymlinkOrder::TargetFirst
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            start: VirtualPath::root(),
            allow: RequestSet::ALL,
            deny: RequestSet::NONE,
            max_handles: 512,
            shared: Arc::default(),
            owners: None,
            symlink: SymlinkOrder::TargetFirst,
        }
    }
}

/// Serves one client until it ends the channel.
///
/// Requests are answered in their order. Replies are gathered while more
/// requests have already been read, and written together. During long work
/// (a copy, a checksum, a rate limit) [`Write::flush`] is called a few times
/// a second, so that a transport can look after its peer; its error ends the
/// work and the session.
///
/// What is still open at the end is a broken transfer: an atomic upload
/// vanishes.
///
/// # Errors
/// [`ErrorKind::Protocol`](crate::ErrorKind::Protocol) when the client broke
/// the rules so that nothing after it can be understood,
/// [`ErrorKind::Disconnected`](crate::ErrorKind::Disconnected) when the
/// channel ended within a packet, and what reading and writing the channel
/// said. The caller logs it.
pub fn serve<C: Read + Write>(channel: &mut C, files: &Files, options: &Options) -> Result<()> {
    let mut interpreter = Interpreter::new(Box::new(channel), files, options.clone());
    match interpreter.step()? {
        Step::Ended => Ok(()),
        Step::Waiting => Err(Error::from(io::Error::from(io::ErrorKind::WouldBlock))),
    }
}

/// A session on a channel that never blocks: several of them can share a
/// thread.
#[cfg(feature = "sftp")]
pub struct SftpSession<'a>(Interpreter<'a>);

#[cfg(feature = "sftp")]
impl<'a> SftpSession<'a> {
    /// A session that has heard nothing yet.
    pub fn new(
        channel: impl Read + Write + 'a,
        files: &'a Files,
        options: Options,
    ) -> SftpSession<'a> {
        SftpSession(Interpreter::new(Box::new(channel), files, options))
    }

    /// Answers what has come, as [`serve`] does; `false` once the client has
    /// ended the channel.
    ///
    /// # Errors
    /// As those of [`serve`].
    pub fn step(&mut self) -> Result<bool> {
        Ok(self.0.step()? == Step::Waiting)
    }

    /// Whether a file or directory is open.
    pub fn is_busy(&self) -> bool {
        !self.0.handles.is_empty()
    }

    /// Whether a request waits until another session of the connection has sent
    /// what it holds.
    pub fn is_stalled(&self) -> bool {
        self.0.stalled
    }
}

#[cfg(test)]
mod tests {
    use super::SymlinkOrder;

    /// They go by the server's name, and swap the paths for OpenSSH alone.
    #[test]
    fn clients_that_go_by_the_name_of_the_server_keep_to_the_draft() {
        for (client, want) in [
            (&b"SSH-2.0-AsyncSSH_2.10.1"[..], SymlinkOrder::LinkFirst),
            (b"SSH-2.0-libssh_0.10.6", SymlinkOrder::LinkFirst),
            (b"SSH-2.0-ssh2js1.15.0", SymlinkOrder::LinkFirst),
            (b"SSH-2.0-WinSCP_release_6.3.3", SymlinkOrder::LinkFirst),
            (b"SSH-2.0-libssh2_1.10.0", SymlinkOrder::TargetFirst),
            (b"SSH-2.0-OpenSSH_9.2p1", SymlinkOrder::TargetFirst),
            (b"", SymlinkOrder::TargetFirst),
        ] {
            assert_eq!(SymlinkOrder::of_client(client), want);
        }
    }
}
