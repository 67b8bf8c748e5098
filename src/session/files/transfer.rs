//! One open file in use by a client: counts, paces, and on its end renames an
//! atomic upload, asks the disk, and tells what happened. FTP has one at a
//! time, SFTP has one a handle.

mod name;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::receipt::Receipt;
use super::{Files, Place};
use crate::auth::Right;
use crate::error::{Error, ErrorKind, Result};
use crate::session::events::{Event, Transferred};
use crate::session::registry::Busy;
use crate::session::uploads::{self, Upload};
use crate::storage::{
    Attributes, Create, Existing, File, Follow, Metadata, OpenOptions, VirtualPath, Write,
};

/// An open file in use by a client.
///
/// [`Transfer::finish`] is the proper end. Dropping it without is a broken
/// transfer: an atomic upload vanishes, and the log says incomplete.
pub struct Transfer {
    file: Option<Box<dyn File>>,
    files: Files,
    path: VirtualPath,
    place: Place,
    floor: u64,
    pending: Option<Pending>,
    delete_if_broken: bool,
    /// Device and inode of the file, where the back-end knows them.
    id: Option<(u64, u64)>,
    /// What an upload owns.
    upload: Option<Upload>,
    /// Nothing of the client's has come yet.
    held: bool,
    started: Instant,
    read: u64,
    written: u64,
    writes: bool,
    ascii: bool,
    quiet: bool,
    /// Its size was changed otherwise than by writing.
    resized: AtomicBool,
    receipt: Option<Receipt>,
    /// The checksum of an upload that is whole.
    sha256: Option<String>,
    /// Last, so that it is over when everything else is.
    _busy: Busy,
}

/// An upload that has not got its name yet.
pub(super) struct Pending {
    /// Where the bytes go until it is whole.
    pub(super) temporary: VirtualPath,
    /// The name it gets: that of the path, links followed.
    pub(super) target: VirtualPath,
    /// What that may replace.
    pub(super) existing: Existing,
    /// What was there when it began.
    pub(super) replaces: Option<(u64, u64)>,
}

/// What a transfer needs to know when it begins.
pub(super) struct Opened {
    pub(super) file: Box<dyn File>,
    pub(super) busy: Busy,
    /// As the client has named it.
    pub(super) path: VirtualPath,
    /// Where that is.
    pub(super) place: Place,
    /// SECURITY: what lies before this was there and may not be replaced.
    pub(super) floor: u64,
    pub(super) pending: Option<Pending>,
    pub(super) delete_if_broken: bool,
    pub(super) upload: Option<Upload>,
}

impl Transfer {
    /// The length of a file that does not tell it: it is sent to its end.
    pub const UNKNOWN: u64 = u64::MAX;

    pub(super) fn new(files: Files, opened: Opened) -> Self {
        let live = files.info();
        live.bytes.store(0, Relaxed);
        live.size.store(0, Relaxed);
        let mut words = live.activity();
        words.file = opened.path.to_string();
        words.transfer_since = Some(Instant::now());
        words.uploads = opened.upload.is_some();
        drop(words);
        Transfer {
            receipt: files.receipt().filter(|_| opened.upload.is_some()),
            sha256: None,
            id: match &opened.upload {
                Some(_) => uploads::id(opened.file.as_ref()),
                None => None,
            },
            file: Some(opened.file),
            files,
            path: opened.path,
            place: opened.place,
            floor: opened.floor,
            pending: opened.pending,
            delete_if_broken: opened.delete_if_broken,
            held: false,
            started: Instant::now(),
            read: 0,
            written: 0,
            writes: opened.upload.is_some(),
            upload: opened.upload,
            ascii: false,
            quiet: false,
            resized: AtomicBool::new(false),
            _busy: opened.busy,
        }
    }

    /// Until [`Transfer::start`], breaking off leaves everything as it was:
    /// the data connection of an upload may never come.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// The client's data come from now on. Of the old contents `keep` bytes
    /// stay, or all.
    ///
    /// # Errors
    /// What cutting the file said.
    pub fn start(&mut self, keep: Option<u64>) -> Result<()> {
        self.held = false;
        match keep {
            Some(size) if !self.file()?.is_new() => self.truncate(size),
            _ => Ok(()),
        }
    }

    /// The open file.
    pub fn file(&self) -> Result<&dyn File> {
        self.file
            .as_deref()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a transfer that has ended"))
    }

    /// The path that the client has named.
    pub fn path(&self) -> &VirtualPath {
        &self.path
    }

    /// Notes that line ends are converted, for the log.
    pub fn set_ascii(&mut self) {
        self.ascii = true;
    }

