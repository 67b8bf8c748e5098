//! `wharfd ping`: whether a server answers, and what clients will think of
//! its certificate.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Instant;

use super::daemon::{Daemon, text};
use openssl::asn1::{Asn1Object, Asn1OctetString};
use openssl::nid::Nid;
use openssl::x509::extension::{ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509Builder, X509Extension};

use crate::common::process::wharfd;
use crate::common::tls::made::{self, new_key};
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

/// What `--check` says of a certificate, on one line each.
fn checked(pair: &(std::path::PathBuf, std::path::PathBuf), trusted: &Path) -> String {
    let output = wharfd()
        .env("SSL_CERT_DIR", "/nonexistent")
        .env("SSL_CERT_FILE", trusted)
        .args(["--check", "--listen", "127.0.0.1:0", "--threads", "1"])
        .args(["--tls-cert", text(&pair.0), "--tls-key", text(&pair.1)])
        .arg("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    said
}

#[test]
fn check_tells_what_clients_will_not_like() {
    let certificates = Certificates::new();
    let root = certificate("Root", None, VALID);
    let between = intermediate("Between", &root);
    let (trusted, _) = certificates.write("root", &[&root]);
    let with = |extend: &dyn Fn(&mut X509Builder)| {
        let name = |builder: &mut X509Builder| {
            let host = SubjectAlternativeName::new()
                .dns("ftp.test")
                .build(&builder.x509v3_context(None, None))
                .unwrap();
            builder.append_extension(host).unwrap();
            extend(builder);
        };
        made::signed(
            &[(Nid::COMMONNAME, "ftp.test")],
            new_key(),
            Some(&between),
            VALID,
            name,
        )
    };
    let good = with(&|_| {});
    let client = with(&|builder| {
        let usage = ExtendedKeyUsage::new().client_auth().build().unwrap();
        builder.append_extension(usage).unwrap();
    });
    let signer = with(&|builder| {
        let usage = KeyUsage::new().key_cert_sign().build().unwrap();
        builder.append_extension(usage).unwrap();
    });
    let staple = with(&|builder| {
        let feature = Asn1Object::from_str("1.3.6.1.5.5.7.1.24").unwrap();
        let value = Asn1OctetString::new_from_bytes(b"\x30\x03\x02\x01\x05").unwrap();
        let staple = X509Extension::new_from_der(&feature, false, &value).unwrap();
        builder.append_extension(staple).unwrap();
    });
    let nameless = certificate("ftp", Some(&root), VALID);
    let alone = certificate("ftp.test", None, VALID);
    let other = certificate("other.test", None, VALID);
    for (name, chain, words) in [
        ("good", vec![&good, &between], vec![]),
        (
            "short",
            vec![&good],
            vec!["the certificate of Between is missing"],
        ),
        (
            "long",
            vec![&good, &between, &root],
            vec!["need not be sent"],
        ),
        (
            "surplus",
            vec![&good, &between, &other],
            vec!["is not sent, because"],
        ),
        ("client", vec![&client, &between], vec!["serverAuth"]),
        ("signer", vec![&signer, &between], vec!["serverAuth"]),
        ("staple", vec![&staple, &between], vec!["must-staple"]),
        ("nameless", vec![&nameless], vec!["subjectAltName"]),
        ("alone", vec![&alone], vec!["it is self-signed"]),
    ] {
        let said = checked(&certificates.write(name, &chain), &trusted);
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("tls-cert"))
            .collect();
        assert_eq!(lines.len(), words.len(), "{name}: {said}");
        for (line, word) in lines.iter().zip(words) {
            assert!(line.contains(word), "{name}, {word}: {line}");
        }
    }
    let own = certificates.write("own", &[&good, &between, &root]);
    let said = checked(&own, Path::new("/dev/null"));
    assert!(said.contains("does not know its authority, Root"), "{said}");
}
