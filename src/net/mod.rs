//! The way in: from a bound port to a session.
//!
//! `socket`, `stream`, `name_cache` and `tls` are the leaves that every
//! protocol reads and writes through; the rest stands above the protocols.

mod connection;
mod health;
mod keys;
mod listener;
pub(crate) mod name_cache;
pub(crate) mod passive;
mod pool;
pub(crate) mod proxy_protocol;
mod secure_shell;
mod server;
mod shared;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod tls;

pub use connection::Protocol;
pub use server::{Running, Server};
