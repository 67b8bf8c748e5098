//! The component walk: what `openat2` with `RESOLVE_IN_ROOT` does, for
//! kernels before 5.6 and sandboxes that don't know the call.
//!
//! Each component is opened relative to the directory before it and never
//! through a link (`O_NOFOLLOW`); the text of a link is read and walked in the
//! same way. After `..` it walks again from the root through the names that are
//! left instead of asking the kernel, so a directory that is moved meanwhile can't
//! lead out, and only two descriptors are open however deep the path is.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, Result};

use super::super::Follow;
use super::super::trail::{Trail, TrailStep};
use super::place::{Base, NameAt, link_text};

/// Directories that one walk may open beyond those of the path itself. A path of 4095 bytes has at most 2048;
/// links with many `..` would otherwise cost the square of that each.
const STEPS_MAX: usize = 8192;

/// A walk from the root of a jail.
pub(super) struct Walk<'r> {
    root: BorrowedFd<'r>,
    /// Where the walk stands; `None` is the root.
    current: Option<OwnedFd>,
    /// The names that led there, each after a `/`, without links.
    above: Vec<u8>,
    /// Whether `..` shortened `above` since then.
    went_up: bool,
    trail: Trail,
    steps: usize,
    steps_max: usize,
    links: Follow,
    /// What [`Walk::trace`] notes on its way.
    trace: Option<Trace>,
}

/// Where a path leads, as [`Resolved`](super::super::Resolved) says it.
#[derive(Default)]
pub(super) struct Trace {
    pub(super) path: Vec<u8>,
    pub(super) ids: Vec<(u64, u64)>,
    pub(super) links: Vec<Vec<u8>>,
}

/// Where a walk stops to let the operation decide.
enum Stop {
    /// The path ends at the directory where the walk stands.
    Here,
    /// The path ends with this name in that directory.
    Name(Range<usize>),
}

impl<'r> Walk<'r> {
    /// A walk that follows links if `links` says so; if not, one is an error.
    pub(super) fn new(root: BorrowedFd<'r>, path: &[u8], links: Follow) -> Self {
        Walk {
            root,
            current: None,
            above: Vec::new(),
            went_up: false,
            trail: Trail::new(path),
            steps: 0,
            steps_max: STEPS_MAX + path.len() / 2,
            links,
            trace: None,
        }
    }

    /// Opens what the path means. With `EXCL` a link in the last component
    /// is an existing name and not followed, as in open(2).
    pub(super) fn open(mut self, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let exclusive = flags.contains(OFlags::EXCL);
        loop {
            let range = match self.advance()? {
                Stop::Name(range) => range,
                Stop::Here if exclusive => return Err(Errno::EXIST),
                Stop::Here => return self.open_here(flags),
            };
            let name = self.trail.bytes(&range);
            match fs::openat(self.directory(), name, flags | OFlags::NOFOLLOW, mode) {
                // O_PATH with O_NOFOLLOW opens a link itself.
                Ok(fd)
                    if flags.contains(OFlags::PATH)
                        && !flags.contains(OFlags::DIRECTORY)
                        && is_link(&fs::fstat(&fd)?) =>
                {
                    self.follow(&range, Errno::LOOP)?;
                }
                Err(why @ (Errno::LOOP | Errno::NOTDIR)) if !exclusive => {
                    self.follow(&range, why)?;
                }
                result => return result,
            }
        }
    }

