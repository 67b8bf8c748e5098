//! The binary as people start it, on ports that the system chooses.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::client::DEADLINE;

/// The path of the binary under test.
pub const WHARFD: &str = env!("CARGO_BIN_EXE_wharfd");

/// A running daemon; it is killed when the test is over.
pub struct Daemon {
    pub child: Child,
    pub addresses: Vec<SocketAddr>,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Daemon {
    /// Starts the binary with arguments, on 127.0.0.1 and ::1.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(WHARFD);
        command.args(arguments);
        Self::run(command)
    }

    /// Starts a command that ends in the binary, such as `unshare`; the ports
    /// are added.
    pub fn run(mut command: Command) -> Self {
        command
            .args([
                "--print-port",
                "--listen",
                "127.0.0.1:0",
                "--listen",
                "[::1]:0",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        clean_environment(&mut command);
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        // A thread, because reading a pipe has no deadline.
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = Vec::new();
            for _ in 0..2 {
                let mut line = String::new();
                let _ = stdout.read_line(&mut line);
                lines.push(line);
            }
            let _ = sender.send((lines, stdout));
        });
        match receiver.recv_timeout(DEADLINE) {
            Ok((lines, stdout)) if lines.iter().all(|line| !line.is_empty()) => Daemon {
                addresses: lines
                    .iter()
                    .map(|line| {
                        let address = line.split_whitespace().last().unwrap();
                        address
                            .parse()
                            .unwrap_or_else(|_| panic!("no address: {line}"))
                    })
                    .collect(),
                child,
                stdout: Some(stdout),
            },
            other => {
                let _ = child.kill();
                panic!(
                    "the daemon did not start: {:?}",
                    other.map(|(lines, _)| lines)
                );
            }
        }
    }

    /// Where it serves on IPv4.
    pub fn v4(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What else it has written to standard output until its end.
    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        if let Some(mut stdout) = self.stdout.take() {
            stdout.read_to_string(&mut rest).unwrap();
        }
        rest
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes away what the tester's own environment says to wharfd.
pub fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WHARFD_") {
            command.env_remove(name);
        }
    }
}
