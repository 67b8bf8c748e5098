//! Who gets in: counts of sessions in all, of an address and of a user, and
//! the memory of failed logins. A [`Ticket`] is a place; dropping it gives the
//! place back, whatever way the session ended.

mod bans;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::registry::{ENDS_WITHIN, End, SessionInfo};
use crate::address::Network;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::unpoisoned;
use bans::Bans;

pub use bans::{OtherNodes, Unban};

/// What other nodes have told counts for so long: when the disk they share is
/// gone, nobody is kept out for sessions that may have ended long ago.
const OTHER_NODES_VALID: Duration = Duration::from_secs(15);
/// When all threads are in use, sessions that have been here for so long without
/// a login give way; a client that is just logging in has the time to.
const GRACE: Duration = Duration::from_secs(2);
/// How long a new connection waits for those that give way to be gone.
const PATIENCE: Duration = Duration::from_millis(250);

const NOT_ALLOWED: &str = "You may not connect.";
const BANNED: &str = "Too many logins from your address have failed; try again later.";

/// How many sessions one user may have.
#[derive(Debug, Clone, Copy)]
pub struct MostSessions {
    /// The number; 0 is no limit.
    pub most: u32,
    /// The setting or user's option that says so.
    pub named: &'static str,
}

/// Counts and memories of one server.
#[derive(Default)]
pub struct Limits {
    state: Mutex<LimitsState>,
    left: Condvar,
}

#[derive(Default)]
struct LimitsState {
    sessions: u32,
    unauthenticated: u32,
    addresses: HashMap<Network, Counts>,
    users: HashMap<String, u32>,
    bans: Bans,
    /// Strangers who have not been told to give way, the oldest first.
    waiting: Vec<Waiting>,
    /// Sessions that have been told to, and are not gone yet.
    giving_way: u32,
    next: u64,
    /// Of other nodes, and when that was heard.
    users_elsewhere: HashMap<String, u32>,
    heard: Option<Instant>,
}

struct Waiting {
    number: u64,
    network: Network,
    since: Instant,
    place: Arc<LimitedSession>,
}

/// A session as the limits see it.
#[derive(Default)]
struct LimitedSession {
    gives_way: AtomicBool,
    live: Mutex<Option<Arc<SessionInfo>>>,
}

impl LimitedSession {
    fn session(&self) -> MutexGuard<'_, Option<Arc<SessionInfo>>> {
        unpoisoned(self.live.lock())
    }

    fn wake(&self) {
        if let Some(live) = &*self.session() {
            live.end(End::GivesWay);
        }
    }
}

/// 0 is no limit.
fn reached(count: u32, limit: u32) -> bool {
    limit != 0 && count >= limit
}

impl LimitsState {
    /// Why an address with these counts gets no place, for the log and for it.
    fn refusal(&self, counts: Counts, config: &Config) -> Option<(&'static str, &'static str)> {
        // However the limits are set, unauthenticated sessions of one address never
        // take more than half of the threads (wharf-security(7), attack 13).
        let half = (config.threads / 2).max(1);
        if reached(counts.sessions, config.max_per_address) {
            Some((
                "max-per-address is reached",
                "Your address has too many connections; close one and try again.",
            ))
        } else if reached(
            counts.unauthenticated,
            config.max_unauthenticated_per_address,
        ) || reached(counts.unauthenticated, half)
        {
            Some((
                "max-unauthenticated-per-address is reached",
                "Your address has too many connections without a login; try again later.",
            ))
        } else if reached(self.unauthenticated, config.max_unauthenticated) {
            Some((
                "max-unauthenticated is reached",
                "The server has too many connections without a login; try again later.",
            ))
        } else {
            None
        }
    }

    /// Makes room for an unauthenticated client, whatever the attacker's number of
    /// addresses (wharf-security(7), attack 13): of the network that holds most places the
    /// oldest unauthenticated client, older than `age`, has to go.
    fn one_gives_way(&mut self, age: Duration) -> Option<Arc<LimitedSession>> {
        let unauthenticated = |network: &Network| {
            self.addresses
                .get(network)
                .map_or(0, |counts| counts.unauthenticated)
        };
        let most = self
            .waiting
            .iter()
            .map(|waiting| unauthenticated(&waiting.network))
            .max()?;
        let at = self.waiting.iter().position(|waiting| {
            unauthenticated(&waiting.network) == most && waiting.since.elapsed() >= age
        })?;
        let place = self.waiting.remove(at).place;
        // Under the lock, so that no login comes between.
        place.gives_way.store(true, SeqCst);
        self.giving_way += 1;
        Some(place)
    }

    /// Whether what other nodes have told is still worth something.
    fn hears(&self) -> bool {
        self.heard
            .is_some_and(|heard| heard.elapsed() < OTHER_NODES_VALID)
    }

    fn wait_unauthenticated(&mut self, network: Network, place: &Arc<LimitedSession>) -> u64 {
        self.next += 1;
        self.waiting.push(Waiting {
            number: self.next,
            network,
            since: Instant::now(),
            place: Arc::clone(place),
        });
        self.next
    }

