//! A small FTP, FTPS and SFTP server for Rust programs.
//!
//! Everything is synchronous: a session takes one thread of a fixed pool, and
//! no async runtime is needed. Nothing is global: a program may run several
//! servers. No signals are taken, nothing is printed, and everything that was
//! started can be stopped and joined. (The daemon `wharfd` is made from this
//! crate; its manual pages say what each setting means.)
//!
//! # Quick start
//!
//! A directory, read-only, for everybody:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use wharf::{Anonymous, Config, LocalFs, Perms, Server};
//!
//! # fn main() -> wharf::Result<()> {
//! let files = Arc::new(LocalFs::open(".")?);
//! let guests = Arc::new(Anonymous::new(files, Perms::READ_ONLY));
//! let mut config = Config::default();
//! config.listen.push("127.0.0.1:0".parse()?);
//! let running = Server::new(config, guests).bind()?.start()?;
//! for (address, _) in running.addresses() {
//!     println!("ftp://{address}/");
//! }
//! // ... and when it is enough:
//! running.stop(Duration::from_secs(30));
//! # Ok(())
//! # }
//! ```
//!
//! # The names
//!
//! What a program holds in its hands stands at the root. The modules have the
//! same names, and the words they are spelled with: the values of settings in
//! [`config`], of rights and proofs in [`auth`], of files in [`storage`].
//!
//! | names | what |
//! |---|---|
//! | [`Server`], [`Running`], [`Prepared`] | a server before it runs, while it does, and with other settings |
//! | [`Protocol`], [`Fingerprint`] | what it speaks, and what clients know it by |
//! | [`Config`] | what it is told |
//! | [`Authenticator`], [`Credentials`], [`User`] | who may log in, and what they get |
//! | [`Anonymous`], [`UserFile`] | two that are there: everybody, and a file of users |
//! | [`Perms`] | what somebody may do |
//! | [`FileSystem`], [`File`], [`Metadata`], [`VirtualPath`] | where files are |
//! | [`LocalFs`], [`MemoryFs`] | two that are there: a directory, and memory |
//! | [`Events`], [`Event`], [`TransferLog`] | what happens, told to a trait; a log of transfers |
//! | [`Error`], [`ErrorKind`], [`Result`] | what went wrong |
//!
//! # Users
//!
//! *Logging in yields the user's file system.* An
//! [`Authenticator`] turns a name and a proof into a [`User`], who carries
//! rights, limits and files. Any closure is one:
//!
//! ```
//! use std::sync::Arc;
//! use wharf::auth::{Secret, refused};
//! use wharf::{Credentials, MemoryFs, Perms, User};
//!
//! let shared = Arc::new(MemoryFs::new());
//! let users = move |credentials: &Credentials<'_>| match credentials.secret {
//!     Secret::Password(b"open sesame") => {
//!         Ok(User::new(credentials.name, shared.clone()).with_perms(Perms::READ_ONLY))
//!     }
//!     _ => Err(refused("not the password")),
//! };
//! # let _: &dyn wharf::Authenticator = &users;
//! ```
//!
//! There are also [`UserFile`] (a file of users, read again when it changes),
//! [`Anonymous`], and [`Chain`](auth::Chain), which asks several in turn.
//!
//! # Files
//!
//! A [`FileSystem`] is where a session's files are. [`LocalFs`] is a directory
//! that nobody gets out of, without root and without chroot; [`MemoryFs`]
//! lives in memory; [`Mounts`](storage::Mounts) puts several together, and
//! [`ReadOnly`](storage::ReadOnly) takes the changes away. For one of your
//! own, three methods are enough; `examples/reports.rs` shows one that
//! generates files when they are asked for.
//!
//! # Events
//!
//! What happens (logins, transfers, deletions) is told to
//! [`Events`] in the session's thread, after the fact:
//!
//! ```
//! use wharf::events::Who;
//! use wharf::{Event, Events};
//!
//! struct Uploads;
//!
//! impl Events for Uploads {
//!     fn event(&self, who: &Who<'_>, event: &Event<'_>) {
//!         if let Event::Upload(upload) = event {
//!             println!("{:?} sent {} ({} bytes)", who.user, upload.path, upload.bytes);
//!         }
//!     }
//! }
//! ```
//!
//! # Connections of one's own
//!
//! [`Server::with_listener`] takes a listener that is bound already, and
//! [`Server::serve`] runs one connection on the calling thread, as inetd does.
//!
//! # Features
//!
//! | feature | what it adds | default |
//! |---|---|:-:|
//! | `cli` | the daemon `wharfd`, with getopts and env_logger | yes |
//! | `ftps` | FTPS on native-tls: TLS 1.2 | yes |
//! | `tls13` | FTPS directly on OpenSSL: TLS 1.3, client certificates | |
//! | `sftp` | SFTP over the built-in SSH server | yes |
//! | `testing` | a test kit, `wharf::testing`, for file systems of one's own | |
//!
//! Programs want `default-features = false` and what they need of `ftps` and
//! `sftp`: without `cli` there is neither getopts nor env_logger, and without
//! the other two no OpenSSL. A feature adds and never changes what is there;
//! a setting that a build can't honour is an error of [`Server::bind`].
//!
//! # Logging
//!
//! By the `log` crate, and nothing is shown unless the program installs a
//! logger. The levels mean:
//!
//! | level | what | example |
//! |---|---|---|
//! | `error` | the administrator must act | a certificate that can't be read |
//! | `warn` | refused or suspicious | a failed login, a stranger on a data port |
//! | `info` | logins, transfers, ends of sessions | |
//! | `debug` | commands, and why they failed | |
//! | `trace` | the wire | |
//!
//! Passwords are in no line. What comes from a peer is escaped, so it is one
//! line whatever it contains.
//!
//! # Errors
//!
//! There is one [`Error`]: a [kind](ErrorKind), what was being done, and the
//! cause. A back-end returns the kind that fits, and each protocol turns it
//! into its own numbers: [`ErrorKind::NoSpace`] is 452 in FTP and
//! SSH_FX_FAILURE "No space left" in SFTP. The text and the cause go to the
//! log, never to a client.
//!
//! # Versions
//!
//! Semantic versioning. What counts is what these pages show, with any set of
//! features, except the module [`daemon`], which serves `wharfd` and may change
//! in any version. An item that is `#[doc(hidden)]` does not count either.
//!
//! A minor version adds: names, settings, features, methods with a default. Types
//! that will grow are `#[non_exhaustive]`: make them with `default` or `new` and
//! set fields. It may also need a newer Rust than today's 1.88, but none that is
//! younger than six months. `docs/versions.md` in the source has the whole promise.
//! Linux is the only system that is supported.
#![deny(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
pub mod auth;
mod base64;
mod child_group;
pub mod config;
pub mod daemon;
mod digest;
mod error;
mod ftp;
#[cfg(any(test, fuzzing))]
#[allow(missing_docs)]
#[path = "../tests/harness/mod.rs"]
pub mod fuzz;
mod net;
mod server;
mod session;
mod sftp;
#[cfg(feature = "sftp")]
mod ssh;
mod ssh_data;
mod stamp;
pub mod storage;
mod sync;
mod sys;
#[cfg(test)]
#[path = "testing/temp.rs"]
mod temp;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
mod time;

// The test kit is compiled into our own tests, too, where the crate has a name.
#[cfg(feature = "testing")]
extern crate self as wharf;

pub mod events {
    //! What happens in sessions, told to whoever listens
    //! ([`Server::with_events`](crate::Server::with_events)).

    #[doc(inline)]
    pub use crate::session::events::{Event, Events, Transferred, Who};
    #[doc(inline)]
    pub use crate::session::transfer_log::TransferLog;
}

// Each has its page in one place: those of a public module there.
#[doc(no_inline)]
pub use auth::{Anonymous, Authenticator, Credentials, Perms, User, UserFile};
#[doc(no_inline)]
pub use config::Config;
pub use error::{Error, ErrorKind, Result};
#[doc(no_inline)]
pub use events::{Event, Events, TransferLog};
pub use server::{Fingerprint, Prepared, Protocol, Running, Server};
#[doc(no_inline)]
pub use storage::{File, FileSystem, LocalFs, MemoryFs, Metadata, VirtualPath};

/// The code of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
