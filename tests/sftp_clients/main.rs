//! The subsystem with real clients: over a pipe, under sshd and under
//! dropbear. Nothing needs a fixed port or touches the machine's settings.

mod daemons;
mod over_ssh;
mod pipe;
mod tools;