    /// It waits no longer, if it still did.
    fn waits_no_more(&mut self, number: u64) {
        let found = self
            .waiting
            .binary_search_by_key(&number, |waiting| waiting.number);
        if let Ok(at) = found {
            self.waiting.remove(at);
        }
    }
}

#[derive(Default, Clone, Copy)]
struct Counts {
    sessions: u32,
    unauthenticated: u32,
}

impl Limits {
    fn state(&self) -> MutexGuard<'_, LimitsState> {
        // A panic while counting can't leave the counts half done in a way
        // that matters more than going on.
        unpoisoned(self.state.lock())
    }

    /// Whether the settings and the bans let this address come.
    fn may_come(&self, peer: IpAddr, config: &Config) -> Result<()> {
        let denied = |why, words| Err(Error::new(ErrorKind::Denied, why).telling(words));
        if config.deny.iter().any(|network| network.contains(peer)) {
            return denied("the address is in deny", NOT_ALLOWED);
        }
        if !config.allow.is_empty() && !config.allow.iter().any(|network| network.contains(peer)) {
            return denied("the address is not in allow", NOT_ALLOWED);
        }
        if self.is_banned(peer, config) {
            return denied("the address is banned", BANNED);
        }
        Ok(())
    }

    /// A place for a connection from `peer`.
    ///
    /// # Errors
    /// [`ErrorKind::TooMany`] or [`ErrorKind::Denied`], with the reason for the log.
    pub fn admit(self: &Arc<Self>, peer: IpAddr, config: &Config) -> Result<Ticket> {
        self.may_come(peer, config)?;
        let too_many = |why, words| Err(Error::new(ErrorKind::TooMany, why).telling(words));
        let network = Network::of_peer(peer);
        // They end within milliseconds; a flood waits in the kernel meanwhile.
        let full = |state: &mut LimitsState| {
            reached(state.sessions, config.threads) && state.giving_way > 0
        };
        let waited = self.left.wait_timeout_while(self.state(), PATIENCE, full);
        let mut state = unpoisoned(waited).0;
        let counts = state.addresses.get(&network).copied().unwrap_or_default();
        if reached(state.sessions, config.threads) {
            let place = state.one_gives_way(GRACE);
            drop(state);
            if let Some(place) = place {
                place.wake();
            }
            return too_many(
                "threads is reached",
                "The server has no free place; try again later.",
            );
        }
        if let Some((why, words)) = state.refusal(counts, config) {
            return too_many(why, words);
        }
        // A quarter of the threads that users leave stays free: from many
        // addresses, too, unauthenticated clients get in only in the place of another.
        let users = state.sessions - state.unauthenticated;
        let left = config.threads.saturating_sub(users);
        let most = left - left / 4;
        let gives_way = if left >= 4 && state.waiting.len() >= most as usize {
            state.one_gives_way(Duration::ZERO)
        } else {
            None
        };
        state.sessions += 1;
        state.unauthenticated += 1;
        let counts = state.addresses.entry(network).or_default();
        counts.sessions += 1;
        counts.unauthenticated += 1;
        let place = Arc::default();
        let waits = state.wait_unauthenticated(network, &place);
        drop(state);
        if let Some(place) = gives_way {
            place.wake();
        }
        Ok(Ticket {
            limits: Arc::clone(self),
            network,
            place,
            waits,
            user: None,
        })
    }

    /// Sessions of each user on this node.
    pub fn sessions_by_user(&self) -> Vec<(String, u32)> {
        let state = self.state();
        state
            .users
            .iter()
            .map(|(user, count)| (user.clone(), *count))
            .collect()
    }

    /// Waits, for a moment, until a session of `user` has given its place back.
    pub fn wait_for_place(&self, user: &str) {
        let count = |state: &LimitsState| state.users.get(user).copied().unwrap_or(0);
        let state = self.state();
        let before = count(&state);
        let _ = self
            .left
            .wait_timeout_while(state, ENDS_WITHIN, |state| count(state) >= before);
    }

    /// Sessions in all.
    pub fn sessions(&self) -> u32 {
        self.state().sessions
    }
}

/// A place in the counts.
pub struct Ticket {
    limits: Arc<Limits>,
    network: Network,
    place: Arc<LimitedSession>,
    /// Number among the unauthenticated sessions, while it is one.
    waits: u64,
    user: Option<String>,
}

impl Ticket {
    /// Says which session has the place, so that it can be told to give way.
    pub fn belongs_to(&self, live: &Arc<SessionInfo>) {
        *self.place.session() = Some(Arc::clone(live));
        if self.place.gives_way.load(SeqCst) {
            live.end(End::GivesWay);
        }
    }

