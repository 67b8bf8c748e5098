//! [`Resolved`]: where a path leads, so that rights can be judged at the place
//! itself and not at one of its names.

use super::{FileKind, FileSystem, Follow, VirtualPath};
use crate::error::{Error, ErrorKind, Result};

/// Links followed on one path, as in the kernel.
const LINKS_MAX: usize = 40;

/// Where a path leads: the answer of [`FileSystem::resolve`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// The path without links. What does not exist stays as it is named.
    pub path: VirtualPath,
    /// [`Metadata::id`](super::Metadata::id) of the root and of each further
    /// component of `path`, as far as it exists and is known.
    pub ids: Vec<(u64, u64)>,
    /// The links that were followed, each by its path without links.
    pub links: Vec<VirtualPath>,
}

impl Resolved {
    /// An answer in which no link was followed.
    pub fn new(path: VirtualPath, ids: Vec<(u64, u64)>) -> Self {
        Resolved {
            path,
            ids,
            links: Vec::new(),
        }
    }
}

/// Resolves with the other methods of a file system, one look a component.
pub(super) fn by_looking<F>(files: &F, path: &VirtualPath, follow: Follow) -> Result<Resolved>
where
    F: FileSystem + ?Sized,
{
    let root = files.metadata(&VirtualPath::root(), Follow::No)?.id;
    let mut resolved = Resolved::new(VirtualPath::root(), vec![root]);
    let mut rest: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
    let mut exists = true;
    while let Some(name) = rest.pop() {
        if name == b".." {
            if !exists {
                return Err(Error::new(ErrorKind::NotFound, "a link through nothing"));
            }
            resolved.path = resolved.path.parent();
            resolved
                .ids
                .truncate(resolved.path.components().count() + 1);
            continue;
        }
        let next = resolved.path.below(&name)?;
        let metadata = if exists {
            files.metadata(&next, Follow::No).ok()
        } else {
            None
        };
        match metadata {
            Some(metadata)
                if metadata.kind == FileKind::Link
                    && (follow == Follow::Yes || !rest.is_empty()) =>
            {
                let target = files.read_link(&next)?;
                resolved.links.push(next);
                if resolved.links.len() > LINKS_MAX {
                    let doing = "a chain of links without end";
                    return Err(Error::new(ErrorKind::Denied, doing));
                }
                if target.first() == Some(&b'/') {
                    resolved.path = VirtualPath::root();
                    resolved.ids.truncate(1);
                }
                let parts = target.split(|byte| *byte == b'/').rev();
                let parts = parts.filter(|part| !part.is_empty() && *part != b".");
                rest.extend(parts.map(<[u8]>::to_vec));
            }
            Some(metadata) if metadata.is_dir() || rest.is_empty() => {
                resolved.path = next;
                resolved.ids.push(metadata.id);
            }
            _ => {
                resolved.path = next;
                exists = false;
            }
        }
    }
    Ok(resolved)
}
