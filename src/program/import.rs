//! `wharfd import`: reads the settings or users of another server and prints
//! what means the same here; what has no equivalent is named.

mod accounts;
mod proftpd;
mod pure_ftpd;
mod vsftpd;

use std::path::Path;

use wharf::daemon::{Key, Mistake, Settings, Source};

use super::failure::{Failure, USAGE};

const BRIEF: &str = "wharfd import vsftpd|pure-ftpd|proftpd FILE";

const HELP: &str = "Reads the settings or the users of another server and prints a wharfd.conf(5) or\n\
a users file. Lines without an equivalent are named in comments, and counted on\n\
standard error. FILE is vsftpd.conf; pure-ftpd.conf or pureftpd.passwd;\n\
proftpd.conf or an AuthUserFile.";

const LOGINS_RESTRICTED: &str = "# Restrictions of logins, named below, have no equivalent: the system's users\n\
# are not let in. Name the users in a users file, or switch this on yourself.\n";

const RESTRICTIONS: &str =
    "\n# RESTRICTIONS THAT ARE NOT KEPT. Look at each before the server starts:\n";

/// Largest file that is read.
const FILE_MAX: u64 = 16 << 20;

/// Runs `wharfd import` with the arguments after that word; the exit code.
pub fn run(arguments: &[String]) -> i32 {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (server, file) = match words[..] {
        ["-h" | "--help"] => {
            println!("usage: {BRIEF}\n\n{HELP}");
            return 0;
        }
        [server, file] => (server, file),
        _ => return Failure::usage(format!("usage: {BRIEF} (--help tells more)")).tell(),
    };
    let read: fn(&str) -> Found = match server {
        "vsftpd" => vsftpd::read,
        "pure-ftpd" => |text| accounts::pure_ftpd(text).unwrap_or_else(|| pure_ftpd::read(text)),
        "proftpd" => |text| accounts::passwd(text).unwrap_or_else(|| proftpd::read(text)),
        other => {
            let what = format!("unknown server '{}'; usage: {BRIEF}", other.escape_debug());
            return Failure::usage(what).tell();
        }
    };
    let text = match load(Path::new(file)) {
        Ok(text) => text,
        Err(error) => return Failure::usage(format!("{file}: {error}")).tell(),
    };
    let mut found = read(&text);
    found.notes.sort_by_key(|note| (note.kind, note.line));
    print!("{}", found.text(server));
    let restrictions = found.notes.iter();
    let restrictions = restrictions.filter(|note| note.kind == NoteKind::Restriction);
    match (restrictions.count(), found.notes.len()) {
        (_, 0) => {}
        (0, notes) => {
            eprintln!("wharfd import: {file}: {notes} without an equivalent, see the comments")
        }
        (some, notes) => eprintln!(
            "wharfd import: {file}: {notes} without an equivalent, {some} of them RESTRICTIONS THAT \
             ARE NOT KEPT, see the comments"
        ),
    }
    match found.mistakes().first() {
        None => 0,
        Some(mistake) => {
            eprintln!("wharfd import: change this by hand: {mistake}");
            USAGE
        }
    }
}

fn load(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > FILE_MAX {
        return Err(std::io::Error::other("too large to be a configuration"));
    }
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}

/// One line of the other server's file.
#[derive(Debug, Clone)]
struct Line {
    number: usize,
    name: String,
    value: String,
}

/// The lines that say something, each split into name and value; comments
/// begin with `#`.
fn lines(text: &str, split: impl Fn(&str) -> (&str, &str)) -> Vec<Line> {
    let numbered = (1..).zip(text.lines().map(str::trim));
    numbered
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            let (name, value) = split(line);
            Line {
                number,
                name: name.trim().into(),
                value: value.trim().into(),
            }
        })
        .collect()
}

