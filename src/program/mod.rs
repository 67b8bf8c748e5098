//! The daemon's own part: command line, log, signals, subcommands.

#[cfg_attr(not(feature = "acme"), path = "acme/none.rs")]
pub mod acme;
mod assemble;
mod background;
pub mod check;
pub mod cli;
mod control;
mod counters;
mod descriptors;
#[cfg(debug_assertions)]
mod exploit;
pub mod failure;
pub mod help;
mod hooks;
mod identity;
#[cfg(feature = "import")]
pub mod import;
pub mod inetd;
mod json;
mod landlock;
pub mod lb_config;
pub mod logging;
mod metrics_port;
pub mod monitor;
#[cfg(feature = "page")]
mod page;
pub mod passwd;
pub mod ping;
mod places;
pub mod process;
pub mod serve;
pub mod sftp_server;
mod signals;
mod syslog;
mod systemd;
pub mod who;
