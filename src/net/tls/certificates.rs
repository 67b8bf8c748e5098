//! The certificates in force: read, checked, and read again when they change.

#[cfg(test)]
use std::sync::MutexGuard;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::backend::{Context, Material};
use super::hello::ClientHello;
use super::keys::{self, Identity};
use super::{CertificateFacts, TlsSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::stamp::Stamp;
#[cfg(test)]
use crate::sync::unpoisoned;
use crate::sync::{Swap, try_unpoisoned};

/// How often, at most, the files' times are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The server's certificates: one for the whole server.
///
/// Changed files are noticed when a session begins and serve it and those
/// after it; a pair that does not pass the checks is logged once, and the
/// one before stays in force.
#[derive(Clone)]
pub struct Tls(pub(super) Arc<Certificates>);

pub(super) struct Certificates {
    pub(super) settings: TlsSettings,
    loaded: Swap<Loaded>,
    watched: Mutex<Watched>,
}

struct Watched {
    /// Of the files in force, or of those that were refused last.
    stamps: Vec<Stamp>,
    looked: Instant,
}

/// What was read from the files at one time.
pub(super) struct Loaded {
    served: Vec<(Identity, Material)>,
}

impl Tls {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// With what to do about it: a missing or unreadable file, a damaged or
    /// encrypted key, a key of another certificate, a chain in the wrong
    /// order, an expired certificate, something this build can't do.
    pub fn new(settings: &TlsSettings) -> Result<Tls> {
        let stamps = stamps(settings);
        let loaded = Loaded::read(settings)?;
        Ok(Tls(Arc::new(Certificates {
            settings: settings.clone(),
            loaded: Swap::new(loaded),
            watched: Mutex::new(Watched {
                stamps,
                looked: Instant::now(),
            }),
        })))
    }

    /// Looks at the files; what came of it if they have changed.
    #[cfg(test)]
    pub(super) fn look(&self, now: Instant) -> Option<Result<()>> {
        self.0.look(&mut self.0.watched(), now)
    }

    /// As long as it is held, a look at the files lasts.
    #[cfg(test)]
    pub(super) fn looking(&self) -> impl Sized {
        self.0.watched()
    }

    /// The certificates in force, for `--check` and the log.
    pub fn certificates(&self) -> Result<Vec<CertificateFacts>> {
        let loaded = self.0.loaded();
        let served = loaded.served.iter();
        served.map(|(identity, _)| identity.facts()).collect()
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

impl Certificates {
    #[cfg(test)]
    fn watched(&self) -> MutexGuard<'_, Watched> {
        unpoisoned(self.watched.lock())
    }

    fn loaded(&self) -> Arc<Loaded> {
        self.loaded.load()
    }

    fn replace(&self, loaded: Loaded) {
        self.loaded.replace(loaded);
    }

    /// What is in force now, read again if the files have changed. While one
    /// session looks, which may take long on a disk that hangs, the others go
    /// on with what was read before.
    pub(super) fn current(&self, now: Instant) -> Arc<Loaded> {
        let Some(mut watched) = try_unpoisoned(self.watched.try_lock()) else {
            return self.loaded();
        };
        match self.look(&mut watched, now) {
            None => {}
            Some(Ok(())) => log::info!("TLS: changed certificates are in force"),
            Some(Err(error)) => log::error!(
                "TLS: the changed certificates can't be used, the old ones stay: {error}"
            ),
        }
        self.loaded()
    }

    /// Reads files that have changed since the last look; `None` when there
    /// is no news. Files that were refused are not read again until they
    /// change again.
    fn look(&self, watched: &mut Watched, now: Instant) -> Option<Result<()>> {
        if now.saturating_duration_since(watched.looked) < LOOK_INTERVAL {
            return None;
        }
        watched.looked = now;
        let stamps = stamps(&self.settings);
        if stamps == watched.stamps {
            return None;
        }
        watched.stamps = stamps;
        Some(Loaded::read(&self.settings).map(|loaded| self.replace(loaded)))
    }
}

fn stamps(settings: &TlsSettings) -> Vec<Stamp> {
    let pairs = settings.certificates.iter();
    pairs
        .flat_map(|pair| [&pair.certificate, &pair.key])
        .chain(&settings.key_password_file)
        .chain(&settings.client_ca)
        .map(|path| Stamp::at(path))
        .collect()
}

impl Loaded {
    fn read(settings: &TlsSettings) -> Result<Loaded> {
        if settings.certificates.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "TLS needs a certificate"));
        }
        let password = match &settings.key_password_file {
            Some(path) => Some(keys::read_password(path)?),
            None => None,
        };
        let mut served = Vec::new();
        for pair in &settings.certificates {
            let identity = Identity::load(pair, password.as_deref())?;
            let material = Material::new(&identity, settings)?;
            // The library may still refuse it: a key too short, for example.
            Context::new(&material).map_err(|error| {
                let doing = format!("using the certificate {}", identity.path.display());
                Error::with_source(ErrorKind::Invalid, doing, error)
            })?;
            served.push((identity, material));
        }
        Ok(Loaded { served })
    }

    /// The certificate for the name a client asks for.
    pub(super) fn choose(&self, hello: &ClientHello) -> Option<&Material> {
        let named = hello.server_name.as_deref().and_then(|host| {
            let mut served = self.served.iter();
            served.find(|(identity, _)| identity.serves(host))
        });
        named.or(self.served.first()).map(|(_, material)| material)
    }
}
