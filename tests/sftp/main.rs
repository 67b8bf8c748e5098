//! SFTP by raw packets on a socket pair: every request, every error, order,
//! bounds, and what no client should send. The SSH transport under it.

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod extensions;
mod requests;
mod ssh;
mod uploads;
