//! [`Mounts`]: a file system with others at some of its paths.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::{
    Attributes, Create, Directory, Entry, Existing, Extended, File, FileKind, FileSystem, Follow,
    Metadata, OpenOptions, Resolved, Space, VirtualPath,
};
use crate::error::{Error, ErrorKind, Result};

/// A base with virtual folders: `/pub` may be another directory, another
/// back-end, or a [`ReadOnly`](super::ReadOnly) view of one.
///
/// Folders show in listings, also where the base has no such directory, and
/// hide what the base has there. They are found by the name a client gives:
/// links lead about inside the base and inside each folder, never from one to
/// the other. They are different file systems: renaming and linking across is
/// [`ErrorKind::CrossDevice`].
///
/// ```
/// use std::sync::Arc;
/// use wharf::storage::{FileSystem, Follow, MemoryFs, Mounts, ReadOnly, VirtualPath};
/// let public = ReadOnly::new(Arc::new(MemoryFs::new()));
/// let path = VirtualPath::root().join(b"pub")?;
/// let files = Mounts::new(Arc::new(MemoryFs::new())).mount(path.clone(), Arc::new(public))?;
/// assert!(files.metadata(&path, Follow::No)?.is_dir());
/// # Ok::<(), wharf::Error>(())
/// ```
#[derive(Clone)]
pub struct Mounts {
    table: Arc<MountTable>,
}

#[derive(Clone)]
struct MountTable {
    base: Arc<dyn FileSystem>,
    points: Vec<Point>,
}

#[derive(Clone)]
struct Point {
    at: VirtualPath,
    files: Arc<dyn FileSystem>,
}

impl Mounts {
    /// A base without folders yet.
    pub fn new(base: Arc<dyn FileSystem>) -> Self {
        let points = Vec::new();
        Mounts {
            table: Arc::new(MountTable { base, points }),
        }
    }

    /// Puts the root of `files` at `at`. Folders may lie in folders.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for the root, [`ErrorKind::Exists`] for a path
    /// that is taken.
    pub fn mount(mut self, at: VirtualPath, files: Arc<dyn FileSystem>) -> Result<Self> {
        if at.is_root() {
            return Err(Error::new(ErrorKind::Invalid, "mounting at the root"));
        }
        let table = Arc::make_mut(&mut self.table);
        if table.points.iter().any(|point| point.at == at) {
            return Err(Error::new(ErrorKind::Exists, "mounting twice at one path"));
        }
        table.points.push(Point { at, files });
        Ok(self)
    }
}

impl MountTable {
    /// The innermost folder that `path` lies in.
    fn point(&self, path: &VirtualPath) -> Option<&Point> {
        let above = self
            .points
            .iter()
            .filter(|point| path.starts_with(&point.at));
        above.max_by_key(|point| point.at.as_bytes().len())
    }

    /// The file system that has `path`, and what it is called there.
    fn route(&self, path: &VirtualPath) -> Result<(&Arc<dyn FileSystem>, VirtualPath)> {
        let Some(point) = self.point(path) else {
            return Ok((&self.base, path.clone()));
        };
        let below = path.as_bytes().get(point.at.as_bytes().len()..);
        // Below a folder the rest begins with a slash, or is empty.
        let inner = VirtualPath::root().join_deep(below.unwrap_or_default())?;
        Ok((&point.files, inner))
    }

    fn resolve(&self, path: &VirtualPath, follow: Follow) -> Result<Resolved> {
        let (files, inner) = self.route(path)?;
        let mut resolved = files.resolve(&inner, follow)?;
        let Some(point) = self.point(path) else {
            return Ok(resolved);
        };
        let outside = |inner: &VirtualPath| point.at.join_deep(&inner.as_bytes()[1..]);
        resolved.path = outside(&resolved.path)?;
        for link in &mut resolved.links {
            *link = outside(link)?;
        }
        let mut ids = Vec::new();
        let mut above = point.at.clone();
        while !above.is_root() {
            above = above.parent();
            let known = self.metadata(&above, Follow::Yes);
            ids.insert(0, known.map_or((0, 0), |metadata| metadata.id));
        }
        ids.append(&mut resolved.ids);
        resolved.ids = ids;
        Ok(resolved)
    }

    /// Names that folders add to a directory, sorted.
    fn names_in(&self, directory: &VirtualPath) -> Vec<Vec<u8>> {
        let depth = directory.components().count();
        let points = self.points.iter();
        let mut names: Vec<Vec<u8>> = Vec::new();
        for point in points.filter(|point| point.at.starts_with(directory)) {
            if let Some(name) = point.at.components().nth(depth)
                && let Err(place) = names.binary_search_by(|known| known.as_slice().cmp(name))
            {
                names.insert(place, name.to_vec());
            }
        }
        names
    }

