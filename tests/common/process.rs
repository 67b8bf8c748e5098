//! wharfd as a process of its own: its ports, its log, its signals.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::client::{Client, DEADLINE};

/// The program under test.
pub const WHARFD: &str = env!("CARGO_BIN_EXE_wharfd");

/// A command for wharfd with nothing of our environment but the path.
pub fn wharfd() -> Command {
    let mut command = Command::new(WHARFD);
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// Has wharfd stay root where it is started as root.
pub fn stay_root(command: &mut Command) {
    if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        command.env("WHARFD_USER", "0");
    }
}

/// The processes that a process has started, and those that these have.
#[allow(dead_code)] // not every test looks
pub fn descendants(pid: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let all: Vec<(u32, u32)> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(above) = found.get(at).copied() {
        found.extend(
            all.iter()
                .filter(|(_, parent)| *parent == above)
                .map(|(pid, _)| pid),
        );
        at += 1;
    }
    found.split_off(1)
}

/// Lines that somebody writes, gathered as they come.
#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<(String, bool)>, Condvar)>);

impl Lines {
    /// Gathers what `reader` yields until its end.
    pub fn of(reader: impl Read + Send + 'static) -> Self {
        let lines = Lines::default();
        let gathered = lines.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(length) if length > 0) {
                let mut state = gathered.0.0.lock().unwrap();
                state.0.push_str(&String::from_utf8_lossy(&line));
                line.clear();
                gathered.0.1.notify_all();
            }
            gathered.0.0.lock().unwrap().1 = true;
            gathered.0.1.notify_all();
        });
        lines
    }

    /// What has come so far.
    pub fn text(&self) -> String {
        self.0.0.lock().unwrap().0.clone()
    }

    /// Waits for a line that contains `word` and yields it.
    pub fn wait_for(&self, word: &str) -> String {
        let until = Instant::now() + DEADLINE;
        let mut state = self.0.0.lock().unwrap();
        loop {
            if let Some(line) = state.0.lines().find(|line| line.contains(word)) {
                return line.to_owned();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !state.1, "no {word:?} in:\n{}", state.0);
            state = self.0.1.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits for so many lines and yields them.
    pub fn first(&self, count: usize) -> Vec<String> {
        let until = Instant::now() + DEADLINE;
        let mut state = self.0.0.lock().unwrap();
        while state.0.lines().count() < count {
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !state.1,
                "not {count} lines:\n{}",
                state.0
            );
            state = self.0.1.wait_timeout(state, left).unwrap().0;
        }
        state.0.lines().take(count).map(String::from).collect()
    }

    /// Waits for the end of the stream; all that has come.
    pub fn all(&self) -> String {
        let until = Instant::now() + DEADLINE;
        let mut state = self.0.0.lock().unwrap();
        while !state.1 {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no end after:\n{}", state.0);
            state = self.0.1.wait_timeout(state, left).unwrap().0;
        }
        state.0.clone()
    }
}

/// A process that is killed when the test ends.
pub struct Process {
    pub child: Child,
    pub out: Lines,
    pub log: Lines,
}

