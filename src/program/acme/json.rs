//! Reading JSON (RFC 8259), as far as ACME needs it: objects, lists and
//! strings. What is neither is kept as its letters.

/// How deep lists and objects may be within each other.
const DEPTH_MAX: u32 = 16;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Object(Vec<(String, Json)>),
    List(Vec<Json>),
    /// A string, or the letters of a number, of `true`, `false` or `null`.
    Text(String),
}

impl Json {
    /// The one value in a text.
    pub fn parse(text: &str) -> Option<Json> {
        let mut rest = text;
        let value = value(&mut rest, DEPTH_MAX)?;
        rest.trim().is_empty().then_some(value)
    }

    /// The field of an object.
    pub fn field(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(fields) => {
                let mut fields = fields.iter();
                Some(&fields.find(|(key, _)| key == name)?.1)
            }
            _ => None,
        }
    }

    /// The field of an object as text, empty without it.
    pub fn text(&self, name: &str) -> &str {
        match self.field(name) {
            Some(Json::Text(text)) => text,
            _ => "",
        }
    }

    /// The field of an object as a list, empty without it.
    pub fn list(&self, name: &str) -> &[Json] {
        match self.field(name) {
            Some(Json::List(list)) => list,
            _ => &[],
        }
    }
}

fn eat(rest: &mut &str, what: char) -> Option<()> {
    *rest = rest.trim_start().strip_prefix(what)?;
    Some(())
}

fn value(rest: &mut &str, depth: u32) -> Option<Json> {
    let below = depth.checked_sub(1)?;
    *rest = rest.trim_start();
    if eat(rest, '{').is_some() {
        let mut fields = Vec::new();
        items(rest, '}', |rest| {
            eat(rest, '"')?;
            let key = string(rest)?;
            eat(rest, ':')?;
            fields.push((key, value(rest, below)?));
            Some(())
        })?;
        Some(Json::Object(fields))
    } else if eat(rest, '[').is_some() {
        let mut list = Vec::new();
        items(rest, ']', |rest| {
            list.push(value(rest, below)?);
            Some(())
        })?;
        Some(Json::List(list))
    } else if eat(rest, '"').is_some() {
        string(rest).map(Json::Text)
    } else {
        let letter = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
        let end = rest.find(|other| !letter(other)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        *rest = after;
        (!word.is_empty()).then(|| Json::Text(word.into()))
    }
}

fn items(rest: &mut &str, end: char, mut item: impl FnMut(&mut &str) -> Option<()>) -> Option<()> {
    if eat(rest, end).is_some() {
        return Some(());
    }
    loop {
        item(rest)?;
        if eat(rest, end).is_some() {
            return Some(());
        }
        eat(rest, ',')?;
    }
}

/// The rest of a string, behind its first quote.
fn string(rest: &mut &str) -> Option<String> {
    let mut text = String::new();
    let mut letters = rest.char_indices();
    loop {
        let (at, letter) = letters.next()?;
        match letter {
            '"' => {
                *rest = &rest[at + 1..];
                return Some(text);
            }
            '\\' => match letters.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'b' | 'f' => text.push(' '),
                'u' => {
                    let digits: String = letters.by_ref().take(4).map(|(_, digit)| digit).collect();
                    let number = u32::from_str_radix(&digits, 16).ok()?;
                    // Half of a pair is only in texts for people.
                    text.push(char::from_u32(number).unwrap_or('?'));
                }
                other => text.push(other),
            },
            letter => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_authorities_say_is_read() {
        let text = "{\"status\": \"valid\",\n \"a\":[ {\"type\" : \"http-01\"}, {} ], \"b\\u0041\\\"\": true ,\"n\":-1.5e3,\"e\":[]}";
        let json = Json::parse(text).unwrap();
        assert_eq!(json.text("status"), "valid");
        assert_eq!(json.list("a")[0].text("type"), "http-01");
        assert_eq!(json.list("a").len(), 2);
        assert_eq!(json.text("bA\""), "true");
        assert_eq!(json.text("n"), "-1.5e3");
        assert!(json.list("e").is_empty() && json.text("none").is_empty());
        for wrong in [
            "",
            "{",
            "[1,",
            "{\"a\"}",
            "\"a",
            "{} x",
            "[,]",
            &"[".repeat(99),
        ] {
            assert_eq!(Json::parse(wrong), None, "{wrong}");
        }
    }
}
