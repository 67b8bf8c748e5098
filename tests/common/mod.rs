//! What the tests share: the kit of `wharf::testing` (a server in this process
//! on ports that the system chooses, a raw client whose every read has a
//! deadline, the runner of dialogues), and what only our own tests need.
//!
//! Each test program uses a part of it.
#![allow(dead_code, unused_imports)]

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