    /// Whether a folder lies somewhere below `path`, or at it.
    fn holds_point(&self, path: &VirtualPath) -> bool {
        self.points.iter().any(|point| point.at.starts_with(path))
    }

    /// Whether `path` is a directory for no other reason than a folder below.
    fn is_implied(&self, path: &VirtualPath, error: &Error) -> bool {
        error.kind() == ErrorKind::NotFound && self.holds_point(path)
    }

    /// A directory on the way to a folder stays where it is, so that the
    /// folder stays where the administrator said and the base knows it.
    fn may_move(&self, path: &VirtualPath) -> Result<()> {
        if self.holds_point(path) {
            return Err(Error::new(ErrorKind::Denied, "changing a virtual folder"));
        }
        Ok(())
    }

    /// Both paths in one file system.
    fn route_both(
        &self,
        one: &VirtualPath,
        two: &VirtualPath,
    ) -> Result<(&Arc<dyn FileSystem>, VirtualPath, VirtualPath)> {
        let (files, one) = self.route(one)?;
        let (others, two) = self.route(two)?;
        if !Arc::ptr_eq(files, others) {
            return Err(Error::new(
                ErrorKind::CrossDevice,
                "between two virtual folders",
            ));
        }
        Ok((files, one, two))
    }

    fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata> {
        let (files, inner) = self.route(path)?;
        match files.metadata(&inner, follow) {
            Err(error) if self.is_implied(path, &error) => {
                let mut implied = Metadata::new(FileKind::Directory, 0);
                implied.mode = 0o555;
                Ok(implied)
            }
            result => result,
        }
    }
}

impl FileSystem for Mounts {
    fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata> {
        self.table.metadata(path, follow)
    }

    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        // Nothing is made under a name that a folder needs as a directory.
        if self.table.holds_point(path) {
            let kind = match options.create {
                Create::New => ErrorKind::Exists,
                Create::Never | Create::IfMissing => ErrorKind::IsDirectory,
            };
            return Err(Error::new(kind, "opening a virtual folder"));
        }
        let (files, inner) = self.table.route(path)?;
        let file = files.open(&inner, options)?;
        Ok(match self.table.point(path) {
            Some(point) => Box::new(MountedFile {
                at: point.at.clone(),
                file,
            }),
            None => file,
        })
    }

    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        let names = self.table.names_in(path);
        let (files, inner) = self.table.route(path)?;
        let below = match files.read_dir(&inner) {
            Ok(directory) if names.is_empty() => return Ok(directory),
            Ok(directory) => Some(directory),
            Err(error) if self.table.is_implied(path, &error) => None,
            Err(error) => return Err(error),
        };
        Ok(Box::new(MountDirectory {
            table: self.table.clone(),
            path: path.clone(),
            below,
            ended: false,
            names,
            given: 0,
        }))
    }

    fn make_dir(&self, path: &VirtualPath, mode: u32) -> Result<()> {
        if self.table.holds_point(path) {
            return Err(Error::new(ErrorKind::Exists, "making a directory"));
        }
        let (files, inner) = self.table.route(path)?;
        files.make_dir(&inner, mode)
    }

    fn remove_file(&self, path: &VirtualPath) -> Result<()> {
        self.table.may_move(path)?;
        let (files, inner) = self.table.route(path)?;
        files.remove_file(&inner)
    }

    fn remove_dir(&self, path: &VirtualPath) -> Result<()> {
        self.table.may_move(path)?;
        let (files, inner) = self.table.route(path)?;
        files.remove_dir(&inner)
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, existing: Existing) -> Result<()> {
        self.table.may_move(from)?;
        self.table.may_move(to)?;
        let (files, from, to) = self.table.route_both(from, to)?;
        files.rename(&from, &to, existing)
    }

    fn set_attributes(
        &self,
        path: &VirtualPath,
        attributes: &Attributes,
        follow: Follow,
    ) -> Result<()> {
        let (files, inner) = self.table.route(path)?;
        files.set_attributes(&inner, attributes, follow)
    }

    fn read_link(&self, path: &VirtualPath) -> Result<Vec<u8>> {
        let (files, inner) = self.table.route(path)?;
        files.read_link(&inner)
    }

    fn symlink(&self, target: &[u8], path: &VirtualPath) -> Result<()> {
        if self.table.holds_point(path) {
            return Err(Error::new(ErrorKind::Exists, "making a link"));
        }
        let (files, inner) = self.table.route(path)?;
        // What is above a folder is not what lies above it here.
        if self.table.point(path).is_some() && !inner.link_stays_inside(target) {
            return Err(Error::new(ErrorKind::Denied, "leaving a virtual folder"));
        }
        files.symlink(target, &inner)
    }

    fn hard_link(&self, path: &VirtualPath, new: &VirtualPath) -> Result<()> {
        if self.table.holds_point(new) {
            return Err(Error::new(ErrorKind::Exists, "making a hard link"));
        }
        let (files, path, new) = self.table.route_both(path, new)?;
        files.hard_link(&path, &new)
    }

    fn sync_dir(&self, path: &VirtualPath) -> Result<()> {
        let (files, inner) = self.table.route(path)?;
        match files.sync_dir(&inner) {
            Err(error) if self.table.is_implied(path, &error) => Ok(()),
            outcome => outcome,
        }
    }

    fn extended(&self, path: &VirtualPath) -> Result<Extended> {
        let (files, inner) = self.table.route(path)?;
        files.extended(&inner)
    }

    fn space(&self, path: &VirtualPath) -> Result<Space> {
        let (files, inner) = self.table.route(path)?;
        match files.space(&inner) {
            Err(error) if self.table.is_implied(path, &error) => files.space(&VirtualPath::root()),
            result => result,
        }
    }

    fn resolve(&self, path: &VirtualPath, follow: Follow) -> Result<Resolved> {
        self.table.resolve(path, follow)
    }

    fn without_links(&self) -> Option<Arc<dyn FileSystem>> {
        let plain = |files: &Arc<dyn FileSystem>| {
            files.without_links().unwrap_or_else(|| Arc::clone(files))
        };
        let points = self.table.points.iter().map(|point| Point {
            at: point.at.clone(),
            files: plain(&point.files),
        });
        Some(Arc::new(Mounts {
            table: Arc::new(MountTable {
                base: plain(&self.table.base),
                points: points.collect(),
            }),
        }))
    }
}

