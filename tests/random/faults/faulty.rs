//! A file system that fails when it is told to.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use wharf::Result;
use wharf::storage::{
    Attributes, Directory, Entry, Existing, File, FileSystem, Follow, MemoryFs, Metadata,
    OpenOptions, Space, VirtualPath,
};

/// What fails, and what has happened.
#[derive(Default)]
pub struct Plan {
    /// Operations so far.
    count: AtomicUsize,
    /// The one that fails: 1 is the first, 0 is none.
    fails: AtomicUsize,
    errno: AtomicUsize,
    /// Most bytes that one read gives; 0 is no limit.
    short: AtomicUsize,
    /// Files and directories that are open.
    open: AtomicI64,
    /// Names of the operations.
    done: Mutex<Vec<&'static str>>,
    /// The one that waits for `release`, as `fails` counts.
    waits: AtomicUsize,
    waiting: Mutex<bool>,
    changed: Condvar,
}

impl Plan {
    /// From now on, the operation with this number fails with `errno`.
    pub fn fail(&self, number: usize, errno: i32) {
        self.errno.store(errno as usize, SeqCst);
        self.count.store(0, SeqCst);
        self.done.lock().unwrap().clear();
        self.fails.store(number, SeqCst);
    }

    /// Nothing fails any more; says whether something has.
    pub fn heal(&self) -> bool {
        let number = self.fails.swap(0, SeqCst);
        number != 0 && self.count.load(SeqCst) >= number
    }

    /// From now on, the operation with this number waits for `release`.
    pub fn hold(&self, number: usize) {
        self.fail(0, 0);
        self.waits.store(number, SeqCst);
    }

    /// Whether it waits now.
    pub fn is_waiting(&self) -> bool {
        *self.waiting.lock().unwrap()
    }

    /// It goes on.
    pub fn release(&self) {
        self.waits.store(0, SeqCst);
        *self.waiting.lock().unwrap() = false;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let mut waiting = self.waiting.lock().unwrap();
        *waiting = true;
        let limit = Duration::from_secs(60);
        let goes_on = self
            .changed
            .wait_timeout_while(waiting, limit, |waiting| *waiting);
        assert!(!goes_on.unwrap().1.timed_out(), "nobody lets it go on");
    }

    pub fn short_reads(&self, most: usize) {
        self.short.store(most, SeqCst);
    }

    /// Files and directories that are open.
    pub fn open(&self) -> i64 {
        self.open.load(SeqCst)
    }

    /// Names of the operations since the last `fail`.
    pub fn done(&self) -> Vec<&'static str> {
        self.done.lock().unwrap().clone()
    }

    fn step(&self, name: &'static str) -> Result<()> {
        self.done.lock().unwrap().push(name);
        let number = self.count.fetch_add(1, SeqCst) + 1;
        if number == self.waits.load(SeqCst) {
            self.wait();
        }
        if number != self.fails.load(SeqCst) {
            return Ok(());
        }
        match self.errno.load(SeqCst) as i32 {
            PANIC => panic!("a bug in the file system (expected in this test)"),
            errno => Err(io::Error::from_raw_os_error(errno).into()),
        }
    }
}

/// Instead of an error number: a bug.
pub const PANIC: i32 = -1;

/// Files in memory that fail by plan.
pub struct Faulty {
    pub files: MemoryFs,
    pub plan: Arc<Plan>,
}

impl Faulty {
    pub fn new(files: MemoryFs) -> Self {
        Faulty {
            files,
            plan: Arc::default(),
        }
    }
}

struct Open<T: ?Sized> {
    plan: Arc<Plan>,
    inner: Option<Box<T>>,
}

impl<T: ?Sized> Open<T> {
    fn new(plan: &Arc<Plan>, inner: Box<T>) -> Box<Self> {
        plan.open.fetch_add(1, SeqCst);
        Box::new(Open {
            plan: Arc::clone(plan),
            inner: Some(inner),
        })
    }

