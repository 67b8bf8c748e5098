//! The IPv4 address of one host name, asked again as it changes. Asking is a
//! thread's work: a resolver that hangs holds up no session.

use std::io;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::sync::unpoisoned;

/// How long an answer is believed: home lines change theirs once a day, and
/// nobody should wait long after.
const FRESH: Duration = Duration::from_secs(60);
/// When a question that failed is asked again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long the first who need the address wait for the first answer.
const FIRST: Duration = Duration::from_secs(2);

/// Remembers what a name resolved to.
pub struct NameCache(Arc<CacheState>);

/// Asks for the address of a name.
type Resolver = dyn Fn(&str) -> io::Result<Option<Ipv4Addr>> + Send + Sync;

struct CacheState {
    ask: Box<Resolver>,
    known: Mutex<LastAnswer>,
    answered: Condvar,
}

#[derive(Default)]
struct LastAnswer {
    name: String,
    /// The last answer. It stands when asking again fails.
    address: Option<Ipv4Addr>,
    /// When the last question began, and whether it has failed.
    asked: Option<Instant>,
    failed: bool,
    asking: bool,
}

impl Default for NameCache {
    fn default() -> Self {
        NameCache::new(ask)
    }
}

impl NameCache {
    fn new(ask: impl Fn(&str) -> io::Result<Option<Ipv4Addr>> + Send + Sync + 'static) -> Self {
        NameCache(Arc::new(CacheState {
            ask: Box::new(ask),
            known: Mutex::default(),
            answered: Condvar::new(),
        }))
    }

    /// Begins to ask, if it is time to, and does not wait.
    pub fn prepare(&self, name: &str) {
        drop(self.refresh(name, Instant::now()));
    }

    /// The address of `name`; `None` while no question was ever answered.
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        self.address_at(name, Instant::now())
    }

    fn address_at(&self, name: &str, now: Instant) -> Option<Ipv4Addr> {
        let known = self.refresh(name, now);
        let waits =
            |known: &mut LastAnswer| known.asking && !known.failed && known.address.is_none();
        let asked = known.asked.unwrap_or(now);
        let left = FIRST.saturating_sub(now.saturating_duration_since(asked));
        let waited = self.0.answered.wait_timeout_while(known, left, waits);
        unpoisoned(waited).0.address
    }

    fn refresh(&self, name: &str, now: Instant) -> MutexGuard<'_, LastAnswer> {
        let mut known = self.0.known();
        if known.name != name {
            *known = LastAnswer {
                name: name.into(),
                asking: known.asking,
                ..LastAnswer::default()
            };
        }
        let every = if known.failed { AGAIN } else { FRESH };
        let due = known
            .asked
            .is_none_or(|asked| now.saturating_duration_since(asked) >= every);
        // While one question hangs, no other is asked.
        if due && !known.asking {
            known.asked = Some(now);
            let shared = Arc::clone(&self.0);
            let thread = std::thread::Builder::new()
                .name("resolve".into())
                .stack_size(256 * 1024);
            let name = name.to_owned();
            known.asking = thread.spawn(move || shared.resolve(&name)).is_ok();
        }
        known
    }
}

impl CacheState {
    fn known(&self) -> MutexGuard<'_, LastAnswer> {
        unpoisoned(self.known.lock())
    }

    fn resolve(&self, name: &str) {
        let answer = (self.ask)(name).and_then(|address| {
            address.ok_or_else(|| io::Error::other("the name has no IPv4 address"))
        });
        let mut known = self.known();
        known.asking = false;
        if known.name == name {
            if let Err(error) = &answer
                && !known.failed
            {
                let meanwhile = match known.address {
                    Some(address) => format!("clients are told {address} as before"),
                    None => "until it does, PASV is refused (EPSV works)".into(),
                };
                log::warn!("passive-address {name} does not resolve: {error}; {meanwhile}");
            }
            known.failed = answer.is_err();
            known.address = answer.ok().or(known.address);
        } else {
            // Another name is wanted by now; whoever comes next asks.
            known.asked = None;
        }
        self.answered.notify_all();
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
    use std::sync::mpsc::{Receiver, Sender, channel};

    const ONE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const TWO: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

    /// A cache whose resolver says what is sent, and hangs until then; and
    /// the names that it is asked for.
    fn cache() -> (NameCache, Sender<Option<Ipv4Addr>>, Receiver<String>) {
        let (answer, answers) = channel();
        let (question, questions) = channel();
        let answers = Mutex::new(answers);
        let cache = NameCache::new(move |name| {
            let _ = question.send(name.to_owned());
            answers.lock().unwrap().recv().map_err(io::Error::other)
        });
        (cache, answer, questions)
    }

    fn settled(cache: &NameCache) {
        let known = cache.0.known();
        let waited = cache
            .0
            .answered
            .wait_timeout_while(known, Duration::from_secs(20), |known| known.asking);
        assert!(!waited.unwrap().1.timed_out());
    }

    /// Dynamic DNS: the address of a home line changes, and the resolver may
    /// be away for a while.
    #[test]
    fn a_name_is_asked_again_as_it_changes() {
        let (cache, answer, questions) = cache();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (second, answered, told, after) in [
            (0, Some(None), None, None),
            (5, None, None, None),
            (11, Some(Some(ONE)), None, Some(ONE)),
            (60, None, Some(ONE), Some(ONE)),
            (72, Some(Some(TWO)), Some(ONE), Some(TWO)),
            (140, Some(None), Some(TWO), Some(TWO)),
        ] {
            if let Some(next) = answered {
                answer.send(next).unwrap();
            }
            let first = cache.address_at("a", at(second));
            // A stale answer may be told while the question is on its way.
            assert!(first == told || first == after, "{second}: {first:?}");
            settled(&cache);
            assert_eq!(cache.0.known().address, after, "{second}");
            assert_eq!(questions.try_recv().is_ok(), answered.is_some(), "{second}");
        }
        answer.send(Some(ONE)).unwrap();
        assert_eq!(cache.address_at("b", at(141)), Some(ONE));
    }

    #[test]
    fn a_resolver_that_hangs_holds_the_first_for_a_moment_and_nobody_after() {
        let (cache, answer, questions) = cache();
        cache.prepare("a");
        let start = Instant::now();
        assert_eq!(cache.address("a"), None);
        assert!(start.elapsed() < FIRST * 4);
        let start = Instant::now();
        for _ in 0..1000 {
            assert_eq!(cache.address("a"), None);
        }
        assert!(start.elapsed() < FIRST);
        answer.send(Some(ONE)).unwrap();
        settled(&cache);
        assert_eq!(cache.address("a"), Some(ONE));
        assert_eq!(questions.try_iter().count(), 1);
    }
}
