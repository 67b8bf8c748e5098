//! The oldest files of a tree, and deleting them: rings (the oldest gives way
//! to the newest) and retention (nothing is kept for longer). A file is as old
//! as the time since which it is there as it is, not as its contents.
//!
//! Nothing outside the tree is reached: links are neither followed nor
//! deleted, and a file is looked at again in the moment before it goes.

use std::collections::BinaryHeap;
use std::time::SystemTime;

use super::used::Used;
use super::{FileKind, FileSystem, Follow, Metadata, Seen, VirtualPath, Visitor, walk};
use crate::error::Result;

/// Files that one look through a tree finds: at 200 bytes each 200 KiB.
const BATCH: usize = 1024;

/// Says what may go, and hears what has gone.
pub trait Retire: Send + Sync {
    /// Whether a file may be deleted without being asked for by a client.
    fn may_retire(&self, path: &VirtualPath) -> bool;

    /// Whether a directory may go that is empty then.
    fn may_remove_dir(&self, path: &VirtualPath) -> bool;

    /// A file has been deleted.
    fn retired(&self, path: &VirtualPath, why: Retired);
}

/// Why a file was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retired {
    /// There was no more room.
    Full,
    /// It was too old.
    Old,
}

/// A file as it was when it was found; ordered by age.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    arrived: SystemTime,
    pub(super) path: VirtualPath,
    id: (u64, u64),
}

impl Candidate {
    /// The file, if it is still the one that was found: a link or another file
    /// may have taken its name or that of a directory above.
    fn is_still(&self, metadata: &Metadata) -> bool {
        metadata.kind == FileKind::File
            && metadata.id == self.id
            && metadata.arrived() == self.arrived
    }

    /// Deletes the file and the directory above it if that is empty then;
    /// `None` if it is another one now, or in use.
    pub(super) fn remove(
        &self,
        files: &dyn FileSystem,
        retire: &dyn Retire,
        in_use: impl Fn((u64, u64)) -> bool,
    ) -> Result<Option<Metadata>> {
        let metadata = files.metadata(&self.path, Follow::No)?;
        if !self.is_still(&metadata) || in_use(metadata.id) {
            return Ok(None);
        }
        files.remove_file(&self.path)?;
        let above = self.path.parent();
        if is_numbered(above.name()) && retire.may_remove_dir(&above) {
            // One that is not empty stays.
            let _ = files.remove_dir(&above);
        }
        Ok(Some(metadata))
    }
}

/// Whether a directory is one of those that cameras make for a day or an hour,
/// such as `2026-01-31`, `14` or `001`. Those that people make have words in
/// their names, and stay.
fn is_numbered(name: &[u8]) -> bool {
    let separator = |byte: &u8| matches!(byte, b'-' | b'_' | b'.');
    name.iter().any(u8::is_ascii_digit)
        && name
            .iter()
            .all(|byte| byte.is_ascii_digit() || separator(byte))
}

