//! The PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt): a
//! balancer says in front of the client's bytes who the client is.
//!
//! Believed only from addresses in `proxy-from`; from anybody else the header
//! is just bytes that are no command (wharf-security(7), attack 29).

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::socket::{Interest, Socket, wait};
use crate::error::{Error, ErrorKind, Result};

/// How long the header may take: it is the balancer's first packet.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// What every header of version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line of version 1, with its end.
const LINE_MAX: usize = 107;
/// Longest rest of version 2 that is read: addresses of UNIX sockets, and
/// extensions, which are skipped.
const REST_MAX: usize = 4096;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// The client.
    pub client: SocketAddr,
    /// What the client has connected to: an address of the balancer.
    pub target: SocketAddr,
}

/// Reads the header and not a byte more. `None`: the balancer speaks for
/// itself (a health check), so the socket's own address is the client's.
///
/// # Errors
/// [`ErrorKind::Protocol`] for anything but a header, [`ErrorKind::Timeout`],
/// [`ErrorKind::Disconnected`].
pub fn read(socket: &Socket, until: Instant) -> Result<Option<Named>> {
    let mut start = [0; 12];
    fill(socket, &mut start, until)?;
    if start == SIGNATURE {
        return version_2(socket, until);
    }
    if !start.starts_with(b"PROXY ") {
        return wrong("no PROXY header");
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\n") {
        if line.len() >= LINE_MAX {
            return wrong("a PROXY line that does not end");
        }
        let mut byte = [0];
        fill(socket, &mut byte, until)?;
        line.push(byte[0]);
    }
    parse_line(&line)
}

fn wrong<T>(what: &'static str) -> Result<T> {
    Err(Error::new(ErrorKind::Protocol, what))
}

