//! The questions of the SSH transport, answered by a session.

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
        // The transport asks for a command after a login only.
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