/// The oldest files that fit, the very oldest last, and what all that fit take;
/// with `before` only those that arrived before that time. `fits` sees every
/// file. Directories that can't be read hold none.
pub(super) fn oldest(
    files: &dyn FileSystem,
    before: Option<SystemTime>,
    fits: &dyn Fn(&VirtualPath, &Metadata) -> bool,
) -> (Vec<Candidate>, Used) {
    let mut all = Used::default();
    // The newest of those that were found is on top, and goes first.
    let mut found = BinaryHeap::new();
    let mut open = |path: &VirtualPath| Ok(files.read_dir(path).ok());
    let outcome = walk(
        &VirtualPath::root(),
        Visitor::Looks,
        &mut open,
        &mut |seen| {
            let Seen::Entry(directory, name, metadata) = seen else {
                return Ok(());
            };
            if metadata.kind != FileKind::File {
                return Ok(());
            }
            let Ok(path) = directory.below(name) else {
                return Ok(());
            };
            let old = before.is_none_or(|before| metadata.arrived() < before);
            if fits(&path, metadata) && old {
                all.add(metadata);
                found.push(Candidate {
                    arrived: metadata.arrived(),
                    path,
                    id: metadata.id,
                });
                if found.len() > BATCH {
                    found.pop();
                }
            }
            Ok(())
        },
    );
    if let Err(error) = outcome {
        log::warn!("not every old file was found: {error}");
    }
    let mut found = found.into_sorted_vec();
    found.reverse();
    (found, all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::metered::Metered;
    use crate::storage::usage::Usage;
    use crate::storage::{Attributes, Create, Existing, MemoryFs, OpenOptions, Write};
    use crate::time::after_1970;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    struct All;

    impl Retire for All {
        fn may_retire(&self, _: &VirtualPath) -> bool {
            true
        }

        fn may_remove_dir(&self, _: &VirtualPath) -> bool {
            true
        }

        fn retired(&self, _: &VirtualPath, _: Retired) {}
    }

    fn path(text: &str) -> VirtualPath {
        VirtualPath::root().join(text.as_bytes()).unwrap()
    }

    fn put(files: &MemoryFs, name: &str, modified: u64) {
        let time = UNIX_EPOCH + Duration::from_secs(modified);
        let files = files.clone().with_clock(move || time);
        let options = OpenOptions::write(Write::Truncate, Create::IfMissing, 0o600);
        files.open(&path(name), &options).unwrap().close().unwrap();
        // What clients set says nothing.
        let attributes = Attributes {
            modified: Some(UNIX_EPOCH),
            ..Attributes::default()
        };
        files
            .set_attributes(&path(name), &attributes, Follow::No)
            .unwrap();
    }

    #[test]
    fn the_oldest_files_come_last_and_links_never() {
        let files = MemoryFs::new();
        files.make_dir(&path("d"), 0o700).unwrap();
        for (name, modified) in [("b", 20), ("d/a", 10), ("c", 30), ("no", 1)] {
            put(&files, name, modified);
        }
        files.symlink(b"b", &path("link")).unwrap();
        let names = |before| {
            let fits = |path: &VirtualPath, _: &Metadata| path.as_bytes() != b"/no";
            let (found, _) = oldest(&files, before, &fits);
            let names = found.iter().map(|found| found.path.to_string());
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(None), "/c /b /d/a");
        assert_eq!(names(Some(after_1970(30, 0))), "/b /d/a");
        assert_eq!(names(Some(after_1970(10, 0))), "");
        for number in 0..2000 {
            put(&files, &format!("d/{number}"), 100 + number);
        }
        let (found, all) = oldest(&files, None, &|_, _| true);
        assert_eq!((found.len(), all.files), (BATCH, 2004));
    }

    #[test]
    fn only_the_file_that_was_found_goes() {
        let files = MemoryFs::new();
        for name in ["a", "b", "c", "used"] {
            put(&files, name, 10);
        }
        for directory in ["d", "2026-01-31"] {
            files.make_dir(&path(directory), 0o700).unwrap();
            put(&files, &format!("{directory}/only"), 10);
        }
        let (found, _) = oldest(&files, None, &|_, _| true);
        let find = |name: &str| {
            let wanted = path(name);
            found.iter().find(|found| found.path == wanted).unwrap()
        };
        let remove = |name: &str| find(name).remove(&files, &All, |id| id == find("used").id);
        // Replaced, changed, a link now.
        put(&files, "new", 10);
        files
            .rename(&path("new"), &path("a"), Existing::Replace)
            .unwrap();
        put(&files, "b", 11);
        files.remove_file(&path("c")).unwrap();
        files.symlink(b"a", &path("c")).unwrap();
        for name in ["a", "b", "c", "used"] {
            assert_eq!(remove(name).unwrap(), None, "{name}");
        }
        assert!(remove("d/only").unwrap().is_some());
        assert!(files.metadata(&path("d"), Follow::No).is_ok());
        assert!(remove("2026-01-31/only").unwrap().is_some());
        assert!(files.metadata(&path("2026-01-31"), Follow::No).is_err());
        assert!(remove("d/only").is_err());
    }

    /// With the clock sixty days ahead one login emptied a home.
    #[test]
    fn nothing_goes_by_age_when_the_newest_file_seems_too_old() {
        let files = MemoryFs::new();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let days = |days: u64| now.as_secs() - days * 86_400;
        put(&files, "a", days(90));
        put(&files, "b", days(60));
        let look = || {
            let memory: Arc<dyn FileSystem> = Arc::new(files.clone());
            let usage = Arc::new(Usage::scan(memory.as_ref(), 0, 0));
            let month = Duration::from_secs(30 * 86_400);
            let metered = Metered::new(memory, usage).with_retention(month, Arc::new(All));
            metered.retire_old();
            oldest(&files, None, &|_, _| true).0.len()
        };
        assert_eq!(look(), 2);
        // A file of today shows that the clock is right.
        put(&files, "c", days(0));
        assert_eq!(look(), 1);
    }
}
