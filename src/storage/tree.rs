//! Walking a tree with little memory, however wide and deep it is: one path,
//! and for each level on it a batch of names of directories still to come.
//!
//! A directory with more of them than a batch holds is read again. Links are
//! never followed. What changes meanwhile may be seen or not.

use super::{Directory, FileKind, Follow, Metadata, VirtualPath};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of names that all levels may hold, half of what is left by each.
const NAMES: usize = 512 * 1024;

/// Bytes of names that one more level may hold: the fewer it has, the more often
/// a directory is read again, so that one narrow path above costs nothing. Where
/// little is left it is 4 KiB, and below level 256 512 bytes, so that a path of
/// 4096 levels, the longest, takes 4 MiB at most.
fn batch(above: &[Level]) -> usize {
    match above.len() {
        0..=255 => {
            let held: usize = above.iter().map(|level| level.names.len()).sum();
            (NAMES.saturating_sub(held) / 2).max(4096)
        }
        _ => 512,
    }
}

/// What a walk has come to.
pub enum Seen<'a> {
    /// Something in a directory that is none itself.
    Entry(&'a VirtualPath, &'a [u8], &'a Metadata),
    /// Something in a directory can't be looked at, or is too deep.
    Unknown(&'a VirtualPath, Error),
    /// A directory, when everything in it was seen.
    Left(&'a VirtualPath),
}

/// What the visitor does to what it has seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Visitor {
    /// It looks.
    Looks,
    /// It removes everything.
    Removes,
}

/// Opens a directory of the walk; `None` leaves it out.
type Open<'o> = &'o mut dyn FnMut(&VirtualPath) -> Result<Option<Box<dyn Directory>>>;
type Visit<'v> = &'v mut dyn FnMut(Seen<'_>) -> Result<()>;

/// Directories in a directory that were not entered yet.
#[derive(Default)]
struct Level {
    names: Vec<u8>,
    /// How many were entered, or are in `names`.
    taken: usize,
    /// There are more than `names` has.
    more: bool,
}

impl Level {
    fn pop(&mut self) -> Option<Vec<u8>> {
        let end = self.names.len().checked_sub(1)?;
        let names = self.names.get(..end)?;
        let at = names.iter().rposition(|&byte| byte == 0);
        let name = names.get(at.map_or(0, |at| at + 1)..)?.to_vec();
        self.names.truncate(end - name.len());
        Some(name)
    }

    /// Reads a directory: its entries are visited the first time, and names of
    /// directories behind the first `self.taken` are kept up to `most` bytes.
    fn fill(
        &mut self,
        path: &VirtualPath,
        directory: &mut dyn Directory,
        most: usize,
        mut visit: Option<Visit<'_>>,
    ) -> Result<()> {
        self.more = false;
        let (mut name, mut count) = (Vec::new(), 0);
        while let Some(entry) = directory.next(&mut name)? {
            let metadata = match (entry.kind, &visit) {
                (Some(FileKind::Directory), _) => None,
                (Some(_), None) => continue,
                _ => match directory.metadata(&name, Follow::No) {
                    Ok(metadata) => Some(metadata).filter(|metadata| !metadata.is_dir()),
                    // It has gone meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => {
                        if let Some(visit) = &mut visit {
                            visit(Seen::Unknown(path, error))?;
                        }
                        continue;
                    }
                },
            };
            if let Some(metadata) = metadata {
                if let Some(visit) = &mut visit {
                    visit(Seen::Entry(path, &name, &metadata))?;
                }
                continue;
            }
            count += 1;
            if count <= self.taken {
                continue;
            }
            if !self.names.is_empty() && self.names.len() + name.len() >= most {
                self.more = true;
                match visit {
                    Some(_) => continue,
                    None => return Ok(()),
                }
            }
            if !self.more {
                self.names.extend_from_slice(&name);
                self.names.push(0);
                self.taken = count;
            }
        }
        Ok(())
    }
}

/// Visits everything below `top`, contents before their directory, and `top`
/// itself at the end.
///
/// # Errors
/// Those of reading directories, of `open` and of `visit`.
pub fn walk(top: &VirtualPath, visitor: Visitor, open: Open<'_>, visit: Visit<'_>) -> Result<()> {
    let mut path = top.clone();
    let mut levels: Vec<Level> = Vec::new();
    let mut entered = Level::default();
    if let Some(mut directory) = open(&path)? {
        entered.fill(&path, directory.as_mut(), batch(&levels), Some(&mut *visit))?;
    }
    levels.push(entered);
    while let Some(depth) = levels.len().checked_sub(1) {
        let level = &mut levels[depth];
        if let Some(name) = level.pop() {
            match path.below(&name) {
                Ok(below) => path = below,
                Err(too_deep) => {
                    visit(Seen::Unknown(&path, too_deep))?;
                    continue;
                }
            }
            let mut entered = Level::default();
            if let Some(mut directory) = open(&path)? {
                let most = batch(&levels);
                entered.fill(&path, directory.as_mut(), most, Some(&mut *visit))?;
            }
            levels.push(entered);
            continue;
        }
        if level.more {
            if visitor == Visitor::Removes {
                level.taken = 0;
            }
            level.more = false;
            if let Some(mut directory) = open(&path)? {
                let most = batch(&levels[..depth]);
                levels[depth].fill(&path, directory.as_mut(), most, None)?;
            }
            if !levels[depth].names.is_empty() {
                continue;
            }
        }
        levels.pop();
        visit(Seen::Left(&path))?;
        path = path.parent();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{FileSystem, MemoryFs};

    /// Makes `wide` directories in each of `deep` levels, with a file in each.
    fn tree(deep: usize, wide: usize) -> (MemoryFs, usize) {
        let files = MemoryFs::new();
        let mut path = VirtualPath::root();
        let mut count = 0;
        for _ in 0..deep {
            for number in 0..wide {
                // Long names, so that a batch is soon full.
                let name = format!("{number:0>200}");
                let below = path.below(name.as_bytes()).unwrap();
                files.make_dir(&below, 0o755).unwrap();
                files.symlink(b"/", &below.below(b"link").unwrap()).unwrap();
                count += 2;
            }
            path = path
                .below(format!("{:0>200}", wide / 2).as_bytes())
                .unwrap();
        }
        (files, count)
    }

    #[test]
    fn everything_is_seen_once_however_wide_and_deep() {
        for (deep, wide) in [(1, 3000), (40, 100)] {
            let (files, want) = tree(deep, wide);
            let mut seen = std::collections::HashSet::new();
            let mut open = |path: &VirtualPath| files.read_dir(path).map(Some);
            walk(
                &VirtualPath::root(),
                Visitor::Looks,
                &mut open,
                &mut |what| {
                    let path = match what {
                        Seen::Entry(path, name, _) => path.below(name)?,
                        Seen::Unknown(_, error) => return Err(error),
                        Seen::Left(path) => path.clone(),
                    };
                    assert!(seen.insert(path.clone()), "{path} twice");
                    Ok(())
                },
            )
            .unwrap();
            assert_eq!(seen.len(), want + 1, "{deep} {wide}");
        }
    }

    #[test]
    fn everything_is_removed_however_wide_and_deep() {
        for (deep, wide) in [(1, 3000), (40, 100)] {
            let (files, _) = tree(deep, wide);
            let mut open = |path: &VirtualPath| files.read_dir(path).map(Some);
            walk(
                &VirtualPath::root(),
                Visitor::Removes,
                &mut open,
                &mut |what| match what {
                    Seen::Entry(path, name, _) => files.remove_file(&path.below(name)?),
                    Seen::Unknown(_, error) => Err(error),
                    Seen::Left(path) if path.is_root() => Ok(()),
                    Seen::Left(path) => files.remove_dir(path),
                },
            )
            .unwrap();
            let mut name = Vec::new();
            let mut left = files.read_dir(&VirtualPath::root()).unwrap();
            assert!(left.next(&mut name).unwrap().is_none());
        }
    }
}
