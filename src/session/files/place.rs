//! Where an operation takes place, and what the user may do there: the one
//! function that judges rights, [`Files::place`].
//!
//! SECURITY: rights belong to places. A path is resolved to one without links
//! first; the rule of the innermost directory on it counts, found by device
//! and inode as well as by its path, so that another case, a bind mount or a
//! link of the administrator's is no way around it. What is allowed is done
//! with the resolved path through `FileSystem::without_links`, so whoever
//! swaps a directory for a link in between gets an error.

use super::Files;
use crate::auth::{Perms, Right, User};
use crate::config::{Config, DotFiles};
use crate::error::{Error, ErrorKind, Result};
use crate::session::log_context::tell_once;
use crate::session::made::Maker;
use crate::session::registry::SessionInfo;
use crate::session::{Services, names, places};
use crate::storage::{Follow, Metadata, Resolved, VirtualPath};

/// A path that has been judged.
#[derive(Clone)]
pub(in crate::session) struct Place {
    /// What to give to [`Files::file_system`].
    pub(in crate::session) path: VirtualPath,
    /// What the user may do here, what the session has made itself included.
    pub(in crate::session) perms: Perms,
    /// What the user may do here with what others have made.
    given: Perms,
    /// The right by which the session has made what is here.
    pub(super) own: Option<Right>,
    /// Device and inode of what is here, where that was looked at.
    pub(super) id: Option<(u64, u64)>,
    /// The last name is another one than the client's, see [`Files::place_apart`].
    apart: bool,
}

/// Rights over what a session has made itself: cameras and sync programs
/// rename, look at, replace and remove it, and set its time.
pub(super) const OVER_OWN: [Right; 5] = [
    Right::List,
    Right::Append,
    Right::Delete,
    Right::Rename,
    Right::Time,
];

impl Place {
    /// Whether the user has `right` here.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`].
    pub(in crate::session) fn needs(&self, right: Right) -> Result<()> {
        if self.perms.has(right) {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Denied,
                format!("no right {right:?} at {}", self.path),
            ))
        }
    }

    /// Whether the user may replace what is here.
    pub(in crate::session) fn may_replace(&self) -> bool {
        self.perms.has(Right::Write) && self.perms.has(Right::Delete)
    }

    /// Whether the user may store here and see nothing of others.
    fn is_for_dropping(&self) -> bool {
        let has = |right| self.given.has(right);
        has(Right::Enter) && has(Right::Write) && !has(Right::List) && !has(Right::Read)
    }

    /// Whether the user may replace what is here only because the session has
    /// made it.
    pub(super) fn may_replace_own_only(&self) -> bool {
        self.may_replace() && !self.given.has(Right::Delete)
    }

    /// Whether the user may read and delete what is here, whoever has made it, and
    /// so could carry it elsewhere.
    pub(super) fn may_be_carried_off(&self) -> bool {
        self.given.has(Right::Read) && self.given.has(Right::Delete)
    }

    /// What is here was made by the session, by a right that it still has.
    pub(super) fn becomes_own(&mut self, by: Right) {
        if self.given.has(by) {
            self.own = Some(by);
            self.perms = OVER_OWN.into_iter().fold(self.given, Perms::with);
        }
    }

    /// Whether what is here may get the name `target`: by the right to rename, or
    /// as a session may make what it has made under that name, too.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`].
    pub(super) fn may_become(&self, target: &Place) -> Result<()> {
        match self.own {
            Some(by) if !target.perms.has(Right::Rename) => target.needs(by),
            _ => target.needs(Right::Rename),
        }
    }
}

/// The session as the maker of what it makes, if it may not do everything with
/// what others make.
pub(super) fn maker(
    services: &Services,
    config: &Config,
    live: &SessionInfo,
    user: &User,
) -> Option<Maker> {
    let has_all = |perms: Perms| OVER_OWN.iter().all(|right| perms.has(*right));
    let directories = user.directories.iter().map(|(_, perms)| *perms);
    let some = !is_judged(user, config) || directories.chain([user.perms]).all(has_all);
    (!some).then(|| {
        let who = (live.id, user.name.as_str(), live.peer.ip());
        Maker::new(&services.made, who, config.own_for)
    })
}

