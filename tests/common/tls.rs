//! A client of FTPS that says what it is told, and certificates for its
//! server.

#[path = "../../src/net/tls/tests/made.rs"]
pub mod made;

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    ShutdownState, Ssl, SslContext, SslContextBuilder, SslMethod, SslSession, SslStream, SslVersion,
};
use openssl::x509::extension::SubjectAlternativeName;

pub use made::{Made, VALID};

use super::client::{Client, Data, Reply};
use super::{Builder, TempDir, TestServer};

/// A connection under TLS.
pub type Secure = SslStream<TcpStream>;

/// The version that connections get from this build's server.
pub const NEWEST: SslVersion = if cfg!(feature = "tls13") {
    SslVersion::TLS1_3
} else {
    SslVersion::TLS1_2
};

/// The client's rules for TLS.
pub fn context(adjust: impl FnOnce(&mut SslContextBuilder)) -> SslContext {
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    adjust(&mut builder);
    builder.build()
}

/// A handshake, perhaps offering a session.
pub fn handshake(
    context: &SslContext,
    stream: TcpStream,
    session: Option<&SslSession>,
) -> Result<Secure, String> {
    let mut ssl = Ssl::new(context).unwrap();
    if let Some(session) = session {
        // SAFETY: OpenSSL only wants the session to be of the same protocol;
        // every context here is a TLS client's.
        unsafe { ssl.set_session(session) }.unwrap();
    }
    ssl.connect(stream).map_err(|error| error.to_string())
}

/// A client under TLS: its control connection, and what its data connections
/// need.
pub struct SecureClient {
    control: Client<Secure>,
    pub context: SslContext,
    /// Offered on data connections: the control connection's, again and
    /// again, as ftplib, lftp and FileZilla do.
    pub session: Option<SslSession>,
}

impl Deref for SecureClient {
    type Target = Client<Secure>;
    fn deref(&self) -> &Client<Secure> {
        &self.control
    }
}

impl DerefMut for SecureClient {
    fn deref_mut(&mut self) -> &mut Client<Secure> {
        &mut self.control
    }
}

impl SecureClient {
    /// AUTH TLS.
    #[track_caller]
    pub fn explicit(server: SocketAddr) -> Self {
        Self::explicit_with(server, context(|_| {}))
    }

    /// AUTH TLS with rules of one's own.
    #[track_caller]
    pub fn explicit_with(server: SocketAddr, context: SslContext) -> Self {
        Self::upgrade(Client::greeted(server), context)
    }

    /// AUTH TLS on a connection that has been greeted.
    #[track_caller]
    pub fn upgrade(mut client: Client, context: SslContext) -> Self {
        client.expect("AUTH TLS", 234);
        Self::take(client, context)
    }

    /// The handshake on a connection whose server expects it.
    pub fn take(client: Client, context: SslContext) -> Self {
        let control = client.on(|stream| handshake(&context, stream, None).unwrap());
        SecureClient {
            control,
            context,
            session: None,
        }
    }

    /// TLS from the first byte.
    #[track_caller]
    pub fn implicit(server: SocketAddr) -> Self {
        let mut client = Self::take(Client::connect(server), context(|_| {}));
        client.wait_for(220);
        client.keep_session();
        client
    }

    /// The control connection alone.
    pub fn into_control(self) -> Client<Secure> {
        self.control
    }

    /// Keeps the control connection's session; in TLS 1.3 it comes with the
    /// first reply.
    pub fn keep_session(&mut self) {
        self.session = self.control.stream.ssl().session().map(ToOwned::to_owned);
    }

    /// PBSZ 0, PROT P, and `ann` logged in, in TYPE I.
    #[track_caller]
    pub fn ready(mut self) -> Self {
        self.expect("PBSZ 0", 200);
        self.expect("PROT P", 200);
        self.keep_session();
        self.login("ann", "secret");
        self.expect("TYPE I", 200);
        self
    }

    /// A handshake on a data connection, with the session kept.
    pub fn protect(&self, data: TcpStream) -> Result<SecureData, String> {
        handshake(&self.context, data, self.session.as_ref()).map(SecureData)
    }

    /// Runs a command that sends data to us under TLS; the data, and whether
    /// the connection resumed. The data must end with close_notify.
    #[track_caller]
    pub fn fetch_secure(&mut self, line: &str) -> (Vec<u8>, bool) {
        let data = self.data();
        self.send(line);
        let mut data = self.protect(data.0).unwrap();
        self.wait_for(150);
        let resumed = data.resumed();
        let content = data.rest();
        self.wait_for(226);
        (content, resumed)
    }

    /// Runs a command that takes data from us under TLS.
    #[track_caller]
    pub fn store_secure(&mut self, line: &str, content: &[u8]) -> (Reply, bool) {
        let data = self.data();
        self.send(line);
        let mut data = self.protect(data.0).unwrap();
        self.wait_for(150);
        let resumed = data.resumed();
        data.send(content);
        data.finish();
        (self.reply(), resumed)
    }

    /// Leaves TLS after CCC: close_notify both ways.
    pub fn leave(self) -> Client {
        let mut stream = self.control;
        // The server's close_notify, then ours.
        let mut byte = [0];
        assert_eq!(stream.stream.read(&mut byte).unwrap(), 0);
        let _ = stream.stream.shutdown();
        let server = stream.server();
        let socket = stream.stream.get_ref().try_clone().unwrap();
        drop(stream);
        Client::over(socket, server)
    }
}

