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

/// Appends one line of `ls -l`, with line end. `now` is in seconds.
pub fn long_line(
    out: &mut Vec<u8>,
    name: &[u8],
    metadata: &Metadata,
    target: Option<&[u8]>,
    owners: Owners,
    now: i64,
) {
    out.push(match metadata.kind {
        FileKind::File => b'-',
        FileKind::Directory => b'd',
        FileKind::Link => b'l',
        FileKind::Other => b's',
    });
    let bit = |bit: u32, letter: u8| {
        if metadata.mode & bit != 0 {
            letter
        } else {
            b'-'
        }
    };
    for shift in [6, 3, 0] {
        out.extend_from_slice(&[
            bit(4 << shift, b'r'),
            bit(2 << shift, b'w'),
            bit(1 << shift, b'x'),
        ]);
    }
    out.push(b' ');
    number(out, metadata.links, 4);
    for id in [metadata.uid, metadata.gid] {
        out.push(b' ');
        match owners {
            Owners::Numbers => {
                let start = out.len();
                number(out, id.into(), 0);
                pad(out, start, 8);
            }
            Owners::Hidden => out.extend_from_slice(b"ftp     "),
        }
    }
    out.push(b' ');
    number(out, metadata.size, 12);
    let moment = Utc::from_seconds(metadata.modified);
    out.push(b' ');
    out.extend_from_slice(moment.month_name().as_bytes());
    out.push(b' ');
    number(out, moment.day.into(), 2);
    out.push(b' ');
    if (now - RECENT..=now + 86400).contains(&metadata.modified) {
        digits2(out, moment.hour);
        out.push(b':');
        digits2(out, moment.minute);
    } else {
        out.push(b' ');
        number(out, moment.year.into(), 4);
    }
    out.push(b' ');
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

fn number(out: &mut Vec<u8>, mut number: u64, width: usize) {
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
    out.extend_from_slice(&text[at.min(text.len() - width)..]);
}

fn hexadecimal(out: &mut Vec<u8>, number: u64) {
    let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(number >> (4 * at) & 15) as usize]);
    }
}

fn octal(out: &mut Vec<u8>, mode: u32) {
    out.push(b'0');
    for shift in [9, 6, 3, 0] {
        let digit = (mode >> shift & 7) as u8;
        if shift != 9 || digit != 0 {
            out.push(b'0' + digit);
        }
    }
}

fn digits2(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&[b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]);
}

fn pad(out: &mut Vec<u8>, start: usize, width: usize) {
    while out.len() < start + width {
        out.push(b' ');
    }
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
    let fact = |out: &mut Vec<u8>, bit: u8, name: &str| {
        let has = facts.has(bit);
        if has {
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
        }
        has
    };
    if fact(out, 1, "type") {
        out.extend_from_slice(match (metadata.kind, place) {
            (FileKind::Directory, Place::Current) => b"cdir;".as_slice(),
            (FileKind::Directory, Place::Parent) => b"pdir;",
            (FileKind::Directory, Place::Entry) => b"dir;",
            (FileKind::File, _) => b"file;",
            (FileKind::Link, _) => b"OS.unix=symlink;",
            (FileKind::Other, _) => b"OS.unix=special;",
        });
    }
    if !metadata.is_dir() && fact(out, 1 << 1, "size") {
        number(out, metadata.size, 0);
        out.push(b';');
    }
    if fact(out, 1 << 2, "modify") {
        out.extend_from_slice(&Utc::from_seconds(metadata.modified).digits());
        out.push(b';');
    }
    if fact(out, 1 << 3, "perm") {
        perm(out, metadata.kind, perms);
        out.push(b';');
    }
    if fact(out, 1 << 4, "unique") {
        hexadecimal(out, metadata.id.0);
        out.push(b'g');
        hexadecimal(out, metadata.id.1);
        out.push(b';');
    }
    if fact(out, 1 << 5, "UNIX.mode") {
        octal(out, metadata.mode);
        out.push(b';');
    }
    if fact(out, 1 << 6, "UNIX.owner") {
        number(out, metadata.uid.into(), 0);
        out.push(b';');
    }
    if fact(out, 1 << 7, "UNIX.group") {
        number(out, metadata.gid.into(), 0);
        out.push(b';');
    }
    out.push(b' ');
    printable(out, name);
}

/// The letters of RFC 3659, section 7.5.5, from the user's rights.
fn perm(out: &mut Vec<u8>, kind: FileKind, perms: Perms) {
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
    out.extend(
        letters
            .iter()
            .filter(|(_, right)| perms.has(*right))
            .map(|(letter, _)| letter),
    );
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
            let mut out = Vec::new();
            hexadecimal(&mut out, number);
            assert_eq!(out, format!("{number:x}").as_bytes());
        }
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
