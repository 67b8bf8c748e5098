//! The program itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::process::{Process, wharfd};
use crate::common::{TempDir, until};

/// A `wharfd` that runs; dropping it ends it.
pub struct Daemon {
    process: Process,
    pub place: TempDir,
    /// The bound addresses in their order.
    pub ports: Vec<SocketAddr>,
}

impl Daemon {
    /// Starts it in a place of its own: FTP and implicit FTPS, files below
    /// `files`, and what `arguments` say.
    pub fn start(place: TempDir, arguments: &[&str]) -> Daemon {
        Daemon::run(wharfd(), place, arguments)
    }

    /// The same by a command with an environment of its own.
    pub fn run(mut command: Command, place: TempDir, arguments: &[&str]) -> Daemon {
        command
            .args(["--listen", "127.0.0.1:0", "--listen-ftps", "127.0.0.1:0"])
            .args(["--print-port", "--login-delay", "0"])
            .args(arguments);
        let process = Process::start(&mut command);
        Daemon {
            ports: process.addresses(2),
            process,
            place,
        }
    }

    /// The same with a certificate and its key.
    pub fn with_certificate(
        place: TempDir,
        (certificate, key): &(PathBuf, PathBuf),
        arguments: &[&str],
    ) -> Daemon {
        let pair = ["--tls-cert", text(certificate), "--tls-key", text(key)];
        Daemon::start(place, &[&pair[..], arguments].concat())
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log.text()
    }

    /// Waits until the log has a text so many times.
    #[track_caller]
    pub fn logs(&self, text: &str, times: usize) {
        until(text, || self.log().matches(text).count() >= times);
    }

    /// Has it read its files again.
    pub fn reload(&self) {
        self.process.signal("HUP");
    }

    /// Tells it to end when its transfers have.
    pub fn terminate(&self) {
        self.process.signal("TERM");
    }

    /// Waits for its end; its exit code, and all that it has logged.
    pub fn ended(&mut self) -> (Option<i32>, String) {
        let status = self.process.wait();
        (status.code(), self.process.log.all())
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
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
