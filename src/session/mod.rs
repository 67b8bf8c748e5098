//! What both protocols share: who is there ([`Session`]), what they may do
//! ([`Files`]), and one open file in use ([`Transfer`]). Never asks which
//! protocol it serves.

mod data_failures;
pub mod events;
pub mod files;
mod home;
pub mod identity;
pub mod limits;
pub mod line_writer;
pub mod log_context;
mod login;
mod made;
mod names;
mod places;
mod rate;
pub mod registry;
mod replacement;
pub mod transfer_log;
mod uploads;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::auth::{Authenticator, Proofs, User};
use crate::config::{Config, ExternalAddress};
use crate::error::{Error, ErrorKind, Result};
use crate::net::name_cache::NameCache;
use crate::net::passive::SharedPorts;
use crate::net::tls::Tls;
use crate::sync::Swap;
use events::{Event, Events, Who};
use identity::IdentityScope;
use limits::{Limits, Ticket};
use rate::Bucket;
use registry::{Registry, SessionInfo, Wake};

pub use data_failures::{DataFailure, DataFailures};
pub use files::{Files, Put, Readable, Slash, Transfer};
#[cfg(any(test, fuzzing))]
pub use names::matches;

/// What all sessions of one server share.
pub struct Services {
    in_force: Swap<InForce>,
    events: Vec<Arc<dyn Events>>,
    /// Counts of sessions, and failed logins.
    pub limits: Arc<Limits>,
    /// Sessions that are alive.
    pub registry: Registry,
    /// Data ports that all sessions share, if so configured.
    pub shared_ports: Option<SharedPorts>,
    /// Data connections that were not made, by reason.
    pub data_failures: DataFailures,
    /// What `passive-address` resolves to, if it is a name.
    pub external: NameCache,
    sweeps: files::Sweeps,
    uploads: Arc<uploads::Uploads>,
    made: Arc<made::Made>,
    rate_down: Bucket,
    rate_up: Bucket,
    phase: AtomicU8,
    identity_scope: IdentityScope,
    homes: home::Homes,
}

/// What a reload replaces, all of it at once.
#[derive(Clone)]
pub struct InForce {
    /// The settings.
    pub config: Arc<Config>,
    /// Who decides about logins.
    pub authenticator: Arc<dyn Authenticator>,
    /// Certificates, if there are any.
    pub tls: Option<Tls>,
}

/// How far the end of the server has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Serving.
    Running,
    /// No new sessions and no new commands; transfers may finish.
    Draining,
    /// Everything ends now.
    Stopping,
}

impl Services {
    /// Services of a server.
    pub fn new(
        config: Config,
        authenticator: Arc<dyn Authenticator>,
        events: Vec<Arc<dyn Events>>,
    ) -> Self {
        Services {
            rate_down: Bucket::new(config.rate_down),
            rate_up: Bucket::new(config.rate_up),
            in_force: Swap::new(InForce {
                config: Arc::new(config),
                authenticator,
                tls: None,
            }),
            events,
            limits: Arc::default(),
            registry: Registry::default(),
            shared_ports: None,
            external: NameCache::default(),
            sweeps: files::Sweeps::default(),
            uploads: Arc::default(),
            made: Arc::default(),
            phase: AtomicU8::new(Phase::Running as u8),
            identity_scope: IdentityScope::default(),
            data_failures: DataFailures::default(),
            homes: home::Homes::default(),
        }
    }

    /// With TLS.
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        let before = self.in_force.load();
        self.in_force.replace(InForce {
            tls,
            ..InForce::clone(&before)
        });
        self
    }

    /// TLS for a connection that asks for it now, if there are certificates.
    pub fn tls(&self) -> Option<Tls> {
        self.in_force.load().tls.clone()
    }

    /// With data ports that all sessions share.
    pub fn with_shared_ports(mut self, ports: Option<SharedPorts>) -> Self {
        self.shared_ports = ports;
        self
    }

    /// What a login does to the process.
    pub fn with_identity_scope(mut self, identity_scope: IdentityScope) -> Self {
        self.identity_scope = identity_scope;
        self
    }

    /// The settings for a session that begins now.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.in_force.load().config)
    }

    /// Who decides about a login that is tried now.
    pub fn authenticator(&self) -> Arc<dyn Authenticator> {
        Arc::clone(&self.in_force.load().authenticator)
    }

    /// Begins to ask for the address of `passive-address`, if it is a name.
    pub fn prepare_name(&self) {
        if let Some(ExternalAddress::Name(name)) = &self.config().passive_address {
            self.external.prepare(name);
        }
    }

    /// Puts other settings, users and certificates in force: settings for
    /// sessions that begin from now on, users and certificates for logins and
    /// handshakes from now on. The rates of all sessions together change at
    /// once.
    pub fn replace(&self, new: InForce) {
        self.rate_down.set_rate(new.config.rate_down);
        self.rate_up.set_rate(new.config.rate_up);
        self.in_force.replace(new);
    }

    /// How far the end has come.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Stopping,
        }
    }

    /// Goes on towards the end, never back, and wakes the sessions that wait
    /// for a command.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
        for live in self.registry.all() {
            live.wake(match phase {
                Phase::Stopping => Wake::AtOnce,
                _ => Wake::Gently,
            });
        }
    }

    fn emit(&self, who: &Who<'_>, event: &Event<'_>) {
        for listener in &self.events {
            listener.event(who, event);
        }
    }
}

