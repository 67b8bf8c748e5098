//! Uploads that go on: each owns its file and its name until it ends, so that
//! two of them never mix, whichever sessions, protocols and names they use.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::places::is_known;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{File, Metadata, VirtualPath};
use crate::sync::unpoisoned;

/// What an upload owns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Owned {
    /// A file, by device and inode.
    File((u64, u64)),
    /// A name in the directory with these numbers, where there may be no file yet.
    Name((u64, u64), Vec<u8>),
}

/// All uploads of a server.
#[derive(Default)]
pub(super) struct Uploads {
    state: Mutex<UploadsState>,
    ended: Condvar,
}

#[derive(Default)]
struct UploadsState {
    /// The session that owns it, and by how many of its uploads.
    owners: HashMap<Owned, (u64, u32)>,
    /// Where they write, by their numbers.
    places: HashMap<u64, UploadPlace>,
    next: u64,
}

/// Where an upload of a user writes.
struct UploadPlace {
    session: u64,
    user: String,
    path: VirtualPath,
    moved: bool,
    given_up: bool,
}

/// One upload that goes on.
pub(super) struct Upload {
    uploads: Arc<Uploads>,
    session: u64,
    number: u64,
    owned: Vec<Owned>,
}

impl Uploads {
    fn state(&self) -> MutexGuard<'_, UploadsState> {
        unpoisoned(self.state.lock())
    }

    /// Begins an upload of a user to `path`, which owns what `owned` says. A
    /// session may write one file by several handles.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: another session owns one of them.
    pub(super) fn begin(
        self: &Arc<Self>,
        (session, user): (u64, &str),
        path: &VirtualPath,
        owned: Vec<Owned>,
    ) -> Result<Upload> {
        let mut state = self.state();
        state.check(session, path, &owned)?;
        for owned in &owned {
            let (_, count) = state.owners.entry(owned.clone()).or_insert((session, 0));
            *count += 1;
        }
        let number = state.next;
        state.next += 1;
        let place = UploadPlace {
            session,
            user: user.to_owned(),
            path: path.clone(),
            moved: false,
            given_up: false,
        };
        state.places.insert(number, place);
        Ok(Upload {
            uploads: Arc::clone(self),
            session,
            number,
            owned,
        })
    }

    /// Whether no upload goes on.
    pub(super) fn is_idle(&self) -> bool {
        self.state().owners.is_empty()
    }

    /// Whether a session may change what `owned` says.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: another session owns one of them.
    pub(super) fn may_change(
        &self,
        session: u64,
        path: &VirtualPath,
        owned: &[Owned],
    ) -> Result<()> {
        self.state().check(session, path, owned)
    }

    /// The other session that owns one of these.
    pub(super) fn owner(&self, session: u64, owned: &[Owned]) -> Option<u64> {
        let state = self.state();
        let mut owners = owned.iter().filter_map(|owned| state.owners.get(owned));
        owners
            .find(|(owner, _)| *owner != session)
            .map(|(owner, _)| *owner)
    }

    /// Waits until a session that ends owns none of these any more.
    pub(super) fn wait_for_end(&self, owner: u64, owned: &[Owned], most: Duration) {
        let owns = |state: &mut UploadsState| {
            let mut owners = owned.iter().filter_map(|owned| state.owners.get(owned));
            owners.any(|(of, _)| *of == owner)
        };
        let _ = self.ended.wait_timeout_while(self.state(), most, owns);
    }

    /// A session has deleted or replaced a file. If it uploads to the file
    /// itself, it knows that the name is gone: sshfs deletes what is open.
    pub(super) fn gone(&self, session: u64, path: &VirtualPath) {
        for place in self.state().places.values_mut() {
            if place.session == session && place.path == *path {
                place.given_up = true;
            }
        }
    }

    /// Something of a user got another name: uploads in it go on there.
    pub(super) fn renamed(&self, user: &str, from: &VirtualPath, to: &VirtualPath) {
        for place in self.state().places.values_mut() {
            if place.user == user
                && place.path.starts_with(from)
                && let Some(below) = place.path.as_bytes().get(from.as_bytes().len()..)
                && let Ok(path) = VirtualPath::root().join(&[to.as_bytes(), below].concat())
            {
                place.path = path;
                place.moved = true;
            }
        }
    }
}

impl UploadsState {
    fn check(&self, session: u64, path: &VirtualPath, owned: &[Owned]) -> Result<()> {
        let is_taken = |owned: &Owned| self.is_of_another(owned, session);
        if owned.iter().any(is_taken) {
            let why = format!("another upload to {path} goes on");
            Err(Error::new(ErrorKind::Busy, why))
        } else {
            Ok(())
        }
    }

    fn is_of_another(&self, owned: &Owned, session: u64) -> bool {
        let owner = self.owners.get(owned);
        owner.is_some_and(|(owner, _)| *owner != session)
    }
}

