//! Whether the clock is right enough to delete files by their age. One login
//! with a clock that is sixty days ahead must not empty a home.

use std::cell::Cell;
use std::ops::Range;
use std::sync::OnceLock;
use std::time::SystemTime;

use rustix::time::{ClockId, clock_gettime};

use super::{Create, FileSystem, Follow, Metadata, OpenOptions, VirtualPath, Write};
use crate::time::{seconds_of, since_1970};

/// How far clocks may differ, in seconds: as much as summer time set by hand,
/// and far less than anybody keeps files for.
const TOLERANCE: i64 = 2 * 3600;

/// Two clocks at one moment, in seconds.
#[derive(Clone, Copy)]
struct Clocks {
    wall: i64,
    /// Since the machine was started: it goes on during suspend and never
    /// jumps.
    up: i64,
}

static START: OnceLock<Clocks> = OnceLock::new();

/// Notes how the clocks stand: at the start of the server.
pub fn note() {
    START.get_or_init(|| Clocks::at(SystemTime::now()));
}

impl Clocks {
    fn at(now: SystemTime) -> Self {
        Clocks {
            wall: seconds_of(now),
            up: clock_gettime(ClockId::Boottime).tv_sec,
        }
    }

    /// The times that the wall clock has left out since `start`, if it was set
    /// forward: from what it would show now to what it would have shown then.
    fn left_out_since(self, start: Clocks) -> Option<Range<i64>> {
        let ahead = (self.wall - start.wall) - (self.up - start.up);
        (ahead > TOLERANCE).then(|| self.wall - ahead..start.wall + ahead)
    }
}

/// Judges the clock by the files of a tree.
pub(super) struct Judge {
    now: SystemTime,
    left_out: Option<Range<i64>>,
    newest: Cell<i64>,
    /// Whether a file is from the time that was left out: then the clock was
    /// behind at the start, as that of a router without a battery is, and was
    /// set right.
    was_behind: Cell<bool>,
}

impl Judge {
    pub(super) fn new(now: SystemTime) -> Self {
        note();
        let start = START.get().copied();
        Judge::since(start.unwrap_or(Clocks::at(now)), now)
    }

    fn since(start: Clocks, now: SystemTime) -> Self {
        Judge {
            now,
            left_out: Clocks::at(now).left_out_since(start),
            newest: Cell::new(i64::MIN),
            was_behind: Cell::new(false),
        }
    }

    /// Notes when a file has arrived; always true.
    pub(super) fn has_seen(&self, metadata: &Metadata) -> bool {
        let arrived = seconds_of(metadata.arrived());
        self.newest.set(self.newest.get().max(arrived));
        let left_out = self.left_out.as_ref();
        if left_out.is_some_and(|times| times.contains(&arrived)) {
            self.was_behind.set(true);
        }
        true
    }

    /// Why nothing may be deleted that has arrived before `before`, if so.
    /// `directory` is where something would be deleted.
    pub(super) fn doubt(
        &self,
        before: i64,
        files: &dyn FileSystem,
        directory: &VirtualPath,
    ) -> Option<&'static str> {
        if self.newest.get() < before {
            return Some("the newest file seems too old, too: is the clock right?");
        }
        if self.left_out.is_some() && !self.was_behind.get() {
            return Some("the clock was set forward; restart the server when it is right");
        }
        let now = since_1970(self.now);
        let there = time_of(files, directory, now)?;
        (there.abs_diff(now.0) > TOLERANCE as u64)
            .then_some("the clock of the disk or file server differs from ours")
    }
}

/// The time that whoever holds the files gives a new one. `None` where none can
/// be made: nothing can be deleted there either.
fn time_of(files: &dyn FileSystem, directory: &VirtualPath, now: (i64, u32)) -> Option<i64> {
    // Hidden as an unfinished upload is, and deleted as one if we are killed.
    let name = format!(".wharf-upload-clock-{}", now.1);
    let path = directory.join(name.as_bytes()).ok()?;
    let options = OpenOptions::write(Write::Truncate, Create::New, 0o600);
    let closed = files.open(&path, &options).ok()?.close();
    let metadata = files.metadata(&path, Follow::No);
    let _ = files.remove_file(&path);
    closed.ok()?;
    Some(seconds_of(metadata.ok()?.modified))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryFs;
    use std::time::Duration;

    const DAY: Duration = Duration::from_secs(86_400);

    /// A tree with one file that has arrived at `time`, and what the judge
    /// says who has seen it.
    fn judge(start: Clocks, now: SystemTime, time: SystemTime) -> Option<&'static str> {
        let files = MemoryFs::new().with_clock(move || time);
        let path = VirtualPath::root().join(b"file").unwrap();
        let options = OpenOptions::write(Write::Truncate, Create::New, 0o600);
        files.open(&path, &options).unwrap().close().unwrap();
        let judge = Judge::since(start, now);
        assert!(judge.has_seen(&files.metadata(&path, Follow::No).unwrap()));
        let files = files.with_clock(move || now);
        let doubt = judge.doubt(i64::MIN, &files, &VirtualPath::root());
        let mut directory = files.read_dir(&VirtualPath::root()).unwrap();
        let mut name = Vec::new();
        assert!(directory.next(&mut name).unwrap().is_some());
        assert_eq!(directory.next(&mut name).unwrap(), None);
        doubt
    }

    #[test]
    fn a_clock_that_was_set_forward_is_not_trusted() {
        let now = SystemTime::now();
        let start = Clocks::at(now);
        let hour = DAY / 24;
        assert_eq!(judge(start, now, now), None);
        assert_eq!(judge(start, now - DAY, now), None);
        assert_eq!(judge(start, now + hour, now), None);
        let ahead = now + 60 * DAY;
        assert!(judge(start, ahead, now - DAY).is_some());
        // Uploaded since.
        assert!(judge(start, ahead, ahead).is_some());
        // The clock was behind, and is right now.
        assert_eq!(judge(start, ahead, ahead - DAY), None);
    }

    #[test]
    fn the_file_servers_clock_is_learned_from_a_file() {
        let now = SystemTime::now();
        let judge = Judge::since(Clocks::at(now), now);
        judge.newest.set(i64::MAX);
        let doubt = |time: SystemTime| {
            let files = MemoryFs::new().with_clock(move || time);
            judge.doubt(0, &files, &VirtualPath::root())
        };
        assert_eq!(doubt(now), None);
        assert!(doubt(now + DAY).is_some());
        assert!(doubt(now - DAY).is_some());
    }
}
