//! The server as other programs hold it: [`Server`] before it runs,
//! [`Running`] while it does. What stands above the protocols is in this
//! directory: from an accepted connection to a session of FTP or SSH.

mod barred;
mod connection;
mod health;
mod keys;
mod pool;
#[cfg(feature = "sftp")]
mod secure_shell;
#[cfg(not(feature = "sftp"))]
#[path = "secure_shell_none.rs"]
mod secure_shell;
mod settings;
mod shared;
mod state_dir;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::auth::Authenticator;
use crate::config::Config;
use crate::error::{Doing, Result};
use crate::net::http::HttpPort;
use crate::net::listener::{self, Stop};
use crate::net::passive::SharedPorts;
use crate::net::refusal;
use crate::net::socket::Socket;
use crate::net::stream::Stream;
use crate::session::events::Events;
use crate::session::identity::IdentityScope;
use crate::session::{InForce, Phase, Services};
use crate::sync::Swap;
use connection::Host;
pub use connection::Protocol;
use keys::Keys;
use pool::Pool;
use secure_shell::SshSetup;
use shared::SharedDirectory;
pub use state_dir::{own_pair, state_dir};

/// A server that is not running yet.
pub struct Server {
    config: Config,
    authenticator: Arc<dyn Authenticator>,
    events: Vec<Arc<dyn Events>>,
    listeners: Vec<(TcpListener, Protocol, Origin)>,
    keys: Option<Keys>,
    health: Vec<HttpPort>,
    shared_ports: Option<SharedPorts>,
    identity_scope: IdentityScope,
}

impl Server {
    /// A server that lets in whom `authenticator` lets in.
    pub fn new(config: Config, authenticator: Arc<dyn Authenticator>) -> Self {
        Server {
            config,
            authenticator,
            events: Vec::new(),
            listeners: Vec::new(),
            keys: None,
            health: Vec::new(),
            shared_ports: None,
            identity_scope: IdentityScope::default(),
        }
    }

    /// Tells `listener` what happens in sessions.
    pub fn with_events(mut self, listener: Arc<dyn Events>) -> Self {
        self.events.push(listener);
        self
    }

    /// Serves `protocol` on a listener that is bound already, besides those
    /// of the configuration. At the end of the server connections that wait
    /// there are left to whoever holds the socket, too.
    pub fn with_listener(mut self, listener: TcpListener, protocol: Protocol) -> Self {
        self.listeners.push((listener, protocol, Origin::Lent));
        self
    }

    /// Binds the ports of the configuration and reads its keys: all that may
    /// need privileges.
    ///
    /// # Errors
    /// A port that can't be bound, or a key that can't be used, with what to do.
    pub fn bind(mut self) -> Result<Self> {
        let config = &self.config;
        settings::consistent(config)?;
        if let Some(directory) = &config.shared_dir {
            SharedDirectory::make(directory)?;
        }
        for (endpoints, protocol) in [
            (&config.listen, Protocol::Ftp),
            (&config.listen_ftps, Protocol::Ftps),
            (&config.listen_sftp, Protocol::Sftp),
        ] {
            for endpoint in endpoints {
                self.listeners
                    .push((listener::bind(endpoint)?, protocol, Origin::Own));
            }
        }
        if config.shared_data_ports {
            self.shared_ports = Some(SharedPorts::open(config)?);
        }
        for endpoint in &config.listen_health {
            self.health.push(HttpPort::bind(endpoint)?);
        }
        self.keys = Some(Keys::load(config)?);
        Ok(self)
    }

    /// Says what [`Server::bind`] would say about settings and keys, without
    /// binding anything. Yields the files of certificates, each with the days
    /// until it expires.
    ///
    /// # Errors
    /// A key that can't be used, or settings that contradict each other.
    pub fn check(&self) -> Result<Vec<(PathBuf, i64)>> {
        settings::consistent(&self.config)?;
        let certificates = match Keys::load(&self.config)?.tls {
            Some(tls) => {
                tls.usable()?;
                tls.certificates()?
            }
            None => Vec::new(),
        };
        let dates = certificates.into_iter();
        Ok(dates.map(|facts| (facts.path, facts.days_left)).collect())
    }

