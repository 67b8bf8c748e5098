//! The program itself, with its log in a file.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{TempDir, until};

/// A `wharfd` that runs; dropping it ends it.
pub struct Daemon {
    child: Child,
    pub place: TempDir,
    /// The bound addresses in their order.
    pub ports: Vec<SocketAddr>,
}

/// A command that has nothing of this machine's settings.
pub fn wharfd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharfd"));
    command.env_clear();
    command
}

impl Daemon {
    /// Starts it in a place of its own: FTP and implicit FTPS, files below
    /// `files`, and what `arguments` say.
    pub fn start(place: TempDir, arguments: &[&str]) -> Daemon {
        let log = std::fs::File::create(place.join("log")).unwrap();
        let mut child = wharfd()
            .args(["--listen", "127.0.0.1:0", "--listen-ftps", "127.0.0.1:0"])
            .args(["--print-port", "--login-delay", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut port = || Some(lines.next()?.unwrap().parse().unwrap());
        let ports: Vec<SocketAddr> = [port(), port()].into_iter().flatten().collect();
        let daemon = Daemon {
            child,
            place,
            ports,
        };
        assert_eq!(daemon.ports.len(), 2, "{}", daemon.log());
        daemon
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.place.join("log")).unwrap()
    }

    /// Waits until the log has a text so many times.
    #[track_caller]
    pub fn logs(&self, text: &str, times: usize) {
        until(text, || self.log().matches(text).count() >= times);
    }

    /// Has it read its files again.
    pub fn reload(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// Tells it to end when its transfers have.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the end of the server", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it with settings that it must refuse; code and words.
pub fn refused(arguments: &[&str], directory: &Path) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = wharfd()
        .args(["--listen", "127.0.0.1:0"])
        .args(arguments)
        .arg(directory)
        .output()
        .unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}
