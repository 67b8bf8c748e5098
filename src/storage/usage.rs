//! What a user's files take, counted: shared by all sessions of the user.
//!
//! A file is counted once, whatever number of names it has in the tree, and
//! for as long as a session writes to it, also when its last name is gone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::oldest::Candidate;
use super::used::{Used, size};
use super::{FileSystem, Metadata, Seen, VirtualPath, Visitor, walk};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::unpoisoned;

/// Between two looks at the whole tree, for what other programs change.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// Device and inode.
type Id = (u64, u64);

/// What the files of a tree take, and may take; a limit of 0 is none.
#[derive(Debug)]
pub struct Usage {
    bytes_max: u64,
    files_max: u64,
    state: Mutex<UsageState>,
    counted: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct UsageState {
    pub(super) used: Used,
    /// When what is in use was found by a look; `None` until the first.
    counted: Option<Instant>,
    counting: bool,
    /// Changes so far: a look during which there was one is of no use.
    changes: u64,
    /// Names in the tree of files that have more than one.
    names: HashMap<Id, u64>,
    /// Files that are open for writing.
    written: HashMap<Id, Open>,
    /// Files that give way next, the oldest last.
    pub(super) oldest: Vec<Candidate>,
    /// What all files took that might give way when they were looked for.
    pub(super) may_go: Used,
    /// When old files were looked for.
    pub(super) looked: Option<Instant>,
}

/// A file that is open for writing.
#[derive(Debug, Default)]
struct Open {
    times: u32,
    /// Its last name is gone; it takes this room until it is closed.
    gone: Option<u64>,
}

impl Usage {
    /// Limits for a tree that has not been counted yet: until then nothing
    /// may be stored.
    pub fn new(bytes_max: u64, files_max: u64) -> Self {
        Usage {
            bytes_max,
            files_max,
            state: Mutex::default(),
            counted: Condvar::new(),
        }
    }

    /// Limits, and what is in `files` now.
    pub fn scan(files: &dyn FileSystem, bytes_max: u64, files_max: u64) -> Self {
        let usage = Usage::new(bytes_max, files_max);
        usage.count(files);
        usage
    }

    /// Counts what is in `files`. Nobody waits for it: what changes meanwhile
    /// makes the look one of no use, if there has been one before.
    pub fn count(&self, files: &dyn FileSystem) {
        let before = self.lock().changes;
        let (used, names) = look(files);
        let mut state = self.lock();
        if state.changes == before || state.counted.is_none() {
            (state.used, state.names) = (used, names);
        }
        state.counted = Some(Instant::now());
        state.counting = false;
        drop(state);
        self.counted.notify_all();
    }

    /// Whether it is time for another look, which the caller then takes.
    pub fn is_due(&self) -> bool {
        let mut state = self.lock();
        let due = state
            .counted
            .is_none_or(|counted| counted.elapsed() >= LOOK_EVERY);
        due && !std::mem::replace(&mut state.counting, true)
    }

    /// Waits for the first look, no longer than `most`.
    pub fn wait(&self, most: Duration) {
        let state = self.lock();
        let waiting = |state: &mut UsageState| state.counted.is_none();
        drop(self.counted.wait_timeout_while(state, most, waiting));
    }

    /// What is in use now; `None` while it is being counted.
    pub fn known(&self) -> Option<Used> {
        let state = self.lock();
        state.counted.map(|_| state.used)
    }

    /// What is in use now.
    pub fn used(&self) -> Used {
        self.lock().used
    }

    /// Bytes and files that may be in use; 0 is no limit.
    pub fn limits(&self) -> (u64, u64) {
        (self.bytes_max, self.files_max)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, UsageState> {
        unpoisoned(self.state.lock())
    }

    /// Locks the numbers for a change, which waits for the first look.
    pub(super) fn change(&self) -> Result<MutexGuard<'_, UsageState>> {
        let mut state = self.lock();
        if state.counted.is_none() && (self.bytes_max, self.files_max) != (0, 0) {
            let why = "the files are being counted for the quota";
            return Err(Error::new(ErrorKind::Busy, why));
        }
        state.changes += 1;
        Ok(state)
    }

