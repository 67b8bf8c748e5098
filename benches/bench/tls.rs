//! The client's side of FTPS: TLS 1.2 with one cipher for every server, data connections resumed from the
//! control connection.

use crate::{Result, isolate};
use openssl::ssl::{Ssl, SslContext, SslMethod, SslSession, SslStream, SslVerifyMode, SslVersion};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

/// The cipher of every row, so that servers differ in how they work and not in what they negotiate.
const CIPHER: &str = "ECDHE-RSA-AES128-GCM-SHA256";

/// What a session's data connections need.
pub struct Tls {
    context: SslContext,
    session: Option<SslSession>,
    /// Data connections that resumed.
    pub resumed: usize,
}

impl Tls {
    /// Makes a handshake on the control connection.
    pub fn control(stream: TcpStream) -> Result<(Tls, SslStream<TcpStream>)> {
        let mut builder = SslContext::builder(SslMethod::tls_client())?;
        builder.set_verify(SslVerifyMode::NONE);
        builder.set_max_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_cipher_list(CIPHER)?;
        let context = builder.build();
        let mut stream = SslStream::new(Ssl::new(&context)?, stream)?;
        stream.connect()?;
        let session = stream.ssl().session().map(ToOwned::to_owned);
        let tls = Tls {
            context,
            session,
            resumed: 0,
        };
        Ok((tls, stream))
    }

    /// Makes a handshake on a data connection, with the newest session of this control connection.
    pub fn data(&mut self, stream: TcpStream) -> Result<SslStream<TcpStream>> {
        stream.set_nodelay(true)?;
        let mut ssl = Ssl::new(&self.context)?;
        if let Some(session) = &self.session {
            // The session comes from the same context.
            set_session(&mut ssl, session)?;
        }
        let mut stream = SslStream::new(ssl, stream)?;
        stream.connect()?;
        if stream.ssl().session_reused() {
            self.resumed += 1;
        }
        self.session = stream.ssl().session().map(ToOwned::to_owned);
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
