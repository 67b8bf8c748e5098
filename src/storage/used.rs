//! Room that files take.

use super::{FileKind, Metadata};

/// Room in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Bytes in regular files.
    pub bytes: u64,
    /// Everything that is no directory.
    pub files: u64,
}

impl Used {
    pub(super) fn add(&mut self, metadata: &Metadata) {
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size(metadata));
    }

    pub(super) fn remove(&mut self, size: u64) {
        self.files = self.files.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size);
    }

    /// What is in use without what `gone` took.
    pub(super) fn without(&self, gone: &Used) -> Used {
        Used {
            bytes: self.bytes.saturating_sub(gone.bytes),
            files: self.files.saturating_sub(gone.files),
        }
    }

    pub(super) fn resize(&mut self, from: u64, to: u64) {
        self.bytes = self.bytes.saturating_sub(from).saturating_add(to);
    }
}

pub(super) fn size(metadata: &Metadata) -> u64 {
    match metadata.kind {
        FileKind::File => metadata.size,
        _ => 0,
    }
}