/// Whether it matters to a user where a path leads. Nobody else pays for it.
pub(super) fn is_judged(user: &User, config: &Config) -> bool {
    let makes = [Right::Write, Right::MakeDir, Right::Rename];
    let may_change = |right| user.perms.has(right);
    let is_guest = user.anonymous || !(may_change(Right::Delete) && may_change(Right::Rename));
    !user.directories.is_empty()
        || !config.deny_names.is_empty()
        || config.dot_files == DotFiles::Deny
        || is_guest && makes.into_iter().any(may_change)
}

/// Rights over a file that has this name, whichever name it was given before.
const OF_A_FILE: [Right; 6] = [
    Right::Read,
    Right::Append,
    Right::Delete,
    Right::Write,
    Right::Mode,
    Right::Time,
];

impl Files {
    /// Whether there is any place where the user has `right`.
    pub fn has_somewhere(&self, right: Right) -> bool {
        let (inner, user) = (&self.0, self.user());
        user.perms.has(right)
            || user.directories.iter().any(|(_, perms)| perms.has(right))
            || inner.maker.is_some() && OVER_OWN.contains(&right)
    }

    /// What the user may do at `path`: nothing, where it leads nowhere.
    pub fn perms_at(&self, path: &VirtualPath) -> Perms {
        let place = self.place(path, Follow::Yes);
        place.map_or(Perms::NONE, |place| place.perms)
    }

    /// Whether the user has `right` at `path`, links followed, and may know of
    /// the name at all.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] or, for names nobody may use, [`ErrorKind::NotFound`].
    pub fn may(&self, path: &VirtualPath, right: Right) -> Result<()> {
        self.allowed(path, Follow::Yes, right).map(drop)
    }

    /// The place of an operation that needs `right` there.
    pub(super) fn allowed(
        &self,
        path: &VirtualPath,
        follow: Follow,
        right: Right,
    ) -> Result<Place> {
        let place = self.place(path, follow)?;
        place.needs(right)?;
        Ok(place)
    }

    /// SECURITY: the only way from a client's path to the file system. `follow`
    /// is what the operation does with a link in the last component.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for names that nobody may use.
    pub(in crate::session) fn place(&self, path: &VirtualPath, follow: Follow) -> Result<Place> {
        if !self.0.judged {
            return Ok(Place {
                path: path.clone(),
                perms: self.0.user.perms,
                given: self.0.user.perms,
                own: None,
                id: None,
                apart: false,
            });
        }
        // A denied name is denied whatever it leads to, and so is a link to one.
        self.may_name(path)?;
        let files = &self.0.user.file_system;
        let resolved = match files.resolve(path, follow) {
            Err(error) if self.hides(path) => {
                return Err(Error::with_source(
                    ErrorKind::Denied,
                    "no rights there",
                    error,
                ));
            }
            outcome => outcome?,
        };
        // SECURITY: where the user has no rights at all, a link is no other thing
        // than a missing name.
        for link in &resolved.links {
            let place = self.place(link, Follow::No)?;
            if place.perms == Perms::NONE {
                return Ok(place);
            }
        }
        let is_there = resolved.ids.len() > resolved.path.components().count();
        let place = self.judge(resolved)?;
        let named_only = follow == Follow::No && place.perms != Perms::NONE;
        if named_only && !self.0.config.deny_names.is_empty() {
            self.may_name(&files.resolve(path, Follow::Yes)?.path)?;
        }
        if is_there {
            return Ok(place);
        }
        self.place_apart(place)
    }

    /// SECURITY: guests make no names with a dot in front, but programs such as
    /// NiFi upload to one and rename it. Such an upload lies under a name that
    /// nothing gives a meaning to, where the guest finds it by the other.
    fn place_apart(&self, place: Place) -> Result<Place> {
        let (user, name) = (&self.0.user, place.path.name());
        let is_guest = user.anonymous || !place.given.has(Right::Delete);
        if !name.starts_with(b".") || !is_guest || self.0.maker.is_none() {
            return Ok(place);
        }
        let apart = [names::GUEST_PREFIX, name].concat();
        let apart = place.path.parent().below(&apart)?;
        let mut apart = self.judge(user.file_system.resolve(&apart, Follow::No)?)?;
        apart.apart = true;
        Ok(apart)
    }

