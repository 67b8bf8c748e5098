//! The IPv4 address of one host name, asked again as it changes.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer is believed: home lines change theirs once a day, and
/// nobody should wait long after.
const FRESH: Duration = Duration::from_secs(60);

/// Remembers what a name resolved to.
#[derive(Default)]
pub struct NameCache {
    known: Mutex<Option<(Instant, String, Ipv4Addr)>>,
}

impl NameCache {
    /// The address of `name`. When asking fails, the last answer stands.
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let known = known.filter(|(_, of, _)| of == name);
        if let Some((asked, _, address)) = &known
            && asked.elapsed() < FRESH
        {
            return Some(*address);
        }
        // Asked without the lock: a slow resolver holds up this session alone.
        let fresh = match (name, 0).to_socket_addrs() {
            Ok(mut addresses) => addresses.find_map(|address| match address.ip() {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            }),
            Err(error) => {
                log::warn!("passive-address {name} does not resolve: {error}");
                None
            }
        };
        let address = fresh.or(known.map(|(_, _, address)| address))?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), name.into(), address));
        Some(address)
    }
}
