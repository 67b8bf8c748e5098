//! A small FTP, FTPS and SFTP server.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod auth;
pub mod error;
pub mod storage;
mod sys;
mod text;

pub use error::{Error, ErrorKind, Result};