    /// Whether an upload may make `place`, as [`Files::may_make`], or one apart.
    pub(super) fn may_store(&self, named: &VirtualPath, place: &Place) -> Result<()> {
        if !place.apart {
            return self.may_make(named, place);
        }
        let directory = Place {
            path: place.path.parent(),
            ..place.clone()
        };
        self.may_make(&named.parent(), &directory)?;
        let reason = "guests make no names with a dot in front";
        let what = format_args!("{named} is {}", place.path);
        tell_once(log::Level::Info, reason, &what);
        Ok(())
    }

    /// Whether a path that leads in a circle, or through what is missing, does so
    /// where the user has no rights.
    fn hides(&self, path: &VirtualPath) -> bool {
        /// As many links as a path may go through.
        const LINKS: usize = 40;
        let files = &self.0.user.file_system;
        let mut path = path.clone();
        for _ in 0..LINKS {
            let mut at = path.clone();
            let there = loop {
                match files.resolve(&at, Follow::No) {
                    Ok(there) => break there,
                    Err(_) if at.is_root() => return false,
                    Err(_) => at = at.parent(),
                }
            };
            if places::rights(&self.0.user, &there) == Perms::NONE {
                return true;
            }
            // It is a link that leads on.
            let rest = &path.as_bytes()[at.as_bytes().len()..];
            let next = files.read_link(&there.path).and_then(|target| {
                let text = [&target, &b"/"[..], rest].concat();
                there.path.parent().join(&text)
            });
            match next {
                Ok(next) => path = next,
                Err(_) => return false,
            }
        }
        false
    }

    fn judge(&self, resolved: Resolved) -> Result<Place> {
        self.may_name(&resolved.path)?;
        let depth = resolved.path.components().count();
        let given = places::rights(&self.0.user, &resolved);
        let mut place = Place {
            perms: given,
            given,
            own: None,
            apart: false,
            id: resolved.ids.get(depth).copied().filter(places::is_known),
            path: resolved.path,
        };
        if let (Some(maker), Some(id)) = (&self.0.maker, place.id)
            && let Some(by) = maker.made_by(id, &place.path)
        {
            place.becomes_own(by);
        }
        Ok(place)
    }

    /// The session has made what is at a place now, by a right.
    pub(super) fn has_made(&self, id: (u64, u64), place: &mut Place, by: Right) {
        match &self.0.maker {
            Some(maker) => {
                maker.has_made(id, &place.path, by);
                place.becomes_own(by);
            }
            None => self.0.services.made.forget(id),
        }
    }

    /// The session has made what is at a place now and is not open.
    pub(super) fn has_made_at(&self, place: &mut Place, by: Right) {
        if self.0.maker.is_some()
            && let Ok(there) = self.file_system().metadata(&place.path, Follow::No)
        {
            self.has_made(there.id, place, by);
        }
    }

    /// Whether of a directory only what the session has made may be seen: who may
    /// store and not list still looks whether the upload has arrived. A place for
    /// dropping looks empty at first, for clients that begin with a listing.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`]: nothing of it may be seen.
    pub(super) fn shows_own_only(&self, place: &Place) -> Result<bool> {
        match (place.needs(Right::List), &self.0.maker) {
            (Err(_), Some(maker)) if place.is_for_dropping() || maker.has_made_in(&place.path) => {
                Ok(true)
            }
            (allowed, _) => allowed.map(|()| false),
        }
    }

    /// What is known about a path. Where only what the session has made may be
    /// seen, files of others are not there, and directories tell nothing more
    /// than that CWD works.
    pub fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata> {
        let place = self.place(path, follow)?;
        let own_only = self.shows_own_only(&place)?;
        let there = self.file_system().metadata(&place.path, follow)?;
        if !own_only {
            return Ok(there);
        }
        if !there.is_dir() {
            return Err(ErrorKind::NotFound.into());
        }
        Ok(Metadata {
            mode: there.mode,
            id: there.id,
            ..Metadata::new(there.kind, 0)
        })
    }

