//! Open files and directories of one session, under names that a client
//! can't guess its way around with: eight bytes, slot and generation.
//!
//! What all sessions of the process have open is bounded by the descriptors that
//! it may have, so that one session never takes the last, and by memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::room::ConnectionUse;
use crate::error::{Error, ErrorKind, Result};
use crate::session::Transfer;
use crate::ssh_data::Reader;
use crate::storage::{Directory, Metadata, VirtualPath};

/// Handles that a connection may have whatever others have open, if there are
/// descriptors enough for all of them.
pub const HANDLES_OWN: usize = 16;
/// Bytes that the handles of all sessions may take together.
pub(super) const BYTES_OF_ALL: usize = 12 << 20;
/// What a file takes, and a directory with its buffer, beside their paths.
const FILE_BYTES: usize = 4 << 10;
pub(super) const DIRECTORY_BYTES: usize = 18 << 10;
/// Copies of its path that what is open holds in its layers.
const PATH_COPIES: usize = 4;

/// Handles of all sessions, and what they take.
static ALL_OPEN: AtomicUsize = AtomicUsize::new(0);
static ALL_BYTES: AtomicUsize = AtomicUsize::new(0);

/// How the descriptors for handles are shared: what a connection may have in any
/// case, and what all may have together before that counts alone. Zero is half
/// of the descriptors, for programs that have not said.
static OWN: AtomicUsize = AtomicUsize::new(HANDLES_OWN);
static COMMON: AtomicUsize = AtomicUsize::new(0);

/// Shares descriptors among the handles of so many sessions, beside one for each
/// connection and two for its handles, so that none takes the last.
pub fn share_descriptors(descriptors: u64, sessions: u32) {
    const LEAST: usize = 2;
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let sessions = (sessions as usize).max(1);
    let more = (HANDLES_OWN - LEAST).min(descriptors / sessions);
    OWN.store(LEAST + more, Relaxed);
    COMMON.store((descriptors - more * sessions).max(1), Relaxed);
}

fn most_of_all() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let half = limit.current.unwrap_or(u64::MAX) / 2;
    match COMMON.load(Relaxed) {
        0 => usize::try_from(half).unwrap_or(usize::MAX),
        common => common,
    }
}

/// What a handle stands for.
#[expect(clippy::large_enum_variant, reason = "most handles are files")]
pub(super) enum Open {
    File(OpenFile),
    Directory(OpenDirectory),
}

/// A file in use.
pub(super) struct OpenFile {
    pub(super) transfer: Transfer,
    pub(super) reads: bool,
    pub(super) writes: bool,
    /// A WRITE failed: the file is not what the client has sent, so CLOSE
    /// must not say that all is well, nor publish an atomic upload.
    pub(super) failed: Option<ErrorKind>,
}

/// A directory that is being listed.
pub(super) struct OpenDirectory {
    pub(super) directory: Box<dyn Directory>,
    pub(super) path: VirtualPath,
    /// `.` and `..` come first, which no back-end yields.
    pub(super) stage: Stage,
    /// The entry that found no room in the last reply, or is being looked at.
    pub(super) name: Vec<u8>,
    /// What ended the listing after some entries had been sent.
    pub(super) failed: Option<Error>,
    /// An entry that could not be looked at has been logged.
    pub(super) told: bool,
}

/// How far a listing is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Dot,
    DotDot,
    Entries,
    End,
}

/// All handles of a session.
pub(super) struct Handles {
    slots: Vec<Slot>,
    open: usize,
    max: usize,
    shared: Arc<ConnectionUse>,
}

struct Slot {
    generation: u32,
    open: Option<Open>,
    bytes: usize,
}

impl Handles {
    pub(super) fn new(max: usize, shared: Arc<ConnectionUse>) -> Self {
        Handles {
            slots: Vec::new(),
            open: 0,
            max,
            shared,
        }
    }

    /// How many may be open at once.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Whether nothing is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// Whether another one fits: to be asked before something is opened, and
    /// perhaps truncated, in vain.
    pub(super) fn may_open(&self) -> Result<()> {
        if self.open >= self.max {
            return Err(Error::new(ErrorKind::TooMany, "all handles are in use"));
        }
        may_open_one(&self.shared)
    }

