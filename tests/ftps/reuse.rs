//! Resumed sessions on data connections: whose they are, and that they are.

use std::sync::{Arc, Mutex};

use openssl::ssl::{SslSession, SslSessionCacheMode, SslVersion};

use crate::common::server;
use crate::common::tls::{NEWEST, SecureClient, context, secure};

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
fn a_thief_with_a_valid_session_of_its_own_is_refused() {
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
        client.session = match tls13 {
            true => newest.lock().unwrap().take(),
            false => newest.lock().unwrap().clone(),
        };
        assert!(client.session.is_some(), "file {number}: no ticket came");
        let resumed = match number % 4 {
            0 | 1 => client.store_secure("STOR new", b"content").1,
            _ => client.fetch_secure("RETR file").1,
        };
        assert!(resumed, "file {number}");
    }
}
