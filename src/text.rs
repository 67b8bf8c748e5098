//! Text of peers made harmless: the one way in which bytes from a client, a
//! file name or a user's file reach a log line or a message. And the patterns
//! that such text is held against.

use std::fmt::{self, Write};

/// Shows bytes as UTF-8 with control characters, line breaks of every kind,
/// backslashes and invalid bytes escaped (`\n`, `\x1b`, `\u{85}`), so that
/// nothing a peer sends can forge or hide a line (wharf-security(7), attack 20).
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    character if character.is_ascii_control() => {
                        write!(f, "\\x{:02x}", character as u32)?
                    }
                    character if must_be_escaped(character) => {
                        write!(f, "\\u{{{:x}}}", character as u32)?
                    }
                    character => f.write_char(character)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Whether a character could forge or hide a line: controls (C0 and C1), line
/// and paragraph separators, and the marks that turn the direction of what
/// follows.
pub fn must_be_escaped(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// Shows bytes as [`Escaped`] does, between quotation marks, which the bytes can't end: for words
/// in lines that programs such as fail2ban read.
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for (at, part) in self.0.split(|byte| *byte == b'"').enumerate() {
            if at > 0 {
                f.write_str("\\\"")?;
            }
            Escaped(part).fmt(f)?;
        }
        f.write_char('"')
    }
}

/// Whether `text` fits a pattern, each part of which is a `*` or takes one byte.
/// Goes back to the last `*` alone, so that the time is at most the product of
/// the lengths whatever the pattern (CVE-2010-2632 and its kin).
pub fn fits<P>(
    pattern: &[P],
    text: &[u8],
    is_star: impl Fn(&P) -> bool,
    takes: impl Fn(&P, u8) -> bool,
) -> bool {
    let (mut at, mut here) = (0, 0);
    let mut star = None;
    while here < text.len() {
        match pattern.get(at) {
            Some(part) if is_star(part) => {
                star = Some((at, here));
                at += 1;
            }
            Some(part) if takes(part, text[here]) => {
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
    pattern[at..].iter().all(is_star)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_forge_a_line() {
        for (bytes, want) in [
            (&b"plain name.txt"[..], "plain name.txt"),
            (b"a\r\nb\tc", "a\\r\\nb\\tc"),
            (b"\x1b[2J\x00\x7f", "\\x1b[2J\\x00\\x7f"),
            (b"\xff\xc3", "\\xff\\xc3"),
            ("\u{202e}x\u{2028}".as_bytes(), "\\u{202e}x\\u{2028}"),
            ("größe".as_bytes(), "größe"),
            (b"back\\slash", "back\\\\slash"),
        ] {
            assert_eq!(Escaped(bytes).to_string(), want);
        }
    }

    #[test]
    fn nothing_can_end_a_quotation() {
        for (bytes, want) in [
            (&b"ann"[..], "\"ann\""),
            (b"a\" from ", "\"a\\\" from \""),
            (b"a\\", "\"a\\\\\""),
            (b"", "\"\""),
        ] {
            assert_eq!(Quoted(bytes).to_string(), want);
        }
    }
}
