//! The columns of a line of a listing, before the name: numbers written by
//! hand, because with 100,000 entries the formatting is the cost.

/// What stands before the name. Its length is bounded, so it is gathered on the
/// stack: to grow a `Vec` by each of two dozen pieces was a third of the work.
pub struct Columns {
    text: [u8; Columns::MOST],
    length: usize,
}

impl Columns {
    /// All facts, with the longest numbers.
    const MOST: usize = 256;

    pub fn new() -> Self {
        Columns {
            text: [0; Columns::MOST],
            length: 0,
        }
    }

    // In place, a piece whose length the compiler knows is a few moves.
    #[inline(always)]
    pub fn put(&mut self, piece: &[u8]) {
        self.text[self.length..][..piece.len()].copy_from_slice(piece);
        self.length += piece.len();
    }

    pub fn push(&mut self, byte: u8) {
        self.text[self.length] = byte;
        self.length += 1;
    }

    /// Right-aligned in `width` columns, at most 20.
    pub fn number(&mut self, mut number: u64, width: usize) {
        let mut text = [b' '; 20];
        let mut at = text.len();
        loop {
            at -= 1;
            text[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.put(&text[at.min(text.len() - width)..]);
    }

    /// Left-aligned in at least `width` columns.
    pub fn left(&mut self, number: u64, width: usize) {
        let end = self.length + width;
        self.number(number, 0);
        while self.length < end {
            self.push(b' ');
        }
    }

    /// A size as `ls -h` shows it, rounded up: 1023, 1.0K, 15M.
    pub fn human(&mut self, size: u64) {
        if size < 1024 {
            return self.number(size, 12);
        }
        let mut unit = 0;
        let mut tenths = u128::from(size) * 10;
        while tenths > 10_230 {
            tenths = tenths.div_ceil(1024);
            unit += 1;
        }
        let letter = b" KMGTPE"[unit.min(6)];
        if tenths < 100 {
            self.number((tenths / 10) as u64, 9);
            self.push(b'.');
            self.number((tenths % 10) as u64, 0);
        } else {
            self.number(tenths.div_ceil(10) as u64, 11);
        }
        self.push(letter);
    }

    pub fn hexadecimal(&mut self, number: u64) {
        let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
        for at in (0..digits).rev() {
            self.push(b"0123456789abcdef"[(number >> (4 * at) & 15) as usize]);
        }
    }

    pub fn octal(&mut self, mode: u32) {
        self.push(b'0');
        for shift in [9, 6, 3, 0] {
            let digit = (mode >> shift & 7) as u8;
            if shift != 9 || digit != 0 {
                self.push(b'0' + digit);
            }
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_where_they_are_asked_so() {
        for (size, want) in [
            (0, "           0"),
            (1023, "        1023"),
            (1024, "        1.0K"),
            (1025, "        1.1K"),
            (10_240, "         10K"),
            (1_048_575, "        1.0M"),
            (u64::MAX, "         16E"),
        ] {
            let mut columns = Columns::new();
            columns.human(size);
            assert_eq!(String::from_utf8_lossy(columns.as_bytes()), want, "{size}");
        }
    }

    #[test]
    fn numbers_are_written_whole() {
        for number in [0, 1, 15, 16, 255, 0x0123_4567_89ab_cdef, u64::MAX] {
            let mut columns = Columns::new();
            columns.hexadecimal(number);
            columns.number(number, 0);
            assert_eq!(columns.as_bytes(), format!("{number:x}{number}").as_bytes());
        }
    }
}
