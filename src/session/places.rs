//! Rights of places: which rule of a user counts where a path leads.
//!
//! SECURITY: a directory is known by device and inode as well as by its path,
//! so that another case, a bind mount or a link of the administrator's is no
//! way around its rule.

use crate::auth::{Perms, User};
use crate::storage::{Follow, Resolved, VirtualPath};

/// Zeros are a back-end's "unknown".
pub fn is_known(id: &(u64, u64)) -> bool {
    *id != (0, 0)
}

/// What a user may do at a place: the rule of the innermost directory counts.
/// Two rules for one directory, under two names of it, both count.
pub fn rights(user: &User, place: &Resolved) -> Perms {
    if user.directories.is_empty() {
        return user.perms;
    }
    let rules: Vec<_> = user
        .directories
        .iter()
        .map(|(path, perms)| {
            let there = user.file_system.metadata(path, Follow::Yes);
            let id = there.ok().map(|metadata| metadata.id).filter(is_known);
            (path, id, *perms)
        })
        .collect();
    let mut here = place.path.clone();
    let mut depth = here.components().count();
    loop {
        let id = place.ids.get(depth);
        let found = rules
            .iter()
            .filter(|(path, rule, _)| **path == here || rule.is_some() && rule.as_ref() == id);
        if let Some(perms) = found.map(|(.., perms)| *perms).reduce(Perms::both) {
            return perms;
        }
        if here.is_root() {
            return user.perms;
        }
        here = here.parent();
        depth -= 1;
    }
}

/// The rule that has its directory at a place or below it, or would have it
/// there. Links that lead to a rule's directory count as the way to it.
pub fn leads_to_rule<'u>(
    user: &'u User,
    place: &VirtualPath,
    id: Option<(u64, u64)>,
) -> Option<&'u VirtualPath> {
    let below = |path: &VirtualPath| path.starts_with(place);
    user.directories.iter().map(|(path, _)| path).find(|path| {
        below(path)
            || match user.file_system.resolve(path, Follow::Yes) {
                Ok(rule) => {
                    below(&rule.path)
                        || rule.links.iter().any(below)
                        || id.is_some_and(|id| rule.ids.contains(&id))
                }
                // What can't be found out is not moved.
                Err(_) => true,
            }
    })
}
