//! What sessions have made: files and directories, by device and inode, and
//! where. Cameras, scanners and sync programs upload to a temporary name and
//! rename it, or make a directory to see whether they can and remove it. A
//! session may do that with what it has made itself, and for `own-for` after its
//! end another session of the same user from the same address may. Each thing
//! has the time of the session that made it: a camera that connects every minute
//! must not keep the right to delete what it has brought long ago.
//!
//! SECURITY: a thing counts as made by a session only at the path where the
//! session has put it, and until any session makes something else with the
//! same inode number. A program that deletes such a file and at once makes
//! another one of the same name may be given its number again: inside
//! `own-for` that one counts as the session's.
//!
//! Bounded: a maker has [`MADE_MAX`] things, the oldest are forgotten, and
//! [`ENDED_MAX`] makers without a session are remembered.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::places::is_known;
use crate::auth::Right;
use crate::storage::VirtualPath;
use crate::sync::unpoisoned;

/// Things remembered for one maker: 100 bytes each.
const MADE_MAX: usize = 1000;
/// Makers remembered that have no session now.
const ENDED_MAX: usize = 100;

/// All that the sessions of a server have made.
#[derive(Default)]
pub(super) struct Made {
    hasher: RandomState,
    state: Mutex<MadeState>,
}

#[derive(Default)]
struct MadeState {
    things: HashMap<(u64, u64), Thing>,
    /// Users at addresses, by the hash of both.
    makers: HashMap<u64, Known>,
}

struct Thing {
    maker: u64,
    session: u64,
    /// Until when it is the maker's, once the session has ended.
    until: Option<Instant>,
    /// Hashes of its path and of its directory's.
    path: u64,
    directory: u64,
    /// The right by which it was made.
    by: Right,
}

/// What is known of a maker.
struct Known {
    sessions: u32,
    ended: Instant,
    order: VecDeque<(u64, u64)>,
}

/// One session as a maker.
pub(super) struct Maker {
    made: Arc<Made>,
    number: u64,
    session: u64,
    own_for: Duration,
}

impl Maker {
    /// The session of a user at an address, or one that shares with no other
    /// where `own_for` is zero.
    pub(super) fn new(
        made: &Arc<Made>,
        (session, user, peer): (u64, &str, IpAddr),
        own_for: Duration,
    ) -> Self {
        let number = if own_for.is_zero() {
            made.hasher.hash_one(session)
        } else {
            made.hasher.hash_one((user, peer))
        };
        let mut state = unpoisoned(made.state.lock());
        state.forget_ended(own_for);
        let known = state.makers.entry(number).or_insert_with(|| Known {
            sessions: 0,
            ended: Instant::now(),
            order: VecDeque::new(),
        });
        known.sessions += 1;
        drop(state);
        Maker {
            made: Arc::clone(made),
            number,
            session,
            own_for,
        }
    }

    fn hash(&self, path: &VirtualPath) -> u64 {
        self.made.hasher.hash_one(path.as_bytes())
    }

    /// The session has made this, by a right, or has given it this path.
    pub(super) fn has_made(&self, id: (u64, u64), path: &VirtualPath, by: Right) {
        if !is_known(&id) {
            return;
        }
        let thing = Thing {
            maker: self.number,
            session: self.session,
            until: None,
            path: self.hash(path),
            directory: self.hash(&path.parent()),
            by,
        };
        let mut state = unpoisoned(self.made.state.lock());
        let MadeState { things, makers } = &mut *state;
        let before = things.insert(id, thing);
        if before.is_some_and(|before| before.maker == self.number) {
            return;
        }
        if let Some(known) = makers.get_mut(&self.number) {
            known.order.push_back(id);
            if known.order.len() > MADE_MAX
                && let Some(oldest) = known.order.pop_front()
            {
                forget(things, self.number, oldest);
            }
        }
    }

    /// The right by which the session has made what is at `path` now.
    pub(super) fn made_by(&self, id: (u64, u64), path: &VirtualPath) -> Option<Right> {
        let path = self.hash(path);
        let state = unpoisoned(self.made.state.lock());
        let thing = state.things.get(&id)?;
        (thing.is_of(self.number) && thing.path == path).then_some(thing.by)
    }

    /// Whether the session has made something in a directory.
    pub(super) fn has_made_in(&self, directory: &VirtualPath) -> bool {
        let directory = self.hash(directory);
        let state = unpoisoned(self.made.state.lock());
        let is_there = |id| {
            let thing = state.things.get(id);
            thing.is_some_and(|thing| thing.is_of(self.number) && thing.directory == directory)
        };
        let known = state.makers.get(&self.number);
        known.is_some_and(|known| known.order.iter().any(is_there))
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        let mut state = unpoisoned(self.made.state.lock());
        let now = Instant::now();
        let MadeState { things, makers } = &mut *state;
        if let Some(known) = makers.get_mut(&self.number) {
            known.sessions -= 1;
            known.ended = now;
            for id in &known.order {
                let thing = things.get_mut(id);
                let own = thing.filter(|thing| thing.session == self.session);
                if let Some(thing) = own {
                    thing.until = now.checked_add(self.own_for);
                }
            }
        }
        state.forget_ended(self.own_for);
    }
}

