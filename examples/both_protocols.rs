//! FTP and SFTP on one back-end: what comes in by one is there in the other.
//! Any [`FileSystem`](wharf::FileSystem) will do; this one lives in
//! memory.
//!
//! `cargo run --example both_protocols`, then `curl -T FILE
//! ftp://guest:guest@127.0.0.1:2121/` and `sftp -P 2222 guest@127.0.0.1`.

use std::path::Path;
use std::sync::Arc;

use wharf::auth::{Secret, refused};
use wharf::{Config, Credentials, MemoryFs, Result, Running, Server, User};

/// Serves FTP at the first address and SFTP at the second; the SSH host key
/// is kept in `keys`.
pub fn start(ftp: &str, sftp: &str, keys: &Path) -> Result<Running> {
    let files = Arc::new(MemoryFs::new());
    let users = move |credentials: &Credentials<'_>| match credentials.secret {
        Secret::Password(b"guest") => Ok(User::new(credentials.name, Arc::clone(&files) as _)),
        _ => Err(refused("the password is guest")),
    };
    let mut config = Config::default();
    config.listen.push(ftp.parse()?);
    config.listen_sftp.push(sftp.parse()?);
    config.state_dir = Some(keys.into());
    Server::new(config, Arc::new(users)).bind()?.start()
}

fn main() -> Result<()> {
    let running = start("127.0.0.1:2121", "127.0.0.1:2222", Path::new("keys"))?;
    for (address, protocol) in running.addresses() {
        println!("{protocol:?} {address}");
    }
    loop {
        std::thread::park();
    }
}
