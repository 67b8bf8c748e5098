//! The back-end on native-tls: TLS 1.2.
//!
//! native-tls (0.2) sets no TLS 1.3 in its acceptors and says nothing of
//! names, resumption or ciphers; `hello` and `wire` see to these.

use std::error::Error as _;
use std::io::{self, Read, Write};

use native_tls::{HandshakeError, MidHandshakeTlsStream, Protocol, TlsAcceptor, TlsStream};

use super::keys::Identity;
use super::wire::Wire;
use super::{HandshakeStep, Purpose, ResumptionId, Rules, TlsSettings};
use crate::config::{ClientCertificate, TlsMin};
use crate::error::{Error, ErrorKind, Result};

/// A certificate as native-tls takes it.
pub(super) struct Material(native_tls::Identity);

impl Material {
    /// Prepares `identity` once; its parts are shared by all sessions.
    ///
    /// # Errors
    /// `Unsupported` for what native-tls can't do.
    pub(super) fn new(identity: &Identity, settings: &TlsSettings) -> Result<Material> {
        if settings.client_certificate != ClientCertificate::No
            || settings.client_ca.is_some()
            || settings.client_crl.is_some()
        {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "client certificates need a build with the feature tls13",
            ));
        }
        for (said, option) in [
            (settings.min == TlsMin::Tls13, "tls-min 1.3"),
            (!settings.ciphers.is_empty(), "tls-ciphers"),
            (!settings.curves.is_empty(), "tls-curves"),
            (!settings.old_clients.is_empty(), "tls-old-clients"),
        ] {
            if said {
                let text = format!("{option} needs a build with the feature tls13");
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
        }
        identity
            .to_pem()
            .and_then(|(chain, key)| {
                native_tls::Identity::from_pkcs8(&chain, &key).map_err(io::Error::other)
            })
            .map(Material)
            .map_err(|error| {
                let doing = format!("using the certificate {}", identity.path.display());
                Error::with_source(ErrorKind::Invalid, doing, error)
            })
    }
}

/// An acceptor with its own session cache and ticket key.
pub(super) struct Context(TlsAcceptor);

impl Context {
    pub(super) fn new(material: &Material, _rules: Rules) -> io::Result<Context> {
        TlsAcceptor::builder(material.0.clone())
            .min_protocol_version(Some(Protocol::Tlsv12))
            .accept_alpn(&["ftp"])
            .build()
            .map(Context)
            .map_err(|error| {
                let what = error.to_string();
                // native-tls brings its own parameters of 2048 bits, and lets
                // nobody replace them.
                let advice = if what.contains("dh key too small") {
                    "; at OpenSSL's security level 3 this build can't serve: say \
                     CipherString = DEFAULT@SECLEVEL=2 in openssl.cnf (or in a file that \
                     OPENSSL_CONF names), or take a build with the feature tls13"
                } else {
                    ""
                };
                io::Error::other(format!("{what}{advice}"))
            })
    }

    /// What clients name the session by that was granted on `wire`.
    pub(super) fn resumption_ids(&self, wire: &Wire) -> Vec<ResumptionId> {
        wire.resumption_ids()
    }

    /// Runs the handshake on `wire`, as far as what has come allows.
    pub(super) fn accept(
        &self,
        wire: Wire,
        _purpose: Purpose,
    ) -> io::Result<HandshakeStep<Connection, Handshake>> {
        step(self.0.accept(wire))
    }
}

/// A handshake that waits for the peer.
pub(super) struct Handshake(MidHandshakeTlsStream<Wire>);

impl Handshake {
    /// Goes on with what has come.
    pub(super) fn step(self) -> io::Result<HandshakeStep<Connection, Handshake>> {
        step(self.0.handshake())
    }
}

fn step(
    outcome: std::result::Result<TlsStream<Wire>, HandshakeError<Wire>>,
) -> io::Result<HandshakeStep<Connection, Handshake>> {
    match outcome {
        Ok(stream) => Ok(HandshakeStep::Done(Connection(stream))),
        Err(HandshakeError::Failure(error)) => Err(cause(error)),
        Err(HandshakeError::WouldBlock(handshake)) => Ok(HandshakeStep::Wait(Handshake(handshake))),
    }
}

/// The wire's own error if there is one inside, so that its kind survives.
fn cause(error: native_tls::Error) -> io::Error {
    let mut inner = error.source();
    while let Some(error) = inner {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return io::Error::new(error.kind(), error.to_string());
        }
        inner = error.source();
    }
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// An established connection.
#[derive(Debug)]
pub(super) struct Connection(TlsStream<Wire>);

impl Connection {
    pub(super) fn wire(&self) -> &Wire {
        self.0.get_ref()
    }

    pub(super) fn wire_mut(&mut self) -> &mut Wire {
        self.0.get_mut()
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }

    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    /// Bytes decrypted and not read.
    pub(super) fn pending(&self) -> usize {
        self.0.buffered_read_size().unwrap_or(0)
    }

    /// Puts a close_notify into the wire.
    pub(super) fn close_notify(&mut self) -> io::Result<()> {
        self.0.shutdown()
    }

    /// TLS 1.2 gives its ticket within the handshake, to be used again.
    pub(super) fn offer_ticket(&mut self) {}

    pub(super) fn resumed(&self) -> bool {
        self.wire().resumed()
    }

    pub(super) fn version_and_cipher(&self) -> (&'static str, &'static str) {
        let suite = self.wire().cipher_suite().unwrap_or(0);
        let known = CIPHERS.iter().find(|(number, _)| *number == suite);
        ("TLSv1.2", known.map_or("a cipher of old", |(_, name)| name))
    }

    /// native-tls asks no client for a certificate.
    pub(super) fn peer(&self) -> Option<super::stream::Peer> {
        None
    }
}

/// OpenSSL's names of the suites that native-tls offers and that clients of
/// this century choose.
const CIPHERS: [(u16, &str); 12] = [
    (0xc02b, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (0xc02c, "ECDHE-ECDSA-AES256-GCM-SHA384"),
    (0xc02f, "ECDHE-RSA-AES128-GCM-SHA256"),
    (0xc030, "ECDHE-RSA-AES256-GCM-SHA384"),
    (0xcca8, "ECDHE-RSA-CHACHA20-POLY1305"),
    (0xcca9, "ECDHE-ECDSA-CHACHA20-POLY1305"),
    (0xc023, "ECDHE-ECDSA-AES128-SHA256"),
    (0xc027, "ECDHE-RSA-AES128-SHA256"),
    (0x009e, "DHE-RSA-AES128-GCM-SHA256"),
    (0x009f, "DHE-RSA-AES256-GCM-SHA384"),
    (0x009c, "AES128-GCM-SHA256"),
    (0x009d, "AES256-GCM-SHA384"),
];
