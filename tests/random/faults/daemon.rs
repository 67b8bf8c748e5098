//! The daemon as the tests of this directory start it, and small disks.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::common::TempDir;
use super::common::client::Client;

/// `wharfd` on a port of its own.
pub struct Daemon {
    pub child: Child,
    pub address: SocketAddr,
}

impl Daemon {
    /// Starts it below a shell that says `before` first. Serves `root` with
    /// every right to `ann`, whose password is `secret`.
    pub fn start(place: &TempDir, root: &Path, before: &str, arguments: &[&str]) -> Daemon {
        let users = place.join("users");
        let hash = wharf::daemon::hash_with_rounds(b"secret", 1000).unwrap();
        let line = format!("ann:{hash}:{}:read-write:\n", root.display());
        std::fs::write(&users, line).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&users, mode).unwrap();
        let mut command = Command::new("sh");
        super::common::process::stay_root(&mut command);
        let mut child = command
            .arg("-c")
            .arg(format!("{before}\nexec \"$@\""))
            .arg("sh")
            .arg(env!("CARGO_BIN_EXE_wharfd"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--print-port",
                "--login-delay",
                "0",
            ])
            .args(["--max-unauthenticated-per-address", "0", "--users"])
            .arg(&users)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let address = line.trim().parse();
        let address = address.unwrap_or_else(|_| panic!("no port: {line:?}"));
        Daemon { child, address }
    }

    pub fn ann(&self) -> Client {
        let mut client = Client::greeted(self.address);
        client.login("ann", "secret");
        client.expect("TYPE I", 200);
        client
    }

    /// Ends it as a power cut would end its process.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Whether this process may mount in a namespace of its own.
pub fn may_mount() -> bool {
    let tried = Command::new("unshare")
        .args(["-m", "sh", "-c", "mount -t tmpfs none /mnt"])
        .stderr(Stdio::null())
        .status();
    let may = tried.is_ok_and(|status| status.success());
    if !may {
        eprintln!("SKIP: no mounts here");
    }
    may
}

/// Runs the rest of the test `name` (with its module) again in a mount
/// namespace of its own; `None` for the process that only starts it.
pub fn in_a_namespace(name: &str) -> Option<TempDir> {
    const INSIDE: &str = "WHARF_TEST_NAMESPACE";
    if std::env::var_os(INSIDE).is_some() {
        return Some(TempDir::new(&name.replace("::", "-")));
    }
    if may_mount() {
        let outcome = Command::new("unshare")
            .args(["-m", "--propagation", "private"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&outcome.stderr);
        let output = String::from_utf8_lossy(&outcome.stdout);
        // A name that is not that of the test would run none.
        let ran = outcome.status.success() && output.contains(" 1 passed");
        assert!(ran, "{output}{said}");
        for line in said.lines().filter(|line| line.starts_with("SKIP")) {
            eprintln!("{line}");
        }
    }
    None
}

/// Mounts on `disk` of the place; whether it could.
pub fn mount(place: &TempDir, arguments: &[&str]) -> bool {
    let disk = place.join("disk");
    let _ = std::fs::create_dir(&disk);
    let mounted = Command::new("mount").args(arguments).arg(disk).status();
    mounted.is_ok_and(|status| status.success())
}

/// In a namespace, with a tmpfs of 1 MiB.
pub fn on_small_disk(name: &str) -> Option<TempDir> {
    let place = in_a_namespace(name)?;
    assert!(mount(&place, &["-t", "tmpfs", "-o", "size=1m", "none"]));
    Some(place)
}

pub fn unmount(place: &TempDir) {
    let disk = place.join("disk");
    let _ = Command::new("umount").arg("-l").arg(disk).status();
}
