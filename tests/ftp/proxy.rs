//! Behind a balancer: PROXY headers on control and data connections, and
//! data ports that sessions share. The balancer is a test that writes the
//! header; tests/cluster has a real one.

use crate::common;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

use common::client::{Data, connect_from};
use common::{Builder, Client, TestServer, server};

/// The one in proxy-from; another that is in no list.
const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const CLIENT: &str = "192.0.2.7";

fn line(client: &str) -> String {
    format!("PROXY TCP4 {client} 192.0.2.1 40000 21\r\n")
}

/// Version 2 of the same.
fn binary(client: &str) -> Vec<u8> {
    let client: Ipv4Addr = client.parse().unwrap();
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client.octets());
    header.extend([192, 0, 2, 1, 0x9c, 0x40, 0, 21]);
    header
}

/// A connection that begins with some bytes.
fn connect(from: IpAddr, to: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = connect_from(from, to).unwrap();
    stream.write_all(header).unwrap();
    stream
}

/// `ann` through the balancer, with another address than it has.
fn through(server: &TestServer, client: &str) -> Client {
    let stream = connect(BALANCER, server.v4, &binary(client));
    let mut client = Client::over(stream, server.v4);
    client.wait_for(220);
    client.login("ann", "secret");
    client.expect("TYPE I", 200);
    client
}

fn behind() -> Builder {
    server().set("proxy-from", "127.0.0.2/32")
}

/// Whether the server closes a connection without a word.
fn is_refused(mut stream: TcpStream) -> bool {
    let timeout = Some(common::client::DEADLINE);
    stream.set_read_timeout(timeout).unwrap();
    matches!(stream.read(&mut [0]), Ok(0) | Err(_))
}

#[test]
fn attack_29_the_header_names_the_client_and_nobody_elses_is_believed() {
    let server = behind().start();
    let stream = connect(BALANCER, server.v4, line(CLIENT).as_bytes());
    let mut client = Client::over(stream, server.v4);
    client.wait_for(220);
    let peer = server.running().services().registry.all()[0].peer;
    assert_eq!(peer, SocketAddr::new(CLIENT.parse().unwrap(), 40_000));
    // What PASV tells is the address of the header, not that of the node.
    client.login("ann", "secret");
    let told = client.expect("PASV", 227);
    assert!(told.text().contains("(192,0,2,1,"), "{}", told.text());
    client.expect("QUIT", 221);
    // No header from the balancer: it is closed, and nothing is said.
    let plain = connect(BALANCER, server.v4, b"USER ann\r\nPASS secret\r\n");
    assert!(is_refused(plain));
    // One that says nothing is closed, too.
    assert!(is_refused(connect(BALANCER, server.v4, b"")));
    // From anybody else it is a line that is no command.
    let stream = connect(STRANGER, server.v4, line(CLIENT).as_bytes());
    let mut stranger = Client::over(stream, server.v4);
    stranger.wait_for(220);
    stranger.wait_for(500);
    let peer = server.running().services().registry.all()[0].peer;
    assert_eq!(peer.ip(), STRANGER);
}

#[test]
fn a_ban_and_a_limit_hit_the_client_and_not_the_balancer() {
    let server = behind()
        .set("ban-after", "2")
        .set("max-per-address", "1")
        .start();
    let _one = through(&server, CLIENT);
    let second = connect(BALANCER, server.v4, &binary(CLIENT));
    Client::over(second, server.v4).wait_for(421);
    let mut bad = Client::over(
        connect(BALANCER, server.v4, &binary("192.0.2.66")),
        server.v4,
    );
    bad.wait_for(220);
    for _ in 0..2 {
        bad.expect("USER ann", 331);
        bad.expect("PASS wrong", 530);
    }
    bad.expect("QUIT", 221);
    let again = connect(BALANCER, server.v4, &binary("192.0.2.66"));
    Client::over(again, server.v4).wait_for(421);
    through(&server, "192.0.2.8").expect("NOOP", 200);
}

