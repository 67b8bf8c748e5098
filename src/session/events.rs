//! What happens in sessions, told to whoever listens: the transfer log,
//! hooks, an embedding program.

use std::net::SocketAddr;
use std::time::Duration;

use crate::storage::VirtualPath;

/// Listens to what happens. Called in the session's thread, after the fact:
/// keep it short.
pub trait Events: Send + Sync {
    /// Something has happened in the session of `who`.
    fn event(&self, who: &Who<'_>, event: &Event<'_>);
}

/// Whose session it is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Who<'a> {
    /// The session's number, unique in this process.
    pub session: u64,
    /// The user, if logged in.
    pub user: Option<&'a str>,
    /// Whether the user is anonymous.
    pub anonymous: bool,
    /// The client's address.
    pub peer: SocketAddr,
    /// `ftp`, `ftps` or `sftp`.
    pub protocol: &'static str,
    /// The version of TLS that the control connection is under, as in
    /// `TLSv1.3`.
    pub tls: Option<&'static str>,
}

/// What has happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A user has logged in.
    LoggedIn,
    /// A login was refused; the name as given.
    LoginRefused(&'a str),
    /// The session of a user has ended.
    LoggedOut,
    /// A file was sent to the client, or not wholly.
    Download(&'a Transferred<'a>),
    /// A file was received from the client, or not wholly.
    Upload(&'a Transferred<'a>),
    /// A file was deleted.
    Deleted(&'a VirtualPath),
    /// A directory was removed.
    DirectoryRemoved(&'a VirtualPath),
    /// A directory was made.
    DirectoryMade(&'a VirtualPath),
    /// Something was renamed: from, to.
    Renamed(&'a VirtualPath, &'a VirtualPath),
}

/// One transfer that has ended.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Transferred<'a> {
    /// The file.
    pub path: &'a VirtualPath,
    /// Bytes moved.
    pub bytes: u64,
    /// Time taken.
    pub time: Duration,
    /// Whether it came to its proper end.
    pub complete: bool,
    /// Whether line ends were converted (TYPE A).
    pub ascii: bool,
    /// SHA-256 of a whole upload in hexadecimal digits, where
    /// `upload-receipt` is set and the file came in order.
    pub sha256: Option<&'a str>,
}
