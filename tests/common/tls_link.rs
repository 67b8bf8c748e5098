//! TLS under the dialogues: AUTH TLS, PBSZ 0 and PROT P come before the first
//! line, and data connections resume the control connection's session.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use openssl::ssl::{ShutdownState, SslContext, SslSession, SslSessionCacheMode};

use super::Builder;
use super::client::{Client, Data};
use super::link::{Control, Duplex, End, Flow, Layer, Link};
use super::tls::{Certificates, Secure, context, handshake, with_certificate};

/// Both connections of a dialogue are under TLS.
pub struct Tls(Certificates);

impl Tls {
    pub fn new() -> Tls {
        Tls(Certificates::new())
    }
}

impl Layer for Tls {
    fn prepare(&self, settings: Builder) -> Builder {
        with_certificate(settings, &self.0)
    }

    /// The greeting is there to be read again. Who is refused in it stays in
    /// the clear.
    fn connect(&self, server: SocketAddr) -> Link {
        let mut client = Client::connect(server);
        let (rules, newest) = rules();
        let greeting = client.reply();
        let mut control: Control = match greeting.code {
            220 => {
                client.expect("AUTH TLS", 234);
                let mut control = client.on(|stream| {
                    Box::new(handshake(&rules, stream, None).unwrap()) as Box<dyn Duplex>
                });
                control.expect("PBSZ 0", 200);
                control.expect("PROT P", 200);
                control
            }
            _ => client.on(|stream| Box::new(stream) as _),
        };
        for line in greeting.lines.iter().rev() {
            control.unread(line.as_bytes());
        }
        let wrap = move |data| {
            let session = newest.lock().unwrap().clone();
            Box::new(Shaking::begin(rules.clone(), session, data)) as Box<dyn Flow>
        };
        Link {
            control,
            wrap: Box::new(wrap),
        }
    }
}

/// A client's rules, and the newest session that its server gave it.
fn rules() -> (SslContext, Arc<Mutex<Option<SslSession>>>) {
    let newest: Arc<Mutex<Option<SslSession>>> = Arc::default();
    let given = Arc::clone(&newest);
    let rules = context(|builder| {
        builder
            .set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
        builder.set_new_session_callback(move |_, session| {
            *given.lock().unwrap() = Some(session);
        });
    });
    (rules, newest)
}

/// A data connection whose handshake may be under way: the server makes its
/// part of it when it has the command.
enum Shaking {
    Begun(JoinHandle<Result<Secure, String>>),
    Done(Secure),
    /// The server did not want it.
    Refused,
}

impl Shaking {
    fn begin(rules: SslContext, session: Option<SslSession>, data: Data) -> Shaking {
        Shaking::Begun(std::thread::spawn(move || {
            handshake(&rules, data.0, session.as_ref())
        }))
    }

    fn done(&mut self) -> Option<&mut Secure> {
        *self = match std::mem::replace(self, Shaking::Refused) {
            Shaking::Begun(thread) => match thread.join().unwrap() {
                Ok(stream) => Shaking::Done(stream),
                Err(_) => Shaking::Refused,
            },
            known => known,
        };
        match self {
            Shaking::Done(stream) => Some(stream),
            _ => None,
        }
    }
}

impl Flow for Shaking {
    /// Whole is what ends with a close_notify.
    fn rest(&mut self) -> (Vec<u8>, End) {
        let mut content = Vec::new();
        let Some(stream) = self.done() else {
            return (content, End::Cut);
        };
        let _ = stream.read_to_end(&mut content);
        let whole = stream.get_shutdown().contains(ShutdownState::RECEIVED);
        let _ = stream.shutdown();
        if whole {
            (content, End::Whole)
        } else {
            (content, End::Cut)
        }
    }

    fn send(&mut self, content: &[u8]) {
        let stream = self.done().expect("a handshake");
        std::io::Write::write_all(stream, content).unwrap();
    }

    fn close(mut self: Box<Self>) {
        if let Some(stream) = self.done() {
            let _ = stream.shutdown();
        }
    }
}
