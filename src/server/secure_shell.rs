//! SFTP over SSH: the transport's questions answered by the session.

#[cfg(feature = "sftp")]
mod quick_ack;

use std::sync::Arc;

use crate::config::Config;
use crate::error::Result;
#[cfg(feature = "sftp")]
use crate::net::congestion;
use crate::net::socket::Socket;
use crate::session::Session;

/// What the sessions of one server need for SSH.
#[cfg(feature = "sftp")]
pub struct HostKeys {
    keys: crate::ssh::HostKeys,
    algorithms: Arc<crate::ssh::Algorithms>,
    /// The text of `ssh-banner-file`.
    banner_file: Option<String>,
}

/// No SSH in this build.
#[cfg(not(feature = "sftp"))]
pub enum HostKeys {}

#[cfg(feature = "sftp")]
impl HostKeys {
    /// Reads the configured keys; makes what does not exist.
    ///
    /// # Errors
    /// A key that can't be read, made or used; an algorithm that is unknown.
    pub fn load(config: &Config) -> Result<HostKeys> {
        let keys = if config.host_key.is_empty() {
            default_keys(&super::state_dir::open(config)?)
        } else {
            config.host_key.clone()
        };
        // First, so that a wrong name leaves no key behind.
        let algorithms = Arc::new(algorithms(&config.ssh)?);
        let banner_file = banner_file(&config.ssh)?;
        let keys = crate::ssh::HostKeys::load_or_create(&keys)?
            .with_certificates(&config.ssh.host_certificates)?;
        Ok(HostKeys {
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
            crate::ssh::RevokedKeys::read(path)?;
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
    pub fn fingerprints(&self) -> Vec<(std::path::PathBuf, String, String)> {
        self.keys.fingerprints()
    }
}

/// The keys that are made on the first start, as `ssh-keygen -A` does: JSch
/// 0.1.55 and phpseclib 2 know no Ed25519.
///
/// Later none is added: clients in Go, rclone among them, ask for RSA first and
/// refuse a server whose other key they know. The Ed25519 key is made last, so
/// that it says that the first start is over.
#[cfg(feature = "sftp")]
fn default_keys(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let path = |kind: &str| directory.join(format!("ssh_host_{kind}_key"));
    let mut keys = ["rsa", "ecdsa", "ed25519"].map(path).to_vec();
    if path("ed25519").exists() {
        keys.retain(|key| key.exists());
    }
    keys
}

/// The login methods; an empty list is all.
#[cfg(feature = "sftp")]
fn methods(wanted: &crate::config::Ssh) -> Result<Vec<crate::ssh::Method>> {
    use crate::ssh::Method;
    if wanted.auth_methods.is_empty() {
        return Ok(Method::ALL.to_vec());
    }
    let unknown = |name: &String| {
        let text = format!(
            "there is no SSH login method {name:?}; there are publickey, password, \
             keyboard-interactive"
        );
        crate::error::Error::new(crate::error::ErrorKind::Invalid, text)
    };
    let find = |name: &String| Method::find(name).ok_or_else(|| unknown(name));
    wanted.auth_methods.iter().map(find).collect()
}

/// The text of a banner that is in a file.
#[cfg(feature = "sftp")]
fn banner_file(wanted: &crate::config::Ssh) -> Result<Option<String>> {
    use crate::error::Doing;
    /// What clients take in one packet, with room to spare.
    const MOST: usize = 16 << 10;
    let Some(path) = &wanted.banner_file else {
        return Ok(None);
    };
    let doing = || format!("reading ssh-banner-file {}", path.display());
    let text = std::fs::read_to_string(path).doing(doing())?;
    if text.len() > MOST {
        let text = format!("{}: longer than 16 KiB", doing());
        return Err(crate::error::Error::new(
            crate::error::ErrorKind::Invalid,
            text,
        ));
    }
    Ok(Some(text.lines().flat_map(|line| [line, "\r\n"]).collect()))
}

/// What clients show before the login.
#[cfg(feature = "sftp")]
fn banner(wanted: &crate::config::Ssh, file: Option<&String>) -> String {
    match (file, &wanted.banner) {
        (Some(text), _) => text.clone(),
        (None, Some(text)) => format!("{}\r\n", text.replace("\\n", "\r\n")),
        (None, None) => String::new(),
    }
}

/// The lists that can be set.
#[cfg(feature = "sftp")]
fn lists(wanted: &crate::config::Ssh) -> [&Vec<String>; 5] {
    [
        &wanted.kex,
        &wanted.host_key_algorithms,
        &wanted.ciphers,
        &wanted.macs,
        &wanted.public_key_algorithms,
    ]
}

/// The allow-lists; an empty one allows everything there is.
#[cfg(feature = "sftp")]
fn algorithms(wanted: &crate::config::Ssh) -> Result<crate::ssh::Algorithms> {
    let mut algorithms = crate::ssh::Algorithms::default();
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

#[cfg(not(feature = "sftp"))]
impl HostKeys {
    /// There is no SSH in this build.
    ///
    /// # Errors
    /// Always.
    pub fn load(_: &Config) -> Result<HostKeys> {
        Err(crate::error::Error::new(
            crate::error::ErrorKind::Unsupported,
            "this build has no SFTP server (feature sftp); its SFTP subsystem for sshd is there",
        ))
    }

    /// Nothing is read of it.
    ///
    /// # Errors
    /// None.
    pub fn check(_: &Config) -> Result<()> {
        Ok(())
    }

    /// None.
    pub fn fingerprints(&self) -> Vec<(std::path::PathBuf, String, String)> {
        match *self {}
    }
}

#[cfg(not(feature = "sftp"))]
pub fn run(_: Socket, _: Session, keys: Arc<HostKeys>) -> Result<()> {
    match *keys {}
}

/// Serves one SSH connection.
///
/// # Errors
/// What ended it.
// Its frame is its own, or FTP sessions would hold it, too.
#[cfg(feature = "sftp")]
#[inline(never)]
pub fn run(socket: Socket, session: Session, keys: Arc<HostKeys>) -> Result<()> {
    use crate::ssh::Settings;
    use std::time::Duration;
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
    let outcome = crate::ssh::serve(&mut socket, &keys.keys, &settings, &mut handler);
    handler.0.info().set_control(None);
    outcome
}

#[cfg(feature = "sftp")]
mod handler {
    use std::time::{Duration, Instant};

    use crate::auth::{Certificate, Proofs, PublicKey, Secret, refused};
    use crate::error::{ErrorKind, Result};
    use crate::session::Session;
    use crate::sftp::{self, Scp, SftpSession};
    use crate::ssh::{AuthOutcome, Channel, Handler, Method, Progress, Proof, Subsystem};
    use crate::ssh::{RevokedKeys, fingerprint};
    use crate::text::{Escaped, Quoted};

    /// Answers the questions of the SSH transport from a session; what
    /// its channels share is in the options.
    pub(super) struct SessionHandler(pub(super) Session, pub(super) sftp::Options);

    /// SECURITY: how long a look for a key takes tells whether the name exists: a
    /// file is read, or a home opened. A refusal comes after 5 ms, or twice as
    /// much, and so on, as with sshd.
    pub(super) fn even_out(since: Instant) {
        let mut least = Duration::from_millis(5);
        while since.elapsed() > least {
            least *= 2;
        }
        std::thread::sleep(least.saturating_sub(since.elapsed()));
    }

    fn outcome(result: Result<()>) -> AuthOutcome {
        match result {
            Ok(()) => AuthOutcome::Accepted,
            Err(error) if error.kind() == ErrorKind::TooMany => {
                AuthOutcome::Disconnect(error.words().unwrap_or("Too many sessions."))
            }
            Err(_) => AuthOutcome::Refused,
        }
    }

    impl Handler for SessionHandler {
        fn authenticate(&mut self, name: &str, proof: Proof<'_>) -> AuthOutcome {
            let secret = match proof {
                Proof::Password(password) => Secret::Password(password),
                Proof::KeyVerified(key) => {
                    SessionHandler::tell_certificate(name, key);
                    Secret::PublicKey(key)
                }
                Proof::KeyOffered(key) => return self.judge_offer(name, key),
                _ => return AuthOutcome::Refused,
            };
            match self.0.login_step(name, secret) {
                Ok(Proofs::NONE) => AuthOutcome::Accepted,
                Ok(Proofs::PUBLIC_KEY) => AuthOutcome::More(&[Method::PublicKey]),
                Ok(_) => AuthOutcome::More(&[Method::Password, Method::KeyboardInteractive]),
                Err(error) => outcome(Err(error)),
            }
        }

        fn wants_code(&self, name: &str) -> bool {
            self.0.wants_code(name)
        }

        fn too_many_keys(&mut self, name: &str) -> AuthOutcome {
            let error = self.0.refuse_offers(name);
            outcome(Err(error))
        }

        fn sftp<'h>(&'h self, channel: Box<dyn Channel + 'h>) -> Box<dyn Subsystem + 'h> {
            let mut options = self.1.clone();
            options.symlink = sftp::SymlinkOrder::of_client(&channel.client());
            // The transport asks for SFTP after a login only.
            let session = self.0.files().ok();
            let session = session.map(|files| SftpSession::new(channel, files, options));
            Box::new(Sftp(session))
        }

        fn command<'h>(
            &'h self,
            line: &[u8],
            channel: Box<dyn Channel + 'h>,
        ) -> std::result::Result<Box<dyn Subsystem + 'h>, &'static str> {
            // As above.
            let files = self.0.files().map_err(|_| "not logged in\n")?;
            Ok(Box::new(OldScp(Scp::new(line, channel, files, &self.1)?)))
        }
    }

    /// The old protocol of scp on one channel.
    struct OldScp<'h>(Scp<'h>);

    impl Subsystem for OldScp<'_> {
        fn step(&mut self) -> Progress {
            match self.0.step() {
                Ok(None) => Progress::Waiting,
                Ok(Some(status)) => Progress::Ended(status),
                Err(error) => {
                    log::info!("scp ended: {error}");
                    Progress::Ended(1)
                }
            }
        }

        fn is_busy(&self) -> bool {
            self.0.is_busy()
        }

        fn has_work(&self) -> bool {
            self.0.has_work()
        }
    }

    impl SessionHandler {
        /// Whether a signature by this key would log the user in.
        fn judge_offer(&self, name: &str, key: &PublicKey) -> AuthOutcome {
            let since = Instant::now();
            let admitted = self.0.would_admit(name, Secret::PublicKey(key));
            match admitted.and_then(|()| self.is_not_revoked(name, key)) {
                Ok(()) => AuthOutcome::Accepted,
                Err(error) => {
                    log::debug!("{}: {error}", Escaped(name.as_bytes()));
                    even_out(since);
                    AuthOutcome::Refused
                }
            }
        }

        /// Read for each key that would do: one that is put into the file is out at
        /// once. A file that can't be read lets no key in.
        fn is_not_revoked(&self, name: &str, key: &PublicKey) -> Result<()> {
            let Some(path) = &self.0.config().ssh.revoked_keys else {
                return Ok(());
            };
            match RevokedKeys::read(path) {
                Ok(keys) if keys.has(key) => {
                    log::warn!("{} shows a revoked key", Escaped(name.as_bytes()));
                    Err(refused("the key is revoked"))
                }
                Ok(_) => Ok(()),
                Err(error) => {
                    log::error!("{error}");
                    Err(error)
                }
            }
        }

        /// Says by which certificate somebody has come in.
        fn tell_certificate(name: &str, key: &PublicKey) {
            if let Some(certificate) = Certificate::read(&key.blob) {
                log::info!(
                    "{} has shown certificate {}, serial {}, of authority {}",
                    Escaped(name.as_bytes()),
                    Quoted(certificate.id),
                    certificate.serial,
                    fingerprint(certificate.authority)
                );
            }
        }
    }

    /// SFTP on one channel.
    struct Sftp<'h>(Option<SftpSession<'h>>);

    impl Subsystem for Sftp<'_> {
        fn step(&mut self) -> Progress {
            let Some(session) = &mut self.0 else {
                return Progress::Ended(1);
            };
            match session.step() {
                Ok(true) => Progress::Waiting,
                Ok(false) => Progress::Ended(0),
                Err(error) => {
                    log::info!("SFTP ended: {error}");
                    Progress::Ended(1)
                }
            }
        }

        fn is_busy(&self) -> bool {
            self.0.as_ref().is_some_and(SftpSession::is_busy)
        }

        fn is_stalled(&self) -> bool {
            self.0.as_ref().is_some_and(SftpSession::is_stalled)
        }
    }
}

#[cfg(test)]
#[cfg(feature = "sftp")]
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
#[cfg(feature = "sftp")]
#[path = "tests.rs"]
mod floods;
