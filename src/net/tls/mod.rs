//! FTPS: TLS under control and data connections (RFC 4217).
//!
//! One interface over two back-ends: the `openssl` crate (feature `tls13`, on
//! by default: TLS 1.3, client certificates, cipher order), or without it
//! native-tls (TLS 1.2, OpenSSL 1.1.1). Without the feature `ftps` the same names are there and
//! [`Tls::new`] says that this build has no TLS.
//!
//! Each control connection has a [`SessionTls`] with keys of its own, so
//! that data connections resume the session of their own control connection
//! and of no other (wharf-security(7), attack 6).
//!
//! Not here: AUTH, PROT and what plain text is still good for.

use std::path::PathBuf;
use std::time::Duration;

use crate::address::Network;
use crate::config::{ClientCertificate, TlsMin};

#[cfg(all(feature = "ftps", not(feature = "tls13")))]
#[path = "native.rs"]
mod backend;
#[cfg(feature = "tls13")]
#[path = "openssl.rs"]
mod backend;
#[cfg(feature = "ftps")]
mod certificates;
#[cfg(feature = "ftps")]
mod client_view;
#[cfg_attr(not(feature = "ftps"), allow(dead_code))]
mod hello;
#[cfg(feature = "ftps")]
mod keys;
#[cfg(not(feature = "ftps"))]
mod none;
#[cfg(feature = "ftps")]
mod self_signed;
#[cfg(feature = "ftps")]
mod session;
#[cfg(feature = "ftps")]
mod stream;
#[cfg(all(test, feature = "ftps"))]
mod tests;
#[cfg(feature = "ftps")]
mod timed;
#[cfg(feature = "ftps")]
mod wire;

pub use hello::{FirstBytes, inspect};
#[cfg(not(feature = "ftps"))]
pub use none::{
    DataHandshake, SessionTls, Tls, TlsStream, client_view, make_self_signed, retire_self_signed,
};
#[cfg(feature = "ftps")]
pub use {
    certificates::Tls,
    client_view::client_view,
    self_signed::{make_self_signed, retire_self_signed},
    session::{DataHandshake, SessionTls},
    stream::TlsStream,
};

/// How the end of the peer's data must be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CloseNotify {
    /// Only a close_notify ends the data; a connection that just ends is cut,
    /// and reads as `UnexpectedEof`.
    #[default]
    Required,
    /// A connection that ends between two records counts as ended. For old
    /// clients that never send a close_notify; anybody on the network path
    /// can then cut uploads unseen.
    Optional,
}

/// A certificate and its key, as paths of PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificatePair {
    /// The server's certificate, followed by those of its issuers.
    pub certificate: PathBuf,
    /// The private key: PKCS#8, PKCS#1 or SEC1, perhaps encrypted. May be the
    /// same file.
    pub key: PathBuf,
}

/// What an administrator wants to know about a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The file it came from.
    pub path: PathBuf,
    /// The DNS names (or, without any, the common name) it is for.
    pub names: Vec<String>,
    /// Whole days until it expires.
    pub days_left: i64,
    /// SHA-256 of the certificate, as upper-case hex pairs with colons.
    pub fingerprint: String,
}

/// What TLS needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The first serves whoever asks for no name or an unknown one; the
    /// others are chosen by the name the client asks for (RFC 6066).
    pub certificates: Vec<CertificatePair>,
    /// A file whose first line is the password of encrypted keys.
    pub key_password_file: Option<PathBuf>,
    /// PEM file of the authorities whose client certificates are taken.
    pub client_ca: Option<PathBuf>,
    /// PEM file of revoked client certificates (RFC 5280).
    pub client_crl: Option<PathBuf>,
    /// Whether clients show certificates.
    pub client_certificate: ClientCertificate,
    /// The oldest version that clients may use.
    pub min: TlsMin,
    /// Cipher suites in OpenSSL's names; empty: our own order.
    pub ciphers: String,
    /// Groups of the key exchange in OpenSSL's names; empty: OpenSSL's own.
    pub curves: String,
    /// Networks whose clients may use TLS 1.0 and 1.1.
    pub old_clients: Vec<Network>,
    /// How the end of an upload must be told.
    pub close_notify: CloseNotify,
    /// The longest a whole handshake may take. Default: 20 seconds.
    pub handshake_timeout: Duration,
}

impl Default for TlsSettings {
    fn default() -> Self {
        TlsSettings {
            certificates: Vec::new(),
            key_password_file: None,
            client_ca: None,
            client_crl: None,
            client_certificate: ClientCertificate::No,
            min: TlsMin::Default,
            ciphers: String::new(),
            curves: String::new(),
            old_clients: Vec::new(),
            close_notify: CloseNotify::Required,
            handshake_timeout: Duration::from_secs(20),
        }
    }
}

/// What a client names the TLS session by that it wants to resume: its number,
/// or the name of the key that its ticket is encrypted with (RFC 5077, section
/// 4). Each control connection has a key of its own. Anybody on the path can
/// read and repeat it: it only finds the session, and the handshake proves it.
pub type ResumptionId = Vec<u8>;

/// What came of a step of a handshake.
#[derive(Debug)]
pub enum HandshakeStep<T, H> {
    /// The handshake is done.
    Done(T),
    /// The peer must send more first.
    Wait(H),
}

/// Which way a data connection's bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The server sends: RETR and listings.
    Send,
    /// The client sends, or what it will do is not known yet.
    Receive,
}

/// Which rules of TLS a client is under.
#[cfg(feature = "ftps")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    Usual,
    /// TLS 1.0 and 1.1 are allowed.
    Old,
}

/// What a connection is for.
#[cfg(feature = "ftps")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Control,
    Data(Direction),
}
