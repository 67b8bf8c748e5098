//! Parsers of arguments: bytes in, values out. They know no session.

use std::time::UNIX_EPOCH;

use crate::storage::Attributes;
use crate::time::Utc;

/// Largest offset: what the kernel's signed 64 bits hold.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// A line's verb in capitals and its argument. Only one blank is taken: the
/// argument may be a name that begins with one.
pub fn split(line: &[u8]) -> (String, &[u8]) {
    let end = line
        .iter()
        .position(|byte| *byte == b' ')
        .unwrap_or(line.len());
    let argument = line.get(end + 1..).unwrap_or(b"");
    let verb = String::from_utf8_lossy(&line[..end])
        .trim()
        .to_ascii_uppercase();
    (verb, argument)
}

/// An octal number of at most four digits.
pub fn octal(text: &[u8]) -> Option<u32> {
    let digits =
        (1..=4).contains(&text.len()) && text.iter().all(|digit| (b'0'..=b'7').contains(digit));
    digits.then(|| {
        text.iter()
            .fold(0, |mode, digit| mode << 3 | u32::from(digit - b'0'))
    })
}

/// The first word and all behind the blank after it.
pub fn word(argument: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = argument.iter().position(|byte| *byte == b' ')?;
    let (word, rest) = (&argument[..at], &argument[at + 1..]);
    (!rest.is_empty()).then_some((word, rest))
}

/// A number of at most 63 bits; nothing else, not even a sign.
pub fn offset(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number: u64 = digits
        .then(|| std::str::from_utf8(text).ok()?.parse().ok())
        .flatten()?;
    (number <= OFFSET_MAX).then_some(number)
}

/// One of the numbers of PORT: at most three digits, at most 255.
pub fn small_number(text: &[u8]) -> Option<u8> {
    let digits = !text.is_empty() && text.len() <= 3 && text.iter().all(u8::is_ascii_digit);
    digits
        .then(|| std::str::from_utf8(text).ok()?.parse().ok())
        .flatten()
}

/// Names in a line, separated by blanks; a name with blanks stands in double
/// quotes, with inner quotes doubled.
pub fn quoted_names(argument: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let mut rest = argument.trim_ascii_start();
    while let Some(first) = rest.first() {
        let mut name = Vec::new();
        if *first == b'"' {
            rest = &rest[1..];
            if !rest.contains(&b'"') {
                // Never closed: all of the rest is meant.
                names.push(rest.to_vec());
                break;
            }
            while let Some(at) = rest.iter().position(|byte| *byte == b'"') {
                name.extend_from_slice(&rest[..at]);
                rest = &rest[at + 1..];
                if rest.first() != Some(&b'"') {
                    break;
                }
                name.push(b'"');
                rest = &rest[1..];
            }
        } else {
            let end = rest
                .iter()
                .position(|byte| *byte == b' ')
                .unwrap_or(rest.len());
            name.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
        }
        names.push(name);
        rest = rest.trim_ascii_start();
    }
    names
}

