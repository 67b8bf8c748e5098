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
#[derive(Debug, Default)]
pub struct ListOptions {
    pub all: bool,
    pub itself: bool,
    pub recursive: bool,
    pub long: bool,
}

/// Letters of `ls` that clients send and that may change nothing here.
const LS_LETTERS: &[u8] = b"aAlLRdrtS1FhnCxgoGsuqTU";

/// The letters and what follows them.
pub fn list_options(argument: &[u8]) -> (ListOptions, &[u8]) {
    let mut options = ListOptions::default();
    let mut rest = argument;
    while let Some(letters) = rest.strip_prefix(b"-") {
        let end = letters
            .iter()
            .position(|byte| *byte == b' ')
            .unwrap_or(letters.len());
        let letters = &letters[..end];
        if letters.is_empty() || !letters.iter().all(|letter| LS_LETTERS.contains(letter)) {
            break;
        }
        options.all |= letters.iter().any(|letter| matches!(letter, b'a' | b'A'));
        options.itself |= letters.contains(&b'd');
        options.recursive |= letters.contains(&b'R');
        options.long |= letters.contains(&b'l');
        rest = rest.get(end + 2..).unwrap_or(b"");
    }
    (options, rest)
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
}
