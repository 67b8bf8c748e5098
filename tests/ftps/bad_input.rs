//! What is no TLS, or no TLS that anybody should speak: a clean end of that
//! session, and the server goes on.

use std::io::{Read, Write};

use openssl::ssl::SslVersion;

use super::stalls::client_hello;
use crate::common::client::DEADLINE;
use crate::common::rng::Rng;
use crate::common::tls::{NEWEST, SecureClient, SecureServer, context, handshake, secure};
use crate::common::{Client, server};

/// Everything until the server closes; a reset counts as closed.
fn until_closed(client: Client) -> Vec<u8> {
    let (mut stream, mut got) = (client.stream, Vec::new());
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    if let Err(error) = stream.read_to_end(&mut got) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    got
}

#[track_caller]
fn goes_on(server: &SecureServer) {
    server.until("the session ends", |server| server.sessions() == 0);
    let mut client = server.ready();
    client.expect("NOOP", 200);
    client.expect("QUIT", 221);
    client.closed();
    drop(client);
    server.until("the session ends", |server| server.sessions() == 0);
}

#[test]
fn what_is_no_handshake_ends_the_session() {
    let server = secure(server());
    let hello = client_hello();
    let mut broken = hello.clone();
    broken[20..60].fill(0xff);
    let mut alert_first = vec![21, 3, 3, 0, 2, 2, 40];
    alert_first.extend_from_slice(&hello);
    let cases: [(&str, &[u8]); 9] = [
        ("plain text", b"USER ann\r\nPASS secret\r\n"),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: ftp.test\r\n\r\n"),
        ("zeros", &[0; 400]),
        ("SSL 2", b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10"),
        ("an empty record", &[22, 3, 3, 0, 0]),
        ("a record that is too long", &[22, 3, 3, 0xff, 0xff, 1]),
        ("data before a handshake", &[23, 3, 3, 0, 1, 0]),
        ("an alert first", &alert_first),
        ("a hello with nonsense", &broken),
    ];
    for (what, bytes) in cases {
        let mut implicit = Client::connect(server.implicit);
        implicit.raw(bytes);
        // Half-closed, so that a server waiting for more sees the end.
        let _ = implicit.stream.shutdown(std::net::Shutdown::Write);
        let answer = until_closed(implicit);
        assert!(!answer.starts_with(b"220"), "{what}: {answer:?}");
        let mut explicit = server.connect();
        explicit.expect("AUTH TLS", 234);
        explicit.raw(bytes);
        let _ = explicit.stream.shutdown(std::net::Shutdown::Write);
        until_closed(explicit);
        goes_on(&server);
    }
}

#[test]
fn a_hello_on_the_plain_port_is_refused_in_words() {
    let server = secure(server());
    let mut client = server.connect();
    client.raw(&client_hello());
    let mut stream = client.stream;
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    // Nothing of TLS; FTP's words at the most, never endless ones.
    assert!(answer.len() < 2000, "{} bytes", answer.len());
    assert!(!answer.contains(&0x16) || answer.is_ascii());
    goes_on(&server);
}

#[test]
fn garbage_under_tls_ends_the_session() {
    let server = secure(server());
    server.file("file", &vec![1; 1 << 20]);
    let mut random = Rng::new();
    for _ in 0..30 {
        let mut client = server.ready();
        let mut record = vec![random.below(30) as u8, 3, 3, 0, 64];
        record.extend((0..64).map(|_| random.below(256) as u8));
        // On a data connection: a broken transfer, and the session goes on.
        let data = client.data();
        client.send("STOR new");
        let mut data = client.protect(data.0).unwrap();
        client.wait_for(150);
        data.0.get_mut().write_all(&record).unwrap();
        client.wait_for(426);
        client.expect("NOOP", 200);
        // On the control connection: its end.
        client.stream.get_mut().write_all(&record).unwrap();
        let mut rest = Vec::new();
        let _ = client.stream.get_mut().read_to_end(&mut rest);
        drop(client);
        server.until("the session ends", |server| server.sessions() == 0);
    }
    goes_on(&server);
}

#[test]
fn renegotiation_is_refused() {
    let server = secure(server());
    let rules = context(|builder| {
        builder
            .set_max_proto_version(Some(SslVersion::TLS1_2))
            .unwrap();
    });
    // A second ClientHello under TLS looks like this to whoever reads records.
    let mut client = SecureClient::explicit_with(server.v4, rules.clone());
    client
        .stream
        .get_mut()
        .write_all(&[22, 3, 3, 0, 32])
        .unwrap();
    client.stream.get_mut().write_all(&[9; 32]).unwrap();
    let mut rest = Vec::new();
    let _ = client.stream.get_mut().read_to_end(&mut rest);
    drop(client);
    goes_on(&server);
    // And on a data connection.
    let mut client = SecureClient::explicit_with(server.v4, rules).ready();
    let data = client.data();
    client.send("STOR new");
    let mut data = client.protect(data.0).unwrap();
    client.wait_for(150);
    data.0.get_mut().write_all(&[22, 3, 3, 0, 32]).unwrap();
    data.0.get_mut().write_all(&[9; 32]).unwrap();
    client.wait_for(426);
    client.expect("NOOP", 200);
    drop(client);
    goes_on(&server);
}

#[test]
fn versions_are_1_2_and_what_the_build_has() {
    let server = secure(server());
    for (version, wanted) in [
        (SslVersion::TLS1, None),
        (SslVersion::TLS1_1, None),
        (SslVersion::TLS1_2, Some("TLSv1.2")),
        (
            SslVersion::TLS1_3,
            (NEWEST == SslVersion::TLS1_3).then_some("TLSv1.3"),
        ),
    ] {
        let rules = context(|builder| {
            // What this machine's OpenSSL refuses by itself is no test.
            builder.set_security_level(0);
            builder.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
            builder.set_min_proto_version(Some(version)).unwrap();
            builder.set_max_proto_version(Some(version)).unwrap();
        });
        let mut client = server.connect();
        client.expect("AUTH TLS", 234);
        let outcome = handshake(&rules, client.stream, None);
        let got = outcome
            .as_ref()
            .ok()
            .map(|stream| stream.ssl().version_str());
        assert_eq!(got, wanted, "{version:?}: {:?}", outcome.as_ref().err());
        if let Err(error) = &outcome {
            assert!(error.contains("alert"), "{version:?}: {error}");
        }
    }
    goes_on(&server);
}

#[test]
fn plain_text_on_a_protected_data_connection_is_522() {
    let server = secure(server());
    server.file("file", b"content");
    let mut client = server.ready();
    let mut data = client.data();
    client.expect("STOR new", 150);
    data.send(b"in the clear");
    client.wait_for(522);
    assert_eq!(server.content("new").unwrap_or_default(), b"");
    // The same before the command: the refusal waits for it.
    let mut data = client.data();
    data.send(b"in the clear");
    let mut rest = Vec::new();
    let _ = data.0.read_to_end(&mut rest);
    client.expect("RETR file", 522);
    // A client that forgot PROT P on its side and just waits for data, and
    // goes away.
    let data = client.data();
    client.expect("RETR file", 150);
    drop(data);
    client.wait_for(522);
    assert_eq!(client.fetch_secure("RETR file").0, b"content");
}
