//! A small FTP, FTPS and SFTP server.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod address;
pub mod auth;
mod base64;
pub mod config;
mod digest;
pub mod error;
mod net;
pub mod session;
pub mod sftp;
#[cfg(feature = "sftp")]
pub mod ssh;
pub mod storage;
mod sys;
mod text;
mod time;

pub use error::{Error, ErrorKind, Result};
