//! Known-answer tests of ciphers, key derivation and signatures. The answers
//! were made by others: see `tests/vectors/ssh.txt`.

use crate::ssh::algorithms::{Algorithms, CIPHERS, MACS, Protection, choose};
use crate::ssh::cipher::{Direction, Keys, Protector, key_lengths};
use crate::ssh::kex::{CLIENT_TO_SERVER, Hash, SERVER_TO_CLIENT, SharedSecret};
use crate::ssh::signature::verify;

const VECTORS: &str = include_str!("../../../tests/vectors/ssh.txt");

/// The words of the lines that begin with `kind`.
pub fn lines(kind: &str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = VECTORS.lines().map(|line| line.split(' ').collect());
    lines.filter(move |words: &Vec<&str>| words[0] == kind)
}

pub fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn base64(text: &str) -> Vec<u8> {
    openssl::base64::decode_block(text).unwrap()
}

/// `first`, `first + 1`, ...
fn counting(length: usize, first: u8) -> Vec<u8> {
    (0..length).map(|at| first.wrapping_add(at as u8)).collect()
}

fn protection(cipher: &str, mac: &str) -> Protection {
    let allowed = Algorithms::default();
    Protection {
        cipher: choose(cipher, &allowed.ciphers, CIPHERS).unwrap(),
        mac: choose(mac, &allowed.macs, MACS),
    }
}

/// Seals with one protector and opens with another.
fn both_ways(protection: Protection, keys: &Keys, sequence: u32, plain: &[u8], sealed: &[u8]) {
    let mut seal = Protector::new(protection, keys, Direction::Seal).unwrap();
    let mut open = Protector::new(protection, keys, Direction::Open).unwrap();
    let count = plain.len() + seal.tag();
    assert_eq!(sealed.len() % count, 0);
    for (sequence, sealed) in (sequence..).zip(sealed.chunks(count)) {
        let mut packet = plain.to_vec();
        packet.resize(count, 0);
        seal.seal(sequence, &mut packet).unwrap();
        assert_eq!(packet, sealed, "{protection:?}");

        let head = open.head();
        let length = open.length(sequence, &mut packet[..head]).unwrap();
        assert_eq!(length as usize, plain.len() - 4);
        open.open(sequence, &mut packet).unwrap();
        assert_eq!(packet[4..plain.len()], plain[4..], "{protection:?}");
    }
}

/// The IVs make the counters of AES-CTR and AES-GCM run over.
#[test]
fn ciphers_and_macs_give_the_known_answers() {
    let mut count = 0;
    for line in lines("CIPHER") {
        let [_, cipher, mac, sealed] = line[..] else {
            panic!("{line:?}")
        };
        let protection = protection(cipher, mac);
        let (iv, key, mac_key) = key_lengths(protection);
        let gcm = protection.mac.is_none();
        let keys = Keys {
            iv: if gcm {
                hex("a0a1a2a3fffffffffffffffe")
            } else {
                vec![0xff; iv]
            },
            key: counting(key, 0),
            mac: counting(mac_key, 0x80),
        };
        let mut plain;
        if mac.contains("etm") || gcm {
            plain = b"\x00\x00\x00\x20\x0athe second packet ...".to_vec();
            plain.resize(36, 0);
        } else {
            plain = b"\x00\x00\x00\x1c\x04known answer, packet 1!".to_vec();
            plain.resize(32, 0);
        }
        both_ways(protection, &keys, 5, &plain, &hex(sealed));
        count += 1;
    }
    assert_eq!(count, 10);
}

/// The worked example of draft-ietf-sshm-chacha20-poly1305-02, appendix A.
#[test]
fn chacha20_poly1305_gives_the_known_answer() {
    let keys = Keys {
        iv: Vec::new(),
        key: hex(
            "8bbff6855fc102338c373e73aac0c914f076a905b2444a32eecaffeae22becc5\
                  e9b7a7a5825a8249346ec1c28301cf394543fc7569887d76e168f37562ac0740",
        ),
        mac: Vec::new(),
    };
    let plain = hex(
        "00000048065e00000000000000384c6f72656d20697073756d20646f6c6f7220\
                     73697420616d65742c20636f6e7365637465747572206164697069736963696e\
                     6720656c69744e43e804dc6c",
    );
    let sealed = hex(
        "2c3ecce4a5bc05895bf07a7ba956b6c68829ac7c83b780b7000ecde745afc705\
                      bbc378ce03a280236b87b53bed5839662302b164b6286a48cd1e097138e3cb90\
                      9b8b2b829dd18d2a35ff82d995349e855bf02c298ef775f2d1a7e8b8",
    );
    let protection = protection("chacha20-poly1305@openssh.com", "-");
    both_ways(protection, &keys, 7, &plain, &sealed);
}

