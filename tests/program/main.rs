//! wharfd as a program: its command line, signals, logs and control socket,
//! and whom it acts as. Most tests start the real binary.

mod accounts;
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod control;
mod daemon;
mod help;
mod identity;
mod import;
mod inetd;
mod lb_config;
mod memory;
mod page;
mod passwd;
mod profiles;
mod refusals;
mod reload;
mod secrets;
mod shared_dir;