    /// Takes in what was opened at a path of this length; yields its name.
    pub(super) fn insert(&mut self, open: Open, path_length: usize) -> Result<[u8; 8]> {
        self.may_open()?;
        let at = match self.slots.iter().position(|slot| slot.open.is_none()) {
            Some(at) => at,
            None => {
                self.slots.push(Slot {
                    generation: 0,
                    open: None,
                    bytes: 0,
                });
                self.slots.len() - 1
            }
        };
        let slot = &mut self.slots[at];
        slot.generation = slot.generation.wrapping_add(1);
        slot.bytes = open.bytes() + PATH_COPIES * path_length;
        slot.open = Some(open);
        self.open += 1;
        self.shared.handles.fetch_add(1, Relaxed);
        ALL_OPEN.fetch_add(1, Relaxed);
        ALL_BYTES.fetch_add(slot.bytes, Relaxed);
        Ok((u64::from(slot.generation) << 32 | at as u64).to_be_bytes())
    }

    /// The slot that a name says, open or not.
    fn place(name: &[u8]) -> Option<(usize, u32)> {
        let number = u64::from_be_bytes(name.try_into().ok()?);
        Some((number as u32 as usize, (number >> 32) as u32))
    }

    /// The file of this name.
    pub(super) fn file_named(&mut self, name: &[u8]) -> Result<&mut OpenFile> {
        match &mut self.slot(name)?.open {
            Some(Open::File(file)) => Ok(file),
            _ => Err(wrong("a directory's handle for a file")),
        }
    }

    fn slot(&mut self, name: &[u8]) -> Result<&mut Slot> {
        let unknown = || Error::new(ErrorKind::Invalid, "a handle that is not open");
        let (at, generation) = Self::place(name).ok_or_else(unknown)?;
        self.slots
            .get_mut(at)
            .filter(|slot| slot.generation == generation && slot.open.is_some())
            .ok_or_else(unknown)
    }

    /// What the next argument names.
    pub(super) fn find(&mut self, arguments: &mut Reader<'_>) -> Result<&mut Open> {
        let slot = self.slot(arguments.string()?)?;
        slot.open.as_mut().ok_or_else(|| ErrorKind::Invalid.into())
    }

    /// The file that the next argument names.
    pub(super) fn file(&mut self, arguments: &mut Reader<'_>) -> Result<&mut OpenFile> {
        self.file_named(arguments.string()?)
    }

    /// The directory that the next argument names.
    pub(super) fn directory(&mut self, arguments: &mut Reader<'_>) -> Result<&mut OpenDirectory> {
        match self.find(arguments)? {
            Open::Directory(directory) => Ok(directory),
            Open::File(_) => Err(wrong("a file's handle for a directory")),
        }
    }

    /// Two files, which may be the same one: their slots, checked.
    pub(super) fn two_files(&mut self, one: &[u8], two: &[u8]) -> Result<[usize; 2]> {
        let mut slots = [0; 2];
        for (at, name) in [one, two].into_iter().enumerate() {
            match &self.slot(name)?.open {
                Some(Open::File(_)) => {}
                _ => return Err(wrong("a directory's handle for a file")),
            }
            slots[at] = Self::place(name).map_or(0, |(at, _)| at);
        }
        Ok(slots)
    }

