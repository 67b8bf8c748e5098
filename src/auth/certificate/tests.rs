//! Certificates: what is read of them, and what lets in.

use super::*;
use std::time::Duration;

/// By `ssh-keygen -s ca -I "ann's" -n ann,bob -V 20200101000000Z:20300101000000Z
/// -z 7 -O source-address=10.0.0.0/8,192.0.2.1 -O force-command=internal-sftp`.
const CERTIFICATE: &str = "\
    AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIGW0Kgp23ks7eolP1FwicgXG\
    SB1xEioirmIkC+uJIAoBAAAAIF+aYvQ7dAuNcCRx8zfbyUuy0mhn06B9mEpvxOgaXn6pAAAAAAAA\
    AAcAAAABAAAABWFubidzAAAADgAAAANhbm4AAAADYm9iAAAAAF4L4QAAAAAAcNvYgAAAAFQAAAAN\
    Zm9yY2UtY29tbWFuZAAAABEAAAANaW50ZXJuYWwtc2Z0cAAAAA5zb3VyY2UtYWRkcmVzcwAAABgA\
    AAAUMTAuMC4wLjAvOCwxOTIuMC4yLjEAAACCAAAAFXBlcm1pdC1YMTEtZm9yd2FyZGluZwAAAAAA\
    AAAXcGVybWl0LWFnZW50LWZvcndhcmRpbmcAAAAAAAAAFnBlcm1pdC1wb3J0LWZvcndhcmRpbmcA\
    AAAAAAAACnBlcm1pdC1wdHkAAAAAAAAADnBlcm1pdC11c2VyLXJjAAAAAAAAAAAAAAAzAAAAC3Nz\
    aC1lZDI1NTE5AAAAIEoCxKdlJgYKwCphhUVIV1USdbhybASHF4s4Lj7IM+2VAAAAUwAAAAtzc2gt\
    ZWQyNTUxOQAAAED0oZOmJFRlAkpc1/3zaLOm11mCgXAguMMAJ0GuVdpBLSozQmuSq2bdY1h9xgGL\
    w3IsW49RGzp3JtZquNZrWjMF";

