//! `--inetd`: one connection on descriptor 0, as inetd, xinetd, tcpserver,
//! tcpsvd and systemd (`Accept=yes`) hand it over.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};
use wharf::Protocol;
use wharf::daemon::IdentityScope;
use wharf::daemon::Settings;
use wharf::daemon::os::{Inherited, SignalSet};
use wharf::events::Events;

use super::failure::{Failure, is_guarded, silence};
use super::hooks::Hooks;
use super::landlock::Programs;
use super::{assemble, identity, landlock, logging};

/// Serves the connection on descriptor 0.
pub fn run(settings: Settings) -> i32 {
    match standard_input() {
        Ok(socket) => run_on(socket, settings),
        Err(failure) => failure.tell(),
    }
}

/// Serves a connection; the exit code.
pub fn run_on(socket: OwnedFd, mut settings: Settings) -> i32 {
    // The connection stands for us; a word to the client is the protocol's.
    let last_word = socket.try_clone();
    match prepare_and_serve(socket, &mut settings) {
        Ok(()) => 0,
        Err(failure) => {
            if let Ok(socket) = last_word {
                let words = b"421 Service not available now; please try again later.\r\n";
                let _ = TcpStream::from(socket).write_all(words);
            }
            failure.tell()
        }
    }
}

fn prepare_and_serve(socket: OwnedFd, settings: &mut Settings) -> Result<(), Failure> {
    if is_guarded() && settings.log_file.is_none() && !settings.syslog {
        settings.syslog = logging::has_syslog();
    }
    let logs = logging::start(settings).map_err(Failure::usage)?;
    // "Everybody called wharfd, read your settings again" is not meant for
    // one that serves one client; and by default it would end it.
    let _hup = SignalSet::block(&[libc::SIGHUP]);
    let peer = peer(&socket)?;
    let mut server = assemble::server(settings, &assemble::Sources::default())?
        .0
        .with_identity_scope(IdentityScope::Process);
    identity::settle_for_one(settings)?;
    let hooks = Hooks::new(settings, None);
    if let Some(hooks) = &hooks {
        hooks.start().map_err(Failure::temporary)?;
        server = server.with_events(Arc::clone(hooks) as Arc<dyn Events>);
    }
    landlock::refuse_system_calls(settings, Programs::Here)?;
    // Nothing of the connection stays on the standard descriptors.
    silence(|null| {
        rustix::stdio::dup2_stdin(null)?;
        rustix::stdio::dup2_stdout(null)
    })
    .map_err(Failure::temporary)?;
    logs.start_thread();
    let unix = sockopt::socket_domain(&socket).map_err(Failure::temporary)? == AddressFamily::UNIX;
    let served = if unix {
        server.serve(UnixStream::from(socket), peer, Protocol::Ftp)
    } else {
        server.serve(TcpStream::from(socket), peer, Protocol::Ftp)
    };
    if let Some(hooks) = hooks {
        hooks.finish();
    }
    logs.finish();
    served.map_err(Failure::usage)
}

fn standard_input() -> Result<OwnedFd, Failure> {
    let hint = "inetd mode is for programs that accept connections, such as inetd, \
                tcpserver or systemd; without --inetd wharfd accepts them itself";
    let socket = Inherited::duplicate(0)
        .map_err(|_| Failure::usage(format!("standard input is closed; {hint}")))?;
    match sockopt::socket_type(&socket) {
        Ok(SocketType::STREAM) => {}
        _ => {
            return Err(Failure::usage(format!(
                "standard input is no connection; {hint}"
            )));
        }
    }
    if sockopt::socket_acceptconn(&socket).unwrap_or(false) {
        return Err(Failure::usage(
            "standard input is a port and no connection; say 'nowait' in inetd.conf, \
             'wait = no' for xinetd, Accept=yes for systemd",
        ));
    }
    Ok(socket)
}

/// The client's address: from the connection itself, or, where a proxy stands
/// between, as the launcher tells it.
fn peer(socket: &OwnedFd) -> Result<SocketAddr, Failure> {
    match rustix::net::getpeername(socket) {
        Ok(Some(address)) => {
            if let Ok(address) = SocketAddr::try_from(address) {
                return Ok(address);
            }
        }
        Ok(None) => {}
        Err(Errno::NOTCONN) => {
            return Err(Failure::temporary("the client has gone already"));
        }
        Err(errno) => return Err(Failure::temporary(format!("the connection: {errno}"))),
    }
    Ok(told(|name| std::env::var(name).ok()))
}

/// As ucspi-tcp and its kin tell it, then as systemd does.
fn told(variable: impl Fn(&str) -> Option<String>) -> SocketAddr {
    let either = |one, two| variable(one).or_else(|| variable(two));
    let address = either("TCPREMOTEIP", "REMOTE_ADDR").and_then(|text| {
        let text = text.trim_start_matches('[').trim_end_matches(']');
        text.parse().ok()
    });
    let port = either("TCPREMOTEPORT", "REMOTE_PORT").and_then(|text| text.parse().ok());
    SocketAddr::new(
        address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port.unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_tell_the_address() {
        for (variables, want) in [
            (&[][..], "127.0.0.1:0"),
            (
                &[("TCPREMOTEIP", "192.0.2.1"), ("TCPREMOTEPORT", "5")],
                "192.0.2.1:5",
            ),
            (&[("TCPREMOTEIP", "2001:db8::1")], "[2001:db8::1]:0"),
            (
                &[("REMOTE_ADDR", "192.0.2.2"), ("REMOTE_PORT", "6")],
                "192.0.2.2:6",
            ),
            (&[("TCPREMOTEIP", "rubbish")], "127.0.0.1:0"),
        ] {
            let find = |name: &str| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(told(find).to_string(), want);
        }
    }
}
