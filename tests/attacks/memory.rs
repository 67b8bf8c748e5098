//! Attacks on memory: listings that have no end.

use std::sync::Arc;

use wharf::auth::{Authenticator, Credentials, User};
use wharf::config::{Config, Endpoint};
use wharf::storage::{
    Directory, Entry, File, FileKind, FileSystem, Follow, Metadata, OpenOptions, VirtualPath,
};
use wharf::{Error, ErrorKind, Result, Running, Server};

use super::common::client::Client;

const COUNT: u64 = 100_000;

/// Directories that hold a hundred thousand names of 255 bytes, and no memory.
struct Endless;

fn none<T>() -> Result<T> {
    Err(Error::new(ErrorKind::NotFound, "nothing is here"))
}

impl FileSystem for Endless {
    fn metadata(&self, path: &VirtualPath, _: Follow) -> Result<Metadata> {
        if path.is_root() {
            Ok(Metadata::new(FileKind::Directory, 0))
        } else {
            none()
        }
    }
    fn open(&self, _: &VirtualPath, _: &OpenOptions) -> Result<Box<dyn File>> {
        none()
    }
    fn read_dir(&self, _: &VirtualPath) -> Result<Box<dyn Directory>> {
        Ok(Box::new(Names(0)))
    }
}

struct Names(u64);

impl Directory for Names {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Entry>> {
        name.clear();
        if self.0 == COUNT {
            return Ok(None);
        }
        self.0 += 1;
        name.extend_from_slice(format!("{:0255}", self.0).as_bytes());
        Ok(Some(FileKind::File.into()))
    }
    fn metadata(&self, _: &[u8], _: Follow) -> Result<Metadata> {
        Ok(Metadata::new(FileKind::File, 1))
    }
    fn read_link(&self, _: &[u8]) -> Result<Vec<u8>> {
        none()
    }
}

/// Empty directories below a path of 3.8 KB.
struct Wide;

const DEPTH: usize = 15;
const WIDE: u64 = 10_000;

impl FileSystem for Wide {
    fn metadata(&self, _: &VirtualPath, _: Follow) -> Result<Metadata> {
        Ok(Metadata::new(FileKind::Directory, 0))
    }
    fn open(&self, _: &VirtualPath, _: &OpenOptions) -> Result<Box<dyn File>> {
        none()
    }
    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        let left = match path.components().count() {
            ..DEPTH => 1,
            DEPTH => WIDE,
            _ => 0,
        };
        Ok(Box::new(Directories(left)))
    }
}

struct Directories(u64);

impl Directory for Directories {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Entry>> {
        name.clear();
        if self.0 == 0 {
            return Ok(None);
        }
        self.0 -= 1;
        name.extend_from_slice(format!("{:0250}", self.0).as_bytes());
        Ok(Some(FileKind::Directory.into()))
    }
    fn metadata(&self, _: &[u8], _: Follow) -> Result<Metadata> {
        Ok(Metadata::new(FileKind::Directory, 0))
    }
    fn read_link(&self, _: &[u8]) -> Result<Vec<u8>> {
        none()
    }
}

struct LetIn(Arc<dyn FileSystem>);

impl Authenticator for LetIn {
    fn authenticate(&self, _: &Credentials<'_>) -> Result<User> {
        Ok(User::new("ann", Arc::clone(&self.0)))
    }
}

fn serve(files: impl FileSystem + 'static, mut config: Config) -> (Running, Client) {
    config.listen = vec![Endpoint {
        host: "127.0.0.1".into(),
        port: 0,
    }];
    let server = Server::new(config, Arc::new(LetIn(Arc::new(files))));
    let running = server.bind().unwrap().start().unwrap();
    let client = Client::greeted(running.addresses()[0].0);
    (running, client)
}

/// What a quota counts, what retention looks for, and what commands walk through:
/// each holds a path and a position for a level, not every directory's path.
#[test]
fn attack_22_wide_trees() {
    if !super::common::alone("memory::attack_22_wide_trees") {
        return;
    }
    let mut config = Config::default();
    config.quota_bytes = 1 << 40;
    config.retention = std::time::Duration::from_secs(1 << 30);
    config.max_recursion = 1_000_000;
    let (_running, mut client) = serve(Wide, config);
    let before = peak();
    client.login("ann", "x");
    while !client.expect("SITE QUOTA", 200).text().contains("files of") {}
    assert_eq!(client.expect("DSIZ /", 213).text(), "0");
    let grown = peak() - before;
    // The paths of all would take 41 MB.
    assert!(grown < 12 << 20, "{grown} bytes more");
}

fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse::<u64>().unwrap() * 1024
}

/// CVE-2024-48208, proftpd#2146. The peak is the whole process's, so the test
/// runs in a process of its own.
#[test]
fn attack_22_long_listings() {
    if !super::common::alone("memory::attack_22_long_listings") {
        return;
    }
    let (_running, mut client) = serve(Endless, Config::default());
    client.login("ann", "x");
    let before = peak();
    for command in ["MLSD", "NLST", "LIST"] {
        let data = client.data();
        client.expect(command, 150);
        let (mut piece, mut lines) = (vec![0; 64 * 1024], 0);
        loop {
            match std::io::Read::read(&mut &data.0, &mut piece).unwrap() {
                0 => break,
                length => {
                    lines += piece[..length]
                        .iter()
                        .filter(|byte| **byte == b'\n')
                        .count()
                }
            }
        }
        client.wait_for(226);
        assert!(lines as u64 >= COUNT, "{command}: {lines}");
    }
    // Over the control connection it streams, too.
    client.send("STAT /");
    let mut lines = 0;
    while !client.line().starts_with(b"212 ") {
        lines += 1;
    }
    assert!(lines > COUNT, "STAT: {lines}");
    let grown = peak() - before;
    // LIST sorts up to 10,000 names, which takes 2.6 MB, and doubles while it grows.
    assert!(grown < 12 << 20, "{grown} bytes more");
}
