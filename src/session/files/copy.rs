//! Copying and joining files on the server. The result grows under a
//! temporary name, so that whatever fails leaves target and sources as they
//! were, and files are told apart by what they are and not by their names.

use super::transfer::Transfer;
use super::{Files, Place, Put};
use crate::auth::Right;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{
    Attributes, Existing, Extent, File, FileKind, Follow, Metadata, OpenOptions, VirtualPath,
    copy_in_kernel, extent,
};

/// Bytes that are read and written at once.
const PIECE: usize = 128 * 1024;
/// Bytes that the kernel copies at once: well below a second on a disk that
/// is not failing, so that ABOR is heard.
const KERNEL_PIECE: usize = 16 * 1024 * 1024;

/// Asked between pieces; its error stops the work.
type Pause<'p> = &'p mut dyn FnMut() -> Result<()>;

impl Files {
    /// Copies a file on the server. `pause` is asked between pieces and stops
    /// the copy with its error.
    pub fn copy(&self, from: &VirtualPath, to: &VirtualPath, pause: Pause<'_>) -> Result<u64> {
        let mut source = self.get(from)?;
        let there = self.place(to, Follow::Yes)?.path;
        let there = self.file_system().metadata(&there, Follow::Yes);
        if from == to || there.is_ok_and(|there| is_same(&source, &there)) {
            return Err(Error::new(ErrorKind::Exists, "copying a file onto itself"));
        }
        let mut target = self.put_whole(to, Put::Replace)?;
        let copied = copy_all(source.file()?, &mut target, 0, pause)?;
        source.sent(copied);
        source.finish()?;
        target.finish()?;
        Ok(copied)
    }

    /// Joins parts behind what `target` has, and deletes them. If it fails,
    /// everything is as it was.
    pub fn join(
        &self,
        target: &VirtualPath,
        parts: &[VirtualPath],
        pause: Pause<'_>,
    ) -> Result<()> {
        let place = self.place(target, Follow::Yes)?;
        if !place.perms.has(Right::Append) {
            place.needs(Right::Write)?;
        }
        let old = match self.file_system().metadata(&place.path, Follow::Yes) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let known = self.different_parts(old.as_ref(), parts)?;
        // Until they are deleted, nobody uploads to them.
        let _owned = parts
            .iter()
            .zip(&known)
            .map(|(part, known)| self.own(part, known))
            .collect::<Result<Vec<_>>>()?;
        let mut whole = self.put_whole(target, Put::Append)?;
        if whole.replaces() != old.map(|old| old.id) {
            return Err(Error::new(
                ErrorKind::Busy,
                "the target was replaced meanwhile",
            ));
        }
        let mut at = 0;
        if old.is_some() {
            // What is there need not be readable for the user, who never sees it.
            let file = self.file_system().open(&place.path, &OpenOptions::read())?;
            if Some(file.metadata_at_open()?.id) != whole.replaces() {
                return Err(Error::new(
                    ErrorKind::Busy,
                    "the target was replaced meanwhile",
                ));
            }
            at = copy_all(file.as_ref(), &mut whole, 0, pause)?;
        }
        for (part, known) in parts.iter().zip(&known) {
            let mut source = self.get(part)?;
            if source.file()?.metadata_at_open()?.id != known.id {
                return Err(Error::new(ErrorKind::Busy, "a part was replaced meanwhile"));
            }
            let copied = copy_all(source.file()?, &mut whole, at, pause)?;
            at += copied;
            source.sent(copied);
            source.finish()?;
        }
        whole.finish()?;
        for (part, known) in parts.iter().zip(&known) {
            self.delete_part(part, known);
        }
        Ok(())
    }

    /// What is known about the parts, none of which is another's file or the
    /// target's. What can be known to fail is found here, before anything is
    /// changed.
    fn different_parts(
        &self,
        target: Option<&Metadata>,
        parts: &[VirtualPath],
    ) -> Result<Vec<Metadata>> {
        let mut known: Vec<Metadata> = Vec::with_capacity(parts.len());
        for part in parts {
            let place = self.allowed(part, Follow::No, Right::Delete)?;
            self.may_change_name(&place.path)?;
            let metadata = self.inspect(part)?.metadata_at_open()?;
            let mut others = known.iter().chain(target);
            if others.any(|other| other.is_same_file(&metadata)) {
                let why = format!("{part} is the target or another part, too");
                return Err(Error::new(ErrorKind::Invalid, why));
            }
            known.push(metadata);
        }
        Ok(known)
    }

