//! Clients whose TLS is allowed and odd: small records and segments, other
//! names and sessions on data connections.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use openssl::ssl::{Ssl, SslStream, SslVersion};

use crate::common::server;
use crate::common::tls::{NEWEST, SecureClient, context, secure};

/// A connection whose handshake leaves in records of so many bytes, and each
/// record in segments of so many.
#[derive(Debug)]
struct Pieces {
    stream: TcpStream,
    record: usize,
    segment: usize,
    waiting: Vec<u8>,
    encrypted: bool,
}

impl Pieces {
    fn new(stream: TcpStream, record: usize, segment: usize) -> Self {
        stream.set_nodelay(true).unwrap();
        Pieces {
            stream,
            record,
            segment,
            waiting: Vec::new(),
            encrypted: false,
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        for segment in bytes.chunks(self.segment) {
            self.stream.write_all(segment)?;
        }
        Ok(())
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Pieces {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(data);
        while let [kind, major, minor, high, low, ref rest @ ..] = self.waiting[..] {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if rest.len() < length {
                break;
            }
            let record: Vec<u8> = self.waiting.drain(..5 + length).collect();
            // A ChangeCipherSpec: what follows is sealed as it is.
            self.encrypted |= kind == 20;
            if kind != 22 || self.encrypted {
                self.send(&record)?;
                continue;
            }
            for part in record[5..].chunks(self.record) {
                let [high, low] = u16::try_from(part.len()).unwrap().to_be_bytes();
                let small = [&[kind, major, minor, high, low][..], part].concat();
                self.send(&small)?;
            }
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn connect(client: &SecureClient, stream: Pieces) -> SslStream<Pieces> {
    let mut ssl = Ssl::new(&client.context).unwrap();
    if let Some(session) = &client.session {
        // SAFETY: it is of a TLS client's context, as every one here.
        unsafe { ssl.set_session(session) }.unwrap();
    }
    ssl.connect(stream).unwrap()
}

fn versions() -> Vec<SslVersion> {
    let mut versions = vec![SslVersion::TLS1_2, NEWEST];
    versions.dedup();
    versions
}

#[test]
fn handshakes_in_small_records_and_segments_are_served() {
    let server = secure(server());
    server.file("file", &[7; 50_000]);
    for version in versions() {
        let rules = || context(|builder| builder.set_max_proto_version(Some(version)).unwrap());
        let mut client = SecureClient::explicit_with(server.v4, rules()).ready();
        for (record, segment) in [(1, 1 << 14), (1, 1), (5, 3), (100, 1 << 14), (1 << 14, 1)] {
            let what = format!("{version:?}, records of {record}, segments of {segment}");
            // The control connection.
            let mut plain = server.connect();
            plain.expect("AUTH TLS", 234);
            let ssl = Ssl::new(&rules()).unwrap();
            let mut control = ssl.connect(Pieces::new(plain.stream, record, segment));
            let control = control
                .as_mut()
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            control.write_all(b"NOOP\r\n").unwrap();
            let mut reply = [0; 4];
            control.read_exact(&mut reply).unwrap();
            assert_eq!(&reply, b"200 ", "{what}");
            // Data connections of another one.
            let data = client.data();
            client.send("RETR file");
            let mut data = connect(&client, Pieces::new(data.0, record, segment));
            let mut content = Vec::new();
            data.read_to_end(&mut content).unwrap();
            assert_eq!(content.len(), 50_000, "{what}");
            client.wait_for(150);
            client.wait_for(226);
        }
    }
}

#[test]
fn data_may_come_in_records_of_one_byte() {
    let server = secure(server());
    for version in versions() {
        let rules = context(|builder| builder.set_max_proto_version(Some(version)).unwrap());
        let mut client = SecureClient::explicit_with(server.v4, rules).ready();
        for byte in b"NOOP\r\n" {
            client.raw(&[*byte]);
        }
        client.wait_for(200);
        let data = client.data();
        client.send("STOR file");
        let mut data = client.protect(data.0).unwrap();
        client.wait_for(150);
        let content: Vec<u8> = (0..5000u16).map(|number| number as u8).collect();
        for byte in &content {
            data.send(&[*byte]);
        }
        data.finish();
        client.wait_for(226);
        assert_eq!(server.content("file").unwrap(), content);
    }
}

/// The end at once: an empty file, and no more than that.
#[test]
fn close_notify_right_after_the_handshake_is_an_empty_upload() {
    let server = secure(server());
    for version in versions() {
        let rules = context(|builder| builder.set_max_proto_version(Some(version)).unwrap());
        let mut client = SecureClient::explicit_with(server.v4, rules).ready();
        for line in ["STOR file", "APPE file", "STOU"] {
            let data = client.data();
            client.send(line);
            let data = client.protect(data.0).unwrap();
            client.wait_for(150);
            data.finish();
            client.wait_for(226);
        }
        assert_eq!(server.content("file").unwrap(), b"");
    }
}

/// A ticket of another server, or another name than on the control
/// connection: never more than a full handshake, which `require` refuses.
#[test]
fn sessions_of_other_servers_and_names_resume_nothing() {
    let other = secure(server());
    for (reuse, served) in [("prefer", true), ("require", false)] {
        let server = secure(server().set("tls-reuse", reuse));
        server.file("file", b"content");
        for version in versions() {
            let rules = context(|builder| builder.set_max_proto_version(Some(version)).unwrap());
            let foreign = SecureClient::explicit_with(other.v4, rules.clone()).ready();
            let mut client = SecureClient::explicit_with(server.v4, rules).ready();
            let own = std::mem::replace(&mut client.session, foreign.session.clone());
            if served {
                assert_eq!(
                    client.fetch_secure("RETR file"),
                    (b"content".to_vec(), false)
                );
            } else {
                let data = client.data();
                client.send("RETR file");
                // The handshake may be over before it is refused.
                let _data = client.protect(data.0);
                client.wait_for(150);
                client.wait_for(522);
            }
            client.session = own;
            // With its own session and another name: whatever OpenSSL makes of
            // it, the session goes on.
            let data = client.data();
            client.send("RETR file");
            let mut ssl = Ssl::new(&client.context).unwrap();
            ssl.set_hostname("other.test").unwrap();
            if let Some(session) = &client.session {
                // SAFETY: it is of a TLS client's context, as every one here.
                unsafe { ssl.set_session(session) }.unwrap();
            }
            let data = ssl.connect(data.0);
            let code = client.reply().code;
            let code = match data {
                Ok(mut data) if code == 150 => {
                    let mut content = Vec::new();
                    let _ = data.read_to_end(&mut content);
                    client.reply().code
                }
                _ => code,
            };
            assert!([226, 522].contains(&code), "{reuse}, {version:?}: {code}");
            client.expect("NOOP", 200);
        }
    }
}
