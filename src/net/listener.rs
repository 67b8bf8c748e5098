//! Bound ports, and the thread that accepts on each.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::socket::{Interest, wait};
use crate::config::Endpoint;
use crate::error::{Error, ErrorKind, Result};

/// Connections that may wait to be accepted: a flood is refused by us, with a
/// word, and not by the kernel.
const BACKLOG: i32 = 1024;
/// Wait after an error of accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds an endpoint. A port without address is one dual-stack socket, or
/// IPv4 alone on machines without IPv6. An address that this machine does not
/// have yet (DHCP, VPN, VRRP) is bound all the same, and served as soon as it
/// is there.
///
/// # Errors
/// What binding said, with what to do.
pub fn bind(endpoint: &Endpoint) -> Result<TcpListener> {
    let explain = |error: io::Error| {
        let hint = match error.raw_os_error() {
            Some(libc::EACCES) => {
                ": ports below 1024 need root or CAP_NET_BIND_SERVICE; try --listen 2121"
            }
            Some(libc::EADDRINUSE) => ": another program listens there",
            Some(libc::EADDRNOTAVAIL) => ": this machine has no such address",
            _ => "",
        };
        let kind = Error::from(io::Error::from(error.kind())).kind();
        Error::with_source(kind, format!("listening on {endpoint}{hint}"), error)
    };
    let addresses = endpoint.resolve().map_err(|error| {
        Error::with_source(
            // The resolver may answer another time.
            ErrorKind::Busy,
            format!(
                "listening on {endpoint}: the name does not resolve; an address needs no resolver"
            ),
            error,
        )
    })?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        let bound = match bind_address(address, Absent::Refuse) {
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {
                bind_address(address, Absent::Await).inspect(|_| {
                    log::warn!(
                        "listening on {endpoint}: this machine has no such address yet; \
                         connections are served as soon as it has"
                    );
                })
            }
            bound => bound,
        };
        match bound {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(explain(last))
}

/// What is done about an address that this machine does not have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    Refuse,
    Await,
}

fn bind_address(address: SocketAddr, absent: Absent) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if let SocketAddr::V6(address) = address {
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    if absent == Absent::Await {
        match address {
            SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
            SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
        }
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Makes [`accept_all`] end. Shutting the socket down would do, too, but a
/// socket that systemd has lent us is dead for our successor then.
pub struct Stop(OwnedFd);

impl Stop {
    /// One for one listener.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Stop(rustix::event::eventfd(0, flags)?))
    }

    /// Ends accepting, now or as soon as it begins.
    pub fn stop(&self) {
        // Only a counter that is full already can't be counted up.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

/// Descriptors that sessions are left with when no more connections are taken.
const RESERVE: u64 = 32;
/// An error of accepting is logged again after so long.
const SILENCE: Duration = Duration::from_secs(60);

/// Whether so few descriptors are left that those who are inside need them.
fn table_is_full(stop: &Stop) -> bool {
    use std::os::fd::AsRawFd;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = limit.current.unwrap_or(u64::MAX);
    // The kernel gives the lowest number that is free.
    match rustix::io::fcntl_dupfd_cloexec(&stop.0, 0) {
        Ok(lowest) => lowest.as_raw_fd() as u64 >= most - RESERVE.min(most / 4),
        Err(_) => true,
    }
}

/// Says why no connection is taken, once in a while for all ports together.
fn complain(why: &dyn std::fmt::Display) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = crate::sync::unpoisoned(LAST.lock());
    if last.is_none_or(|last| last.elapsed() >= SILENCE) {
        *last = Some(Instant::now());
        log::error!("accepting connections: {why}");
    }
}

/// Accepts until `stop` ends it. An error never does: it is logged once in a
/// while, and the next try comes after a pause. Clients wait in the kernel while
/// descriptors are short, and those who are inside go on.
pub fn accept_all(
    listener: &TcpListener,
    stop: &Stop,
    mut take: impl FnMut(TcpStream, SocketAddr),
) {
    // So that a connection that went before we came to it does not hold us.
    let _ = listener.set_nonblocking(true);
    loop {
        let sockets = [
            (listener.as_fd(), Interest::Read),
            (stop.0.as_fd(), Interest::Read),
        ];
        if let Ok([_, true]) = wait(sockets, None) {
            return;
        }
        if table_is_full(stop) {
            complain(&"too many open files; those who are connected are served");
            std::thread::sleep(PAUSE);
            continue;
        }
        match listener.accept() {
            Ok((stream, peer)) => take(stream, peer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                complain(&error);
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Errors that accept(2) passes on from a connection that is gone already.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
        )
    )
}