    /// The file in a slot of [`Handles::two_files`].
    pub(super) fn at(&mut self, slot: usize) -> Result<&mut OpenFile> {
        match self.slots.get_mut(slot).and_then(|slot| slot.open.as_mut()) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(wrong("a handle that is not open")),
        }
    }

    /// The files in two different slots of [`Handles::two_files`].
    pub(super) fn both(&mut self, slots: [usize; 2]) -> Result<[&mut OpenFile; 2]> {
        let closed = || wrong("a handle that is not open");
        let [one, two] = self
            .slots
            .get_disjoint_mut(slots)
            .map_err(|_| closed())?
            .map(|slot| slot.open.as_mut());
        match (one, two) {
            (Some(Open::File(one)), Some(Open::File(two))) => Ok([one, two]),
            _ => Err(closed()),
        }
    }

    /// Takes out what the next argument names.
    pub(super) fn remove(&mut self, arguments: &mut Reader<'_>) -> Result<Open> {
        let slot = self.slot(arguments.string()?)?;
        let open = slot.open.take();
        if open.is_some() {
            ALL_BYTES.fetch_sub(slot.bytes, Relaxed);
            ALL_OPEN.fetch_sub(1, Relaxed);
            self.open -= 1;
            self.shared.handles.fetch_sub(1, Relaxed);
        }
        open.ok_or_else(|| wrong("a handle that is not open"))
    }

    /// The upload to `path` that appears under this name only when it is
    /// closed. Whoever looks at the path before means the upload: sshfs looks
    /// at a file that it has just made, and takes an error for a failed open.
    pub(super) fn pending(&mut self, path: &VirtualPath) -> Option<&mut Transfer> {
        self.slots.iter_mut().find_map(|slot| match &mut slot.open {
            Some(Open::File(file)) if file.transfer.is_pending_as(path) => Some(&mut file.transfer),
            _ => None,
        })
    }

    /// Lets an upload to `path` appear now, because the client goes on with
    /// the name: sshfs renames, links and opens again what it has written,
    /// and closes it some time later.
    pub(super) fn settle(&mut self, path: &VirtualPath) -> Result<()> {
        match self.pending(path) {
            Some(transfer) => transfer.publish(),
            None => Ok(()),
        }
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        let open = self.slots.iter().filter(|slot| slot.open.is_some());
        ALL_BYTES.fetch_sub(open.map(|slot| slot.bytes).sum(), Relaxed);
        ALL_OPEN.fetch_sub(self.open, Relaxed);
        self.shared.handles.fetch_sub(self.open, Relaxed);
    }
}

/// Whether the descriptors that handles share have room for one more of this
/// connection's.
fn may_open_one(shared: &ConnectionUse) -> Result<()> {
    // SECURITY: channels cost a client nothing, so each has none of its own.
    if shared.handles.load(Relaxed) >= OWN.load(Relaxed)
        && (ALL_OPEN.load(Relaxed) >= most_of_all() || ALL_BYTES.load(Relaxed) >= BYTES_OF_ALL)
    {
        return Err(Error::new(
            ErrorKind::TooMany,
            "the handles of all sessions are in use",
        ));
    }
    Ok(())
}

/// Something that scp has open or holds: it counts as a directory's handle, and
/// needs none.
#[cfg(feature = "sftp")]
pub(super) struct Counted {
    shared: Arc<ConnectionUse>,
    bytes: usize,
}

#[cfg(feature = "sftp")]
impl Counted {
    /// Counts one more.
    ///
    /// # Errors
    /// As for handles.
    pub(super) fn new(shared: &Arc<ConnectionUse>) -> Result<Counted> {
        may_open_one(shared)?;
        shared.handles.fetch_add(1, Relaxed);
        ALL_OPEN.fetch_add(1, Relaxed);
        ALL_BYTES.fetch_add(DIRECTORY_BYTES, Relaxed);
        Ok(Counted {
            shared: Arc::clone(shared),
            bytes: DIRECTORY_BYTES,
        })
    }

    /// Counts more bytes: some in any case, and then while all hold little.
    ///
    /// # Errors
    /// `TooMany`.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<()> {
        const OWN_BYTES: usize = 64 << 10;
        if self.bytes >= OWN_BYTES && ALL_BYTES.load(Relaxed) >= BYTES_OF_ALL {
            return Err(Error::new(ErrorKind::TooMany, "the names of all sessions"));
        }
        self.bytes += bytes;
        ALL_BYTES.fetch_add(bytes, Relaxed);
        Ok(())
    }
}

#[cfg(feature = "sftp")]
impl Drop for Counted {
    fn drop(&mut self) {
        ALL_BYTES.fetch_sub(self.bytes, Relaxed);
        ALL_OPEN.fetch_sub(1, Relaxed);
        self.shared.handles.fetch_sub(1, Relaxed);
    }
}

fn wrong(what: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

impl Open {
    /// What it takes, beside its path.
    fn bytes(&self) -> usize {
        match self {
            Open::File(_) => FILE_BYTES,
            Open::Directory(_) => DIRECTORY_BYTES,
        }
    }

    /// What is known about it.
    pub(super) fn metadata(&self) -> Result<Metadata> {
        use crate::storage::Follow;
        match self {
            Open::File(file) => file.transfer.metadata(),
            Open::Directory(directory) => directory.directory.metadata(b".", Follow::No),
        }
    }
}
