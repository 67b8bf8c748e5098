//! The tree that is attacked, and the oracle: what may have changed and what
//! may have been heard, by the rights of each real place.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use wharf::auth::{Perms, Right};
use wharf::storage::VirtualPath;

use crate::common::TempDir;

/// Directories with rights of their own.
pub const RULES: &[(&str, &str)] = &[
    ("/secret", "none"),
    ("/pub/fixed", "read-only"),
    ("/in", "upload-only"),
    ("/box", "drop"),
];

/// A directory with the user's ordinary rights, and those of [`RULES`].
pub const PLACES: &[&str] = &["open", "secret", "pub/fixed", "in", "box"];

/// Every way to name the places and what is in them: by their own names,
/// through links, and the directories above.
pub fn aliases() -> Vec<String> {
    let mut all = Vec::new();
    for directory in [
        "/secret",
        "/to-secret",
        "/open/abs",
        "/open/../secret",
        "/open/winding",
        "/pub/fixed",
        "/open/fixed",
        "/in",
        "/to-in",
        "/box",
        "/open/box",
        "/open",
    ] {
        for name in ["", "/f", "/d", "/d/f", "/e", "/new"] {
            all.push(format!("{directory}{name}"));
        }
    }
    let others = [
        "/pub",
        "/open/file",
        "/open/new",
        "/open/up",
        "/open/up/f",
        "/open/text",
    ];
    all.extend(others.map(String::from));
    all
}

pub struct Tree {
    pub top: TempDir,
    pub default: Perms,
    /// Checksums of the contents of each place, as text and as bytes.
    pub sums: Vec<(usize, Vec<u8>)>,
    before: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    kind: char,
    content: Vec<u8>,
    mode: u32,
    modified: i64,
}

impl Tree {
    pub fn new(default: &str) -> Self {
        let mut tree = Tree {
            top: TempDir::new("oracle"),
            default: default.parse::<Perms>().unwrap(),
            sums: Vec::new(),
            before: BTreeMap::new(),
        };
        tree.build();
        tree.sums = crate::oracle::ftp::sums(&tree);
        tree
    }

    pub fn rules() -> Vec<(VirtualPath, Perms)> {
        RULES
            .iter()
            .map(|(path, rights)| {
                let path = VirtualPath::root().join(path.as_bytes()).unwrap();
                (path, rights.parse::<Perms>().unwrap())
            })
            .collect()
    }

