//! The daemon's own part: command line, log, signals, subcommands.

mod background;
pub mod cli;
mod descriptors;
pub mod failure;
pub mod inetd;
mod json;
pub mod logging;
pub mod passwd;
pub mod serve;
pub mod sftp_server;
mod signals;
mod systemd;
