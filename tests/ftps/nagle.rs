//! Clients that leave Nagle's algorithm on: what they write twice in a row must
//! not wait for an acknowledgement that the server's kernel puts off.

use std::time::{Duration, Instant};

use openssl::ssl::SslVersion;

use crate::common::client::Client;
use crate::common::server;
use crate::common::tls::{NEWEST, SecureClient, context, secure};

/// The kernel puts an acknowledgement off by 40 ms.
const STALL: Duration = Duration::from_millis(38);
const TRIES: usize = 20;

/// The same by a client that leaves Nagle's algorithm on, and by one that turns
/// it off, which tells how fast the machine is now. A busy one takes long now
/// and then, but not each time.
#[track_caller]
fn stalls_not(mut run: impl FnMut(bool)) {
    let mut fastest = |nodelay| {
        let once = |_| {
            let start = Instant::now();
            run(nodelay);
            start.elapsed()
        };
        (0..TRIES).map(once).min().unwrap()
    };
    let before = fastest(true);
    let took = fastest(false);
    let slowest = before.max(fastest(true)) + STALL;
    assert!(took < slowest, "{took:?}, and {before:?} without Nagle");
}

fn upload(client: &mut SecureClient, nodelay: bool) {
    let data = client.data().0;
    data.set_nodelay(nodelay).unwrap();
    client.expect("STOR file", 150);
    let mut data = client.protect(data).unwrap();
    data.send(b"small");
    // As ftplib does: the server's close_notify comes before the FIN, which
    // would push out what Nagle's algorithm holds.
    data.0.shutdown().unwrap();
    data.rest();
    client.wait_for(226);
}

#[test]
fn small_uploads_do_not_stall() {
    let server = secure(server());
    for version in [SslVersion::TLS1_2, NEWEST] {
        let rules = || context(|builder| builder.set_max_proto_version(Some(version)).unwrap());
        let mut client = SecureClient::explicit_with(server.v4, rules()).ready();
        stalls_not(|nodelay| upload(&mut client, nodelay));
        // With a full handshake.
        client.session = None;
        stalls_not(|nodelay| upload(&mut client, nodelay));
        // The control connection.
        stalls_not(|nodelay| {
            let client = Client::greeted(server.v4);
            client.stream.set_nodelay(nodelay).unwrap();
            SecureClient::upgrade(client, rules()).expect("NOOP", 200);
        });
    }
}