/// A file of a folder, which knows its name outside of the folder.
struct MountedFile {
    at: VirtualPath,
    file: Box<dyn File>,
}

impl File for MountedFile {
    pass_on! { self.file:
        read_at(buffer: &mut [u8], offset: u64) -> Result<usize>;
        write_all_at(data: &[u8], offset: u64) -> Result<()>;
        metadata() -> Result<Metadata>;
        metadata_at_open() -> Result<Metadata>;
        is_new() -> bool;
        set_attributes(attributes: &Attributes) -> Result<()>;
        take_over(old: &Metadata, extended: &Extended) -> Result<()>;
        sync() -> Result<()>;
        descriptor() -> Option<BorrowedFd<'_>>;
    }

    fn current_path(&self) -> Option<VirtualPath> {
        let inner = self.file.current_path()?;
        self.at.join_deep(&inner.as_bytes()[1..]).ok()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.file.close()
    }
}

/// A directory with folders in it: first its own entries, then the folders.
struct MountDirectory {
    table: Arc<MountTable>,
    path: VirtualPath,
    /// `None`: the directory is there for its folders alone.
    below: Option<Box<dyn Directory>>,
    ended: bool,
    names: Vec<Vec<u8>>,
    given: usize,
}

impl MountDirectory {
    fn is_folder(&self, name: &[u8]) -> bool {
        self.names.iter().any(|folder| folder == name)
    }
}

impl Directory for MountDirectory {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Entry>> {
        while let Some(below) = self.below.as_mut().filter(|_| !self.ended) {
            match below.next(name)? {
                Some(_) if self.is_folder(name) => {}
                Some(entry) => return Ok(Some(entry)),
                None => self.ended = true,
            }
        }
        name.clear();
        let Some(folder) = self.names.get(self.given) else {
            return Ok(None);
        };
        name.extend_from_slice(folder);
        self.given += 1;
        Ok(Some(FileKind::Directory.into()))
    }

    fn metadata(&self, name: &[u8], follow: Follow) -> Result<Metadata> {
        if self.is_folder(name) {
            return self.table.metadata(&self.path.below(name)?, follow);
        }
        match &self.below {
            Some(below) => below.metadata(name, follow),
            None if name == b"." => self.table.metadata(&self.path, follow),
            None => Err(Error::new(ErrorKind::NotFound, "looking at an entry")),
        }
    }

    fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        match &self.below {
            _ if self.is_folder(name) => Err(Error::new(ErrorKind::Invalid, "reading a link")),
            Some(below) => below.read_link(name),
            None => Err(Error::new(ErrorKind::NotFound, "reading a link")),
        }
    }
}
