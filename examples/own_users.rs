//! Users of one's own: a closure says who may log in, and what they get.
//! Here everybody whose password is their name backwards gets a home in
//! memory that lives as long as the server.
//!
//! `cargo run --example own_users`, then `lftp -u ann,nna 127.0.0.1:2121`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use wharf::auth::{Secret, refused};
use wharf::{Config, Credentials, MemoryFs, Running, Server, User};

/// Serves at `address` until the result is dropped.
pub fn start(address: &str) -> wharf::Result<Running> {
    let homes: Mutex<HashMap<String, Arc<MemoryFs>>> = Mutex::default();
    let users = move |credentials: &Credentials<'_>| {
        let backwards: String = credentials.name.chars().rev().collect();
        match credentials.secret {
            Secret::Password(given) if given == backwards.as_bytes() => {}
            _ => return Err(refused("not the name backwards")),
        }
        let mut homes = homes.lock().unwrap_or_else(PoisonError::into_inner);
        let home = homes.entry(credentials.name.into()).or_default();
        Ok(User::new(credentials.name, Arc::clone(home) as _))
    };
    let mut config = Config::default();
    config.listen.push(address.parse()?);
    Server::new(config, Arc::new(users)).bind()?.start()
}

fn main() -> wharf::Result<()> {
    let running = start("127.0.0.1:2121")?;
    for (address, _) in running.addresses() {
        println!("ftp://{address}/");
    }
    loop {
        std::thread::park();
    }
}
