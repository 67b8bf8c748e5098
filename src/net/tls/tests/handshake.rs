//! Who gets a connection, and how the others are told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use openssl::ssl::{Ssl, SslVersion};

use super::client::Client;
use super::*;
use crate::error::ErrorKind;

/// One handshake; the server's answer and the client's.
fn try_once(
    session: &SessionTls,
    side: Side,
    client: &Client,
    adjust: impl FnOnce(&mut Ssl),
) -> (Result<TlsStream>, Result<client::Connection, String>) {
    together(
        session,
        side,
        |accepted| accepted,
        |socket| client.connect_as(socket, None, adjust),
    )
}

#[test]
fn both_ends_talk() {
    let place = Place::new();
    let session = place.tls().session();
    let (mut server, mut client) = control(&session, &Client::new());
    client.send(b"NOOP\r\n");
    let mut line = [0; 64];
    assert_eq!(server.read(&mut line).unwrap(), 6);
    assert!(!server.resumed());
    let (version, cipher) = server.version_and_cipher();
    let theirs = client.0.ssl();
    assert_eq!(version, theirs.version_str());
    assert_eq!(cipher, theirs.current_cipher().unwrap().name());
    assert_eq!(version == "TLSv1.3", cfg!(feature = "tls13"));
    assert_eq!(server.peer_subject(), None);
}

#[test]
fn only_ftp_is_spoken() {
    let place = Place::new();
    let session = place.tls().session();
    drop(control(&session, &Client::new()));
    let data = Side::Data(Direction::Receive);
    // ALPACA for the refusals; FileZilla for its own name, which would oblige
    // us to more than RFC 4217.
    for (side, offered, want) in [
        (Side::Control, &b"\x03ftp"[..], Some(&b"ftp"[..])),
        (Side::Control, b"\x0fx-filezilla-ftp\x03ftp", Some(b"ftp")),
        (Side::Control, b"\x02h2\x08http/1.1", None),
        (Side::Control, b"\x0fx-filezilla-ftp", None),
        (Side::Control, b"\x08ftp-data", None),
        (data, b"\x03ftp", Some(b"ftp")),
        (data, b"\x02h2\x08http/1.1", None),
    ] {
        let (server, client) = try_once(&session, side, &Client::new(), |ssl| {
            ssl.set_alpn_protos(offered).unwrap();
        });
        match want {
            Some(want) => {
                server.unwrap();
                let client = client.unwrap();
                assert_eq!(client.0.ssl().selected_alpn_protocol(), Some(want));
            }
            None => {
                assert_eq!(server.unwrap_err().kind(), ErrorKind::Protocol);
                let told = client.err().unwrap();
                assert!(told.contains("no application protocol"), "{told}");
            }
        }
    }
    let (server, client) = try_once(&session, data, &Client::new(), |ssl| {
        ssl.set_alpn_protos(b"\x08ftp-data").unwrap();
    });
    assert!(server.is_ok() && client.is_ok());
}

#[test]
fn old_versions_are_refused() {
    let place = Place::new();
    let session = place.tls().session();
    for version in [SslVersion::TLS1, SslVersion::TLS1_1] {
        let client = Client::with(|builder| {
            builder.set_security_level(0);
            builder.set_min_proto_version(Some(version)).unwrap();
            builder.set_max_proto_version(Some(version)).unwrap();
            builder.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
        });
        let (server, client) = try_once(&session, Side::Control, &client, |_| {});
        let error = server.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(
            error.to_string().contains("unsupported protocol"),
            "{error}"
        );
        assert!(client.err().unwrap().contains("protocol version"));
    }
}

#[test]
fn what_is_no_tls_ends_cleanly() {
    let place = Place::new();
    let session = place.tls().session();
    for (sent, want) in [
        (&b"USER me\r\n"[..], "plain text"),
        (b"GET / HTTP/1.0\r\n\r\n", "plain text"),
        (b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", "malformed"),
        (b"\x16\x03\x01\x40\x01", "malformed"),
        (b"\x16\x03", "cut"),
        (b"", "cut"),
    ] {
        let (server, answer) = together(
            &session,
            Side::Control,
            |accepted| accepted.unwrap_err(),
            |mut socket| {
                socket.write_all(sent).unwrap();
                socket.shutdown(std::net::Shutdown::Write).unwrap();
                let mut answer = Vec::new();
                let _ = socket.read_to_end(&mut answer);
                answer
            },
        );
        assert!(server.to_string().contains(want), "{sent:?}: {server}");
        assert_eq!(answer, b"");
    }
}

#[test]
fn garbage_after_the_hello_ends_cleanly() {
    let place = Place::new();
    let session = place.tls().session();
    let (error, ()) = together(
        &session,
        Side::Control,
        |accepted| accepted.unwrap_err(),
        |socket| {
            let ssl = Ssl::new(Client::new().context()).unwrap();
            // A TLS 1.3 client is done before the server has seen its end.
            let _ = ssl.connect(Scrambled { socket, writes: 0 });
        },
    );
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}

/// Spoils all that is written after the first message.
#[derive(Debug)]
struct Scrambled {
    socket: std::os::unix::net::UnixStream,
    writes: usize,
}

impl Read for Scrambled {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.socket.read(buffer)
    }
}

