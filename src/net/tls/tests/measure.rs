//! What a session costs. Run alone, the memory of other tests would count:
//! `cargo test --release --lib net::tls::tests::measure -- --ignored
//! --nocapture --test-threads 1`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::client::Client;
use super::*;

const SESSIONS: usize = 200;
/// issues/3: an idle TLS session at 80 KiB of PSS or less.
const LIMIT: usize = 80;

/// The process's proportional memory, in KiB.
fn memory() -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "measures memory, so it wants a process of its own"]
fn an_idle_session_is_small() {
    let place = Place::new();
    let tls = place.tls();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // The clients live in another process, so that they do not count.
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("net::tls::tests::measure::the_clients_of_the_other_test")
        .env("WHARF_TLS_TEST", listener.local_addr().unwrap().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (done, served) = std::sync::mpsc::channel();
    let mut sockets = Vec::new();
    let mut threads = Vec::new();
    let mut before = 0;
    for count in 0..=SESSIONS {
        if count == 1 {
            before = memory();
        }
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        sockets.push(socket.try_clone().unwrap());
        let session = tls.session();
        let done = done.clone();
        let thread = thread::Builder::new().stack_size(256 * 1024);
        let thread = thread.spawn(move || {
            let mut stream = session.accept(socket.into(), &mut soon()).unwrap();
            say(&mut stream, "220 ready\r\n");
            assert_eq!(stream.read(&mut [0; 100]).unwrap(), 6);
            say(&mut stream, "200 fine\r\n");
            done.send(()).unwrap();
            assert_eq!(stream.read(&mut [0; 100]).unwrap_or(0), 0);
        });
        threads.push(thread.unwrap());
        served.recv_timeout(PATIENCE).unwrap();
    }
    let each = (memory() - before) as f64 / SESSIONS as f64;
    eprintln!("an idle session: {each:.1} KiB of PSS, its thread included");
    for socket in sockets {
        let _ = socket.shutdown(std::net::Shutdown::Both);
    }
    for thread in threads {
        thread.join().unwrap();
    }
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(each <= LIMIT as f64);
}

#[test]
#[ignore = "only the other test starts it"]
fn the_clients_of_the_other_test() {
    let Ok(address) = std::env::var("WHARF_TLS_TEST") else {
        return;
    };
    let client = Client::new();
    let mut connections = Vec::new();
    for _ in 0..=SESSIONS {
        let socket = TcpStream::connect(&address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let ssl = openssl::ssl::Ssl::new(client.context()).unwrap();
        let mut stream = ssl.connect(socket).unwrap();
        let mut seen = [0; 100];
        assert!(stream.read(&mut seen).unwrap() > 0);
        stream.write_all(b"NOOP\r\n").unwrap();
        assert!(stream.read(&mut seen).unwrap() > 0);
        connections.push(stream);
    }
    // Until the other test is done.
    let _ = std::io::stdin().read(&mut [0; 1]);
}

#[test]
#[ignore = "measures time"]
fn what_handshakes_and_bytes_cost() {
    let place = Place::new();
    let tls = place.tls();
    let rounds = 500;
    let started = Instant::now();
    let sessions: Vec<_> = (0..rounds).map(|_| tls.session()).collect();
    eprintln!("session(): {:?}", started.elapsed() / rounds);
    let (started, before) = (Instant::now(), memory());
    for session in &sessions {
        session.warm().unwrap();
    }
    let time = started.elapsed() / rounds;
    let size = (memory() - before) as f64 / f64::from(rounds);
    eprintln!("its context: {time:?}, {size:.1} KiB");
    let client = Client::new();
    let started = Instant::now();
    for session in sessions.iter().take(200) {
        drop(control(session, &client));
    }
    eprintln!("full handshakes, both ends: {:?}", started.elapsed() / 200);
    let session = &sessions[0];
    let _kept = control(session, &client);
    let started = Instant::now();
    for _ in 0..rounds {
        let offered = client.session();
        together(
            session,
            Side::Data(Direction::Receive),
            |accepted| assert!(accepted.unwrap().resumed()),
            |socket| {
                let mut connection = client.connect(socket, offered.as_ref()).unwrap();
                let _ = connection.0.shutdown();
            },
        );
    }
    eprintln!("resumed, both ends: {:?}", started.elapsed() / rounds);
    for cipher in ["AES128-GCM", "CHACHA20"] {
        bulk(session, cipher);
    }
}

fn bulk(session: &SessionTls, cipher: &str) {
    let client = Client::with(|builder| {
        let version = Some(openssl::ssl::SslVersion::TLS1_2);
        builder.set_max_proto_version(version).unwrap();
        let list = match cipher {
            "CHACHA20" => "ECDHE+CHACHA20",
            _ => "ECDHE+AES128+AESGCM",
        };
        builder.set_cipher_list(list).unwrap();
    });
    let total = 1usize << 30;
    for direction in [Direction::Send, Direction::Receive] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        let (time, cpu) = thread::scope(|scope| {
            let server = scope.spawn(|| serve_bulk(session, ours, direction, total));
            let ssl = openssl::ssl::Ssl::new(client.context()).unwrap();
            let mut stream = ssl.connect(theirs).unwrap();
            let mut piece = vec![7; 256 * 1024];
            match direction {
                Direction::Send => while stream.read(&mut piece).unwrap() > 0 {},
                Direction::Receive => {
                    for _ in 0..total / piece.len() {
                        stream.write_all(&piece).unwrap();
                    }
                    stream.shutdown().unwrap();
                }
            }
            server.join().unwrap()
        });
        let rate = 1.0 / time.as_secs_f64();
        eprintln!("{cipher} {direction:?}: {rate:.2} GiB/s, {cpu:.2} CPU-s/GiB of this thread");
    }
}

fn serve_bulk(
    session: &SessionTls,
    socket: TcpStream,
    direction: Direction,
    total: usize,
) -> (Duration, f64) {
    let stream = accept_data(session, socket.into(), direction);
    let mut stream = stream.unwrap();
    let mut piece = vec![7; 256 * 1024];
    let (started, cpu) = (Instant::now(), cpu_time());
    match direction {
        Direction::Send => {
            for _ in 0..total / piece.len() {
                stream.write_all(&piece).unwrap();
            }
        }
        Direction::Receive => while stream.read(&mut piece).unwrap() > 0 {},
    }
    stream.shutdown().unwrap();
    (started.elapsed(), cpu_time() - cpu)
}

/// Seconds of processor this thread has used.
fn cpu_time() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
