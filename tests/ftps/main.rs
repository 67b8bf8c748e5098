//! FTPS over the wire (RFC 4217): what must hold for clients
//! of every kind, on both back-ends. `cargo test --test ftps`, and the same
//! with `--no-default-features --features cli,ftps,sftp,import`.
#![cfg(feature = "ftps")]

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod certificates;
mod ciphers;
mod commands;
#[cfg(feature = "cli")]
mod daemon;
mod ends;
mod nagle;
mod names;
mod odd;
#[cfg(feature = "cli")]
mod ping;
mod policy;
mod required;
mod reuse;
#[cfg(feature = "cli")]
mod seen;
#[cfg(feature = "cli")]
mod signals;
mod stalls;
#[cfg(feature = "cli")]
mod start;
mod tails;
