//! The end of a transfer, whatever the client sends at that time: every sender
//! and every receiver, in both versions of TLS and in the clear.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::raw::{c_int, c_void};

use openssl::ssl::{ShutdownState, SslVersion};

use crate::common::client::Data;
use crate::common::server;
use crate::common::tls::{NEWEST, Secure, SecureClient, SecureServer, context, secure};

/// What a client does on a data connection besides its part of the transfer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Habit {
    None,
    /// close_notify before the data has come (RFC 8446, section 6.1).
    EarlyCloseNotify,
    /// A KeyUpdate that asks for another (RFC 8446, section 4.6.3).
    KeyUpdate,
    /// Data that nobody has asked for.
    StrayBytes,
    /// The end of its direction, without close_notify under TLS.
    HalfClose,
}

use Habit::*;

const HABITS: [Habit; 5] = [None, EarlyCloseNotify, KeyUpdate, StrayBytes, HalfClose];

/// Small enough for the sockets' buffers: the client reads when the reply has
/// come. The last is not.
const SENDERS: [&str; 6] = [
    "RETR small",
    "LIST",
    "NLST",
    "MLSD",
    "RETR empty",
    "RETR large",
];

/// Commands that take data.
const RECEIVERS: [&str; 3] = ["STOR file", "APPE file", "STOU"];

fn filled() -> SecureServer {
    let server = secure(server());
    server.file("small", &[1; 30_000]);
    server.file("empty", b"");
    server.file("large", &vec![2; 5 << 20]);
    for number in 0..300 {
        server.file(&format!("a-name-of-some-length-{number}"), b"");
    }
    server
}

fn versions() -> Vec<SslVersion> {
    let mut versions = vec![SslVersion::TLS1_2, NEWEST];
    versions.dedup();
    versions
}

fn client_of(server: &SecureServer, version: SslVersion) -> SecureClient {
    let rules = context(|builder| builder.set_max_proto_version(Some(version)).unwrap());
    SecureClient::explicit_with(server.v4, rules).ready()
}

fn update_key(stream: &mut Secure) {
    unsafe extern "C" {
        fn SSL_key_update(ssl: *mut c_void, request: c_int) -> c_int;
    }
    const REQUESTED: c_int = 1;
    let ssl = std::ptr::from_ref(stream.ssl()).cast_mut().cast();
    // SAFETY: a reference to an `SslRef` is the SSL pointer itself, and the
    // connection is alive.
    assert_eq!(unsafe { SSL_key_update(ssl, REQUESTED) }, 1);
    stream.do_handshake().unwrap();
}

fn act(stream: &mut Secure, habit: Habit) {
    match habit {
        None => {}
        EarlyCloseNotify => drop(stream.shutdown().unwrap()),
        KeyUpdate => update_key(stream),
        StrayBytes => stream.write_all(b"nobody has asked for that").unwrap(),
        HalfClose => stream.get_ref().shutdown(Shutdown::Write).unwrap(),
    }
}

/// All of the data and close_notify, in small pieces.
fn rest(stream: &mut Secure) -> usize {
    let (mut length, mut piece) = (0, [0; 4096]);
    loop {
        match stream.read(&mut piece).unwrap() {
            0 => break,
            count => length += count,
        }
    }
    assert!(stream.get_shutdown().contains(ShutdownState::RECEIVED));
    length
}

#[test]
fn every_sender_is_read_to_its_end_whatever_the_client_sends() {
    let server = filled();
    for version in versions() {
        let mut client = client_of(&server, version);
        for line in SENDERS {
            let want = client.fetch_secure(line).0.len();
            for habit in HABITS {
                if habit == KeyUpdate && version != SslVersion::TLS1_3 {
                    continue;
                }
                let data = client.data();
                client.send(line);
                let mut data = client.protect(data.0).unwrap().0;
                client.wait_for(150);
                act(&mut data, habit);
                let what = format!("{line}, {habit:?}, {}", data.ssl().version_str());
                if line == "RETR large" {
                    assert_eq!(rest(&mut data), want, "{what}");
                    client.wait_for(226);
                } else {
                    client.wait_for(226);
                    // Once more, after the server has sent and said all.
                    if matches!(habit, StrayBytes | KeyUpdate) {
                        act(&mut data, habit);
                    }
                    client.expect("NOOP", 200);
                    assert_eq!(rest(&mut data), want, "{what}");
                }
            }
        }
    }
}

