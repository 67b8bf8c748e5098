//! The health check of a balancer: a port that is open, and answers HTTP with
//! 200, as long as the node takes new sessions. Where the node drains (it is
//! stopping, or the drain file exists) the port is closed, which a check of
//! TCP alone sees, too.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::Endpoint;
use crate::error::Result;
use crate::net::listener;
use crate::net::socket::{Interest, Socket, wait};

/// How long a checker may take to ask.
const DEADLINE: Duration = Duration::from_millis(500);
/// How often the drain file and the end of the server are looked for.
const TICK: Duration = Duration::from_millis(500);
const ANSWER: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";

/// The port, and what closes it.
pub struct Health {
    endpoint: Endpoint,
    listener: Option<TcpListener>,
}

impl Health {
    /// Binds the port.
    ///
    /// # Errors
    /// As for any port.
    pub fn bind(endpoint: &Endpoint) -> Result<Health> {
        let listener = listener::bind(endpoint)?;
        // The same port again after a drain, also when the system chose it.
        let port = listener.local_addr()?.port();
        let endpoint = Endpoint {
            host: endpoint.host.clone(),
            port,
        };
        Ok(Health {
            endpoint,
            listener: Some(listener),
        })
    }

    /// Answers until `is_over`.
    pub fn serve(mut self, drain_file: Option<&Path>, is_over: impl Fn() -> bool) {
        while !is_over() {
            if drain_file.is_some_and(Path::exists) {
                if self.listener.take().is_some() {
                    log::info!("draining: the drain file is there");
                }
                std::thread::sleep(TICK);
                continue;
            }
            let Some(listener) = &self.listener else {
                match listener::bind(&self.endpoint) {
                    Ok(listener) => {
                        log::info!("taking sessions again: the drain file is gone");
                        self.listener = Some(listener);
                    }
                    Err(error) => {
                        log::error!("the health check: {error}");
                        std::thread::sleep(TICK);
                    }
                }
                continue;
            };
            let until = Some(Instant::now() + TICK);
            if wait([(listener.as_fd(), Interest::Read)], until).is_ok_and(|[ready]| ready)
                && let Ok((stream, _)) = listener.accept()
            {
                answer(&Socket::from(stream));
            }
        }
    }
}

/// Answers one check. A checker that only connects and goes is fine, too.
fn answer(socket: &Socket) {
    let until = Instant::now() + DEADLINE;
    let mut request = [0; 1024];
    let mut length = 0;
    let mut stream = socket;
    let ended = |request: &[u8]| {
        request
            .windows(2)
            .any(|two| two == b"\n\n" || two == b"\n\r")
    };
    while !ended(&request[..length]) && length < request.len() {
        if !wait([(socket.as_fd(), Interest::Read)], Some(until)).is_ok_and(|[ready]| ready) {
            return;
        }
        match stream.read(&mut request[length..]) {
            Ok(more) if more > 0 => length += more,
            _ => return,
        }
    }
    let _ = socket.set_write_timeout(Some(DEADLINE));
    let _ = stream.write_all(ANSWER);
}