    /// What the session had made is gone.
    pub(super) fn is_gone(&self, place: &Place) {
        if let (Some(_), Some(id)) = (place.own, place.id) {
            self.0.services.made.forget(id);
        }
    }

    /// A pattern is held against the path after links are followed, or
    /// `x -> a.key` would show what `*.key` denies (CVE-2015-1419).
    pub(super) fn may_name(&self, path: &VirtualPath) -> Result<()> {
        let config = &self.0.config;
        if path.components().any(|name| names::is_denied(name, config)) {
            // The client is told that there is no such file.
            tell_once(log::Level::Info, "a denied name", path);
            Err(Error::new(
                ErrorKind::NotFound,
                format!("a denied name: {path}"),
            ))
        } else {
            Ok(())
        }
    }

    /// SECURITY: who may not even delete at a place is a guest there, and brings
    /// no `.htaccess`, `.bashrc` or `.ssh/authorized_keys` (wharf-security(7),
    /// attack 28), under whatever name a link gives to its directory.
    pub(super) fn may_make(&self, named: &VirtualPath, place: &Place) -> Result<()> {
        if !self.0.user.anonymous && place.given.has(Right::Delete) {
            return Ok(());
        }
        let dotted = |path: &VirtualPath| path.components().any(|name| name.starts_with(b"."));
        if dotted(named) || dotted(&place.path) {
            Err(Error::new(
                ErrorKind::Denied,
                format!("guests make no names with a dot in front: {named}"),
            ))
        } else {
            Ok(())
        }
    }

    /// SECURITY: a directory with rights of its own stays where it is, and so
    /// does everything on the way to it: no rename, removal or link may put
    /// something else in its place.
    pub(super) fn may_move(&self, place: &Place) -> Result<()> {
        match places::leads_to_rule(&self.0.user, &place.path, place.id) {
            None => Ok(()),
            Some(rule) => Err(Error::new(
                ErrorKind::Denied,
                format!("{} leads to rights of their own at {rule}", place.path),
            )),
        }
    }

    /// SECURITY: another name must not give rights that the file's own place
    /// does not give.
    pub(super) fn may_name_again(&self, old: &Place, new: &Place) -> Result<()> {
        let gained = |right: &&Right| new.given.has(**right) && !old.given.has(**right);
        match OF_A_FILE.iter().find(gained) {
            None => Ok(()),
            Some(right) => Err(Error::new(
                ErrorKind::Denied,
                format!(
                    "{} would give the right {right:?} to {}",
                    new.path, old.path
                ),
            )),
        }
    }

    /// SECURITY: nor may the old name keep rights to change a file that its new
    /// place does not give: what was dropped somewhere stays as it is.
    pub(super) fn may_keep_name(&self, old: &Place, new: &Place) -> Result<()> {
        let kept = |right: &&Right| {
            **right != Right::Read && old.given.has(**right) && !new.given.has(**right)
        };
        match OF_A_FILE.iter().find(kept) {
            None => Ok(()),
            Some(right) => Err(Error::new(
                ErrorKind::Denied,
                format!(
                    "{} would keep the right {right:?} to {}",
                    old.path, new.path
                ),
            )),
        }
    }

    /// Where a path leads when all links are followed. What does not exist
    /// stays as it is named, so that one can ask before making it; and so does
    /// what leads through links that the user may not see.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for names that nobody may use.
    pub fn real_path(&self, path: &VirtualPath) -> Result<VirtualPath> {
        let user = &self.0.user;
        self.may_name(path)?;
        if user.directories.is_empty() && !user.perms.has(Right::List) {
            return Ok(path.clone());
        }
        let resolved = match user.file_system.resolve(path, Follow::Yes) {
            Err(_) if self.hides(path) => return Ok(path.clone()),
            outcome => outcome?,
        };
        for link in &resolved.links {
            if !self.place(link, Follow::No)?.perms.has(Right::List) {
                return Ok(path.clone());
            }
        }
        self.may_name(&resolved.path)?;
        Ok(resolved.path)
    }
}
