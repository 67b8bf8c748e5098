//! Channels, windows, timers and rekeying.

use std::io::Write;
use std::time::Duration;

use super::peer::{Kex, Peer};
use super::*;
use crate::error::ErrorKind;
use crate::ssh::wire::{Put, message};
use crate::ssh_data::Reader;

/// Reads to the end of the channel: data, exit status, EOF, CLOSE.
pub fn to_the_end(peer: &mut Peer) -> (Vec<u8>, Vec<u8>) {
    let (mut data, mut rest) = (Vec::new(), Vec::new());
    loop {
        let payload = peer.receive();
        match payload[0] {
            message::CHANNEL_DATA => data.extend_from_slice(&payload[9..]),
            message::CHANNEL_WINDOW_ADJUST => {}
            number => rest.push(number),
        }
        if payload[0] == message::CHANNEL_CLOSE {
            return (data, rest);
        }
    }
}

pub const END: [u8; 3] = [
    message::CHANNEL_REQUEST,
    message::CHANNEL_EOF,
    message::CHANNEL_CLOSE,
];

/// scp, pscp and psftp need exit status, EOF and CLOSE after all data; then a
/// second session is welcome on the same connection.
#[test]
fn a_channel_ends_in_order_and_another_may_follow() {
    let mut peer = Peer::running(Settings::default());
    for round in 0..3 {
        peer.data(b"first ");
        peer.data(b"second");
        peer.channel_message(message::CHANNEL_EOF);
        let (data, rest) = to_the_end(&mut peer);
        assert_eq!(data, b"first second");
        assert_eq!(rest, END);
        peer.channel_message(message::CHANNEL_CLOSE);
        if round < 2 {
            peer.open_channel("session", 1 << 20, 1 << 15);
            assert_eq!(peer.receive()[0], message::CHANNEL_OPEN_CONFIRMATION);
            peer.request("subsystem", Some("sftp"));
            assert_eq!(peer.receive()[0], message::CHANNEL_SUCCESS);
        }
    }
    let mut farewell = vec![message::DISCONNECT];
    farewell.put_u32(BY_APPLICATION);
    farewell.put_string(b"bye");
    farewell.put_string(b"");
    peer.send(&farewell);
    peer.ended().unwrap();
}

#[test]
fn a_client_may_close_while_the_subsystem_runs() {
    let mut peer = Peer::running(Settings::default());
    peer.channel_message(message::CHANNEL_CLOSE);
    assert_eq!(peer.receive()[0], message::CHANNEL_CLOSE);
    peer.open_channel("session", 100, 1000);
    assert_eq!(peer.receive()[0], message::CHANNEL_OPEN_CONFIRMATION);
    peer.channel_message(message::CHANNEL_CLOSE);
    assert_eq!(peer.receive()[0], message::CHANNEL_CLOSE);
}

#[test]
fn everything_but_session_channels_is_refused() {
    let mut peer = Peer::running(Settings {
        max_channels: 1,
        ..Settings::default()
    });
    for (kind, packet, reason) in [
        ("session", 1 << 15, 4),
        ("direct-tcpip", 1 << 15, 1),
        ("x11", 1 << 15, 1),
        ("auth-agent@openssh.com", 1 << 15, 1),
        ("no-such", 1 << 15, 3),
    ] {
        peer.open_channel(kind, 1 << 20, packet);
        let answer = peer.receive();
        assert_eq!(answer[0], message::CHANNEL_OPEN_FAILURE, "{kind}");
        let mut reader = Reader::new(&answer[1..]);
        assert_eq!(reader.u32().unwrap(), 42);
        assert_eq!(reader.u32().unwrap(), reason, "{kind}");
    }
    for kind in [
        "pty-req",
        "env",
        "x11-req",
        "subsystem",
        "shell",
        "exec",
        "no-such",
    ] {
        peer.request(kind, Some("sftp"));
        assert_eq!(peer.receive()[0], message::CHANNEL_FAILURE, "{kind}");
    }
    for name in ["tcpip-forward", "keepalive@openssh.com"] {
        let mut request = vec![message::GLOBAL_REQUEST];
        request.put_string(name.as_bytes());
        request.put_boolean(true);
        peer.send(&request);
        assert_eq!(peer.receive(), [message::REQUEST_FAILURE]);
    }
    // An unknown message is named in the answer; the login is over.
    peer.send(&[192, 1, 2]);
    assert_eq!(peer.receive()[0], message::UNIMPLEMENTED);
    peer.ask_login("tester", "wrong");
    peer.data(b"alive");
    assert_eq!(&peer.receive()[9..], b"alive");
    // A packet size with which nothing can be done.
    let mut peer = Peer::logged_in(Settings::default());
    peer.open_channel("session", 1 << 20, 0);
    assert_eq!(peer.receive()[0], message::CHANNEL_OPEN_FAILURE);
}

