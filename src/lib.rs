//! A small FTP, FTPS and SFTP server.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod address;
pub mod auth;
mod base64;
pub mod config;
mod digest;
pub mod error;
mod ftp;
mod net;
pub mod session;
pub mod sftp;
#[cfg(feature = "sftp")]
pub mod ssh;
pub mod storage;
mod sys;
mod text;
pub mod time;

/// What the daemon needs of the operating system and safe Rust can't say.
#[doc(hidden)]
pub mod os {
    pub use crate::sys::{LocalTime, SignalSet};
}

/// The tables that the manual pages are held against.
#[doc(hidden)]
pub mod tables {
    pub use crate::ftp::{NOT_DONE, rows};
}

pub use config::Config;
pub use error::{Error, ErrorKind, Result};
pub use net::{Protocol, Running, Server};
