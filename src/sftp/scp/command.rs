//! The command line that starts the other end of scp, as clients send it: they
//! count on a shell. Quotes, backslashes, wildcards and `~` are understood as a
//! shell does; all that would run something is refused.

/// What a client has asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// `-t`: files come; else `-f`: files go.
    pub(super) receives: bool,
    /// `-r`
    pub(super) recursive: bool,
    /// `-p`: times and modes stay.
    pub(super) preserves: bool,
    /// `-d`: the target must be a directory.
    pub(super) into_directory: bool,
    pub(super) operands: Vec<Word>,
}

/// A word of the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) bytes: Vec<u8>,
    /// Where wildcards are that were not quoted.
    wild: Vec<usize>,
}

const NOT_SCP: &str = "this server runs no commands; it speaks SFTP and the protocol of scp\n";
const SHELL: &str = "this server has no shell; put the names of scp in quotes\n";
const USAGE: &str = "scp -t or -f, with -r, -p and -d, is all that is understood\n";

impl Command {
    /// Reads a command line; the error is for the person who sent it.
    pub(super) fn parse(line: &[u8]) -> Result<Command, &'static str> {
        let program = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        if program.rsplit(|byte| *byte == b'/').next() != Some(b"scp") {
            return Err(NOT_SCP);
        }
        let mut words = split(line)?.into_iter().skip(1).peekable();
        let (mut receives, mut sends) = (false, false);
        let mut command = Command {
            receives: false,
            recursive: false,
            preserves: false,
            into_directory: false,
            operands: Vec::new(),
        };
        while let Some(flags) = words.next_if(|word| word.is_flags()) {
            if flags.bytes == b"--" {
                break;
            }
            for flag in &flags.bytes[1..] {
                match flag {
                    b't' => receives = true,
                    b'f' => sends = true,
                    b'r' => command.recursive = true,
                    b'p' => command.preserves = true,
                    b'd' => command.into_directory = true,
                    // Verbose and quiet.
                    b'v' | b'q' => {}
                    _ => return Err(USAGE),
                }
            }
        }
        command.receives = receives;
        command.operands = words.collect();
        match (receives != sends, command.operands.len()) {
            (true, 1) => Ok(command),
            (true, 2..) if sends => Ok(command),
            (true, 2..) => Err("the target of scp is several words; put it in quotes\n"),
            _ => Err(USAGE),
        }
    }
}

impl Word {
    fn is_flags(&self) -> bool {
        self.bytes.len() > 1 && self.bytes[0] == b'-'
    }

    /// The parts between slashes: as patterns of [`Pattern`] where they have
    /// wildcards.
    ///
    /// [`Pattern`]: crate::storage::pattern::Pattern
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let mut at = 0;
        self.bytes.split(|byte| *byte == b'/').map(move |part| {
            let places = at..at + part.len();
            at = places.end + 1;
            if !self.wild.iter().any(|place| places.contains(place)) {
                return Part::Name(part);
            }
            let mut pattern = Vec::new();
            for (place, byte) in places.zip(part) {
                if matches!(byte, b'*' | b'?' | b'[') && !self.wild.contains(&place) {
                    pattern.extend([b'[', *byte, b']']);
                } else {
                    pattern.push(*byte);
                }
            }
            Part::Pattern(pattern)
        })
    }

    /// Whether names have to be looked for.
    pub(super) fn is_pattern(&self) -> bool {
        !self.wild.is_empty()
    }
}

/// What stands between two slashes.
pub(super) enum Part<'a> {
    Name(&'a [u8]),
    Pattern(Vec<u8>),
}

