//! Clients that leave Nagle's algorithm on: what they write twice in a row must
//! not wait for an acknowledgement that the server's kernel puts off.

use std::time::{Duration, Instant};

use openssl::ssl::SslVersion;

use crate::common::client::Client;
use crate::common::server;
use crate::common::tls::{NEWEST, SecureClient, context, secure};

/// The kernel puts an acknowledgement off by 40 ms; a machine that is busy
/// takes long now and then, but not each time.
const STALL: Duration = Duration::from_millis(38);
const TRIES: usize = 20;

fn fastest(mut run: impl FnMut()) -> Duration {
    let once = |_| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    (0..TRIES).map(once).min().unwrap()
}

fn upload(client: &mut SecureClient) {
    let data = client.data().0;
    data.set_nodelay(false).unwrap();
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
        let took = fastest(|| upload(&mut client));
        assert!(took < STALL, "{version:?}: {took:?}");
        client.session = None;
        let took = fastest(|| upload(&mut client));
        assert!(took < STALL, "{version:?}, a full handshake: {took:?}");
        let took = fastest(|| {
            let client = Client::greeted(server.v4);
            client.stream.set_nodelay(false).unwrap();
            SecureClient::upgrade(client, rules()).expect("NOOP", 200);
        });
        assert!(
            took < STALL,
            "{version:?}, the control connection: {took:?}"
        );
    }
}
