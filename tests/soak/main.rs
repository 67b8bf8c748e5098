//! Everybody at once for as long as is asked for: plain FTP, FTPS and SFTP, by
//! our own clients and by those that people use, with connections that are
//! reset and settings that are read again meanwhile. What was acknowledged is
//! whole when it is fetched and on the disk at the end; memory and descriptors
//! stay flat.
//!
//! `make soak MINUTES=60` runs it for an hour with 100 clients; the ordinary
//! tests run a few seconds of it.
#![cfg(all(feature = "cli", feature = "ftps", feature = "sftp"))]

#[path = "../common/mod.rs"]
mod common;
mod jobs;
mod watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::TempDir;
use common::process::{Process, has, run, wharfd};
use common::rng::Rng;
use jobs::KINDS;
use watch::Watch;

/// How long a client waits for an answer. A hundred of them have two cores,
/// which others may use besides: a slow machine is no failure, and a server
/// that has stopped answering is one at any length.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long and how many.
struct Size {
    time: Duration,
    clients: usize,
    /// How long a client that has a session stays quiet in it, at most.
    pause: Duration,
    /// Between readings of the settings.
    reload: Duration,
}

/// The daemon, what it serves, and what the clients know of it.
pub struct Place {
    top: TempDir,
    pub ftp: SocketAddr,
    pub sftp: SocketAddr,
    /// Jobs done, by their names.
    done: Mutex<BTreeMap<&'static str, u64>>,
    pub bytes: AtomicU64,
    failures: Mutex<Vec<String>>,
    pause: Duration,
    pub has_curl: bool,
    pub has_lftp: bool,
    pub has_sftp: bool,
}

impl Place {
    pub fn root(&self) -> PathBuf {
        self.top.join("root")
    }

    /// So long a client stays quiet: the longer, the more the machine has to
    /// do. Nobody learns more from a machine that cannot keep up.
    pub fn pause(&self, rng: &mut Rng) -> Duration {
        let quiet = Duration::from_millis(rng.below(self.pause.as_millis() as usize + 1) as u64);
        quiet.mul_f64((load() / 2.0).clamp(1.0, 4.0))
    }

    /// A path of ours, not of what is served.
    pub fn path(&self, name: &str) -> PathBuf {
        self.top.join(name)
    }
}

/// Who waits for a core, for each that there is; the mean of a minute.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mean: f64 = text
        .split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0);
    mean / std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64)
}

fn start(top: &TempDir) -> Process {
    std::fs::create_dir(top.join("root")).unwrap();
    std::fs::create_dir(top.join("state")).unwrap();
    let key = top.join("key");
    if has("ssh-keygen") {
        let mut command = std::process::Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-t", "ed25519", "-f"]);
        run(command.arg(&key), "");
    }
    let hash = wharf::daemon::hash_with_rounds(b"secret", 1000).unwrap();
    let users = top.join("users");
    let line = format!(
        "ann:{hash}:{}:read-write:keys={}.pub\n",
        top.join("root").display(),
        key.display()
    );
    std::fs::write(&users, line).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&users, mode).unwrap();
    let config = top.join("wharfd.conf");
    let text = format!(
        "listen 127.0.0.1:0\nlisten-sftp 127.0.0.1:0\nusers {}\nself-signed yes\n\
         state-dir {}\nthreads 256\nlogin-delay 0\nban-after 0\nmax-per-address 0\n\
         max-unauthenticated 0\nmax-unauthenticated-per-address 0\natomic-uploads yes\n\
         stall-timeout 300\nlogin-timeout 300\ndata-connect-timeout 300\n",
        users.display(),
        top.join("state").display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = wharfd();
    command.args(["--print-port", "--config"]).arg(&config);
    Process::start(&mut command)
}

/// One client: job after job until the time is over.
fn client(place: &Place, number: usize, until: Instant) {
    let mut rng = Rng::fixed(number as u64 * 7919 + 1);
    let mut files = jobs::Files::new(place, number);
    while Instant::now() < until {
        let (name, job) = KINDS[rng.below(KINDS.len())];
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            job(place, &mut files, &mut rng)
        }));
        match outcome {
            Ok(()) => *place.done.lock().unwrap().entry(name).or_default() += 1,
            Err(_) => {
                let failure = format!("client {number}: {name}, load {:.1}", load());
                place.failures.lock().unwrap().push(failure);
                // What it left is not known any more.
                files.forget();
            }
        }
        std::thread::sleep(Duration::from_millis(rng.below(200) as u64));
    }
    // Nothing is lost: what was acknowledged is there.
    files.check(place);
}

fn soak(size: &Size) {
    let top = TempDir::new("soak");
    let server = start(&top);
    let ftp = server.address();
    let ports = || server.out.text();
    common::until("both ports", || ports().lines().count() == 2);
    let sftp = ports().lines().nth(1).unwrap().parse().unwrap();
    let place = Arc::new(Place {
        top,
        ftp,
        sftp,
        done: Mutex::default(),
        bytes: AtomicU64::new(0),
        failures: Mutex::default(),
        pause: size.pause,
        has_curl: has("curl"),
        has_lftp: has("lftp"),
        has_sftp: has("sftp") && has("ssh-keygen"),
    });
    let mut watch = Watch::new(server.pid());
    let started = Instant::now();
    let until = started + size.time;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..size.clients)
            .map(|number| {
                let place = &place;
                scope.spawn(move || client(place, number, until))
            })
            .collect();
        let mut reloaded = Instant::now();
        while !clients.iter().all(|client| client.is_finished()) {
            std::thread::sleep(Duration::from_millis(500));
            watch.look(started.elapsed());
            if reloaded.elapsed() >= size.reload && Instant::now() < until {
                server.signal("HUP");
                *place.done.lock().unwrap().entry("reload").or_default() += 1;
                reloaded = Instant::now();
            }
        }
    });
    eprintln!("load {:.1} a core", load());
    let total: u64 = place.done.lock().unwrap().values().sum();
    eprintln!("jobs: {total}: {:?}", place.done.lock().unwrap());
    eprintln!("bytes of content: {}", place.bytes.load(SeqCst));
    watch.check(size.time);
    let failures = place.failures.lock().unwrap().clone();
    assert!(failures.is_empty(), "{failures:#?}\n{}", server.log.text());
    // No temporary file of any of them is left.
    let mut waiting = vec![place.root()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            assert!(!name.starts_with(".wharf"), "{name} is left");
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    let log = server.log.text();
    assert!(!log.contains("panic"), "{log}");
}

#[test]
fn a_few_seconds_of_everybody() {
    soak(&Size {
        time: Duration::from_secs(6),
        clients: 12,
        pause: Duration::from_millis(500),
        reload: Duration::from_secs(2),
    });
}

#[test]
#[ignore = "takes WHARF_SOAK_MINUTES; make soak"]
fn as_long_as_is_asked_for() {
    let number = |name: &str, usual: usize| -> usize {
        std::env::var(name).map_or(usual, |text| {
            text.parse()
                .unwrap_or_else(|_| panic!("{name} is a number"))
        })
    };
    soak(&Size {
        time: Duration::from_secs(60 * number("WHARF_SOAK_MINUTES", 60) as u64),
        clients: number("WHARF_SOAK_CLIENTS", 100),
        pause: Duration::from_millis(number("WHARF_SOAK_PAUSE_MS", 8000) as u64),
        reload: Duration::from_secs(20),
    });
}
