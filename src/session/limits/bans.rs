//! The memory of failed logins, here and on other nodes, and whom it bans.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Limits;
use crate::address::Network;
use crate::config::Config;

/// Addresses whose failed logins are remembered. At 100 bytes each a flood
/// from many addresses costs 400 KiB; the oldest memory gives way.
const FAILURES_MAX: usize = 4096;
/// So long after a ban was lifted, what other nodes remember does not make
/// another: they may not have heard yet.
const LIFTED_FOR: Duration = Duration::from_secs(15);

#[derive(Default)]
pub(super) struct Bans {
    failures: HashMap<Network, Failures>,
    /// Failed logins on other nodes.
    elsewhere: HashMap<Network, u32>,
    /// Bans that any node has told, until they are over.
    told: HashMap<Network, Instant>,
    lifted: HashMap<Network, Instant>,
    /// What the other nodes have not been told yet.
    unbans: Vec<Unban>,
}

struct Failures {
    count: u32,
    last: Instant,
}

/// Whose ban is lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unban {
    /// This network's.
    One(Network),
    /// Everybody's.
    All,
}

/// What other nodes have told.
#[derive(Debug, Default)]
pub struct OtherNodes {
    /// Sessions of each user on them.
    pub users: HashMap<String, u32>,
    /// Failed logins of each network on them.
    pub failures: HashMap<Network, u32>,
    /// Bans of all nodes, and how long they still hold.
    pub bans: Vec<(Network, Duration)>,
}

impl Bans {
    /// Failed logins that count, and since when.
    fn count(&self, network: Network, hears: bool, config: &Config) -> Option<(u32, Instant)> {
        let failures = self.failures.get(&network)?;
        let fresh = failures.last.elapsed() < config.ban_time;
        let elsewhere = self.elsewhere.get(&network).filter(|_| hears);
        let lifted = self.lifted.get(&network);
        let elsewhere = match lifted.is_some_and(|at| at.elapsed() < LIFTED_FOR) {
            true => 0,
            false => elsewhere.copied().unwrap_or(0),
        };
        fresh.then(|| (failures.count.saturating_add(elsewhere), failures.last))
    }

    fn lift(&mut self, network: Network) {
        self.failures.remove(&network);
        self.told.remove(&network);
        self.lifted.retain(|_, at| at.elapsed() < LIFTED_FOR);
        self.lifted.insert(network, Instant::now());
    }
}