fn blob() -> Vec<u8> {
    crate::base64::decode(CERTIFICATE.as_bytes()).unwrap()
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// One that says what it is told, signed by nobody.
fn made(bearer: u32, principals: &[&str], options: &[(&str, &[u8])]) -> Vec<u8> {
    let mut blob = Vec::new();
    for part in [
        &b"sk-ssh-ed25519-cert-v01@openssh.com"[..],
        b"nonce",
        b"key",
        b"ssh:",
    ] {
        put(&mut blob, part);
    }
    blob.extend_from_slice(&[0; 8]);
    blob.extend_from_slice(&bearer.to_be_bytes());
    put(&mut blob, b"id");
    let mut list = Vec::new();
    for name in principals {
        put(&mut list, name.as_bytes());
    }
    put(&mut blob, &list);
    blob.extend_from_slice(&100_u64.to_be_bytes());
    blob.extend_from_slice(&200_u64.to_be_bytes());
    list.clear();
    for (name, value) in options {
        put(&mut list, name.as_bytes());
        put(&mut list, value);
    }
    put(&mut blob, &list);
    for part in [&b""[..], b"", b"authority", b"signature"] {
        put(&mut blob, part);
    }
    blob
}

fn admits(blob: &[u8], peer: &str, verified: Option<bool>, seconds: u64) -> bool {
    let now = UNIX_EPOCH + Duration::from_secs(seconds);
    let certificate = Certificate::read(blob).expect("a certificate");
    let names = |name: &[u8]| name == b"ann";
    let outcome = certificate.admits(peer.parse().unwrap(), verified, now, names);
    outcome.is_ok()
}

#[test]
fn what_ssh_keygen_writes_is_read() {
    let blob = blob();
    let read = Certificate::read(&blob).unwrap();
    assert_eq!(read.key.algorithm, "ssh-ed25519");
    assert_eq!(read.key.blob.len(), 4 + 11 + 4 + 32);
    assert_eq!((read.serial, read.id), (7, &b"ann's"[..]));
    assert_eq!(read.principals, [b"ann", b"bob"]);
    assert_eq!(read.bearer, Bearer::User);
    assert_eq!(read.options.len(), 2);
    for (peer, year, want) in [
        ("10.1.2.3", 2026, true),
        ("::ffff:10.1.2.3", 2026, true),
        ("192.0.2.1", 2026, true),
        ("192.0.2.2", 2026, false),
        ("::1", 2026, false),
        ("10.1.2.3", 2019, false),
        ("10.1.2.3", 2031, false),
    ] {
        let seconds = (year - 1970) * 31_557_600;
        assert_eq!(admits(&blob, peer, None, seconds), want, "{peer} {year}");
    }
}

#[test]
fn one_that_is_cut_or_has_more_is_none() {
    let blob = blob();
    for length in 0..blob.len() {
        assert!(Certificate::read(&blob[..length]).is_none(), "{length}");
    }
    assert!(Certificate::read(&[&blob[..], &[0]].concat()).is_none());
    // Lengths that lie, and everything else that a bit changes: no panic.
    for at in 0..blob.len() {
        for bit in 0..8 {
            let mut odd = blob.clone();
            odd[at] ^= 1 << bit;
            let _ = Certificate::read(&odd);
        }
    }
    let many = vec!["x"; 257];
    assert!(Certificate::read(&made(1, &many, &[])).is_none());
    assert!(Certificate::read(&made(1, &many[1..], &[])).is_some());
    assert!(Certificate::read(&made(3, &["ann"], &[])).is_none());
    let twice = [("verify-required", &b""[..]); 2];
    assert!(Certificate::read(&made(1, &["ann"], &twice)).is_none());
}

#[test]
fn what_it_says_lets_in_or_not() {
    let sftp = &b"\0\0\0\x0dinternal-sftp"[..];
    let more = &b"\0\0\0\x0dinternal-sftp "[..];
    let shell = &b"\0\0\0\x07/bin/sh"[..];
    let network = &b"\0\0\0\x0210/8"[..];
    let here = &b"\0\0\0\x0a10.0.0.0/8"[..];
    let broken = &b"\0\0\0\x0e10.0.0.0/8,x/y"[..];
    for (options, verified, want) in [
        (&[][..], None, true),
        (&[("force-command", sftp)], None, true),
        (&[("force-command", more)], None, false),
        (&[("force-command", shell)], None, false),
        (&[("force-command", b"")], None, false),
        (&[("source-address", here)], None, true),
        (&[("source-address", network)], None, false),
        (&[("source-address", broken)], None, false),
        (&[("source-address", b"")], None, false),
        (&[("verify-required", b"")], None, true),
        (&[("verify-required", b"")], Some(true), true),
        (&[("verify-required", b"")], Some(false), false),
        (&[("verify-required", sftp)], None, false),
        (&[("no-such-option", b"")], None, false),
    ] {
        let blob = made(1, &["bob", "ann"], options);
        let admitted = admits(&blob, "10.0.0.1", verified, 100);
        assert_eq!(admitted, want, "{options:?} {verified:?}");
    }
    for (bearer, principals, seconds, want) in [
        (1, &["ann"][..], 199, true),
        (1, &["ann"], 99, false),
        (1, &["ann"], 200, false),
        (1, &["Ann", "ann ", "*"], 100, false),
        (1, &[], 100, false),
        (2, &["ann"], 100, false),
    ] {
        let blob = made(bearer, principals, &[]);
        let admitted = admits(&blob, "10.0.0.1", None, seconds);
        assert_eq!(admitted, want, "{bearer} {principals:?} {seconds}");
    }
}

#[test]
fn names_of_algorithms_lose_their_certificate() {
    for (name, want) in [
        ("ssh-ed25519-cert-v01@openssh.com", Some("ssh-ed25519")),
        ("rsa-sha2-512-cert-v01@openssh.com", Some("rsa-sha2-512")),
        (
            "sk-ssh-ed25519-cert-v01@openssh.com",
            Some("sk-ssh-ed25519@openssh.com"),
        ),
        ("ssh-ed25519", None),
        ("ssh-ed25519-cert-v00@openssh.com", None),
    ] {
        assert_eq!(plain_algorithm(name).as_deref(), want);
    }
}
