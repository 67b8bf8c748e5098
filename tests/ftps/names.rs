//! ALPN, SNI, and which certificate a client gets.

use std::time::{Duration, Instant};

use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{Ssl, SslVersion};

use crate::common::client::Client;
use crate::common::tls::{
    Certificates, SecureClient, VALID, certificate, certificate_with, context, secure,
};
use crate::common::{TestServer, server};

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
            let client = if implicit {
                Client::connect(server.implicit)
            } else {
                let mut client = server.connect();
                client.expect("AUTH TLS", 234);
                client
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

/// A server with certificates of one.test and two.test.
fn two_names() -> (Certificates, TestServer) {
    let certificates = Certificates::new();
    let mut settings = server();
    for name in ["one.test", "two.test"] {
        let made = certificate(name, None, VALID);
        let (certificate, key) = certificates.write(name, &[&made]);
        settings = settings
            .set("tls-cert", certificate.to_str().unwrap())
            .set("tls-key", key.to_str().unwrap());
    }
    (certificates, settings.start())
}

/// The name in the certificate that a client gets which asks for `asked`.
fn shown(client: Client, asked: Option<&str>) -> String {
    let stream = attempt(client, |ssl| {
        if let Some(name) = asked {
            ssl.set_hostname(name).unwrap();
        }
    })
    .unwrap();
    let certificate = stream.ssl().peer_certificate().unwrap();
    let subject = certificate.subject_name();
    let name = subject.entries().next().unwrap().data().to_string();
    name.unwrap()
}

/// RFC 7151: a name before AUTH TLS, for clients that have none in the handshake.
#[test]
fn host_chooses_the_certificate() {
    let (_certificates, server) = two_names();
    for (lines, asked, want) in [
        (&["HOST two.test"][..], None, "two.test"),
        (&["HOST TWO.test"], None, "two.test"),
        (&["HOST one.test", "HOST two.test"], None, "two.test"),
        (&["HOST two.test"], Some("one.test"), "one.test"),
        (&["HOST two.test", "REIN"], None, "one.test"),
        (&["HOST 127.0.0.1"], None, "one.test"),
    ] {
        let mut client = server.connect();
        for line in lines {
            client.expect(line, 220);
        }
        client.expect("HOST three.test", 504);
        client.expect("AUTH TLS", 234);
        assert_eq!(shown(client, asked), want, "{lines:?} {asked:?}");
    }
}

#[test]
fn the_certificate_is_chosen_by_name() {
    let (_certificates, server) = two_names();
    for (asked, want) in [
        (None, "one.test"),
        (Some("one.test"), "one.test"),
        (Some("two.test"), "two.test"),
        (Some("TWO.test"), "two.test"),
        (Some("three.test"), "one.test"),
    ] {
        let mut client = server.connect();
        client.expect("AUTH TLS", 234);
        assert_eq!(shown(client, asked), want, "{asked:?}");
    }
}

#[test]
fn an_expired_certificate_stops_ftps_alone() {
    let certificates = Certificates::new();
    let old = certificate("ftp.test", None, (-20, -1));
    let (path, key) = certificates.write("ftp.test", &[&old]);
    let server = server()
        .set("tls-cert", path.to_str().unwrap())
        .set("tls-key", key.to_str().unwrap())
        .start();
    let mut client = server.ann();
    client.expect("AUTH TLS", 431);
    client.expect("NOOP", 200);
    // A renewed one is taken up, without a restart.
    certificates.write("ftp.test", &[&certificate("ftp.test", None, VALID)]);
    let until = Instant::now() + Duration::from_secs(20);
    while client.cmd("AUTH TLS").code != 234 {
        assert!(
            Instant::now() < until,
            "the renewed certificate is not served"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// An RSA and an EC certificate for one name: clients get what they can use.
#[test]
fn an_ec_and_an_rsa_certificate_serve_one_name() {
    let certificates = Certificates::new();
    let ec = certificate("ftp.test", None, VALID);
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let rsa = certificate_with(key, "ftp.test", None, VALID);
    let (rsa_path, rsa_key) = certificates.write("rsa", &[&rsa]);
    let (ec_path, ec_key) = certificates.write("ec", &[&ec]);
    for order in [[0, 1], [1, 0]] {
        let pairs = [(&rsa_path, &rsa_key), (&ec_path, &ec_key)];
        let mut settings = server();
        for at in order {
            settings = settings
                .set("tls-cert", pairs[at].0.to_str().unwrap())
                .set("tls-key", pairs[at].1.to_str().unwrap());
        }
        let server = settings.start();
        for (ciphers, signatures, want) in [
            ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA+SHA256", &ec),
            ("ECDHE-RSA-AES128-GCM-SHA256", "RSA+SHA256", &rsa),
        ] {
            let rules = context(|builder| {
                let version = Some(SslVersion::TLS1_2);
                builder.set_max_proto_version(version).unwrap();
                builder.set_cipher_list(ciphers).unwrap();
                builder.set_sigalgs_list(signatures).unwrap();
            });
            let client = SecureClient::explicit_with(server.v4, rules);
            let shown = client.stream.ssl().peer_certificate().unwrap();
            assert!(shown == want.certificate, "{ciphers}, {order:?}");
        }
    }
}
