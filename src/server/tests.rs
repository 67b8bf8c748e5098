//! What SSH clients can make a whole server hold: 32 connections of ten channels,
//! each with requests that have no end, of which nothing or a byte now and then is
//! read. The server is a process of its own, whose memory is looked at; somebody
//! else logs in and downloads meanwhile.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::{Authenticator, Credentials, User};
use crate::config::{Config, Endpoint};
use crate::error::Result;
use crate::session::log_context;
use crate::sftp::floods::{packet, request, string, wrong_requests};
use crate::sftp::{REQUESTS, Request};
use crate::ssh::messages;
use crate::ssh::peer::Peer;
use crate::storage::LocalFs;
use crate::temp::TempDir;

const CLIENTS: usize = 32;
const CHANNELS: u32 = 10;
/// What the server may take, in KiB.
const BUDGET: u64 = 96 << 10;
// Messages of RFC 4254.
const OPEN_CONFIRMATION: u8 = 91;
const WINDOW_ADJUST: u8 = 93;
const CHANNEL_DATA: u8 = 94;
const CHANNEL_SUCCESS: u8 = 99;

// Flags of OPEN.
const READ: u8 = 1;
const NEW: u8 = 0x1a;

const ALONE: &str = "WHARF_TEST_SERVER";
const FILE: usize = 1 << 20;

struct LetIn(LocalFs);

impl Authenticator for LetIn {
    fn authenticate(&self, _: &Credentials<'_>) -> Result<User> {
        Ok(User::new("tester", Arc::new(self.0.clone())))
    }
}

/// The server, until its standard input ends.
fn serve(place: &str) {
    let any = Endpoint {
        host: "127.0.0.1".into(),
        port: 0,
    };
    let config = Config {
        listen_sftp: vec![any],
        host_key: vec![format!("{place}-key").into()],
        threads: 80,
        max_per_address: 80,
        max_unauthenticated: 80,
        max_unauthenticated_per_address: 80,
        deny_names: vec!["*.key".into()],
        ..Config::default()
    };
    log::set_boxed_logger(Box::new(ToFile(format!("{place}-log").into()))).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let files = LocalFs::open(place).unwrap();
    let server = crate::Server::new(config, Arc::new(LetIn(files)));
    let running = server.bind().unwrap().start().unwrap();
    println!("\nserving {}", running.addresses()[0].0);
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Lines with the number of their session.
struct ToFile(PathBuf);

impl log::Log for ToFile {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let session = log_context::with_current(|current| current.map_or(0, |of| of.session));
        let mut file = File::options().create(true).append(true).open(&self.0);
        let line = format!("session {session}: {}\n", record.args());
        file.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }

    fn flush(&self) {}
}

struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    /// By any test that becomes the server where it is alone.
    fn start(place: &str) -> Process {
        let name = "server::secure_shell::floods::no_flood_of_sftp_requests_passes_the_budget";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map(|line| line.unwrap());
        let address = lines.find_map(|line| Some(line.strip_prefix("serving ")?.to_owned()));
        let address = address.unwrap().parse().unwrap();
        Process { child, address }
    }

    /// KiB of a line of /proc/PID/status.
    fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|text| text.starts_with(line)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn login(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        Client {
            peer: Peer::over(OwnedFd::from(stream).into()),
            windows: Vec::new(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number_at(message: &[u8], at: usize) -> usize {
    u32::from_be_bytes(*message[at..].first_chunk().unwrap()) as usize
}

struct Client {
    peer: Peer,
    /// What may be sent on each channel.
    windows: Vec<usize>,
}

impl Client {
    /// Opens SFTP on one more channel that takes so much.
    fn open(&mut self, takes: u32) {
        self.open_for(takes, "subsystem", "sftp");
    }

    /// Opens a channel for a subsystem or a command.
    fn open_for(&mut self, takes: u32, kind: &str, what: &str) {
        self.peer.next_channel = self.windows.len() as u32;
        self.peer.open_channel("session", takes, 32 << 10);
        let answer = self.answer(OPEN_CONFIRMATION);
        self.windows.push(number_at(&answer, 9));
        let number = self.windows.len() as u32 - 1;
        self.peer.request_on(number, kind, Some(what));
        self.answer(CHANNEL_SUCCESS);
    }

    fn answer(&mut self, number: u8) -> Vec<u8> {
        loop {
            let answer = self.peer.receive();
            if answer[0] == number {
                return answer;
            }
            self.adjusted(&answer);
        }
    }

    fn adjusted(&mut self, answer: &[u8]) {
        if answer[0] == WINDOW_ADJUST {
            self.windows[number_at(answer, 1)] += number_at(answer, 5);
        }
    }

    /// Sends a stream of bytes on every channel as far as the server takes it.
    fn flood(&mut self, streams: &[Vec<u8>]) {
        let mut at = vec![0; streams.len()];
        let until = Instant::now() + Duration::from_secs(2);
        let wait = Some(Duration::from_millis(300));
        self.peer.stream.set_write_timeout(wait).unwrap();
        self.peer.stream.set_read_timeout(wait).unwrap();
        while Instant::now() < until {
            for (number, stream) in streams.iter().enumerate() {
                let rest = &stream[at[number]..];
                let length = rest.len().min(self.windows[number]).min(16 << 10);
                if length == 0 {
                    continue;
                }
                let head = [&[CHANNEL_DATA][..], &(number as u32).to_be_bytes()].concat();
                let data = [head, string(&rest[..length])].concat();
                let packet = self.peer.packet(&data, None);
                if self.peer.stream.write_all(&packet).is_err() {
                    return;
                }
                at[number] += length;
                self.windows[number] -= length;
            }
            while (0..streams.len())
                .all(|number| self.windows[number] == 0 || at[number] == streams[number].len())
            {
                match self.peer.try_receive() {
                    Ok(answer) => self.adjusted(&answer),
                    Err(_) => return,
                }
            }
        }
    }
}

/// What each channel gets before the flood: a file, opened so, and a directory.
fn prelude(name: &str, flags: u8) -> Vec<u8> {
    let open = [&string(name.as_bytes())[..], &[0, 0, 0, flags], &[0; 4]].concat();
    [
        string(&[1, 0, 0, 0, 3]),
        packet(3, 1, &open),
        packet(11, 3, &string(b"/")),
    ]
    .concat()
}

fn thousands(row: &Request) -> Vec<u8> {
    let one = request(row);
    let count = (200 << 10) / one.len() + 1000.min((1 << 20) / one.len());
    [prelude("f", READ), one.repeat(count)].concat()
}

/// Streams for the channels of all clients, by turns.
fn rounds() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let mut rounds = vec![("every request", REQUESTS.iter().map(thousands).collect())];
    for row in REQUESTS {
        if ["opendir", "read", "readdir", "users-groups-by-id"].contains(&row.name) {
            rounds.push((row.name, vec![thousands(row)]));
        }
    }
    // Packets that never end.
    let mut packet = packet(6, 9, &string(&[0, 0, 0, 1, 0, 0, 0, 0]));
    packet.extend_from_slice(&[0; 8]);
    packet.extend(string(&[b'x'; 255 << 10]));
    let whole = (packet.len() - 4) as u32;
    packet[..4].copy_from_slice(&whole.to_be_bytes());
    packet.pop();
    let channels = 0..CLIENTS * CHANNELS as usize;
    let streams = channels.map(|at| [prelude(&format!("new-{at}"), NEW), packet.clone()].concat());
    rounds.push(("long write", streams.collect()));
    rounds
}

/// What each of the clients does, all at the same time.
fn by_all(does: impl Fn(usize) -> Client + Sync) -> Vec<Client> {
    let does = &does;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || does(number)))
            .collect();
        threads.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn round(server: &Process, streams: &[Vec<u8>]) -> Vec<Client> {
    by_all(|number| {
        let mut client = server.login();
        for _ in 0..CHANNELS {
            client.open([0, 1 << 20][number % 2]);
        }
        let channels = number * CHANNELS as usize..(number + 1) * CHANNELS as usize;
        let own: Vec<_> = channels
            .map(|at| streams[at % streams.len()].clone())
            .collect();
        client.flood(&own);
        // The odd ones read a byte now and then.
        for _ in 0..5 * (number % 2) {
            let _ = client.peer.stream.read(&mut [0]);
        }
        client
    })
}

/// The old scp on all channels of all clients, which take what it says and not
/// what it sends.
fn scp_round(server: &Process, command: &str) -> Vec<Client> {
    by_all(|number| {
        let mut client = server.login();
        for _ in 0..CHANNELS {
            client.open_for([0, 8 << 10][number % 2], "exec", command);
        }
        client.flood(&vec![vec![0; 400]; CHANNELS as usize]);
        client
    })
}

/// A directory in each other, and one with a long path that has many names.
fn deep_and_long(home: &Path) {
    std::fs::create_dir_all(home.join("deep").join("d/".repeat(70))).unwrap();
    let long = ["n".repeat(250).as_str(); 12].join("/");
    std::fs::create_dir_all(home.join("long").join(&long)).unwrap();
    for number in 0..1000 {
        let name = format!("long/{long}/{number:0>200}");
        std::fs::write(home.join(name), b"").unwrap();
    }
}

/// Each message of SSH by a client of its own, of which some read a byte now and
/// then.
fn message_round(server: &Process) -> Vec<Client> {
    let kinds = messages();
    assert!(kinds.len() <= CLIENTS, "more clients are needed");
    by_all(|number| {
        let mut client = server.login();
        client.open([0, 1 << 20][number % 2]);
        let until = Instant::now() + Duration::from_secs(2);
        let wait = Some(Duration::from_millis(300));
        client.peer.stream.set_write_timeout(wait).unwrap();
        client.peer.stream.set_read_timeout(wait).unwrap();
        while Instant::now() < until {
            let message = &kinds[number % kinds.len()];
            let burst = (0..500).flat_map(|_| client.peer.packet(message, None));
            let burst: Vec<u8> = burst.collect();
            if client.peer.stream.write_all(&burst).is_err() {
                break;
            }
        }
        for _ in 0..5 * (number % 2) {
            let _ = client.peer.stream.read(&mut [0]);
        }
        client
    })
}

/// Somebody else reads a file.
fn download(server: &Process) {
    let mut client = server.login();
    client.open(4 << 20);
    let mut requests = prelude("f", READ);
    for number in 0..4u8 {
        let at = u64::from(number) << 18;
        let handle = string(&[0, 0, 0, 1, 0, 0, 0, 0]);
        let body = [&handle[..], &at.to_be_bytes(), &[0, 3, 0xfc, 0]].concat();
        requests.extend(packet(5, 10 + u32::from(number), &body));
    }
    client.peer.data(&requests);
    let mut taken = 0;
    while taken < 4 * (255 << 10) {
        let answer = client.answer(CHANNEL_DATA);
        taken += answer.len() - 9;
    }
}

#[test]
fn no_flood_of_sftp_requests_passes_the_budget() {
    if let Ok(place) = std::env::var(ALONE) {
        return serve(&place);
    }
    let place = TempDir::new("sftp-floods");
    let home = place.join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("f"), vec![b'x'; FILE]).unwrap();
    for number in 0..1000 {
        std::fs::write(home.join(format!("{number:0>100}")), b"").unwrap();
    }
    deep_and_long(&home);
    let server = Process::start(home.to_str().unwrap());
    let within = |name: &str| {
        download(&server);
        let taken = server.memory("VmRSS:");
        println!("{name}: {taken} KiB");
        assert!(taken <= BUDGET, "{name}: {taken} KiB");
    };
    let clients = message_round(&server);
    within("messages of SSH");
    drop(clients);
    for (name, streams) in rounds() {
        let clients = round(&server, &streams);
        within(name);
        drop(clients);
    }
    let names = format!("scp -f long/{}*", "*/".repeat(12));
    for command in ["scp -f f", "scp -r -f deep", &names] {
        let clients = scp_round(&server, command);
        within(command);
        drop(clients);
    }
    let most = server.memory("VmHWM:");
    assert!(most <= BUDGET, "{most} KiB");
}

