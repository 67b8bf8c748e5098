//! What a file that takes another's place takes over from it besides its
//! name: mode, owner and group, access control list, extended attributes.

use super::{Attributes, File, Metadata};
use crate::error::Result;

/// What the mode of a file does not say: its access control list and its
/// extended attributes, as the back-end has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extended {
    /// The access control list, if the file has more than a mode.
    pub list: Option<Vec<u8>>,
    /// Names and values of the attributes that users set.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Makes a new file as accessible as `old`, and never more: its owner and
/// group as far as the system lets us (root may, others may choose among their
/// own groups), then its mode.
pub(super) fn take_over<F: File + ?Sized>(file: &F, old: &Metadata) -> Result<()> {
    keep_owner(file, old)?;
    let attributes = Attributes {
        mode: Some(mode_for(&file.metadata()?, old)),
        ..Attributes::default()
    };
    if let Err(error) = file.set_attributes(&attributes) {
        // A file system without modes; the file stays as narrow as it was made.
        log::debug!("a replaced file's mode is not kept: {error}");
    }
    Ok(())
}

pub(super) fn keep_owner<F: File + ?Sized>(file: &F, old: &Metadata) -> Result<()> {
    let new = file.metadata()?;
    for attributes in [
        Attributes {
            gid: (new.gid != old.gid).then_some(old.gid),
            ..Attributes::default()
        },
        Attributes {
            uid: (new.uid != old.uid).then_some(old.uid),
            ..Attributes::default()
        },
    ] {
        if attributes != Attributes::default()
            && let Err(error) = file.set_attributes(&attributes)
        {
            log::debug!("a replaced file's owner is not kept: {error}");
        }
    }
    Ok(())
}

/// SECURITY: what the old group may do is nothing for another group.
fn mode_for(new: &Metadata, old: &Metadata) -> u32 {
    let mode = old.mode & 0o777;
    if new.gid == old.gid {
        mode
    } else {
        mode & (0o707 | (mode & 0o007) << 3)
    }
}

#[cfg(test)]
mod tests {
    use super::super::FileKind;
    use super::*;

    #[test]
    fn another_group_gets_no_more_than_others() {
        let of = |gid, mode| Metadata {
            gid,
            mode,
            ..Metadata::new(FileKind::File, 0)
        };
        for (gid, mode, want) in [
            (1, 0o660, 0o660),
            (2, 0o660, 0o600),
            (2, 0o664, 0o644),
            (2, 0o6777, 0o777),
        ] {
            assert_eq!(mode_for(&of(gid, 0), &of(1, mode)), want);
        }
    }
}
