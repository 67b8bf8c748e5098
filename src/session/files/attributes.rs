//! Setting attributes, and the size among them.

use super::Files;
use super::place::Place;
use crate::auth::Right;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Attributes, Create, FileKind, Follow, OpenOptions, VirtualPath, Write};

impl Files {
    /// Checks the rights for everything but the size, and yields what may be
    /// set: the bits that let a program act as its owner never pass.
    pub(super) fn may_set(place: &Place, attributes: &Attributes) -> Result<Attributes> {
        if attributes.mode.is_some() || attributes.uid.is_some() || attributes.gid.is_some() {
            place.needs(Right::Mode)?;
        }
        if attributes.modified.is_some() || attributes.accessed.is_some() {
            place.needs(Right::Time)?;
        }
        Ok(Attributes {
            mode: attributes.mode.map(|mode| mode & 0o1777),
            ..*attributes
        })
    }

    /// Checks the rights for another size, which are those for replacing.
    pub(super) fn may_resize(place: &Place, attributes: &Attributes) -> Result<()> {
        if attributes.size.is_some() {
            place.needs(Right::Write)?;
            place.needs(Right::Delete)?;
        }
        Ok(())
    }

    /// Changes attributes, each by its own right.
    pub fn set_attributes(
        &self,
        path: &VirtualPath,
        attributes: &Attributes,
        follow: Follow,
    ) -> Result<()> {
        let place = self.place(path, follow)?;
        let mut allowed = Self::may_set(&place, attributes)?;
        Self::may_resize(&place, &allowed)?;
        // On a directory the set-group-ID bit only says whose new files are; the
        // file system sets it on nothing else, whatever is there by then.
        if let Some(mode) = attributes.mode.filter(|mode| mode & 0o2000 != 0)
            && let Ok(metadata) = self.file_system().metadata(&place.path, follow)
            && metadata.kind == FileKind::Directory
        {
            allowed.mode = Some(mode & 0o3777);
        }
        if let Some(size) = allowed.size.take() {
            self.resize(&place, size, follow)?;
        }
        self.file_system()
            .set_attributes(&place.path, &allowed, follow)
    }

    /// SECURITY: what is cut is the file that was looked at, whatever has its name
    /// by then: another session may upload to that.
    fn resize(&self, place: &Place, size: u64, follow: Follow) -> Result<()> {
        let there = self.file_system().metadata(&place.path, follow)?;
        let options = OpenOptions::write(Write::At, Create::Never, 0);
        let file = self.file_system().open(&place.path, &options)?;
        let opened = file.metadata()?;
        if opened.id != there.id {
            return Err(Error::new(ErrorKind::Denied, "a link, or another file now"));
        }
        let _owned = self.own(&place.path, &opened)?;
        file.set_attributes(&Attributes {
            size: Some(size),
            ..Attributes::default()
        })?;
        self.drop_receipt(&place.path);
        file.close()
    }
}
