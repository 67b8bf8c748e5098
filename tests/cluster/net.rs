//! Network namespaces that a test makes and removes.

use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs `ip` or `tc`; what it said if it failed.
pub fn try_run(program: &str, arguments: &str) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!(
            "{program} {arguments}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}

#[track_caller]
pub fn run(program: &str, arguments: &str) {
    if let Err(what) = try_run(program, arguments) {
        panic!("{what}");
    }
}

/// A machine: a namespace that goes with it.
pub struct Machine(String);

impl Machine {
    /// Makes one.
    pub fn new(name: &str) -> Result<Self, String> {
        let name = format!("wharf{}-{name}", std::process::id());
        try_run("ip", &format!("netns add {name}"))?;
        let machine = Machine(name);
        try_run("ip", &format!("-n {} link set lo up", machine.0))?;
        Ok(machine)
    }

    /// `ip` inside.
    #[track_caller]
    pub fn ip(&self, arguments: &str) {
        run("ip", &format!("-n {} {arguments}", self.0));
    }

    /// A cable to another machine, with an address at each end.
    pub fn cable(&self, device: &str, address: &str, to: &Machine, its: &str, other: &str) {
        let made = format!("link add {device} type veth peer name {its} netns {}", to.0);
        self.ip(&made);
        for (machine, device, address) in [(self, device, address), (to, its, other)] {
            machine.ip(&format!("addr add {address} dev {device}"));
            machine.ip(&format!("link set {device} up"));
        }
    }

    /// Bounds what a device sends, in megabits a second.
    #[allow(dead_code)] // One of the tests that share this file does.
    pub fn limit(&self, device: &str, rate: u32) {
        let queue = "burst 64kb latency 300ms";
        run(
            "tc",
            &format!(
                "-n {} qdisc replace dev {device} root tbf rate {rate}mbit {queue}",
                self.0
            ),
        );
    }

    /// Does something inside: sockets and processes that are made there are
    /// there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(&self.0);
                work()
            });
            match inside.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    pub fn name(&self) -> &str {
        &self.0
    }
}

/// Moves the calling thread to a machine, for good.
pub fn enter(name: &str) {
    let path = format!("/run/netns/{name}");
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Devices and addresses go with it.
        let _ = try_run("ip", &format!("netns del {}", self.0));
    }
}

/// Removes what test runs have left that were killed.
pub fn sweep() {
    for entry in std::fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name
            .strip_prefix("wharf")
            .and_then(|rest| rest.split_once('-'))
            .and_then(|(pid, _)| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = try_run("ip", &format!("netns del {name}"));
        }
    }
}
