//! SFTP over SSH: the keys that settings name, and one connection.

mod handler;
mod quick_ack;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Ssh};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::net::congestion;
use crate::net::socket::Socket;
use crate::session::Session;
use crate::ssh::{self, Method, RevokedKeys, Settings};

/// What the sessions of one server need for SSH.
pub struct SshSetup {
    keys: ssh::HostKeys,
    algorithms: Arc<ssh::Algorithms>,
    /// The text of `ssh-banner-file`.
    banner_file: Option<String>,
}

impl SshSetup {
    /// Reads the configured keys; makes what does not exist.
    ///
    /// # Errors
    /// A key that can't be read, made or used; an algorithm that is unknown.
    pub fn load(config: &Config) -> Result<SshSetup> {
        let keys = if config.host_key.is_empty() {
            default_keys(&super::state_dir::open(config)?)
        } else {
            config.host_key.clone()
        };
        // First, so that a wrong name leaves no key behind.
        let algorithms = Arc::new(algorithms(&config.ssh)?);
        let banner_file = banner_file(&config.ssh)?;
        let keys = ssh::HostKeys::load_or_create(&keys)?
            .with_certificates(&config.ssh.host_certificates)?;
        Ok(SshSetup {
            keys,
            algorithms,
            banner_file,
        })
    }

    /// Checks what is set besides the keys.
    ///
    /// # Errors
    /// An algorithm or a login method that is unknown; a file of revoked keys
    /// that can't be read.
    pub fn check(config: &Config) -> Result<()> {
        methods(&config.ssh)?;
        if let Some(path) = &config.ssh.revoked_keys {
            RevokedKeys::read(path)?;
        }
        // To list what there is, OpenSSL is asked and started: 2 MB, which a
        // server that speaks plain FTP does without.
        if lists(&config.ssh).iter().all(|list| list.is_empty()) {
            Ok(())
        } else {
            algorithms(&config.ssh).map(drop)
        }
    }

    /// File, algorithm and SHA-256 fingerprint of each key.
    pub fn fingerprints(&self) -> Vec<(PathBuf, String, String)> {
        self.keys.fingerprints()
    }
}

/// The keys that are made on the first start, as `ssh-keygen -A` does: JSch
/// 0.1.55 and phpseclib 2 know no Ed25519.
///
/// Later none is added: clients in Go, rclone among them, ask for RSA first and
/// refuse a server whose other key they know. The Ed25519 key is made last, so
/// that it says that the first start is over.
fn default_keys(directory: &Path) -> Vec<PathBuf> {
    let path = |kind: &str| directory.join(format!("ssh_host_{kind}_key"));
    let mut keys = ["rsa", "ecdsa", "ed25519"].map(path).to_vec();
    if path("ed25519").exists() {
        keys.retain(|key| key.exists());
    }
    keys
}

/// The login methods; an empty list is all.
fn methods(wanted: &Ssh) -> Result<Vec<Method>> {
    if wanted.auth_methods.is_empty() {
        return Ok(Method::ALL.to_vec());
    }
    let unknown = |name: &String| {
        let text = format!(
            "there is no SSH login method {name:?}; there are publickey, password, \
             keyboard-interactive"
        );
        Error::new(ErrorKind::Invalid, text)
    };
    let find = |name: &String| Method::find(name).ok_or_else(|| unknown(name));
    wanted.auth_methods.iter().map(find).collect()
}

