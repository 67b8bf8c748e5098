//! Versions, packets and the first key exchange.

use std::io::{Read, Write};

use super::peer::{Kex, Peer};
use super::*;
use crate::error::ErrorKind;
use crate::ssh::Algorithms;
use crate::ssh::wire::{Put, message};
use crate::ssh_data::Reader;

#[test]
fn what_is_no_ssh_gets_words_and_an_end() {
    for bytes in [
        &b"GET / HTTP/1.0\r\n"[..],
        b"\0\0\0\0\0\0\0\0",
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-nul\0\r\n",
        &[b'S'; 4000],
        &[b"SSH-2.0-".as_slice(), &[b'x'; 4000]].concat(),
    ] {
        let mut peer = Peer::start(Settings::default());
        peer.raw(bytes);
        assert!(peer.line().starts_with("SSH-2.0-wharf_"));
        assert!(peer.line().contains("SSH"));
        peer.stream.shutdown(std::net::Shutdown::Both).unwrap();
        let kind = peer.ended().unwrap_err().kind();
        assert_eq!(kind, ErrorKind::Protocol, "{bytes:?}");
    }
}

#[test]
fn a_client_that_goes_before_its_login_is_noted() {
    for stage in [Peer::start as Stage, after_versions, Peer::keyed] {
        let peer = stage(Settings::default());
        peer.stream.shutdown(std::net::Shutdown::Both).unwrap();
        let kind = peer.ended().unwrap_err().kind();
        assert_eq!(kind, ErrorKind::Disconnected);
    }
    let peer = Peer::running(Settings::default());
    peer.stream.shutdown(std::net::Shutdown::Both).unwrap();
    peer.ended().unwrap();
}

#[test]
fn bad_lengths_and_padding_end_with_a_protocol_error() {
    let lengths = [0, 1, 5, 11, 13, 40_000, 1 << 20, 0x7fff_ffff, u32::MAX];
    for length in lengths {
        let mut peer = after_versions(Settings::default());
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.resize(64, 4);
        peer.raw(&bytes);
        peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);
    }
    for padding in [0, 3, 11, 200, 255] {
        let mut peer = after_versions(Settings::default());
        let packet = peer.packet(&[message::IGNORE, 0, 0, 0, 0], Some(padding));
        peer.raw(&packet);
        peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);
    }
}

#[test]
fn a_packet_that_was_changed_ends_with_a_mac_error() {
    for cipher in [
        "aes128-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
        "aes256-ctr",
    ] {
        let mut peer = Peer::start(Settings::default());
        peer.versions();
        let server_init = peer.receive();
        peer.exchange(&server_init, cipher, Kex::PLAIN);
        let mut packet = peer.packet(&[message::IGNORE, 0, 0, 0, 0], None);
        *packet.last_mut().unwrap() ^= 1;
        peer.raw(&packet);
        peer.must_disconnect(MAC_ERROR, ErrorKind::Protocol);
    }
}

/// Random bytes after the key exchange: under AES-CTR the length is random
/// too, so this mostly is a bad length.
#[test]
fn noise_after_the_key_exchange_ends_the_connection() {
    let mut peer = Peer::keyed(Settings::default());
    peer.raw(&[0xa5; 300]);
    let answer = peer.receive();
    assert_eq!(answer[0], message::DISCONNECT);
}

#[test]
fn the_key_exchange_comes_first_and_alone() {
    let service = [
        &[message::SERVICE_REQUEST, 0, 0, 0, 12][..],
        b"ssh-userauth",
    ]
    .concat();
    // Anything else before KEXINIT.
    for payload in [
        &service[..],
        &[message::NEWKEYS],
        &[message::KEX_ECDH_INIT],
        &[0],
        &[255],
    ] {
        let mut peer = after_versions(Settings::default());
        peer.send(payload);
        peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);
    }
    // A second KEXINIT, or something else, inside the first key exchange.
    for payload in [
        &service[..],
        &[message::NEWKEYS],
        &[message::KEX_ECDH_REPLY],
    ] {
        let mut peer = after_versions(Settings::default());
        let init = peer.init("aes128-ctr", Kex::STRICT);
        peer.send(&init);
        peer.send(payload);
        peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);
    }
    let mut peer = after_versions(Settings::default());
    let init = peer.init("aes128-ctr", Kex::STRICT);
    peer.send(&init);
    peer.send(&init);
    peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);
    // KEXINIT cut short.
    let mut peer = after_versions(Settings::default());
    peer.send(&init[..100]);
    peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);
}

/// CVE-2023-48795: messages that need not be signed must not slip in.
#[test]
fn attack_26_strict_key_exchange_takes_nothing_that_is_ignored() {
    let ignore = [message::IGNORE, 0, 0, 0, 0];
    let mut peer = after_versions(Settings::default());
    peer.send(&ignore);
    let init = peer.init("aes128-ctr", Kex::STRICT);
    peer.send(&init);
    peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);

    let mut peer = after_versions(Settings::default());
    peer.send(&init);
    peer.send(&ignore);
    peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);

    // Without strict key exchange that is lawful, in both places.
    let mut peer = Peer::start(Settings::default());
    peer.versions();
    let server_init = peer.receive();
    peer.send(&ignore);
    let init = peer.init("aes128-ctr", Kex::PLAIN);
    peer.send(&init);
    peer.send(&ignore);
    peer.finish_exchange(&init, &server_init);
    peer.ask_service("ssh-userauth");
    assert_eq!(peer.receive()[0], message::SERVICE_ACCEPT);
}

