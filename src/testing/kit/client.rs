//! A raw FTP client: it sends what it is told and reads replies, and never
//! waits for ever.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// How long a client waits for what must come. Long, because a busy machine
/// is no failure; a test that wants to see promptness measures it.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// One reply: its code and its lines without line ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub lines: Vec<String>,
}

impl Reply {
    /// The text behind the code of the last line.
    pub fn text(&self) -> &str {
        self.lines
            .last()
            .and_then(|line| line.get(4..))
            .unwrap_or("")
    }

    /// The lines between the first and the last.
    pub fn inner(&self) -> &[String] {
        match self.lines.len() {
            0..=2 => &[],
            count => &self.lines[1..count - 1],
        }
    }
}

/// A control connection, in the clear unless `S` says otherwise.
pub struct Client<S = TcpStream> {
    pub stream: S,
    buffer: Vec<u8>,
    peer: SocketAddr,
    /// How long it waits, on its data connections too.
    patience: Duration,
}

impl Client {
    /// Connects and reads nothing.
    pub fn connect(server: SocketAddr) -> Self {
        Self::patient(server, DEADLINE)
    }

    /// Connects and reads nothing; it waits longer than others, or less long.
    pub fn patient(server: SocketAddr, patience: Duration) -> Self {
        let stream = TcpStream::connect_timeout(&server, patience).unwrap();
        Self::new(stream, server, patience)
    }

    /// Takes over a connection to `peer`, and reads nothing.
    pub fn over(stream: TcpStream, peer: SocketAddr) -> Self {
        Self::new(stream, peer, DEADLINE)
    }

    fn new(stream: TcpStream, peer: SocketAddr, patience: Duration) -> Self {
        wait_at_most(&stream, patience);
        stream.set_nodelay(true).unwrap();
        Client {
            stream,
            buffer: Vec::new(),
            peer,
            patience,
        }
    }

    /// Connects from another of this machine's addresses.
    pub fn connect_from(local: IpAddr, server: SocketAddr) -> Self {
        Self::over(connect_from(local, server).unwrap(), server)
    }

    /// Connects and reads the greeting.
    pub fn greeted(server: SocketAddr) -> Self {
        let mut client = Self::connect(server);
        client.wait_for(220);
        client
    }

    /// The same connection on another layer; nothing may wait unread.
    pub fn on<S>(self, change: impl FnOnce(TcpStream) -> S) -> Client<S> {
        assert!(self.buffer.is_empty(), "bytes from below the new layer");
        Client {
            stream: change(self.stream),
            buffer: self.buffer,
            peer: self.peer,
            patience: self.patience,
        }
    }
}

impl<S: Read + Write> Client<S> {
    /// The server's address.
    pub fn server(&self) -> SocketAddr {
        self.peer
    }

    /// Sends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a line.
    pub fn send(&mut self, line: &str) {
        self.raw(format!("{line}\r\n").as_bytes());
    }

