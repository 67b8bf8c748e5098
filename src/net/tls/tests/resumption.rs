//! Data connections resume the session of their own control connection, and
//! of no other.

use std::io::{Read, Write};

use openssl::ssl::{SslOptions, SslVersion};

use super::client::Client;
use super::*;

const BOTH: [Direction; 2] = [Direction::Send, Direction::Receive];

/// A data connection that offers the client's session; whether both ends say
/// that it was resumed. Ends as transfers do.
fn data(session: &SessionTls, direction: Direction, client: &Client, offer: &Client) -> bool {
    let offered = offer.session();
    let (server, client) = together(
        session,
        Side::Data(direction),
        |accepted| {
            let mut stream = accepted.unwrap();
            match direction {
                Direction::Send => stream.write_all(b"data").unwrap(),
                Direction::Receive => {
                    let mut got = Vec::new();
                    stream.read_to_end(&mut got).unwrap();
                    assert_eq!(got, b"data");
                }
            }
            stream.shutdown().unwrap();
            stream.resumed()
        },
        |socket| {
            let mut connection = client.connect(socket, offered.as_ref()).unwrap();
            match direction {
                Direction::Send => {
                    let mut got = Vec::new();
                    connection.0.read_to_end(&mut got).unwrap();
                    assert_eq!(got, b"data");
                }
                Direction::Receive => connection.send(b"data"),
            }
            let _ = connection.0.shutdown();
            connection.resumed()
        },
    );
    assert_eq!(server, client, "the two ends disagree");
    server
}

/// TLS 1.3 when the back-end has it, TLS 1.2, and TLS 1.2 with session
/// numbers instead of tickets.
fn clients() -> [(&'static str, Client); 3] {
    [
        ("newest", Client::new()),
        (
            "1.2",
            Client::with(|builder| {
                let version = Some(SslVersion::TLS1_2);
                builder.set_max_proto_version(version).unwrap();
            }),
        ),
        (
            "1.2 without tickets",
            Client::with(|builder| {
                let version = Some(SslVersion::TLS1_2);
                builder.set_max_proto_version(version).unwrap();
                builder.set_options(SslOptions::NO_TICKET);
            }),
        ),
    ]
}

#[test]
fn every_data_connection_resumes() {
    let place = Place::new();
    let tls = place.tls();
    for (name, client) in clients() {
        let session = tls.session();
        let (_server, _client) = control(&session, &client);
        for round in 0..20 {
            for direction in BOTH {
                let resumed = data(&session, direction, &client, &client);
                assert!(resumed, "{name}, round {round}, {direction:?}");
            }
        }
    }
}

#[test]
fn clients_that_use_a_ticket_once_resume_too() {
    let place = Place::new();
    let session = place.tls().session();
    let client = Client::single_use();
    let (mut server, mut theirs) = control(&session, &client);
    for round in 0..10 {
        for direction in BOTH {
            let resumed = data(&session, direction, &client, &client);
            assert!(resumed, "round {round}, {direction:?}");
            say(&mut server, "226 done\r\n");
            assert_eq!(theirs.line(), "226 done\r\n");
        }
    }
}

#[test]
fn who_offers_nothing_is_served_and_known_as_new() {
    let place = Place::new();
    let session = place.tls().session();
    let client = Client::new();
    let (_server, _client) = control(&session, &client);
    let stranger = Client::new();
    assert!(!data(&session, Direction::Send, &stranger, &stranger));
}

#[test]
fn a_thief_with_a_session_of_its_own_does_not_resume() {
    let place = Place::new();
    let tls = place.tls();
    for (name, victim) in clients() {
        let session = tls.session();
        let (_server, _client) = control(&session, &victim);
        for (_, thief) in clients() {
            // The thief has a session that is just as valid, with the same
            // server, from the same address.
            let own = tls.session();
            let (_server, _client) = control(&own, &thief);
            assert!(data(&own, Direction::Send, &thief, &thief));
            let resumed = data(&session, Direction::Receive, &thief, &thief);
            assert!(!resumed, "{name}: another's session was resumed");
        }
        assert!(data(&session, Direction::Receive, &victim, &victim));
    }
}

#[test]
fn data_before_control_is_refused() {
    let place = Place::new();
    let session = place.tls().session();
    let (ours, _theirs) = ends();
    let error = accept_data(&session, ours, Direction::Send).unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Invalid);
}

#[test]
fn an_upload_is_whole_though_its_client_never_reads() {
    // Perl, suppaftp, rclone: write, close_notify, close. With tickets unread
    // in the socket the kernel would answer ours with a reset and throw away
    // what it had not delivered. Only TCP does that.
    let place = Place::new();
    let tls = place.tls();
    let content: Vec<u8> = (0..1_500_000u32).map(|at| at as u8).collect();
    for (name, client) in clients() {
        let session = tls.session();
        let (_server, _client) = control(&session, &client);
        let offered = client.session();
        for round in 0..5 {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let theirs = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (ours, _) = listener.accept().unwrap();
            ours.set_read_timeout(Some(PATIENCE)).unwrap();
            theirs.set_write_timeout(Some(PATIENCE)).unwrap();
            let got = thread::scope(|scope| {
                let session = &session;
                let server = scope.spawn(move || {
                    let direction = Direction::Receive;
                    let stream = accept_data(session, ours.into(), direction);
                    let mut stream = stream.unwrap();
                    // The client is done and gone before the first read.
                    let ready = [(stream.socket().as_fd(), crate::net::socket::Interest::Read)];
                    crate::net::socket::wait(ready, Some(soon())).unwrap();
                    let mut got = Vec::new();
                    stream.read_to_end(&mut got).map(|_| got)
                });
                client.upload(theirs, offered.as_ref(), &content);
                server.join().unwrap()
            });
            assert!(got.unwrap() == content, "{name}, round {round}");
        }
    }
}

/// FileZilla and Debian's lftp are built on GnuTLS; its own tool resumes the
/// way they do. First a control connection, then the same client's second.
#[test]
fn gnutls_resumes() {
    let place = Place::new();
    let tls = place.tls();
    for priority in ["NORMAL", "NORMAL:-VERS-TLS1.3"] {
        let session = tls.session();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let child = std::process::Command::new("gnutls-cli")
            .args([
                "--insecure",
                "--resume",
                "--waitresumption",
                "--alpn",
                "ftp",
            ])
            .args(["--priority", priority, "--port", &port, "127.0.0.1"])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn();
        let Ok(child) = child else {
            assert!(
                std::env::var_os("WHARF_NEED_CLIENTS").is_none(),
                "gnutls-cli is missing"
            );
            eprintln!("SKIP gnutls-cli");
            return;
        };
        let (first, _) = listener.accept().unwrap();
        first.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut control = session.accept(first.into(), &mut soon()).unwrap();
        // It says goodbye as soon as it has its ticket, and comes again.
        assert_eq!(control.read(&mut [0; 10]).unwrap(), 0);
        drop(control);
        let (second, _) = listener.accept().unwrap();
        second.set_read_timeout(Some(PATIENCE)).unwrap();
        let direction = Direction::Send;
        let mut data = accept_data(&session, second.into(), direction);
        let data = data.as_mut().unwrap();
        assert!(data.resumed(), "{priority}");
        let _ = data.shutdown();
        drop(child.wait_with_output());
    }
}
