//! The room of SSH in a build without the feature `sftp`.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::net::socket::Socket;
use crate::session::Session;

/// There are none.
pub enum SshSetup {}

impl SshSetup {
    /// Answers that this build has no SSH.
    pub fn load(_: &Config) -> Result<SshSetup> {
        Err(Error::new(
            ErrorKind::Unsupported,
            "this build has no SFTP server (feature sftp); its SFTP subsystem for sshd is there",
        ))
    }

    /// There is nothing to check.
    pub fn check(_: &Config) -> Result<()> {
        Ok(())
    }

    pub fn fingerprints(&self) -> Vec<(PathBuf, String, String)> {
        match *self {}
    }
}

pub fn run(_: Socket, _: Session, keys: Arc<SshSetup>) -> Result<()> {
    match *keys {}
}