    /// Makes everything as it was at first.
    fn build(&mut self) {
        for entry in std::fs::read_dir(&*self.top).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                std::fs::remove_dir_all(path).unwrap()
            } else {
                std::fs::remove_file(path).unwrap()
            }
        }
        for (number, place) in PLACES.iter().enumerate() {
            let directory = self.top.join(place);
            let mark = mark(place);
            for name in ["d", "e"] {
                std::fs::create_dir_all(directory.join(name)).unwrap();
            }
            for name in ["f", "d/f", &format!("HIDDEN-{mark}")] {
                let path = directory.join(name);
                let mut content = format!("CONTENT-{mark}").into_bytes();
                content.resize(size(number), b'.');
                std::fs::write(&path, content).unwrap();
                let mode = std::fs::Permissions::from_mode(0o640);
                std::fs::set_permissions(&path, mode).unwrap();
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
                file.set_modified(time).unwrap();
            }
            symlink(format!("TARGET-{mark}"), directory.join("text")).unwrap();
        }
        std::fs::write(self.top.join("open/mine"), "mine").unwrap();
        for (link, target) in [
            ("to-secret", "secret"),
            ("to-in", "/in"),
            ("open/abs", "/secret"),
            ("open/winding", "../in/../open/abs/d/.."),
            ("open/fixed", "../pub/fixed"),
            ("open/box", "../../../box"),
            ("open/file", "../secret/f"),
            ("open/new", "../secret/new"),
            ("open/up", "../to-secret/d"),
        ] {
            symlink(target, self.top.join(link)).unwrap();
        }
        self.before = self.look();
    }

    fn look(&self) -> BTreeMap<String, Entry> {
        let mut found = BTreeMap::new();
        look(&self.top, &mut String::new(), &mut found);
        found
    }

    /// The rights at the place that a real path belongs to.
    fn rights(&self, path: &str) -> Perms {
        let rule = RULES.iter().find(|(rule, _)| {
            let rest = path.strip_prefix(rule);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        rule.map_or(self.default, |(_, rights)| rights.parse::<Perms>().unwrap())
    }

    /// # Panics
    /// When something has changed, or was heard, that the rights forbid.
    #[track_caller]
    pub fn check(&mut self, what: &str, heard: &[u8]) {
        self.check_heard(what, heard);
        let after = self.look();
        if after == self.before {
            return;
        }
        for path in self.before.keys().chain(after.keys()) {
            let (old, new) = (self.before.get(path), after.get(path));
            if let Some(wrong) = wrong(self.rights(path), old, new) {
                panic!("{what}: {path} {wrong}\n{old:?}\n{new:?}");
            }
        }
        self.check_carried(what, &after);
        self.build();
    }

    /// What one may not read, list or follow is not in what was received.
    #[track_caller]
    pub fn check_heard(&self, what: &str, heard: &[u8]) {
        for (number, place) in PLACES.iter().enumerate() {
            let rights = self.rights(&format!("/{place}"));
            let mark = mark(place);
            let size = size(number) as u64;
            let mut never = Vec::new();
            if !rights.has(Right::Read) {
                never.push(format!("CONTENT-{mark}").into_bytes());
                let sums = self.sums.iter().filter(|(whose, _)| *whose == number);
                never.extend(sums.map(|(_, sum)| sum.clone()));
            }
            if !rights.has(Right::List) {
                never.push(format!("HIDDEN-{mark}").into_bytes());
                never.push(format!("TARGET-{mark}").into_bytes());
            }
            // Who may read sees the size as well.
            if !rights.has(Right::List) && !rights.has(Right::Read) {
                never.push(size.to_be_bytes().to_vec());
                let size = size.to_string();
                let mut words = heard.split(|byte| !byte.is_ascii_alphanumeric());
                let found = words.any(|word| word == size.as_bytes());
                assert!(!found, "{what}: heard {size}\n{}", shown(heard));
            }
            for never in never {
                let found = heard.windows(never.len()).any(|window| window == never);
                assert!(!found, "{what}: heard {}\n{}", shown(&never), shown(heard));
            }
        }
    }

    /// A place where nothing is allowed is as it was.
    #[track_caller]
    pub fn check_unchanged(&self, place: &str, what: &str) {
        let mut after = BTreeMap::new();
        look(&self.top.join(place), &mut format!("/{place}"), &mut after);
        let there = format!("/{place}/");
        let before = self
            .before
            .iter()
            .filter(|(path, _)| path.starts_with(&there));
        let before: BTreeMap<_, _> = before
            .map(|(path, entry)| (path.clone(), entry.clone()))
            .collect();
        assert!(before == after, "{what}: {place} has changed");
    }

    /// What one may not read is nowhere where one may.
    fn check_carried(&self, what: &str, after: &BTreeMap<String, Entry>) {
        for place in PLACES {
            if self.rights(&format!("/{place}")).has(Right::Read) {
                continue;
            }
            let mark = format!("CONTENT-{}", mark(place)).into_bytes();
            let there = format!("/{place}/");
            for (path, entry) in after {
                let has = entry.content.windows(mark.len()).any(|part| part == mark);
                let elsewhere = !path.starts_with(&there);
                let readable = self.rights(path).has(Right::Read);
                assert!(
                    !(has && elsewhere && readable),
                    "{what}: {path} has {place}'s"
                );
            }
        }
    }
}

fn mark(place: &str) -> String {
    place.replace('/', "-")
}

/// Sizes that are seen nowhere else.
fn size(number: usize) -> usize {
    10_611 + 7 * number
}

fn shown(bytes: &[u8]) -> impl std::fmt::Display {
    bytes[..bytes.len().min(400)].escape_ascii()
}

fn look(path: &Path, name: &mut String, found: &mut BTreeMap<String, Entry>) {
    for entry in std::fs::read_dir(path).unwrap() {
        // Another thread may be at work.
        let Ok(entry) = entry else { continue };
        let path = entry.path();
        let Ok(seen) = path.symlink_metadata() else {
            continue;
        };
        let length = name.len();
        name.push('/');
        name.push_str(&entry.file_name().to_string_lossy());
        let (kind, content) = if seen.is_symlink() {
            let target = std::fs::read_link(&path).unwrap_or_default();
            ('l', target.into_os_string().into_encoded_bytes())
        } else if seen.is_dir() {
            look(&path, name, found);
            ('d', Vec::new())
        } else {
            ('f', std::fs::read(&path).unwrap_or_default())
        };
        let (mode, modified) = match kind {
            'f' => (seen.mode() & 0o7777, seen.mtime()),
            'd' => (seen.mode() & 0o7777, 0),
            _ => (0, 0),
        };
        found.insert(
            name.clone(),
            Entry {
                kind,
                content,
                mode,
                modified,
            },
        );
        name.truncate(length);
    }
}

/// What the rights at a place do not allow to happen to a name there.
fn wrong(rights: Perms, old: Option<&Entry>, new: Option<&Entry>) -> Option<&'static str> {
    let has = |right| rights.has(right);
    let takes = has(Right::Delete) || has(Right::Rename);
    let gives = has(Right::Write) || has(Right::MakeDir) || has(Right::Rename);
    let replaces = has(Right::Write) && has(Right::Delete);
    match (old, new) {
        (Some(_), None) => (!takes).then_some("is gone"),
        (None, Some(_)) => (!gives).then_some("is new"),
        (Some(old), Some(new)) if old.kind != new.kind => {
            (!takes || !gives).then_some("is something else")
        }
        (Some(old), Some(new)) if old.content != new.content => {
            let longer = old.kind == 'f' && new.content.starts_with(&old.content);
            if replaces || takes && gives || longer && has(Right::Append) {
                None
            } else {
                Some("has other contents")
            }
        }
        (Some(old), Some(new)) => {
            if old.mode != new.mode && !has(Right::Mode) && !(takes && gives) {
                return Some("has another mode");
            }
            let writes = replaces || has(Right::Append) || takes && gives;
            (old.modified != new.modified && !has(Right::Time) && !writes)
                .then_some("has another time")
        }
        (None, None) => None,
    }
}
