//! The client's side of FTPS: one version and one cipher for every server of a row, data connections resumed from the
//! control connection.

use crate::{Result, isolate};
use openssl::ssl::{
    Ssl, SslContext, SslMethod, SslSession, SslSessionCacheMode, SslStream, SslVerifyMode,
    SslVersion,
};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// The ciphers of every row, so that servers differ in how they work and not in what they negotiate.
const CIPHER: &str = "ECDHE-RSA-AES128-GCM-SHA256";
const CIPHER_1_3: &str = "TLS_AES_128_GCM_SHA256";

/// How a client does TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
    /// TLS 1.2 with Nagle's algorithm on data connections, as ftplib, PHP and Java leave it: what is written after
    /// the handshake waits until the server acknowledges the handshake's end.
    Tls12Nagle,
    /// The same with TLS 1.3.
    Tls13Nagle,
}

/// What a session's data connections need.
pub struct Tls {
    context: SslContext,
    manner: Manner,
    /// The newest session: that of the ticket that came last, on whichever connection.
    session: Arc<Mutex<Option<SslSession>>>,
    /// Data connections that resumed.
    pub resumed: usize,
}

impl Tls {
    /// Makes a handshake on the control connection.
    pub fn control(stream: TcpStream, manner: Manner) -> Result<(Tls, SslStream<TcpStream>)> {
        let version = match manner {
            Manner::Tls12 | Manner::Tls12Nagle => SslVersion::TLS1_2,
            Manner::Tls13 | Manner::Tls13Nagle => SslVersion::TLS1_3,
        };
        let mut builder = SslContext::builder(SslMethod::tls_client())?;
        builder.set_verify(SslVerifyMode::NONE);
        builder.set_min_proto_version(Some(version))?;
        builder.set_max_proto_version(Some(version))?;
        builder.set_cipher_list(CIPHER)?;
        builder.set_ciphersuites(CIPHER_1_3)?;
        builder
            .set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
        let session = Arc::new(Mutex::new(None));
        let newest = Arc::clone(&session);
        builder.set_new_session_callback(move |_, new| {
            if let Ok(mut newest) = newest.lock() {
                *newest = Some(new);
            }
        });
        let context = builder.build();
        let mut stream = SslStream::new(Ssl::new(&context)?, stream)?;
        stream.connect()?;
        let tls = Tls {
            context,
            manner,
            session,
            resumed: 0,
        };
        Ok((tls, stream))
    }

    /// Makes a handshake on a data connection, with the newest session.
    pub fn data(&mut self, stream: TcpStream) -> Result<SslStream<TcpStream>> {
        let nagle = matches!(self.manner, Manner::Tls12Nagle | Manner::Tls13Nagle);
        stream.set_nodelay(!nagle)?;
        let mut ssl = Ssl::new(&self.context)?;
        let newest = self
            .session
            .lock()
            .map_err(|_| "a poisoned session")?
            .clone();
        if let Some(session) = &newest {
            // The session comes from the same context.
            set_session(&mut ssl, session)?;
        }
        let mut stream = SslStream::new(ssl, stream)?;
        stream.connect()?;
        if stream.ssl().session_reused() {
            self.resumed += 1;
        }
        Ok(stream)
    }
}

#[allow(unsafe_code)]
fn set_session(ssl: &mut Ssl, session: &SslSession) -> Result<()> {
    // SAFETY: `session` was made by an `Ssl` of the context that `ssl` belongs to, as set_session requires.
    Ok(unsafe { ssl.set_session(session) }?)
}

/// Makes the run's certificate: RSA 2048, which every peer takes; certificate and key in one PEM file.
pub fn certificate() -> Result<PathBuf> {
    let place = PathBuf::from(isolate::PLACE);
    let (key, certificate, both) = (
        place.join("key.pem"),
        place.join("cert.pem"),
        place.join("both.pem"),
    );
    let status = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=localhost",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(std::process::Stdio::null())
        .status()?;
    if !status.success() {
        return Err("openssl req failed".into());
    }
    let text = std::fs::read_to_string(key)? + &std::fs::read_to_string(certificate)?;
    std::fs::write(&both, text)?;
    Ok(both)
}
