//! What the tests share: the kit of `wharf::testing` (a server in this process
//! on ports that the system chooses, a raw client whose every read has a
//! deadline, the runner of dialogues), and what only our own tests need.
//!
//! Each test program uses a part of it.
#![allow(dead_code, unused_imports)]

pub mod packets;
#[cfg(feature = "cli")]
pub mod peers;
#[cfg(feature = "cli")]
pub mod process;
pub mod rng;
#[path = "../../src/testing/temp.rs"]
mod temp;
// Compiled into the tests, which must do without the feature `testing`.
#[path = "../../src/testing/kit/mod.rs"]
mod testing;
#[cfg(feature = "ftps")]
pub mod tls;
#[cfg(feature = "ftps")]
pub mod tls_link;
pub mod tree;

pub use temp::TempDir;
pub use testing::client::{self, Client};
pub use testing::link;
pub use testing::server::*;
pub use testing::transcript;

/// Whether this process runs the one test `name`. Where it does not, the test
/// is run in a process of its own: what it measures is the whole process's.
pub fn alone(name: &str) -> bool {
    const ALONE: &str = "WHARF_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let outcome = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&outcome.stdout);
    let has_run = outcome.status.success() && text.contains("1 passed");
    assert!(
        has_run,
        "{text}{}",
        String::from_utf8_lossy(&outcome.stderr)
    );
    false
}
