//! The formats of listings: `ls -l` for LIST, names for NLST, facts for MLSD
//! and MLST (RFC 3659, section 7). Written by hand into a byte buffer: with
//! 100,000 entries the formatting is the cost.

use crate::auth::{Perms, Right};
use crate::storage::{FileKind, Metadata};
use crate::time::Utc;

/// Files older than this show their year instead of the time, as ls does.
const RECENT: i64 = 182 * 86400;

/// What LIST shows in the columns of owner and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// The numbers.
    Numbers,
    /// `ftp`, so that strangers learn nothing about the machine.
    Hidden,
}

/// What stands before the name. Its length is bounded, so it is gathered on the
/// stack: to grow a `Vec` by each of two dozen pieces was a third of the work.
struct Columns {
    text: [u8; Columns::MOST],
    length: usize,
}

impl Columns {
    /// All facts, with the longest numbers.
    const MOST: usize = 256;

    fn new() -> Self {
        Columns {
            text: [0; Columns::MOST],
            length: 0,
        }
    }

    // In place, a piece whose length the compiler knows is a few moves.
    #[inline(always)]
    fn put(&mut self, piece: &[u8]) {
        self.text[self.length..][..piece.len()].copy_from_slice(piece);
        self.length += piece.len();
    }

    fn push(&mut self, byte: u8) {
        self.text[self.length] = byte;
        self.length += 1;
    }

