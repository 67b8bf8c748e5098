//! The smallest server: one directory, read-only, for everybody.
//!
//! `cargo run --example smallest`, then `curl ftp://127.0.0.1:2121/`.

use std::sync::Arc;

use wharf::{Anonymous, Config, LocalFs, Perms, Running, Server};

/// Serves `directory` at `address` until the result is dropped.
pub fn start(directory: &str, address: &str) -> wharf::Result<Running> {
    let files = Arc::new(LocalFs::open(directory)?);
    let guests = Arc::new(Anonymous::new(files, Perms::READ_ONLY));
    let mut config = Config::default();
    config.listen.push(address.parse()?);
    Server::new(config, guests).bind()?.start()
}

fn main() -> wharf::Result<()> {
    let running = start(".", "127.0.0.1:2121")?;
    for (address, _) in running.addresses() {
        println!("ftp://{address}/");
    }
    loop {
        std::thread::park();
    }
}