    /// Reads from the file and counts.
    pub fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let length = self.file()?.read_at(buffer, offset)?;
        self.sent(length as u64);
        Ok(length)
    }

    /// Whether writing at `offset` leaves alone what the user may not replace.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`].
    pub fn may_write_at(&self, offset: u64) -> Result<()> {
        if offset < self.floor {
            Err(Error::new(
                ErrorKind::Denied,
                format!("no right to replace bytes of {}", self.path),
            ))
        } else {
            Ok(())
        }
    }

    /// Writes to the file and counts.
    pub fn write_all_at(&mut self, data: &[u8], offset: u64) -> Result<()> {
        self.may_write_at(offset)?;
        self.file()?.write_all_at(data, offset)?;
        if let Some(receipt) = &mut self.receipt {
            receipt.take(data, offset);
        }
        self.received(data.len() as u64);
        Ok(())
    }

    /// Counts bytes that went to the client by another way (`sendfile`).
    pub fn sent(&mut self, bytes: u64) {
        self.read += bytes;
        self.files.info().bytes.store(self.read, Relaxed);
        self.files.info().touch();
    }

    /// Takes bytes back that were sent and have not arrived.
    pub fn not_arrived(&mut self, bytes: u64) {
        self.read = self.read.saturating_sub(bytes);
        self.files.info().bytes.store(self.read, Relaxed);
    }

    /// Counts bytes that came from the client by another way (`splice`).
    pub fn received(&mut self, bytes: u64) {
        self.written += bytes;
        self.files.info().bytes.store(self.written, Relaxed);
        self.files.info().touch();
    }

    /// Bytes moved so far.
    pub fn bytes(&self) -> u64 {
        self.read + self.written
    }

    /// Changes attributes of the open file, if the user may. Whoever writes
    /// the file may also make it longer, or as long as it is: OpenSSH's scp
    /// ends every upload so, also that of a user who may not replace files.
    pub fn set_attributes(&self, attributes: &Attributes) -> Result<()> {
        let attributes = Files::may_set(&self.place, attributes)?;
        let file = self.file()?;
        if let Some(size) = attributes.size
            && (!self.writes || size < file.metadata()?.size)
        {
            Files::may_resize(&self.place, &attributes)?;
        }
        if attributes.size.is_some() {
            self.resized.store(true, Relaxed);
        }
        file.set_attributes(&attributes)
    }

    /// Whether this is an upload that appears as `path` only at the end.
    pub fn is_pending_as(&self, path: &VirtualPath) -> bool {
        self.pending.is_some() && self.path == *path
    }

    /// What is known about the open file.
    pub fn metadata(&self) -> Result<Metadata> {
        self.file()?.metadata()
    }

    fn truncate(&self, size: u64) -> Result<()> {
        self.resized.store(true, Relaxed);
        let attributes = Attributes {
            size: Some(size),
            ..Attributes::default()
        };
        self.file()?.set_attributes(&attributes)
    }

    /// Makes what was written survive a power cut.
    pub fn sync(&self) -> Result<()> {
        self.file()?.sync()
    }

    /// How long to wait before `bytes` more may be moved, by the rates of
    /// session, user and server; zero is at once.
    pub fn pace(&self, bytes: u64) -> Duration {
        self.files.pace(bytes, self.writes)
    }

    /// Whether a rate is set at all; if not, nobody needs to ask [`Transfer::pace`].
    pub fn is_paced(&self) -> bool {
        self.files.is_paced(self.writes)
    }

    /// Whether all that is received must go through [`Transfer::write_all_at`]:
    /// it is paced, or summed up.
    pub fn must_be_seen(&self) -> bool {
        self.is_paced() || self.receipt.is_some()
    }

    /// The file that an upload which is not whole yet takes the place of.
    pub(super) fn replaces(&self) -> Option<(u64, u64)> {
        self.pending.as_ref().and_then(|pending| pending.replaces)
    }

    /// The server has work of its own with the file, of which nobody is told.
    pub(super) fn is_no_upload(&mut self) {
        self.quiet = true;
        self.receipt = None;
    }

    /// Whether a checksum is made of what is written.
    pub(super) fn is_summed(&self) -> bool {
        self.receipt.is_some()
    }

    /// Makes the file `length` bytes longer, which begin at its end `offset`,
    /// without writing them.
    pub(super) fn leave_hole(&mut self, offset: u64, length: u64) -> Result<u64> {
        self.truncate(offset.saturating_add(length))?;
        if let Some(receipt) = &mut self.receipt {
            receipt.take_zeros(length, offset);
        }
        self.received(length);
        Ok(length)
    }

    /// The proper end: the file is closed, synced if the server is told so,
    /// and appears under its name. Only after this the client may be told
    /// that all is well.
    ///
    /// # Errors
    /// What closing, syncing or renaming said; the upload is broken then.
    pub fn finish(mut self) -> Result<()> {
        if let Err(error) = self.close() {
            self.broken();
            return Err(error);
        }
        let receipt = match &self.sha256 {
            Some(sum) => self.files.write_sidecar(&self.place.path, sum),
            None => {
                self.drop_receipt();
                Ok(())
            }
        };
        self.tell(match receipt {
            Ok(()) => Completeness::Complete,
            Err(_) => Completeness::Incomplete,
        });
        receipt
    }

    /// What was written has made the receipt of the file a wrong one.
    fn drop_receipt(&self) {
        if self.written > 0 || self.resized.load(Relaxed) {
            self.files.drop_receipt(&self.place.path);
        }
    }

    fn close(&mut self) -> Result<()> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        // The data first, or a power cut could leave the name without them;
        // then the name, or it could be gone after our 226.
        let lasting = self.writes && self.files.config().fsync_uploads;
        if let Some(receipt) = self.receipt.take() {
            self.sha256 = receipt.finish(file.metadata()?.size);
        }
        if lasting {
            file.sync()?;
        }
        if let Err(error) = self.check_name() {
            self.file = Some(file);
            return Err(error);
        }
        file.close()?;
        let renamed = self.pending.is_some();
        self.publish()?;
        if lasting && renamed {
            self.reopen()?.sync()
        } else {
            Ok(())
        }
    }

    /// The published file: through it its name is synced. Its mode may be such
    /// that it can only be written.
    fn reopen(&self) -> Result<Box<dyn File>> {
        let file_system = self.files.file_system();
        let path = &self.place.path;
        file_system
            .open(path, &OpenOptions::read())
            .or_else(|_| file_system.open(path, &OpenOptions::write(Write::At, Create::Never, 0)))
    }

    /// Lets an atomic upload appear under its name before it is whole, for a
    /// client that goes on to use the name.
    ///
    /// # Errors
    /// What renaming said; the upload is as it was then.
    pub fn publish(&mut self) -> Result<()> {
        self.follow_renames();
        let Some(pending) = &self.pending else {
            return Ok(());
        };
        let file_system = self.files.file_system();
        if let Some(upload) = &self.upload
            && let Ok(there) = file_system.metadata(&pending.target, Follow::No)
            && (upload.is_of_another(&there) || self.has_lost_its_own(&there))
        {
            let why = format!("{} is somebody else's by now", pending.target);
            return Err(Error::new(ErrorKind::Busy, why));
        }
        file_system.rename(&pending.temporary, &pending.target, pending.existing)?;
        if let Some(upload) = &self.upload {
            upload.goes_on_at(&pending.target);
        }
        self.pending = None;
        Ok(())
    }

    /// Whether what the session has made and may replace has been replaced.
    fn has_lost_its_own(&self, there: &Metadata) -> bool {
        let replaces = self.pending.as_ref().and_then(|pending| pending.replaces);
        self.place.may_replace_own_only() && replaces.is_some_and(|own| own != there.id)
    }

    /// The session has made the file, under its last name.
    pub(super) fn is_made(&mut self) {
        if let Some(id) = self.id {
            self.files.has_made(id, &mut self.place, Right::Write);
        }
    }

    fn broken(&mut self) {
        self.follow_renames();
        let unused = self.held && self.is_unused();
        let file = self.file.take();
        let remove = match &self.pending {
            Some(pending) => self.where_ours_is(&pending.temporary, file.as_deref()),
            None if self.held => unused.then(|| self.place.path.clone()),
            None if self.delete_if_broken => self.where_ours_is(&self.place.path, file.as_deref()),
            None => None,
        };
        if self.writes && self.pending.is_none() {
            self.drop_receipt();
        }
        self.pending = None;
        drop(file);
        if let Some(path) = remove
            && let Err(error) = self.files.file_system().remove_file(&path)
        {
            log::warn!("a broken upload stays as {path}: {error}");
        }
        self.tell(Completeness::Incomplete);
    }

    fn tell(&mut self, outcome: Completeness) {
        let mut words = self.files.info().activity();
        words.file.clear();
        words.transfer_since = None;
        drop(words);
        if self.quiet {
            return;
        }
        let complete = outcome == Completeness::Complete;
        let transferred = Transferred {
            path: &self.path,
            bytes: if self.writes { self.written } else { self.read },
            time: self.started.elapsed(),
            complete,
            ascii: self.ascii,
            sha256: self.sha256.as_deref().filter(|_| complete),
        };
        self.files.log_transfer(&transferred, self.writes);
        if self.writes {
            self.files.emit(&Event::Upload(&transferred));
        } else {
            self.files.emit(&Event::Download(&transferred));
        }
    }
}

#[derive(PartialEq, Eq)]
enum Completeness {
    Complete,
    Incomplete,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if self.file.is_some() {
            self.broken();
        }
    }
}
