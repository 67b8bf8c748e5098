//! The daemon's subcommands.

pub mod passwd;
pub mod sftp_server;
