//! [`Metered`]: another file system whose files may take so much room.
//!
//! What is in use is found by looking once ([`Usage::scan`]) and counted from
//! then on, with every change under one lock, so that sessions of one user
//! never exceed the quota together. What other programs change in the tree is
//! seen at the next look.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Attributes, Create, Directory, Existing, File, FileKind, FileSystem, Follow, Metadata,
    OpenOptions, Space, VirtualPath, Write,
};
use crate::error::{Error, ErrorKind, Result};

/// What the files of a tree take, and may take; a limit of 0 is none.
#[derive(Debug)]
pub struct Usage {
    bytes_max: u64,
    files_max: u64,
    used: Mutex<Used>,
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
            used: Mutex::new(used),
        }
    }

    /// What is in use now.
    pub fn used(&self) -> Used {
        *self.lock()
    }

    /// Bytes and files that may be in use; 0 is no limit.
    pub fn limits(&self) -> (u64, u64) {
        (self.bytes_max, self.files_max)
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room_for(&self, used: &Used, bytes: u64, files: u64) -> Result<()> {
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
    fn add(&mut self, metadata: &Metadata) {
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size(metadata));
    }

    fn remove(&mut self, metadata: &Metadata) {
        self.files = self.files.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size(metadata));
    }

    fn resize(&mut self, from: u64, to: u64) {
        self.bytes = self.bytes.saturating_sub(from).saturating_add(to);
    }
}

fn size(metadata: &Metadata) -> u64 {
    match metadata.kind {
        FileKind::File => metadata.size,
        _ => 0,
    }
}

/// A file system that refuses with [`ErrorKind::Quota`] what would exceed.
#[derive(Clone)]
pub struct Metered {
    files: Arc<dyn FileSystem>,
    usage: Arc<Usage>,
}

impl Metered {
    /// Meters `files` by `usage`.
    pub fn new(files: Arc<dyn FileSystem>, usage: Arc<Usage>) -> Self {
        Metered { files, usage }
    }
}

impl FileSystem for Metered {
    fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata> {
        self.files.metadata(path, follow)
    }

    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        if options.write == Write::No && options.create == Create::Never {
            return self.files.open(path, options);
        }
        let mut used = self.usage.lock();
        let before = self.files.metadata(path, Follow::Yes).ok();
        if before.is_none() && options.create != Create::Never {
            self.usage.room_for(&used, 0, 1)?;
        }
        let file = self.files.open(path, options)?;
        match before {
            None => used.files = used.files.saturating_add(1),
            Some(before) if options.write == Write::Truncate => used.resize(size(&before), 0),
            Some(_) => {}
        }
        Ok(Box::new(MeteredFile {
            file,
            usage: Arc::clone(&self.usage),
            append: options.write == Write::Append,
        }))
    }

    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        self.files.read_dir(path)
    }

    fn make_dir(&self, path: &VirtualPath, mode: u32) -> Result<()> {
        self.files.make_dir(path, mode)
    }

    fn remove_file(&self, path: &VirtualPath) -> Result<()> {
        let mut used = self.usage.lock();
        let metadata = self.files.metadata(path, Follow::No)?;
        self.files.remove_file(path)?;
        used.remove(&metadata);
        Ok(())
    }

    fn remove_dir(&self, path: &VirtualPath) -> Result<()> {
        self.files.remove_dir(path)
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, existing: Existing) -> Result<()> {
        let mut used = self.usage.lock();
        let source = self.files.metadata(from, Follow::No).ok();
        let target = self.files.metadata(to, Follow::No).ok();
        self.files.rename(from, to, existing)?;
        // Two names of one file both stay (rename(2)).
        if let Some(target) = target.filter(|target| !target.is_dir())
            && source.is_none_or(|source| source.id != target.id)
        {
            used.remove(&target);
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
            return self.files.set_attributes(path, attributes, follow);
        };
        let mut used = self.usage.lock();
        let before = size(&self.files.metadata(path, follow)?);
        self.usage
            .room_for(&used, wished.saturating_sub(before), 0)?;
        self.files.set_attributes(path, attributes, follow)?;
        used.resize(before, wished);
        Ok(())
    }

    fn read_link(&self, path: &VirtualPath) -> Result<Vec<u8>> {
        self.files.read_link(path)
    }

    fn symlink(&self, target: &[u8], path: &VirtualPath) -> Result<()> {
        let mut used = self.usage.lock();
        self.usage.room_for(&used, 0, 1)?;
        self.files.symlink(target, path)?;
        used.files = used.files.saturating_add(1);
        Ok(())
    }

    /// Counted as a copy: whichever name is removed first, the count is right
    /// when both are gone.
    fn hard_link(&self, path: &VirtualPath, new: &VirtualPath) -> Result<()> {
        let mut used = self.usage.lock();
        let metadata = self.files.metadata(path, Follow::No)?;
        self.usage.room_for(&used, size(&metadata), 1)?;
        self.files.hard_link(path, new)?;
        used.add(&metadata);
        Ok(())
    }

    /// What the user may still use, if that is less than what is there.
    fn space(&self, path: &VirtualPath) -> Result<Space> {
        let mut space = self.files.space(path)?;
        let used = self.usage.used();
        let (bytes_max, files_max) = self.usage.limits();
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
}

/// An open file that may grow. It hides its descriptor: what goes by there
/// could not be counted.
struct MeteredFile {
    file: Box<dyn File>,
    usage: Arc<Usage>,
    append: bool,
}

impl File for MeteredFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> Result<()> {
        let mut used = self.usage.lock();
        // The size is asked for each time: another session may write, too.
        let before = self.file.metadata()?.size;
        let begin = if self.append { before } else { offset };
        let end = begin.saturating_add(data.len() as u64).max(before);
        self.usage.room_for(&used, end - before, 0)?;
        let outcome = self.file.write_all_at(data, offset);
        let after = match &outcome {
            Ok(()) => end,
            Err(_) => self.file.metadata().map_or(end, |metadata| metadata.size),
        };
        used.resize(before, after);
        outcome
    }

    fn metadata(&self) -> Result<Metadata> {
        self.file.metadata()
    }

    fn metadata_at_open(&self) -> Result<Metadata> {
        self.file.metadata_at_open()
    }

    fn is_new(&self) -> bool {
        self.file.is_new()
    }

    fn set_attributes(&self, attributes: &Attributes) -> Result<()> {
        let Some(wished) = attributes.size else {
            return self.file.set_attributes(attributes);
        };
        let mut used = self.usage.lock();
        let before = self.file.metadata()?.size;
        self.usage
            .room_for(&used, wished.saturating_sub(before), 0)?;
        self.file.set_attributes(attributes)?;
        used.resize(before, wished);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.file.sync()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.file.close()
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
        files.remove_file(&path("a")).unwrap();
        check(0, 3);
        open("4", Write::Truncate, Create::New).unwrap();
        check(0, 4);
    }
}
