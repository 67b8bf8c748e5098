//! One line of the users' file changed, all others kept to the byte. Pure.

use wharf::daemon::user_file::{Mistake, parse_line};

/// What is done to a user's line.
#[derive(Debug, Default)]
pub struct Change {
    /// The new hash; `None` keeps the old one.
    pub hash: Option<HashChange>,
    /// The new home, as the file has it.
    pub home: Option<Vec<u8>>,
    /// The new rights.
    pub rights: Option<String>,
    /// The new options, all of them.
    pub options: Option<String>,
}

/// What is done to the hash.
#[derive(Debug)]
pub enum HashChange {
    /// This one takes its place.
    Set(String),
    /// A `!` is put before it: the user can't log in.
    Lock,
    /// The `!` before it is taken away.
    Unlock,
}

/// Whether a line for `name` was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// The line has been changed.
    Changed,
    /// A line has been added at the end.
    Added,
}

/// Whether the file has a line for `name`.
pub fn has(text: &[u8], name: &str) -> bool {
    lines(text).any(|line| line.is_of(name))
}

/// The text with the change made. A user who is not there is added; the
/// change must then say everything but the options.
///
/// # Errors
/// What is wrong, for the terminal.
pub fn changed(text: &[u8], name: &str, change: &Change) -> Result<(Vec<u8>, Done), String> {
    if name.starts_with('#') || name.contains([':', '\n']) {
        return Err(format!(
            "'{}' can't be the name of a user",
            name.escape_debug()
        ));
    }
    let mut result = Vec::with_capacity(text.len() + 256);
    let mut done = None;
    for line in lines(text) {
        if !line.is_of(name) {
            result.extend_from_slice(line.whole);
            continue;
        }
        if done.replace(Done::Changed).is_some() {
            return Err(format!("the user '{name}' stands twice in the file"));
        }
        let (mark, body, end) = line.parts();
        result.extend_from_slice(mark);
        let new = changed_line(body, name, change)?;
        result.extend_from_slice(&new);
        result.extend_from_slice(end);
    }
    if done.is_none() {
        // The last line of a file may lack its end; the new one must not join it.
        let end: &[u8] = if text.ends_with(b"\n") || text.is_empty() {
            b""
        } else {
            b"\n"
        };
        result.extend_from_slice(end);
        let empty = [name.as_bytes(), b"::::"].concat();
        result.extend_from_slice(&changed_line(&empty, name, change)?);
        result.push(b'\n');
    }
    Ok((result, done.unwrap_or(Done::Added)))
}

/// The text without the lines of `name`; `None` if there are none.
pub fn without(text: &[u8], name: &str) -> Option<Vec<u8>> {
    has(text, name).then(|| {
        let kept = lines(text).filter(|line| !line.is_of(name));
        kept.flat_map(|line| line.whole.iter().copied()).collect()
    })
}

fn changed_line(body: &[u8], name: &str, change: &Change) -> Result<Vec<u8>, String> {
    let mut fields: Vec<&[u8]> = body.splitn(5, |&byte| byte == b':').collect();
    let had = fields.len();
    fields.resize(5, b"");
    let hash: Vec<u8> = match &change.hash {
        None => fields[1].to_vec(),
        Some(HashChange::Set(hash)) => hash.clone().into_bytes(),
        Some(HashChange::Lock) if fields[1].starts_with(b"!") => fields[1].to_vec(),
        Some(HashChange::Lock) => [b"!", fields[1]].concat(),
        Some(HashChange::Unlock) => match fields[1].strip_prefix(b"!") {
            // A bare `!` hides no hash: nothing would be left to log in with.
            Some(b"") => return Err(format!("'{name}' has no password; set one")),
            Some(rest) => rest.to_vec(),
            None => fields[1].to_vec(),
        },
    };
    fields[1] = &hash;
    if let Some(home) = &change.home {
        fields[2] = home;
    }
    if let Some(rights) = &change.rights {
        fields[3] = rights.as_bytes();
    }
    if let Some(options) = &change.options {
        fields[4] = options.as_bytes();
    }
    // A line that was written with four fields stays so.
    if fields[4].is_empty() && had < 5 || change.options.as_deref() == Some("") {
        fields.pop();
    }
    let line = fields.join(&b':');
    if line.contains(&b'\n') {
        return Err("a line feed can't be in a line".into());
    }
    let mut mistakes = Vec::new();
    match parse_line(&line, 2, &mut mistakes) {
        Some(_) => Ok(line),
        None => Err(texts(&mistakes)),
    }
}

