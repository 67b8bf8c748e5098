//! The patterns of dialogues: bytes with escapes, and `*` for anything.

use std::fmt::Write as _;

/// One byte of a pattern, or anything.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Byte(u8),
    Any,
}

fn parts(text: &str) -> Vec<Part> {
    let text = repeated(text);
    let mut parts = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'*' {
            parts.push(Part::Any);
            continue;
        }
        if first != b'\\' {
            parts.push(Part::Byte(first));
            continue;
        }
        let (&letter, after) = rest.split_first().expect("something behind \\");
        rest = after;
        parts.push(Part::Byte(match letter {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'x' => {
                let digits = std::str::from_utf8(&rest[..2]).unwrap();
                rest = &rest[2..];
                u8::from_str_radix(digits, 16).expect("two hex digits")
            }
            other => other,
        }));
    }
    parts
}

/// `{x*4000}` as 4000 times `x`.
fn repeated(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let end = after.find('}');
        let inner = end.map(|end| &after[1..end]);
        match inner.and_then(|inner| inner.rsplit_once('*')) {
            Some((what, count)) if count.parse::<usize>().is_ok() => {
                out.push_str(&what.repeat(count.parse().unwrap()));
                rest = &after[end.unwrap() + 1..];
            }
            _ => {
                out.push('{');
                rest = &after[1..];
            }
        }
    }
    out + rest
}

/// The bytes that a text means; a star means itself here.
pub fn bytes(text: &str) -> Vec<u8> {
    parts(text)
        .into_iter()
        .map(|part| match part {
            Part::Byte(byte) => byte,
            Part::Any => b'*',
        })
        .collect()
}

/// Whether bytes are what a pattern says.
pub fn fits(pattern: &str, got: &[u8]) -> bool {
    let pattern = parts(pattern);
    let (mut at, mut here, mut star) = (0, 0, None);
    while here < got.len() {
        match pattern.get(at) {
            Some(Part::Any) => {
                star = Some((at, here));
                at += 1;
            }
            Some(Part::Byte(byte)) if *byte == got[here] => {
                at += 1;
                here += 1;
            }
            _ => match star {
                Some((star_at, tried)) => {
                    star = Some((star_at, tried + 1));
                    at = star_at + 1;
                    here = tried + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|part| *part == Part::Any)
}

/// Bytes as a transcript writes them.
pub fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let valid = match std::str::from_utf8(rest) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap(),
        };
        for c in valid.chars() {
            match c {
                '\r' => out.push_str("\\r"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\0' => out.push_str("\\0"),
                '\\' => out.push_str("\\\\"),
                '*' => out.push_str("\\*"),
                c if c.is_control() => {
                    let _ = write!(out, "\\x{:02x}", c as u32);
                }
                c => out.push(c),
            }
        }
        rest = &rest[valid.len()..];
        if let Some((&byte, after)) = rest.split_first() {
            let _ = write!(out, "\\x{byte:02x}");
            rest = after;
        }
    }
    out
}