impl Upload {
    /// Where the upload writes now, if a session of its user has renamed that.
    pub(super) fn moved_to(&self) -> Option<VirtualPath> {
        let state = self.uploads.state();
        let place = state.places.get(&self.number);
        place
            .filter(|place| place.moved)
            .map(|place| place.path.clone())
    }

    /// Whether its own session has deleted or replaced the file.
    pub(super) fn is_given_up(&self) -> bool {
        let state = self.uploads.state();
        let place = state.places.get(&self.number);
        place.is_some_and(|place| place.given_up)
    }

    /// The upload, which was not whole, has got its name.
    pub(super) fn goes_on_at(&self, path: &VirtualPath) {
        let mut state = self.uploads.state();
        if let Some(place) = state.places.get_mut(&self.number) {
            place.path = path.clone();
            place.moved = false;
        }
    }

    /// The upload writes to this file, and so owns it.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: another session does.
    pub(super) fn owns(&mut self, file: (u64, u64)) -> Result<()> {
        let owned = Owned::File(file);
        let mut state = self.uploads.state();
        if state.is_of_another(&owned, self.session) {
            let why = "another upload to the file goes on";
            return Err(Error::new(ErrorKind::Busy, why));
        }
        let owners = &mut state.owners;
        owners.entry(owned.clone()).or_insert((self.session, 0)).1 += 1;
        self.owned.push(owned);
        Ok(())
    }

    /// The upload has made this file. Whoever owned one of these numbers owned a
    /// file that is gone: the file system gives them out again.
    pub(super) fn owns_new(&mut self, file: (u64, u64)) {
        let owned = Owned::File(file);
        let mut state = self.uploads.state();
        let owner = state.owners.entry(owned.clone()).or_insert((0, 0));
        *owner = if owner.0 == self.session {
            (self.session, owner.1 + 1)
        } else {
            (self.session, 1)
        };
        self.owned.push(owned);
    }

    /// Whether another session uploads to this file.
    pub(super) fn is_of_another(&self, file: &Metadata) -> bool {
        let owned = Owned::File(file.id);
        self.uploads.state().is_of_another(&owned, self.session)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut state = self.uploads.state();
        state.places.remove(&self.number);
        for owned in &self.owned {
            // It may be another session's since, see `owns_new`.
            if let Entry::Occupied(mut owner) = state.owners.entry(owned.clone())
                && owner.get().0 == self.session
            {
                owner.get_mut().1 -= 1;
                if owner.get().1 == 0 {
                    owner.remove();
                }
            }
        }
        self.uploads.ended.notify_all();
    }
}

/// Device and inode of an open file, where the back-end knows them.
pub(super) fn id(file: &dyn File) -> Option<(u64, u64)> {
    let opened = file.metadata_at_open().ok()?;
    Some(opened.id).filter(is_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> VirtualPath {
        VirtualPath::root().join(text.as_bytes()).unwrap()
    }

    #[test]
    fn an_upload_owns_its_file_and_its_name() {
        let uploads = Arc::new(Uploads::default());
        let file = |number| vec![Owned::File((1, number))];
        let begin = |session, owned| uploads.begin((session, "ann"), &path("f"), owned);
        let one = begin(1, file(7)).unwrap();
        assert!(begin(2, file(7)).is_err());
        begin(2, file(8)).unwrap();
        let same_session = begin(1, file(7)).unwrap();
        drop(one);
        assert!(begin(2, file(7)).is_err());
        drop(same_session);
        let name = || vec![Owned::Name((1, 2), b"f".to_vec()), Owned::File((1, 7))];
        let named = begin(2, name()).unwrap();
        assert!(begin(1, name()).is_err() && begin(1, file(7)).is_err());
        drop(named);
        begin(1, name()).unwrap();
        // A number that is given out again.
        let mut gone = begin(1, file(9)).unwrap();
        let mut new = begin(2, Vec::new()).unwrap();
        new.owns_new((1, 9));
        assert!(gone.owns((1, 9)).is_err());
        drop(gone);
        assert!(begin(1, file(9)).is_err());
        drop(new);
        assert!(uploads.state().owners.is_empty() && uploads.state().places.is_empty());
    }

    #[test]
    fn an_upload_goes_on_where_its_directory_went() {
        let uploads = Arc::new(Uploads::default());
        let upload = uploads
            .begin((1, "ann"), &path("a/b/f"), Vec::new())
            .unwrap();
        for (user, from, to, want) in [
            ("bob", "a", "x", None),
            ("ann", "a/b/f2", "x", None),
            ("ann", "a", "c/d", Some("c/d/b/f")),
            ("ann", "c/d/b/f", "g", Some("g")),
        ] {
            uploads.renamed(user, &path(from), &path(to));
            assert_eq!(upload.moved_to(), want.map(path), "{from}");
        }
        for (session, name, given_up) in [(2, "g", false), (1, "h", false), (1, "g", true)] {
            uploads.gone(session, &path(name));
            assert_eq!(upload.is_given_up(), given_up);
        }
    }
}
