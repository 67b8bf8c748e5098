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
/// So long after a ban was lifted, its file is not believed: a node that had
/// not heard yet may have made it, and removes it when it hears.
const BAN_FILE_STALE_FOR: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Bans {
    failures: HashMap<Network, Failures>,
    /// Failed logins on other nodes.
    elsewhere: HashMap<Network, u32>,
    /// Bans that any node has told, until they are over.
    told: HashMap<Network, Instant>,
    /// Those of them that no single peer counts by: they must be searched.
    wide: Vec<Network>,
    /// Bans of the administrator here, until they are over.
    by_hand: HashMap<Network, Instant>,
    lifted: HashMap<Network, Instant>,
    /// What the other nodes have not been told yet.
    unbans: Vec<Unban>,
}

struct Failures {
    count: u32,
    last: Instant,
    /// Bans before this one that are not forgotten yet.
    bans: u32,
}

impl Failures {
    /// How long a ban holds: each one twice as long as the one before.
    fn ban_time(&self, config: &Config) -> Duration {
        let (first, longest) = (config.ban_time.start(), config.ban_time.end());
        first
            .saturating_mul(1u32.checked_shl(self.bans).unwrap_or(u32::MAX))
            .min(*longest)
    }
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
        let fresh = failures.last.elapsed() < failures.ban_time(config);
        let elsewhere = self.elsewhere.get(&network).filter(|_| hears);
        let lifted = self.lifted.get(&network);
        let elsewhere = if lifted.is_some_and(|at| at.elapsed() < LIFTED_FOR) {
            0
        } else {
            elsewhere.copied().unwrap_or(0)
        };
        fresh.then(|| (failures.count.saturating_add(elsewhere), failures.last))
    }

    fn lift(&mut self, network: Network) {
        self.failures.remove(&network);
        self.told.remove(&network);
        self.by_hand.remove(&network);
        self.lifted.retain(|_, at| at.elapsed() < LIFTED_FOR);
        self.lifted.insert(network, Instant::now());
    }
}

impl Bans {
    fn lift_all(&mut self) {
        let networks = self.failures.keys().chain(self.told.keys());
        let networks: Vec<Network> = networks.chain(self.by_hand.keys()).copied().collect();
        for network in networks {
            self.lift(network);
        }
    }
}

/// Whether nobody bans this address.
fn is_exempt(peer: IpAddr, config: &Config) -> bool {
    let mut exempt = config.ban_exempt.iter();
    exempt.any(|network| network.contains(peer))
}

impl Limits {
    /// Remembers a failed login.
    pub fn failed(&self, peer: IpAddr, config: &Config) {
        if is_exempt(peer, config) {
            return;
        }
        let network = Network::of_peer(peer);
        let now = Instant::now();
        let mut state = self.state();
        let memory = &mut state.bans.failures;
        let longest = *config.ban_time.end();
        memory.retain(|_, failures| now.duration_since(failures.last) < longest);
        if memory.len() >= FAILURES_MAX && !memory.contains_key(&network) {
            let oldest = memory.iter().min_by_key(|(_, failures)| failures.last);
            if let Some(oldest) = oldest.map(|(network, _)| *network) {
                memory.remove(&oldest);
            }
        }
        let failures = memory.entry(network).or_insert(Failures {
            count: 0,
            last: now,
            bans: 0,
        });
        // A ban that is over, or failures too old to count, are followed by a
        // new count.
        if now.duration_since(failures.last) >= failures.ban_time(config) {
            if failures.count >= config.ban_after {
                failures.bans += 1;
            }
            failures.count = 0;
        }
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
        if is_exempt(peer, config) {
            return false;
        }
        let network = Network::of_peer(peer);
        let state = self.state();
        let (bans, now) = (&state.bans, Instant::now());
        let peer = peer.to_canonical();
        let holds = |until: &Instant| *until > now;
        bans.by_hand
            .iter()
            .any(|(network, until)| network.contains(peer) && holds(until))
            || bans.told.get(&network).is_some_and(holds)
            || bans
                .wide
                .iter()
                .filter(|wide| wide.contains(peer))
                .any(|wide| bans.told.get(wide).is_some_and(holds))
            || config.ban_after != 0
                && bans
                    .count(network, state.hears(), config)
                    .is_some_and(|(count, _)| count >= config.ban_after)
    }

    /// The banned addresses, and how long each ban still holds.
    pub fn bans(&self, config: &Config) -> Vec<(Network, Duration)> {
        let mut bans: HashMap<_, _> = self.own_bans(config).into_iter().collect();
        let now = Instant::now();
        for (network, until) in &self.state().bans.told {
            let left = until.saturating_duration_since(now);
            if !left.is_zero() {
                bans.entry(*network).or_insert(left);
            }
        }
        bans.into_iter().collect()
    }

