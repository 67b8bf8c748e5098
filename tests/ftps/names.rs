//! ALPN and SNI.

use openssl::ssl::Ssl;

use crate::common::client::Client;
use crate::common::server;
use crate::common::tls::{Certificates, VALID, certificate, context, secure};

/// A handshake that offers protocols or asks for a name; what came of it.
fn attempt(
    client: Client,
    adjust: impl FnOnce(&mut Ssl),
) -> Result<openssl::ssl::SslStream<std::net::TcpStream>, String> {
    let rules = context(|_| {});
    let mut ssl = Ssl::new(&rules).unwrap();
    adjust(&mut ssl);
    ssl.connect(client.stream)
        .map_err(|error| error.to_string())
}

#[test]
fn only_ftp_is_selected() {
    let server = secure(server());
    let cases: [(&[u8], Option<&[u8]>); 7] = [
        (b"\x02h2\x08http/1.1", None),
        (b"\x04smtp", None),
        (b"\x0fx-filezilla-ftp", None),
        (b"\x08ftp-data", None),
        (b"\x03ftp", Some(b"ftp")),
        (b"\x0fx-filezilla-ftp\x03ftp", Some(b"ftp")),
        (b"\x02h2\x03ftp", Some(b"ftp")),
    ];
    for (offered, wanted) in cases {
        for implicit in [false, true] {
            let client = match implicit {
                true => Client::connect(server.implicit),
                false => {
                    let mut client = server.connect();
                    client.expect("AUTH TLS", 234);
                    client
                }
            };
            let outcome = attempt(client, |ssl| ssl.set_alpn_protos(offered).unwrap());
            let shown = String::from_utf8_lossy(offered);
            match (outcome, wanted) {
                (Ok(stream), Some(wanted)) => {
                    assert_eq!(
                        stream.ssl().selected_alpn_protocol(),
                        Some(wanted),
                        "{shown}"
                    );
                }
                (Err(error), None) => assert!(error.contains("alert"), "{shown}: {error}"),
                (Ok(_), None) => panic!("{shown} was accepted"),
                (Err(error), Some(_)) => panic!("{shown}: {error}"),
            }
        }
    }
    // Who offers nothing is an FTP client of the older kind.
    server.ready().expect("NOOP", 200);
}

#[test]
fn a_browser_on_a_data_port_is_refused() {
    let server = secure(server());
    let mut client = server.ready();
    let data = client.data();
    client.expect("STOR new", 150);
    let mut ssl = Ssl::new(&client.context).unwrap();
    ssl.set_alpn_protos(b"\x02h2\x08http/1.1").unwrap();
    let error = ssl.connect(data.0).map(drop).unwrap_err().to_string();
    assert!(error.contains("alert"), "{error}");
    client.wait_for(522);
}

#[test]
fn http_under_tls_ends_the_session() {
    let server = secure(server());
    for line in ["GET / HTTP/1.1", "POST / HTTP/1.1", "Cookie: secret=1"] {
        let mut client = server.explicit();
        client.expect(line, 421);
        client.closed();
    }
}

#[test]
fn the_certificate_is_chosen_by_name() {
    let certificates = Certificates::new();
    let mut settings = server();
    for name in ["one.test", "two.test"] {
        let made = certificate(name, None, VALID);
        let (certificate, key) = certificates.write(name, &[&made]);
        settings = settings
            .set("tls-cert", certificate.to_str().unwrap())
            .set("tls-key", key.to_str().unwrap());
    }
    let server = settings.start();
    for (asked, shown) in [
        (None, "one.test"),
        (Some("one.test"), "one.test"),
        (Some("two.test"), "two.test"),
        (Some("TWO.test"), "two.test"),
        (Some("three.test"), "one.test"),
    ] {
        let mut client = server.connect();
        client.expect("AUTH TLS", 234);
        let stream = attempt(client, |ssl| {
            if let Some(name) = asked {
                ssl.set_hostname(name).unwrap();
            }
        })
        .unwrap();
        let certificate = stream.ssl().peer_certificate().unwrap();
        let subject = certificate.subject_name();
        let name = subject.entries().next().unwrap().data().to_string();
        assert_eq!(name.unwrap(), shown, "{asked:?}");
    }
}