impl Thing {
    fn is_of(&self, maker: u64) -> bool {
        self.maker == maker && self.until.is_none_or(|until| Instant::now() < until)
    }
}

impl Made {
    /// This is gone, or it is somebody else's who needs no [`Maker`].
    pub(super) fn forget(&self, id: (u64, u64)) {
        unpoisoned(self.state.lock()).things.remove(&id);
    }
}

impl MadeState {
    /// Forgets makers whose last session ended too long ago, and of the others
    /// those that ended first, if they are too many.
    fn forget_ended(&mut self, own_for: Duration) {
        let now = Instant::now();
        let is_over =
            |known: &Known| known.sessions == 0 && now.duration_since(known.ended) >= own_for;
        let over = |(number, known): (&u64, &Known)| is_over(known).then_some(*number);
        let over: Vec<u64> = self.makers.iter().filter_map(over).collect();
        over.iter().for_each(|number| self.forget(*number));
        let ended = |state: &MadeState| {
            let ended = state.makers.iter().filter(|(_, known)| known.sessions == 0);
            let ended: Vec<_> = ended
                .map(|(number, known)| (known.ended, *number))
                .collect();
            (ended.len() > ENDED_MAX)
                .then(|| ended.into_iter().min())
                .flatten()
        };
        while let Some((_, number)) = ended(self) {
            self.forget(number);
        }
    }

    fn forget(&mut self, maker: u64) {
        for id in self
            .makers
            .remove(&maker)
            .into_iter()
            .flat_map(|known| known.order)
        {
            forget(&mut self.things, maker, id);
        }
    }
}

fn forget(things: &mut HashMap<(u64, u64), Thing>, maker: u64, id: (u64, u64)) {
    if things.get(&id).is_some_and(|thing| thing.maker == maker) {
        things.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> VirtualPath {
        VirtualPath::root().join(text.as_bytes()).unwrap()
    }

    fn maker(made: &Arc<Made>, who: (u64, &str, [u8; 4]), own_for: u64) -> Maker {
        Maker::new(
            made,
            (who.0, who.1, who.2.into()),
            Duration::from_secs(own_for),
        )
    }

    #[test]
    fn what_was_made_is_the_makers_at_its_path() {
        let made = Arc::new(Made::default());
        let ann = maker(&made, (1, "ann", [1; 4]), 60);
        let ann_too = maker(&made, (2, "ann", [1; 4]), 60);
        let elsewhere = maker(&made, (3, "ann", [2; 4]), 60);
        let alone = maker(&made, (4, "ann", [1; 4]), 0);
        ann.has_made((1, 7), &path("d/f"), Right::Write);
        assert_eq!(ann.made_by((1, 7), &path("d/f")), Some(Right::Write));
        assert_eq!(ann_too.made_by((1, 7), &path("d/f")), Some(Right::Write));
        assert_eq!(ann.made_by((1, 7), &path("d/g")), None);
        assert_eq!(ann.made_by((1, 8), &path("d/f")), None);
        assert_eq!(elsewhere.made_by((1, 7), &path("d/f")), None);
        assert_eq!(alone.made_by((1, 7), &path("d/f")), None);
        assert!(ann.has_made_in(&path("d")) && !ann.has_made_in(&path("")));
        // A number that is given out again.
        elsewhere.has_made((1, 7), &path("d/f"), Right::Write);
        assert_eq!(ann.made_by((1, 7), &path("d/f")), None);
        assert!(!ann.has_made_in(&path("d")));
        made.forget((1, 7));
        assert_eq!(elsewhere.made_by((1, 7), &path("d/f")), None);
    }

    #[test]
    fn a_later_session_does_not_prolong_it() {
        let made = Arc::new(Made::default());
        let own_for = Duration::from_millis(100);
        let session = |number| Maker::new(&made, (number, "cam", [1; 4].into()), own_for);
        let first = session(1);
        first.has_made((1, 1), &path("f"), Right::Write);
        first.has_made((1, 2), &path("g"), Right::Write);
        let begun = Instant::now();
        drop(first);
        let later = session(2);
        // What it makes of it is its own.
        later.has_made((1, 2), &path("g"), Right::Write);
        while later.made_by((1, 1), &path("f")).is_some() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "it is never over"
            );
        }
        assert!(begun.elapsed() >= own_for);
        assert!(later.made_by((1, 2), &path("g")).is_some());
        assert!(later.has_made_in(&path("")));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_ends() {
        let made = Arc::new(Made::default());
        let things = || unpoisoned(made.state.lock()).things.len();
        for user in 0..2 * ENDED_MAX {
            let maker = maker(&made, (1, &user.to_string(), [1; 4]), 60);
            (0..2000)
                .for_each(|id| maker.has_made((user as u64 + 1, id), &path("f"), Right::Write));
            assert_eq!(maker.made_by((user as u64 + 1, 999), &path("f")), None);
        }
        assert_eq!(things(), ENDED_MAX * MADE_MAX);
        let again = maker(&made, (1, "199", [1; 4]), 60);
        assert!(again.made_by((200, 1999), &path("f")).is_some());
        drop(again);
        // Over for somebody whose server says so.
        drop(maker(&made, (1, "x", [1; 4]), 0));
        assert_eq!(things(), 0);
        assert!(unpoisoned(made.state.lock()).makers.is_empty());
    }
}
