//! Resumed sessions on data connections: whose they are, and that they are.

use std::sync::{Arc, Mutex};

use openssl::ssl::{ShutdownState, SslOptions, SslSession, SslSessionCacheMode, SslVersion};

use crate::common::server;
use crate::common::tls::{NEWEST, SecureClient, SecureData, context, secure};

/// The versions that this build speaks.
fn versions() -> Vec<SslVersion> {
    let mut versions = vec![SslVersion::TLS1_2];
    if NEWEST == SslVersion::TLS1_3 {
        versions.push(NEWEST);
    }
    versions
}

fn of_version(version: SslVersion) -> openssl::ssl::SslContext {
    context(|builder| builder.set_max_proto_version(Some(version)).unwrap())
}

#[test]
fn attack_06_a_thief_with_a_valid_session_of_its_own_is_refused() {
    let server = secure(server().set("tls-reuse", "require"));
    server.file("secret", b"for ann's eyes");
    for version in versions() {
        let mut ann = SecureClient::explicit_with(server.v4, of_version(version)).ready();
        // Same address, same server, a login of its own, a ticket that works.
        let mut thief = SecureClient::explicit_with(server.v4, of_version(version)).ready();
        let (content, resumed) = thief.fetch_secure("RETR secret");
        assert!(resumed && content == b"for ann's eyes");
        for line in ["RETR secret", "STOR planted"] {
            let port = ann.epsv();
            ann.send(line);
            let stolen = std::net::TcpStream::connect(port).unwrap();
            match thief.protect(stolen) {
                Err(_) => {}
                Ok(mut stolen) => {
                    assert!(!stolen.resumed(), "{version:?}: a stranger's ticket");
                    let mut got = Vec::new();
                    let _ = std::io::Read::read_to_end(&mut stolen.0, &mut got);
                    assert_eq!(got, b"", "{version:?}");
                }
            }
            ann.wait_for(150);
            ann.wait_for(522);
        }
        assert_eq!(server.content("planted").unwrap_or_default(), b"");
        // A thief that comes before the command gets no further.
        let port = ann.epsv();
        let stolen = std::net::TcpStream::connect(port).unwrap();
        let _ = thief.protect(stolen);
        let mut reply = ann.cmd("RETR secret");
        if reply.code == 150 {
            // The end of a handshake of TLS 1.3 may come after the command.
            reply = ann.reply();
        }
        assert_eq!(reply.code, 522, "{version:?}");
        // And ann goes on.
        let (content, resumed) = ann.fetch_secure("RETR secret");
        assert!(resumed && content == b"for ann's eyes");
    }
}

#[test]
fn each_setting_means_what_it_says() {
    for (setting, served) in [("off", true), ("prefer", true), ("require", false)] {
        let server = secure(server().set("tls-reuse", setting));
        server.file("file", b"content");
        let mut client = server.ready();
        assert!(client.fetch_secure("RETR file").1, "{setting}");
        // A client that offers nothing.
        client.session = None;
        if served {
            assert_eq!(client.fetch_secure("RETR file").0, b"content");
            continue;
        }
        let data = client.data();
        client.send("RETR file");
        let _ = client.protect(data.0);
        client.wait_for(150);
        client.wait_for(522);
    }
}

#[test]
fn a_thousand_files_resume() {
    let server = secure(server().set("tls-reuse", "require"));
    server.file("file", &vec![9; 4096]);
    for version in versions() {
        let mut client = SecureClient::explicit_with(server.v4, of_version(version)).ready();
        for number in 0..1000 {
            let resumed = match number % 3 {
                0 => client.store_secure("STOR new", b"content").1,
                _ => client.fetch_secure("RETR file").1,
            };
            assert!(resumed, "{version:?}: file {number}");
        }
    }
}

#[test]
fn clients_that_use_a_ticket_once_resume_too() {
    // curl: the newest session that any connection was given, never twice.
    let server = secure(server().set("tls-reuse", "require"));
    server.file("file", b"content");
    let newest: Arc<Mutex<Option<SslSession>>> = Arc::default();
    let given = Arc::clone(&newest);
    let rules = context(|builder| {
        builder
            .set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
        builder.set_new_session_callback(move |_, session| {
            *given.lock().unwrap() = Some(session);
        });
    });
    let mut client = SecureClient::explicit_with(server.v4, rules).ready();
    let tls13 = NEWEST == SslVersion::TLS1_3;
    for number in 0..30 {
        client.session = if tls13 {
            newest.lock().unwrap().take()
        } else {
            newest.lock().unwrap().clone()
        };
        assert!(client.session.is_some(), "file {number}: no ticket came");
        let resumed = match number % 4 {
            0 | 1 => client.store_secure("STOR new", b"content").1,
            _ => client.fetch_secure("RETR file").1,
        };
        assert!(resumed, "file {number}");
    }
}

/// A transfer that has begun on a resumed data connection.
#[track_caller]
fn begin(client: &mut SecureClient, line: &str) -> SecureData {
    let data = client.data();
    client.send(line);
    let mut data = client.protect(data.0).unwrap();
    client.wait_for(150);
    assert!(data.resumed(), "{line}");
    // However it ends, this client keeps its session.
    data.0
        .set_shutdown(ShutdownState::SENT | ShutdownState::RECEIVED);
    data
}

#[test]
fn broken_transfers_do_not_cost_the_session() {
    // OpenSSL forgets the session of a connection that ends without
    // close_notify, and a client without tickets could never resume it again.
    let server = secure(server().set("tls-reuse", "require"));
    server.file("file", b"content");
    server.file("large", &vec![7; 32 << 20]);
    let mut clients: Vec<_> = versions().into_iter().map(of_version).collect();
    clients.push(context(|builder| {
        builder.set_options(SslOptions::NO_TICKET);
        builder
            .set_max_proto_version(Some(SslVersion::TLS1_2))
            .unwrap();
    }));
    for rules in clients {
        let mut client = SecureClient::explicit_with(server.v4, rules).ready();
        for line in ["RETR large", "STOR new"] {
            let data = begin(&mut client, line);
            client.send("ABOR");
            client.wait_for(426);
            client.wait_for(226);
            drop(data);
            // The client closes in the middle of it.
            drop(begin(&mut client, line));
            client.wait_for(426);
        }
        for line in ["RETR large", "STOR new"] {
            begin(&mut client, line)
                .0
                .get_ref()
                .shutdown(std::net::Shutdown::Both)
                .unwrap();
            client.wait_for(426);
        }
        let (content, resumed) = client.fetch_secure("RETR file");
        assert!(resumed && content == b"content");
        assert!(client.store_secure("STOR new", b"new").1);
    }
}
