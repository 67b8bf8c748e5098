//! How connections end, and what reads and writes do until then.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use super::client::Client;
use super::*;
use crate::net::socket::Blocking;
use crate::net::tls::CloseNotify;

const RECEIVE: Side = Side::Data(Direction::Receive);
const SEND: Side = Side::Data(Direction::Send);

fn opened(settings: &TlsSettings) -> SessionTls {
    let session = Tls::new(settings).unwrap().session();
    drop(control(&session, &Client::new()));
    session
}

#[test]
fn only_a_close_notify_ends_an_upload() {
    let place = Place::new();
    for (rule, notify, want) in [
        (CloseNotify::Required, true, Ok(())),
        (CloseNotify::Required, false, Err(ErrorKind::UnexpectedEof)),
        (CloseNotify::Optional, true, Ok(())),
        (CloseNotify::Optional, false, Ok(())),
    ] {
        let session = opened(&TlsSettings {
            close_notify: rule,
            ..place.settings()
        });
        let (got, ()) = together(
            &session,
            RECEIVE,
            |accepted| {
                let mut got = Vec::new();
                let end = accepted.unwrap().read_to_end(&mut got);
                assert_eq!(got.len(), 100_000);
                end.map(drop).map_err(|error| error.kind())
            },
            |socket| {
                let raw = socket.try_clone().unwrap();
                let mut connection = Client::new().connect(socket, None).unwrap();
                connection.send(&[7; 100_000]);
                if notify {
                    connection.0.shutdown().unwrap();
                }
                raw.shutdown(Shutdown::Write).unwrap();
            },
        );
        assert_eq!(got, want, "{rule:?}");
    }
}