    fn inner(&self) -> &T {
        self.inner.as_deref().unwrap()
    }
}

impl<T: ?Sized> Drop for Open<T> {
    fn drop(&mut self) {
        self.plan.open.fetch_sub(1, SeqCst);
    }
}

impl FileSystem for Faulty {
    fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata> {
        self.plan.step("metadata")?;
        self.files.metadata(path, follow)
    }
    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        self.plan.step("open")?;
        let file = self.files.open(path, options)?;
        Ok(Open::new(&self.plan, file))
    }
    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        self.plan.step("read_dir")?;
        let directory = self.files.read_dir(path)?;
        Ok(Open::new(&self.plan, directory))
    }
    fn make_dir(&self, path: &VirtualPath, mode: u32) -> Result<()> {
        self.plan.step("make_dir")?;
        self.files.make_dir(path, mode)
    }
    fn remove_file(&self, path: &VirtualPath) -> Result<()> {
        self.plan.step("remove_file")?;
        self.files.remove_file(path)
    }
    fn remove_dir(&self, path: &VirtualPath) -> Result<()> {
        self.plan.step("remove_dir")?;
        self.files.remove_dir(path)
    }
    fn rename(&self, from: &VirtualPath, to: &VirtualPath, existing: Existing) -> Result<()> {
        self.plan.step("rename")?;
        self.files.rename(from, to, existing)
    }
    fn set_attributes(&self, path: &VirtualPath, to: &Attributes, follow: Follow) -> Result<()> {
        self.plan.step("set_attributes")?;
        self.files.set_attributes(path, to, follow)
    }
    fn read_link(&self, path: &VirtualPath) -> Result<Vec<u8>> {
        self.plan.step("read_link")?;
        self.files.read_link(path)
    }
    fn symlink(&self, target: &[u8], path: &VirtualPath) -> Result<()> {
        self.plan.step("symlink")?;
        self.files.symlink(target, path)
    }
    fn hard_link(&self, path: &VirtualPath, new: &VirtualPath) -> Result<()> {
        self.plan.step("hard_link")?;
        self.files.hard_link(path, new)
    }
    fn space(&self, path: &VirtualPath) -> Result<Space> {
        self.plan.step("space")?;
        self.files.space(path)
    }
}

impl File for Open<dyn File> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.plan.step("read")?;
        let most = match self.plan.short.load(SeqCst) {
            0 => buffer.len(),
            most => most.min(buffer.len()),
        };
        self.inner().read_at(&mut buffer[..most], offset)
    }
    fn write_all_at(&self, data: &[u8], offset: u64) -> Result<()> {
        if let Err(error) = self.plan.step("write") {
            // A disk that is full takes a part.
            let _ = self.inner().write_all_at(&data[..data.len() / 2], offset);
            return Err(error);
        }
        self.inner().write_all_at(data, offset)
    }
    fn metadata(&self) -> Result<Metadata> {
        self.plan.step("file metadata")?;
        self.inner().metadata()
    }
    fn set_attributes(&self, attributes: &Attributes) -> Result<()> {
        self.plan.step("file set_attributes")?;
        self.inner().set_attributes(attributes)
    }
    fn sync(&self) -> Result<()> {
        self.plan.step("sync")?;
        self.inner().sync()
    }
    fn close(mut self: Box<Self>) -> Result<()> {
        // However it is closed, it is closed.
        let outcome = self.inner.take().unwrap().close();
        self.plan.step("close").and(outcome)
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Directory for Open<dyn Directory> {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Entry>> {
        self.plan.step("next")?;
        self.inner.as_mut().unwrap().next(name)
    }
    fn metadata(&self, name: &[u8], follow: Follow) -> Result<Metadata> {
        self.plan.step("entry metadata")?;
        self.inner().metadata(name, follow)
    }
    fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.plan.step("entry read_link")?;
        self.inner().read_link(name)
    }
}
