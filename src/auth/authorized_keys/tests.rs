//! Lines and files of keys.

use super::*;
use crate::auth::Secret;
use std::time::{Duration, UNIX_EPOCH};

/// Made with ssh-keygen.
const KEY: &str = "ssh-ed25519 \
        AAAAC3NzaC1lZDI1NTE5AAAAIALDKQSsBSOo7m3hrX1yxbZTvoxFEod8d3UXSgm/IePM";

fn key() -> PublicKey {
    let keys = AuthorizedKeys::parse(KEY.as_bytes(), "test");
    keys.entries[0].key.clone()
}

fn allows(line: &str, peer: &str, seconds: u64) -> bool {
    let now = UNIX_EPOCH + Duration::from_secs(seconds);
    let keys = AuthorizedKeys::parse(line.as_bytes(), "test");
    allowed(&keys, &key(), peer, now)
}

fn allowed(keys: &AuthorizedKeys, key: &PublicKey, peer: &str, now: SystemTime) -> bool {
    let with = Credentials::new("ann", Secret::PublicKey(key), peer.parse().unwrap());
    keys.allows(key, &with, now)
}

#[test]
fn options_let_in_and_keep_out() {
    let now = 1_600_000_000;
    for (options, want) in [
        ("", true),
        ("restrict ", true),
        ("restrict,pty,no-X11-forwarding ", true),
        ("environment=\"A=b c\",no-touch-required ", true),
        ("command=\"internal-sftp\" ", true),
        ("command=\"internal-sftp -R\" ", false),
        ("command=\"/bin/echo a\\\"b, c\" ", false),
        ("verify-required ", true),
        ("cert-authority ", false),
        ("principals=\"x\" ", false),
        ("no-such-option ", false),
        ("restrict=\"x\" ", false),
        ("from ", false),
        ("from=10.1.2.3 ", false),
        ("from=\"10.1.2.3 ", false),
        ("from=\"10.1.2.3\" ", true),
        ("FROM=\"10.1.2.3\" ", true),
        ("from=\"10.1.2.4\" ", false),
        ("from=\"10.1.2.3\",from=\"10.0.0.0/8\" ", false),
        ("from=\"10.0.0.0/8\" ", true),
        ("from=\"10.0.0.0/8,!10.1.0.0/16\" ", false),
        ("from=\"!10.1.0.0/16,10.0.0.0/8\" ", false),
        ("from=\"!10.2.0.0/16,*\" ", true),
        ("from=\"!10.2.0.0/16\" ", false),
        ("from=\"10.1.*\" ", true),
        ("from=\"10.?.2.3\" ", true),
        ("from=\"*.example.org\" ", false),
        ("from=\"!10.1.0.0/33,*\" ", false),
        ("from=\"\" ", false),
        ("expiry-time=\"20200913\" ", false),
        ("expiry-time=\"20200914\" ", true),
        ("expiry-time=\"202009131226Z\" ", false),
        ("expiry-time=\"202009131227\" ", true),
        ("expiry-time=\"20200913122640\" ", false),
        ("expiry-time=\"20200913122641Z\" ", true),
        ("expiry-time=\"20210101\",expiry-time=\"20200101\" ", false),
        ("expiry-time=\"20201341\" ", false),
        ("expiry-time=\"soon\" ", false),
    ] {
        let line = format!("{options}{KEY} somebody@host");
        assert_eq!(allows(&line, "10.1.2.3", now), want, "{options}");
        assert_eq!(allows(&line, "::ffff:10.1.2.3", now), want, "{options}");
    }
}

#[test]
fn a_file_is_read_line_by_line() {
    let text = format!(
        "# a comment\r\n\n  \tssh-ed25519 AAAA= broken\nssh-rsa {}\n\
             from=\"1.2.3.4\" {KEY}\n\trestrict\t{KEY}\r\n\
             ssh-dss AAAAB3NzaC1kc3M= old\n\u{ff}\n",
        KEY.split(' ').next_back().unwrap()
    );
    let keys = AuthorizedKeys::parse(text.as_bytes(), "test");
    assert_eq!(keys.len(), 2);
    // The second line with the key lets in what the first one does not.
    assert!(allowed(&keys, &key(), "::1", UNIX_EPOCH));
    let mut other = key();
    other.blob[30] ^= 1;
    assert!(!allowed(&keys, &other, "::1", UNIX_EPOCH));
    assert!(AuthorizedKeys::parse(b"", "test").is_empty());
}

#[test]
fn a_security_key_must_verify_its_user_where_that_is_required() {
    for (options, verified, want) in [
        ("", Some(false), true),
        ("verify-required ", Some(false), false),
        ("verify-required ", Some(true), true),
        // Only offered: whether it does is seen with its signature.
        ("verify-required ", None, true),
    ] {
        let mut key = key();
        key.user_verified = verified;
        let keys = AuthorizedKeys::parse(format!("{options}{KEY}").as_bytes(), "test");
        let allowed = allowed(&keys, &key, "::1", UNIX_EPOCH);
        assert_eq!(allowed, want, "{options} {verified:?}");
    }
}

#[test]
fn marks_and_the_format_of_rfc_4716_are_read() {
    let blob = KEY.split(' ').next_back().unwrap();
    let rfc = format!(
        "---- BEGIN SSH2 PUBLIC KEY ----\r\nSubject: ann\r\nComment: \"a \\\r\n\
             long one\"\r\n{}\r\n{}\r\n---- END SSH2 PUBLIC KEY ----\r\n",
        &blob[..20],
        &blob[20..]
    );
    for text in [&rfc, &format!("\u{feff}{KEY}\n"), &format!("\u{feff}{rfc}")] {
        let keys = AuthorizedKeys::parse(text.as_bytes(), "test");
        assert!(allowed(&keys, &key(), "::1", UNIX_EPOCH), "{text}");
    }
    for broken in [
        "---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END",
        "---- BEGIN SSH2 PUBLIC KEY ----\n",
    ] {
        assert!(AuthorizedKeys::parse(broken.as_bytes(), "test").is_empty());
    }
}

#[test]
fn patterns_match_like_the_shell() {
    for (pattern, text, want) in [
        ("*", "", true),
        ("", "x", false),
        ("10.*.3", "10.1.2.3", true),
        ("10.*.3", "10.1.2.4", false),
        ("*1*2*", "abc12", true),
        ("?", "", false),
        ("FE80*", "fe80::1", true),
    ] {
        assert_eq!(like(pattern.as_bytes(), text.as_bytes()), want, "{pattern}");
    }
}
