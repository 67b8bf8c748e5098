//! Which versions, ciphers and groups the settings allow.
#![cfg(feature = "tls13")]

use openssl::ssl::{SslContextBuilder, SslVersion};

use crate::common::client::Client;
use crate::common::server;
use crate::common::tls::{Certificates, context, handshake, with_certificate};

/// Version and cipher that a client gets, if any.
fn outcome(
    settings: &[(&str, &str)],
    rules: impl Fn(&mut SslContextBuilder),
) -> Option<(String, String)> {
    let certificates = Certificates::new();
    let mut server = with_certificate(server(), &certificates);
    for (key, value) in settings {
        server = server.set(key, value);
    }
    let server = server.start();
    let mut client = Client::greeted(server.v4);
    client.expect("AUTH TLS", 234);
    let stream = handshake(&context(rules), client.stream, None).ok()?;
    let ssl = stream.ssl();
    let cipher = ssl.current_cipher().unwrap().name();
    Some((ssl.version_str().into(), cipher.into()))
}

fn only(version: SslVersion) -> impl Fn(&mut SslContextBuilder) {
    move |builder| {
        builder.set_security_level(0);
        builder.set_min_proto_version(Some(version)).unwrap();
        builder.set_max_proto_version(Some(version)).unwrap();
    }
}

#[test]
fn versions_are_those_of_the_settings() {
    use SslVersion as Version;
    const OLD: (&str, &str) = ("tls-old-clients", "127.0.0.0/8");
    const ELSEWHERE: (&str, &str) = ("tls-old-clients", "10.0.0.0/8");
    for (setting, version, served) in [
        (("tls-min", "1.3"), Version::TLS1_3, true),
        (("tls-min", "1.3"), Version::TLS1_2, false),
        (("tls-min", "1.2"), Version::TLS1_2, true),
        (("tls-min", "1.2"), Version::TLS1_1, false),
        (OLD, Version::TLS1, true),
        (OLD, Version::TLS1_1, true),
        (OLD, Version::TLS1_3, true),
        (ELSEWHERE, Version::TLS1, false),
        (ELSEWHERE, Version::TLS1_2, true),
    ] {
        let got = outcome(&[setting], only(version));
        assert_eq!(got.is_some(), served, "{setting:?}, {version:?}: {got:?}");
    }
}

#[test]
fn ciphers_and_groups_are_those_of_the_settings() {
    let ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384:TLS_CHACHA20_POLY1305_SHA256";
    for (version, want) in [
        (SslVersion::TLS1_2, "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (SslVersion::TLS1_3, "TLS_CHACHA20_POLY1305_SHA256"),
    ] {
        let got = outcome(&[("tls-ciphers", ciphers)], only(version)).unwrap();
        assert_eq!(got.1, want);
    }
    for (group, served) in [("P-384", true), ("P-256", false)] {
        let got = outcome(&[("tls-curves", "P-384")], |builder| {
            builder.set_groups_list(group).unwrap();
        });
        assert_eq!(got.is_some(), served, "{group}");
    }
}

/// What the system's openssl.cnf says, until an option says otherwise.
#[cfg(feature = "cli")]
#[test]
fn openssl_cnf_counts_where_no_option_is_set() {
    use super::daemon::{Daemon, text};
    use crate::common::TempDir;
    use crate::common::process::wharfd;
    use crate::common::tls::{VALID, certificate};

    let certificates = Certificates::new();
    let own = certificates.write("ftp.test", &[&certificate("ftp.test", None, VALID)]);
    let system = certificates.0.join("openssl.cnf");
    let outcome = |says: &str, options: &[&str], rules: &dyn Fn(&mut SslContextBuilder)| {
        let frame = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n";
        std::fs::write(&system, format!("{frame}{says}\n")).unwrap();
        let place = TempDir::new("cnf");
        let root = place.path().to_owned();
        let mut command = wharfd();
        command.env("OPENSSL_CONF", &system);
        let pair = ["--tls-cert", text(&own.0), "--tls-key", text(&own.1)];
        let arguments = [&pair[..], options, &[text(&root)]].concat();
        let daemon = Daemon::run(command, place, &arguments);
        let mut client = Client::greeted(daemon.ports[0]);
        client.expect("AUTH TLS", 234);
        let stream = handshake(&context(rules), client.stream, None).ok()?;
        Some(stream.ssl().current_cipher().unwrap().name().to_owned())
    };
    let old = "CipherString = ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=1";
    let new = "Ciphersuites = TLS_CHACHA20_POLY1305_SHA256";
    let two = only(SslVersion::TLS1_2);
    let three = only(SslVersion::TLS1_3);
    assert_eq!(
        outcome(old, &[], &two).unwrap(),
        "ECDHE-ECDSA-AES256-SHA384"
    );
    assert_eq!(
        outcome(new, &[], &three).unwrap(),
        "TLS_CHACHA20_POLY1305_SHA256"
    );
    let options = ["--tls-ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"];
    assert_eq!(outcome(old, &options, &two).unwrap(), options[1]);
    // As Debian has it: the order is ours.
    let debian = "CipherString = DEFAULT:@SECLEVEL=2";
    let ours = outcome(debian, &[], &two).unwrap();
    assert!(!ours.contains("AES256"), "{ours}");
    assert_eq!(outcome("MinProtocol = TLSv1.3", &[], &two), None);
    assert!(outcome("MinProtocol = TLSv1.3", &["--tls-min", "1.2"], &two).is_some());
    let group = |name: &'static str| {
        move |builder: &mut SslContextBuilder| builder.set_groups_list(name).unwrap()
    };
    for (name, served) in [("P-384", true), ("P-256", false)] {
        assert_eq!(
            outcome("Groups = P-384", &[], &group(name)).is_some(),
            served
        );
    }
    assert!(
        outcome(
            "Groups = P-384",
            &["--tls-curves", "P-256"],
            &group("P-256")
        )
        .is_some()
    );
}
