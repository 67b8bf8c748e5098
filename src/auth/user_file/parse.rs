//! The text of the users' file: lines into entries, or a list of mistakes.
//! Pure: no file is opened here, so it can be fuzzed.
//!
//! `name:hash:home:rights:options`, one user a line; the options and the
//! colon before them may be left out. Lines that begin with `#` and blank
//! lines are skipped. In homes and in the values of options `%` and two
//! hexadecimal digits stand for a byte: `%3a` a colon, `%2c` a comma, `%25`
//! a per cent sign; all other bytes are taken as they are.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use super::group::{self, GROUP};
use super::options::{OPTIONS, Options, Repeat};
use super::value::{checked_home, decoded};
use crate::auth::{Perms, password};
use crate::text::Escaped;

/// Largest file in bytes: a hundred thousand users fit.
pub const FILE_MAX: usize = 16 << 20;
/// Longest line in bytes.
pub const LINE_MAX: usize = 4096;
/// Longest name in bytes.
const NAME_MAX: usize = 255;
/// Mistakes that are listed before the rest is left unread.
const MISTAKES_MAX: usize = 50;

/// One user as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The name.
    pub name: String,
    /// The password's hash, checked to be one; `*` for no password.
    pub hash: String,
    /// The home, absolute.
    pub home: PathBuf,
    /// The rights; `None` where the field is empty.
    pub perms: Option<Perms>,
    /// The options.
    pub options: Options,
}

impl Entry {
    /// An entry from elsewhere than the file; its secret has been checked there.
    pub(in crate::auth) fn new(
        name: String,
        home: PathBuf,
        perms: Option<Perms>,
        options: Options,
    ) -> Self {
        Entry {
            name,
            hash: "*".into(),
            home,
            perms,
            options,
        }
    }

    /// Whether the line is that of a group, which can't log in.
    pub(super) fn is_group(&self) -> bool {
        self.name.starts_with(GROUP)
    }

    /// Whether the line keeps the user out, whatever is shown: the hash begins
    /// with `!`, as `passwd -l` writes it.
    pub fn is_locked(&self) -> bool {
        self.hash.starts_with('!')
    }
}

/// One mistake in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// What was expected. Never contains a hash.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Reads a whole file: its users, with what their groups give them.
///
/// # Errors
/// All mistakes, up to fifty.
pub fn parse(text: &[u8]) -> Result<Vec<Entry>, Vec<Mistake>> {
    let mut entries = Vec::new();
    scan(text, |entry| entries.push(entry))?;
    Ok(entries)
}

/// Reads a whole file, hands each user to `each` and returns the offsets of
/// the lines of all users and groups, ordered by name.
pub(super) fn scan(text: &[u8], mut each: impl FnMut(Entry)) -> Result<Vec<u32>, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut offsets: Vec<u32> = Vec::new();
    // Users in groups: a group may come after them.
    let mut members: Vec<(usize, usize)> = Vec::new();
    if text.len() > FILE_MAX {
        mistakes.push(Mistake {
            line: 1,
            column: 1,
            message: format!("the file is larger than {} MiB", FILE_MAX >> 20),
        });
        return Err(mistakes);
    }
    let mut offset = 0;
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        if let Some(entry) = parse_line(line, index + 1, &mut mistakes) {
            // Fits: the file is at most FILE_MAX.
            offsets.push(offset as u32);
            if entry.options.group.is_some() {
                members.push((offset, index + 1));
            } else if !entry.is_group() {
                each(entry);
            }
        }
        offset += line.len() + 1;
        if mistakes.len() >= MISTAKES_MAX {
            mistakes.truncate(MISTAKES_MAX);
            return Err(mistakes);
        }
    }
    // Among equal names the first in the file stays first. (Not by a stable
    // sort, which is twice the code.)
    offsets.sort_unstable_by(|a, b| name_at(text, *a).cmp(name_at(text, *b)).then(a.cmp(b)));
    for (offset, number) in members {
        if let Some(user) = user_at(text, &offsets, offset, number, &mut mistakes) {
            each(user);
        }
    }
    mistakes.extend(duplicates(text, &offsets));
    mistakes.sort_unstable_by_key(|mistake| (mistake.line, mistake.column));
    mistakes.truncate(MISTAKES_MAX);
    if mistakes.is_empty() {
        Ok(offsets)
    } else {
        Err(mistakes)
    }
}

/// The user `name`, with what a group gives; `offsets` are those of [`scan`].
pub(super) fn find(text: &[u8], offsets: &[u32], name: &str) -> Option<Entry> {
    let offset = offset_of(text, offsets, name)?;
    // Only whether it is the first line matters here.
    let number = if offset == 0 { 1 } else { 2 };
    user_at(text, offsets, offset, number, &mut Vec::new()).filter(|entry| !entry.is_group())
}

fn offset_of(text: &[u8], offsets: &[u32], name: &str) -> Option<usize> {
    let found = offsets.binary_search_by(|&offset| name_at(text, offset).cmp(name.as_bytes()));
    Some(*offsets.get(found.ok()?)? as usize)
}

