//! SFTP version 3 (draft-ietf-secsh-filexfer-02) over anything that reads and
//! writes: the pipes of the subsystem, or a channel of the SSH server.
//!
//! `table` says which requests there are, `requests` and `extensions` are
//! their handlers, `interpreter` is the loop around them, `wire` the bytes.
//! Files are reached through [`Files`] alone, and only `status` turns errors
//! into numbers.

mod attributes;
mod extensions;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod handles;
mod interpreter;
mod owners;
mod requests;
mod status;
mod table;
mod wire;

use std::io::{Read, Write};
use std::sync::Arc;

use crate::error::Result;
use crate::session::Files;
use crate::storage::VirtualPath;
use interpreter::{Channel, Interpreter};

pub use owners::Owners;
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
    /// Open files and directories of the session, 256 at most.
    pub max_handles: usize,
    /// Names of the machine's users, if clients may see them.
    pub owners: Option<Arc<Owners>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            start: VirtualPath::root(),
            allow: RequestSet::ALL,
            deny: RequestSet::NONE,
            max_handles: 128,
            owners: None,
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
pub fn serve<C: Read + Write + ?Sized>(
    channel: &mut C,
    files: &Files,
    options: &Options,
) -> Result<()> {
    let mut channel = channel;
    let channel: &mut dyn Channel = &mut channel;
    Interpreter::new(channel, files, options).run()
}