    pub(super) fn room_for(&self, used: &Used, bytes: u64, files: u64) -> Result<()> {
        let over = |now: u64, more: u64, most: u64| {
            most != 0 && more != 0 && now.saturating_add(more) > most
        };
        if over(used.bytes, bytes, self.bytes_max) || over(used.files, files, self.files_max) {
            Err(Error::new(ErrorKind::Quota, "the quota is used up"))
        } else {
            Ok(())
        }
    }
}

/// Counts what is in `files`, without following links, and the names of files
/// that have several. Directories that can't be read count nothing: those are
/// other users' ([`Metered`](super::Metered) sees to that).
fn look(files: &dyn FileSystem) -> (Used, HashMap<Id, u64>) {
    let (mut used, mut names) = (Used::default(), HashMap::new());
    let too_deep = std::cell::Cell::new(false);
    let mut open = |path: &VirtualPath| match files.read_dir(path) {
        Ok(directory) => Ok(Some(directory)),
        Err(error) => {
            too_deep.set(too_deep.get() || error.kind() == ErrorKind::NameInvalid);
            log::warn!("quota: {path} can't be read and is not counted: {error}");
            Ok(None)
        }
    };
    let mut visit = |seen: Seen<'_>| {
        let metadata = match seen {
            Seen::Entry(_, _, metadata) => metadata,
            Seen::Unknown(path, error) => {
                too_deep.set(too_deep.get() || error.kind() == ErrorKind::NameInvalid);
                log::warn!("quota: an entry of {path} is not counted: {error}");
                return Ok(());
            }
            Seen::Left(_) => return Ok(()),
        };
        if metadata.links > 1 {
            let count = names.entry(metadata.id).or_insert(0);
            *count += 1;
            if *count > 1 {
                return Ok(());
            }
        }
        used.add(metadata);
        Ok(())
    };
    let top = VirtualPath::root();
    if let Err(error) = walk(&top, Visitor::Looks, &mut open, &mut visit) {
        log::warn!("quota: not everything could be counted: {error}");
    }
    if too_deep.get() {
        // SECURITY: whoever moves directories below each other until no path
        // leads there could hide any number of files so.
        (used.bytes, used.files) = (u64::MAX, u64::MAX);
    }
    (used, names)
}

impl UsageState {
    /// A file has got another name in the tree.
    pub(super) fn named(&mut self, metadata: &Metadata) {
        *self.names.entry(metadata.id).or_insert(1) += 1;
    }

    /// A name of a file is gone, and with the last one the file, unless
    /// somebody still writes to it.
    pub(super) fn unnamed(&mut self, metadata: &Metadata) {
        if let Entry::Occupied(mut names) = self.names.entry(metadata.id)
            && metadata.links > 1
        {
            *names.get_mut() -= 1;
            if *names.get() > 0 {
                return;
            }
        }
        self.names.remove(&metadata.id);
        match self.written.get_mut(&metadata.id) {
            Some(open) => open.gone = Some(size(metadata)),
            None => self.used.remove(size(metadata)),
        }
    }

    /// A file has another size.
    pub(super) fn resize(&mut self, id: Id, from: u64, to: u64) {
        self.used.resize(from, to);
        if let Some(open) = self.written.get_mut(&id)
            && open.gone.is_some()
        {
            open.gone = Some(to);
        }
    }

    /// Whether a session writes to the file.
    pub(super) fn is_written(&self, id: Id) -> bool {
        self.written.contains_key(&id)
    }
}

/// A file that is open for writing: it neither gives way nor grows too old.
pub(super) struct Written {
    usage: Arc<Usage>,
    id: Id,
}

impl Written {
    /// Notes a file under the lock.
    pub(super) fn begin(usage: &Arc<Usage>, state: &mut UsageState, id: Id) -> Self {
        state.written.entry(id).or_default().times += 1;
        Written {
            usage: Arc::clone(usage),
            id,
        }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let mut state = self.usage.lock();
        if let Entry::Occupied(mut open) = state.written.entry(self.id) {
            open.get_mut().times -= 1;
            if open.get().times == 0
                && let Some(size) = open.remove().gone
            {
                state.changes += 1;
                state.used.remove(size);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Create, MemoryFs, OpenOptions, Write};

    /// What other programs change is seen at the next look, which one of those
    /// who ask takes; not one during which there was a change of ours.
    #[test]
    fn a_tree_is_looked_at_again() {
        let files = MemoryFs::new();
        let put = |name: &[u8], length| {
            let options = OpenOptions::write(Write::Truncate, Create::IfMissing, 0o600);
            let path = VirtualPath::root().join(name).unwrap();
            let file = files.open(&path, &options).unwrap();
            file.write_all_at(&vec![1; length], 0).unwrap();
        };
        let usage = Usage::new(100, 0);
        assert!(usage.change().is_err(), "before the first look");
        assert!(usage.is_due());
        assert!(!usage.is_due(), "somebody looks");
        usage.count(&files);
        assert!(!usage.is_due());
        put(b"f", 30);
        assert_eq!(usage.used().bytes, 0);
        usage.lock().counted = Instant::now().checked_sub(LOOK_EVERY);
        assert!(usage.is_due());
        usage.count(&files);
        assert_eq!(usage.used().bytes, 30);
    }
}