fn line_at(text: &[u8], offset: usize) -> &[u8] {
    let line = &text[offset.min(text.len())..];
    let end = line.iter().position(|&byte| byte == b'\n');
    &line[..end.unwrap_or(line.len())]
}

fn user_at(
    text: &[u8],
    offsets: &[u32],
    offset: usize,
    number: usize,
    mistakes: &mut Vec<Mistake>,
) -> Option<Entry> {
    let group = |name: &str| {
        let at = offset_of(text, offsets, name)?;
        parse_line(
            line_at(text, at),
            if at == 0 { 1 } else { 2 },
            &mut Vec::new(),
        )
    };
    parse_member(line_at(text, offset), number, group, mistakes)
}

/// Reads the line of a user, and then again on top of what the line of their
/// group says, which `group` finds by its name with the `@`.
pub(super) fn parse_member(
    line: &[u8],
    number: usize,
    group: impl FnOnce(&str) -> Option<Entry>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Entry> {
    let entry = parse_line(line, number, mistakes)?;
    let Some(name) = &entry.options.group else {
        return Some(entry);
    };
    let name = format!("{GROUP}{name}");
    match group(&name) {
        Some(group) => parse_on(line, number, Some(&group), mistakes),
        None => {
            mistakes.push(Mistake {
                line: number,
                column: 1,
                message: format!(
                    "there is no line of the group '{}'",
                    Escaped(name.as_bytes())
                ),
            });
            None
        }
    }
}

/// The name of the line that begins at `offset`.
pub(super) fn name_at(text: &[u8], offset: u32) -> &[u8] {
    let line = text.get(offset as usize..).unwrap_or_default();
    let end = line.iter().position(|&byte| byte == b':');
    let name = &line[..end.unwrap_or(line.len())];
    if offset == 0 {
        without_mark(name)
    } else {
        name
    }
}

fn duplicates(text: &[u8], offsets: &[u32]) -> Vec<Mistake> {
    let line_of = |offset: u32| 1 + newlines(&text[..offset as usize]);
    let mut first = None;
    let mut found = Vec::new();
    for pair in offsets.windows(2) {
        if name_at(text, pair[0]) != name_at(text, pair[1]) {
            first = None;
            continue;
        }
        let first = *first.get_or_insert(pair[0]);
        found.push(Mistake {
            line: line_of(pair[1]),
            column: 1,
            message: format!(
                "the user '{}' stands in line {} already",
                Escaped(name_at(text, first)),
                line_of(first)
            ),
        });
        if found.len() >= MISTAKES_MAX {
            break;
        }
    }
    found
}

fn newlines(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte == b'\n').count()
}

/// Some editors begin a file with the byte order mark of UTF-8.
fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
}

/// Reads one line without its line feed; `None` for a line without a user and
/// for one with a mistake, which is added to `mistakes`.
///
/// What a group gives is not in it.
pub fn parse_line(line: &[u8], number: usize, mistakes: &mut Vec<Mistake>) -> Option<Entry> {
    parse_on(line, number, None, mistakes)
}

/// Reads one line on top of what the group's line says.
pub(super) fn parse_on(
    line: &[u8],
    number: usize,
    group: Option<&Entry>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Entry> {
    let had = mistakes.len();
    let mut wrong = |column: usize, message: String| {
        mistakes.push(Mistake {
            line: number,
            column: column + 1,
            message,
        });
    };
    let fields = match fields(line, number) {
        Ok(fields) => fields?,
        Err((column, message)) => {
            wrong(column, message);
            return None;
        }
    };
    let [name, hash, home, rights, options] = fields;
    let start = group.map_or_else(Options::default, |group| group.options.clone());
    let parsed = parse_options_on(start, options.1, |column, message| {
        wrong(options.0 + column, message)
    });
    let is_group = name.1.first() == Some(&(GROUP as u8));
    if is_group && parsed.group.is_some() {
        wrong(options.0, "a group can't be in a group".into());
    }
    let mut entry = Entry {
        name: parse_name(name.1).unwrap_or_else(|message| {
            wrong(name.0, message);
            String::new()
        }),
        hash: parse_hash(hash.1).unwrap_or_else(|message| {
            wrong(hash.0, message);
            String::new()
        }),
        home: PathBuf::new(),
        perms: parse_rights(rights.1).unwrap_or_else(|message| {
            wrong(rights.0, message);
            None
        }),
        options: parsed,
    };
    let parsed = match group {
        Some(group) if home.1.is_empty() => group::home_of(&group.home, &entry.name),
        None if home.1.is_empty() && (is_group || entry.options.group.is_some()) => {
            Ok(PathBuf::new())
        }
        _ if is_group => group::parse_home(home.1),
        _ => parse_home(home.1),
    };
    match parsed {
        Ok(parsed) => entry.home = parsed,
        Err(message) => wrong(home.0, message),
    }
    if let Some(group) = group {
        entry.perms = entry.perms.or(group.perms);
        if group.is_locked() && !entry.is_locked() {
            entry.hash.insert(0, '!');
        }
    }
    (mistakes.len() == had).then_some(entry)
}

/// The five fields of a line, and where they begin.
type Fields<'a> = [(usize, &'a [u8]); 5];