#[test]
fn what_is_refused_has_one_line_however_often() {
    if let Ok(place) = std::env::var(ALONE) {
        return serve(&place);
    }
    let place = TempDir::new("sftp-refusals");
    let home = place.join("home");
    std::fs::create_dir(&home).unwrap();
    let server = Process::start(home.to_str().unwrap());
    let mut client = server.login();
    client.open(4 << 20);
    client.peer.data(&string(&[1, 0, 0, 0, 3]));
    client.answer(CHANNEL_DATA);
    let wrong = wrong_requests();
    let mut pass = || {
        // Some end the channel, and with it the requests.
        let ends = [96, 97];
        let messages = messages().into_iter();
        for message in messages.filter(|message| !ends.contains(&message[0])) {
            client.peer.send(&message);
        }
        client.peer.data(&wrong.concat());
        let mut replies = Vec::new();
        let mut count = 0;
        while count < wrong.len() {
            replies.extend_from_slice(&client.answer(CHANNEL_DATA)[9..]);
            while replies.len() >= 4 && replies.len() >= 4 + number_at(&replies, 0) {
                replies.drain(..4 + number_at(&replies, 0));
                count += 1;
            }
        }
        let text = std::fs::read_to_string(format!("{}-log", home.display())).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("session 1: "));
        lines.map(String::from).collect::<Vec<_>>()
    };
    let first = pass();
    for _ in 0..4 {
        pass();
    }
    let again = pass();
    assert_eq!(again.len(), first.len(), "{:#?}", &again[first.len()..]);
    for line in &first {
        assert!(line.contains("127.0.0.1"), "whose is it? {line}");
    }
    for reason in [
        "a denied name: /x.key",
        "SFTP request: unknown request 99",
        "SSH channel refused: direct-tcpip",
        "SSH request refused: tcpip-forward",
    ] {
        let times = first.iter().filter(|line| line.contains(reason)).count();
        assert_eq!(times, 1, "{reason}: {first:#?}");
    }
}
