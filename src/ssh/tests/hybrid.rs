//! `mlkem768x25519-sha256`, with a client's part to hold against it.

use openssl::pkey::{KeyType, PKey, Private};

use super::peer::{Kex, Peer, x25519};
use super::vectors::{hex, lines};
use super::*;
use crate::error::ErrorKind;
use crate::ssh::kex::{SharedSecret, hybrid_secret};
use crate::ssh::mlkem;
use crate::ssh::wire::{Put, message};
use crate::sys::kem::decapsulate;

const NAME: &str = "mlkem768x25519-sha256";
/// The modulus q of FIPS 203.
const MODULUS: u16 = 3329;

/// Where the encapsulation key is in a decapsulation key (FIPS 203, section 7.1).
const KEY: std::ops::Range<usize> = 1152..1152 + mlkem::KEY_LENGTH;

/// A client's two keys.
pub struct Keys {
    kem: PKey<Private>,
    curve: PKey<Private>,
}

impl Keys {
    pub fn new() -> Keys {
        let mut seed = [0; 64];
        openssl::rand::rand_bytes(&mut seed).unwrap();
        Keys {
            kem: PKey::private_key_from_seed(None, KeyType::ML_KEM_768, None, &seed).unwrap(),
            curve: PKey::generate_x25519().unwrap(),
        }
    }

    /// C_INIT.
    pub fn public(&self) -> Vec<u8> {
        let kem = self.kem.raw_public_key().unwrap();
        [kem, self.curve.raw_public_key().unwrap()].concat()
    }

    /// From S_REPLY.
    pub fn shared(&self, theirs: &[u8]) -> SharedSecret {
        let (ciphertext, point) = theirs.split_at(mlkem::CIPHERTEXT_LENGTH);
        let kem = decapsulate(&self.kem, ciphertext).unwrap();
        let curve = x25519(&self.curve, point);
        SharedSecret::of_string(theirs.to_vec(), &hybrid_secret(&kem, &curve))
    }
}

fn ask(kex: &'static str) -> Kex {
    Kex {
        names: kex,
        guess: false,
    }
}

/// A server that waits for C_INIT.
fn asked() -> Peer {
    let mut peer = after_versions(Settings::default());
    let init = peer.init("aes128-ctr", ask(NAME));
    peer.send(&init);
    peer
}

fn send_init(peer: &mut Peer, keys: &[u8]) {
    let mut payload = vec![message::KEX_ECDH_INIT];
    payload.put_string(keys);
    peer.send(&payload);
}

#[test]
fn a_hybrid_secret_protects_logins_and_later_key_exchanges() {
    let mut peer = Peer::start(Settings::default());
    peer.versions();
    let server_init = peer.receive();
    let strict = "mlkem768x25519-sha256,curve25519-sha256,kex-strict-c-v00@openssh.com";
    peer.exchange(&server_init, "aes256-gcm@openssh.com", ask(strict));
    peer.ask_service("ssh-userauth");
    assert_eq!(peer.receive()[0], message::SERVICE_ACCEPT);
    peer.ask_login("tester", "right");
    assert_eq!(peer.receive()[0], message::USERAUTH_SUCCESS);
    // From the curve to the hybrid and back: the session's identifier stays.
    for kex in [ask(NAME), Kex::PLAIN, ask(NAME)] {
        let init = peer.init("aes128-ctr", kex);
        peer.send(&init);
        let server_init = peer.receive();
        peer.finish_exchange(&init, &server_init);
    }
    peer.open_session();
}

#[test]
fn a_right_guess_of_the_hybrid_is_used() {
    let mut peer = Peer::start(Settings::default());
    peer.versions();
    let server_init = peer.receive();
    let guess = Kex {
        names: NAME,
        guess: true,
    };
    let init = peer.init("aes128-ctr", guess);
    peer.send(&init);
    peer.finish_exchange(&init, &server_init);
}

#[test]
fn keys_of_wrong_lengths_fail_the_key_exchange() {
    let good = Keys::new().public();
    for length in [0, 32, 1120, mlkem::KEY_LENGTH, good.len() - 1] {
        let mut peer = asked();
        send_init(&mut peer, &good[..length]);
        peer.must_disconnect(KEY_EXCHANGE_FAILED, ErrorKind::Protocol);
    }
    let mut peer = asked();
    send_init(&mut peer, &[&good[..], &[0]].concat());
    peer.must_disconnect(KEY_EXCHANGE_FAILED, ErrorKind::Protocol);
}

/// FIPS 203, section 7.2: the numbers of 12 bits are below the modulus.
#[test]
fn keys_with_numbers_out_of_range_fail_the_key_exchange() {
    let good = Keys::new().public();
    for at in [0, 576, 1149] {
        for (number, valid) in [
            (MODULUS - 1, true),
            (MODULUS, false),
            (MODULUS + 1, false),
            (0xfff, false),
        ] {
            let mut keys = good.clone();
            // The first of two numbers in three bytes.
            keys[at] = number.to_le_bytes()[0];
            keys[at + 1] = keys[at + 1] & 0xf0 | number.to_le_bytes()[1];
            let mut peer = asked();
            send_init(&mut peer, &keys);
            match valid {
                true => assert_eq!(peer.receive()[0], message::KEX_ECDH_REPLY),
                false => peer.must_disconnect(KEY_EXCHANGE_FAILED, ErrorKind::Protocol),
            }
        }
    }
}

#[test]
fn points_of_small_order_fail_the_key_exchange() {
    let kem = Keys::new().public();
    for point in [0, 1] {
        let mut keys = kem.clone();
        keys[mlkem::KEY_LENGTH..].fill(0);
        keys[mlkem::KEY_LENGTH] = point;
        let mut peer = asked();
        send_init(&mut peer, &keys);
        peer.must_disconnect(KEY_EXCHANGE_FAILED, ErrorKind::Protocol);
    }
}

#[test]
fn ml_kem_gives_the_known_answers() {
    let line = lines("MLKEM768").next().unwrap();
    let (private, ciphertext, secret) = (hex(line[1]), hex(line[2]), hex(line[3]));
    let key = private[KEY].to_vec();
    let private =
        PKey::private_key_from_raw_bytes_ex(None, KeyType::ML_KEM_768, None, &private).unwrap();
    assert_eq!(private.raw_public_key().unwrap(), key);
    let opened: [u8; mlkem::SECRET_LENGTH] = decapsulate(&private, &ciphertext).unwrap();
    assert_eq!(opened[..], secret);
    // The server's part, opened by what has just given the known answer.
    let made = mlkem::encapsulate(&key).unwrap();
    assert_eq!(
        decapsulate(&private, &made.ciphertext).unwrap(),
        made.secret
    );
    let again = mlkem::encapsulate(&key).unwrap();
    assert!(again.ciphertext != made.ciphertext && again.secret != made.secret);
    // One changed bit and the secrets differ.
    let mut changed = made.ciphertext;
    changed[700] ^= 1;
    let opened: [u8; mlkem::SECRET_LENGTH] = decapsulate(&private, &changed).unwrap();
    assert_ne!(opened, made.secret);
    // A buffer of another length than the library's is refused, not filled.
    assert!(decapsulate::<31>(&private, &made.ciphertext).is_err());
}

#[test]
fn the_hybrid_secret_is_the_known_one() {
    let line = lines("HYBRID").next().unwrap();
    let (kem, curve) = (hex(line[1]), hex(line[2]));
    let secret = hybrid_secret(&kem.try_into().unwrap(), &curve);
    assert_eq!(secret[..], hex(line[3]));
}
