//! What a user's files take, counted: shared by all sessions of the user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use super::oldest::Candidate;
use super::{FileKind, FileSystem, Follow, Metadata, VirtualPath};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::unpoisoned;

/// What the files of a tree take, and may take; a limit of 0 is none.
#[derive(Debug)]
pub struct Usage {
    bytes_max: u64,
    files_max: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) used: Used,
    /// Files that are open for writing, and how often.
    pub(super) written: HashMap<(u64, u64), u32>,
    /// Files that give way next, the oldest last.
    pub(super) oldest: Vec<Candidate>,
    /// When old files were looked for.
    pub(super) looked: Option<Instant>,
}

/// Room in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Bytes in regular files.
    pub bytes: u64,
    /// Everything that is no directory.
    pub files: u64,
}

impl Usage {
    /// Counts what is in `files`, without following links. Directories that
    /// can't be read count nothing.
    pub fn scan(files: &dyn FileSystem, bytes_max: u64, files_max: u64) -> Self {
        let mut used = Used::default();
        let mut left = vec![VirtualPath::root()];
        while let Some(path) = left.pop() {
            let Ok(mut directory) = files.read_dir(&path) else {
                log::warn!("quota: {path} can't be read and is not counted");
                continue;
            };
            let mut name = Vec::new();
            while let Ok(Some(_)) = directory.next(&mut name) {
                let Ok(metadata) = directory.metadata(&name, Follow::No) else {
                    continue;
                };
                match (metadata.is_dir(), path.join(&name)) {
                    (true, Ok(below)) => left.push(below),
                    (true, Err(_)) => {}
                    (false, _) => used.add(&metadata),
                }
            }
        }
        Usage {
            bytes_max,
            files_max,
            state: Mutex::new(State {
                used,
                ..State::default()
            }),
        }
    }

    /// What is in use now.
    pub fn used(&self) -> Used {
        self.lock().used
    }

    /// Bytes and files that may be in use; 0 is no limit.
    pub fn limits(&self) -> (u64, u64) {
        (self.bytes_max, self.files_max)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        unpoisoned(self.state.lock())
    }

    pub(super) fn room_for(&self, used: &Used, bytes: u64, files: u64) -> Result<()> {
        let over = |now: u64, more: u64, most: u64| {
            most != 0 && more != 0 && now.saturating_add(more) > most
        };
        match over(used.bytes, bytes, self.bytes_max) || over(used.files, files, self.files_max) {
            true => Err(Error::new(ErrorKind::Quota, "the quota is used up")),
            false => Ok(()),
        }
    }
}

impl Used {
    pub(super) fn add(&mut self, metadata: &Metadata) {
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size(metadata));
    }

    pub(super) fn remove(&mut self, metadata: &Metadata) {
        self.files = self.files.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size(metadata));
    }

    pub(super) fn resize(&mut self, from: u64, to: u64) {
        self.bytes = self.bytes.saturating_sub(from).saturating_add(to);
    }
}

pub(super) fn size(metadata: &Metadata) -> u64 {
    match metadata.kind {
        FileKind::File => metadata.size,
        _ => 0,
    }
}

/// A file that is open for writing: it neither gives way nor grows too old.
pub(super) struct Written {
    usage: Arc<Usage>,
    id: (u64, u64),
}

impl Written {
    /// Notes a file under the lock.
    pub(super) fn begin(usage: &Arc<Usage>, state: &mut State, id: (u64, u64)) -> Self {
        *state.written.entry(id).or_default() += 1;
        Written {
            usage: Arc::clone(usage),
            id,
        }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let mut state = self.usage.lock();
        if let Some(count) = state.written.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                state.written.remove(&self.id);
            }
        }
    }
}