/// A data connection under TLS.
pub struct SecureData(pub Secure);

impl SecureData {
    /// Whether the server resumed the session offered.
    pub fn resumed(&self) -> bool {
        self.0.ssl().session_reused()
    }

    /// Everything until close_notify; the end of the connection alone is a
    /// failure.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut content = Vec::new();
        self.0.read_to_end(&mut content).unwrap();
        let ended = self.0.get_shutdown().contains(ShutdownState::RECEIVED);
        assert!(ended, "no close_notify came");
        // OpenSSL's clients lose their session unless they say it, too; the
        // server may be gone already.
        let _ = self.0.shutdown();
        content
    }

    /// Sends all of it.
    pub fn send(&mut self, content: &[u8]) {
        std::io::Write::write_all(&mut self.0, content).unwrap();
    }

    /// Says close_notify, and reads the server's.
    #[track_caller]
    pub fn finish(mut self) {
        self.0.shutdown().unwrap();
        self.0
            .get_ref()
            .shutdown(std::net::Shutdown::Write)
            .unwrap();
        self.rest();
    }

    /// Ends the connection without close_notify.
    pub fn cut(self) {
        Data::from(self.0.get_ref().try_clone().unwrap()).finish();
    }
}

/// Certificates in a directory of their own, which goes with them.
pub struct Certificates(pub TempDir);

impl Certificates {
    pub fn new() -> Self {
        Certificates(TempDir::new("certificates"))
    }

    /// Writes one with its key and its issuers as PEM, for `tls-cert` and
    /// `tls-key`.
    pub fn write(&self, name: &str, chain: &[&Made]) -> (PathBuf, PathBuf) {
        let (certificate, key) = (
            self.0.join(format!("{name}.crt")),
            self.0.join(format!("{name}.key")),
        );
        let pem: Vec<u8> = chain
            .iter()
            .flat_map(|made| made.certificate.to_pem().unwrap())
            .collect();
        self.put(&certificate, &pem);
        self.put(&key, &chain[0].key.private_key_to_pem_pkcs8().unwrap());
        (certificate, key)
    }

    /// Replaces a file at once, as renewal programs do.
    pub fn put(&self, path: &std::path::Path, content: &[u8]) {
        let new = path.with_extension("new");
        std::fs::write(&new, content).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(&new, path).unwrap();
    }
}

/// Makes a certificate for a host (a name with a dot), a person or an
/// authority; `days` from now it begins and ends.
pub fn certificate(name: &str, issuer: Option<&Made>, days: (i64, i64)) -> Made {
    certificate_with(made::new_key(), name, issuer, days)
}

/// Makes the certificate of an authority that another one has signed.
pub fn intermediate(name: &str, issuer: &Made) -> Made {
    let subject = [(Nid::COMMONNAME, name)];
    made::signed(
        &subject,
        made::new_key(),
        Some(issuer),
        VALID,
        made::may_sign,
    )
}

/// The same for a key of one's own.
pub fn certificate_with(
    key: PKey<Private>,
    name: &str,
    issuer: Option<&Made>,
    days: (i64, i64),
) -> Made {
    let subject = [(Nid::COMMONNAME, name)];
    made::signed(&subject, key, issuer, days, |builder| {
        if issuer.is_none() {
            made::may_sign(builder);
        }
        if name.contains('.') {
            let host = SubjectAlternativeName::new()
                .dns(name)
                .build(&builder.x509v3_context(None, None))
                .unwrap();
            builder.append_extension(host).unwrap();
        }
    })
}

/// A server with a certificate, and an implicit port behind its two others.
pub struct SecureServer {
    server: TestServer,
    pub certificates: Certificates,
    pub implicit: SocketAddr,
}

/// Gives a server a certificate.
pub fn with_certificate(settings: Builder, certificates: &Certificates) -> Builder {
    let made = certificate("ftp.test", None, VALID);
    let (certificate, key) = certificates.write("ftp.test", &[&made]);
    settings
        .set("tls-cert", certificate.to_str().unwrap())
        .set("tls-key", key.to_str().unwrap())
}

/// Starts a server with TLS.
pub fn secure(settings: Builder) -> SecureServer {
    let certificates = Certificates::new();
    let server = with_certificate(settings, &certificates)
        .set("listen-ftps", "127.0.0.1:0")
        .start();
    let ports = server.running().addresses();
    let implicit = ports
        .iter()
        .find(|(_, protocol)| *protocol == wharf::Protocol::Ftps)
        .unwrap()
        .0;
    SecureServer {
        server,
        certificates,
        implicit,
    }
}

impl Deref for SecureServer {
    type Target = TestServer;
    fn deref(&self) -> &TestServer {
        &self.server
    }
}

impl SecureServer {
    /// A client under TLS that has not logged in.
    #[track_caller]
    pub fn explicit(&self) -> SecureClient {
        SecureClient::explicit(self.v4)
    }

    /// `ann` with PROT P in TYPE I.
    #[track_caller]
    pub fn ready(&self) -> SecureClient {
        self.explicit().ready()
    }
}
