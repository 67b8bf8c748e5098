//! `wharfd ping`: whether a server answers, and what clients will think of
//! its certificate.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Instant;

use super::daemon::{Daemon, text};
use crate::common::process::wharfd;
use crate::common::tls::{Certificates, VALID, certificate, intermediate};
use crate::common::{TempDir, server};

/// Exit code and words, where the system trusts the authorities of a file.
fn ping(words: &[&str], place: &str, trusted: Option<&Path>) -> (i32, String) {
    let mut command = wharfd();
    // What a system trusts is in these places.
    command.env("SSL_CERT_DIR", "/nonexistent");
    command.env("SSL_CERT_FILE", trusted.unwrap_or(Path::new("/dev/null")));
    let output = command.arg("ping").args(words).arg(place).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

#[test]
fn a_server_that_greets_is_well() {
    let server = server().set("listen-sftp", "127.0.0.1:0").start();
    for (address, _) in server.running().addresses() {
        assert_eq!(ping(&[], &address.to_string(), None).0, 0, "{address}");
    }
    // Full, silent, gone.
    let refusing = |answer: &'static [u8]| -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(answer).unwrap();
            // Until the other side has gone.
            let _ = stream.read(&mut [0]);
        });
        address
    };
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone_address = gone.local_addr().unwrap();
    drop(gone);
    for (address, words) in [
        (
            refusing(b"421-Too many.\r\n421 Bye \x1b[31m.\r\n"),
            "421 Bye ?[31m.",
        ),
        (refusing(b"220-Never"), "no reply"),
        (gone_address, "refused"),
    ] {
        let begun = Instant::now();
        let (code, said) = ping(&["--timeout", "1"], &address.to_string(), None);
        assert!(code == 1 && said.contains(words), "{words}: {code} {said}");
        assert!(begun.elapsed().as_secs() < 5);
    }
    for wrong in [&["x:y"][..], &[], &["a", "b"], &["--timeout", "x", "a"]] {
        let output = wharfd().arg("ping").args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(100), "{wrong:?}");
    }
}

#[test]
fn the_certificate_is_looked_at_as_clients_do() {
    let certificates = Certificates::new();
    let root = certificate("Root", None, VALID);
    let between = intermediate("Between", &root);
    let name = |days| certificate("localhost", Some(&between), days);
    let good = name(VALID);
    let (trusted, _) = certificates.write("root", &[&root]);
    let own = |name: &str, chain: &[&_]| certificates.write(name, chain);
    let alone = certificate("localhost", None, VALID);
    for (pair, host, trusted, code, words) in [
        (
            own("whole", &[&good, &between]),
            "localhost",
            Some(&trusted),
            0,
            "the certificate is good for localhost",
        ),
        (
            own("whole", &[&good, &between]),
            "127.0.0.1",
            Some(&trusted),
            1,
            "must use a name that is in the certificate",
        ),
        (
            own("short", &[&good]),
            "localhost",
            Some(&trusted),
            1,
            "intermediate certificate",
        ),
        (
            own("whole", &[&good, &between]),
            "localhost",
            None,
            1,
            "nobody here knows the authority",
        ),
        (
            own("alone", &[&alone]),
            "localhost",
            None,
            1,
            "clients ask their users",
        ),
        (
            own("early", &[&name((1, 9)), &between]),
            "localhost",
            Some(&trusted),
            1,
            "is the clock right?",
        ),
    ] {
        let place = TempDir::new("ping");
        let files = place.path().to_owned();
        let daemon = Daemon::with_certificate(place, &pair, &[text(&files)]);
        for (words_given, port) in [
            ("--tls", daemon.ports[0].port()),
            ("--implicit", daemon.ports[1].port()),
        ] {
            let said = ping(
                &[words_given],
                &format!("{host}:{port}"),
                trusted.map(|path| path.as_path()),
            );
            assert!(
                said.0 == code && said.1.contains(words),
                "{words}: {said:?}"
            );
            let version = if cfg!(feature = "tls13") {
                "(TLS 1.3,"
            } else {
                "(TLS 1.2 and not 1.3,"
            };
            assert!(code != 0 || said.1.contains(version), "{said:?}");
        }
    }
    // And a server without TLS.
    let plain = server().start();
    let (code, said) = ping(&["--tls"], &plain.v4.to_string(), None);
    assert!(code == 1 && said.contains("AUTH TLS: 431"), "{said}");
}