/// The text of a banner that is in a file.
fn banner_file(wanted: &Ssh) -> Result<Option<String>> {
    /// What clients take in one packet, with room to spare.
    const MOST: usize = 16 << 10;
    let Some(path) = &wanted.banner_file else {
        return Ok(None);
    };
    let doing = || format!("reading ssh-banner-file {}", path.display());
    let text = std::fs::read_to_string(path).doing(doing())?;
    if text.len() > MOST {
        let text = format!("{}: longer than 16 KiB", doing());
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    Ok(Some(text.lines().flat_map(|line| [line, "\r\n"]).collect()))
}

/// What clients show before the login.
fn banner(wanted: &Ssh, file: Option<&String>) -> String {
    match (file, &wanted.banner) {
        (Some(text), _) => text.clone(),
        (None, Some(text)) => format!("{}\r\n", text.replace("\\n", "\r\n")),
        (None, None) => String::new(),
    }
}

/// The lists that can be set.
fn lists(wanted: &Ssh) -> [&Vec<String>; 5] {
    [
        &wanted.kex,
        &wanted.host_key_algorithms,
        &wanted.ciphers,
        &wanted.macs,
        &wanted.public_key_algorithms,
    ]
}

/// The allow-lists; an empty one allows everything there is.
fn algorithms(wanted: &Ssh) -> Result<ssh::Algorithms> {
    let mut algorithms = ssh::Algorithms::default();
    let ours = [
        &mut algorithms.kex,
        &mut algorithms.host_keys,
        &mut algorithms.ciphers,
        &mut algorithms.macs,
        &mut algorithms.signatures,
    ];
    for (list, wanted) in ours.into_iter().zip(lists(wanted)) {
        if !wanted.is_empty() {
            list.clone_from(wanted);
        }
    }
    algorithms.check()?;
    Ok(algorithms)
}

/// Serves one SSH connection.
///
/// # Errors
/// What ended it.
// Its frame is its own, or FTP sessions would hold it, too.
#[inline(never)]
pub fn run(socket: Socket, session: Session, keys: Arc<SshSetup>) -> Result<()> {
    let mut socket = quick_ack::QuickAckSocket::new(socket, Arc::clone(session.info()));
    let config = session.config();
    let login_deadline = match config.login_timeout {
        Duration::ZERO => Duration::from_secs(1 << 30),
        time => time,
    };
    let settings = Settings {
        login_deadline,
        max_tries: match config.login_tries {
            0 => u32::MAX,
            tries => tries,
        },
        idle_timeout: config.idle_timeout,
        algorithms: Arc::clone(&keys.algorithms),
        banner: banner(&config.ssh, keys.banner_file.as_ref()),
        methods: methods(&config.ssh)?,
        max_channels: config.ssh.max_channels.max(1),
        rekey_bytes: match config.ssh.rekey_bytes {
            0 => 0,
            // With less, the messages that a key exchange holds back could
            // be enough for the next one.
            bytes => bytes.max(1 << 20),
        },
        rekey_time: config.ssh.rekey_time,
        keepalive: config.ssh.keepalive,
        ..Settings::default()
    };
    let congestion = congestion::choose(&config.tcp_congestion, socket.socket());
    congestion::set(socket.socket(), congestion);
    session.info().set_control(Some(socket.socket().clone()));
    let mut handler = handler::SessionHandler(session, crate::sftp::Options::default());
    let outcome = ssh::serve(&mut socket, &keys.keys, &settings, &mut handler);
    handler.0.info().set_control(None);
    outcome
}

#[cfg(test)]
mod tests {
    use super::default_keys;
    use crate::temp::TempDir;

    #[test]
    fn refused_keys_are_answered_after_an_even_time() {
        use std::time::{Duration, Instant};
        for (work, want) in [(0, 5), (2, 5), (7, 10), (11, 20)] {
            let since = Instant::now();
            let begun = since - Duration::from_millis(work);
            super::handler::even_out(begun);
            // What the machine adds comes on top.
            assert!(begun.elapsed() >= Duration::from_millis(want), "{work}");
        }
    }

    #[test]
    fn host_keys_are_made_on_the_first_start_only() {
        let place = TempDir::new("default-keys");
        assert_eq!(default_keys(&place).len(), 3);
        // Cut off before the last one: the next start makes the rest.
        std::fs::write(place.join("ssh_host_rsa_key"), "").unwrap();
        assert_eq!(default_keys(&place).len(), 3);
        std::fs::write(place.join("ssh_host_ed25519_key"), "").unwrap();
        let names = ["ssh_host_rsa_key", "ssh_host_ed25519_key"];
        assert_eq!(default_keys(&place), names.map(|name| place.join(name)));
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod floods;