fn fill(socket: &Socket, mut buffer: &mut [u8], until: Instant) -> Result<()> {
    let mut socket_ref = socket;
    while !buffer.is_empty() {
        let [ready] = wait([(socket.as_fd(), Interest::Read)], Some(until))?;
        if !ready {
            return Err(Error::new(
                ErrorKind::Timeout,
                "waiting for the PROXY header",
            ));
        }
        match socket_ref.read(buffer)? {
            0 => return Err(Error::new(ErrorKind::Disconnected, "no PROXY header")),
            length => buffer = &mut buffer[length..],
        }
    }
    Ok(())
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 21\r\n`
fn parse_line(line: &[u8]) -> Result<Option<Named>> {
    let Some(text) = line
        .strip_suffix(b"\r\n")
        .and_then(|line| std::str::from_utf8(line).ok())
    else {
        return wrong("a PROXY line that is no line");
    };
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        [
            "PROXY",
            family @ ("TCP4" | "TCP6"),
            source,
            target,
            source_port,
            target_port,
        ] => {
            let address = |text: &str| {
                text.parse::<IpAddr>()
                    .ok()
                    .filter(|ip| ip.is_ipv4() == (family == "TCP4"))
            };
            let port = |text: &str| {
                let digits = text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
                digits.then(|| text.parse::<u16>().ok()).flatten()
            };
            match (
                address(source),
                address(target),
                port(source_port),
                port(target_port),
            ) {
                (Some(client), Some(target), Some(client_port), Some(target_port)) => {
                    Ok(Some(Named {
                        client: (client, client_port).into(),
                        target: (target, target_port).into(),
                    }))
                }
                _ => wrong("a PROXY line with a wrong address"),
            }
        }
        _ => wrong("a PROXY line of another form"),
    }
}

fn version_2(socket: &Socket, until: Instant) -> Result<Option<Named>> {
    let mut head = [0; 4];
    fill(socket, &mut head, until)?;
    let [version_and_command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if version_and_command >> 4 != 2 || length > REST_MAX {
        return wrong("a PROXY header of another version or size");
    }
    let mut rest = vec![0; length];
    fill(socket, &mut rest, until)?;
    parse_version_2(version_and_command & 15, family, &rest)
}

fn parse_version_2(command: u8, family: u8, rest: &[u8]) -> Result<Option<Named>> {
    match (command, family) {
        (0, _) => Ok(None),
        // AF_INET and AF_INET6, each with SOCK_STREAM.
        (1, 0x11) => match rest.first_chunk::<12>() {
            Some(&[a, b, c, d, e, f, g, h, high, low, target_high, target_low]) => {
                let port = u16::from_be_bytes([high, low]);
                let target_port = u16::from_be_bytes([target_high, target_low]);
                Ok(Some(Named {
                    client: (Ipv4Addr::new(a, b, c, d), port).into(),
                    target: (Ipv4Addr::new(e, f, g, h), target_port).into(),
                }))
            }
            None => wrong("a PROXY header that is too short"),
        },
        (1, 0x21) => {
            let address = |at: usize| rest.get(at..)?.first_chunk::<16>().copied();
            let port = |at: usize| rest.get(at..)?.first_chunk::<2>().copied();
            match (address(0), address(16), port(32), port(34)) {
                (Some(client), Some(target), Some(client_port), Some(target_port)) => {
                    let side =
                        |address, port| (Ipv6Addr::from(address), u16::from_be_bytes(port)).into();
                    Ok(Some(Named {
                        client: side(client, client_port),
                        target: side(target, target_port),
                    }))
                }
                _ => wrong("a PROXY header that is too short"),
            }
        }
        // UNSPEC: use the connection's own.
        (1, 0x00) => Ok(None),
        _ => wrong("a PROXY header for something other than TCP"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn header(bytes: &[u8]) -> (Result<Option<Named>>, Vec<u8>) {
        let (mut balancer, server) = UnixStream::pair().unwrap();
        balancer.write_all(bytes).unwrap();
        drop(balancer);
        let socket = Socket::from(server);
        let outcome = read(&socket, Instant::now() + Duration::from_secs(5));
        let mut rest = Vec::new();
        (&socket).read_to_end(&mut rest).unwrap();
        (outcome, rest)
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [
            &SIGNATURE[..],
            &[0x20 | command, family],
            &length,
            rest,
            b"USER x\r\n",
        ]
        .concat()
    }

    #[test]
    fn headers_are_read_and_nothing_behind_them() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 0, 21];
        let mut v6 = vec![0; 36];
        v6[15] = 1;
        (v6[31], v6[33], v6[35]) = (2, 99, 21);
        for (bytes, want) in [
            (
                b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 21\r\nUSER x\r\n".to_vec(),
                Some("192.0.2.1:56324 192.0.2.2:21"),
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 5 21\r\nUSER x\r\n".to_vec(),
                Some("[2001:db8::1]:5 [::1]:21"),
            ),
            (b"PROXY UNKNOWN\r\nUSER x\r\n".to_vec(), None),
            (version_2(1, 0x11, &v4), Some("192.0.2.1:4660 192.0.2.2:21")),
            (version_2(1, 0x21, &v6), Some("[::1]:99 [::2]:21")),
            (
                version_2(1, 0x11, &[&v4[..], &[4, 0, 1, 0]].concat()),
                Some("192.0.2.1:4660 192.0.2.2:21"),
            ),
            (version_2(0, 0, b""), None),
        ] {
            let (outcome, rest) = header(&bytes);
            assert_eq!(
                outcome
                    .unwrap()
                    .map(|named| format!("{} {}", named.client, named.target))
                    .as_deref(),
                want,
                "{bytes:?}"
            );
            assert_eq!(rest, b"USER x\r\n");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for bytes in [
            b"USER anonymous\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 1 1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 99999 21\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 21\n".to_vec(),
            [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat(),
            version_2(1, 0x11, b"short"),
            version_2(2, 0x11, &[0; 12]),
            version_2(1, 0x12, &[0; 12]),
            version_2(1, 0x11, &[0; 5000]),
            b"PROXY".to_vec(),
            Vec::new(),
        ] {
            assert!(header(&bytes).0.is_err(), "{bytes:?}");
        }
    }
}
