//! The shape of the source: arrows go downwards (docs/architecture.md),
//! files stay short, `unsafe` stays in one room, and the public face small.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use imports::Modules;

mod imports;

/// Rooms from the bottom to the top, a row each: what is in a row may use the
/// rows above it here. The first row is no room: those files know each other.
const ROOMS: &[&[&str]] = &[
    &[
        "address",
        "base64",
        "child_group",
        "digest",
        "error",
        "ssh_data",
        "stamp",
        "sync",
        "sys",
        "temp",
        "text",
        "time",
    ],
    &["storage"],
    &["auth"],
    &["config"],
    &["net"],
    &["session"],
    &["sftp"],
    &["ssh"],
    &["ftp"],
    &["server"],
    &["daemon", "lib", "testing"],
    &["main", "program", "sftp_server"],
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

/// The room of a file such as `src/net/tls/wire.rs` or `src/error.rs`.
fn room(file: &str) -> &str {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').next().unwrap_or(path)
}

#[test]
fn arrows_go_downwards() {
    let sources = sources("src");
    let modules = Modules::read(&sources);
    let mut wrong = Vec::new();
    for (from, used) in modules.arrows() {
        let own = rank(room(from)).unwrap_or_else(|| panic!("{from} has no place in ROOMS"));
        for to in used {
            let other = rank(room(to)).unwrap_or_else(|| panic!("{to} has no place in ROOMS"));
            let within = room(from) == room(to) || own == other && own == 0;
            if other >= own && !within {
                wrong.push(format!("{from} uses {to}"));
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
fn no_files_use_each_other_in_a_circle() {
    let sources = sources("src");
    let modules = Modules::read(&sources);
    let arrows = modules.arrows();
    let mut wrong = Vec::new();
    for circle in modules.circles() {
        wrong.push("a circle:".to_owned());
        for from in &circle {
            let to = arrows[from].intersection(&circle);
            wrong.push(format!("  {from} uses {:?}", to.collect::<Vec<_>>()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The arrows of the picture in docs/architecture.md, and the names of the rooms in it.
fn picture(page: &str) -> Vec<(String, String)> {
    let (_, picture) = page.split_once("```mermaid").expect("a picture");
    let (picture, _) = picture.split_once("```").expect("its end");
    let arrows = picture.lines().filter_map(|line| line.split_once(" --> "));
    let name = |node: &str| node.trim().split('[').next().unwrap().to_owned();
    arrows.map(|(from, to)| (name(from), name(to))).collect()
}

#[test]
fn the_picture_of_the_rooms_is_true() {
    let page = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let picture = picture(&page);
    let drawn = |file: &str| match room(file) {
        leaf if ROOMS[0].contains(&leaf) => Some("base".to_owned()),
        "main" | "sftp_server" => Some("program".into()),
        // They stand beside the server, not in it.
        "daemon" | "lib" | "testing" => None,
        room => Some(room.into()),
    };
    let below = |from: &str| {
        let mut found = BTreeSet::new();
        let mut waiting = vec![from.to_owned()];
        while let Some(next) = waiting.pop() {
            for (_, to) in picture.iter().filter(|(from, _)| *from == next) {
                if found.insert(to.clone()) {
                    waiting.push(to.clone());
                }
            }
        }
        found
    };
    let sources = sources("src");
    let mut wrong = BTreeSet::new();
    for (from, used) in Modules::read(&sources).arrows() {
        let Some(from) = drawn(from) else { continue };
        let below = below(&from);
        assert!(!below.contains(&from), "{from} is drawn in a circle");
        for to in used.into_iter().filter_map(drawn) {
            if to != from && !below.contains(&to) {
                wrong.insert(format!("{from} uses {to}, and no arrow goes there"));
            }
        }
    }
    for (from, to) in &picture {
        if !sources
            .iter()
            .any(|(file, _)| drawn(file).as_ref() == Some(from))
        {
            wrong.insert(format!("{from} is drawn and is no room"));
        }
        if to != "base" && rank(to) >= rank(from) {
            wrong.insert(format!("{from} is drawn above {to}, against ROOMS"));
        }
    }
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_index_of_tests_has_every_program() {
    let index = std::fs::read_to_string(root().join("tests/README.md")).unwrap();
    let mut program = String::new();
    let mut told = BTreeSet::new();
    for line in index.lines() {
        if let Some(head) = line.strip_prefix("## ") {
            program = head.split('`').nth(1).unwrap_or("").to_owned();
            told.extend((!program.is_empty()).then(|| program.clone()));
        }
        let row = line
            .strip_prefix("| `")
            .and_then(|row| row.split_once("` |"));
        for name in row.iter().flat_map(|(names, _)| names.split("`, `")) {
            let file = format!("{program}/{name}");
            told.insert(file.trim_start_matches('/').to_owned());
        }
    }
    let mut there = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if let Ok(text) = std::fs::read_to_string(path.join("main.rs")) {
            let mods = text.lines().filter_map(|line| line.strip_prefix("mod "));
            let mods = mods.map(|file| file.trim_end_matches(';'));
            let has_files = index.contains(&format!("\n## `{name}`: "));
            let mods = mods.filter(|file| *file != "common" && has_files);
            there.extend(mods.map(|file| format!("{name}/{file}")));
            there.insert(name);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            there.insert(name);
        }
    }
    assert_eq!(told, there);
}

/// The page of the design is kept beside the repository, where there is one.
#[test]
fn the_designs_list_of_rooms_is_true() {
    let places = ["../shared", "../../shared"];
    let pages = places.map(|place| root().join(place).join("design").with_extension("md"));
    let Some(page) = pages
        .iter()
        .find_map(|page| std::fs::read_to_string(page).ok())
    else {
        eprintln!("there is no page of the design here");
        return;
    };
    let (_, list) = page.split_once("\nsrc/\n").expect("the list of src/");
    let (list, _) = list.split_once("```").expect("its end");
    let lines = list.lines().filter_map(|line| line.strip_prefix("  "));
    let names: Vec<&str> = lines
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_once("/ ").map(|(name, _)| name))
        .collect();
    let rooms = ROOMS[1..].iter().rev().flat_map(|row| row.iter().copied());
    let rooms: Vec<&str> = rooms
        .filter(|room| !["main", "sftp_server", "daemon", "lib", "testing"].contains(room))
        .collect();
    assert_eq!(
        names.iter().collect::<BTreeSet<_>>(),
        rooms.iter().collect::<BTreeSet<_>>()
    );
    // What neither uses the other may stand in either order there.
    let at = |room: &str| names.iter().position(|name| *name == room).unwrap();
    let sources = sources("src");
    for (from, used) in Modules::read(&sources).arrows() {
        for to in used {
            let (from, to) = (room(from), room(to));
            if from != to && rooms.contains(&from) && rooms.contains(&to) {
                assert!(at(from) < at(to), "{from} uses {to}");
            }
        }
    }
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
                !is_page
                    || ["", "docs", "tests"]
                        .iter()
                        .any(|at| root().join(at).join(word).exists()),
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
    assert!(face.len() <= 24, "{} names at the root", face.len());

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
    assert!(words.len() <= 51, "{} words: {words:?}", words.len());
}