/// Each bit of a sealed packet matters.
#[test]
fn a_changed_packet_is_refused() {
    for (cipher, _) in CIPHERS {
        for (mac, _) in MACS {
            let protection = protection(cipher, mac);
            let (iv, key, mac_key) = key_lengths(protection);
            let keys = Keys {
                iv: counting(iv, 1),
                key: counting(key, 2),
                mac: counting(mac_key, 3),
            };
            let mut seal = Protector::new(protection, &keys, Direction::Seal).unwrap();
            let mut plain = vec![0, 0, 0, 32, 4];
            if seal.aligned_with_length() {
                plain[3] = 28;
            }
            plain.resize(4 + plain[3] as usize, 0x55);
            let body = plain.len();
            plain.resize(body + seal.tag(), 0);
            seal.seal(3, &mut plain).unwrap();
            for at in 4..plain.len() {
                let mut open = Protector::new(protection, &keys, Direction::Open).unwrap();
                let mut packet = plain.clone();
                packet[at] ^= 0x10;
                let head = open.head();
                open.length(3, &mut packet[..head]).unwrap();
                assert!(open.open(3, &mut packet).is_err(), "{cipher} {mac} {at}");
            }
            let mut open = Protector::new(protection, &keys, Direction::Open).unwrap();
            let head = open.head();
            open.length(4, &mut plain[..head]).unwrap();
            // AES-GCM counts by itself; the others sign the sequence number.
            let gcm = cipher.contains("gcm");
            assert_eq!(open.open(4, &mut plain).is_ok(), gcm, "{cipher} {mac}");
        }
    }
}

/// The secret has leading zeroes to lose and a sign bit to guard.
#[test]
fn keys_are_derived_as_openssl_does() {
    let mut secret = counting(31, 0x91);
    secret.insert(0, 0);
    let shared = SharedSecret::of_mpint(Hash::Sha256, Vec::new(), &secret);
    let hash: [u8; 32] = counting(32, 0x20).try_into().unwrap();
    let session: [u8; 32] = counting(32, 0x60).try_into().unwrap();
    let gcm = protection("aes128-gcm@openssh.com", "-");
    let chacha = protection("chacha20-poly1305@openssh.com", "-");
    let ctr = protection("aes128-ctr", "hmac-sha2-512");
    let mut count = 0;
    for line in lines("KDF") {
        let made = match line[1] {
            "A" => shared.keys(&hash, &session, gcm, CLIENT_TO_SERVER).iv,
            "C" => shared.keys(&hash, &session, chacha, CLIENT_TO_SERVER).key,
            _ => shared.keys(&hash, &session, ctr, SERVER_TO_CLIENT).mac,
        };
        assert_eq!(made, hex(line[2]), "{line:?}");
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn signatures_are_verified_and_forged_ones_are_not() {
    let signed = hex(lines("SIGNED").next().unwrap()[1]);
    let allowed = Algorithms::default();
    let name = |signature: &[u8]| -> String {
        let length = signature[3] as usize;
        String::from_utf8(signature[4..4 + length].to_vec()).unwrap()
    };
    let mut seen = Vec::new();
    for line in lines("VALID") {
        let (key, signature) = (base64(line[1]), base64(line[2]));
        let name = name(&signature);
        let algorithm = (name.as_str(), allowed.signature(&name).unwrap());
        assert!(verify(algorithm, &key, &signature, &signed), "{name}");
        // The whole signature, the key and the message matter.
        for at in 0..signature.len() {
            let mut forged = signature.clone();
            forged[at] ^= 1;
            assert!(!verify(algorithm, &key, &forged, &signed), "{name} {at}");
        }
        for cut in 0..signature.len() {
            assert!(
                !verify(algorithm, &key, &signature[..cut], &signed),
                "{name} {cut}"
            );
        }
        let mut other = key.clone();
        *other.last_mut().unwrap() ^= 1;
        assert!(!verify(algorithm, &other, &signature, &signed), "{name}");
        assert!(!verify(algorithm, &key, &signature, b"other"), "{name}");
        // No signature passes under another algorithm's name.
        for (other, kind) in crate::ssh::algorithms::SIGNATURES {
            if *other != name {
                assert!(!verify((other, *kind), &key, &signature, &signed), "{name}");
            }
        }
        seen.push(name);
    }
    let mut all = allowed.signatures.clone();
    all.sort();
    seen.sort();
    assert_eq!(seen, all);
    for line in lines("UNTOUCHED") {
        let (key, signature) = (base64(line[1]), base64(line[2]));
        let name = name(&signature);
        let algorithm = (name.as_str(), allowed.signature(&name).unwrap());
        assert!(!verify(algorithm, &key, &signature, &signed), "{name}");
    }
}
