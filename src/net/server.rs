//! The server as other programs hold it: [`Server`] before it runs,
//! [`Running`] while it does.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::connection::{self, Host, Protocol};
use super::keys::Keys;
use super::listener::{self, Going};
use super::pool::Pool;
use super::socket::Socket;
use super::stream::Stream;
use crate::auth::Authenticator;
use crate::config::Config;
use crate::error::{Doing, Result};
use crate::session::events::Events;
use crate::session::{Phase, Services};

/// A server that is not running yet.
pub struct Server {
    config: Config,
    authenticator: Arc<dyn Authenticator>,
    events: Vec<Arc<dyn Events>>,
    listeners: Vec<(TcpListener, Protocol)>,
    keys: Option<Keys>,
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
        }
    }

    /// Tells `listener` what happens in sessions.
    pub fn with_events(mut self, listener: Arc<dyn Events>) -> Self {
        self.events.push(listener);
        self
    }

    /// Serves `protocol` on a listener that is bound already, besides those
    /// of the configuration.
    pub fn with_listener(mut self, listener: TcpListener, protocol: Protocol) -> Self {
        self.listeners.push((listener, protocol));
        self
    }

    /// Binds the ports of the configuration and reads its keys: all that may
    /// need privileges.
    ///
    /// # Errors
    /// A port that can't be bound, or a key that can't be used, with what to do.
    pub fn bind(mut self) -> Result<Self> {
        let config = &self.config;
        for (endpoints, protocol) in [
            (&config.listen, Protocol::Ftp),
            (&config.listen_ftps, Protocol::Ftps),
            (&config.listen_sftp, Protocol::Sftp),
        ] {
            for endpoint in endpoints {
                self.listeners.push((listener::bind(endpoint)?, protocol));
            }
        }
        self.keys = Some(Keys::load(config)?);
        Ok(self)
    }

    fn host(&mut self) -> Result<Host> {
        let keys = match self.keys.take() {
            Some(keys) => keys,
            None => Keys::load(&self.config)?,
        };
        let events = std::mem::take(&mut self.events);
        let services = Services::new(self.config.clone(), Arc::clone(&self.authenticator), events);
        Ok(Host {
            services: Arc::new(services.with_tls(keys.tls)),
            host_keys: keys.host_keys,
        })
    }

    /// Certificates' fingerprints and host keys' fingerprints, for whoever
    /// must tell clients: what, and the SHA-256.
    pub fn fingerprints(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        if let Some(keys) = &self.keys {
            let certificates = keys.tls.as_ref().and_then(|tls| tls.certificates().ok());
            for facts in certificates.into_iter().flatten() {
                found.push((
                    format!("certificate {}", facts.path.display()),
                    facts.fingerprint.clone(),
                ));
            }
            for (path, algorithm, fingerprint) in
                keys.host_keys.iter().flat_map(|keys| keys.fingerprints())
            {
                found.push((format!("{algorithm} {}", path.display()), fingerprint));
            }
        }
        found
    }

    /// The bound addresses, in the order of binding.
    pub fn addresses(&self) -> Vec<(SocketAddr, Protocol)> {
        let address = |listener: &TcpListener| listener.local_addr().ok();
        self.listeners
            .iter()
            .filter_map(|(listener, protocol)| Some((address(listener)?, *protocol)))
            .collect()
    }

    /// Starts to serve, on threads of its own.
    ///
    /// # Errors
    /// A thread that can't be started.
    pub fn start(mut self) -> Result<Running> {
        let addresses = self.addresses();
        let pool = Pool::new(self.config.threads);
        let host = self.host()?;
        let mut running = Running {
            services: Arc::clone(&host.services),
            pool,
            addresses,
            listeners: Vec::new(),
        };
        for (listener, protocol) in self.listeners {
            let listener = Arc::new(listener);
            let (host, pool, accepting) =
                (host.clone(), running.pool.clone(), Arc::clone(&listener));
            let thread = std::thread::Builder::new()
                .name("accept".into())
                .stack_size(128 * 1024)
                .spawn(move || accept(&accepting, &host, &pool, protocol))
                .doing("starting a thread")?;
            running.listeners.push((listener, thread));
        }
        Ok(running)
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

fn accept(listener: &TcpListener, host: &Host, pool: &Pool, protocol: Protocol) {
    listener::accept_all(listener, |stream, peer| {
        if host.services.phase() != Phase::Running {
            return Going::Ends;
        }
        let socket = Socket::from(stream);
        let Some(ticket) = connection::admit(&host.services, &socket, peer, protocol) else {
            return Going::On;
        };
        let (host, session) = (host.clone(), socket.clone());
        let job = Box::new(move || connection::serve(&host, session, peer, ticket, protocol));
        if pool.try_run(job).is_err() {
            log::warn!(
                "refused a connection from {}: no thread is free",
                peer.ip().to_canonical()
            );
            if protocol == Protocol::Ftp {
                crate::ftp::refuse(
                    Stream::Plain(socket),
                    "Too many connections; try again later.",
                );
            }
        }
        Going::On
    });
}

/// A server that runs. Dropping it ends it at once.
pub struct Running {
    services: Arc<Services>,
    pool: Pool,
    addresses: Vec<(SocketAddr, Protocol)>,
    listeners: Vec<(Arc<TcpListener>, JoinHandle<()>)>,
}

impl Running {
    /// The bound addresses.
    pub fn addresses(&self) -> &[(SocketAddr, Protocol)] {
        &self.addresses
    }

    /// The first bound address.
    ///
    /// # Panics
    /// When nothing was bound.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0].0
    }

    /// What the sessions share.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Ends: no new connections, idle sessions are told goodbye, transfers may
    /// finish for as long as `drain`. Says whether all sessions have ended.
    pub fn stop(mut self, drain: Duration) -> bool {
        self.end(drain)
    }

    fn end(&mut self, drain: Duration) -> bool {
        let deadline = Instant::now() + drain;
        self.services.set_phase(Phase::Draining);
        for (listener, thread) in self.listeners.drain(..) {
            listener::stop(&listener);
            // It holds nothing that a panic in it could have broken.
            let _ = thread.join();
        }
        if self.pool.join(deadline) {
            return true;
        }
        self.services.set_phase(Phase::Stopping);
        self.pool.join(Instant::now() + Duration::from_secs(5))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}
