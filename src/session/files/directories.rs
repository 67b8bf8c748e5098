//! Open directories of which a user sees what the rights allow.

use super::Files;
use crate::error::Result;
use crate::storage::{Directory, Entry, FileKind, Follow, Metadata, VirtualPath};

impl Files {
    /// A directory without what the session has not made.
    pub(super) fn own_names(
        &self,
        directory: Box<dyn Directory>,
        path: &VirtualPath,
    ) -> Box<dyn Directory> {
        Box::new(Own {
            directory,
            path: path.clone(),
            files: self.clone(),
        })
    }

    /// An open directory whose links are judged where they lead.
    pub(super) fn judged(
        &self,
        directory: Box<dyn Directory>,
        path: VirtualPath,
    ) -> Box<dyn Directory> {
        if self.0.judged {
            Box::new(Judged {
                directory,
                path,
                files: self.clone(),
            })
        } else {
            directory
        }
    }
}

struct Judged {
    directory: Box<dyn Directory>,
    path: VirtualPath,
    files: Files,
}

impl Directory for Judged {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Entry>> {
        self.directory.next(name)
    }

    fn metadata(&self, name: &[u8], follow: Follow) -> Result<Metadata> {
        let metadata = self.directory.metadata(name, Follow::No)?;
        match (follow, metadata.kind) {
            (Follow::Yes, FileKind::Link) => self.files.metadata(&self.path.below(name)?, follow),
            _ => Ok(metadata),
        }
    }

    fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.directory.read_link(name)
    }
}

struct Own {
    directory: Box<dyn Directory>,
    path: VirtualPath,
    files: Files,
}

impl Directory for Own {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Entry>> {
        loop {
            let Some(entry) = self.directory.next(name)? else {
                return Ok(None);
            };
            let there = self.directory.metadata(name, Follow::No);
            if let (Some(maker), Ok(there)) = (&self.files.0.maker, there)
                && maker.made_by(there.id, &self.path.below(name)?).is_some()
            {
                return Ok(Some(entry));
            }
        }
    }

    fn metadata(&self, name: &[u8], follow: Follow) -> Result<Metadata> {
        self.directory.metadata(name, follow)
    }

    fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.directory.read_link(name)
    }
}
