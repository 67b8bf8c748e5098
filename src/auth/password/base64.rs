//! The base-64 of crypt(3): 24 bits become four characters, the *lowest* six
//! bits first, in the order `./0-9A-Za-z`. (RFC 4648's base64 is another.)

/// Digit values in order.
pub(super) const ALPHABET: &[u8; 64] =
    b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Appends the lowest `6 * characters` bits of `value`.
pub(super) fn push(text: &mut String, mut value: u32, characters: usize) {
    for _ in 0..characters {
        text.push(char::from(ALPHABET[(value & 0x3f) as usize]));
        value >>= 6;
    }
}

/// The value of one character.
pub(super) fn value(character: u8) -> Option<u32> {
    match character {
        b'.' | b'/' => Some(u32::from(character - b'.')),
        b'0'..=b'9' => Some(u32::from(character - b'0') + 2),
        b'A'..=b'Z' => Some(u32::from(character - b'A') + 12),
        b'a'..=b'z' => Some(u32::from(character - b'a') + 38),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_has_its_value_and_nothing_else_has_one() {
        for byte in 0..=255u8 {
            let want = ALPHABET.iter().position(|&digit| digit == byte);
            assert_eq!(value(byte), want.map(|at| at as u32), "{byte}");
        }
        let mut text = String::new();
        push(&mut text, 0x3f | 1 << 6, 3);
        assert_eq!(text, "z/.");
    }
}