fn texts(mistakes: &[Mistake]) -> String {
    let texts: Vec<_> = mistakes.iter().map(|one| one.message.as_str()).collect();
    texts.join("; ")
}

/// A line with its end.
struct Line<'a> {
    whole: &'a [u8],
    first: bool,
}

fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    text.split_inclusive(|&byte| byte == b'\n')
        .enumerate()
        .map(|(index, whole)| Line {
            whole,
            first: index == 0,
        })
}

impl<'a> Line<'a> {
    /// Byte order mark, fields, and how the line ends.
    fn parts(&self) -> (&'a [u8], &'a [u8], &'a [u8]) {
        let mark = if self.first && self.whole.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        let body = &self.whole[mark..];
        let body = body.strip_suffix(b"\n").unwrap_or(body);
        let body = body.strip_suffix(b"\r").unwrap_or(body);
        (&self.whole[..mark], body, &self.whole[mark + body.len()..])
    }

    fn is_of(&self, name: &str) -> bool {
        let (_, body, _) = self.parts();
        body.strip_prefix(name.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&b':'))
            && !body.starts_with(b"#")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(hash: HashChange) -> Change {
        Change {
            hash: Some(hash),
            ..Change::default()
        }
    }

    fn none() -> HashChange {
        HashChange::Set("*".into())
    }

    #[test]
    fn other_lines_are_kept_to_the_byte() {
        let others_before: &[u8] = b"\xef\xbb\xbf# users\r\n\n  \nbroken line \xff\r\n";
        let others_after: &[u8] = b"annabel:*:/:elr\n#ann:*:/:\nlast:*:/:elr";
        let text = [
            others_before,
            b"ann:!:/home:elr:tls=required\r\n",
            others_after,
        ]
        .concat();
        let (result, done) = changed(&text, "ann", &change(none())).unwrap();
        let want = [
            others_before,
            b"ann:*:/home:elr:tls=required\r\n",
            others_after,
        ]
        .concat();
        assert_eq!(result, want);
        assert_eq!(done, Done::Changed);
        assert_eq!(
            without(&text, "ann").unwrap(),
            [others_before, others_after].concat()
        );
        assert_eq!(without(&text, "nobody"), None);
    }

    #[test]
    fn a_new_user_stands_at_the_end_on_a_line_of_their_own() {
        let new = Change {
            hash: Some(none()),
            home: Some(b"/srv/new".to_vec()),
            rights: Some("elr".into()),
            options: None,
        };
        for (text, want) in [
            ("", "new:*:/srv/new:elr:\n"),
            ("ann:*:/:", "ann:*:/:\nnew:*:/srv/new:elr:\n"),
            ("ann:*:/:\n", "ann:*:/:\nnew:*:/srv/new:elr:\n"),
        ] {
            let (result, done) = changed(text.as_bytes(), "new", &new).unwrap();
            assert_eq!(String::from_utf8(result).unwrap(), want);
            assert_eq!(done, Done::Added);
        }
    }

    #[test]
    fn locks_are_put_on_and_taken_off() {
        let text = b"ann:*:/:elr\n";
        let (locked, _) = changed(text, "ann", &change(HashChange::Lock)).unwrap();
        assert_eq!(locked, b"ann:!*:/:elr\n");
        let (twice, _) = changed(&locked, "ann", &change(HashChange::Lock)).unwrap();
        assert_eq!(twice, locked);
        let (open, _) = changed(&locked, "ann", &change(HashChange::Unlock)).unwrap();
        assert_eq!(open, text);
        assert!(changed(b"ann:!:/:elr\n", "ann", &change(HashChange::Unlock)).is_err());
    }

    #[test]
    fn what_the_server_would_refuse_is_not_written() {
        let home = |home: &[u8]| Change {
            home: Some(home.to_vec()),
            ..change(none())
        };
        for (name, change, part) in [
            ("ann", home(b"relative"), "begins with '/'"),
            ("a:b", home(b"/"), "can't be"),
            ("#a", home(b"/"), "can't be"),
            ("", home(b"/"), "expected a name"),
            ("a\nb", home(b"/"), "can't be"),
            ("a\tb", home(b"/"), "control"),
            ("ann", home(b"/\nx:*:/:"), "line feed"),
            ("twice", home(b"/"), "stands twice"),
        ] {
            let text = b"twice:*:/:\ntwice:*:/:\n";
            let error = changed(text, name, &change).unwrap_err();
            assert!(error.contains(part), "{name}: {error}");
        }
    }
}