    /// The bans that this node has seen reasons for.
    pub fn own_bans(&self, config: &Config) -> Vec<(Network, Duration)> {
        let state = self.state();
        let (hears, now) = (state.hears(), Instant::now());
        let by_hand = state.bans.by_hand.iter();
        let by_hand =
            by_hand.map(|(network, until)| (*network, until.saturating_duration_since(now)));
        let failures = state.bans.failures.iter();
        let by_failures = failures.filter_map(|(network, failures)| {
            let (count, last) = state.bans.count(*network, hears, config)?;
            let left = failures.ban_time(config).saturating_sub(last.elapsed());
            (config.ban_after != 0 && count >= config.ban_after).then_some((*network, left))
        });
        by_failures
            .chain(by_hand)
            .filter(|(_, left)| !left.is_zero())
            .collect()
    }

    /// Bans a network as if its logins had failed, for the longest time.
    pub fn ban(&self, network: Network, config: &Config) {
        let now = Instant::now();
        let mut state = self.state();
        state.bans.lifted.remove(&network);
        let by_hand = &mut state.bans.by_hand;
        by_hand.retain(|_, until| *until > now);
        by_hand.insert(network, now + *config.ban_time.end());
    }

    /// Lifts the ban of one network, or all bans.
    pub fn unban(&self, unban: Unban) {
        let mut state = self.state();
        let bans = &mut state.bans;
        match unban {
            Unban::One(network) => bans.lift(network),
            Unban::All => bans.lift_all(),
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

    /// Forgets all failed logins and bans.
    pub fn lift_all_bans(&self) {
        self.state().bans.lift_all();
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
            .filter(|(_, failures)| failures.last.elapsed() < failures.ban_time(config))
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
        let lifted = &bans.lifted;
        let told = nodes.bans.into_iter().filter(|(network, _)| {
            let at = lifted.get(network);
            at.is_none_or(|at| at.elapsed() >= BAN_FILE_STALE_FOR)
        });
        bans.told = told.map(|(network, left)| (network, now + left)).collect();
        let networks = bans.told.keys().copied();
        bans.wide = networks.filter(|network| !network.is_of_peer()).collect();
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
        // Its file was made by a node that had not heard.
        limits.set_elsewhere(OtherNodes {
            bans: vec![told(peer, Duration::from_secs(60))],
            ..OtherNodes::default()
        });
        assert!(!limits.is_banned(peer, &config));
    }

    #[test]
    fn bans_grow_and_are_forgotten() {
        let limits = Limits::default();
        let mut config = config();
        let seconds = Duration::from_secs;
        config.ban_time = seconds(10)..=seconds(35);
        let peer = address("192.0.2.1");
        let network = Network::of_peer(peer);
        let age = |by| {
            let mut state = limits.state();
            let failures = state.bans.failures.get_mut(&network).unwrap();
            failures.last = failures.last.checked_sub(seconds(by)).unwrap();
        };
        for (ban, length) in [(1, 10), (2, 20), (3, 35), (4, 35)] {
            limits.failed(peer, &config);
            assert!(!limits.is_banned(peer, &config), "one failure, ban {ban}");
            limits.failed(peer, &config);
            age(length - 1);
            assert!(limits.is_banned(peer, &config), "ban {ban}");
            if length < 35 {
                age(1);
                assert!(!limits.is_banned(peer, &config), "ban {ban} is over");
            } else {
                // Just not long enough ago to be forgotten.
                let mut state = limits.state();
                state.bans.failures.get_mut(&network).unwrap().count = 0;
            }
        }
        age(40);
        limits.failed(peer, &config);
        assert_eq!(limits.state().bans.failures[&network].bans, 0);
    }

    #[test]
    fn exempt_networks_are_never_banned_and_others_by_hand() {
        let (limits, mut config) = (Limits::default(), config());
        config.ban_exempt = vec!["192.0.2.0/28".parse().unwrap()];
        let (gateway, peer) = (address("::ffff:192.0.2.1"), address("192.0.2.77"));
        for _ in 0..5 {
            limits.failed(gateway, &config);
        }
        assert!(!limits.is_banned(gateway, &config));
        let network: Network = "192.0.2.0/24".parse().unwrap();
        limits.ban(network, &config);
        assert!(limits.is_banned(peer, &config) && !limits.is_banned(gateway, &config));
        // The other nodes hear of it.
        let other = Limits::default();
        other.set_elsewhere(OtherNodes {
            bans: limits.own_bans(&config),
            ..OtherNodes::default()
        });
        assert!(other.is_banned(peer, &config));
        limits.unban(Unban::One(network));
        assert!(!limits.is_banned(peer, &config));
    }
}