/// Splits into words as a shell does.
fn split(line: &[u8]) -> Result<Vec<Word>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = None;
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (Some(open), _) if byte == open => quote = None,
            (Some(b'\''), _) => word.get_or_insert_default().bytes.push(byte),
            (_, b'$' | b'`') => return Err(SHELL),
            (Some(_), b'\\') => {
                let next = bytes.next().ok_or(SHELL)?;
                let word = word.get_or_insert_default();
                if !matches!(next, b'$' | b'`' | b'"' | b'\\') {
                    word.bytes.push(byte);
                }
                word.bytes.push(next);
            }
            (Some(_), _) => word.get_or_insert_default().bytes.push(byte),
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (None, b'\\') => {
                let next = bytes.next().ok_or(SHELL)?;
                word.get_or_insert_default().bytes.push(next);
            }
            (None, b' ' | b'\t') => words.extend(word.take()),
            (None, b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')' | b'\n' | 0) => {
                return Err(SHELL);
            }
            // The home is where relative paths begin.
            (None, b'~') if word.is_none() => match bytes.peek() {
                Some(b'/') => {
                    bytes.next();
                    word.get_or_insert_default();
                }
                None | Some(b' ' | b'\t') => word = Some(Word::of(b".")),
                Some(_) => word = Some(Word::of(b"~")),
            },
            (None, _) => {
                let word = word.get_or_insert_default();
                if matches!(byte, b'*' | b'?' | b'[') {
                    word.wild.push(word.bytes.len());
                }
                word.bytes.push(byte);
            }
        }
    }
    words.extend(word);
    match quote {
        None => Ok(words),
        Some(_) => Err(SHELL),
    }
}

impl Word {
    fn of(bytes: &[u8]) -> Word {
        Word {
            bytes: bytes.to_vec(),
            wild: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operands(line: &str) -> Result<Vec<String>, &'static str> {
        let text = |word: &Word| String::from_utf8(word.bytes.clone()).unwrap();
        Command::parse(line.as_bytes()).map(|command| command.operands.iter().map(text).collect())
    }

    #[test]
    fn names_are_what_a_shell_would_make_of_them() {
        for (line, want) in [
            ("scp -t plain", &["plain"][..]),
            ("scp -t -- -odd", &["-odd"]),
            ("scp -f a b", &["a", "b"]),
            ("scp -f 'a b'", &["a b"]),
            ("scp -f a\\ b", &["a b"]),
            ("scp -f \"a b\"c", &["a bc"]),
            ("scp -f 'it'\"'\"'s'", &["it's"]),
            ("scp -f \"a\\\"b\\n\"", &["a\"b\\n"]),
            ("scp -f '$HOME;`x`'", &["$HOME;`x`"]),
            ("scp -f ~", &["."]),
            ("scp -f ~/x", &["x"]),
            ("scp -f ~ann", &["~ann"]),
            ("scp -f a~", &["a~"]),
            ("scp -t ''", &[""]),
            ("scp -t -", &["-"]),
            ("/usr/bin/scp -v -r -p -d -t x", &["x"]),
            ("scp -qrtp x", &["x"]),
        ] {
            assert_eq!(operands(line).unwrap(), want, "{line}");
        }
    }

    /// SECURITY: nothing that a shell would run is run, nor taken for a name.
    #[test]
    fn everything_else_is_refused() {
        for line in [
            "",
            "ls",
            "scp",
            "scp -t",
            "scp -f",
            "scp -t -f x",
            "scp x",
            "scp -t a b",
            "scp -S id -t x",
            "scp --help",
            "scp -t x;id",
            "scp -t x&id",
            "scp -t x|id",
            "scp -t `id`",
            "scp -t $(id)",
            "scp -t \"$(id)\"",
            "scp -t \"`id`\"",
            "scp -t x>y",
            "scp -t <x",
            "scp -t x\nid",
            "scp -t 'x",
            "scp -t \"x",
            "scp -t x\\",
            "scp -t (x)",
            "scpx -t x",
            "/bin/sh -c scp",
            "sh -c 'scp -t x'",
            " scp -t x",
            "scp\t-t x",
            "scp\0 -t x",
            "scp -t x\0",
        ] {
            assert!(operands(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn only_bare_wildcards_are_patterns() {
        for (word, want) in [
            ("a*", &[Some("a*")][..]),
            ("'a*'", &[None]),
            ("'*'*", &[Some("[*]*")]),
            ("\\[x?", &[Some("[[]x?")]),
            ("d/*.txt", &[None, Some("*.txt")]),
            ("*/'?'", &[Some("*"), None]),
        ] {
            let line = format!("scp -f {word}");
            let command = Command::parse(line.as_bytes()).unwrap();
            let patterns = command.operands[0].parts().map(|part| match part {
                Part::Name(_) => None,
                Part::Pattern(pattern) => Some(String::from_utf8(pattern).unwrap()),
            });
            let got: Vec<_> = patterns.collect();
            let got: Vec<_> = got.iter().map(Option::as_deref).collect();
            assert_eq!(got, want, "{word}");
        }
    }
}
