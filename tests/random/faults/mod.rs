//! Faults: of the file system at every operation of every command, of the
//! connections at every step of a dialogue, of the machine (a full disk, no
//! descriptors, a read-only disk, a largest size), and the end by SIGKILL.
//! There is always one final reply with the right code, the session goes on,
//! nothing is left, and a file that was there is whole.

use crate::common;
#[allow(dead_code)]
use crate::common::packets;

#[cfg(feature = "cli")]
mod calls;
mod connections;
#[cfg(feature = "cli")]
mod daemon;
mod faulty;
mod ftp;
#[cfg(feature = "cli")]
mod machine;
mod panics;
mod power;
mod sftp;
mod sides;
mod streams;
#[cfg(feature = "cli")]
mod surroundings;