#[test]
fn every_sender_in_the_clear_is_read_to_its_end_too() {
    let server = filled();
    let mut client = server.ann();
    client.expect("TYPE I", 200);
    for line in SENDERS {
        let want = client.fetch(line).len();
        for habit in [None, StrayBytes, HalfClose] {
            let mut data = client.data().0;
            client.send(line);
            client.wait_for(150);
            match habit {
                StrayBytes => data.write_all(b"nobody has asked for that").unwrap(),
                HalfClose => data.shutdown(Shutdown::Write).unwrap(),
                _ => {}
            }
            let mut got = Vec::new();
            if line == "RETR large" {
                data.read_to_end(&mut got).unwrap();
                client.wait_for(226);
            } else {
                client.wait_for(226);
                client.expect("NOOP", 200);
                data.read_to_end(&mut got).unwrap();
            }
            assert_eq!(got.len(), want, "{line}, {habit:?}");
        }
    }
}

#[test]
fn a_reset_in_the_middle_is_no_complete_transfer() {
    let server = filled();
    let reset = |socket: &TcpStream| Data::from(socket.try_clone().unwrap()).reset();
    for version in versions() {
        let mut client = client_of(&server, version);
        for habit in [None, EarlyCloseNotify, StrayBytes] {
            let data = client.data();
            client.send("RETR large");
            let mut data = client.protect(data.0).unwrap().0;
            client.wait_for(150);
            act(&mut data, habit);
            data.read_exact(&mut [0; 100]).unwrap();
            let socket = data.get_ref().try_clone().unwrap();
            drop(data);
            reset(&socket);
            drop(socket);
            client.wait_for(426);
        }
    }
    let mut client = server.ann();
    let data = client.data();
    client.send("RETR large");
    client.wait_for(150);
    data.reset();
    client.wait_for(426);
}

/// A reset of a transfer that is wholly in the sockets' buffers may come too
/// late to be seen; of an upload it never is an end.
#[test]
fn every_transfer_can_be_reset_and_the_session_goes_on() {
    let server = filled();
    for version in versions() {
        let mut client = client_of(&server, version);
        for line in SENDERS.into_iter().chain(RECEIVERS) {
            for habit in [None, EarlyCloseNotify] {
                let data = client.data();
                client.send(line);
                let mut data = client.protect(data.0).unwrap().0;
                client.wait_for(150);
                let receives = RECEIVERS.contains(&line);
                if receives {
                    data.write_all(&[7; 3000]).unwrap();
                } else {
                    act(&mut data, habit);
                }
                let socket = data.get_ref().try_clone().unwrap();
                drop(data);
                Data::from(socket).reset();
                let code = client.reply().code;
                let what = format!("{line}, {habit:?}, {version:?}: {code}");
                assert!(code == 426 || (!receives && code == 226), "{what}");
                client.expect("NOOP", 200);
            }
        }
    }
}

#[test]
fn what_comes_after_an_upload_does_not_reset_its_end() {
    let server = secure(server());
    for version in versions() {
        let mut client = client_of(&server, version);
        let habits = [None, KeyUpdate, StrayBytes, HalfClose].into_iter();
        for (habit, line) in habits.flat_map(|habit| RECEIVERS.map(|line| (habit, line))) {
            if habit == KeyUpdate && version != SslVersion::TLS1_3 {
                continue;
            }
            let data = client.data();
            client.send(line);
            let mut data = client.protect(data.0).unwrap().0;
            client.wait_for(150);
            data.write_all(&[7; 30_000]).unwrap();
            if habit == KeyUpdate {
                update_key(&mut data);
                data.write_all(&[8; 30_000]).unwrap();
            }
            if habit != HalfClose {
                data.shutdown().unwrap();
            }
            match habit {
                // After close_notify nothing is TLS any more.
                StrayBytes => data.get_ref().write_all(&[9; 1000]).unwrap(),
                HalfClose => data.get_ref().shutdown(Shutdown::Write).unwrap(),
                _ => {}
            }
            let want = if habit == HalfClose { 426 } else { 226 };
            client.wait_for(want);
            if want == 226 {
                client.expect("NOOP", 200);
                assert_eq!(rest(&mut data), 0, "{line}, {habit:?}");
            }
        }
    }
}

#[test]
fn bytes_that_are_no_tls_end_a_download() {
    let server = filled();
    let mut client = server.ready();
    let data = client.data();
    client.send("RETR large");
    let data = client.protect(data.0).unwrap().0;
    client.wait_for(150);
    data.get_ref()
        .write_all(b"no record begins like this")
        .unwrap();
    let code = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut raw = data.get_ref();
            let _ = std::io::copy(&mut raw, &mut std::io::sink());
        });
        client.reply().code
    });
    assert_eq!(code, 426);
}