#[test]
fn data_connections_are_checked_by_the_address_in_their_header() {
    let server = behind().start();
    server.file("f", b"for one client");
    let mut client = through(&server, CLIENT);
    for header in [line(CLIENT).into_bytes(), binary(CLIENT)] {
        let port = client.epsv();
        client.send("RETR f");
        // Another client of the same balancer, the balancer itself without a
        // header, and somebody who comes directly.
        for (from, wrong) in [
            (BALANCER, binary("192.0.2.8")),
            (BALANCER, line("192.0.2.8").into_bytes()),
            (BALANCER, b"\x16\x03\x01 no header at all".to_vec()),
            (STRANGER, binary(CLIENT)),
            (STRANGER, Vec::new()),
        ] {
            let stolen = connect(from, port, &wrong);
            assert!(is_refused(stolen), "{from} {wrong:?}");
        }
        let mut data = Data::from(connect(BALANCER, port, &header));
        client.wait_for(150);
        assert_eq!(data.rest(), b"for one client");
        client.wait_for(226);
    }
    // What follows the header belongs to the upload.
    let port = client.epsv();
    let mut both = binary(CLIENT);
    both.extend(b"first bytes");
    let data = connect(BALANCER, port, &both);
    client.expect("STOR g", 150);
    drop(data);
    client.wait_for(226);
    assert_eq!(server.content("g").as_deref(), Some(&b"first bytes"[..]));
    // A client that comes past the balancer is known by its own address.
    let mut direct = server.ann();
    assert_eq!(direct.fetch("RETR f"), b"for one client");
}

#[test]
fn without_headers_a_balancers_data_connection_in_the_clear_is_refused() {
    let server = behind().set("proxy-data", "tls").start();
    server.file("f", b"x");
    let mut client = through(&server, CLIENT);
    let port = client.epsv();
    client.send("RETR f");
    let data = connect(BALANCER, port, b"");
    client.wait_for(150);
    client.wait_for(425);
    assert!(is_refused(data));
    // Not its balancer: the server goes on waiting for the right one.
    let port = client.epsv();
    client.send("RETR f");
    assert!(is_refused(connect(STRANGER, port, b"")));
    drop(connect(BALANCER, port, b""));
    client.wait_for(150);
    client.wait_for(425);
    // Who says that everybody may, means it.
    let server = behind()
        .set("proxy-data", "tls")
        .set("data-peer-allow", "127.0.0.2")
        .start();
    server.file("f", b"x");
    let mut client = through(&server, CLIENT);
    let port = client.epsv();
    client.send("RETR f");
    let mut data = Data::from(connect(BALANCER, port, b""));
    client.wait_for(150);
    assert_eq!(data.rest(), b"x");
    client.wait_for(226);
}

