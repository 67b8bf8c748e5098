//! The IPv4 address of one host name, asked again as it changes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::unpoisoned;

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
        self.address_at(Instant::now(), name, || ask(name))
    }

    fn address_at(
        &self,
        now: Instant,
        name: &str,
        ask: impl FnOnce() -> io::Result<Option<Ipv4Addr>>,
    ) -> Option<Ipv4Addr> {
        let known = unpoisoned(self.known.lock()).clone();
        let known = known.filter(|(_, of, _)| of == name);
        if let Some((asked, _, address)) = &known
            && now.saturating_duration_since(*asked) < FRESH
        {
            return Some(*address);
        }
        // Asked without the lock: a slow resolver holds up this session alone.
        let fresh = ask().unwrap_or_else(|error| {
            log::warn!("passive-address {name} does not resolve: {error}");
            None
        });
        let address = fresh.or(known.map(|(_, _, address)| address))?;
        *unpoisoned(self.known.lock()) = Some((now, name.into(), address));
        Some(address)
    }
}

fn ask(name: &str) -> io::Result<Option<Ipv4Addr>> {
    Ok((name, 0)
        .to_socket_addrs()?
        .find_map(|address| match address.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dynamic DNS: the address of a home line changes, and the resolver may
    /// be away for a while.
    #[test]
    fn a_name_is_asked_again_as_it_changes() {
        let cache = NameCache::default();
        let start = Instant::now();
        let (one, two) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let at = |seconds| start + Duration::from_secs(seconds);
        let fails = || Err(io::ErrorKind::TimedOut.into());
        assert_eq!(cache.address_at(at(0), "a", fails), None);
        assert_eq!(cache.address_at(at(1), "a", || Ok(Some(one))), Some(one));
        let never = || unreachable!("the answer is fresh");
        assert_eq!(cache.address_at(at(59), "a", never), Some(one));
        assert_eq!(cache.address_at(at(62), "a", || Ok(Some(two))), Some(two));
        assert_eq!(cache.address_at(at(200), "a", fails), Some(two));
        assert_eq!(cache.address_at(at(201), "b", || Ok(Some(one))), Some(one));
        // A name with an IPv6 address alone is none for PASV.
        assert_eq!(cache.address_at(at(202), "c", || Ok(None)), None);
    }
}
