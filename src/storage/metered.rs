//! [`Metered`]: another file system whose files may take so much room.
//!
//! What is in use is found by a look ([`Usage::count`]) and counted from then
//! on, with every change under one lock, so that sessions of one user never
//! exceed the quota together. What other programs change in the tree is seen
//! at the next look. Where the oldest files give way to the newest, they
//! go under the same lock.

mod ring;

use std::sync::Arc;
use std::time::Duration;

use super::oldest::Retire;
use super::usage::{Usage, Written};
use super::used::{Used, size};
use super::{
    Attributes, Create, Directory, Existing, Extended, File, FileSystem, Follow, Metadata,
    OpenOptions, Resolved, Space, VirtualPath, Write,
};
use crate::error::{ErrorKind, Result};

/// SECURITY: directories stay readable to their owner, so that they can be
/// counted.
const READABLE: u32 = 0o500;

/// A file system that refuses with [`ErrorKind::Quota`] what would exceed, or
/// makes room for it.
#[derive(Clone)]
pub struct Metered {
    files: Arc<dyn FileSystem>,
    usage: Arc<Usage>,
    ring: Option<Arc<dyn Retire>>,
    retention: Option<(Duration, Arc<dyn Retire>)>,
}

impl Metered {
    /// Meters `files` by `usage`.
    pub fn new(files: Arc<dyn FileSystem>, usage: Arc<Usage>) -> Self {
        Metered {
            files,
            usage,
            ring: None,
            retention: None,
        }
    }

    /// When there is no more room, the oldest files that `retire` lets go are
    /// deleted.
    pub fn with_ring(mut self, retire: Arc<dyn Retire>) -> Self {
        self.ring = Some(retire);
        self
    }

    /// Files that nobody has changed for so long are deleted, as far as
    /// `retire` lets them go: at [`Metered::retire_old`] and before a file is
    /// written, once an hour at most.
    pub fn with_retention(mut self, time: Duration, retire: Arc<dyn Retire>) -> Self {
        self.retention = Some((time, retire));
        self
    }

