//! A client on the `openssl` crate that keeps its sessions as FTP clients do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslSession, SslSessionCacheMode, SslStream,
};

/// A client and the session it offers on its data connections: the control
/// connection's own, again and again, as ftplib, lftp and FileZilla do.
pub(super) struct Client {
    context: SslContext,
    kept: Arc<Mutex<Option<SslSession>>>,
    single_use: bool,
}

impl Client {
    pub(super) fn new() -> Client {
        Client::with(|_| {})
    }

    pub(super) fn with(adjust: impl FnOnce(&mut SslContextBuilder)) -> Client {
        let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
        adjust(&mut builder);
        Client {
            context: builder.build(),
            kept: Arc::default(),
            single_use: false,
        }
    }

    /// As curl does it: uses a TLS 1.3 session once, and keeps the newest that
    /// any of its connections was given.
    pub(super) fn single_use() -> Client {
        let kept = Arc::new(Mutex::new(None));
        let newest = Arc::clone(&kept);
        let mut client = Client::with(|builder| {
            builder.set_session_cache_mode(
                SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL,
            );
            builder.set_new_session_callback(move |_, session| {
                *newest.lock().unwrap() = Some(session);
            });
        });
        client.kept = kept;
        client.single_use = true;
        client
    }

    /// Keeps the session of a connection that has read something: in TLS 1.3
    /// tickets come after the handshake.
    pub(super) fn keep(&self, connection: &Connection) {
        if !self.single_use {
            *self.kept.lock().unwrap() = connection.0.ssl().session().map(ToOwned::to_owned);
        }
    }

    pub(super) fn session(&self) -> Option<SslSession> {
        self.kept.lock().unwrap().clone()
    }

    pub(super) fn context(&self) -> &SslContext {
        &self.context
    }

    pub(super) fn connect(
        &self,
        socket: UnixStream,
        session: Option<&SslSession>,
    ) -> Result<Connection, String> {
        self.connect_as(socket, session, |_| {})
    }

    pub(super) fn connect_as(
        &self,
        socket: UnixStream,
        session: Option<&SslSession>,
        adjust: impl FnOnce(&mut Ssl),
    ) -> Result<Connection, String> {
        let mut ssl = Ssl::new(&self.context).unwrap();
        if let Some(session) = session {
            crate::sys::offer_tls_session(&mut ssl, session);
        }
        adjust(&mut ssl);
        match ssl.connect(socket) {
            Ok(stream) => Ok(Connection(stream)),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Client {
    /// Writes everything, says close_notify and closes without one read.
    pub(super) fn upload(&self, socket: TcpStream, session: Option<&SslSession>, content: &[u8]) {
        let mut ssl = Ssl::new(&self.context).unwrap();
        if let Some(session) = session {
            crate::sys::offer_tls_session(&mut ssl, session);
        }
        let mut stream = ssl.connect(socket).unwrap();
        stream.write_all(content).unwrap();
        stream.shutdown().unwrap();
    }
}

pub(super) struct Connection(pub(super) SslStream<UnixStream>);

impl Connection {
    pub(super) fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\n") && self.0.read(&mut byte).unwrap() == 1 {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(super) fn resumed(&self) -> bool {
        self.0.ssl().session_reused()
    }
}
