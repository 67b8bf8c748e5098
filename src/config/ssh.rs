//! How the SSH server under SFTP speaks: algorithms, rekeying, keepalive.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of the SSH server. An empty list allows everything of its class
/// that the server has; [`crate::Server::bind`] refuses a name it does not
/// know. A build without the feature `sftp` reads none of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Ssh {
    /// Text that clients show before the login; `\n` in it begins a line.
    pub banner: Option<String>,
    /// A file with that text, up to 16 KiB; stronger than `banner`.
    pub banner_file: Option<PathBuf>,
    /// Login methods, in the order in which clients are told of them; empty is
    /// all: `publickey`, `password`, `keyboard-interactive`.
    pub auth_methods: Vec<String>,
    /// Certificates of the host keys, as `ssh-keygen -h -s` makes them.
    pub host_certificates: Vec<PathBuf>,
    /// Users' keys and authorities that do not count any more: public keys and
    /// `SHA256:` fingerprints, one per line; read at each login.
    pub revoked_keys: Option<PathBuf>,
    /// Session channels of a connection at the same time.
    pub max_channels: u32,
    /// Allowed key exchanges.
    pub kex: Vec<String>,
    /// Allowed signatures of host keys.
    pub host_key_algorithms: Vec<String>,
    /// Allowed ciphers.
    pub ciphers: Vec<String>,
    /// Allowed MACs of the ciphers that need one.
    pub macs: Vec<String>,
    /// Allowed signatures of users' keys.
    pub public_key_algorithms: Vec<String>,
    /// New keys after so many bytes in one direction; 0: never. Less than
    /// 1 MiB counts as 1 MiB.
    pub rekey_bytes: u64,
    /// New keys after so long, if anything moves; zero: never.
    pub rekey_time: Duration,
    /// Silence after which a client is asked for a sign of life; after three
    /// questions it is given up. Zero: never.
    pub keepalive: Duration,
}

impl Default for Ssh {
    fn default() -> Self {
        Ssh {
            banner: None,
            banner_file: None,
            auth_methods: Vec::new(),
            host_certificates: Vec::new(),
            revoked_keys: None,
            max_channels: 10,
            kex: Vec::new(),
            host_key_algorithms: Vec::new(),
            ciphers: Vec::new(),
            macs: Vec::new(),
            public_key_algorithms: Vec::new(),
            rekey_bytes: 32 << 30,
            rekey_time: Duration::from_secs(3600),
            keepalive: Duration::from_secs(60),
        }
    }
}
