//! Which congestion control a connection uses (tcp(7), TCP_CONGESTION).
//!
//! Cubic, the default of nearly every system, takes each lost packet for a full
//! line: over 50 ms with 1 % loss it sends 0.3 MB/s where bbr sends 6.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_congestion;

use super::socket::Socket;

/// Use [`FOR_FAR`] for clients that are far away.
pub const AUTO: &str = "auto";
/// Leave it to the system.
pub const SYSTEM: &str = "system";
/// What suits clients that are far away.
const FOR_FAR: &str = "bbr";
/// Round trips that are longer leave the building.
const FAR: Duration = Duration::from_millis(5);

/// What the connections of a client use as `setting` says; `None`: what the
/// system does. Asked when the client has just connected: its round trip then
/// has no delayed acknowledgements in it.
pub fn choose<'a>(setting: &'a str, client: &Socket) -> Option<&'a str> {
    match setting {
        SYSTEM => None,
        AUTO => crate::sys::round_trip(client)
            .is_some_and(|time| time > FAR)
            .then_some(FOR_FAR),
        name => Some(name),
    }
}

/// Has a connection use an algorithm. Where it can't, which [`look`] has told,
/// the system's is good enough.
pub fn set(socket: &Socket, name: Option<&str>) {
    if let (Some(name), Socket::Tcp(socket)) = (name, socket) {
        let _ = set_tcp_congestion(socket, name);
    }
}

/// Tells the log, once, what `setting` names and can't be used.
pub fn look(setting: &str) {
    let (name, level) = match setting {
        SYSTEM => return,
        AUTO => (FOR_FAR, log::Level::Info),
        name => (name, log::Level::Warn),
    };
    let tried = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| set_tcp_congestion(socket, name).map_err(io::Error::from));
    let Err(error) = tried else { return };
    let cure = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM) => "allow it by net.ipv4.tcp_allowed_congestion_control, see sysctl(8)",
        Some(Errno::NOENT) => "the kernel does not have it, or must load its module first",
        _ => return,
    };
    log::log!(
        level,
        "tcp-congestion {setting}: {name} is not used: {cure}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn only_far_clients_get_another_algorithm() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let near = Socket::from(near);
        assert_eq!(choose(SYSTEM, &near), None);
        assert_eq!(choose("reno", &near), Some("reno"));
        let time = crate::sys::round_trip(&near).unwrap_or_default();
        assert_eq!(choose(AUTO, &near).is_some(), time > FAR);
        let Socket::Tcp(socket) = &near else { return };
        set(&near, Some("reno"));
        set(&near, Some("no such"));
        let name = rustix::net::sockopt::tcp_congestion(socket).unwrap();
        assert_eq!(name.trim_end_matches('\0'), "reno");
    }
}
