//! Signals while a hundred transfers run under TLS: none is broken, none is
//! lost.

use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use super::daemon::{Daemon, text};
use super::start::anonymous;
use crate::common::client::Client;
use crate::common::tls::{Certificates, VALID, certificate};
use crate::common::{TempDir, until};

/// What ends a transfer, and says whether it was whole.
type Rest = Box<dyn FnOnce() + Send>;

/// Starts so many downloads and so many uploads that stand in the middle.
fn in_flight(daemon: &Daemon, root: &Path, count: usize) -> Vec<Rest> {
    let content: Vec<u8> = (0..2_000_000u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let content = Arc::new(content);
    std::fs::write(root.join("big"), &*content).unwrap();
    let mut rest: Vec<Rest> = Vec::new();
    for number in 0..count {
        let mut client = anonymous(daemon.ports[0]);
        let data = client.data();
        client.send("RETR big");
        let mut data = client.protect(data.0).unwrap();
        client.wait_for(150);
        let mut got = vec![0; 1000];
        data.0.read_exact(&mut got).unwrap();
        let whole = Arc::clone(&content);
        rest.push(Box::new(move || {
            got.extend(data.rest());
            assert!(got == *whole, "download {number}");
            client.wait_for(226);
        }));
    }
    for number in 0..count {
        let mut client = anonymous(daemon.ports[0]);
        let data = client.data();
        client.send(&format!("STOR up{number}"));
        let mut data = client.protect(data.0).unwrap();
        client.wait_for(150);
        let (whole, path) = (Arc::clone(&content), root.join(format!("up{number}")));
        data.send(&whole[..1_000_000]);
        rest.push(Box::new(move || {
            data.send(&whole[1_000_000..]);
            data.finish();
            client.wait_for(226);
            assert!(std::fs::read(path).unwrap() == *whole, "upload {number}");
        }));
    }
    rest
}

fn finish(rest: Vec<Rest>) {
    let threads: Vec<_> = rest.into_iter().map(std::thread::spawn).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// A server with a certificate and everything allowed below `files`.
fn served(certificates: &Certificates) -> Daemon {
    let place = TempDir::new("signals");
    let root = place.join("files");
    std::fs::create_dir(&root).unwrap();
    let pair = certificates.write("ftp", &[&certificate("ftp.test", None, VALID)]);
    Daemon::with_certificate(
        place,
        &pair,
        &[
            "--tls-reuse",
            "require",
            "--anonymous-rights",
            "elradfmw",
            "--max-per-address",
            "0",
            "--max-unauthenticated-per-address",
            "0",
            // For slow machines that run other tests, too.
            "--stall-timeout",
            "0",
            "--drain-seconds",
            "600",
            "--log-level",
            "warn",
            text(&root),
        ],
    )
}

#[test]
fn a_hundred_secure_transfers_survive_hup() {
    let certificates = Certificates::new();
    let mut daemon = served(&certificates);
    let rest = in_flight(&daemon, &daemon.place.join("files"), 50);
    for _ in 0..10 {
        daemon.reload();
    }
    finish(rest);
    anonymous(daemon.ports[0]).expect("QUIT", 221);
    daemon.terminate();
    assert_eq!(daemon.ended(), (Some(0), String::new()));
}

#[test]
fn a_hundred_secure_transfers_survive_term() {
    let certificates = Certificates::new();
    let mut daemon = served(&certificates);
    let rest = in_flight(&daemon, &daemon.place.join("files"), 50);
    let mut idle = anonymous(daemon.ports[0]);
    daemon.terminate();
    idle.wait_for(421);
    Client::connect(daemon.ports[0]).wait_for(421);
    finish(rest);
    assert_eq!(daemon.ended(), (Some(0), String::new()));
    until("the end of the port", || {
        TcpStream::connect(daemon.ports[0]).is_err()
    });
}
