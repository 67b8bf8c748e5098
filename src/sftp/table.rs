//! The two tables: requests and extensions. A row's name is the vocabulary
//! of `-p`, `-P` and `-Q requests`, as in OpenSSH; the extension rows also
//! make the VERSION reply.

use super::extensions;
use super::interpreter::RequestHandler;
use super::requests;
use crate::error::{Error, ErrorKind, Result};

/// SSH_FXP_INIT.
pub(super) const INIT: u8 = 1;
/// SSH_FXP_VERSION.
pub(super) const VERSION: u8 = 2;
/// SSH_FXP_EXTENDED.
pub(super) const EXTENDED: u8 = 200;

/// One row: a request, or an extended request.
pub struct Request {
    /// The name for administrators.
    pub name: &'static str,
    pub(super) wire: Wire,
    /// Whether it changes anything; `-R` refuses those.
    pub effect: Effect,
    pub(super) run: RequestHandler,
}

/// How a request is recognized.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wire {
    /// By its type.
    Number(u8),
    /// By the name of the extension; with what VERSION says about it.
    Name(&'static str, &'static str),
}

/// What a request does to files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Looks only. (OPEN may also write: the rights decide.)
    Reads,
    /// Changes.
    Writes,
}

macro_rules! table {
    ($($name:literal $wire:expr, $effect:ident, $run:path;)+) => {
        &[$(Request { name: $name, wire: $wire, effect: Effect::$effect, run: $run }),+]
    };
}

use Wire::{Name, Number};

/// All requests but INIT, then all extensions. The names of OpenSSH's
/// extensions end in `@openssh.com`; the others are those of
/// draft-ietf-secsh-filexfer-09 and -extensions-00.
pub const REQUESTS: &[Request] = table! {
    "open" Number(3), Reads, requests::open;
    "close" Number(4), Reads, requests::close;
    "read" Number(5), Reads, requests::read;
    "write" Number(6), Writes, requests::write;
    "lstat" Number(7), Reads, requests::lstat;
    "fstat" Number(8), Reads, requests::fstat;
    "setstat" Number(9), Writes, requests::setstat;
    "fsetstat" Number(10), Writes, requests::fsetstat;
    "opendir" Number(11), Reads, requests::opendir;
    "readdir" Number(12), Reads, requests::readdir;
    "remove" Number(13), Writes, requests::remove;
    "mkdir" Number(14), Writes, requests::mkdir;
    "rmdir" Number(15), Writes, requests::rmdir;
    "realpath" Number(16), Reads, requests::realpath;
    "stat" Number(17), Reads, requests::stat;
    "rename" Number(18), Writes, requests::rename;
    "readlink" Number(19), Reads, requests::readlink;
    "symlink" Number(20), Writes, requests::symlink;

    "posix-rename" Name("posix-rename@openssh.com", "1"), Writes, extensions::posix_rename;
    "statvfs" Name("statvfs@openssh.com", "2"), Reads, extensions::statvfs;
    "fstatvfs" Name("fstatvfs@openssh.com", "2"), Reads, extensions::fstatvfs;
    "hardlink" Name("hardlink@openssh.com", "1"), Writes, extensions::hardlink;
    "fsync" Name("fsync@openssh.com", "1"), Writes, extensions::fsync;
    "lsetstat" Name("lsetstat@openssh.com", "1"), Writes, extensions::lsetstat;
    "limits" Name("limits@openssh.com", "1"), Reads, extensions::limits;
    "expand-path" Name("expand-path@openssh.com", "1"), Reads, extensions::expand_path;
    "copy-data" Name("copy-data", "1"), Writes, extensions::copy_data;
    "home-directory" Name("home-directory", "1"), Reads, extensions::home_directory;
    "users-groups-by-id" Name("users-groups-by-id@openssh.com", "1"), Reads, extensions::users_groups_by_id;
    // "check-file" is what WinSCP looks for in VERSION and what paramiko sends.
    "check-file" Name("check-file", "1"), Reads, extensions::check_file;
    "check-file-handle" Name("check-file-handle", "1"), Reads, extensions::check_file_handle;
    "check-file-name" Name("check-file-name", "1"), Reads, extensions::check_file_name;
};

/// The row of a type, or of an extension's name.
pub(super) fn find(kind: u8, extension: &[u8]) -> Option<(usize, &'static Request)> {
    REQUESTS.iter().enumerate().find(|(_, row)| match row.wire {
        Number(number) => number == kind,
        Name(name, _) => kind == EXTENDED && name.as_bytes() == extension,
    })
}

/// Some rows of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestSet(u64);

impl RequestSet {
    /// No request.
    pub const NONE: RequestSet = RequestSet(0);
    /// All requests.
    pub const ALL: RequestSet = RequestSet(u64::MAX);

    /// Reads names with commas between them.
    ///
    /// # Errors
    /// The name that is unknown.
    pub fn parse(names: &str) -> Result<RequestSet> {
        let mut set = RequestSet::NONE;
        for name in names.split(',').filter(|name| !name.is_empty()) {
            match REQUESTS.iter().position(|row| row.name == name) {
                Some(at) => set.0 |= 1 << at,
                None => {
                    return Err(Error::new(
                        ErrorKind::Invalid,
                        format!("unknown request '{}'", name.escape_debug()),
                    ));
                }
            }
        }
        Ok(set)
    }

    /// All requests that change anything.
    pub fn writing() -> RequestSet {
        let rows = REQUESTS.iter().enumerate();
        RequestSet(rows.fold(0, |set, (at, row)| match row.effect {
            Effect::Writes => set | 1 << at,
            Effect::Reads => set,
        }))
    }

    /// The requests of both sets.
    pub fn union(self, other: RequestSet) -> RequestSet {
        RequestSet(self.0 | other.0)
    }

    /// Whether the row is in the set.
    pub(super) fn has(self, row: usize) -> bool {
        self.0 & 1 << row != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_and_has_one_bit() {
        assert!(REQUESTS.len() <= 64);
        for (at, row) in REQUESTS.iter().enumerate() {
            let found = match row.wire {
                Number(number) => find(number, b""),
                Name(name, _) => find(EXTENDED, name.as_bytes()),
            };
            assert_eq!(found.map(|(at, row)| (at, row.name)), Some((at, row.name)));
            assert!(RequestSet::parse(row.name).unwrap().has(at));
        }
        assert!(find(EXTENDED, b"nothing").is_none());
        assert!(find(2, b"").is_none());
    }

    #[test]
    fn sets_are_read() {
        let set = RequestSet::parse("read,write,posix-rename").unwrap();
        assert!(set.has(2) && set.has(3) && !set.has(4));
        assert!(
            RequestSet::parse("read,raed")
                .unwrap_err()
                .to_string()
                .contains("raed")
        );
        assert!(RequestSet::writing().has(3) && !RequestSet::writing().has(2));
    }
}
