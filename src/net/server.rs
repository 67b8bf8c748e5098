//! The server as other programs hold it: [`Server`] before it runs,
//! [`Running`] while it does.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::connection::{self, Protocol};
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
}

impl Server {
    /// A server that lets in whom `authenticator` lets in.
    pub fn new(config: Config, authenticator: Arc<dyn Authenticator>) -> Self {
        Server {
            config,
            authenticator,
            events: Vec::new(),
            listeners: Vec::new(),
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

    /// Binds the ports of the configuration.
    ///
    /// # Errors
    /// A port that can't be bound, with what to do.
    pub fn bind(mut self) -> Result<Self> {
        for endpoint in &self.config.listen {
            self.listeners
                .push((listener::bind(endpoint)?, Protocol::Ftp));
        }
        Ok(self)
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
    pub fn start(self) -> Result<Running> {
        let addresses = self.addresses();
        let pool = Pool::new(self.config.threads);
        let services = Arc::new(Services::new(self.config, self.authenticator, self.events));
        let mut running = Running {
            services,
            pool,
            addresses,
            listeners: Vec::new(),
        };
        for (listener, protocol) in self.listeners {
            let listener = Arc::new(listener);
            let (services, pool, accepting) = (
                Arc::clone(&running.services),
                running.pool.clone(),
                Arc::clone(&listener),
            );
            let thread = std::thread::Builder::new()
                .name("accept".into())
                .stack_size(128 * 1024)
                .spawn(move || accept(&accepting, &services, &pool, protocol))
                .doing("starting a thread")?;
            running.listeners.push((listener, thread));
        }
        Ok(running)
    }

    /// Serves one connection on the calling thread until it ends: what inetd
    /// does with one process. Nothing is bound.
    pub fn serve(self, stream: impl Into<Socket>, peer: SocketAddr, protocol: Protocol) {
        let services = Arc::new(Services::new(self.config, self.authenticator, self.events));
        let socket = stream.into();
        if let Some(ticket) = connection::admit(&services, &socket, peer, protocol) {
            connection::serve(&services, socket, peer, ticket, protocol);
        }
    }
}

fn accept(listener: &TcpListener, services: &Arc<Services>, pool: &Pool, protocol: Protocol) {
    listener::accept_all(listener, |stream, peer| {
        if services.phase() != Phase::Running {
            return Going::Ends;
        }
        let socket = Socket::from(stream);
        let Some(ticket) = connection::admit(services, &socket, peer, protocol) else {
            return Going::On;
        };
        let (services, session) = (Arc::clone(services), socket.clone());
        let job = Box::new(move || connection::serve(&services, session, peer, ticket, protocol));
        if pool.try_run(job).is_err() {
            log::warn!(
                "refused a connection from {}: no thread is free",
                peer.ip().to_canonical()
            );
            crate::ftp::refuse(
                Stream::Plain(socket),
                "Too many connections; try again later.",
            );
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