    /// Counts the session as `user`'s.
    ///
    /// # Errors
    /// [`ErrorKind::TooMany`] when the user has so many sessions already, or
    /// when the place was given to somebody else meanwhile.
    pub fn log_in(&mut self, user: &str, limit: MostSessions) -> Result<()> {
        self.log_out();
        let mut state = self.limits.state();
        if self.place.gives_way.load(SeqCst) {
            return Err(
                Error::new(ErrorKind::TooMany, "too many sessions wait for a login")
                    .telling(End::GivesWay.words()),
            );
        }
        let elsewhere = if state.hears() {
            state.users_elsewhere.get(user).copied().unwrap_or(0)
        } else {
            0
        };
        let here = state.users.get(user).copied().unwrap_or(0);
        let MostSessions { most, named } = limit;
        if most != 0 && here.saturating_add(elsewhere) >= most {
            let what = format!("the user has {most} sessions, as many as {named} allows");
            return Err(Error::new(ErrorKind::TooMany, what)
                .telling("You have too many sessions; close one and try again."));
        }
        state.users.insert(user.into(), here + 1);
        state.waits_no_more(self.waits);
        state.unauthenticated -= 1;
        if let Some(counts) = state.addresses.get_mut(&self.network) {
            counts.unauthenticated -= 1;
        }
        drop(state);
        self.user = Some(user.into());
        Ok(())
    }

    /// Counts the session as unauthenticated again (REIN).
    pub fn log_out(&mut self) {
        let Some(user) = self.user.take() else { return };
        let mut state = self.limits.state();
        state.unauthenticated += 1;
        self.waits = state.wait_unauthenticated(self.network, &self.place);
        if let Some(counts) = state.addresses.get_mut(&self.network) {
            counts.unauthenticated += 1;
        }
        if let Some(count) = state.users.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                state.users.remove(&user);
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.log_out();
        let mut state = self.limits.state();
        state.waits_no_more(self.waits);
        if self.place.gives_way.load(SeqCst) {
            state.giving_way -= 1;
        }
        state.sessions -= 1;
        state.unauthenticated -= 1;
        if let Some(counts) = state.addresses.get_mut(&self.network) {
            counts.sessions -= 1;
            counts.unauthenticated -= 1;
            if counts.sessions == 0 {
                state.addresses.remove(&self.network);
            }
        }
        drop(state);
        self.limits.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            threads: 8,
            max_per_address: 6,
            ban_after: 2,
            ..Config::default()
        }
    }

    fn most(most: u32) -> MostSessions {
        MostSessions {
            most,
            named: "max-sessions",
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn unauthenticated_of_one_address_never_take_all_places() {
        let (limits, config) = (Arc::new(Limits::default()), config());
        let mut held: Vec<Ticket> = (0..4)
            .map(|_| limits.admit(address("10.0.0.1"), &config).unwrap())
            .collect();
        assert!(limits.admit(address("10.0.0.1"), &config).is_err());
        let other = limits.admit(address("10.0.0.2"), &config).unwrap();
        held[0].log_in("ann", most(0)).unwrap();
        held.push(limits.admit(address("10.0.0.1"), &config).unwrap());
        drop((held, other));
        let state = limits.state();
        assert_eq!((state.sessions, state.unauthenticated), (0, 0));
        assert!(state.addresses.is_empty() && state.users.is_empty());
        assert!(state.waiting.is_empty());
    }

    #[test]
    fn unauthenticated_of_many_addresses_give_way_one_for_one() {
        let (limits, config) = (Arc::new(Limits::default()), config());
        let peer = |number: u32| IpAddr::V4((0x0a00_0000 + number).into());
        let gone = |ticket: &Ticket| ticket.place.gives_way.load(SeqCst);
        // Six of eight may be unauthenticated; network 1 has two of them.
        let mut held: Vec<Ticket> = [0, 1, 1, 2, 3, 4]
            .map(|number| limits.admit(peer(number), &config).unwrap())
            .into();
        assert!(!held.iter().any(gone));
        let mut seventh = limits.admit(peer(5), &config).unwrap();
        let lost: Vec<bool> = held.iter().map(gone).collect();
        assert_eq!(lost, [false, true, false, false, false, false]);
        // Who was told to go can't log in any more; the new one can.
        assert_eq!(
            held[1].log_in("ann", most(0)).unwrap_err().kind(),
            ErrorKind::TooMany
        );
        seventh.log_in("ann", most(0)).unwrap();
        held.remove(1);
        // The user's place is safe, and others get three quarters of what
        // users leave: six of seven. Then the oldest goes.
        held.push(limits.admit(peer(6), &config).unwrap());
        assert!(!held.iter().any(gone));
        held.push(limits.admit(peer(7), &config).unwrap());
        assert_eq!(held.iter().filter(|ticket| gone(ticket)).count(), 1);
        assert!(gone(&held[0]) && !gone(&seventh));
        drop((held, seventh));
        assert!(limits.state().waiting.is_empty());
    }

    #[test]
    fn a_user_has_so_many_sessions() {
        let (limits, config) = (Arc::new(Limits::default()), config());
        let mut one = limits.admit(address("10.0.0.1"), &config).unwrap();
        let mut two = limits.admit(address("10.0.0.2"), &config).unwrap();
        one.log_in("ann", most(1)).unwrap();
        assert_eq!(
            two.log_in("ann", most(1)).unwrap_err().kind(),
            ErrorKind::TooMany
        );
        one.log_out();
        two.log_in("ann", most(1)).unwrap();
    }
}
