//! The certificates in force: read, checked, and read again when they change.

#[cfg(test)]
use std::sync::MutexGuard;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::backend::{Context, Material};
use super::hello::ClientHello;
use super::keys::{self, Identity};
use super::{CertificateFacts, Rules, TlsSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::stamp::Stamp;
#[cfg(test)]
use crate::sync::unpoisoned;
use crate::sync::{Swap, try_unpoisoned};

/// How often, at most, the files' times are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Days before a certificate expires on which the log says so.
const EXPIRES_SOON: [i64; 3] = [14, 7, 1];

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
    /// The day on which the certificates' dates were looked at last, counted
    /// from 1970.
    said: Option<i64>,
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
    /// order, something this build can't do. An expired certificate is none:
    /// see [`Tls::usable`].
    pub fn new(settings: &TlsSettings) -> Result<Tls> {
        if !settings.old_clients.is_empty() {
            log::warn!(
                "tls-old-clients: TLS 1.0 and 1.1 are broken; who is on the way to these \
                 clients may read and change what they send"
            );
        }
        let stamps = stamps(settings);
        let loaded = Loaded::read(settings)?;
        Ok(Tls(Arc::new(Certificates {
            settings: settings.clone(),
            loaded: Swap::new(loaded),
            watched: Mutex::new(Watched {
                stamps,
                looked: Instant::now(),
                said: None,
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

    /// Whether there is a certificate that has not expired.
    ///
    /// # Errors
    /// `Invalid`, with the certificate and its last day.
    pub fn usable(&self) -> Result<()> {
        self.0.current(Instant::now()).expired()
    }

    /// Says once a day what an administrator must know of the certificates:
    /// that one has expired or expires soon. To be called now and then.
    pub fn watch(&self) {
        let today = keys::now().div_euclid(86_400);
        let before = {
            let Ok(mut watched) = self.0.watched.try_lock() else {
                return;
            };
            watched.said.replace(today)
        };
        if before == Some(today) {
            return;
        }
        for (identity, _) in &self.0.loaded().served {
            let path = identity.path.display();
            let days = (identity.valid.end - keys::now()).div_euclid(86_400);
            if let Err(error) = identity.check_dates(keys::now()) {
                log::error!("no FTPS with it until then: {error}");
            } else if keys::now() < identity.valid.start {
                log::error!("the certificate {path} is not valid yet: is the clock right?");
            } else if EXPIRES_SOON.contains(&days) || (before.is_none() && days <= EXPIRES_SOON[0])
            {
                log::warn!("the certificate {path} expires in {days} days: renew it");
            }
        }
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
        let loaded = Loaded::read(&self.settings).and_then(|loaded| {
            // What is in force may be better.
            loaded.expired().map(|()| loaded)
        });
        Some(loaded.map(|loaded| self.replace(loaded)))
    }
}

fn stamps(settings: &TlsSettings) -> Vec<Stamp> {
    let pairs = settings.certificates.iter();
    pairs
        .flat_map(|pair| [&pair.certificate, &pair.key])
        .chain(&settings.key_password_file)
        .chain(&settings.client_ca)
        .chain(&settings.client_crl)
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
            Context::new(&material, Rules::Usual).map_err(|error| {
                let policy = if settings.ciphers.is_empty() && settings.curves.is_empty() {
                    ""
                } else {
                    " with tls-ciphers and tls-curves"
                };
                let doing = format!("using the certificate {}{policy}", identity.path.display());
                Error::with_source(ErrorKind::Invalid, doing, error)
            })?;
            served.push((identity, material));
        }
        Ok(Loaded { served })
    }

    /// The certificate for the name a client asks for, in the handshake or else
    /// as `host`: of several for one name, an EC and an RSA one, that whose key
    /// it can use. None when all have expired.
    pub(super) fn choose(&self, hello: &ClientHello, host: Option<&str>) -> Option<&Material> {
        let now = keys::now();
        let valid = || {
            let served = self.served.iter();
            served.filter(|(identity, _)| identity.check_dates(now).is_ok())
        };
        let first = valid().next();
        let host = hello.server_name.as_deref().or(host);
        let asked = |(identity, _): &&(Identity, Material)| match host {
            Some(host) => identity.serves(host),
            None => first.is_some_and(|(first, _)| first.names == identity.names),
        };
        let chosen = valid()
            .filter(asked)
            .find(|(identity, _)| identity.suits(hello))
            .or_else(|| valid().find(asked))
            .or(first);
        chosen.map(|(_, material)| material)
    }

    /// What is wrong when no certificate can be served now.
    fn expired(&self) -> Result<()> {
        let now = keys::now();
        let mut dates = self
            .served
            .iter()
            .map(|(identity, _)| identity.check_dates(now));
        match dates.next() {
            Some(Err(error)) if dates.all(|other| other.is_err()) => Err(error),
            _ => Ok(()),
        }
    }
}