#[test]
fn channel_messages_out_of_order_end_the_connection() {
    let mut peer = Peer::logged_in(Settings::default());
    peer.data(b"no channel is open");
    peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);
    for number in [
        message::CHANNEL_OPEN_CONFIRMATION,
        message::CHANNEL_OPEN_FAILURE,
        message::SERVICE_REQUEST,
        message::NEWKEYS,
        message::KEX_ECDH_INIT,
        0,
    ] {
        let mut peer = Peer::running(Settings::default());
        peer.channel_message(number);
        peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);
    }
    for payload in [
        &[message::CHANNEL_DATA, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff][..],
        &[message::CHANNEL_DATA, 0, 0, 0, 1, 0, 0, 0, 0],
        &[message::CHANNEL_REQUEST, 0, 0, 0, 0],
        &[message::CHANNEL_OPEN],
        &[message::GLOBAL_REQUEST],
    ] {
        let mut peer = Peer::running(Settings::default());
        peer.send(payload);
        peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);
    }
    let mut peer = Peer::running(Settings::default());
    peer.channel_message(message::CHANNEL_EOF);
    peer.data(b"data after EOF");
    // The end of the subsystem may have been quicker; then it is not wrong.
    let (_, rest) = to_the_end_or_disconnect(&mut peer);
    assert!(rest.ends_with(&[message::DISCONNECT]) || rest == END);
}

fn to_the_end_or_disconnect(peer: &mut Peer) -> (Vec<u8>, Vec<u8>) {
    let mut rest = Vec::new();
    loop {
        let number = peer.receive()[0];
        rest.push(number);
        if matches!(number, message::CHANNEL_CLOSE | message::DISCONNECT) {
            return (Vec::new(), rest);
        }
    }
}

// ---- windows ----

/// A window doubles with its use, up to its bound.
#[test]
fn windows_grow_with_their_use() {
    let mut peer = Peer::running(Settings {
        window: 1 << 20,
        ..Settings::default()
    });
    let (mut left, mut most, mut back) = (256_usize << 10, 0, 0);
    for _ in 0..400 {
        peer.data(&[7; 16 << 10]);
        left -= 16 << 10;
        back += 16 << 10;
        while back > 0 {
            let payload = peer.receive();
            match payload[0] {
                message::CHANNEL_DATA => back -= payload.len() - 9,
                message::CHANNEL_WINDOW_ADJUST => {
                    left += Reader::new(&payload[5..]).u32().unwrap() as usize;
                }
                other => panic!("{other}"),
            }
        }
        peer.adjust(16 << 10);
        most = most.max(left);
    }
    assert_eq!(most, 1 << 20);
}

#[test]
fn windows_bind_both_sides() {
    // A client that sends more than it may.
    let settings = Settings {
        window: 100_000,
        ..Settings::default()
    };
    let mut peer = Peer::logged_in(settings);
    peer.open_channel("session", 0, 1 << 15);
    assert_eq!(peer.receive()[0], message::CHANNEL_OPEN_CONFIRMATION);
    for _ in 0..3 {
        peer.data(&[1; 32_000]);
    }
    peer.data(&[1; 4001]);
    peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);

    // A window that grows beyond 2^32-1.
    let mut peer = Peer::running(Settings::default());
    peer.adjust(u32::MAX);
    peer.must_disconnect(PROTOCOL_ERROR, ErrorKind::Protocol);

    // A window of nothing: no data come, and then exactly what was granted.
    let mut peer = Peer::logged_in(Settings::default());
    peer.open_channel("session", 0, 1 << 15);
    assert_eq!(peer.receive()[0], message::CHANNEL_OPEN_CONFIRMATION);
    peer.request("subsystem", Some("sftp"));
    assert_eq!(peer.receive()[0], message::CHANNEL_SUCCESS);
    peer.data(b"0123456789");
    for grant in [1, 3, 6] {
        peer.adjust(grant);
        assert_eq!(peer.receive().len() - 9, grant as usize);
    }
}

