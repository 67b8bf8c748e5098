//! Writing JSON (RFC 8259): only strings need care.

/// `text` as a JSON string. Control characters and the separators that
/// JavaScript takes for line ends are escaped, so that an object stays a line.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            character if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\u{:04x}", character as u32));
            }
            character => out.push(character),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted() {
        for (text, want) in [
            ("", "\"\""),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\x00\x1f\u{7f}\u{2028}", r#""\u0000\u001f\u007f\u2028""#),
            ("größe", "\"größe\""),
        ] {
            assert_eq!(quoted(text), want);
        }
    }
}
