//! Clients that people use, driven against our server: get, put, resume,
//! mirror, active and passive, IPv4 and IPv6, and names that clients trip
//! over. tests/install-clients.sh installs them; one that is missing is a line
//! `SKIP name`, and a failure with WHARF_NEED_CLIENTS=1.
#![cfg(feature = "cli")]

use crate::common;
mod mirrors;
mod own;
mod prompt;
mod scripts;
mod tools;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use common::process::{client_in, run};
use common::rng::Rng;
use common::{TempDir, TestServer, server};

/// Names that are valid UTF-8, and that every file system takes.
const NAMES: [&str; 8] = [
    "plain",
    "with blanks in it",
    "quote\"s and 'more'",
    "hash # percent % question ?",
    "[brackets] {braces}",
    "umläut ß 日本語",
    "🦀",
    "semi;colon & ampersand",
];

/// A server on a directory, and a directory for the client.
struct Place {
    server: TestServer,
    remote: TempDir,
    local: TempDir,
}

impl Place {
    fn new(name: &str) -> Self {
        let remote = TempDir::new(&format!("{name}-remote"));
        Place {
            server: server().directory(remote.path()).start(),
            local: TempDir::new(&format!("{name}-local")),
            remote,
        }
    }

    /// A command in the client's directory, which is also its home.
    fn command(&self, program: &str) -> Command {
        client_in(self.local.path(), program)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        run(self.command(program).args(arguments), "")
    }

    /// Gives the client a file, here and there.
    fn local(&self, name: &str, content: &[u8]) {
        std::fs::write(self.local.join(name), content).unwrap();
    }

    fn remote(&self, name: &str, content: &[u8]) {
        std::fs::write(self.remote.join(name), content).unwrap();
    }

    #[track_caller]
    fn same(&self, local: &str, remote: &str) {
        let here = std::fs::read(self.local.join(local));
        let there = std::fs::read(self.remote.join(remote));
        let here = here.unwrap_or_else(|error| panic!("{local}: {error}"));
        let there = there.unwrap_or_else(|error| panic!("{remote} (remote): {error}"));
        assert!(
            here == there,
            "{local} and {remote} differ: {} and {}",
            here.len(),
            there.len()
        );
    }
}

fn large() -> Vec<u8> {
    Rng::fixed(7).bytes(3 << 20)
}

/// A tree for mirrors: names, sizes, depths.
fn plant(directory: &Path) {
    std::fs::create_dir_all(directory.join("deep/er/est")).unwrap();
    std::fs::create_dir_all(directory.join("empty dir")).unwrap();
    for name in NAMES {
        std::fs::write(directory.join(name), name).unwrap();
        std::fs::write(directory.join("deep/er").join(name), name).unwrap();
    }
    std::fs::write(directory.join("deep/zero"), b"").unwrap();
    std::fs::write(directory.join("deep/er/est/large"), large()).unwrap();
}

/// `%20` for everything but letters and digits.
fn encoded(name: &[u8]) -> String {
    name.iter().fold(String::new(), |text, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text + &char::from(*byte).to_string(),
        byte => text + &format!("%{byte:02X}"),
    })
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("ftp://ann:secret@{address}/{path}")
}