/// Packets never hold more than the client's maximum.
#[test]
fn packets_are_as_small_as_the_client_wants() {
    let mut peer = Peer::logged_in(Settings::default());
    peer.open_channel("session", 1 << 20, 300);
    assert_eq!(peer.receive()[0], message::CHANNEL_OPEN_CONFIRMATION);
    peer.request("subsystem", Some("sftp"));
    assert_eq!(peer.receive()[0], message::CHANNEL_SUCCESS);
    peer.data(&[5; 10_000]);
    let mut count = 0;
    while count < 10_000 {
        let payload = peer.receive();
        if payload[0] == message::CHANNEL_DATA {
            assert!(payload.len() <= 309);
            count += payload.len() - 9;
        }
    }
}

/// A client that asks and asks and never reads is not read from for ever.
#[test]
fn a_flood_of_questions_meets_back_pressure() {
    let mut peer = Peer::running(Settings::default());
    peer.stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut request = vec![message::GLOBAL_REQUEST];
    request.put_string(b"keepalive@openssh.com");
    request.put_boolean(true);
    let mut sent = 0_usize;
    loop {
        let mut burst = Vec::new();
        for _ in 0..1000 {
            burst.extend(peer.packet(&request, None));
        }
        if peer.stream.write_all(&burst).is_err() {
            break;
        }
        sent += 1000;
        // Each answer takes 64 bytes: 1 MiB in the server, some in the sockets.
        assert!(sent < 200_000, "the server goes on reading");
    }
}

// ---- time ----

#[test]
fn silent_clients_are_asked_and_given_up() {
    let mut settings = Settings {
        keepalive: Duration::from_millis(100),
        ..Settings::default()
    };
    let mut peer = Peer::running(settings.clone());
    // Answered questions keep the session.
    for _ in 0..5 {
        assert_eq!(peer.receive()[0], message::GLOBAL_REQUEST);
        peer.send(&[message::REQUEST_FAILURE]);
    }
    let mut questions = 0;
    loop {
        let payload = peer.receive();
        if payload[0] == message::DISCONNECT {
            assert_eq!(Reader::new(&payload[1..]).u32().unwrap(), CONNECTION_LOST);
            break;
        }
        questions += 1;
    }
    assert_eq!(questions, 3);
    assert_eq!(peer.ended().unwrap_err().kind(), ErrorKind::Timeout);

    // Where nothing runs, answers to questions are no activity.
    settings.idle_timeout = Duration::from_millis(350);
    let mut peer = Peer::logged_in(settings.clone());
    loop {
        let payload = peer.receive();
        if payload[0] == message::DISCONNECT {
            assert_eq!(Reader::new(&payload[1..]).u32().unwrap(), BY_APPLICATION);
            break;
        }
        peer.send(&[message::REQUEST_FAILURE]);
    }
    assert_eq!(peer.ended().unwrap_err().kind(), ErrorKind::Timeout);

    // Where the subsystem runs they are: a mounted file system stays.
    let mut peer = Peer::running(settings.clone());
    for _ in 0..8 {
        assert_eq!(peer.receive()[0], message::GLOBAL_REQUEST);
        peer.send(&[message::REQUEST_FAILURE]);
    }
    peer.data(b"alive");
    assert_eq!(&peer.receive()[9..], b"alive");
    settings.keepalive = Duration::ZERO;
    let mut peer = Peer::running(settings);
    peer.must_disconnect(BY_APPLICATION, ErrorKind::Timeout);
}

