//! Ends of data connections: close_notify, cuts, slow readers.

use std::io::Read;
use std::time::{Duration, Instant};

use openssl::ssl::SslOptions;

use crate::common::TempDir;
use crate::common::server;
use crate::common::tls::{SecureClient, context, secure};

fn cut_upload(client: &mut SecureClient, line: &str) -> u16 {
    let data = client.data();
    client.send(line);
    let mut data = client.protect(data.0).unwrap();
    client.wait_for(150);
    data.send(b"the first half, ");
    data.cut();
    client.reply().code
}

#[test]
fn a_cut_upload_is_no_upload() {
    let directory = TempDir::new("cut");
    for atomic in ["yes", "no"] {
        let server = secure(
            server()
                .directory(directory.path())
                .set("atomic-uploads", atomic),
        );
        let mut client = server.ready();
        assert_eq!(
            cut_upload(&mut client, "STOR file"),
            426,
            "atomic: {atomic}"
        );
        if atomic == "yes" {
            assert_eq!(server.names("/"), [""; 0], "something is left");
        }
        // The session goes on, and the next upload is whole.
        let (reply, _) = client.store_secure("STOR file", b"all of it");
        assert_eq!(reply.code, 226);
        assert_eq!(server.content("file").unwrap(), b"all of it");
        // A cut upload does not harm the old file when uploads are atomic.
        assert_eq!(cut_upload(&mut client, "STOR file"), 426);
        if atomic == "yes" {
            assert_eq!(server.content("file").unwrap(), b"all of it");
        }
        client.expect("DELE file", 250);
    }
}

#[test]
fn a_reset_is_a_cut_too() {
    let server = secure(server().set("tls-relaxed-close", "yes"));
    let mut client = server.ready();
    let data = client.data();
    client.send("STOR file");
    let mut data = client.protect(data.0).unwrap();
    client.wait_for(150);
    data.send(b"half");
    let socket = data.0.get_ref().try_clone().unwrap();
    drop(data);
    crate::common::client::Data::from(socket).reset();
    client.wait_for(426);
}

#[test]
fn old_clients_can_be_allowed_to_cut() {
    let server = secure(
        server()
            .set("tls-relaxed-close", "yes")
            .set("atomic-uploads", "yes"),
    );
    let mut client = server.ready();
    assert_eq!(cut_upload(&mut client, "STOR file"), 226);
    assert_eq!(server.content("file").unwrap(), b"the first half, ");
}

#[test]
fn every_data_connection_ends_with_close_notify() {
    // `rest` and `finish` fail without it.
    let server = secure(server());
    server.file("empty", b"");
    server.file("large", &vec![7; 3 << 20]);
    let mut client = server.ready();
    for line in [
        "RETR empty",
        "RETR large",
        "LIST",
        "NLST",
        "MLSD",
        "LIST nothing*",
    ] {
        client.fetch_secure(line);
    }
    for (line, content) in [
        ("STOR new", vec![1; 1 << 20]),
        ("APPE new", Vec::new()),
        ("STOU", vec![2; 10]),
    ] {
        assert_eq!(client.store_secure(line, &content).0.code, 226);
    }
    client.expect("TYPE A", 200);
    client.fetch_secure("RETR large");
}

#[test]
fn a_slow_reader_gets_all_of_it_and_close_notify() {
    // While the socket is full of a client's data, close_notify waits, too.
    let server = secure(server());
    let content: Vec<u8> = (0..24u32 << 20).map(|at| (at >> 8) as u8).collect();
    server.file("large", &content);
    let mut client = server.ready();
    let data = client.data();
    client.send("RETR large");
    let mut data = client.protect(data.0).unwrap();
    client.wait_for(150);
    let mut got = vec![0; 4 << 20];
    data.0.read_exact(&mut got).unwrap();
    // Longer than any tick of the server's.
    std::thread::sleep(Duration::from_millis(1500));
    got.extend(data.rest());
    assert!(got == content, "the data has changed");
    client.wait_for(226);
}

#[test]
fn the_end_of_a_full_socket_is_waited_for() {
    // The whole file fits the sockets' buffers, close_notify does not.
    let server = secure(server());
    let mut client = server.ready();
    for size in [2 << 20, 3 << 20, 5 << 20] {
        server.file("file", &vec![1; size]);
        let data = client.data();
        client.send("RETR file");
        let mut data = client.protect(data.0).unwrap();
        client.wait_for(150);
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!(data.rest().len(), size);
        client.wait_for(226);
    }
}

#[test]
fn the_control_connection_ends_with_close_notify() {
    let server = secure(server());
    let mut client = server.explicit();
    client.expect("QUIT", 221);
    // With SSL_OP_IGNORE_UNEXPECTED_EOF off, a bare end would be an error.
    assert!(!client.stream.ssl().version_str().is_empty());
    client.closed();
    let ended = client
        .stream
        .get_shutdown()
        .contains(openssl::ssl::ShutdownState::RECEIVED);
    assert!(ended, "no close_notify came");
}

#[test]
fn an_upload_is_whole_though_its_client_never_reads() {
    // Perl, suppaftp, rclone: write, close_notify, close. Unread tickets of
    // TLS 1.3 would turn the close into a reset.
    let server = secure(server());
    let content = vec![3; 300_000];
    let mut client = server.ready();
    for number in 0..20 {
        let data = client.data();
        client.send(&format!("STOR {number}"));
        let mut data = client.protect(data.0).unwrap();
        client.wait_for(150);
        data.send(&content);
        data.0.shutdown().unwrap();
        drop(data);
        client.wait_for(226);
        let path = number.to_string();
        assert!(server.content(&path).unwrap() == content, "{path}");
    }
}

#[test]
fn old_ciphers_without_tickets_end_well_too() {
    // Session-ID clients lose their session when close_notify is missing.
    let server = secure(server().set("tls-reuse", "require"));
    server.file("file", b"content");
    let rules = context(|builder| {
        builder.set_options(SslOptions::NO_TICKET);
        builder
            .set_max_proto_version(Some(openssl::ssl::SslVersion::TLS1_2))
            .unwrap();
    });
    let mut client = SecureClient::explicit_with(server.v4, rules).ready();
    let start = Instant::now();
    for _ in 0..20 {
        let (content, resumed) = client.fetch_secure("RETR file");
        assert_eq!(content, b"content");
        assert!(resumed);
        assert!(client.store_secure("STOR new", b"new").1);
    }
    assert!(start.elapsed() < Duration::from_secs(20));
}