#[test]
fn a_wrong_guess_is_dropped_and_a_right_one_used() {
    let mut peer = Peer::start(Settings::default());
    peer.versions();
    let server_init = peer.receive();
    // The server has the guessed one, but not first: RFC 4253, section 7.
    let wrong = Kex {
        names: "curve25519-sha256@libssh.org",
        guess: true,
    };
    peer.exchange(&server_init, "aes128-ctr", wrong);
    peer.ask_service("ssh-userauth");
    assert_eq!(peer.receive()[0], message::SERVICE_ACCEPT);

    // Right is what is first on both sides.
    let algorithms = Algorithms {
        kex: vec![Kex::PLAIN.names.into()],
        ..Algorithms::default()
    };
    let mut peer = Peer::start(Settings {
        algorithms: algorithms.into(),
        ..Settings::default()
    });
    peer.versions();
    let server_init = peer.receive();
    let right = Kex {
        guess: true,
        ..Kex::PLAIN
    };
    let init = peer.init("aes128-ctr", right);
    peer.send(&init);
    peer.finish_exchange(&init, &server_init);
}

/// First where the library has ML-KEM, and not there where it has not.
#[test]
fn the_hybrid_key_exchange_is_offered_where_openssl_has_it() {
    let mut peer = Peer::start(Settings::default());
    peer.versions();
    let init = peer.receive();
    let mut reader = Reader::new(&init[17..]);
    let offered: Vec<&str> = reader.text().unwrap().split(',').collect();
    let hybrid = "mlkem768x25519-sha256";
    let mut ours = vec!["curve25519-sha256", "curve25519-sha256@libssh.org"];
    ours.extend([
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group14-sha256",
        "kex-strict-s-v00@openssh.com",
    ]);
    let has_it = openssl::version::number() >= 0x3050_0000;
    if has_it {
        ours.insert(0, hybrid);
    }
    assert_eq!(offered, ours, "{}", openssl::version::version());
    // An administrator who asks for what is not there learns it at the start.
    let algorithms = Algorithms {
        kex: vec![hybrid.into()],
        ..Algorithms::default()
    };
    assert_eq!(algorithms.check().is_ok(), has_it);
}

fn before_prime() -> Vec<u8> {
    let mut number = openssl::bn::BigNum::get_rfc3526_prime_4096().unwrap();
    number.sub_word(1).unwrap();
    [&[0][..], &number.to_vec()].concat()
}

#[test]
fn bad_ephemeral_keys_and_unknown_algorithms_fail_the_key_exchange() {
    let mut off_curve = vec![4; 65];
    off_curve[64] = 5;
    for (kex, key) in [
        ("curve25519-sha256", vec![0; 32]),
        ("curve25519-sha256", vec![9; 31]),
        ("curve25519-sha256", vec![]),
        ("ecdh-sha2-nistp256", vec![0]),
        ("ecdh-sha2-nistp256", vec![2; 33]),
        ("ecdh-sha2-nistp256", off_curve),
        ("ecdh-sha2-nistp384", vec![4; 97]),
        ("ecdh-sha2-nistp521", vec![4; 133]),
        // Nothing, 0, 1, a negative number, one past the prime, p - 1.
        ("diffie-hellman-group14-sha256", vec![]),
        ("diffie-hellman-group14-sha256", vec![0]),
        ("diffie-hellman-group14-sha256", vec![1]),
        ("diffie-hellman-group14-sha256", vec![0x80; 256]),
        ("diffie-hellman-group14-sha256", vec![1; 257]),
        ("diffie-hellman-group16-sha512", before_prime()),
    ] {
        let mut peer = after_versions(Settings::default());
        let names = Kex {
            names: kex,
            guess: false,
        };
        let init = peer.init("aes128-ctr", names);
        peer.send(&init);
        let mut payload = vec![message::KEX_ECDH_INIT];
        payload.put_string(&key);
        peer.send(&payload);
        peer.must_disconnect(KEY_EXCHANGE_FAILED, ErrorKind::Protocol);
    }
    for (kex, cipher) in [
        ("diffie-hellman-group1-sha1", "aes128-ctr"),
        ("curve25519-sha256", "3des-cbc,none"),
    ] {
        let mut peer = after_versions(Settings::default());
        let names = Kex {
            names: kex,
            guess: false,
        };
        let init = peer.init(cipher, names);
        peer.send(&init);
        peer.must_disconnect(KEY_EXCHANGE_FAILED, ErrorKind::Protocol);
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut state = 0x1234_5678_u32;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    for round in 0..60 {
        let stage = [after_versions as Stage, Peer::keyed, Peer::running][round % 3];
        let mut peer = stage(Settings::default());
        for _ in 0..40 {
            let numbers = [
                1, 2, 5, 7, 20, 21, 30, 50, 80, 90, 93, 94, 95, 96, 97, 98, 99,
            ];
            let mut payload = vec![numbers[random() as usize % numbers.len()]];
            payload.extend([0, 0, 0, 0].map(|zero: u8| if random() % 4 == 0 { 1 } else { zero }));
            for _ in 0..random() % 60 {
                payload.push(if random() % 2 == 0 { 0 } else { random() as u8 });
            }
            let packet = peer.packet(&payload, None);
            if peer.stream.write_all(&packet).is_err() {
                break;
            }
        }
        let _ = peer.stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let _ = peer.stream.read_to_end(&mut rest);
        // The thread came back with a value, which it does not after a panic.
        let _ = peer.ended();
    }
}
