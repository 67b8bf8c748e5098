//! FTP as clients see it: transfers, listings, data connections, and what is
//! on the disk afterwards. Commands and replies are in tests/transcripts.

mod abort;
#[path = "../common/mod.rs"]
mod common;
mod deflate;
mod ends;
mod large_uploads;
mod listing;
mod no_tls;
mod passive;
mod proxy;
mod receipt;
mod transfer;
mod uploads;
