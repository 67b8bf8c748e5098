//! A directory of users: one file a user, whose name is the user's, with the
//! line of a users' file without the name. It is read when somebody logs in,
//! so a million users cost nothing at the start.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::group::GROUP;
use super::parse::{self, Entry, LINE_MAX, Mistake};
use super::{Found, mistaken};
use crate::auth::password;
use crate::error::{Doing, Error, ErrorKind, Result, retried};
use crate::sync::unpoisoned;

/// Files that are looked at for the usual cost of a hash.
const SAMPLE: usize = 16;

/// The users of a directory.
pub(super) struct DirectoryUsers {
    path: PathBuf,
    /// A hash that a user has: what an unknown name costs.
    like: Mutex<String>,
}

impl DirectoryUsers {
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let users = scan_directory(&path, SAMPLE)?;
        let hashes = users.into_iter().flatten().map(|entry| entry.hash);
        let like = hashes.filter(|hash| !password::never_matches(hash)).last();
        Ok(DirectoryUsers {
            path,
            like: Mutex::new(like.unwrap_or_default()),
        })
    }

    /// The user, as the file is now. A file that can't be used is logged, and
    /// the user is unknown.
    pub(super) fn find(&self, name: &str) -> Found {
        let entry = self.read(name).unwrap_or_else(|error| {
            log::error!("{error}");
            None
        });
        let mut like = unpoisoned(self.like.lock());
        if let Some(entry) = &entry
            && !password::never_matches(&entry.hash)
        {
            like.clone_from(&entry.hash);
        }
        Found {
            entry,
            like: like.clone(),
        }
    }
}

impl DirectoryUsers {
    pub(super) fn read(&self, name: &str) -> Result<Option<Entry>> {
        if name.starts_with(GROUP) {
            return Ok(None);
        }
        read(&self.path, name)
    }
}

/// Whether the file of a user may have this name. What starts with a dot is
/// hidden: Kubernetes keeps its own links there, and `wharfd passwd` its new
/// files.
pub fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && !name.contains('/')
        && !name.contains(char::is_control)
}

/// Up to `most` users of the directory, or what is wrong with their files.
///
/// # Errors
/// The directory can't be read.
pub(super) fn scan_directory(directory: &Path, most: usize) -> Result<Vec<Result<Entry>>> {
    let doing = || format!("reading the users' directory '{}'", directory.display());
    let mut users = Vec::new();
    for file in retried(|| std::fs::read_dir(directory)).doing(doing())? {
        let name = file.doing(doing())?.file_name();
        let name = name.to_string_lossy();
        if users.len() == most {
            break;
        }
        if is_file_name(&name) && !name.starts_with(GROUP) {
            users.extend(read(directory, &name).transpose());
        }
    }
    Ok(users)
}

/// The line of the users' file that `text`, the file of `name`, stands for, and
/// the number of the line in the file: what is no comment.
///
/// # Errors
/// There is no such line, or another one.
pub fn line_of(name: &str, text: &[u8]) -> Result<(Vec<u8>, usize), Mistake> {
    let wrong = |line, message: &str| Mistake {
        line,
        column: 1,
        message: message.into(),
    };
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let lines = text.split(|&byte| byte == b'\n').enumerate();
    let mut lines = lines.filter(|(_, line)| {
        let first = line.trim_ascii_start().first();
        first.is_some_and(|byte| *byte != b'#')
    });
    let (at, line) = lines
        .next()
        .ok_or_else(|| wrong(1, "expected hash:home:rights:options"))?;
    if let Some((other, _)) = lines.next() {
        return Err(wrong(other + 1, "expected one line: a file is one user's"));
    }
    Ok(([name.as_bytes(), b":", line].concat(), at + 1))
}

fn read(directory: &Path, name: &str) -> Result<Option<Entry>> {
    let file_of = |name: &str| directory.join(name);
    let Some((line, number)) = line(directory, name)? else {
        return Ok(None);
    };
    let mut mistakes = Vec::new();
    let mut broken = None;
    let group = |name: &str| match self::line(directory, name) {
        Ok(found) => {
            let (line, number) = found?;
            let mut mistakes = Vec::new();
            let entry = parse::parse_line(&line, number + 1, &mut mistakes);
            if !mistakes.is_empty() {
                broken = Some(mistaken(&file_of(name), mistakes));
            }
            entry
        }
        Err(error) => {
            broken = Some(error);
            None
        }
    };
    // Not the first line, which might begin with a byte order mark.
    let entry = parse::parse_member(&line, number + 1, group, &mut mistakes);
    if let Some(error) = broken {
        return Err(error);
    }
    for mistake in &mut mistakes {
        // As they are in the file, where the name is not.
        mistake.line = number;
        mistake.column = mistake.column.saturating_sub(name.len() + 1).max(1);
    }
    if mistakes.is_empty() {
        Ok(entry)
    } else {
        Err(mistaken(&file_of(name), mistakes))
    }
}

/// The line of the user or group, if there is a file of that name.
fn line(directory: &Path, name: &str) -> Result<Option<(Vec<u8>, usize)>> {
    if !is_file_name(name) {
        return Ok(None);
    }
    let path = directory.join(name);
    let text = retried(|| -> std::io::Result<Vec<u8>> {
        let file = crate::sys::open_setting(&path)?;
        if !file.metadata()?.is_file() {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        // Comments may stand beside the line.
        crate::sys::read_at_most(file, 4 * LINE_MAX as u64)
    });
    match text.map_err(Error::from) {
        Ok(text) => match line_of(name, &text) {
            Ok(found) => Ok(Some(found)),
            Err(mistake) => Err(mistaken(&path, vec![mistake])),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.doing(format!("reading the users' file '{}'", path.display()))),
    }
}
