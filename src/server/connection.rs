//! Where daemon, inetd, socket activation and library meet: one connection,
//! from its first byte to its last.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::secure_shell::{self, SshSetup};
use crate::error::{Error, ErrorKind, Result};
use crate::ftp;
use crate::net::proxy_protocol;
use crate::net::refusal;
use crate::net::socket::Socket;
use crate::net::stream::Stream;
use crate::session::limits::Ticket;
use crate::session::log_context::LogContext;
use crate::session::{Services, Session, Via};
use crate::sync::Swap;

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// FTP, in the clear until AUTH TLS.
    Ftp,
    /// FTP under TLS from the first byte.
    Ftps,
    /// SFTP over SSH.
    Sftp,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Protocol::Ftp => "ftp",
            Protocol::Ftps => "ftps",
            Protocol::Sftp => "sftp",
        }
    }
}

/// What every connection of a server needs.
#[derive(Clone)]
pub struct Host {
    /// What the sessions share.
    pub services: Arc<Services>,
    /// Keys of the SSH server, if there is one.
    pub host_keys: Arc<Swap<Option<Arc<SshSetup>>>>,
}

/// Asks for a place for a new connection; who gets none is told why, without
/// waiting for them.
pub fn admit(
    services: &Arc<Services>,
    socket: &Socket,
    peer: SocketAddr,
    protocol: Protocol,
) -> Option<Ticket> {
    match services.limits.admit(peer.ip(), &services.config()) {
        Ok(ticket) => Some(ticket),
        Err(error) => {
            refusal::tell("refused a connection from", peer.ip(), &error);
            // Words in the clear would only confuse clients of TLS and SSH.
            if let (Protocol::Ftp, Some(words)) = (protocol, error.words()) {
                ftp::refuse(Stream::Plain(socket.clone()), words);
            }
            None
        }
    }
}

/// Serves a connection whose client a balancer names first.
pub fn serve_behind_proxy(host: &Host, socket: Socket, balancer: SocketAddr, protocol: Protocol) {
    let named = match proxy_protocol::read(&socket, Instant::now() + proxy_protocol::DEADLINE) {
        Ok(named) => named,
        Err(error) => {
            refusal::tell("closed a connection from", balancer.ip(), &error);
            return;
        }
    };
    let client = named.map_or(balancer, |named| named.client);
    if let Some(ticket) = admit(&host.services, &socket, client, protocol) {
        let via = named.map(|named| Via {
            balancer: balancer.ip().to_canonical(),
            reached: named.target.ip().to_canonical(),
        });
        serve_client(host, socket, client, via, ticket, protocol);
    }
}

/// Serves one connection that has been admitted, on the calling thread.
pub fn serve(host: &Host, socket: Socket, peer: SocketAddr, ticket: Ticket, protocol: Protocol) {
    serve_client(host, socket, peer, None, ticket, protocol);
}

fn serve_client(
    host: &Host,
    socket: Socket,
    peer: SocketAddr,
    via: Option<Via>,
    ticket: Ticket,
    protocol: Protocol,
) {
    prepare(&socket, host.services.config().stall_timeout);
    let local = socket
        .local_addr()
        .unwrap_or_else(|| (IpAddr::V4(Ipv4Addr::LOCALHOST), 0).into());
    let session = Session::new(&host.services, ticket, peer, local, protocol.name()).with_via(via);
    let _lines = LogContext::of(session.info()).enter();
    log::info!(
        "{} connected ({})",
        peer.ip().to_canonical(),
        protocol.name()
    );
    let live = Arc::clone(session.info());
    let outcome = converse(host, socket, session, protocol);
    if let Some(end) = live.ends() {
        let client = peer.ip().to_canonical();
        log::warn!("the session of {client} {}", end.reason());
        return;
    }
    match outcome {
        Ok(()) => log::info!("ended"),
        Err(error) if error.kind() == ErrorKind::Disconnected => {
            log::info!("the client went away")
        }
        Err(error) => log::warn!(
            "the connection with {} ended: {error}",
            peer.ip().to_canonical()
        ),
    }
}

fn converse(host: &Host, socket: Socket, session: Session, protocol: Protocol) -> Result<()> {
    match protocol {
        Protocol::Ftp => ftp::run(Stream::Plain(socket), session, ftp::Security::None),
        Protocol::Ftps => ftp::run(Stream::Plain(socket), session, ftp::Security::Tls),
        Protocol::Sftp => match Option::clone(&host.host_keys.load()) {
            Some(keys) => secure_shell::run(socket, session, keys),
            None => Err(Error::new(
                ErrorKind::Unsupported,
                "SFTP without a host key",
            )),
        },
    }
}

/// Socket options of a control connection; one that can't be set is no harm.
fn prepare(socket: &Socket, stall_timeout: Duration) {
    if let Socket::Tcp(_) = socket {
        // One write a reply needs no waiting for more; with it every command
        // would wait 44 ms for Nagle.
        let _ = sockopt::set_tcp_nodelay(socket, true);
        // ABOR comes with urgent data; its mark must not eat a byte.
        let _ = sockopt::set_socket_oobinline(socket, true);
        // A client that vanished is noticed: during a long transfer, and when
        // it does not acknowledge what we have sent.
        let _ = sockopt::set_socket_keepalive(socket, true);
        let _ = sockopt::set_tcp_keepidle(socket, Duration::from_secs(120));
        let _ = sockopt::set_tcp_keepintvl(socket, Duration::from_secs(30));
        let patience = u32::try_from(stall_timeout.as_millis()).unwrap_or(u32::MAX);
        let _ = sockopt::set_tcp_user_timeout(socket, patience);
    }
}