impl Limits {
    /// Remembers a failed login.
    pub fn failed(&self, peer: IpAddr, config: &Config) {
        let network = Network::of_peer(peer);
        let now = Instant::now();
        let mut state = self.state();
        let memory = &mut state.bans.failures;
        memory.retain(|_, failures| now.duration_since(failures.last) < config.ban_time);
        if memory.len() >= FAILURES_MAX && !memory.contains_key(&network) {
            let oldest = memory.iter().min_by_key(|(_, failures)| failures.last);
            if let Some(oldest) = oldest.map(|(network, _)| *network) {
                memory.remove(&oldest);
            }
        }
        let failures = memory.entry(network).or_insert(Failures {
            count: 0,
            last: now,
        });
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    /// Forgets the failed logins of an address that has logged in.
    pub fn succeeded(&self, peer: IpAddr) {
        self.state().bans.failures.remove(&Network::of_peer(peer));
    }

    /// Whether too many logins from `peer` have failed of late, here and on
    /// other nodes together.
    pub fn is_banned(&self, peer: IpAddr, config: &Config) -> bool {
        let network = Network::of_peer(peer);
        let state = self.state();
        let told = state.bans.told.get(&network);
        config.ban_after != 0
            && (told.is_some_and(|until| *until > Instant::now())
                || state
                    .bans
                    .count(network, state.hears(), config)
                    .is_some_and(|(count, _)| count >= config.ban_after))
    }

    /// The banned addresses, and how long each ban still holds.
    pub fn bans(&self, config: &Config) -> Vec<(Network, Duration)> {
        let mut bans = self.own_bans(config);
        if config.ban_after != 0 {
            let state = self.state();
            let now = Instant::now();
            let told = state.bans.told.iter();
            let left =
                told.map(|(network, until)| (*network, until.saturating_duration_since(now)));
            let own: Vec<Network> = bans.iter().map(|(network, _)| *network).collect();
            bans.extend(left.filter(|(network, left)| !left.is_zero() && !own.contains(network)));
        }
        bans
    }

    /// The bans that this node has seen reasons for.
    pub fn own_bans(&self, config: &Config) -> Vec<(Network, Duration)> {
        if config.ban_after == 0 {
            return Vec::new();
        }
        let state = self.state();
        let hears = state.hears();
        let networks = state.bans.failures.keys();
        networks
            .filter_map(|network| {
                let (count, last) = state.bans.count(*network, hears, config)?;
                let left = config.ban_time.saturating_sub(last.elapsed());
                (count >= config.ban_after && !left.is_zero()).then_some((*network, left))
            })
            .collect()
    }

    /// Lifts the ban of one network, or all bans.
    pub fn unban(&self, unban: Unban) {
        let mut state = self.state();
        let bans = &mut state.bans;
        let networks: Vec<Network> = match unban {
            Unban::One(network) => vec![network],
            Unban::All => bans
                .failures
                .keys()
                .chain(bans.told.keys())
                .copied()
                .collect(),
        };
        for network in networks {
            bans.lift(network);
        }
        // Where nodes share nothing, nobody takes them: few are kept.
        if bans.unbans.len() >= FAILURES_MAX {
            bans.unbans.clear();
            bans.unbans.push(Unban::All);
        }
        bans.unbans.push(unban);
    }

    /// Forgets the failed logins of a network whose ban another node has
    /// lifted.
    pub fn lift_ban(&self, network: Network) {
        self.state().bans.lift(network);
    }

    /// Bans that were lifted here since the last call.
    pub fn take_unbans(&self) -> Vec<Unban> {
        std::mem::take(&mut self.state().bans.unbans)
    }

    /// Bans that were lifted here and could not be told.
    pub fn give_back_unbans(&self, unbans: Vec<Unban>) {
        self.state().bans.unbans.extend(unbans);
    }

    /// Failed logins on this node that still count, for the other nodes.
    pub fn failures(&self, config: &Config) -> Vec<(Network, u32)> {
        let state = self.state();
        let failures = state.bans.failures.iter();
        failures
            .filter(|(_, failures)| failures.last.elapsed() < config.ban_time)
            .map(|(network, failures)| (*network, failures.count))
            .collect()
    }

    /// Notes what other nodes have told.
    pub fn set_elsewhere(&self, nodes: OtherNodes) {
        let now = Instant::now();
        let mut state = self.state();
        state.users_elsewhere = nodes.users;
        state.heard = Some(now);
        let bans = &mut state.bans;
        bans.elsewhere = nodes.failures;
        let told = nodes.bans.into_iter();
        bans.told = told.map(|(network, left)| (network, now + left)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use std::sync::Arc;

    fn config() -> Config {
        Config {
            threads: 8,
            ban_after: 2,
            ..Config::default()
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn failures_ban_and_success_forgives() {
        let (limits, config) = (Arc::new(Limits::default()), config());
        let peer = address("2001:db8::1");
        limits.failed(peer, &config);
        assert!(limits.admit(peer, &config).is_ok());
        limits.failed(address("2001:db8::2"), &config);
        assert_eq!(
            limits.admit(peer, &config).err().map(|error| error.kind()),
            Some(ErrorKind::Denied)
        );
        assert_eq!(limits.bans(&config).len(), 1);
        limits.succeeded(peer);
        assert!(limits.admit(peer, &config).is_ok());
    }

    #[test]
    fn the_memory_of_failures_is_bounded() {
        let (limits, config) = (Limits::default(), config());
        for number in 0..FAILURES_MAX as u32 + 100 {
            limits.failed(IpAddr::V4(number.into()), &config);
        }
        assert_eq!(limits.state().bans.failures.len(), FAILURES_MAX);
    }

    #[test]
    fn failures_on_all_nodes_count_together_and_for_a_while() {
        let (limits, config) = (Limits::default(), config());
        let peer = address("192.0.2.1");
        let network = Network::of_peer(peer);
        let nodes = || OtherNodes {
            failures: HashMap::from([(network, 1)]),
            ..OtherNodes::default()
        };
        limits.set_elsewhere(nodes());
        assert!(!limits.is_banned(peer, &config));
        limits.failed(peer, &config);
        assert!(limits.is_banned(peer, &config));
        assert_eq!(limits.own_bans(&config).len(), 1);
        // What was heard too long ago counts no more.
        limits.state().heard = Instant::now().checked_sub(Duration::from_secs(60));
        assert!(!limits.is_banned(peer, &config));
        // A ban that was lifted does not come back from what others remember.
        limits.set_elsewhere(nodes());
        limits.unban(Unban::One(network));
        limits.failed(peer, &config);
        assert!(!limits.is_banned(peer, &config));
        assert_eq!(limits.take_unbans(), [Unban::One(network)]);
    }

    #[test]
    fn bans_of_other_nodes_hold_until_they_are_over() {
        let (limits, config) = (Limits::default(), config());
        let (peer, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let told = |peer, left| (Network::of_peer(peer), left);
        limits.set_elsewhere(OtherNodes {
            bans: vec![
                told(peer, Duration::from_secs(60)),
                told(other, Duration::ZERO),
            ],
            ..OtherNodes::default()
        });
        assert!(limits.is_banned(peer, &config) && !limits.is_banned(other, &config));
        assert_eq!(limits.bans(&config).len(), 1);
        assert!(limits.own_bans(&config).is_empty());
        limits.unban(Unban::All);
        assert!(!limits.is_banned(peer, &config));
    }
}
