//! Patterns of LIST, NLST, STAT and scp: `*`, `?`, and `[a-z]` or `[!a-z]`. There
//! are no braces: they multiply (CVE-2010-2632 and its kin).

use crate::text;

/// A pattern, ready to be compared with names.
pub struct Pattern(Vec<Part>);

enum Part {
    Byte(u8),
    /// `?`
    Any,
    /// `*`
    Many,
    /// `[...]`: ranges, and whether they are what must not be.
    Set(Vec<(u8, u8)>, Sense),
}

#[derive(PartialEq, Eq)]
enum Sense {
    Among,
    NotAmong,
}

impl Pattern {
    /// Whether a name is a pattern and no plain name.
    pub fn is_one(name: &[u8]) -> bool {
        name.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
    }

    /// Reads a pattern. A `[` without its `]` stands for itself.
    pub fn new(text: &[u8]) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            let part = match byte {
                b'*' => Part::Many,
                b'?' => Part::Any,
                b'[' => match set(after) {
                    Some((set, after)) => {
                        rest = after;
                        set
                    }
                    None => Part::Byte(byte),
                },
                byte => Part::Byte(byte),
            };
            parts.push(part);
        }
        Pattern(parts)
    }

    /// Whether a name fits.
    pub fn fits(&self, name: &[u8]) -> bool {
        text::fits(
            &self.0,
            name,
            |part| matches!(part, Part::Many),
            Part::takes,
        )
    }

    /// Whether it asks for names that begin with a dot.
    pub fn begins_with_dot(&self) -> bool {
        matches!(self.0.first(), Some(Part::Byte(b'.')))
    }
}

impl Part {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Part::Byte(part) => *part == byte,
            Part::Any => true,
            Part::Many => false,
            Part::Set(ranges, sense) => {
                let among = ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&byte));
                among == (*sense == Sense::Among)
            }
        }
    }
}

/// The set behind a `[`, and what follows its `]`.
fn set(text: &[u8]) -> Option<(Part, &[u8])> {
    let (sense, inside) = match text.first()? {
        b'!' | b'^' => (Sense::NotAmong, &text[1..]),
        _ => (Sense::Among, text),
    };
    // A `]` that comes first is one of the set.
    let end = 1 + inside.get(1..)?.iter().position(|byte| *byte == b']')?;
    let (mut members, after) = (&inside[..end], &inside[end + 1..]);
    let mut ranges = Vec::new();
    while let Some((&first, rest)) = members.split_first() {
        members = rest;
        let mut last = first;
        if let [b'-', end, rest @ ..] = members {
            last = *end;
            members = rest;
        }
        ranges.push((first, last));
    }
    Some((Part::Set(ranges, sense), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, name, want) in [
            ("*", "", true),
            ("*.txt", "a.txt", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[ab]x", "ax", true),
            ("[ab]x", "cx", false),
            ("[!ab]x", "cx", true),
            ("[^ab]x", "ax", false),
            ("[a-cx]*", "b9", true),
            ("[a-cx]*", "x9", true),
            ("[a-cx]*", "d9", false),
            ("[]a]", "]", true),
            ("[a-]", "-", true),
            ("[", "[", true),
            ("[a", "[a", true),
            ("[]", "[]", true),
            ("*[0-9][0-9].jpg", "cam-07.jpg", true),
            ("*[0-9][0-9].jpg", "cam-7.jpg", false),
            ("{a,b}", "a", false),
        ] {
            let fits = Pattern::new(pattern.as_bytes()).fits(name.as_bytes());
            assert_eq!(fits, want, "{pattern} {name}");
        }
    }

    #[test]
    fn the_time_is_bounded() {
        let pattern = Pattern::new(&[&b"[a-z]*".repeat(40)[..], b"[0-9]"].concat());
        assert!(!pattern.fits(&b"a".repeat(255)));
    }
}