/// A port that is free now, below those that the system gives out; another
/// one for each test.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 12_000 + (std::process::id() % 500) as u16 * 10;
    loop {
        let port = start + NEXT.fetch_add(1, SeqCst);
        assert!(port < 20_000, "no port is free");
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

fn sharing(settings: Builder, port: u16) -> Builder {
    settings
        .set("passive-ports", &format!("{port}-{port}"))
        .set("shared-data-ports", "yes")
}

#[test]
fn on_a_shared_port_the_header_tells_clients_apart() {
    let server = sharing(behind(), free_port()).start();
    server.file("f", b"content");
    let mut one = through(&server, CLIENT);
    let mut two = through(&server, "192.0.2.8");
    let (port, same) = (one.epsv(), two.epsv());
    assert_eq!(port, same);
    one.send("RETR f");
    two.send("STOR g");
    // A session of the same address can't wait there, too.
    through(&server, CLIENT).expect("EPSV", 425);
    assert!(is_refused(connect(BALANCER, port, &binary("192.0.2.9"))));
    assert!(is_refused(connect(BALANCER, port, b"no header")));
    let mut upload = Data::from(connect(BALANCER, port, &binary("192.0.2.8")));
    two.wait_for(150);
    let mut download = Data::from(connect(BALANCER, port, &binary(CLIENT)));
    one.wait_for(150);
    upload.send(b"of two");
    drop(upload);
    two.wait_for(226);
    assert_eq!(download.rest(), b"content");
    one.wait_for(226);
    assert_eq!(server.content("g").as_deref(), Some(&b"of two"[..]));
}

#[cfg(feature = "ftps")]
mod tls {
    use super::common::tls::{SecureClient, context, handshake, secure};
    use super::*;
    use openssl::ssl::{SslContext, SslOptions, SslVersion};

    /// Known by a ticket, or by a number where the client takes no tickets; and
    /// by the ticket of the newest version.
    fn contexts() -> [SslContext; 3] {
        let version = Some(SslVersion::TLS1_2);
        [
            context(|builder| builder.set_max_proto_version(version).unwrap()),
            context(|builder| {
                builder.set_max_proto_version(version).unwrap();
                builder.set_options(SslOptions::NO_TICKET);
            }),
            context(|_| {}),
        ]
    }

    fn through(server: &TestServer, context: SslContext) -> SecureClient {
        let stream = connect(BALANCER, server.v4, &binary(CLIENT));
        let mut client = Client::over(stream, server.v4);
        client.wait_for(220);
        client.expect("AUTH TLS", 234);
        SecureClient::take(client, context).ready()
    }

    #[test]
    fn without_headers_the_tls_session_shows_whose_a_data_connection_is() {
        let server = secure(behind().set("proxy-data", "tls").set("tls-reuse", "off"));
        server.file("f", b"content");
        for context in contexts() {
            let mut client = through(&server, context.clone());
            let thief = through(&server, context);
            let port = client.epsv();
            client.send("RETR f");
            let data = connect(BALANCER, port, b"");
            let mut data = client.protect(data).unwrap();
            client.wait_for(150);
            assert!(data.resumed());
            assert_eq!(data.rest(), b"content");
            client.wait_for(226);
            // A session of its own does not help a thief, nor does none.
            for session in [thief.session.as_ref(), None] {
                let port = client.epsv();
                client.send("RETR f");
                let data = connect(BALANCER, port, b"");
                let stolen = handshake(&client.context, data, session);
                if let Ok(mut stolen) = stolen {
                    let mut got = Vec::new();
                    let _ = stolen.read_to_end(&mut got);
                    assert_eq!(got, b"");
                }
                client.wait_for(150);
                client.wait_for(522);
            }
        }
    }

    #[test]
    fn on_a_shared_port_the_tls_session_tells_sessions_of_one_address_apart() {
        let server = secure(sharing(server(), free_port()));
        server.file("f", b"content");
        for context in contexts() {
            let mut one = SecureClient::explicit_with(server.v4, context.clone()).ready();
            let mut two = SecureClient::explicit_with(server.v4, context.clone()).ready();
            let port = one.epsv();
            assert_eq!(port, two.epsv());
            one.send("RETR f");
            two.send("STOR g");
            // In the clear, and with a session of nobody's.
            let mut plain = connect(one.server().ip(), port, b"");
            plain.write_all(b"plain\r\n").unwrap();
            assert!(is_refused(plain));
            let strange = connect(one.server().ip(), port, b"");
            assert!(handshake(&context, strange, None).is_err());
            // A session without TLS would make it impossible to tell.
            server.ann().expect("EPSV", 425);
            // In the other order than they waited; a client that waits for
            // its reply before its handshake gets it.
            let waiting = connect(one.server().ip(), port, b"");
            one.wait_for(150);
            two.wait_for(150);
            let mut upload = two.protect(connect(one.server().ip(), port, b"")).unwrap();
            assert!(upload.resumed());
            upload.send(b"of two");
            upload.finish();
            two.wait_for(226);
            let mut download = one.protect(waiting).unwrap();
            assert_eq!(download.rest(), b"content");
            one.wait_for(226);
            assert_eq!(server.content("g").as_deref(), Some(&b"of two"[..]));
        }
    }
}
