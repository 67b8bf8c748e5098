//! The daemon's subcommands.

pub mod passwd;