    /// The parts are joined already, so that a repeated command would join
    /// them twice: a part that can't be deleted is no failure of the command.
    fn delete_part(&self, part: &VirtualPath, known: &Metadata) {
        let there = self
            .place(part, Follow::Yes)
            .and_then(|place| self.file_system().metadata(&place.path, Follow::Yes));
        let outcome = match there {
            Ok(there) if there.id != known.id => return,
            Ok(_) => self.delete(part),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            log::warn!("{part} is joined to its target and can't be deleted: {error}");
        }
    }
}

impl Files {
    /// Renames a file to another file system: a copy under a temporary name,
    /// which gets its own when it is whole; then the original goes.
    pub(super) fn move_by_copy(
        &self,
        (source, target): (&Place, &Place),
        existing: Existing,
        refused: Error,
    ) -> Result<()> {
        let files = self.file_system();
        let (from, to) = (&source.path, &target.path);
        let old = files.metadata(from, Follow::No)?;
        if !self.config().cross_device_rename || old.kind != FileKind::File {
            return Err(refused);
        }
        let file = files.open(from, &OpenOptions::read())?;
        if file.metadata_at_open()?.id != old.id {
            return Err(Error::new(
                ErrorKind::Busy,
                "the file was replaced meanwhile",
            ));
        }
        let there = files.metadata(to, Follow::No);
        let mut moving = self.put_moved((source, &old), target, existing)?;
        copy_all(file.as_ref(), &mut moving, 0, &mut || Ok(()))?;
        keep_times(moving.file()?, &old);
        let moved = moving.metadata()?;
        moving.finish()?;
        let gone = match files.metadata(from, Follow::No) {
            Ok(still) if still.id == old.id => files.remove_file(from),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        gone.inspect_err(|error| {
            // As a rename that failed, if that can be: nothing was there before.
            log::warn!("{from} is copied to {to} and can't be removed: {error}");
            let still = files.metadata(to, Follow::No);
            if there.is_err() && still.is_ok_and(|still| still.is_same_file(&moved)) {
                let _ = files.remove_file(to);
            }
        })
    }
}

/// Gives a copy the times of the original, as far as the system lets us.
fn keep_times(file: &dyn File, old: &Metadata) {
    let attributes = Attributes {
        modified: Some(old.modified),
        accessed: Some(old.accessed),
        ..Attributes::default()
    };
    if let Err(error) = file.set_attributes(&attributes) {
        log::debug!("a moved file's times are not kept: {error}");
    }
}

fn is_same(source: &Transfer, there: &Metadata) -> bool {
    let opened = source.file().and_then(File::metadata_at_open);
    opened.is_ok_and(|opened| opened.is_same_file(there))
}

/// Copies a file to `at` of a new one, its holes too; yields its length.
fn copy_all(source: &dyn File, target: &mut Transfer, at: u64, pause: Pause<'_>) -> Result<u64> {
    let size = source.metadata()?.size;
    let mut buffer = Vec::new();
    let mut done = 0;
    // A size of zero says nothing: the files of /proc have content all the same.
    while done < size || size == 0 {
        let most = match size {
            0 => PIECE as u64,
            size => size - done,
        };
        let copied = match extent(source, done, most) {
            Extent::Hole(length) if size > 0 => target.leave_hole(at + done, length)?,
            Extent::Hole(_) => target.copy_from((source, done), at + done, most, &mut buffer)?,
            Extent::Data(length) => {
                target.copy_from((source, done), at + done, length, &mut buffer)?
            }
        };
        match copied {
            0 if size == 0 => break,
            0 => {
                let why = "the source became shorter while it was copied";
                return Err(Error::new(ErrorKind::Internal, why));
            }
            copied => done += copied,
        }
        pause()?;
    }
    Ok(done)
}

impl Transfer {
    /// Copies what lies at `from` of an open file to `at`, `most` bytes or
    /// fewer; 0 is the end of that file. The buffer is filled where the kernel
    /// can't copy by itself.
    ///
    /// # Errors
    /// What reading or writing said.
    pub fn copy_from(
        &mut self,
        (source, from): (&dyn File, u64),
        at: u64,
        most: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<u64> {
        self.may_write_at(at)?;
        if !self.is_summed() {
            let length = most.min(KERNEL_PIECE as u64) as usize;
            if let Some(copied) = copy_in_kernel((source, from), (self.file()?, at), length) {
                self.received(copied);
                return Ok(copied);
            }
        }
        buffer.resize(PIECE, 0);
        let length = most.min(PIECE as u64) as usize;
        let read = source.read_at(&mut buffer[..length], from)?;
        self.write_all_at(&buffer[..read], at)?;
        Ok(read as u64)
    }
}