/// What becomes of a line.
enum Rule {
    /// The value of this key.
    Same(&'static str),
    /// Yes or no for this key.
    Switch(&'static str),
    /// Each of a list with commas is a value of this key.
    Each(&'static str),
    /// Part of something that is put together from several lines.
    Part,
    /// wharf does so anyway, or it does not matter.
    Anyway,
    /// There is none; why, or what instead.
    Missing(&'static str),
    /// It narrowed what somebody may do, and nothing here does; what instead.
    Restriction(&'static str),
    /// It kept users from logging in, and nothing here does; what instead.
    /// Users of the system are then not let in.
    LoginRestriction(&'static str),
}

type RuleTable = &'static [(&'static str, Rule)];

/// A line without an equivalent.
struct Note {
    line: usize,
    said: String,
    why: String,
    kind: NoteKind,
}

/// Notes are printed by kind, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum NoteKind {
    /// What it withheld is open here.
    Restriction,
    Other,
}

/// What a file means here.
#[derive(Default)]
struct Found {
    settings: Vec<(&'static str, String)>,
    users: Vec<String>,
    notes: Vec<Note>,
    /// Whether a line restricted logins of the system's users in a way that
    /// has no equivalent.
    logins_restricted: bool,
}

fn is_yes(value: &str) -> bool {
    ["yes", "on", "true", "1"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word))
}

fn is_no(value: &str) -> bool {
    ["no", "off", "false", "none"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word))
}

impl Found {
    fn set(&mut self, key: &'static str, value: impl Into<String>) {
        let value = value.into();
        match Key::find(key) {
            Some(row) if !row.repeats => {
                self.settings.retain(|(other, _)| *other != key);
                self.settings.push((key, value));
            }
            _ => self.settings.push((key, value)),
        }
    }

    fn note(&mut self, line: &Line, why: impl Into<String>) {
        self.note_as(NoteKind::Other, line, why);
    }

    fn restriction(&mut self, line: &Line, why: impl Into<String>) {
        self.note_as(NoteKind::Restriction, line, why);
    }

    fn login_restriction(&mut self, line: &Line, why: impl Into<String>) {
        self.logins_restricted = true;
        self.restriction(line, why);
    }

    fn note_as(&mut self, kind: NoteKind, line: &Line, why: impl Into<String>) {
        let said = format!("{} {}", line.name, line.value);
        self.notes.push(Note {
            line: line.number,
            said: said.trim().into(),
            why: why.into(),
            kind,
        });
    }

    /// A note on the file as a whole, or on a default that is not written in it.
    fn note_on_file(&mut self, kind: NoteKind, said: &str, why: &str) {
        self.notes.push(Note {
            line: 0,
            said: said.into(),
            why: why.into(),
            kind,
        });
    }

    /// Applies the rows of the table; parts are left to the caller.
    fn apply(&mut self, lines: &[Line], table: RuleTable) {
        for line in lines {
            let row = table.iter().find(|(name, _)| names(name, &line.name));
            // Settings of databases hold passwords.
            let bare = Line {
                value: String::new(),
                ..line.clone()
            };
            let told = if row.is_some_and(|(name, _)| name.ends_with('*')) {
                &bare
            } else {
                line
            };
            match row.map(|(_, rule)| rule) {
                // vsftpd and Pure-FTPd take an empty value as "not set".
                Some(Rule::Same(_)) if line.value.is_empty() => {}
                Some(Rule::Same(key)) => self.set(key, &line.value),
                Some(Rule::Switch(key)) => {
                    self.set(key, if is_yes(&line.value) { "yes" } else { "no" })
                }
                Some(Rule::Each(key)) => {
                    // "SITE CHMOD" is the command CHMOD behind SITE.
                    let words = line
                        .value
                        .split(',')
                        .filter_map(|words| words.split(' ').next_back());
                    for word in words.filter(|word| !word.is_empty()) {
                        self.set(key, word);
                    }
                }
                Some(Rule::Part | Rule::Anyway) => {}
                // What is switched off needs nothing instead.
                Some(Rule::Missing(_) | Rule::Restriction(_) | Rule::LoginRestriction(_))
                    if is_no(&line.value) || line.value.is_empty() => {}
                Some(Rule::Missing(why)) => self.note(told, *why),
                Some(Rule::Restriction(why)) => self.restriction(told, *why),
                Some(Rule::LoginRestriction(why)) => self.login_restriction(told, *why),
                None => self.restriction(line, "unknown here"),
            }
        }
    }

    /// What the server would say to the settings.
    fn mistakes(&self) -> Vec<Mistake> {
        let mut source = Source::new();
        for (key, value) in &self.settings {
            source.add(key, value, (*key).into());
        }
        let mut mistakes = Vec::new();
        source.apply(&mut Settings::default(), &mut mistakes);
        mistakes
    }

    fn text(&self, server: &str) -> String {
        let kind = if self.users.is_empty() {
            "wharfd.conf(5)"
        } else {
            "wharfd-users(5)"
        };
        let mut text = format!("# {kind}, made from {server}'s by wharfd import.\n");
        for (key, value) in &self.settings {
            if *key == "system-users" && self.logins_restricted {
                text.push_str(LOGINS_RESTRICTED);
                text.push_str("# ");
            }
            text.push_str(&format!("{key} {value}\n"));
        }
        for user in &self.users {
            text.push_str(&format!("{user}\n"));
        }
        let mut heading = None;
        for note in &self.notes {
            if heading != Some(note.kind) {
                heading = Some(note.kind);
                text.push_str(match note.kind {
                    NoteKind::Restriction => RESTRICTIONS,
                    NoteKind::Other => "\n# Without an equivalent:\n",
                });
            }
            let said = note.said.escape_debug();
            let why = &note.why;
            text.push_str(&match note.line {
                0 => format!("# {said}: {why}\n"),
                line => format!("# line {line}: {said}: {why}\n"),
            });
        }
        text
    }
}

/// Whether a row of a table is about the line called `line`; `SQL*` is about
/// every name that begins so.
fn names(row: &str, line: &str) -> bool {
    match row.strip_suffix('*') {
        Some(start) => line
            .get(..start.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(start)),
        None => row.eq_ignore_ascii_case(line),
    }
}

/// The value of the last line called `name`; an empty value is none.
fn value<'a>(lines: &'a [Line], name: &str) -> Option<&'a str> {
    let mut found = lines.iter().rev();
    found
        .find(|line| line.name.eq_ignore_ascii_case(name))
        .map(|line| line.value.as_str())
        .filter(|value| !value.is_empty())
}

/// Modes of files and directories from a umask in octal.
fn modes(umask: &str) -> Option<(String, String)> {
    let umask = u32::from_str_radix(umask.trim(), 8)
        .ok()
        .filter(|umask| *umask <= 0o777)?;
    let mode = |most: u32| format!("{:03o}", most & !umask);
    Some((mode(0o666), mode(0o777)))
}

#[cfg(test)]
mod tests;
