//! Rights: the ten letters `elradfmwMT`, as administrators know them from
//! pyftpdlib's authorizer, and names for the usual sets.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// One right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum Right {
    /// `e`: change into a directory.
    Enter = 1,
    /// `l`: list directories and see facts of files.
    List = 1 << 1,
    /// `r`: receive files.
    Read = 1 << 2,
    /// `a`: append to, or go on with, an existing file.
    Append = 1 << 3,
    /// `d`: delete files and directories; with `w`, also replace files.
    Delete = 1 << 4,
    /// `f`: rename files and directories.
    Rename = 1 << 5,
    /// `m`: make directories.
    MakeDir = 1 << 6,
    /// `w`: store new files.
    Write = 1 << 7,
    /// `M`: change modes.
    Mode = 1 << 8,
    /// `T`: change times.
    Time = 1 << 9,
}

/// Letter, right, what it allows: the one table of rights.
const RIGHTS: [(char, Right, &str); 10] = [
    ('e', Right::Enter, "change directory"),
    ('l', Right::List, "list"),
    ('r', Right::Read, "receive files"),
    ('a', Right::Append, "append and resume"),
    ('d', Right::Delete, "delete, and with w replace"),
    ('f', Right::Rename, "rename"),
    ('m', Right::MakeDir, "make directories"),
    ('w', Right::Write, "store new files"),
    ('M', Right::Mode, "change modes"),
    ('T', Right::Time, "change times"),
];

/// Name and letters of the usual sets.
const SETS: [(&str, &str); 5] = [
    ("read-only", "elr"),
    ("read-write", "elradfmwMT"),
    ("upload-only", "elamwT"),
    ("drop", "ew"),
    ("none", ""),
];

/// A set of rights.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Perms(u16);

impl Perms {
    /// No right at all.
    pub const NONE: Perms = Perms(0);
    /// Every right.
    pub const ALL: Perms = Perms(0x3ff);
    /// Change directory, list, receive.
    pub const READ_ONLY: Perms =
        Perms(Right::Enter as u16 | Right::List as u16 | Right::Read as u16);

    /// Change directory, store new files; see nothing.
    pub const DROP: Perms = Perms(Right::Enter as u16 | Right::Write as u16);

    /// As [`Perms::from_str`], with the sentence alone.
    pub(crate) fn read(text: &str) -> Result<Perms, String> {
        let letters = SETS
            .iter()
            .find(|(name, _)| *name == text)
            .map_or(text, |(_, letters)| letters);
        let mut perms = Perms::NONE;
        for letter in letters.chars() {
            match RIGHTS.iter().find(|(known, ..)| *known == letter) {
                Some((_, right, _)) => perms = perms.with(*right),
                None => {
                    let sets: Vec<_> = SETS.iter().map(|(name, _)| *name).collect();
                    return Err(format!(
                        "unknown rights '{}': expected letters of elradfmwMT or one of {}",
                        text.escape_debug(),
                        sets.join(", ")
                    ));
                }
            }
        }
        Ok(perms)
    }

    /// Whether `right` is in the set.
    pub fn has(self, right: Right) -> bool {
        self.0 & right as u16 != 0
    }

    /// The set with `right`.
    pub fn with(self, right: Right) -> Perms {
        Perms(self.0 | right as u16)
    }

    /// The set without `right`.
    pub fn without(self, right: Right) -> Perms {
        Perms(self.0 & !(right as u16))
    }

    /// What both sets have.
    pub fn both(self, other: Perms) -> Perms {
        Perms(self.0 & other.0)
    }

    /// Whether anything can be changed with this set.
    pub fn can_write(self) -> bool {
        self.0 & !Perms::READ_ONLY.0 != 0
    }
}

/// Reads letters (`elr`) or the name of a set (`read-only`).
impl FromStr for Perms {
    type Err = Error;

    fn from_str(text: &str) -> Result<Perms, Error> {
        Perms::read(text).map_err(|what| Error::new(ErrorKind::Invalid, what))
    }
}

/// Shows the letters.
impl fmt::Display for Perms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        RIGHTS
            .iter()
            .filter(|(_, right, _)| self.has(*right))
            .try_for_each(|(letter, ..)| f.write_char(*letter))
    }
}

impl fmt::Debug for Perms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Perms({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_names_are_read_and_shown() {
        for (text, want) in [
            ("elr", "elr"),
            ("read-only", "elr"),
            ("read-write", "elradfmwMT"),
            ("upload-only", "elamwT"),
            ("drop", "ew"),
            ("none", ""),
            ("Tr", "rT"),
        ] {
            assert_eq!(Perms::read(text).unwrap().to_string(), want, "{text}");
        }
        assert_eq!(Perms::read("read-write"), Ok(Perms::ALL));
        assert_eq!(Perms::read("drop"), Ok(Perms::DROP));
        assert!(Perms::read("rx").unwrap_err().contains("elradfmwMT"));
    }
}
