//! Base64, for what is read without OpenSSL.

/// Decodes base64 with padding (RFC 4648, section 4).
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let bare = text
        .strip_suffix(b"==")
        .or_else(|| text.strip_suffix(b"="))
        .unwrap_or(text);
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for group in bare.chunks(4) {
        let mut bits: u32 = 0;
        for byte in group {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        // Two, three or four letters are one, two or three bytes.
        let missing = 4 - group.len() as u32;
        let bytes = (bits << (6 * missing)).to_be_bytes();
        out.extend_from_slice(bytes.get(1..4 - missing as usize)?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_strict_about_length_and_letters() {
        for (text, want) in [
            ("", None),
            ("Zg==", Some(&b"f"[..])),
            ("Zm8=", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("Zm9vYg==", Some(b"foob")),
            ("Zg=", None),
            ("Z===", None),
            ("Zm9", None),
            ("Zm_v", None),
        ] {
            assert_eq!(decode(text.as_bytes()).as_deref(), want, "{text}");
        }
    }
}
