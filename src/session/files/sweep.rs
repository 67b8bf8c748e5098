//! What killed servers leave: temporary files of atomic uploads that nobody
//! will finish. Whoever uploads to a directory finds and removes those that
//! nobody has written to for a day.
//!
//! Bounded: a directory is looked through once an hour at most, up to ten
//! thousand names of it, and a hundred directories are remembered.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use super::Files;
use crate::error::Result;
use crate::session::names::TEMPORARY_PREFIX;
use crate::storage::{FileKind, Follow, VirtualPath};
use crate::sync::unpoisoned;

/// How long nothing is written to an upload that is dead: far beyond every
/// stall timeout, and long enough for an administrator to look at it.
const DEAD: Duration = Duration::from_secs(86_400);
/// How often a directory is looked through.
const EVERY: Duration = Duration::from_secs(3600);
/// Names of a directory that are looked at: some milliseconds.
const NAMES_MAX: u32 = 10_000;
/// Directories that are remembered.
const DIRECTORIES_MAX: usize = 100;

/// When each directory was looked through.
#[derive(Default)]
pub struct Sweeps(Mutex<Vec<(u64, Instant)>>);

impl Sweeps {
    /// Whether it is time to look through the directory; notes that it was done.
    fn is_due(&self, directory: u64, now: Instant) -> bool {
        let mut known = unpoisoned(self.0.lock());
        known.retain(|(_, when)| now.duration_since(*when) < EVERY);
        if known.iter().any(|(other, _)| *other == directory) {
            return false;
        }
        if known.len() >= DIRECTORIES_MAX {
            known.remove(0);
        }
        known.push((directory, now));
        true
    }
}

impl Files {
    /// Removes dead temporary files from `directory`. That it can't is no
    /// reason to refuse the upload that is about to begin.
    pub(super) fn sweep(&self, directory: &VirtualPath) {
        let mut key = DefaultHasher::new();
        (&self.0.user.name, directory.as_bytes()).hash(&mut key);
        if self.0.services.sweeps.is_due(key.finish(), Instant::now())
            && let Err(error) = self.remove_dead(directory)
        {
            log::debug!("looking for dead uploads in {directory}: {error}");
        }
    }

    fn remove_dead(&self, directory: &VirtualPath) -> Result<()> {
        let file_system = self.file_system();
        let mut names = file_system.read_dir(directory)?;
        let oldest = SystemTime::now() - DEAD;
        let mut name = Vec::new();
        for _ in 0..NAMES_MAX {
            if names.next(&mut name)?.is_none() {
                break;
            }
            if !name.starts_with(TEMPORARY_PREFIX) || self.is_of_this_server(&name) {
                continue;
            }
            // It may have gone by itself meanwhile.
            let Ok(metadata) = names.metadata(&name, Follow::No) else {
                continue;
            };
            if metadata.kind == FileKind::File && metadata.modified < oldest {
                let path = directory.join(&name)?;
                file_system.remove_file(&path)?;
                log::info!("removed a leftover upload: {path}");
            }
        }
        Ok(())
    }

    /// Whether a session of this process that is alive has made the name: the
    /// clock may have jumped, and the upload still goes on.
    fn is_of_this_server(&self, name: &[u8]) -> bool {
        let text = String::from_utf8_lossy(name.get(TEMPORARY_PREFIX.len()..).unwrap_or(b""));
        let mut numbers = text
            .split('-')
            .map(|part| u64::from_str_radix(part, 16).ok());
        let (Some(Some(process)), Some(Some(session))) = (numbers.next(), numbers.next()) else {
            return false;
        };
        process == u64::from(std::process::id())
            && self
                .0
                .services
                .registry
                .all()
                .iter()
                .any(|live| live.id == session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_swept_once_an_hour() {
        let (sweeps, start) = (Sweeps::default(), Instant::now());
        assert!(sweeps.is_due(1, start));
        assert!(!sweeps.is_due(1, start + EVERY / 2));
        assert!(sweeps.is_due(2, start + EVERY / 2));
        assert!(sweeps.is_due(1, start + EVERY));
        for directory in 10..1000 {
            assert!(sweeps.is_due(directory, start + EVERY));
        }
        assert_eq!(sweeps.0.lock().unwrap().len(), DIRECTORIES_MAX);
    }
}
