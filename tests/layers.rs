//! The shape of the source: arrows go downwards (README, "Architecture"),
//! files stay short, `unsafe` stays in one room, and the public face small.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rooms from the bottom to the top, a row each; a room may use those of the
/// rows above it here. The leaves of the first row know each other.
const ROOMS: [&[&str]; 11] = [
    &[
        "address", "base64", "digest", "error", "sys", "temp", "text", "time",
    ],
    &["storage"],
    &["auth"],
    &["config"],
    &["net"],
    &["session"],
    &["sftp", "ssh"],
    &["ftp"],
    &["server"],
    &["fuzz", "lib", "testing"],
    &["main", "program"],
];

/// Files past 500 lines, and why.
const LONG: &[(&str, &str)] = &[];

const LONGEST: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = vec![root().join(directory)];
    while let Some(path) = waiting.pop() {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

fn rank(room: &str) -> Option<usize> {
    ROOMS.iter().position(|row| row.contains(&room))
}

/// The room of a path of modules such as `net::tls::wire` or `config`.
fn room(modules: &str) -> &str {
    modules.split("::").next().unwrap_or(modules)
}

/// `src/net/tls/wire.rs` as `net::tls::wire`.
fn modules(file: &str) -> String {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    path.trim_end_matches("/mod").replace('/', "::")
}

/// Every `crate::…` of a file, with `super::…` written out; lists in braces
/// taken apart one level deep.
fn uses(file: &str, text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let here = modules(file);
    let above = |levels: usize| {
        let parts: Vec<&str> = here.split("::").collect();
        parts[..parts.len().saturating_sub(levels)].join("::")
    };
    for (number, line) in text.lines().enumerate() {
        // What tests and sentences name is no arrow.
        if line.starts_with("mod tests {") {
            break;
        }
        if line.trim_start().starts_with("//") {
            continue;
        }
        let mut words = vec![];
        for (at, _) in line.match_indices("crate::") {
            if !line[..at].ends_with('$') {
                words.push(line[at + "crate::".len()..].to_string());
            }
        }
        let used = line.trim_start().trim_start_matches("pub ");
        if let Some(rest) = used.strip_prefix("use super::") {
            let levels = 1 + usize::from(rest.starts_with("super::"));
            let is_directory = file.ends_with("/mod.rs");
            let above = above(levels - usize::from(is_directory && levels > 1));
            let rest = rest.trim_start_matches("super::");
            if !above.is_empty() {
                words.push(format!("{above}::{rest}"));
            } else {
                words.push(rest.to_string());
            }
        }
        for word in words {
            match word.split_once("::{") {
                Some((before, inner)) => {
                    for inner in inner.trim_end_matches(['}', ';']).split(',') {
                        found.push((number + 1, format!("{before}::{}", inner.trim())));
                    }
                }
                None => found.push((number + 1, word)),
            }
        }
    }
    found
}

#[test]
fn uses_are_found_in_every_spelling() {
    let text = "use crate::ftp::reply::Reply;\npub use crate::net::{tls::Tls, Server};\n\
        use super::super::session::Live;\nuse super::wire;\n// crate::sftp\nlet x = crate::ssh::run();\n";
    let found: Vec<String> = uses("src/net/tls/server.rs", text)
        .into_iter()
        .map(|(_, used)| room(&used).to_string())
        .collect();
    assert_eq!(found, ["ftp", "net", "net", "net", "net", "ssh"]);
    assert_eq!(room("net::tls::wire"), "net");
    assert_eq!(room(&modules("src/net/tls/mod.rs")), "net");
}

#[test]
fn arrows_go_downwards() {
    let mut wrong = Vec::new();
    for (file, text) in sources("src") {
        let modules = modules(&file);
        let from = room(&modules);
        let Some(own) = rank(from) else {
            wrong.push(format!("{file}: the room {from} has no place in ROOMS"));
            continue;
        };
        for (line, used) in uses(&file, &text) {
            let path: String = used
                .chars()
                .take_while(|c| {
                    c.is_ascii_lowercase() || *c == '_' || *c == ':' || c.is_ascii_digit()
                })
                .collect();
            let to = room(path.trim_end_matches(':'));
            match rank(to) {
                // A name of the crate's root, such as crate::Error.
                None => {}
                _ if to == from => {}
                Some(other) if other < own => {}
                Some(other) if other == own && own == 0 => {}
                Some(_) => wrong.push(format!("{file}:{line}: {from} uses {to} ({used})")),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that point up:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_protocols_do_not_know_each_other() {
    for (file, text) in sources("src") {
        for (other, of) in [
            ("sftp", "src/ftp/"),
            ("ftp", "src/sftp/"),
            ("ftp", "src/ssh/"),
        ] {
            if file.starts_with(of) {
                let named = text.lines().find(|line| {
                    !line.trim_start().starts_with("//")
                        && line.contains(&format!("crate::{other}"))
                });
                assert_eq!(named, None, "{file}");
            }
        }
    }
}

#[test]
fn only_the_session_calls_a_users_file_system() {
    for (file, text) in sources("src") {
        if [
            "src/ftp/",
            "src/sftp/",
            "src/ssh/",
            "src/net/",
            "src/server/",
        ]
        .iter()
        .any(|room| file.starts_with(room))
        {
            for call in [
                ".file_system",
                "LocalFs",
                "std::fs::File",
                "rustix::fs::open",
            ] {
                let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
                let keys = ["src/net/", "src/ssh/", "src/server/"];
                let keys = keys.iter().any(|room| file.starts_with(room));
                // Keys and certificates are the server's files, not a user's.
                if keys && call != ".file_system" || file.contains("/tests") {
                    continue;
                }
                assert!(!text[..tests].contains(call), "{file} has {call}");
            }
        }
    }
}

#[test]
fn files_stay_short() {
    let mut wrong = Vec::new();
    for (file, text) in sources("src") {
        let lines = text.lines().count();
        let listed = LONG.iter().any(|(name, _)| *name == file);
        if lines > LONGEST && !listed {
            wrong.push(format!("{file} has {lines} lines"));
        }
        if lines <= LONGEST && listed {
            wrong.push(format!("{file} is short again: take it off the list"));
        }
    }
    for (name, _) in LONG {
        assert!(root().join(name).exists(), "{name} is gone");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_stays_in_one_room_and_says_why() {
    for (file, text) in sources("src") {
        let allowed = file == "src/sys.rs" || file.starts_with("src/sys/");
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap();
            if !code.contains("unsafe ") || code.contains("forbid") {
                continue;
            }
            assert!(allowed, "{file}:{}", number + 1);
            if code.contains("unsafe {") {
                let said = lines[number.saturating_sub(6)..number]
                    .iter()
                    .any(|line| line.contains("SAFETY:"));
                assert!(said, "{file}:{}: no SAFETY comment", number + 1);
            }
        }
        if !allowed {
            assert!(!text.contains("allow(unsafe_code)"), "{file}");
        }
    }
}

#[test]
fn nothing_is_left_to_be_done() {
    let words = ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "TODO"];
    for (file, text) in sources("src") {
        for word in words {
            assert!(!text.contains(word), "{file} has {word}");
        }
    }
}

/// A comment that sends people to a page they don't have helps nobody.
#[test]
fn documents_that_are_named_are_there() {
    for (file, text) in [sources("src"), sources("tests")].concat() {
        let is_word = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        for word in text.split(|c| !is_word(c)) {
            let is_page = Path::new(word).extension().is_some_and(|end| end == "md");
            assert!(
                !is_page || root().join(word).exists(),
                "{file} names {word}"
            );
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for (file, text) in sources("src") {
        let tests = file.ends_with("/tests.rs");
        assert!(
            tests || text.starts_with("//!"),
            "{file} begins without //!"
        );
    }
}

#[test]
fn nothing_of_a_peer_can_panic_in_the_protocols() {
    // `unwrap` on what came from outside ends a session; there is no need of it.
    for room in [
        "src/ftp",
        "src/sftp",
        "src/ssh",
        "src/session",
        "src/net",
        "src/server",
    ] {
        for (file, text) in sources(room) {
            if file.contains("/tests") {
                continue;
            }
            let end = text.find("#[cfg(test)]").unwrap_or(text.len());
            for (number, line) in text[..end].lines().enumerate() {
                let code = line.trim_start();
                if code.starts_with("//") {
                    continue;
                }
                let careless = code.contains(".unwrap()") || code.contains("unreachable!(");
                assert!(!careless, "{file}:{}: {line}", number + 1);
            }
        }
    }
}

/// The names that a module shows in the documentation: what is `pub` at its
/// left edge and not hidden.
fn shown(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut hidden = false;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("#[") || line.starts_with("///") {
            hidden |= line.contains("doc(hidden)");
            continue;
        }
        let words = line.strip_prefix("pub ").filter(|_| !hidden);
        hidden = false;
        let Some((kind, rest)) = words.and_then(|words| words.split_once(' ')) else {
            continue;
        };
        if kind == "use" {
            let mut list = rest.to_owned();
            while !list.ends_with(';') {
                list += lines.next().unwrap().trim();
            }
            let list = list.trim_end_matches(['}', ';']);
            let list = list.rsplit(['{', ':']).next().unwrap();
            names.extend(list.split(',').map(|name| name.trim().to_owned()));
        } else if kind != "mod" {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            names.insert(rest[..end.unwrap_or(rest.len())].to_owned());
        }
    }
    names.remove("");
    names
}

#[test]
fn what_a_module_shows_is_found_in_every_spelling() {
    let text = "pub use a::{\n    One,\n    Two,\n};\npub use b::Three;\n#[doc(hidden)]\n\
        pub use c::No;\n/// Words.\n#[derive(Debug)]\npub struct Four<'a> {\n    pub no: u8,\n\
        pub fn five() {}\nuse d::No;\npub(crate) fn no() {}\npub mod six;\n";
    let found: Vec<String> = shown(text).into_iter().collect();
    assert_eq!(found, ["Four", "One", "Three", "Two", "five"]);
}

/// The root has what a program holds in its hands, as the crate page says;
/// modules have the words of it besides. Who needs more of either raises the
/// number, and says why.
#[test]
fn the_public_face_is_small() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let page = read("src/lib.rs");
    let face = shown(&page);
    let table = page
        .split("//! # ")
        .find(|part| part.starts_with("The names"));
    let links = table.unwrap().split("[`").skip(1);
    let links = links.filter_map(|link| link.split_once("`]"));
    let told: BTreeSet<String> = links
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))
        .collect();
    assert_eq!(face, told, "the crate's root, and its table of names");
    assert!(face.len() <= 22, "{} names at the root", face.len());

    let (_, events) = page.split_once("pub mod events {").unwrap();
    let (events, _) = events.split_once("\n}").unwrap();
    let mut words: Vec<String> = Vec::new();
    for text in [
        read("src/auth/mod.rs"),
        read("src/auth/password.rs"),
        read("src/config/mod.rs"),
        read("src/storage/mod.rs"),
        read("src/testing/mod.rs"),
        events.replace("\n    ", "\n"),
    ] {
        words.extend(shown(&text).difference(&face).cloned());
    }
    assert!(words.len() <= 40, "{} words: {words:?}", words.len());
}