#[test]
fn half_a_record_is_a_cut_even_for_old_clients() {
    let place = Place::new();
    let session = opened(&TlsSettings {
        close_notify: CloseNotify::Optional,
        ..place.settings()
    });
    let (got, ()) = together(
        &session,
        RECEIVE,
        |accepted| accepted.unwrap().read(&mut [0; 10]),
        |socket| {
            let mut raw = socket.try_clone().unwrap();
            let _connection = Client::new().connect(socket, None).unwrap();
            raw.write_all(&[23, 3, 3, 0, 100, 1, 2, 3]).unwrap();
            raw.shutdown(Shutdown::Write).unwrap();
        },
    );
    assert_eq!(got.unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn close_notify_is_sent_and_not_waited_for() {
    let place = Place::new();
    let session = opened(&place.settings());
    let (_server, ()) = together(
        &session,
        SEND,
        |accepted| {
            let mut stream = accepted.unwrap();
            stream.write_all(b"data").unwrap();
            stream.shutdown().unwrap();
            stream.shutdown().unwrap(); // the second does nothing
            stream
        },
        |socket| {
            let mut connection = Client::new().connect(socket, None).unwrap();
            let mut got = Vec::new();
            // A cut would be an error here.
            connection.0.read_to_end(&mut got).unwrap();
            assert_eq!(got, b"data");
        },
    );
}

#[test]
fn much_data_goes_both_ways() {
    let place = Place::new();
    let session = opened(&place.settings());
    let content: Vec<u8> = (0..3_000_000u32).map(|at| (at / 7) as u8).collect();
    let (got, ()) = together(
        &session,
        SEND,
        |accepted| {
            let mut stream = accepted.unwrap();
            let mut got = vec![0; content.len()];
            stream.read_exact(&mut got).unwrap();
            stream.write_all(&got).unwrap();
            stream.shutdown().unwrap();
            got
        },
        |socket| {
            let mut connection = Client::new().connect(socket, None).unwrap();
            connection.send(&content);
            let mut back = Vec::new();
            connection.0.read_to_end(&mut back).unwrap();
            assert!(back == content);
        },
    );
    assert!(got == content);
}

#[test]
fn a_write_that_would_block_loses_nothing() {
    let place = Place::new();
    let session = opened(&place.settings());
    let content: Vec<u8> = (0..4_000_000u32).map(|at| (at / 5) as u8).collect();
    let (blocked, ()) = together(
        &session,
        SEND,
        |accepted| {
            let mut stream = accepted.unwrap();
            stream.socket().set_blocking(Blocking::No).unwrap();
            let mut blocked = 0;
            let mut wait = |stream: &TlsStream| {
                blocked += 1;
                let entry = [(stream.as_fd(), crate::net::socket::Interest::Write)];
                crate::net::socket::wait(entry, Some(soon())).unwrap();
            };
            let mut rest = &content[..];
            while !rest.is_empty() {
                match stream.write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => wait(&stream),
                    Err(error) => panic!("{error}"),
                }
            }
            while let Err(error) = stream.shutdown() {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                wait(&stream);
            }
            blocked
        },
        |socket| {
            let mut connection = Client::new().connect(socket, None).unwrap();
            let mut got = Vec::new();
            connection.0.read_to_end(&mut got).unwrap();
            assert!(got == content);
        },
    );
    assert!(blocked > 0, "the test has not met a full socket");
}

#[test]
fn a_read_that_times_out_can_be_made_again() {
    let place = Place::new();
    let session = opened(&place.settings());
    let (server, mut client) = together(
        &session,
        RECEIVE,
        |accepted| accepted.unwrap(),
        |socket| Client::new().connect(socket, None).unwrap(),
    );
    let mut server = server;
    let moment = Some(std::time::Duration::from_millis(20));
    server.socket().set_read_timeout(moment).unwrap();
    let error = server.read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    client.send(b"later");
    server.socket().set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(server.read(&mut [0; 10]).unwrap(), 5);
}

#[test]
fn what_poll_cannot_see_is_told() {
    let place = Place::new();
    let session = place.tls().session();
    let (mut server, mut client) = control(&session, &Client::new());
    assert!(!server.buffered());
    client.send(b"NOOP\r\n");
    client.send(b"QUIT\r\n");
    // Both commands arrive in one read of the socket: the second must be
    // known without `poll`.
    assert_eq!(server.read(&mut [0; 6]).unwrap(), 6);
    assert!(server.buffered());
    assert_eq!(server.read(&mut [0; 2]).unwrap(), 2);
    assert!(server.buffered());
    assert_eq!(server.read(&mut [0; 9]).unwrap(), 4);
    assert!(!server.buffered());
}

#[test]
fn ccc_goes_on_in_the_clear() {
    // With a close_notify, as RFC 4217 has it, and without, as old clients do.
    for notify in [true, false] {
        let place = Place::new();
        let session = place.tls().session();
        let (server, client) = control(&session, &Client::new());
        let mut raw = client.0.get_ref().try_clone().unwrap();
        let mut connection = client;
        if notify {
            connection.0.shutdown().unwrap();
        }
        raw.write_all(b"USER me\r\n").unwrap();
        let (mut socket, mut rest) = server.into_socket(soon()).unwrap();
        while !rest.ends_with(b"\n") {
            let mut more = [0; 20];
            let count = socket.read(&mut more).unwrap();
            rest.extend_from_slice(&more[..count]);
        }
        assert_eq!(rest, b"USER me\r\n");
        socket.write_all(b"331 ").unwrap();
    }
}

#[test]
fn ccc_does_not_wait_for_ever_and_takes_no_data() {
    let place = Place::new();
    let session = place.tls().session();
    let (server, _client) = control(&session, &Client::new());
    let moment = || Instant::now() + std::time::Duration::from_millis(50);
    let error = server.into_socket(moment()).unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Timeout);
    // Half a record, and silence.
    let (server, client) = control(&session, &Client::new());
    client
        .0
        .get_ref()
        .try_clone()
        .unwrap()
        .write_all(&[21, 3, 3])
        .unwrap();
    let error = server.into_socket(moment()).unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Timeout);
    let (server, mut client) = control(&session, &Client::new());
    client.send(b"PWD\r\n");
    let error = server.into_socket(super::soon()).unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Protocol);
}
