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
