//! `wharfd import`: reads the settings or users of another server and prints
//! what means the same here; what has no equivalent is named.

mod accounts;
mod proftpd;
mod pure_ftpd;
mod vsftpd;

use std::path::Path;

use wharf::config::{Config, Key, Mistake, Source};

use super::failure::{Failure, USAGE};

const BRIEF: &str = "wharfd import vsftpd|pure-ftpd|proftpd FILE";

const HELP: &str = "Reads the settings or the users of another server and prints a wharfd.conf(5) or\n\
a users file. Lines without an equivalent are named in comments, and counted on\n\
standard error. FILE is vsftpd.conf; pure-ftpd.conf or pureftpd.passwd;\n\
proftpd.conf or an AuthUserFile.";

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
    found.notes.sort_by_key(|(number, ..)| *number);
    print!("{}", found.text(server));
    if !found.notes.is_empty() {
        eprintln!(
            "wharfd import: {} of {file} without an equivalent, see the comments",
            match found.notes.len() {
                1 => "1 line".into(),
                count => format!("{count} lines"),
            }
        );
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
}

type Table = &'static [(&'static str, Rule)];

/// What a file means here.
#[derive(Default)]
struct Found {
    settings: Vec<(&'static str, String)>,
    users: Vec<String>,
    /// Line, what it said, and why there is nothing for it.
    notes: Vec<(usize, String, String)>,
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
            Some(row) if !row.repeats() => {
                self.settings.retain(|(other, _)| *other != key);
                self.settings.push((key, value));
            }
            _ => self.settings.push((key, value)),
        }
    }

    fn note(&mut self, line: &Line, why: impl Into<String>) {
        let what = format!("{} {}", line.name, line.value);
        self.notes
            .push((line.number, what.trim().into(), why.into()));
    }

    /// Applies the rows of the table; parts are left to the caller.
    fn apply(&mut self, lines: &[Line], table: Table) {
        for line in lines {
            let row = table
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(&line.name));
            match row.map(|(_, rule)| rule) {
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
                Some(Rule::Missing(_)) if is_no(&line.value) => {}
                Some(Rule::Missing(why)) => self.note(line, *why),
                None => self.note(line, "unknown"),
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
        source.apply(&mut Config::default(), &mut mistakes);
        mistakes
    }

    fn text(&self, server: &str) -> String {
        let kind = match self.users.is_empty() {
            true => "wharfd.conf(5)",
            false => "wharfd-users(5)",
        };
        let mut text = format!("# {kind}, made from {server}'s by wharfd import.\n");
        for (key, value) in &self.settings {
            text.push_str(&format!("{key} {value}\n"));
        }
        for user in &self.users {
            text.push_str(&format!("{user}\n"));
        }
        if !self.notes.is_empty() {
            text.push_str("\n# Without an equivalent:\n");
        }
        for (number, what, why) in &self.notes {
            let what = what.escape_debug();
            text.push_str(&format!("# line {number}: {what}: {why}\n"));
        }
        text
    }
}

/// The value of the last line called `name`.
fn value<'a>(lines: &'a [Line], name: &str) -> Option<&'a str> {
    let mut found = lines.iter().rev();
    found
        .find(|line| line.name.eq_ignore_ascii_case(name))
        .map(|line| line.value.as_str())
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
