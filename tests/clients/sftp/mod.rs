//! Real clients: the subsystem over a pipe, under sshd and under dropbear, and
//! wharfd with its own SSH. Nothing needs a fixed port or touches the machine's settings.

use crate::common;
#[cfg(feature = "sftp")]
mod certificates;
mod daemons;
mod large;
mod others;
mod over_ssh;
mod pipe;
#[cfg(feature = "sftp")]
mod scp;
#[cfg(feature = "sftp")]
mod second_try;
#[cfg(feature = "sftp")]
mod settings;
mod tools;
#[cfg(feature = "sftp")]
mod wrong_first;