    fn host(&mut self) -> Result<Host> {
        let keys = match self.keys.take() {
            Some(keys) => keys,
            None => Keys::load(&self.config)?,
        };
        let events = std::mem::take(&mut self.events);
        let services = Services::new(self.config.clone(), Arc::clone(&self.authenticator), events);
        Ok(Host {
            services: Arc::new(
                services
                    .with_tls(keys.tls)
                    .with_identity_scope(self.identity_scope)
                    .with_shared_ports(self.shared_ports.take()),
            ),
            host_keys: Arc::new(Swap::new(keys.host_keys)),
        })
    }

    /// What clients know the server by, for whoever must tell them; nothing
    /// before [`Server::bind`].
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        let Some(keys) = &self.keys else {
            return Vec::new();
        };
        let certificates = keys.tls.as_ref().and_then(|tls| tls.certificates().ok());
        let certificates = certificates.into_iter().flatten();
        let certificates = certificates.map(|facts| Fingerprint::Certificate {
            path: facts.path.clone(),
            sha256: facts.fingerprint.clone(),
        });
        let host_keys = keys.host_keys.iter().flat_map(|keys| keys.fingerprints());
        let host_keys = host_keys.map(|(path, algorithm, sha256)| Fingerprint::HostKey {
            path,
            algorithm,
            sha256,
        });
        certificates.chain(host_keys).collect()
    }

    /// The bound addresses, in the order of binding.
    pub fn addresses(&self) -> Vec<(SocketAddr, Protocol)> {
        let address = |listener: &TcpListener| listener.local_addr().ok();
        self.listeners
            .iter()
            .filter_map(|(listener, protocol, _)| Some((address(listener)?, *protocol)))
            .collect()
    }

    /// Starts to serve, on threads of its own.
    ///
    /// # Errors
    /// A thread that can't be started.
    pub fn start(mut self) -> Result<Running> {
        crate::storage::note_clock();
        crate::net::congestion::look(&self.config.tcp_congestion);
        let addresses = self.addresses();
        let pool = Pool::new(self.config.threads);
        let host = self.host()?;
        let mut running = Running {
            host: host.clone(),
            pool,
            addresses,
            listeners: Vec::new(),
            leaving: Arc::default(),
            drain_delay: self.config.drain_delay,
        };
        for (listener, protocol, origin) in self.listeners {
            let stop = Arc::new(Stop::new().doing("making an eventfd")?);
            let (host, pool, stopped) = (host.clone(), running.pool.clone(), Arc::clone(&stop));
            let thread = std::thread::Builder::new()
                .name("accept".into())
                .stack_size(128 * 1024)
                .spawn(move || accept(&listener, &stopped, &host, &pool, protocol))
                .doing("starting a thread")?;
            running.listeners.push((stop, thread, origin));
        }
        running.start_helpers(self.health, &self.config)?;
        running.services().prepare_name();
        Ok(running)
    }

    /// What a login does to the process. As all of
    /// [`daemon`](crate::daemon) it may change in any release.
    pub fn with_identity_scope(mut self, identity_scope: IdentityScope) -> Self {
        self.identity_scope = identity_scope;
        self
    }

    /// Serves one connection on the calling thread until it ends: what inetd
    /// does with one process. Nothing is bound.
    ///
    /// # Errors
    /// A key that can't be used.
    pub fn serve(
        mut self,
        stream: impl Into<Socket>,
        peer: SocketAddr,
        protocol: Protocol,
    ) -> Result<()> {
        let host = self.host()?;
        let socket = stream.into();
        if let Some(ticket) = connection::admit(&host.services, &socket, peer, protocol) {
            connection::serve(&host, socket, peer, ticket, protocol);
        }
        Ok(())
    }
}