    /// The next line, without its end; `None` when the server has closed.
    pub fn try_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let until = Instant::now() + self.patience;
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=at).collect();
                line.pop();
                assert_eq!(line.pop(), Some(b'\r'), "a reply line ends with CR LF");
                return Ok(Some(line));
            }
            if Instant::now() > until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) if self.buffer.is_empty() => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.buffer.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Puts a line back, to be read again.
    pub fn unread(&mut self, line: &[u8]) {
        self.buffer.splice(0..0, [line, b"\r\n"].concat());
    }

    /// The next line.
    pub fn line(&mut self) -> Vec<u8> {
        match self.try_line() {
            Ok(Some(line)) => line,
            Ok(None) => panic!("the server has closed the connection"),
            Err(error) => panic!("no line came: {error}"),
        }
    }

    /// The next reply, of one line or several.
    pub fn reply(&mut self) -> Reply {
        let first = self.line();
        let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        let code = std::str::from_utf8(first.get(..3).unwrap_or(b""))
            .ok()
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("no reply: {:?}", text(&first)));
        let mut lines = vec![text(&first)];
        if first.get(3) == Some(&b'-') {
            loop {
                let line = self.line();
                lines.push(text(&line));
                if line.starts_with(format!("{code} ").as_bytes()) {
                    break;
                }
            }
        }
        Reply { code, lines }
    }

    /// The next reply, which must have this code.
    #[track_caller]
    pub fn wait_for(&mut self, code: u16) -> Reply {
        let reply = self.reply();
        assert_eq!(reply.code, code, "{:?}", reply.lines);
        reply
    }

    /// Sends a line and reads the reply.
    pub fn cmd(&mut self, line: &str) -> Reply {
        self.send(line);
        self.reply()
    }

    /// Sends a line; the reply must have this code.
    #[track_caller]
    pub fn expect(&mut self, line: &str, code: u16) -> Reply {
        let reply = self.cmd(line);
        assert_eq!(reply.code, code, "{line}: {:?}", reply.lines);
        reply
    }

    /// Logs in.
    #[track_caller]
    pub fn login(&mut self, name: &str, password: &str) {
        self.expect(&format!("USER {name}"), 331);
        self.expect(&format!("PASS {password}"), 230);
    }

    /// The server must have closed, or close now, and say nothing more.
    #[track_caller]
    pub fn closed(&mut self) {
        match self.try_line() {
            Ok(None) => {}
            Ok(Some(line)) => panic!("more came: {:?}", String::from_utf8_lossy(&line)),
            // It may have closed with bytes of ours unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection was not closed: {error}"),
        }
    }

    /// Asks for a passive port with EPSV.
    #[track_caller]
    pub fn epsv(&mut self) -> SocketAddr {
        let reply = self.expect("EPSV", 229);
        let port = extended_port(reply.text()).expect("a port in the 229 reply");
        SocketAddr::new(self.peer.ip(), port)
    }

    /// Asks for a passive port with PASV.
    #[track_caller]
    pub fn pasv(&mut self) -> SocketAddr {
        let reply = self.expect("PASV", 227);
        passive_address(reply.text()).expect("an address in the 227 reply")
    }

    /// A passive data connection.
    #[track_caller]
    pub fn data(&mut self) -> Data {
        let address = self.epsv();
        let stream = TcpStream::connect_timeout(&address, self.patience).unwrap();
        wait_at_most(&stream, self.patience);
        Data(stream)
    }

    /// A port of ours that the server has been told to connect to.
    #[track_caller]
    pub fn active(&mut self, verb: &str) -> TcpListener {
        let listener = TcpListener::bind((self.peer.ip(), 0)).unwrap();
        let line = active_line(verb, listener.local_addr().unwrap());
        self.expect(&line, 200);
        listener
    }

    /// Runs a command that sends data to us; the data.
    #[track_caller]
    pub fn fetch(&mut self, line: &str) -> Vec<u8> {
        let mut data = self.data();
        self.expect(line, 150);
        let content = data.rest();
        self.wait_for(226);
        content
    }

    /// Runs a command that takes data from us.
    #[track_caller]
    pub fn store(&mut self, line: &str, content: &[u8]) -> Reply {
        let mut data = self.data();
        self.expect(line, 150);
        data.send(content);
        drop(data);
        self.reply()
    }
}

/// A data connection.
pub struct Data(pub TcpStream);

impl Data {
    /// Connects to a passive port.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::from(TcpStream::connect_timeout(&address, DEADLINE).unwrap())
    }

    /// Accepts what the server makes.
    pub fn accept(listener: &TcpListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        let until = Instant::now() + DEADLINE;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    return Self::from(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(Instant::now() < until, "the server never connected");
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Everything until the other side closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut content = Vec::new();
        self.0.read_to_end(&mut content).unwrap();
        content
    }

    /// Sends all of it.
    pub fn send(&mut self, content: &[u8]) {
        self.0.write_all(content).unwrap();
    }

    /// Ends with a reset instead of an orderly close.
    pub fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.0, Some(Duration::ZERO)).unwrap();
    }

    /// Closes our sending direction.
    pub fn finish(&self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }
}

impl From<TcpStream> for Data {
    fn from(stream: TcpStream) -> Self {
        wait_at_most(&stream, DEADLINE);
        Data(stream)
    }
}

fn wait_at_most(stream: &TcpStream, patience: Duration) {
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.set_write_timeout(Some(patience)).unwrap();
}

/// Connects from one of this machine's addresses, such as 127.0.0.2.
pub fn connect_from(local: IpAddr, server: SocketAddr) -> io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let family = match local {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket(family, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::new(local, 0))?;
    connect(&socket, &server)?;
    Ok(socket.into())
}

/// The line of PORT or EPRT for an address.
pub fn active_line(verb: &str, address: SocketAddr) -> String {
    let port = address.port();
    match (verb, address.ip()) {
        ("PORT", IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            format!("PORT {a},{b},{c},{d},{},{}", port >> 8, port & 255)
        }
        ("EPRT", IpAddr::V4(ip)) => format!("EPRT |1|{ip}|{port}|"),
        ("EPRT", IpAddr::V6(ip)) => format!("EPRT |2|{ip}|{port}|"),
        _ => panic!("no {verb} for {address}"),
    }
}

/// The port in the text of a 229 reply.
pub fn extended_port(text: &str) -> Option<u16> {
    let (_, text) = text.split_once("(|||")?;
    text.split_once("|)")?.0.parse().ok()
}

/// The address in the text of a 227 reply.
pub fn passive_address(text: &str) -> Option<SocketAddr> {
    let (_, text) = text.split_once('(')?;
    let numbers: Vec<u8> = text
        .split_once(')')?
        .0
        .split(',')
        .map(|number| number.parse().ok())
        .collect::<Option<_>>()?;
    let [a, b, c, d, high, low] = numbers[..] else {
        return None;
    };
    let port = u16::from(high) << 8 | u16::from(low);
    Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port))
}
