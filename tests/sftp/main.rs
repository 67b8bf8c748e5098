//! SFTP by raw packets on a socket pair: every request, every error, order,
//! bounds, and what no client should send.

mod bad_input;
mod client;
mod extensions;
mod requests;
#[path = "../../src/testing/temp.rs"]
mod temp;
mod uploads;