/// What clients know a server by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fingerprint {
    /// A certificate for FTPS.
    Certificate {
        /// The file it was read from.
        path: PathBuf,
        /// The SHA-256 as pairs of hexadecimal digits with colons, as
        /// `openssl x509 -fingerprint` shows it.
        sha256: String,
    },
    /// A host key for SFTP.
    HostKey {
        /// The file it was read from.
        path: PathBuf,
        /// Its algorithm, such as `ssh-ed25519`.
        algorithm: String,
        /// The SHA-256 as `ssh-keygen -l` shows it.
        sha256: String,
    },
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fingerprint::Certificate { path, sha256 } => {
                write!(f, "certificate {}: {sha256}", path.display())
            }
            Fingerprint::HostKey {
                path,
                algorithm,
                sha256,
            } => write!(f, "{algorithm} {}: {sha256}", path.display()),
        }
    }
}

/// Whose a listener is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Bound by us.
    Own,
    /// Bound by somebody else, who may hand it to our successor.
    Lent,
}

fn accept(listener: &TcpListener, stop: &Stop, host: &Host, pool: &Pool, protocol: Protocol) {
    listener::accept_all(listener, stop, |stream, peer| {
        let socket = Socket::from(stream);
        if host.services.phase() != Phase::Running {
            if protocol == Protocol::Ftp {
                crate::ftp::refuse(Stream::Plain(socket), "The server is going down.");
            }
            return;
        }
        let behind_proxy = host
            .services
            .config()
            .proxy_from
            .iter()
            .any(|network| network.contains(peer.ip()));
        if behind_proxy {
            // The header is read on a session's thread: a balancer that says
            // nothing holds nobody else up.
            let host = host.clone();
            let job =
                Box::new(move || connection::serve_behind_proxy(&host, socket, peer, protocol));
            if pool.try_run(job).is_err() {
                let done = "refused a connection through";
                refusal::tell(done, peer.ip(), &"no thread is free");
            }
            return;
        }
        let Some(ticket) = connection::admit(&host.services, &socket, peer, protocol) else {
            return;
        };
        let (host, session) = (host.clone(), socket.clone());
        let job = Box::new(move || connection::serve(&host, session, peer, ticket, protocol));
        if pool.try_run(job).is_err() {
            let done = "refused a connection from";
            refusal::tell(done, peer.ip(), &"no thread is free");
            if protocol == Protocol::Ftp {
                crate::ftp::refuse(
                    Stream::Plain(socket),
                    "The server has no free place; try again later.",
                );
            }
        }
    });
}

/// Settings, users and keys that have been checked, ready to be put in force.
#[must_use = "nothing changes before apply()"]
pub struct Prepared<'a> {
    host: &'a Host,
    host_keys: Option<Arc<SshSetup>>,
    in_force: InForce,
}

impl Prepared<'_> {
    /// Puts them in force together: settings and host keys for connections
    /// that come from now on, users and certificates for logins and
    /// handshakes from now on. Sessions keep what they began with.
    pub fn apply(self) {
        self.host.host_keys.replace(self.host_keys);
        self.host.services.replace(self.in_force);
    }
}

/// A server that runs. Dropping it ends it at once.
pub struct Running {
    host: Host,
    pool: Pool,
    addresses: Vec<(SocketAddr, Protocol)>,
    listeners: Vec<(Arc<Stop>, JoinHandle<()>, Origin)>,
    /// The health check fails from now on.
    leaving: Arc<AtomicBool>,
    drain_delay: Duration,
}

impl Running {
    /// Puts other settings in force, as [`Running::prepare`] and
    /// [`Prepared::apply`] do.
    ///
    /// # Errors
    /// What can't be used; then everything stays as it is.
    pub fn set_config(&self, config: Config) -> Result<()> {
        let authenticator = self.host.services.authenticator();
        self.prepare(config, authenticator)?.apply();
        Ok(())
    }

