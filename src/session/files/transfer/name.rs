//! Whose name it is that an upload goes to: followed when its user renames
//! it, looked at before the upload is acknowledged, and removed only while it
//! is that of the upload's own file.

use super::Transfer;
use crate::error::{Error, ErrorKind, Result};
use crate::session::uploads::Upload;
use crate::storage::{File, Follow, VirtualPath};

impl Transfer {
    /// What was renamed by a session of the user is uploaded to all the same:
    /// the file itself, or the directory of one that is not whole yet.
    pub(super) fn follow_renames(&mut self) {
        let Some(now) = self.upload.as_ref().and_then(Upload::moved_to) else {
            return;
        };
        if let Some(pending) = &mut self.pending {
            for path in [&mut pending.temporary, &mut pending.target] {
                if let Ok(moved) = now.join(path.name()) {
                    *path = moved;
                }
            }
        } else {
            self.place.path = now;
        }
    }

    /// Whether the name that is uploaded to still is that of the open file.
    /// If somebody has removed or replaced it, the data are in no file, or in
    /// one that nobody knows.
    pub(super) fn check_name(&mut self) -> Result<()> {
        let (Some(id), Some(upload)) = (self.id, &self.upload) else {
            return Ok(());
        };
        if upload.is_given_up() {
            return Ok(());
        }
        self.follow_renames();
        let (path, follow) = match &self.pending {
            Some(pending) => (&pending.temporary, Follow::No),
            None => (&self.place.path, Follow::Yes),
        };
        match self.files.file_system().metadata(path, follow) {
            Ok(there) if there.id == id => Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => {
                let why = format!("{path} was removed or replaced while it was uploaded");
                Err(Error::new(ErrorKind::Busy, why))
            }
        }
    }

    /// The name of the file that was opened as `path`, to be removed: `None`
    /// if another file has taken it, or if nobody knows.
    pub(super) fn where_ours_is(
        &self,
        path: &VirtualPath,
        file: Option<&dyn File>,
    ) -> Option<VirtualPath> {
        let file_system = self.files.file_system();
        let Some(id) = self.id else {
            // No other upload has a temporary name.
            return self.pending.is_some().then(|| path.clone());
        };
        let is_ours = |path: &VirtualPath| {
            let there = file_system.metadata(path, Follow::No);
            there.is_ok_and(|there| there.id == id)
        };
        let named = file_system.resolve(path, Follow::Yes).ok();
        let moved = || file.and_then(File::current_path);
        named
            .map(|named| named.path)
            .filter(is_ours)
            .or_else(|| moved().filter(is_ours))
    }

    /// Whether the file was made for this transfer, and still is as it was.
    pub(super) fn is_unused(&self) -> bool {
        let Ok(file) = self.file() else {
            return false;
        };
        let files = self.files.file_system();
        let there = files.metadata(&self.place.path, Follow::No);
        match (file.metadata(), there) {
            (Ok(ours), Ok(there)) => file.is_new() && ours.size == 0 && ours.id == there.id,
            _ => false,
        }
    }
}
