//! The daemon's own part: command line, log, signals, subcommands.

pub mod cli;
mod json;
pub mod logging;
pub mod passwd;
pub mod serve;
pub mod sftp_server;
mod signals;
