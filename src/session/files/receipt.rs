//! Upload receipts: the SHA-256 of a file, made of the bytes as they come, in
//! the log and, if asked for, in a file beside it.

use super::Files;
use crate::config::UploadReceipt;
use crate::digest::{Algorithm, Digest, hex};
use crate::error::{ErrorKind, Result};
use crate::storage::{OpenOptions, VirtualPath};

/// How the name of a file with a checksum ends, as `sha256sum -c` users have it.
const ENDING: &[u8] = b".sha256";
/// Longest receipt: the digits, and a name of 255 bytes that are all escaped.
const RECEIPT_MAX: usize = 1024;

/// The checksum of an upload in the making.
///
/// It is of what was received, not of what the disk has. So there is one only
/// for a file that came as a whole, from its first byte to its last in this
/// order: none for what is resumed or appended to something, and none when an
/// SFTP client jumps about.
pub(super) struct Receipt {
    digest: Option<Digest>,
    next: u64,
}

impl Receipt {
    pub(super) fn begin() -> Self {
        Receipt {
            digest: Digest::new(Algorithm::Sha256),
            next: 0,
        }
    }

    /// Bytes that were written at `offset`.
    pub(super) fn take(&mut self, data: &[u8], offset: u64) {
        match &mut self.digest {
            Some(digest) if offset == self.next => {
                digest.update(data);
                self.next += data.len() as u64;
            }
            _ => self.digest = None,
        }
    }

    /// A hole at `offset`.
    pub(super) fn take_zeros(&mut self, length: u64, offset: u64) {
        let zeros = [0; 4096];
        let mut done = 0;
        while done < length && self.digest.is_some() {
            let piece = (length - done).min(zeros.len() as u64);
            self.take(&zeros[..piece as usize], offset + done);
            done += piece;
        }
    }

    /// The checksum in hexadecimal digits of a file that has `size` bytes now.
    pub(super) fn finish(self, size: u64) -> Option<String> {
        let digest = self.digest.filter(|_| size == self.next)?;
        // Memory alone can fail; no sum is better than a wrong one.
        Some(hex(&digest.finish())).filter(|sum| !sum.is_empty())
    }
}

impl Files {
    /// A receipt for an upload, if the settings ask for one.
    pub(super) fn receipt(&self) -> Option<Receipt> {
        (self.config().upload_receipt != UploadReceipt::No).then(Receipt::begin)
    }

    /// Writes the checksum of `path` to the file beside it, if the settings
    /// say so.
    ///
    /// # Errors
    /// It could not be written: whoever relies on receipts must not take the
    /// upload for one that has its own.
    pub(super) fn write_sidecar(&self, path: &VirtualPath, sum: &str) -> Result<()> {
        let Some(beside) = self.beside(path) else {
            return Ok(());
        };
        let outcome = self.put_quietly(&beside, &line(path.name(), sum));
        outcome.map_err(|error| {
            log::error!("the checksum of {path} can't be written: {error}");
            error.with_kind(ErrorKind::Internal)
        })
    }

    /// The file has changed, or is gone: so is its receipt. A file that is no
    /// receipt of ours stays.
    pub(super) fn drop_receipt(&self, path: &VirtualPath) {
        if let Some(beside) = self.beside(path)
            && self.sum_in(&beside, path).is_some()
            && let Err(error) = self.file_system().remove_file(&beside)
        {
            log::error!("{beside} is out of date and can't be removed: {error}");
        }
    }

    /// The receipt of a file that was renamed goes along, with the new name in
    /// it; that of a file that was replaced is out of date.
    pub(super) fn move_receipt(&self, from: &VirtualPath, to: &VirtualPath) {
        let sum = self
            .beside(from)
            .and_then(|beside| self.sum_in(&beside, from));
        self.drop_receipt(from);
        self.drop_receipt(to);
        if let Some(sum) = sum {
            // It tells of an error in the log, and the rename is done.
            let _ = self.write_sidecar(to, &sum);
        }
    }

    /// Where the receipt of a file is, if there is one at all.
    fn beside(&self, path: &VirtualPath) -> Option<VirtualPath> {
        let name = path.name();
        if self.config().upload_receipt != UploadReceipt::Sidecar || name.ends_with(ENDING) {
            return None;
        }
        path.parent().join(&[name, ENDING].concat()).ok()
    }

    /// The sum in a receipt of ours for `path`; `None` if it is none.
    fn sum_in(&self, beside: &VirtualPath, path: &VirtualPath) -> Option<String> {
        let file = self.file_system().open(beside, &OpenOptions::read()).ok()?;
        let mut content = vec![0; RECEIPT_MAX];
        let length = file.read_at(&mut content, 0).ok()?;
        content.truncate(length);
        let digits = match content.strip_prefix(b"\\") {
            Some(rest) => rest.get(..64)?,
            None => content.get(..64)?,
        };
        let sum = std::str::from_utf8(digits).ok()?;
        (content == line(path.name(), sum)).then(|| sum.to_owned())
    }

    fn put_quietly(&self, path: &VirtualPath, content: &[u8]) -> Result<()> {
        let file = self.open_beside(path)?;
        file.write_all_at(content, 0)?;
        if self.config().fsync_uploads {
            file.sync()?;
        }
        file.close()
    }
}

/// A line that `sha256sum -c` reads; its escapes need a backslash in front.
fn line(name: &[u8], sum: &str) -> Vec<u8> {
    let mut shown = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'\\' => shown.extend_from_slice(b"\\\\"),
            b'\n' => shown.extend_from_slice(b"\\n"),
            b'\r' => shown.extend_from_slice(b"\\r"),
            byte => shown.push(*byte),
        }
    }
    let escape = if shown == name { "" } else { "\\" };
    [escape.as_bytes(), sum.as_bytes(), b"  ", &shown, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_in_order_and_whole_has_a_sum() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (pieces, size, want) in [
            (&[][..], 0, Some(empty)),
            (&[("abc", 0)], 3, Some(abc)),
            (&[("a", 0), ("bc", 1)], 3, Some(abc)),
            (&[("a", 0), ("", 1), ("bc", 1)], 3, Some(abc)),
            // Appended to something, resumed, with a hole, turned about, written twice, cut.
            (&[("abc", 0)], 5, None),
            (&[("abc", 2)], 5, None),
            (&[("a", 0), ("c", 2)], 3, None),
            (&[("bc", 1), ("a", 0)], 3, None),
            (&[("abc", 0), ("b", 1)], 3, None),
            (&[("abc", 0)], 2, None),
        ] {
            let mut receipt = Receipt::begin();
            for (text, offset) in pieces {
                receipt.take(text.as_bytes(), *offset);
            }
            assert_eq!(receipt.finish(size).as_deref(), want, "{pieces:?}");
        }
    }

    #[test]
    fn lines_are_what_sha256sum_reads() {
        assert_eq!(line(b"a b", "12"), b"12  a b\n");
        assert_eq!(line(b"a\\\n", "12"), b"\\12  a\\\\\\n\n");
    }
}
