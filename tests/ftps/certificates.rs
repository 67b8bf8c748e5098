//! Client certificates: only the back-end of `tls13` asks for them.
#![cfg(all(feature = "tls13", feature = "cli"))]

use std::path::PathBuf;

use openssl::ssl::{SslContext, SslVersion};

use super::daemon::Daemon;
use crate::common::TempDir;
use crate::common::client::Client;
use crate::common::server;
use crate::common::tls::{
    Certificates, Made, SecureClient, VALID, certificate, context, handshake,
};

/// A server whose users are `ann` (neither password nor certificate), `cam`
/// (certificate by its common name) and `bob` (by its subject, no password).
fn start(certificates: &Certificates, authority: &Made, rule: &str) -> Daemon {
    let (ca, _) = certificates.write("authority", &[authority]);
    let pair = certificates.write("ftp", &[&certificate("ftp.test", None, VALID)]);
    let place = TempDir::new("client-certificates");
    let home = place.path().to_str().unwrap().to_owned();
    let users = place.join("users");
    std::fs::write(
        &users,
        format!(
            "cam:*:{home}:read-only:certificate=camera1\n\
             bob:*:{home}:read-only:certificate=CN%3dbob smith\n\
             ann:*:{home}:read-only\n"
        ),
    )
    .unwrap();
    std::fs::set_permissions(&users, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Daemon::with_certificate(
        place,
        &pair,
        &[
            "--tls-client-ca",
            ca.to_str().unwrap(),
            "--tls-client-certificate",
            rule,
            "--tls-reuse",
            "require",
            "--users",
            users.to_str().unwrap(),
        ],
    )
}

fn showing(made: &Made, version: SslVersion) -> SslContext {
    context(|builder| {
        builder.set_certificate(&made.certificate).unwrap();
        builder.set_private_key(&made.key).unwrap();
        builder.set_max_proto_version(Some(version)).unwrap();
    })
}

#[test]
fn a_certificate_logs_its_user_in() {
    let certificates = Certificates::new();
    let authority = certificate("Authority", None, VALID);
    let camera = certificate("camera1", Some(&authority), VALID);
    let bob = certificate("bob smith", Some(&authority), VALID);
    for rule in ["optional", "required"] {
        let daemon = start(&certificates, &authority, rule);
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            for (made, name, code) in [
                (&camera, "cam", 232),
                (&bob, "bob", 232),
                // Somebody else's certificate asks for a password.
                (&camera, "bob", 331),
                (&bob, "cam", 331),
                (&camera, "ann", 331),
                (&camera, "nobody", 331),
            ] {
                let rules = showing(made, version);
                let mut client = SecureClient::explicit_with(daemon.ports[0], rules);
                client.expect(&format!("USER {name}"), code);
                if code == 232 {
                    client.expect("PBSZ 0", 200);
                    client.expect("PROT P", 200);
                    client.keep_session();
                    assert!(client.fetch_secure("NLST").1);
                }
            }
        }
    }
}

#[test]
fn who_has_none_is_refused_where_it_is_required() {
    let certificates = Certificates::new();
    let authority = certificate("Authority", None, VALID);
    let stranger = certificate("camera1", None, VALID);
    for (rule, served) in [("optional", true), ("required", false)] {
        let daemon = start(&certificates, &authority, rule);
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            let rules = context(|builder| builder.set_max_proto_version(Some(version)).unwrap());
            assert_eq!(speaks(&daemon, rules), served, "{rule} {version:?}");
            // One of another authority is no better than none, and worse.
            assert!(!speaks(&daemon, showing(&stranger, version)), "{rule}");
        }
    }
}

/// Whether a session comes about; TLS 1.3 tells a client only afterwards.
fn speaks(daemon: &Daemon, rules: SslContext) -> bool {
    let mut client = Client::greeted(daemon.ports[0]);
    client.expect("AUTH TLS", 234);
    let server = client.server();
    let Ok(stream) = crate::common::tls::handshake(&rules, client.stream, None) else {
        return false;
    };
    let mut buffer = [0; 100];
    let mut stream = stream;
    let _ = server;
    std::io::Write::write_all(&mut stream, b"NOOP\r\n").is_ok()
        && std::io::Read::read(&mut stream, &mut buffer).is_ok_and(|length| length > 0)
}

/// Makes a revocation list of `authority` with the certificate number `serial`.
fn revocation_list(place: &TempDir, pair: &(PathBuf, PathBuf), serial: &str) -> PathBuf {
    let path = place.join(format!("revoked-{serial}.pem"));
    let (index, rules) = (place.join("index.txt"), place.join("ca.cnf"));
    let line = format!("R\t491231000000Z\t260101000000Z\t{serial}\tunknown\t/CN=camera1\n");
    std::fs::write(&index, line).unwrap();
    let text = format!(
        "[ca]\ndefault_ca=x\n[x]\ndatabase={}\ndefault_md=sha256\ndefault_crl_days=30\n",
        index.display()
    );
    std::fs::write(&rules, text).unwrap();
    let made = std::process::Command::new("openssl")
        .args(["ca", "-gencrl", "-config"])
        .arg(&rules)
        .arg("-cert")
        .arg(&pair.0)
        .arg("-keyfile")
        .arg(&pair.1)
        .arg("-out")
        .arg(&path)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    path
}

#[test]
fn a_revoked_certificate_is_refused() {
    let certificates = Certificates::new();
    let authority = certificate("authority", None, VALID);
    let pair = certificates.write("authority", &[&authority]);
    let served = certificates.write("ftp", &[&certificate("ftp.test", None, VALID)]);
    let camera = certificate("camera1", Some(&authority), VALID);
    // Ours have all the number 7.
    for (serial, good) in [("08", true), ("07", false)] {
        let list = revocation_list(&certificates.0, &pair, serial);
        let server = server()
            .set("tls-cert", served.0.to_str().unwrap())
            .set("tls-key", served.1.to_str().unwrap())
            .set("tls-client-ca", pair.0.to_str().unwrap())
            .set("tls-client-crl", list.to_str().unwrap())
            .set("tls-client-certificate", "required")
            .start();
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            let mut client = Client::greeted(server.v4);
            client.expect("AUTH TLS", 234);
            let stream = handshake(&showing(&camera, version), client.stream, None);
            // With TLS 1.3 the client learns of it when it reads.
            let served = stream.is_ok_and(|mut stream| {
                let _ = std::io::Write::write_all(&mut stream, b"NOOP\r\n");
                std::io::Read::read(&mut stream, &mut [0; 100]).is_ok_and(|count| count > 0)
            });
            assert_eq!(served, good, "number {serial}, {version:?}");
        }
    }
}
