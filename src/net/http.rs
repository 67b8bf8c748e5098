//! A port that answers small questions over HTTP/1.0, such as a health check.
//! Not a web server: one answer a connection, made at once.
//!
//! One thread serves many clients at a time, so that one that is slow or
//! silent delays nobody.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::listener;
use crate::config::Endpoint;
use crate::error::Result;

/// How long a client may take, from the connection to its end.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest request that is read.
const REQUEST_MAX: usize = 8192;
/// Clients at a time; one more ends the one that has been there longest. With
/// their requests they take half a megabyte at most.
const CLIENTS_MAX: usize = 64;
/// Wait after an error of accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// What a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// `GET`, `HEAD`, …
    pub method: &'a [u8],
    /// `/metrics`, …
    pub path: &'a [u8],
    /// The lines behind the first.
    pub headers: &'a [u8],
}

impl<'a> Request<'a> {
    /// The first header of this name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.split(|byte| *byte == b'\n').find_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (found, value) = line.split_at(colon);
            let named = found.eq_ignore_ascii_case(name.as_bytes());
            named.then(|| value[1..].trim_ascii())
        })
    }
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Number and word, such as `200 OK`.
    pub status: &'static str,
    /// The type of the body.
    pub content_type: &'static str,
    /// Further headers, each with its CRLF.
    pub headers: String,
    /// The body.
    pub body: String,
}

impl Response {
    /// An answer in plain text.
    pub fn text(status: &'static str, body: impl Into<String>) -> Self {
        Response {
            status,
            content_type: "text/plain; charset=utf-8",
            headers: String::new(),
            body: body.into(),
        }
    }

    fn bytes(&self, request: &Request<'_>) -> Vec<u8> {
        let body = match request.method {
            b"HEAD" => "",
            _ => &self.body,
        };
        format!(
            "HTTP/1.0 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n{body}",
            self.status,
            self.content_type,
            self.body.len(),
            self.headers
        )
        .into_bytes()
    }
}

/// The port and its clients.
pub struct HttpPort {
    endpoint: Endpoint,
    listener: Option<TcpListener>,
    /// Those who came first are first.
    clients: Vec<Client>,
}

impl HttpPort {
    /// Binds the port.
    ///
    /// # Errors
    /// As for any port.
    pub fn bind(endpoint: &Endpoint) -> Result<Self> {
        let listener = listener::bind(endpoint)?;
        // The same port again when it is opened again, also when the system
        // chose it.
        let port = listener.local_addr()?.port();
        let mut bound = HttpPort {
            endpoint: Endpoint {
                host: endpoint.host.clone(),
                port,
            },
            listener: None,
            clients: Vec::new(),
        };
        bound.listen(listener)?;
        Ok(bound)
    }

    fn listen(&mut self, listener: TcpListener) -> Result<()> {
        // A client may be gone before it is accepted.
        listener.set_nonblocking(true)?;
        self.listener = Some(listener);
        Ok(())
    }

    /// Whether only this machine reaches it.
    pub fn is_local(&self) -> bool {
        let address = self.listener.as_ref().map(TcpListener::local_addr);
        address.is_some_and(|address| address.is_ok_and(|address| address.ip().is_loopback()))
    }

    /// Whether new clients can connect.
    pub fn is_open(&self) -> bool {
        self.listener.is_some()
    }

    /// Closes the port; clients that are there are served.
    pub fn close(&mut self) {
        self.listener = None;
    }

    /// Opens it again.
    ///
    /// # Errors
    /// As for any port.
    pub fn open(&mut self) -> Result<()> {
        let listener = listener::bind(&self.endpoint)?;
        self.listen(listener)
    }

    /// Serves whoever is there for so long.
    pub fn serve_for(&mut self, time: Duration, answer: &dyn Fn(&Request<'_>) -> Response) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.serve_once(until, answer);
        }
    }