    /// Opens what the path means, or makes it. Says whether it was made here:
    /// a file behind a dangling link is made where the link points to, inside.
    pub(super) fn create(mut self, flags: OFlags, mode: Mode) -> Result<(OwnedFd, bool)> {
        let new = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        loop {
            let range = match self.advance()? {
                Stop::Name(range) => range,
                Stop::Here => return Err(Errno::ISDIR),
            };
            let name = self.trail.bytes(&range);
            match fs::openat(self.directory(), name, new, mode) {
                Ok(fd) => return Ok((fd, true)),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            let flags = flags | OFlags::NOFOLLOW;
            match fs::openat(self.directory(), name, flags, Mode::empty()) {
                Ok(fd) => return Ok((fd, false)),
                Err(Errno::LOOP) => self.follow(&range, Errno::LOOP)?,
                // Removed between the two calls.
                Err(Errno::NOENT) => self.again(&range)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// The directory and name that the path means once links in the last
    /// component are followed, with what is there (`None`: nothing yet).
    pub(super) fn locate(mut self) -> Result<(NameAt<'r>, Option<Stat>)> {
        loop {
            let range = match self.advance()? {
                Stop::Name(range) => range,
                Stop::Here => {
                    let stat = fs::fstat(self.directory())?;
                    return Ok((NameAt::new(self.base(), b"."), Some(stat)));
                }
            };
            let name = self.trail.bytes(&range).to_vec();
            match fs::statat(self.directory(), name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_link(&stat) => self.follow(&range, Errno::LOOP)?,
                Ok(stat) => return Ok((NameAt::new(self.base(), name), Some(stat))),
                Err(Errno::NOENT) => return Ok((NameAt::new(self.base(), name), None)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Where the path leads. From where it can't be reached on, it stays as
    /// it is named.
    pub(super) fn trace(mut self, follow: Follow) -> Result<Trace> {
        self.trace = Some(Trace::default());
        self.note(&fs::fstat(self.root)?);
        loop {
            let range = match self.advance() {
                Ok(Stop::Name(range)) => range,
                Ok(Stop::Here) => return Ok(self.traced()),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {
                    // SECURITY: what `..` would mean here nobody knows.
                    let mut rest = self.trail.rest().split(|&byte| byte == b'/');
                    return if rest.any(|name| name == b"..") {
                        Err(Errno::NOENT)
                    } else {
                        Ok(self.traced())
                    };
                }
                Err(error) => return Err(error),
            };
            let name = self.trail.bytes(&range);
            match fs::statat(self.directory(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_link(&stat) && follow == Follow::Yes => {
                    self.follow(&range, Errno::LOOP)?;
                    continue;
                }
                Ok(stat) => self.note(&stat),
                Err(_) => {}
            }
            self.trail.again(&range);
            return Ok(self.traced());
        }
    }

    fn traced(self) -> Trace {
        let mut trace = self.trace.unwrap_or_default();
        trace.path = self.above;
        trace.path.push(b'/');
        trace.path.extend_from_slice(self.trail.rest());
        trace
    }

    /// Notes what the walk has come to.
    #[allow(clippy::unnecessary_cast)]
    fn note(&mut self, stat: &Stat) {
        if let Some(trace) = &mut self.trace {
            trace.ids.push((stat.st_dev as u64, stat.st_ino as u64));
        }
    }

    /// Walks through directories up to the last component. After an error the
    /// trail begins with the component that is to blame.
    fn advance(&mut self) -> Result<Stop> {
        const THROUGH: OFlags = OFlags::PATH
            .union(OFlags::DIRECTORY)
            .union(OFlags::NOFOLLOW)
            .union(OFlags::CLOEXEC);
        loop {
            match self.trail.step() {
                TrailStep::Up => {
                    let last = self.above.iter().rposition(|&byte| byte == b'/');
                    self.above.truncate(last.unwrap_or(0));
                    self.went_up = true;
                }
                // Only now, so that `../../..` walks again once.
                step if self.went_up => {
                    if let TrailStep::Through(range) | TrailStep::Last(range) = step {
                        self.trail.again(&range);
                    }
                    self.trail.restart(&self.above);
                    self.return_to_root();
                }
                TrailStep::End => return Ok(Stop::Here),
                TrailStep::Last(range) => return Ok(Stop::Name(range)),
                TrailStep::Through(range) => {
                    self.count()?;
                    let name = self.trail.bytes(&range);
                    match fs::openat(self.directory(), name, THROUGH, Mode::empty()) {
                        Ok(fd) => {
                            if self.trace.is_some() {
                                self.note(&fs::fstat(&fd)?);
                            }
                            self.above.push(b'/');
                            self.above.extend_from_slice(self.trail.bytes(&range));
                            self.current = Some(fd);
                        }
                        Err(why @ (Errno::NOTDIR | Errno::LOOP)) => self
                            .follow(&range, why)
                            .inspect_err(|_| self.trail.again(&range))?,
                        Err(error) => {
                            self.trail.again(&range);
                            return Err(error);
                        }
                    }
                }
            }
        }
    }

    /// Goes on with the text of the link `range`; when it is no link, `why`
    /// is the answer.
    fn follow(&mut self, range: &Range<usize>, why: Errno) -> Result<()> {
        if self.links == Follow::No {
            return Err(why);
        }
        let target = match link_text(self.directory(), self.trail.bytes(range)) {
            Ok(target) => target,
            // It was a link a moment ago: look again.
            Err(Errno::INVAL) if why == Errno::LOOP => return self.again(range),
            Err(Errno::INVAL) => return Err(why),
            Err(error) => return Err(error),
        };
        if let Some(trace) = &mut self.trace {
            let name = self.trail.bytes(range);
            trace.links.push([&self.above, &b"/"[..], name].concat());
        }
        if target.first() == Some(&b'/') {
            self.return_to_root();
        }
        self.trail.follow(&target).map_err(|_| Errno::LOOP)
    }

    fn again(&mut self, range: &Range<usize>) -> Result<()> {
        self.trail.again(range);
        self.count()
    }

    fn count(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps > self.steps_max {
            return Err(Errno::LOOP);
        }
        Ok(())
    }

    fn return_to_root(&mut self) {
        self.current = None;
        self.above.clear();
        self.went_up = false;
        if let Some(trace) = &mut self.trace {
            trace.ids.truncate(1);
        }
    }

    fn open_here(&self, flags: OFlags) -> Result<OwnedFd> {
        if flags.intersects(OFlags::CREATE | OFlags::WRONLY | OFlags::RDWR) {
            return Err(Errno::ISDIR);
        }
        fs::openat(self.directory(), ".", flags, Mode::empty())
    }

    fn directory(&self) -> BorrowedFd<'_> {
        match &self.current {
            Some(fd) => fd.as_fd(),
            None => self.root,
        }
    }

    fn base(self) -> Base<'r> {
        match self.current {
            Some(fd) => Base::Owned(fd),
            None => Base::Borrowed(self.root),
        }
    }
}

fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}