impl Process {
    /// Starts a command; its output is gathered. Where tests run as root their
    /// trees are root's, and so wharfd stays root unless a test says who it
    /// becomes.
    pub fn start(command: &mut Command) -> Self {
        let says = |word: &OsStr| {
            let word = word.to_string_lossy();
            word.starts_with("--user") && !word.starts_with("--users") || word == "--system-users"
        };
        let own = command.get_program() == WHARFD || command.get_args().any(|word| word == WHARFD);
        if own && !command.get_args().any(says) {
            stay_root(command);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Process {
            out: Lines::of(child.stdout.take().unwrap()),
            log: Lines::of(child.stderr.take().unwrap()),
            child,
        }
    }

    /// Starts wharfd on a free port of 127.0.0.1 with more arguments.
    pub fn serve(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = wharfd();
        command
            .args(["--listen", "127.0.0.1:0", "--print-port"])
            .args(arguments)
            .arg(directory);
        Process::start(&mut command)
    }

    /// Starts wharfd for a users file, without delays and bans.
    pub fn for_users(users: &Path, arguments: &[&str]) -> Self {
        let mut command = wharfd();
        command
            .args(["--listen=127.0.0.1:0", "--print-port"])
            .args(["--login-delay=0", "--ban-after=0", "--users"])
            .arg(users)
            .args(arguments);
        Process::start(&mut command)
    }

    /// The first port that it has bound.
    pub fn address(&self) -> SocketAddr {
        self.out.wait_for(":").parse().unwrap()
    }

    /// So many ports that it has bound, in their order.
    pub fn addresses(&self, count: usize) -> Vec<SocketAddr> {
        let lines = self.out.first(count).into_iter();
        lines.map(|line| line.parse().unwrap()).collect()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        signal_to(self.pid(), signal);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by its name.
pub fn signal_to(pid: u32, signal: &str) {
    let sent = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(sent.is_ok_and(|status| status.success()), "kill {signal}");
}

/// Waits for a child's end, but not for ever.
pub fn wait(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < until, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether something comes true before the deadline.
pub fn soon(mut what: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + DEADLINE;
    while !what() {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Where programs of daemons are unpacked to, and what is beside them
/// (tests/install-clients.sh).
pub const UNPACKED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/programs");

/// Where a program is: on the path, where daemons are, or unpacked.
pub fn located(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(daemons)
        .chain([Path::new(UNPACKED).join("bin")])
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// A command for a program that [`has`] has found.
pub fn program(name: &str) -> Command {
    Command::new(located(name).unwrap_or_else(|| name.into()))
}

/// Whether a program is there; a missing one is a failure where the tests
/// must be complete.
pub fn has(program: &str) -> bool {
    let found = located(program).is_some();
    if !found {
        assert!(
            std::env::var_os("WHARF_NEED_CLIENTS").is_none(),
            "{program} is missing; tests/install-clients.sh installs it"
        );
        eprintln!("SKIP {program}");
    }
    found
}

/// A client that has `home` as its directory and nothing of this machine's
/// settings.
pub fn client_in(home: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(home)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("LC_ALL", "C.UTF-8")
        .env("TERM", "dumb");
    command
}

/// Starts a server with a connection as its standard input, and a client that
/// has read the greeting.
pub fn on_connection(command: &mut Command) -> (Child, Client) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = OwnedFd::from(listener.accept().unwrap().0);
    let child = command
        .stdin(Stdio::from(server))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let peer = stream.peer_addr().unwrap();
    let mut client = Client::over(stream, peer);
    client.wait_for(220);
    (child, client)
}

/// Runs to the end; what was said. A failure or a hang is the test's.
#[track_caller]
pub fn run(command: &mut Command, input: &str) -> String {
    run_within(Duration::from_secs(60), command, input)
}

/// The same for what takes longer on a busy machine.
#[track_caller]
pub fn run_within(limit: Duration, command: &mut Command, input: &str) -> String {
    let (ok, said) = attempt_within(limit, command, input);
    assert!(ok, "{command:?} failed:\n{said}");
    said
}

/// The same; whether it succeeded, and what was said.
pub fn attempt(command: &mut Command, input: &str) -> (bool, String) {
    attempt_within(Duration::from_secs(60), command, input)
}

fn attempt_within(limit: Duration, command: &mut Command, input: &str) -> (bool, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
    drop(stdin);
    let out = Lines::of(child.stdout.take().unwrap());
    let err = Lines::of(child.stderr.take().unwrap());
    let until = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{command:?} hangs:\n{}\n{}", out.text(), err.text());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    (status.success(), format!("{}\n{}", out.all(), err.all()))
}

/// Adds a user with the password `secret` to a file, which is made if there
/// is none.
pub fn add_user(users: &Path, name: &str, home: &Path, arguments: &[&str]) {
    add_user_with("secret", users, name, home, arguments);
}

/// The same with another password.
pub fn add_user_with(password: &str, users: &Path, name: &str, home: &Path, arguments: &[&str]) {
    let mut command = wharfd();
    command
        .args(["passwd", "--rounds", "1000", "--home"])
        .arg(home);
    command
        .args((!users.exists()).then_some("-c"))
        .args(arguments);
    command.arg(users).arg(name);
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, format!("{password}\n").as_bytes()).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success(), "{command:?}");
}

/// The program's libraries, wherever they are, at the same place below `root`.
pub fn copy_libraries(program: &Path, root: &Path) {
    let output = Command::new("ldd").arg(program).output().unwrap();
    for word in String::from_utf8_lossy(&output.stdout).split_whitespace() {
        if word.starts_with('/') {
            let target = root.join(word.trim_start_matches('/'));
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(word, target).unwrap();
        }
    }
}