/// The balancer between a client and us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via {
    /// Its address on our side.
    pub balancer: IpAddr,
    /// Its address on the client's side.
    pub reached: IpAddr,
}

/// One client, from the connection to its end.
pub struct Session {
    services: Arc<Services>,
    config: Arc<Config>,
    live: Arc<SessionInfo>,
    local: SocketAddr,
    via: Option<Via>,
    ticket: Ticket,
    files: Option<Files>,
    /// What has been shown for a name of whom more is required.
    shown: Option<(String, Proofs)>,
    tries: u32,
    started: Instant,
}

impl Session {
    /// A session of a client that has been admitted. `protocol` is the word
    /// for logs: `ftp`, `ftps` or `sftp`.
    pub fn new(
        services: &Arc<Services>,
        ticket: Ticket,
        peer: SocketAddr,
        local: SocketAddr,
        protocol: &'static str,
    ) -> Self {
        let config = services.config();
        // Over a dual-stack socket an IPv4 client looks like ::ffff:192.0.2.1,
        // which fail2ban and a helper program would take for another one.
        let peer = match peer.ip().to_canonical() {
            IpAddr::V4(ip) => SocketAddr::new(ip.into(), peer.port()),
            IpAddr::V6(_) => peer,
        };
        let live = services.registry.enter(peer, protocol);
        ticket.belongs_to(&live);
        Session {
            live,
            services: Arc::clone(services),
            config,
            local,
            via: None,
            ticket,
            files: None,
            shown: None,
            tries: 0,
            started: Instant::now(),
        }
    }

    /// The session of a client that a balancer has named.
    pub fn with_via(mut self, via: Option<Via>) -> Self {
        self.via = via;
        self
    }

    /// The configuration in force when the session began.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What all sessions share.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// What others see of this session.
    pub fn info(&self) -> &Arc<SessionInfo> {
        &self.live
    }

    /// The client's address.
    pub fn peer(&self) -> SocketAddr {
        self.live.peer
    }

    /// The address that the connection has come to on this machine.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The balancer that the client's connections come through, if any.
    pub fn via(&self) -> Option<IpAddr> {
        self.via.map(|via| via.balancer)
    }

    /// The address that the client has connected to, which may be a
    /// balancer's.
    pub fn reached(&self) -> IpAddr {
        match self.via {
            Some(via) => via.reached,
            None => self.local.ip().to_canonical(),
        }
    }

    /// When the client must have logged in.
    pub fn login_deadline(&self) -> Option<Instant> {
        deadline(self.started, self.config.login_timeout)
    }

    /// When the session ends, whatever it does.
    pub fn end_deadline(&self) -> Option<Instant> {
        deadline(self.started, self.config.session_timeout)
    }

    /// Ends the login; the connection goes on without a user.
    pub fn logout(&mut self) {
        self.end_login();
        self.live.user.set("");
    }

    fn end_login(&mut self) {
        if let Some(files) = self.files.take() {
            files.emit(&Event::LoggedOut);
            drop(files);
            self.ticket.log_out();
        }
    }

    /// The user's files.
    ///
    /// # Errors
    /// [`ErrorKind::LoginRefused`] when nobody is logged in.
    pub fn files(&self) -> Result<&Files> {
        self.files
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::LoginRefused, "not logged in"))
    }

    /// The user, if logged in.
    pub fn user(&self) -> Option<&User> {
        self.files.as_ref().map(Files::user)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The line that tells of the session's end still names the user.
        self.end_login();
        self.services.registry.leave(self.live.id);
    }
}

/// Whether the connection that a login came over is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encrypted {
    /// Under TLS or SSH.
    Yes,
    /// In the clear.
    No,
}

/// `start` plus a time where zero means "no limit".
pub fn deadline(start: Instant, time: Duration) -> Option<Instant> {
    (!time.is_zero()).then(|| start + time)
}