/// `Modify=…;UNIX.mode=…;` of MFF as attributes; the error is the fact that
/// can't be set.
pub fn settable_facts(text: &[u8]) -> std::result::Result<Attributes, String> {
    let mut attributes = Attributes::default();
    for fact in text
        .split(|byte| *byte == b';')
        .filter(|fact| !fact.is_empty())
    {
        let at = fact
            .iter()
            .position(|byte| *byte == b'=')
            .unwrap_or(fact.len());
        let (name, value) = (&fact[..at], fact.get(at + 1..).unwrap_or(b""));
        let known = match name.to_ascii_lowercase().as_slice() {
            b"modify" => {
                attributes.modified = Utc::parse(value).filter(|time| *time >= UNIX_EPOCH);
                attributes.modified.is_some()
            }
            b"unix.mode" => {
                attributes.mode = octal(value);
                attributes.mode.is_some()
            }
            b"unix.group" => {
                attributes.gid = std::str::from_utf8(value)
                    .ok()
                    .and_then(|value| value.parse().ok());
                attributes.gid.is_some()
            }
            _ => false,
        };
        if !known {
            return Err(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(attributes)
}

/// What LIST was asked: letters behind `-`, as clients send them for `ls`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// -a: names that begin with a dot, and `.` and `..`.
    pub all: bool,
    /// -A: names that begin with a dot.
    pub almost_all: bool,
    /// -d: a directory itself, not what is in it.
    pub itself: bool,
    /// -R: what is below, too.
    pub recursive: bool,
    /// -l: long lines, also for NLST.
    pub long: bool,
    /// -t and -S, the last of them.
    pub sort: Sort,
    /// -r: the other way round.
    pub reverse: bool,
    /// -F: a mark behind the name says what it is.
    pub mark: bool,
    /// -h: sizes in K, M and G.
    pub human: bool,
}

/// What a listing is sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// By name.
    #[default]
    Name,
    /// The newest first.
    Time,
    /// The largest first.
    Size,
}

impl ListOptions {
    fn add(&mut self, letters: &[u8]) {
        for letter in letters {
            match letter {
                b'a' => self.all = true,
                b'A' => self.almost_all = true,
                b'd' => self.itself = true,
                b'R' => self.recursive = true,
                b'l' => self.long = true,
                b't' => self.sort = Sort::Time,
                b'S' => self.sort = Sort::Size,
                b'r' => self.reverse = true,
                b'F' => self.mark = true,
                b'h' => self.human = true,
                // -1 and what changes nothing here.
                _ => {}
            }
        }
    }
}

/// Letters of `ls` that clients send: options, whatever files there are.
const LS_LETTERS: &[u8] = b"aAlLRdrtS1FhnCxgoGsuqTU";

/// Takes the options out of an argument; what is left is the path. `exists`
/// tells about names that only look like options: other letters are options
/// only where no such file is, blanks around the path are part of it only
/// where there is such a file, and options may follow a path that exists only
/// without them.
pub fn list_options(argument: &[u8], exists: impl Fn(&[u8]) -> bool) -> (ListOptions, Vec<u8>) {
    let mut options = ListOptions::default();
    let mut rest = argument;
    let mut end_of_options = false;
    while !end_of_options {
        let word_start = rest.trim_ascii_start();
        let word = first_word(word_start);
        let Some(letters) = word
            .strip_prefix(b"-")
            .filter(|letters| !letters.is_empty())
        else {
            break;
        };
        let known = letters.iter().all(|letter| LS_LETTERS.contains(letter));
        let letter_like = letters.iter().all(u8::is_ascii_alphanumeric);
        end_of_options = letters == b"-";
        if !known && !end_of_options && (!letter_like || exists(rest)) {
            break;
        }
        options.add(letters);
        rest = word_start.get(word.len() + 1..).unwrap_or(b"");
    }
    if rest.first() == Some(&b' ') && !exists(rest) {
        rest = rest.trim_ascii_start();
    }
    if end_of_options {
        return (options, rest.to_vec());
    }
    while let Some(at) = rest.iter().rposition(|byte| *byte == b' ') {
        let Some(letters) = rest[at + 1..].strip_prefix(b"-") else {
            break;
        };
        let known = !letters.is_empty() && letters.iter().all(|one| LS_LETTERS.contains(one));
        if !known || exists(rest) {
            break;
        }
        options.add(letters);
        rest = rest[..at].trim_ascii_end();
    }
    (options, rest.to_vec())
}

fn first_word(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == b' ');
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unquoted() {
        let names = |text: &str| {
            quoted_names(text.as_bytes())
                .into_iter()
                .map(|name| String::from_utf8(name).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(names("a b"), ["a", "b"]);
        assert_eq!(names("\"a b\"  \"c\"\"d\" e"), ["a b", "c\"d", "e"]);
        assert_eq!(names("\"open a"), ["open a"]);
        assert_eq!(names("  "), Vec::<String>::new());
    }

    #[test]
    fn options_are_told_from_names() {
        let there = [&b"dir"[..], b"-z", b" blank", b"a -l", b"-n.txt"];
        let parse = |text: &str| {
            let (options, path) = list_options(text.as_bytes(), |name| there.contains(&name));
            (options, String::from_utf8(path).unwrap())
        };
        let plain = ListOptions::default;
        let long = || ListOptions {
            long: true,
            ..plain()
        };
        for (text, options, path) in [
            ("", plain(), ""),
            ("dir", plain(), "dir"),
            ("-l", long(), ""),
            ("-l dir", long(), "dir"),
            ("-l  dir", long(), "dir"),
            (" -l dir", long(), "dir"),
            ("-l -1 dir", long(), "dir"),
            ("dir -l", long(), "dir"),
            ("dir  -l ", long(), "dir"),
            ("-Z", plain(), ""),
            ("-Zl dir", long(), "dir"),
            ("-z", plain(), "-z"),
            ("-n.txt", plain(), "-n.txt"),
            ("-", plain(), "-"),
            ("-- -z", plain(), "-z"),
            ("-l -- -a", long(), "-a"),
            ("-- b -l", plain(), "b -l"),
            (" blank", plain(), " blank"),
            ("  dir", plain(), "dir"),
            ("a -l", plain(), "a -l"),
            ("b -l", long(), "b"),
        ] {
            let text_trimmed = text.trim_end();
            assert_eq!(parse(text_trimmed), (options, path.to_owned()), "{text:?}");
        }
        let (options, _) = list_options(b"-trFSh", |_| false);
        assert!(options.reverse && options.mark && options.human);
        assert_eq!(options.sort, Sort::Size);
    }
}