    /// Checks other settings and reads their certificates and host keys;
    /// nothing changes yet. What is bound and started stays as it is
    /// whatever they say: ports, threads, files that are open.
    ///
    /// # Errors
    /// Settings that contradict each other, or a file that can't be used.
    pub fn prepare(
        &self,
        config: Config,
        authenticator: Arc<dyn Authenticator>,
    ) -> Result<Prepared<'_>> {
        let config = config.keeping_what_is_fixed(&self.host.services.config());
        settings::consistent(&config)?;
        let in_force = Keys {
            tls: self.host.services.tls(),
            host_keys: Option::clone(&self.host.host_keys.load()),
        };
        let keys = Keys::reload(&config, &self.host.services.config(), in_force)?;
        Ok(Prepared {
            host: &self.host,
            host_keys: keys.host_keys,
            in_force: InForce {
                config: Arc::new(config),
                authenticator,
                tls: keys.tls,
            },
        })
    }

    /// The bound addresses.
    pub fn addresses(&self) -> &[(SocketAddr, Protocol)] {
        &self.addresses
    }

    /// What the sessions share. As all of [`daemon`](crate::daemon) it may
    /// change in any release.
    pub fn services(&self) -> &Arc<Services> {
        &self.host.services
    }

    /// Ends: no new connections, idle sessions are told goodbye, transfers may
    /// finish for as long as `drain`. Says whether all sessions have ended.
    pub fn stop(mut self, drain: Duration) -> bool {
        self.end(drain)
    }

    /// The threads that serve no sessions: health checks, the shared directory.
    fn start_helpers(&mut self, health: Vec<HttpPort>, config: &Config) -> Result<()> {
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new()
                .name(name.into())
                .stack_size(128 * 1024);
            thread.spawn(work).map(drop).doing("starting a thread")
        };
        for port in health {
            let (leaving, drain_file) = (Arc::clone(&self.leaving), config.drain_file.clone());
            let is_over = move || leaving.load(Ordering::Relaxed);
            let serve = move || health::serve(port, drain_file.as_deref(), is_over);
            spawn("health", Box::new(serve))?;
        }
        if self.host.services.authenticator().standing("").is_some() {
            let services = Arc::clone(&self.host.services);
            spawn("users", Box::new(move || barred::end_sessions(&services)))?;
        }
        if let Some(directory) = &config.shared_dir {
            let name = config.own_name().unwrap_or_else(|| {
                let machine = rustix::system::uname();
                machine.nodename().to_string_lossy().into_owned()
            });
            let shared = SharedDirectory::open(directory, &name)?;
            let services = Arc::clone(&self.host.services);
            spawn("shared", Box::new(move || shared.run(&services)))?;
        }
        Ok(())
    }

    fn end(&mut self, drain: Duration) -> bool {
        if !self.leaving.swap(true, Ordering::Relaxed) && !drain.is_zero() {
            std::thread::sleep(self.drain_delay);
        }
        let deadline = Instant::now() + drain;
        self.host.services.set_phase(Phase::Draining);
        // Who waits at a lent socket is served by our successor; who comes to
        // one of ours is told until the end that nobody serves here any more.
        self.stop_accepting(|origin| origin == Origin::Lent);
        let ended = self.pool.join(deadline);
        self.stop_accepting(|_| true);
        if ended {
            return true;
        }
        self.host.services.set_phase(Phase::Stopping);
        self.pool.join(Instant::now() + Duration::from_secs(5))
    }

    fn stop_accepting(&mut self, which: impl Fn(Origin) -> bool) {
        let (ending, staying) = std::mem::take(&mut self.listeners)
            .into_iter()
            .partition(|(_, _, origin)| which(*origin));
        self.listeners = staying;
        let ending: Vec<_> = ending;
        for (stop, ..) in &ending {
            stop.stop();
        }
        for (_, thread, _) in ending {
            // It holds nothing that a panic in it could have broken.
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}
