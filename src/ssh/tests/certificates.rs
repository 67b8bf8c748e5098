//! Certificates as a client shows them: right, forged, cut, and in requests that
//! do not fit.

use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;

use super::peer::Peer;
use super::*;
use crate::error::ErrorKind;
use crate::ssh::wire::Put;

const CERTIFIED: &str = "ssh-ed25519-cert-v01@openssh.com";

fn plain(key: &PKey<Private>) -> Vec<u8> {
    let mut blob = Vec::new();
    blob.put_string(b"ssh-ed25519");
    blob.put_string(&key.raw_public_key().unwrap());
    blob
}

fn sign(key: &PKey<Private>, data: &[u8]) -> Vec<u8> {
    let mut signer = Signer::new_without_digest(key).unwrap();
    let mut signature = Vec::new();
    signature.put_string(b"ssh-ed25519");
    signature.put_string(&signer.sign_oneshot_to_vec(data).unwrap());
    signature
}

fn certificate(key: &PKey<Private>, authority: &PKey<Private>) -> Vec<u8> {
    let mut blob = Vec::new();
    blob.put_string(CERTIFIED.as_bytes());
    blob.put_string(b"nonce");
    blob.put_string(&key.raw_public_key().unwrap());
    blob.put_bytes(&[0; 8]);
    blob.put_u32(1);
    blob.put_string(b"id");
    blob.put_string(b"\0\0\0\x04both");
    blob.put_bytes(&[0; 8]);
    blob.put_bytes(&[0xff; 8]);
    for _ in 0..3 {
        blob.put_string(b"");
    }
    blob.put_string(&plain(authority));
    let signature = sign(authority, &blob);
    blob.put_string(&signature);
    blob
}

/// Shows a key, with a signature by `signer`; the number of the answer.
fn show(peer: &mut Peer, algorithm: &str, blob: &[u8], signer: Option<&PKey<Private>>) -> u8 {
    let mut request = vec![message::USERAUTH_REQUEST];
    for word in ["both", "ssh-connection", "publickey"] {
        request.put_string(word.as_bytes());
    }
    request.put_boolean(signer.is_some());
    request.put_string(algorithm.as_bytes());
    request.put_string(blob);
    if let Some(signer) = signer {
        let mut message = Vec::new();
        message.put_string(peer.session.as_ref().unwrap());
        message.put_bytes(&request);
        request.put_string(&sign(signer, &message));
    }
    peer.send(&request);
    peer.receive()[0]
}

fn at_login() -> Peer {
    let mut peer = Peer::keyed(Settings::default());
    peer.ask_service("ssh-userauth");
    assert_eq!(peer.receive()[0], message::SERVICE_ACCEPT);
    peer
}

#[test]
fn forged_ones_and_wrong_requests_are_refused() {
    let [key, authority, other] = [(); 3].map(|()| PKey::generate_ed25519().unwrap());
    let good = certificate(&key, &authority);
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let mut changed = good.clone();
    let serial = 4 + CERTIFIED.len() + 4 + 5 + 4 + 32;
    changed[serial] = 1;
    let mut peer = at_login();
    for (algorithm, blob, signer) in [
        (CERTIFIED, &forged, None),
        (CERTIFIED, &forged, Some(&key)),
        (CERTIFIED, &changed, Some(&key)),
        (CERTIFIED, &good, Some(&other)),
        (CERTIFIED, &good, Some(&authority)),
        (CERTIFIED, &plain(&key), Some(&key)),
        ("ssh-ed25519", &good, Some(&key)),
        ("rsa-sha2-512-cert-v01@openssh.com", &good, Some(&key)),
        ("ssh-rsa-cert-v01@openssh.com", &good, Some(&key)),
        ("sk-ssh-ed25519-cert-v01@openssh.com", &good, Some(&key)),
        ("-cert-v01@openssh.com", &good, None),
    ] {
        let answer = show(&mut peer, algorithm, blob, signer);
        assert_eq!(answer, message::USERAUTH_FAILURE, "{algorithm}");
    }
    // Asked for twice, then used: with another method behind it.
    for _ in 0..2 {
        let answer = show(&mut peer, CERTIFIED, &good, None);
        assert_eq!(answer, message::USERAUTH_PK_OK);
    }
    let answer = show(&mut peer, CERTIFIED, &good, Some(&key));
    assert_eq!(answer, message::USERAUTH_FAILURE);
    // What has been shown is not asked for again, and is nobody else's.
    let answer = show(&mut peer, CERTIFIED, &good, Some(&key));
    assert_eq!(answer, message::USERAUTH_FAILURE);
    peer.ask_login("tester", "right");
    peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);
}

#[test]
fn one_that_is_cut_is_a_refused_key() {
    let [key, authority] = [(); 2].map(|()| PKey::generate_ed25519().unwrap());
    let good = certificate(&key, &authority);
    let lengths: Vec<usize> = (0..good.len()).collect();
    // As many as an agent may offer in vain.
    for some in lengths.chunks(20) {
        let mut peer = at_login();
        for length in some {
            let answer = show(&mut peer, CERTIFIED, &good[..*length], None);
            assert_eq!(answer, message::USERAUTH_FAILURE, "{length}");
        }
        // It has not lost its tries.
        let answer = show(&mut peer, CERTIFIED, &good, None);
        assert_eq!(answer, message::USERAUTH_PK_OK);
    }
}