    /// Right-aligned in `width` columns, at most 20.
    fn number(&mut self, mut number: u64, width: usize) {
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

    fn hexadecimal(&mut self, number: u64) {
        let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
        for at in (0..digits).rev() {
            self.push(b"0123456789abcdef"[(number >> (4 * at) & 15) as usize]);
        }
    }

    fn octal(&mut self, mode: u32) {
        self.push(b'0');
        for shift in [9, 6, 3, 0] {
            let digit = (mode >> shift & 7) as u8;
            if shift != 9 || digit != 0 {
                self.push(b'0' + digit);
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

/// Appends one line of `ls -l`, with line end. `now` is in seconds.
pub fn long_line(
    out: &mut Vec<u8>,
    name: &[u8],
    metadata: &Metadata,
    target: Option<&[u8]>,
    owners: Owners,
    now: i64,
) {
    let mut columns = Columns::new();
    columns.push(match metadata.kind {
        FileKind::File => b'-',
        FileKind::Directory => b'd',
        FileKind::Link => b'l',
        FileKind::Other => b's',
    });
    for (bit, letter) in (0..9).rev().zip(b"rwxrwxrwx") {
        columns.push(match metadata.mode >> bit & 1 {
            0 => b'-',
            _ => *letter,
        });
    }
    columns.push(b' ');
    columns.number(metadata.links, 4);
    match owners {
        Owners::Numbers => {
            for id in [metadata.uid, metadata.gid] {
                columns.push(b' ');
                let end = columns.length + 8;
                columns.number(id.into(), 0);
                while columns.length < end {
                    columns.push(b' ');
                }
            }
        }
        Owners::Hidden => columns.put(b" ftp      ftp     "),
    }
    columns.push(b' ');
    columns.number(metadata.size, 12);
    let moment = Utc::from_seconds(metadata.modified);
    columns.push(b' ');
    columns.put(moment.month_name().as_bytes());
    columns.push(b' ');
    columns.number(moment.day.into(), 2);
    columns.push(b' ');
    if (now - RECENT..=now + 86400).contains(&metadata.modified) {
        let digits = moment.digits();
        columns.put(&digits[8..10]);
        columns.push(b':');
        columns.put(&digits[10..12]);
    } else {
        columns.number(moment.year.into(), 5);
    }
    columns.push(b' ');
    out.extend_from_slice(columns.as_bytes());
    printable(out, name);
    if let Some(target) = target {
        out.extend_from_slice(b" -> ");
        printable(out, target);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a name with its line end.
pub fn name_line(out: &mut Vec<u8>, prefix: &[u8], name: &[u8]) {
    out.reserve(prefix.len() + name.len() + 2);
    if !prefix.is_empty() {
        printable(out, prefix);
    }
    printable(out, name);
    out.extend_from_slice(b"\r\n");
}

/// Appends a name in which no byte can end or hide a line (design decision 10).
pub fn printable(out: &mut Vec<u8>, name: &[u8]) {
    let start = out.len();
    out.extend_from_slice(name);
    // Eight bytes at once: hardly any name needs a closer look.
    let (words, rest) = name.as_chunks::<8>();
    if words.iter().any(|word| may_have_control(*word)) || may_have_control(padded(rest)) {
        for byte in &mut out[start..] {
            if *byte < b' ' || *byte == 0x7f {
                *byte = b'?';
            }
        }
    }
}

fn padded(rest: &[u8]) -> [u8; 8] {
    let mut word = [b' '; 8];
    word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    word
}

/// Whether one of the bytes is a control character: never no when there is
/// one, and rarely yes when there is none.
fn may_have_control(word: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // Subtracting borrows into the high bit of a byte that is too small; a
    // borrow from below can only add such bits.
    let below = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word & HIGH;
    let word = u64::from_ne_bytes(word);
    let deleted = word ^ (ONES * 0x7f);
    below(word, b' ') | below(deleted, 1) != 0
}

/// The facts that MLSD and MLST know, in the order in which they show them.
const FACTS: [(&str, u8); 8] = [
    ("type", 1 << 0),
    ("size", 1 << 1),
    ("modify", 1 << 2),
    ("perm", 1 << 3),
    ("unique", 1 << 4),
    ("UNIX.mode", 1 << 5),
    ("UNIX.owner", 1 << 6),
    ("UNIX.group", 1 << 7),
];

/// A selection of facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts(u8);

impl Default for Facts {
    fn default() -> Self {
        Facts(0xff)
    }
}

impl Facts {
    /// The known ones among `names`, separated by `;` (OPTS MLST).
    pub fn parse(names: &[u8]) -> Facts {
        let wanted = |name: &str| {
            names
                .split(|byte| *byte == b';')
                .any(|wanted| wanted.eq_ignore_ascii_case(name.as_bytes()))
        };
        Facts(
            FACTS
                .iter()
                .filter(|(name, _)| wanted(name))
                .fold(0, |facts, (_, bit)| facts | bit),
        )
    }

    /// Those of them that a name and a kind tell.
    pub fn of_unknown(self) -> Facts {
        Facts(self.0 & (1 | 1 << 3))
    }

    /// The selected names, each with `;` behind it.
    pub fn names(self) -> String {
        FACTS
            .iter()
            .filter(|(_, bit)| self.has(*bit))
            .fold(String::new(), |text, (name, _)| text + name + ";")
    }

    /// The line of FEAT: every fact, the selected ones marked with `*`.
    pub fn feat(self) -> String {
        FACTS.iter().fold("MLST ".to_string(), |text, (name, bit)| {
            text + name + if self.has(*bit) { "*;" } else { ";" }
        })
    }

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

/// What a directory entry is to its listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// An entry.
    Entry,
    /// The listed directory itself.
    Current,
    /// The directory above.
    Parent,
}

/// Appends the selected facts of one entry, a blank, and its name; no line end.
pub fn facts_line(
    out: &mut Vec<u8>,
    facts: Facts,
    metadata: &Metadata,
    perms: Perms,
    place: Place,
    name: &[u8],
) {
    let mut columns = Columns::new();
    if facts.has(1) {
        columns.put(match (metadata.kind, place) {
            (FileKind::Directory, Place::Current) => b"type=cdir;".as_slice(),
            (FileKind::Directory, Place::Parent) => b"type=pdir;",
            (FileKind::Directory, Place::Entry) => b"type=dir;",
            (FileKind::File, _) => b"type=file;",
            (FileKind::Link, _) => b"type=OS.unix=symlink;",
            (FileKind::Other, _) => b"type=OS.unix=special;",
        });
    }
    if !metadata.is_dir() && facts.has(1 << 1) {
        columns.put(b"size=");
        columns.number(metadata.size, 0);
        columns.push(b';');
    }
    if facts.has(1 << 2) {
        columns.put(b"modify=");
        columns.put(&Utc::from_seconds(metadata.modified).digits());
        columns.push(b';');
    }
    if facts.has(1 << 3) {
        columns.put(b"perm=");
        perm(&mut columns, metadata.kind, perms);
        columns.push(b';');
    }
    if facts.has(1 << 4) {
        columns.put(b"unique=");
        columns.hexadecimal(metadata.id.0);
        columns.push(b'g');
        columns.hexadecimal(metadata.id.1);
        columns.push(b';');
    }
    if facts.has(1 << 5) {
        columns.put(b"UNIX.mode=");
        columns.octal(metadata.mode);
        columns.push(b';');
    }
    if facts.has(1 << 6) {
        columns.put(b"UNIX.owner=");
        columns.number(metadata.uid.into(), 0);
        columns.push(b';');
    }
    if facts.has(1 << 7) {
        columns.put(b"UNIX.group=");
        columns.number(metadata.gid.into(), 0);
        columns.push(b';');
    }
    columns.push(b' ');
    out.extend_from_slice(columns.as_bytes());
    printable(out, name);
}

/// The letters of RFC 3659, section 7.5.5, from the user's rights.
fn perm(columns: &mut Columns, kind: FileKind, perms: Perms) {
    let letters: &[(u8, Right)] = match kind {
        FileKind::Directory => &[
            (b'c', Right::Write),
            (b'd', Right::Delete),
            (b'e', Right::Enter),
            (b'f', Right::Rename),
            (b'l', Right::List),
            (b'm', Right::MakeDir),
            (b'p', Right::Delete),
        ],
        _ => &[
            (b'a', Right::Append),
            (b'd', Right::Delete),
            (b'f', Right::Rename),
            (b'r', Right::Read),
            (b'w', Right::Write),
        ],
    };
    for (letter, right) in letters {
        if perms.has(*right) {
            columns.push(*letter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(kind: FileKind) -> Metadata {
        let mut metadata = Metadata::new(kind, 1234);
        metadata.modified = 1_000_000_000;
        metadata.uid = 1000;
        metadata.gid = 100;
        metadata.id = (1, 255);
        metadata
    }

    fn long(kind: FileKind, target: Option<&[u8]>, owners: Owners, now: i64) -> String {
        let mut out = Vec::new();
        long_line(&mut out, b"a b\n", &metadata(kind), target, owners, now);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn long_lines_look_like_ls() {
        assert_eq!(
            long(FileKind::File, None, Owners::Numbers, 1_000_000_100),
            "-rw-r--r--    1 1000     100              1234 Sep  9 01:46 a b?\r\n"
        );
        assert_eq!(
            long(FileKind::Link, Some(b"t"), Owners::Hidden, 2_000_000_000),
            "lrw-r--r--    1 ftp      ftp              1234 Sep  9  2001 a b? -> t\r\n"
        );
    }

    /// The look at eight bytes at once finds what a look at each one finds.
    #[test]
    fn no_control_character_is_overlooked() {
        // Miri sees the same ways with a few of the bytes.
        let step = if cfg!(miri) { 31 } else { 1 };
        for length in [1, 7, 8, 9, 16, 23] {
            for at in 0..length {
                for byte in (0..=255u8).step_by(step) {
                    for around in [b'a', b' ', 0x80, 0xff, 0x7e] {
                        let mut name = vec![around; length];
                        name[at] = byte;
                        let mut want = b"x".to_vec();
                        want.extend(name.iter().map(|byte| match byte {
                            0..b' ' | 0x7f => b'?',
                            byte => *byte,
                        }));
                        let mut out = b"x".to_vec();
                        printable(&mut out, &name);
                        assert_eq!(out, want);
                    }
                }
            }
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

    #[test]
    fn the_longest_columns_fit() {
        let mut most = Metadata::new(FileKind::Other, u64::MAX);
        (most.links, most.mode, most.modified) = (u64::MAX, 0o7777, i64::MAX);
        (most.uid, most.gid, most.id) = (u32::MAX, u32::MAX, (u64::MAX, u64::MAX));
        let mut out = Vec::new();
        long_line(&mut out, b"", &most, None, Owners::Numbers, i64::MIN / 2);
        let (all, perms) = (Facts::default(), Perms::ALL);
        facts_line(&mut out, all, &most, perms, Place::Entry, b"");
        assert!(out.starts_with(b"srwxrwxrwx 18446744073709551615 4294967295 4294967295"));
        assert!(out.ends_with(b"UNIX.owner=4294967295;UNIX.group=4294967295; "));
    }

    #[test]
    fn facts_are_as_rfc_3659_says() {
        let line = |facts, kind, perms, place| {
            let mut out = Vec::new();
            facts_line(&mut out, facts, &metadata(kind), perms, place, b" x");
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            line(
                Facts::default(),
                FileKind::File,
                Perms::READ_ONLY,
                Place::Entry
            ),
            "type=file;size=1234;modify=20010909014640;perm=r;unique=1gff;UNIX.mode=0644;UNIX.owner=1000;UNIX.group=100;  x"
        );
        assert_eq!(
            line(
                Facts::parse(b"Type;perm;nonsense;"),
                FileKind::Directory,
                Perms::ALL,
                Place::Current
            ),
            "type=cdir;perm=cdeflmp;  x"
        );
        assert_eq!(
            line(Facts::parse(b""), FileKind::File, Perms::ALL, Place::Entry),
            "  x"
        );
        assert_eq!(Facts::parse(b"size;type").names(), "type;size;");
        assert_eq!(
            Facts::parse(b"type").feat(),
            "MLST type*;size;modify;perm;unique;UNIX.mode;UNIX.owner;UNIX.group;"
        );
    }
}
