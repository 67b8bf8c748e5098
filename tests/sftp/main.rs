//! SFTP by raw packets on a socket pair: every request, every error, order,
//! bounds, and what no client should send.

mod bad_input;
mod client;
mod extensions;
mod requests;
mod uploads;

use std::path::{Path, PathBuf};

/// A directory that goes away with the value.
pub struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wharf-sftp-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        TemporaryDirectory(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