    /// Waits until somebody does something, and goes on with that.
    fn serve_once(&mut self, until: Instant, answer: &dyn Fn(&Request<'_>) -> Response) {
        let overdue = self.clients.iter().map(|client| client.until).min();
        let until = overdue.map_or(until, |first| first.min(until));
        let mut polled: Vec<PollFd<'_>> = Vec::with_capacity(1 + self.clients.len());
        polled.extend(self.clients.iter().map(|client| {
            let flags = if client.answer.is_empty() {
                PollFlags::IN
            } else {
                PollFlags::OUT
            };
            PollFd::from_borrowed_fd(client.stream.as_fd(), flags)
        }));
        if let Some(listener) = &self.listener {
            polled.push(PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN));
        }
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        if poll(&mut polled, timeout.as_ref()).is_err() {
            return;
        }
        let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
        let now = Instant::now();
        let mut ready = ready.into_iter();
        self.clients.retain_mut(|client| {
            let is_ready = ready.next().unwrap_or(false);
            let goes_on = !is_ready
                || client
                    .go_on(answer)
                    .is_ok_and(|step| step == Exchange::Wait);
            goes_on && now < client.until
        });
        if ready.next().unwrap_or(false) {
            self.accept();
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        match listener.accept() {
            Ok((stream, _)) => {
                if self.clients.len() == CLIENTS_MAX {
                    self.clients.remove(0);
                }
                if stream.set_nonblocking(true).is_ok() {
                    self.clients.push(Client::new(stream));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                log::warn!("accepting on {}: {error}", self.endpoint);
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// One connection.
struct Client {
    stream: TcpStream,
    until: Instant,
    request: Vec<u8>,
    /// What is still to be sent; empty before the request is there.
    answer: Vec<u8>,
    is_answered: bool,
}

#[derive(PartialEq, Eq)]
enum Exchange {
    /// The client must do something first.
    Wait,
    /// The conversation is over.
    Done,
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        Client {
            stream,
            until: Instant::now() + PATIENCE,
            request: Vec::new(),
            answer: Vec::new(),
            is_answered: false,
        }
    }

    fn go_on(&mut self, answer: &dyn Fn(&Request<'_>) -> Response) -> io::Result<Exchange> {
        if self.answer.is_empty() {
            let mut piece = [0; 1024];
            match self.stream.read(&mut piece) {
                Ok(0) => return Ok(Exchange::Done),
                // What comes behind the request is read and dropped: unread, it
                // would turn our close into a reset that destroys the answer.
                Ok(_) if self.is_answered => return Ok(Exchange::Wait),
                Ok(length) => self.request.extend_from_slice(&piece[..length]),
                Err(error) => return wait_or(error),
            }
            if !ends(&self.request) {
                return Ok(if self.request.len() < REQUEST_MAX {
                    Exchange::Wait
                } else {
                    Exchange::Done
                });
            }
            let first = self.request.iter().position(|byte| *byte == b'\n');
            let (first, headers) = self.request.split_at(first.unwrap_or(self.request.len()));
            let mut words = first.split(u8::is_ascii_whitespace);
            let request = Request {
                method: words.next().unwrap_or_default(),
                path: words.next().unwrap_or_default(),
                headers,
            };
            self.answer = answer(&request).bytes(&request);
            self.is_answered = true;
        }
        match self.stream.write(&self.answer) {
            Ok(length) => drop(self.answer.drain(..length)),
            Err(error) => return wait_or(error),
        }
        if self.answer.is_empty() {
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(Exchange::Wait)
    }
}

fn wait_or(error: io::Error) -> io::Result<Exchange> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Exchange::Wait),
        _ => Err(error),
    }
}

/// Whether the request has its empty line; old checkers end lines with LF.
fn ends(request: &[u8]) -> bool {
    let mut pairs = request.windows(2);
    pairs.any(|two| two == b"\n\n" || two == b"\n\r")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> (HttpPort, std::net::SocketAddr) {
        let port = HttpPort::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = port.listener.as_ref().unwrap().local_addr().unwrap();
        (port, address)
    }

    fn echo(request: &Request<'_>) -> Response {
        let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
        let body = format!("{} {}", text(request.method), text(request.path));
        Response::text("200 OK", body)
    }

    fn ask(address: std::net::SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Serves in a thread while `with` asks.
    fn serve<T>(with: impl FnOnce(std::net::SocketAddr) -> T) -> T {
        let (mut port, address) = port();
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    port.serve_for(Duration::from_millis(20), &echo);
                }
            });
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| with(address)));
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    #[test]
    fn requests_are_answered_in_every_spelling() {
        serve(|address| {
            for (request, end) in [
                (&b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"[..], "\r\n\r\nGET /a"),
                (b"GET /b\n\n", "\r\n\r\nGET /b"),
                (
                    b"HEAD / HTTP/1.0\r\n\r\n",
                    "Content-Length: 6\r\nConnection: close\r\n\r\n",
                ),
                (
                    b"POST /c HTTP/1.0\r\n\r\nbody that nobody wants",
                    "\r\n\r\nPOST /c",
                ),
                (b"\r\n\r\n", "\r\n\r\n "),
            ] {
                let answer = ask(address, request);
                assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
                assert!(answer.ends_with(end), "{answer}");
            }
        });
    }

    /// As many as there is room for say nothing; all who ask are answered
    /// without having to wait for them.
    #[test]
    fn silent_clients_delay_nobody() {
        serve(|address| {
            let silent: Vec<TcpStream> = (0..2 * CLIENTS_MAX)
                .map(|_| TcpStream::connect(address).unwrap())
                .collect();
            let start = Instant::now();
            for _ in 0..20 {
                assert!(ask(address, b"GET / HTTP/1.0\r\n\r\n").ends_with("GET /"));
            }
            assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
            drop(silent);
        });
    }

    #[test]
    fn a_request_without_end_ends_the_connection() {
        serve(|address| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = stream.write_all(&[b'x'; REQUEST_MAX + 1]);
            assert!(!matches!(stream.read(&mut [0; 1]), Ok(1)));
        });
    }

    #[test]
    fn a_closed_port_opens_at_the_same_place() {
        let (mut port, address) = port();
        port.close();
        assert!(!port.is_open() && TcpStream::connect(address).is_err());
        port.open().unwrap();
        assert!(port.is_open() && TcpStream::connect(address).is_ok());
    }
}
