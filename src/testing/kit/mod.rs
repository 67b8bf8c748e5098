//! The parts that our own tests are made of, too.

// The tests, which are outside of the crate, can't write these types whole.
#![allow(clippy::field_reassign_with_default)]

pub mod client;
pub mod link;
pub mod pattern;
pub mod server;
pub mod transcript;