    /// What is at a path, if anything is. What can't be told can't be counted:
    /// it is an error before anything is changed.
    fn known(&self, path: &VirtualPath, follow: Follow) -> Result<Option<Metadata>> {
        match self.files.metadata(path, follow) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl FileSystem for Metered {
    pass_on! { self.files:
        metadata(path: &VirtualPath, follow: Follow) -> Result<Metadata>;
        read_dir(path: &VirtualPath) -> Result<Box<dyn Directory>>;
        remove_dir(path: &VirtualPath) -> Result<()>;
        read_link(path: &VirtualPath) -> Result<Vec<u8>>;
        sync_dir(path: &VirtualPath) -> Result<()>;
        extended(path: &VirtualPath) -> Result<Extended>;
        resolve(path: &VirtualPath, follow: Follow) -> Result<Resolved>;
    }

    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        if options.write == Write::No && options.create == Create::Never {
            return self.files.open(path, options);
        }
        self.retire_old();
        let mut state = self.usage.change()?;
        let before = self.known(path, Follow::Yes)?;
        if before.is_none() && options.create != Create::Never {
            self.make_room(&mut state, 0, 0, 1)?;
        }
        let file = self.files.open(path, options)?;
        match before {
            None => state.used.files = state.used.files.saturating_add(1),
            Some(before) if options.write == Write::Truncate => {
                state.resize(before.id, size(&before), 0);
            }
            Some(_) => {}
        }
        // A file that was opened is handed over whatever comes now, so that
        // whoever wanted it clears up; its first write asks again.
        let known = file.metadata().ok();
        let written = known.map(|known| Written::begin(&self.usage, &mut state, known.id));
        drop(state);
        Ok(Box::new(MeteredFile {
            file,
            append: options.write == Write::Append,
            _written: written,
            metered: self.clone(),
        }))
    }

    fn make_dir(&self, path: &VirtualPath, mode: u32) -> Result<()> {
        self.files.make_dir(path, mode | READABLE)
    }

    fn remove_file(&self, path: &VirtualPath) -> Result<()> {
        let mut state = self.usage.change()?;
        let metadata = self.files.metadata(path, Follow::No)?;
        self.files.remove_file(path)?;
        state.unnamed(&metadata);
        Ok(())
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, existing: Existing) -> Result<()> {
        let mut state = self.usage.change()?;
        let source = self.known(from, Follow::No)?;
        let target = self.known(to, Follow::No)?;
        self.files.rename(from, to, existing)?;
        // Two names of one file both stay (rename(2)).
        if let Some(target) = target.filter(|target| !target.is_dir())
            && source.is_none_or(|source| source.id != target.id)
        {
            state.unnamed(&target);
        }
        Ok(())
    }

    fn set_attributes(
        &self,
        path: &VirtualPath,
        attributes: &Attributes,
        follow: Follow,
    ) -> Result<()> {
        let Some(wished) = attributes.size else {
            let mut attributes = *attributes;
            if let Some(mode) = attributes.mode.filter(|mode| mode & READABLE != READABLE)
                && self.files.metadata(path, follow)?.is_dir()
            {
                attributes.mode = Some(mode | READABLE);
            }
            return self.files.set_attributes(path, &attributes, follow);
        };
        let mut state = self.usage.change()?;
        let there = self.files.metadata(path, follow)?;
        let before = size(&there);
        self.make_room(&mut state, wished, wished.saturating_sub(before), 0)?;
        self.files.set_attributes(path, attributes, follow)?;
        state.resize(there.id, before, wished);
        Ok(())
    }

    fn symlink(&self, target: &[u8], path: &VirtualPath) -> Result<()> {
        let mut state = self.usage.change()?;
        self.make_room(&mut state, 0, 0, 1)?;
        self.files.symlink(target, path)?;
        state.used.files = state.used.files.saturating_add(1);
        Ok(())
    }

    /// Another name takes no room; the last of them that goes gives it back.
    fn hard_link(&self, path: &VirtualPath, new: &VirtualPath) -> Result<()> {
        let mut state = self.usage.change()?;
        let metadata = self.files.metadata(path, Follow::No)?;
        self.files.hard_link(path, new)?;
        state.named(&metadata);
        Ok(())
    }

    /// What the user may still use, if that is less than what is there; in a
    /// ring that is everything that fits into it.
    fn space(&self, path: &VirtualPath) -> Result<Space> {
        let mut space = self.files.space(path)?;
        let used = match &self.ring {
            Some(_) => Used::default(),
            None => self.usage.used(),
        };
        let (bytes_max, files_max) = self.usage.limits();
        if space.blocks == 0 && bytes_max != 0 {
            // Unknown below, and known here.
            space.block_size = space.block_size.max(1);
            space.blocks = bytes_max / space.block_size;
            (space.blocks_available, space.blocks_free) = (space.blocks, space.blocks);
        }
        if bytes_max != 0 && space.block_size != 0 {
            let left = bytes_max.saturating_sub(used.bytes) / space.block_size;
            space.blocks_available = space.blocks_available.min(left);
            space.blocks_free = space.blocks_free.min(left);
        }
        if files_max != 0 {
            space.files_free = space.files_free.min(files_max.saturating_sub(used.files));
        }
        Ok(space)
    }

    fn without_links(&self) -> Option<Arc<dyn FileSystem>> {
        Some(Arc::new(Metered {
            files: self.files.without_links()?,
            ..self.clone()
        }))
    }
}

/// An open file that may grow. It hides its descriptor: what goes by there
/// could not be counted.
struct MeteredFile {
    file: Box<dyn File>,
    append: bool,
    _written: Option<Written>,
    metered: Metered,
}

impl File for MeteredFile {
    pass_on! { self.file:
        read_at(buffer: &mut [u8], offset: u64) -> Result<usize>;
        metadata() -> Result<Metadata>;
        metadata_at_open() -> Result<Metadata>;
        is_new() -> bool;
        current_path() -> Option<VirtualPath>;
        take_over(old: &Metadata, extended: &Extended) -> Result<()>;
        sync() -> Result<()>;
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> Result<()> {
        let mut state = self.metered.usage.change()?;
        // The size is asked for each time: another session may write, too.
        let there = self.file.metadata()?;
        let before = there.size;
        let begin = if self.append { before } else { offset };
        let end = begin.saturating_add(data.len() as u64).max(before);
        self.metered.make_room(&mut state, end, end - before, 0)?;
        let outcome = self.file.write_all_at(data, offset);
        let after = match &outcome {
            Ok(()) => end,
            Err(_) => self.file.metadata().map_or(end, |metadata| metadata.size),
        };
        state.resize(there.id, before, after);
        outcome
    }

    fn set_attributes(&self, attributes: &Attributes) -> Result<()> {
        let Some(wished) = attributes.size else {
            return self.file.set_attributes(attributes);
        };
        let mut state = self.metered.usage.change()?;
        let there = self.file.metadata()?;
        let before = there.size;
        self.metered
            .make_room(&mut state, wished, wished.saturating_sub(before), 0)?;
        self.file.set_attributes(attributes)?;
        state.resize(there.id, before, wished);
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        let MeteredFile { file, _written, .. } = *self;
        file.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryFs;

    fn path(text: &str) -> VirtualPath {
        VirtualPath::root().join(text.as_bytes()).unwrap()
    }

    /// Every change, and after each one the count is what a look finds.
    #[test]
    fn the_count_is_what_a_look_finds() {
        let memory: Arc<dyn FileSystem> = Arc::new(MemoryFs::new());
        let usage = Arc::new(Usage::scan(memory.as_ref(), 100, 4));
        let files = Metered::new(Arc::clone(&memory), Arc::clone(&usage));
        let check = |bytes, count| {
            let used = usage.used();
            assert_eq!((used.bytes, used.files), (bytes, count));
            assert_eq!(used, Usage::scan(memory.as_ref(), 0, 0).used());
        };
        let open = |name: &str, write, create| {
            files.open(&path(name), &OpenOptions::write(write, create, 0o600))
        };
        let quota = |outcome: Result<()>| {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Quota);
        };
        let a = open("a", Write::Truncate, Create::IfMissing).unwrap();
        a.write_all_at(&[1; 60], 0).unwrap();
        check(60, 1);
        quota(a.write_all_at(&[1; 41], 60));
        a.write_all_at(&[2; 50], 10).unwrap();
        check(60, 1);
        a.close().unwrap();
        let a = open("a", Write::Append, Create::Never).unwrap();
        a.write_all_at(&[3; 40], 0).unwrap();
        check(100, 1);
        quota(a.write_all_at(&[3; 1], 0));
        a.close().unwrap();
        open("a", Write::Truncate, Create::Never).unwrap();
        check(0, 1);
        files.make_dir(&path("d"), 0o700).unwrap();
        let b = open("d/b", Write::At, Create::New).unwrap();
        b.write_all_at(&[4; 10], 20).unwrap();
        check(30, 2);
        let grow = |size| Attributes {
            size: Some(size),
            ..Attributes::default()
        };
        quota(b.set_attributes(&grow(101)));
        b.set_attributes(&grow(100)).unwrap();
        b.set_attributes(&grow(5)).unwrap();
        check(5, 2);
        files
            .rename(&path("d/b"), &path("a"), Existing::Replace)
            .unwrap();
        check(5, 1);
        for name in ["1", "2", "3"] {
            open(name, Write::Truncate, Create::New).unwrap();
        }
        check(5, 4);
        quota(open("4", Write::Truncate, Create::New).map(drop));
        // What is removed while it is written takes its room until it is closed.
        files.remove_file(&path("a")).unwrap();
        b.write_all_at(&[4; 20], 0).unwrap();
        assert_eq!(
            usage.used(),
            Used {
                bytes: 20,
                files: 4
            }
        );
        b.close().unwrap();
        check(0, 3);
        open("4", Write::Truncate, Create::New).unwrap();
        check(0, 4);
    }
}
