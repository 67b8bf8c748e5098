//! What the daemon `wharfd` needs of this library beyond what an embedding
//! program does: its settings with the table of options, the sessions that run,
//! the SFTP subsystem, and calls of the operating system.
//!
//! No part of what semantic versioning counts: all of it may change in any
//! release.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::config::{Config, PortRange};
use crate::storage::LocalFs;
use crate::{auth, error};

pub use crate::child_group::ChildGroup;

// Users.
pub use crate::auth::grant::{Unopened, make_home};
pub use crate::auth::helper::Starter;
pub use crate::auth::helper::{Helper, print_environment};
pub use crate::auth::home::Homes;
pub use crate::auth::home::{MISSING_HOME, missing_home};
pub use crate::auth::refused;
pub use crate::auth::system::Account;
pub use crate::auth::system::{SystemPaths, SystemUsers};
pub use crate::storage::local::Resolver;
pub use crate::storage::metered::Metered;
pub use crate::storage::usage::Usage;

/// The users file, line by line.
pub mod user_file {
    use crate::auth::UserFile;
    pub use crate::auth::user_file::{
        Entry, FILE_MAX, Mistake, OPTIONS, OptionRow, Options, Repeat, encoded, entries,
        is_file_name, line_of, parse, parse_line,
    };

    /// The line of a user, as the file is now.
    pub fn entry(file: &UserFile, name: &str) -> Option<Entry> {
        file.entry(name)
    }
}

/// A file system that another process serves.
pub mod remote {
    pub use crate::storage::remote::{MESSAGE_MAX, Message, MessageSocket, Parts, RemoteFs, serve};
}

/// Has `homes` open the homes of users.
pub fn with_homes(
    defaults: auth::UserDefaults,
    homes: Option<Arc<dyn Homes>>,
) -> auth::UserDefaults {
    auth::UserDefaults { homes, ..defaults }
}

/// A directory that is open already, with O_PATH or for reading.
pub fn local_at(root: OwnedFd) -> LocalFs {
    LocalFs::from_descriptor(root)
}

/// The descriptor of its root.
pub fn root_of(files: &LocalFs) -> BorrowedFd<'_> {
    files.root()
}

// Settings.
pub use crate::config::keys::{KEYS, Key, Names, Reload, Section, paths_of};
pub use crate::config::profile::{PROFILES, Profile};
pub use crate::config::settings::{LogFormat, Sandbox, Settings};
pub use crate::config::source::{Mistake, Source, environment_name, nearest, read_file};
pub use crate::config::told::ToldAddress;
pub use crate::server::{own_pair, state_dir};

// Sessions.
pub use crate::net::http::{HttpPort, Request, Response};
pub use crate::net::tls::client_view;
pub use crate::session::identity::IdentityScope;
pub use crate::session::limits::Unban;
pub use crate::session::registry::{End, SessionInfo};
pub use crate::session::{Encrypted, Phase, Services, Session};
pub use crate::session::{line_writer, log_context};
pub use crate::sync::{Swap, unpoisoned};
pub use crate::time::Utc;

/// SFTP over any stream.
pub mod sftp {
    #[cfg(feature = "sftp")]
    pub use crate::sftp::Scp;
    pub use crate::sftp::{
        Effect, HANDLES_OWN, Options, Owners, REQUESTS, Request, RequestSet, SymlinkOrder, serve,
        share_descriptors,
    };
}

/// SSH under it.
#[cfg(feature = "sftp")]
pub mod ssh {
    pub use crate::ssh::*;
}

/// The tables that the manual pages are held against.
pub mod tables {
    pub use crate::ftp::{NOT_DONE, rows};
}

/// Calls of the operating system that safe Rust has no words for.
pub mod os {
    #[cfg(debug_assertions)]
    pub use crate::sys::trace_parent;
    pub use crate::sys::{
        Fork, Inherited, Landlock, SignalSet, Wiping, become_user, bound_arenas, close_inherited,
        fork, open_log, open_setting, refuse_system_calls, set_opener, trim_heap,
    };
}

/// The longest password that is checked.
pub const PASSWORD_MAX: usize = auth::password::PASSWORD_MAX;
/// Rounds of a new hash.
pub const ROUNDS: u32 = auth::password::ROUNDS;

/// A `$6$` hash with so many rounds.
///
/// # Errors
/// As for [`auth::password::hash`].
pub fn hash_with_rounds(password: &[u8], rounds: u32) -> error::Result<String> {
    auth::password::hash_with_rounds(password, rounds)
}

/// Decodes base64 with padding (RFC 4648, section 4).
pub fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    crate::base64::decode(text)
}

/// Whether this build can check passwords against `hash`.
///
/// # Errors
/// What is wrong with it.
pub fn check_hash(hash: &str) -> error::Result<()> {
    auth::password::check(hash)
}

/// The IPv4 address that a client at `peer`, which has connected to `own`, is
/// told in the 227 reply; `None` on a connection over IPv6. `resolve` asks for
/// the address of a name.
pub fn told_address(
    config: &Config,
    own: IpAddr,
    peer: IpAddr,
    resolve: impl FnOnce(&str) -> Option<Ipv4Addr>,
) -> ToldAddress {
    config.told_address(own, peer, resolve)
}

/// What this node is called: `node_name`, or `node3` by its number.
pub fn own_name(config: &Config) -> Option<String> {
    config.own_name()
}

/// The passive ports of this node: all, or its slice.
pub fn own_passive_ports(config: &Config) -> PortRange {
    config.own_passive_ports()
}