/// The fields of a line; `None` for a line without a user.
///
/// # Errors
/// Where the mistake is, and what was expected.
fn fields(line: &[u8], number: usize) -> Result<Option<Fields<'_>>, (usize, String)> {
    let whole = line.len();
    let line = if number == 1 {
        without_mark(line)
    } else {
        line
    };
    let mark = whole - line.len();
    // Editors that write CR LF.
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let first = line.trim_ascii_start().first();
    if first.is_none() || first == Some(&b'#') {
        return Ok(None);
    }
    if whole > LINE_MAX {
        let message = format!("expected a line of at most {LINE_MAX} bytes");
        return Err((LINE_MAX, message));
    }
    let mut fields: Fields<'_> = [(0, b""); 5];
    let mut found = 0;
    let mut start = mark;
    // At most five: a colon in the fifth field is a mistake of the options.
    for field in line.splitn(5, |&byte| byte == b':') {
        fields[found] = (start, field);
        found += 1;
        start += field.len() + 1;
    }
    if found < 4 {
        let message =
            format!("expected name:hash:home:rights:options, found {found} of these fields");
        return Err((mark + line.len(), message));
    }
    Ok(Some(fields))
}

fn parse_name(field: &[u8]) -> Result<String, String> {
    match std::str::from_utf8(field) {
        Ok("") => Err("expected a name before the first colon".into()),
        Ok(name) if name.len() > NAME_MAX => {
            Err(format!("expected a name of at most {NAME_MAX} bytes"))
        }
        Ok(name) if name.trim() != name || name.contains(char::is_control) => {
            Err("expected a name without control characters or blanks around it".into())
        }
        Ok(name) => Ok(name.into()),
        Err(_) => Err("expected a name in UTF-8".into()),
    }
}

fn parse_hash(field: &[u8]) -> Result<String, String> {
    let hash = std::str::from_utf8(field)
        .map_err(|_| "expected a password hash; make one with wharfd passwd".to_string())?;
    if hash.is_empty() {
        // In /etc/passwd this would let everybody in; nobody may be misled.
        return Err("expected a password hash, or * for no password".into());
    }
    password::check(hash).map_err(|error| format!("{error} (wharfd passwd makes one)"))?;
    Ok(hash.into())
}

fn parse_home(field: &[u8]) -> Result<PathBuf, String> {
    checked_home(&decoded(field)?)
}

fn parse_rights(field: &[u8]) -> Result<Option<Perms>, String> {
    if field.is_empty() {
        return Ok(None);
    }
    match std::str::from_utf8(field) {
        // A hash in the wrong place must not reach the log.
        Ok(text) if !text.contains('$') => Perms::read(text).map(Some),
        _ => Err("unknown rights: expected letters of elradfmwMT or the name of a set".into()),
    }
}

/// Reads the comma-separated options; mistakes go to `wrong` with their column.
pub(in crate::auth) fn parse_options(field: &[u8], wrong: impl FnMut(usize, String)) -> Options {
    parse_options_on(Options::default(), field, wrong)
}

fn parse_options_on(
    mut options: Options,
    field: &[u8],
    mut wrong: impl FnMut(usize, String),
) -> Options {
    let mut seen = HashMap::new();
    let mut column = 0;
    let had_mistake = std::cell::Cell::new(false);
    let mut wrong = |column, message| {
        had_mistake.set(true);
        wrong(column, message);
    };
    // Colons are plain here: the options are the last field, and an IPv6
    // network is full of them.
    for option in field.split(|&byte| byte == b',') {
        let start = column;
        column += option.len() + 1;
        // A comma at the end, or two in a row, are no harm.
        if option.is_empty() {
            continue;
        }
        let equals = option.iter().position(|&byte| byte == b'=');
        let key = &option[..equals.unwrap_or(option.len())];
        let Some(row) = OPTIONS.iter().find(|row| row.key.as_bytes() == key) else {
            let known: Vec<_> = OPTIONS.iter().map(|row| row.key).collect();
            let shown = if key.contains(&b'$') {
                &b"..."[..]
            } else {
                &key[..key.len().min(64)]
            };
            wrong(
                start,
                format!(
                    "unknown option '{}': expected one of {}",
                    Escaped(shown),
                    known.join(", ")
                ),
            );
            continue;
        };
        let Some(equals) = equals else {
            wrong(start, format!("expected {}={}", row.key, row.takes));
            continue;
        };
        if seen.insert(row.key, ()).is_some() && row.repeat == Repeat::Once {
            wrong(start, format!("{}= stands twice", row.key));
            continue;
        }
        let result =
            decoded(&option[equals + 1..]).and_then(|value| row.apply(&mut options, &value));
        if let Err(message) = result {
            wrong(start + equals + 1, format!("{}=: {message}", row.key));
        }
    }
    if !had_mistake.get()
        && let Some(message) = options.contradiction()
    {
        wrong(0, message.into());
    }
    options
}

#[cfg(test)]
mod tests;
