//! Whether a file has changed, also when it was replaced by a rename.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::retried;

/// What a file was at one time.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "ftps"), allow(dead_code))] // certificates ask more than users
pub(crate) enum Stamp {
    /// It was there: device, inode and size; when its content and its inode
    /// were changed, in seconds and nanoseconds.
    Found([u64; 3], [i64; 4]),
    /// It was not there.
    Missing,
    /// In a directory that we may not enter: since root was given up, nothing
    /// is known of the file, and nothing can be read. That is no change.
    Hidden,
}

impl Stamp {
    /// Looks at the file now.
    #[cfg_attr(not(feature = "ftps"), allow(dead_code))]
    pub(crate) fn at(path: &Path) -> Self {
        match retried(|| std::fs::metadata(path)) {
            Ok(found) => Stamp::of(&found),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Stamp::Hidden,
            Err(_) => Stamp::Missing,
        }
    }

    /// The file that `metadata` is of.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Stamp::Found(
            [metadata.dev(), metadata.ino(), metadata.size()],
            [
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.ctime(),
                metadata.ctime_nsec(),
            ],
        )
    }
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Stamp) -> bool {
        match (self, other) {
            (Stamp::Hidden, _) | (_, Stamp::Hidden) | (Stamp::Missing, Stamp::Missing) => true,
            (Stamp::Found(file, times), Stamp::Found(other, changed)) => {
                (file, times) == (other, changed)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temp::TempDir;

    #[test]
    fn every_change_of_a_file_is_seen() {
        let place = TempDir::new("stamp");
        let (file, other) = (place.join("file"), place.join("other"));
        let mut last = Stamp::at(&file);
        assert!(last == Stamp::Missing);
        let mut changed = |what: &str| {
            let now = Stamp::at(&file);
            assert!(now != last, "{what}");
            last = now;
        };
        std::fs::write(&file, "one").unwrap();
        changed("made");
        std::fs::write(&other, "two").unwrap();
        std::fs::rename(&other, &file).unwrap();
        changed("replaced");
        std::fs::write(&file, "longer").unwrap();
        changed("written to");
        std::fs::remove_file(&file).unwrap();
        changed("removed");
    }
}