impl Write for Scrambled {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.writes += 1;
        match self.writes {
            1 => self.socket.write(data),
            _ => {
                let spoilt: Vec<u8> = data.iter().map(|byte| byte ^ 0x55).collect();
                self.socket.write(&spoilt)
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_deadline_holds_for_the_whole_handshake() {
    let place = Place::new();
    let settings = TlsSettings {
        handshake_timeout: Duration::from_millis(300),
        ..place.settings()
    };
    let session = Tls::new(&settings).unwrap().session();
    let started = Instant::now();
    let (kind, ()) = together(
        &session,
        Side::Control,
        |accepted| accepted.unwrap_err().kind(),
        |mut socket| {
            // A byte now and then keeps a timeout per read from ever ending.
            let start = [22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc];
            for byte in start.into_iter().chain(std::iter::repeat(0)) {
                if socket.write_all(&[byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
        },
    );
    assert_eq!(kind, ErrorKind::Timeout);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_client_that_stops_in_the_middle_is_given_up() {
    let place = Place::new();
    let settings = TlsSettings {
        handshake_timeout: Duration::from_millis(100),
        ..place.settings()
    };
    let session = Tls::new(&settings).unwrap().session();
    for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let (kind, _) = together(
            &session,
            Side::Control,
            |accepted| accepted.unwrap_err().kind(),
            |mut socket| {
                socket.write_all(sent).unwrap();
                socket.read(&mut [0; 1])
            },
        );
        assert_eq!(kind, ErrorKind::Timeout);
    }
}

#[test]
fn certificates_are_chosen_by_name() {
    let place = Place::new();
    let settings = TlsSettings {
        certificates: ["ftp.test", "other.test", "*.wild.test"]
            .iter()
            .map(|host| place.pair(host))
            .collect(),
        ..TlsSettings::default()
    };
    let tls = Tls::new(&settings).unwrap();
    for (asked, want) in [
        (None, "ftp.test"),
        (Some("ftp.test"), "ftp.test"),
        (Some("OTHER.test"), "other.test"),
        (Some("a.wild.test"), "*.wild.test"),
        (Some("a.b.wild.test"), "ftp.test"),
        (Some("wild.test"), "ftp.test"),
        (Some("unknown.test"), "ftp.test"),
    ] {
        let session = tls.session();
        let (server, client) = try_once(&session, Side::Control, &Client::new(), |ssl| {
            if let Some(name) = asked {
                ssl.set_hostname(name).unwrap();
            }
        });
        server.unwrap();
        let shown = client.unwrap().0.ssl().peer_certificate().unwrap();
        let names = shown.subject_alt_names().unwrap();
        assert_eq!(names[0].dnsname(), Some(want), "{asked:?}");
    }
}

/// `openssl s_client` against one control connection; what it prints.
fn s_client(tls: &Tls, arguments: &[&str], typed: &str) -> (Result<TlsStream>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &address])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (socket, _): (TcpStream, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut accepted = tls.session().accept(socket.into(), &mut soon());
    let mut input = child.stdin.take().unwrap();
    input.write_all(typed.as_bytes()).unwrap();
    if let Ok(stream) = &mut accepted {
        if !typed.is_empty() {
            let mut seen = [0; 64];
            if let Err(error) = stream.read(&mut seen) {
                accepted = Err(error.into());
            }
        } else {
            stream.shutdown().unwrap();
        }
    }
    if accepted.is_err() {
        drop(input);
        let output = child.wait_with_output().unwrap();
        return (accepted, String::from_utf8_lossy(&output.stdout).into());
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (accepted, String::from_utf8_lossy(&text).into())
}

#[test]
fn s_client_sees_versions_and_protocols() {
    let place = Place::new();
    let tls = place.tls();
    let newest = if cfg!(feature = "tls13") {
        "TLSv1.3"
    } else {
        "TLSv1.2"
    };
    for (arguments, want) in [
        (&["-tls1_2"][..], "Protocol  : TLSv1.2"),
        (&["-alpn", "ftp"], "ALPN protocol: ftp"),
        (&["-alpn", "x-filezilla-ftp,ftp"], "ALPN protocol: ftp"),
        (&[], newest),
        (&[], "Secure Renegotiation IS"),
    ] {
        let (server, output) = s_client(&tls, arguments, "");
        assert!(server.is_ok(), "{arguments:?}: {:?}", server.err());
        assert!(output.contains(want), "{arguments:?}: {output}");
    }
    for arguments in [
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-alpn", "h2,http/1.1"],
    ] {
        let (server, _) = s_client(&tls, arguments, "");
        assert_eq!(server.unwrap_err().kind(), ErrorKind::Protocol);
    }
}

#[test]
fn renegotiation_is_refused() {
    let place = Place::new();
    let (server, _) = s_client(&place.tls(), &["-tls1_2"], "R\n");
    let error = server.unwrap_err();
    assert!(error.to_string().contains("renegotiation"), "{error}");
}