#[test]
fn keys_grow_old_with_time_and_a_rekey_must_end() {
    let mut settings = Settings {
        rekey_time: Duration::from_millis(200),
        ..Settings::default()
    };
    let mut peer = Peer::running(settings.clone());
    let mut rekeys = 0;
    while rekeys < 2 {
        peer.data(b"tick");
        let payload = peer.receive();
        if payload[0] == message::KEXINIT {
            peer.exchange(&payload, "aes128-gcm@openssh.com", Kex::STRICT);
            rekeys += 1;
        }
    }
    // A client that never answers the KEXINIT.
    settings.login_deadline = Duration::from_millis(400);
    let mut peer = Peer::running(settings);
    loop {
        peer.data(b"tick");
        if peer.receive()[0] == message::KEXINIT {
            break;
        }
    }
    assert_eq!(peer.ended().unwrap_err().kind(), ErrorKind::Timeout);
}

/// While a key exchange that we began is open, the client may go on sending;
/// answers wait for its end.
#[test]
fn data_and_questions_cross_a_rekey() {
    let settings = Settings {
        rekey_bytes: 10_000,
        ..Settings::default()
    };
    let mut peer = Peer::running(settings);
    let mut sent = 0;
    let mut came = 0;
    let mut answers = 0;
    let mut rekeys = 0;
    for _ in 0..20 {
        peer.data(&[9; 3000]);
        sent += 3000;
        peer.send(&[message::GLOBAL_REQUEST, 0, 0, 0, 1, b'x', 1]);
    }
    peer.channel_message(message::CHANNEL_EOF);
    loop {
        let payload = peer.receive();
        match payload[0] {
            message::CHANNEL_DATA => came += payload.len() - 9,
            message::REQUEST_FAILURE => answers += 1,
            message::KEXINIT => {
                peer.exchange(&payload, "aes128-ctr", Kex::STRICT);
                rekeys += 1;
            }
            message::CHANNEL_CLOSE => break,
            _ => {}
        }
    }
    assert_eq!((came, answers), (sent, 20));
    assert!(rekeys > 1, "{rekeys}");
}

/// asyncssh 2.10 as Debian 12 has it sends on in the middle of a key exchange.
#[test]
fn data_in_the_middle_of_a_rekey_are_kept_for_later() {
    let settings = Settings {
        rekey_bytes: 10_000,
        ..Settings::default()
    };
    let mut peer = Peer::running(settings.clone());
    peer.data(&[1; 12_000]);
    let server_init = loop {
        let payload = peer.receive();
        if payload[0] == message::KEXINIT {
            break payload;
        }
    };
    let init = peer.init("aes128-ctr", Kex::STRICT);
    peer.send(&init);
    peer.data(&[2; 5000]);
    peer.send(&[message::GLOBAL_REQUEST, 0, 0, 0, 1, b'x', 1]);
    peer.data(&[3; 5]);
    peer.finish_exchange(&init, &server_init);
    peer.channel_message(message::CHANNEL_EOF);
    let (mut came, mut answers) = (Vec::new(), 0);
    loop {
        let payload = peer.receive();
        match payload[0] {
            message::CHANNEL_DATA => came.extend_from_slice(&payload[9..]),
            message::REQUEST_FAILURE => answers += 1,
            message::KEXINIT => peer.exchange(&payload, "aes128-ctr", Kex::STRICT),
            message::CHANNEL_CLOSE => break,
            _ => {}
        }
    }
    assert!(came.ends_with(&[&[2; 5000][..], &[3; 5]].concat()));
    assert_eq!(answers, 1);

    // More than a window, and messages without end, are a fault.
    let mut data = vec![message::CHANNEL_DATA, 0, 0, 0, 0, 0, 0, 0x40, 0];
    data.resize(9 + 0x4000, 0);
    let question = vec![message::GLOBAL_REQUEST, 0, 0, 0, 0, 0];
    for (flood, count) in [(data, 20), (question, 4097)] {
        let mut peer = Peer::running(settings.clone());
        let init = peer.init("aes128-ctr", Kex::STRICT);
        peer.send(&init);
        for _ in 0..count {
            peer.send(&flood);
        }
        peer.must_disconnect(2, ErrorKind::Protocol);
    }
}
