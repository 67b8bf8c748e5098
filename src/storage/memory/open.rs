//! Open files and directories of a [`MemoryFs`](super::MemoryFs).

use std::ops::Bound;
use std::sync::Arc;

use super::super::{
    Attributes, Directory, Entry, File, FileKind, Follow, Metadata, OpenOptions, VirtualPath, Write,
};
use super::Inner;
use super::tree::{FileNode, Node};
use crate::error::{Error, ErrorKind, Result};

pub(super) struct MemoryFile {
    pub(super) node: Arc<FileNode>,
    pub(super) created: bool,
    pub(super) options: OpenOptions,
    pub(super) shared: Arc<Inner>,
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.options.check_readable()?;
        if offset > i64::MAX as u64 {
            return Err(Error::new(ErrorKind::BadOffset, "reading from a file"));
        }
        Ok(self.node.state().content.read(buffer, offset))
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.options.check_writable()?;
        if data.is_empty() {
            return Ok(());
        }
        let now = self.shared.now();
        let mut state = self.node.state();
        let offset = match self.options.write {
            Write::Append => state.content.size(),
            _ if offset > i64::MAX as u64 => {
                return Err(Error::new(ErrorKind::BadOffset, "writing to a file"));
            }
            _ => offset,
        };
        state.traits.changed(now);
        state.content.write(data, offset)
    }

    fn metadata(&self) -> Result<Metadata> {
        Ok(self.node.metadata())
    }

    fn is_new(&self) -> bool {
        self.created
    }

    fn set_attributes(&self, wanted: &Attributes) -> Result<()> {
        let now = self.shared.now();
        let mut state = self.node.state();
        if let Some(size) = wanted.size {
            self.options.check_writable()?;
            state.content.resize(size)?;
            state.traits.changed(now);
        }
        state.traits.apply(wanted, now);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

pub(super) struct MemoryDirectory {
    pub(super) shared: Arc<Inner>,
    pub(super) number: u64,
    pub(super) path: VirtualPath,
    /// The name given last; names are served in order, so that entries may
    /// come and go meanwhile.
    pub(super) last: Option<Vec<u8>>,
}

impl MemoryDirectory {
    fn entry(&self, name: &[u8]) -> Result<u64, ErrorKind> {
        if name.is_empty() || name == b".." || name.contains(&b'/') {
            return Err(ErrorKind::NameInvalid);
        }
        if name == b"." {
            return Ok(self.number);
        }
        let tree = self.shared.tree();
        let entries = tree.entries(self.number)?;
        entries.get(name).copied().ok_or(ErrorKind::NotFound)
    }
}

impl Directory for MemoryDirectory {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Entry>> {
        name.clear();
        let tree = self.shared.tree();
        // A directory that was removed meanwhile is at its end.
        let Ok(entries) = tree.entries(self.number) else {
            return Ok(None);
        };
        let from = match &self.last {
            Some(last) => Bound::Excluded(last.as_slice()),
            None => Bound::Unbounded,
        };
        let Some((next, &number)) = entries.range::<[u8], _>((from, Bound::Unbounded)).next()
        else {
            return Ok(None);
        };
        name.extend_from_slice(next);
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(next);
        let kind = match tree.node(number) {
            Ok(Node::File(_)) => Some(FileKind::File),
            Ok(Node::Directory(..)) => Some(FileKind::Directory),
            Ok(Node::Link(..)) => Some(FileKind::Link),
            Err(_) => None,
        };
        Ok(Some(kind.into()))
    }

    fn metadata(&self, name: &[u8], follow: Follow) -> Result<Metadata> {
        let doing = "looking at an entry";
        let number = self.entry(name).map_err(|kind| Error::new(kind, doing))?;
        let metadata = self.shared.tree().metadata(number);
        let metadata = metadata.map_err(|kind| Error::new(kind, doing))?;
        if follow == Follow::No || metadata.kind != FileKind::Link {
            return Ok(metadata);
        }
        let path = self.path.below(name)?;
        let tree = self.shared.tree();
        self.shared
            .look_up(&tree, &path, Follow::Yes)
            .and_then(|number| tree.metadata(number))
            .map_err(|kind| Error::new(kind, "following a link"))
    }

    fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        let doing = "reading a link";
        let number = self.entry(name).map_err(|kind| Error::new(kind, doing))?;
        match self.shared.tree().node(number) {
            Ok(Node::Link(target, _)) => Ok(target.clone()),
            Ok(_) => Err(Error::new(ErrorKind::Invalid, doing)),
            Err(kind) => Err(Error::new(kind, doing)),
        }
    }
}
