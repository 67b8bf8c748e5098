//! The formats of listings: `ls -l` for LIST, names for NLST, facts for MLSD
//! and MLST (RFC 3659, section 7). Written by hand into a byte buffer: with
//! 100,000 entries the formatting is the cost.

use super::columns::Columns;
use crate::auth::{Perms, Right};
use crate::config::ListTime;
use crate::storage::{FileKind, Metadata};
use crate::time::{Utc, seconds_of};

/// Files older than this show their year instead of the time, as ls does.
const RECENT: i64 = 182 * 86400;

/// What listings show of owner and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// The numbers.
    Numbers,
    /// `ftp`, so that strangers learn nothing about the machine.
    Hidden,
}

/// How lines of `ls -l` look.
#[derive(Debug, Clone)]
pub struct Style {
    /// What stands in the columns of owner and group.
    pub owners: Owners,
    /// Now, in seconds: what is older than half a year, or newer than now,
    /// shows its year, so that no client takes a wrong one.
    pub now: i64,
    /// The time zone.
    pub time: ListTime,
    /// Sizes in K, M and G.
    pub human: bool,
    /// A mark behind the name says what it is.
    pub mark: bool,
}

/// The mark of `ls -F`.
pub fn mark(metadata: &Metadata) -> &'static [u8] {
    match metadata.kind {
        FileKind::Directory => b"/",
        FileKind::Link => b"@",
        FileKind::File if metadata.mode & 0o111 != 0 => b"*",
        _ => b"",
    }
}

/// Appends one line of `ls -l`, with line end.
pub fn long_line(
    out: &mut Vec<u8>,
    name: &[u8],
    metadata: &Metadata,
    target: Option<&[u8]>,
    style: &Style,
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
    match style.owners {
        Owners::Numbers => {
            for id in [metadata.uid, metadata.gid] {
                columns.push(b' ');
                columns.left(id.into(), 8);
            }
        }
        Owners::Hidden => columns.put(b" ftp      ftp     "),
    }
    columns.push(b' ');
    if style.human {
        columns.human(metadata.size);
    } else {
        columns.number(metadata.size, 12);
    }
    let modified = seconds_of(metadata.modified);
    let moment = match &style.time {
        ListTime::Utc => modified,
        ListTime::Local => modified.saturating_add(crate::sys::local_offset(modified)),
        ListTime::Zone(zone) => modified.saturating_add(zone.offset(modified)),
    };
    let moment = Utc::from_seconds(moment);
    columns.push(b' ');
    columns.put(moment.month_name().as_bytes());
    columns.push(b' ');
    columns.number(moment.day.into(), 2);
    columns.push(b' ');
    if (style.now - RECENT..=style.now).contains(&modified) {
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
    } else if style.mark {
        out.extend_from_slice(mark(metadata));
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
pub enum ListedAs {
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
    owners: Owners,
    place: ListedAs,
    name: &[u8],
) {
    let mut columns = Columns::new();
    if facts.has(1) {
        columns.put(match (metadata.kind, place) {
            (FileKind::Directory, ListedAs::Current) => b"type=cdir;".as_slice(),
            (FileKind::Directory, ListedAs::Parent) => b"type=pdir;",
            (FileKind::Directory, ListedAs::Entry) => b"type=dir;",
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
        columns.put(&Utc::from(metadata.modified).digits());
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
    for (bit, fact, id) in [
        (1 << 6, b"UNIX.owner=", metadata.uid),
        (1 << 7, b"UNIX.group=", metadata.gid),
    ] {
        if facts.has(bit) {
            columns.put(fact);
            match owners {
                Owners::Numbers => columns.number(id.into(), 0),
                Owners::Hidden => columns.put(b"ftp"),
            }
            columns.push(b';');
        }
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
    use crate::time::after_1970;

    fn metadata(kind: FileKind) -> Metadata {
        let mut metadata = Metadata::new(kind, 1234);
        metadata.modified = after_1970(1_000_000_000, 0);
        metadata.uid = 1000;
        metadata.gid = 100;
        metadata.id = (1, 255);
        metadata
    }

    fn style(owners: Owners, now: i64) -> Style {
        Style {
            owners,
            now,
            time: ListTime::Utc,
            human: false,
            mark: false,
        }
    }

    fn long(kind: FileKind, target: Option<&[u8]>, owners: Owners, now: i64) -> String {
        let mut out = Vec::new();
        let style = style(owners, now);
        long_line(&mut out, b"a b\n", &metadata(kind), target, &style);
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

    #[test]
    fn a_year_stands_where_the_time_could_mislead() {
        const TIME: i64 = 1_000_000_000;
        for (now, year) in [
            (TIME - 1, true),
            (TIME, false),
            (TIME + RECENT, false),
            (TIME + RECENT + 1, true),
        ] {
            let line = long(FileKind::File, None, Owners::Hidden, now);
            assert_eq!(line.contains(" 2001 "), year, "{line}");
        }
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
    fn the_longest_columns_fit() {
        let mut most = Metadata::new(FileKind::Other, u64::MAX);
        (most.links, most.mode, most.modified) = (u64::MAX, 0o7777, after_1970(i64::MAX, 0));
        (most.uid, most.gid, most.id) = (u32::MAX, u32::MAX, (u64::MAX, u64::MAX));
        let mut out = Vec::new();
        let style = style(Owners::Numbers, i64::MIN / 2);
        long_line(&mut out, b"", &most, None, &style);
        let (all, perms) = (Facts::default(), Perms::ALL);
        let owners = Owners::Numbers;
        facts_line(&mut out, all, &most, perms, owners, ListedAs::Entry, b"");
        assert!(out.starts_with(b"srwxrwxrwx 18446744073709551615 4294967295 4294967295"));
        assert!(out.ends_with(b"UNIX.owner=4294967295;UNIX.group=4294967295; "));
    }

    #[test]
    fn facts_are_as_rfc_3659_says() {
        let line = |facts, kind, perms, place| {
            let mut out = Vec::new();
            let owners = Owners::Numbers;
            facts_line(
                &mut out,
                facts,
                &metadata(kind),
                perms,
                owners,
                place,
                b" x",
            );
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            line(
                Facts::default(),
                FileKind::File,
                Perms::READ_ONLY,
                ListedAs::Entry
            ),
            "type=file;size=1234;modify=20010909014640;perm=r;unique=1gff;UNIX.mode=0644;UNIX.owner=1000;UNIX.group=100;  x"
        );
        assert_eq!(
            line(
                Facts::parse(b"Type;perm;nonsense;"),
                FileKind::Directory,
                Perms::ALL,
                ListedAs::Current
            ),
            "type=cdir;perm=cdeflmp;  x"
        );
        assert_eq!(
            line(
                Facts::parse(b""),
                FileKind::File,
                Perms::ALL,
                ListedAs::Entry
            ),
            "  x"
        );
        assert_eq!(Facts::parse(b"size;type").names(), "type;size;");
        assert_eq!(
            Facts::parse(b"type").feat(),
            "MLST type*;size;modify;perm;unique;UNIX.mode;UNIX.owner;UNIX.group;"
        );
    }
}
