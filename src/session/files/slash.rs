//! Paths that end with a slash, which they keep as a meaning, as everywhere in
//! Unix: of a directory, and of the one that a link leads to.

use super::Files;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{FileKind, Follow, VirtualPath};

/// What a path is of, that ends with a slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slash {
    /// A directory, if something is there; for what follows links.
    Directory,
    /// A directory, or the path of what a link leads to; for what does not
    /// follow links.
    Through,
    /// A directory itself that is removed or renamed, never a link to one.
    Entry,
    /// A file that may be made: there is none with a slash.
    File,
}

impl Files {
    /// The path that a client's text means for one who stands at `start`.
    ///
    /// # Errors
    /// A text that is no path, or one whose slash at the end does not fit what is
    /// there. What can't be seen is no error: the request itself tells why.
    pub fn named(&self, start: &VirtualPath, text: &[u8], slash: Slash) -> Result<VirtualPath> {
        let path = start.join(text)?;
        if !ends_with_slash(text) {
            return Ok(path);
        }
        match self.metadata(&path, Follow::Yes) {
            Ok(there) if there.kind == FileKind::Directory => {}
            Ok(_) => return Err(not_directory()),
            Err(_) if slash == Slash::File => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    "a file with a slash at its end",
                ));
            }
            Err(_) => return Ok(path),
        }
        match slash {
            Slash::Through if self.is_link(&path) => self.real_path(&path),
            Slash::Entry if self.is_link(&path) => Err(not_directory()),
            _ => Ok(path),
        }
    }

    /// The path of a new name of `from`: only a directory gets one with a slash.
    ///
    /// # Errors
    /// As for [`Files::named`].
    pub fn new_name(
        &self,
        from: &VirtualPath,
        start: &VirtualPath,
        text: &[u8],
    ) -> Result<VirtualPath> {
        let to = self.named(start, text, Slash::Entry)?;
        match self.metadata(from, Follow::No) {
            Ok(there) if ends_with_slash(text) && there.kind != FileKind::Directory => {
                Err(not_directory())
            }
            _ => Ok(to),
        }
    }

    fn is_link(&self, path: &VirtualPath) -> bool {
        let there = self.metadata(path, Follow::No);
        there.is_ok_and(|there| there.kind == FileKind::Link)
    }
}

fn ends_with_slash(text: &[u8]) -> bool {
    text.ends_with(b"/") || text.ends_with(b"/.")
}

fn not_directory() -> Error {
    Error::new(ErrorKind::NotDirectory, "a path with a slash at its end")
}
