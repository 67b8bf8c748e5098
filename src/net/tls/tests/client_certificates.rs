//! Clients that show certificates (feature `tls13` only).

use openssl::ssl::SslVersion;

use super::certificates::{Made, VALID, make};
use super::*;
use crate::error::ErrorKind;
use crate::net::tls::ClientCertificate;

/// Settings that take certificates of the authority `ca`.
fn settings(place: &Place, ca: &Made, rule: ClientCertificate) -> TlsSettings {
    let path = place.path("ca.pem");
    std::fs::write(&path, ca.certificate.to_pem().unwrap()).unwrap();
    TlsSettings {
        client_ca: Some(path),
        client_certificate: rule,
        ..place.settings()
    }
}

fn showing(made: &Made, newest: SslVersion) -> Client {
    Client::with(|builder| {
        builder.set_max_proto_version(Some(newest)).unwrap();
        builder.set_certificate(&made.certificate).unwrap();
        builder.set_private_key(&made.key).unwrap();
    })
}

fn attempt(session: &SessionTls, side: Side, client: &Client) -> Result<TlsStream> {
    let offered = client.session();
    let (server, _) = together(
        session,
        side,
        |accepted| accepted,
        |socket| client.connect(socket, offered.as_ref()),
    );
    server
}

#[test]
fn the_subject_is_known_on_control_and_data() {
    let place = Place::new();
    let ca = make("ca", None, VALID);
    let alice = make("alice.test", Some(&ca), VALID);
    for newest in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let rules = settings(&place, &ca, ClientCertificate::Required);
        let session = Tls::new(&rules).unwrap().session();
        let client = showing(&alice, newest);
        let (server, _client) = control(&session, &client);
        let subject = server.peer_subject().unwrap();
        assert_eq!(subject, "O=Example\\, Inc.,CN=alice.test");
        assert_eq!(server.peer_common_name().unwrap(), "alice.test");
        let data = attempt(&session, Side::Data(Direction::Receive), &client).unwrap();
        assert!(data.resumed());
        assert_eq!(data.peer_subject(), Some(subject));
        // One that resumes nothing shows the same certificate again.
        let fresh = showing(&alice, newest);
        let data = attempt(&session, Side::Data(Direction::Receive), &fresh).unwrap();
        assert!(!data.resumed());
    }
}

#[test]
fn only_the_authoritys_certificates_are_taken() {
    let place = Place::new();
    let ca = make("ca", None, VALID);
    let stranger = make("mallory.test", Some(&make("ca", None, VALID)), VALID);
    let past = make("past.test", Some(&ca), (-20, -10));
    for (rule, client, good) in [
        (ClientCertificate::Required, Client::new(), false),
        (ClientCertificate::Optional, Client::new(), true),
        (
            ClientCertificate::Required,
            showing(&stranger, SslVersion::TLS1_3),
            false,
        ),
        (
            ClientCertificate::Optional,
            showing(&stranger, SslVersion::TLS1_3),
            false,
        ),
        (
            ClientCertificate::Optional,
            showing(&past, SslVersion::TLS1_3),
            false,
        ),
    ] {
        let session = Tls::new(&settings(&place, &ca, rule)).unwrap().session();
        match attempt(&session, Side::Control, &client) {
            Ok(stream) => assert!(good && stream.peer_subject().is_none()),
            Err(error) => {
                assert!(!good, "{rule:?}: {error}");
                assert_eq!(error.kind(), ErrorKind::Protocol);
            }
        }
    }
}

#[test]
fn another_clients_certificate_does_not_open_a_data_connection() {
    let place = Place::new();
    let ca = make("ca", None, VALID);
    let alice = make("alice.test", Some(&ca), VALID);
    let bob = make("bob.test", Some(&ca), VALID);
    let rules = settings(&place, &ca, ClientCertificate::Optional);
    let session = Tls::new(&rules).unwrap().session();
    let (_server, _client) = control(&session, &showing(&alice, SslVersion::TLS1_3));
    let data = Side::Data(Direction::Receive);
    let error = attempt(&session, data, &showing(&bob, SslVersion::TLS1_3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[test]
fn an_authority_must_be_named() {
    let place = Place::new();
    let rules = TlsSettings {
        client_certificate: ClientCertificate::Required,
        ..place.settings()
    };
    let text = Tls::new(&rules).unwrap_err().to_string();
    assert!(text.contains("client-ca"), "{text}");
}
