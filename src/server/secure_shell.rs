//! SFTP over SSH: the transport's questions answered by the session.

use std::sync::Arc;

use crate::config::Config;
use crate::error::Result;
use crate::net::socket::Socket;
use crate::session::Session;

/// What the sessions of one server need for SSH.
#[cfg(feature = "sftp")]
pub struct HostKeys {
    keys: crate::ssh::HostKeys,
    algorithms: Arc<crate::ssh::Algorithms>,
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
        let keys = match config.host_key.is_empty() {
            false => config.host_key.clone(),
            true => vec![super::state_dir::open(config)?.join("ssh_host_ed25519_key")],
        };
        // First, so that a wrong name leaves no key behind.
        let algorithms = Arc::new(algorithms(&config.ssh)?);
        let keys = crate::ssh::HostKeys::load_or_create(&keys)?;
        Ok(HostKeys { keys, algorithms })
    }

    /// Checks what is set besides the keys.
    ///
    /// # Errors
    /// An algorithm that is unknown.
    pub fn check(config: &Config) -> Result<()> {
        // To list what there is, OpenSSL is asked and started: 2 MB, which a
        // server that speaks plain FTP does without.
        match lists(&config.ssh).iter().all(|list| list.is_empty()) {
            true => Ok(()),
            false => algorithms(&config.ssh).map(drop),
        }
    }

    /// File, algorithm and SHA-256 fingerprint of each key.
    pub fn fingerprints(&self) -> Vec<(std::path::PathBuf, String, String)> {
        self.keys.fingerprints()
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
    let mut socket = quick_ack::QuickAckSocket::new(socket);
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
        banner: match &config.ssh.banner {
            Some(text) => format!("{text}\r\n"),
            None => String::new(),
        },
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
    session.live().set_control(Some(socket.socket().clone()));
    let mut handler = handler::SessionHandler(session);
    let outcome = crate::ssh::serve(&mut socket, &keys.keys, &settings, &mut handler);
    handler.0.live().set_control(None);
    outcome
}

/// QuickAckSocket acknowledgements until the login is over.
#[cfg(feature = "sftp")]
mod quick_ack {
    use std::io::{self, Read, Write};
    use std::os::fd::{AsFd, BorrowedFd};

    use crate::net::socket::Socket;

    /// Reads of a login: versions, key exchange, service, a few tries.
    const READS: u32 = 16;

    /// A socket that acknowledges its first reads at once. OpenSSH's client
    /// turns off Nagle's algorithm only after the login: twice before it has
    /// sent one message and holds back the next until the first is
    /// acknowledged, which the kernel delays by 40 ms.
    pub(super) struct QuickAckSocket {
        socket: Socket,
        left: u32,
    }

    impl QuickAckSocket {
        pub(super) fn new(socket: Socket) -> Self {
            QuickAckSocket {
                socket,
                left: READS,
            }
        }

        pub(super) fn socket(&self) -> &Socket {
            &self.socket
        }
    }

    impl Read for QuickAckSocket {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let outcome = self.socket.read(buffer);
            if self.left > 0 {
                self.left -= 1;
                if let Socket::Tcp(socket) = &self.socket {
                    // The kernel forgets it with the next answer. Without it
                    // a login is slower, not wrong.
                    let _ = rustix::net::sockopt::set_tcp_quickack(socket, true);
                }
            }
            outcome
        }
    }

    impl Write for QuickAckSocket {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.socket.write(data)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.socket.flush()
        }
    }

    impl AsFd for QuickAckSocket {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.socket.as_fd()
        }
    }
}

#[cfg(feature = "sftp")]
mod handler {
    use crate::auth::Secret;
    use crate::error::ErrorKind;
    use crate::session::{Encrypted, Session};
    use crate::ssh::{AuthOutcome, Channel, Handler, Proof};
    use crate::{sftp, text::Escaped};

    /// Answers the questions of the SSH transport from a session.
    pub(super) struct SessionHandler(pub(super) Session);

    impl SessionHandler {
        fn log_in(&mut self, name: &str, secret: Secret<'_>) -> AuthOutcome {
            match self.0.login(name, secret, Encrypted::Yes) {
                Ok(()) => AuthOutcome::Accepted,
                Err(error) if error.kind() == ErrorKind::TooMany => {
                    AuthOutcome::Disconnect("Too many sessions, or too many failed logins.")
                }
                Err(_) => AuthOutcome::Refused,
            }
        }
    }

    impl Handler for SessionHandler {
        fn authenticate(&mut self, name: &str, proof: Proof<'_>) -> AuthOutcome {
            match proof {
                Proof::Password(password) => self.log_in(name, Secret::Password(password)),
                Proof::KeyVerified(key) => self.log_in(name, Secret::PublicKey(key)),
                Proof::KeyOffered(key) => match self.0.would_admit(name, Secret::PublicKey(key)) {
                    Ok(()) => AuthOutcome::Accepted,
                    Err(error) => {
                        log::debug!("{}: {error}", Escaped(name.as_bytes()));
                        AuthOutcome::Refused
                    }
                },
                _ => AuthOutcome::Refused,
            }
        }

        fn sftp(&mut self, channel: &mut dyn Channel) -> u32 {
            let Ok(files) = self.0.files() else { return 1 };
            let options = sftp::Options {
                symlink: sftp::SymlinkOrder::of_client(channel.client()),
                ..sftp::Options::default()
            };
            match sftp::serve(channel, files, &options) {
                Ok(()) => 0,
                Err(error) => {
                    log::info!("SFTP ended: {error}");
                    1
                }
            }
        }
    }
}
