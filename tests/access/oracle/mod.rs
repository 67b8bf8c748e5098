//! Rights belong to places: a tree whose directories have rights of their
//! own, every kind of name for every place, every operation of both
//! protocols, users of every right set. What happens on disk, and what is
//! heard, is what the rights at the real place allow.
// Once is enough: not with the small build, too, which has fewer checksums.
#![cfg(all(feature = "cli", feature = "ftps"))]

use crate::common;
mod ftp;
#[cfg(feature = "sftp")]
mod scp;
#[allow(dead_code)]
mod sftp;
mod swapped;
mod tree;

use common::rng::Rng;
use tree::{Tree, aliases};

/// Random operations of each user and protocol.
const SAMPLE: usize = 150;

/// The named sets, each right alone and each taken away.
fn right_sets() -> Vec<String> {
    let letters = "elradfmwMT";
    let mut sets: Vec<String> = ["read-only", "read-write", "upload-only", "drop", "none"]
        .map(String::from)
        .into();
    for letter in letters.chars() {
        sets.push(format!("el{letter}"));
        sets.push(letters.replace(letter, ""));
    }
    sets
}

#[test]
fn every_command_and_request_is_classified() {
    let mut rows: Vec<String> = wharf::daemon::tables::rows()
        .into_iter()
        .map(|row| row.0)
        .collect();
    let mut known: Vec<String> = ftp::COMMANDS.iter().map(|row| row.0.to_string()).collect();
    rows.sort();
    known.sort();
    assert_eq!(
        known, rows,
        "say in tests/access/oracle/ftp.rs how it meets a path"
    );
    let mut rows: Vec<&str> = wharf::daemon::sftp::REQUESTS
        .iter()
        .map(|row| row.name)
        .collect();
    let mut known: Vec<&str> = sftp::REQUESTS.iter().map(|row| row.0).collect();
    rows.sort();
    known.sort();
    assert_eq!(
        known, rows,
        "say in tests/access/oracle/sftp.rs how it meets a path"
    );
}

#[test]
fn ftp_does_what_the_real_place_allows() {
    let dialogues: Vec<_> = ftp::COMMANDS.iter().flat_map(|row| row.1).collect();
    let mut rng = Rng::new();
    for rights in right_sets() {
        let mut tree = Tree::new(&rights);
        let server = ftp::server(&tree, ["no", "yes"][rng.below(2)]);
        let mut client = server.ann();
        let aliases = aliases();
        for _ in 0..SAMPLE {
            let (lines, path) = (rng.pick(&dialogues), rng.pick(&aliases));
            let heard = ftp::run(&mut client, lines, path);
            tree.check(&format!("{rights}: {lines:?} {path}"), &heard);
        }
    }
}

#[test]
fn sftp_does_what_the_real_place_allows() {
    let deeds: Vec<_> = sftp::REQUESTS
        .iter()
        .flat_map(|(name, deeds)| deeds.iter().enumerate().map(move |deed| (name, deed)))
        .collect();
    let mut rng = Rng::new();
    for rights in right_sets() {
        let mut tree = Tree::new(&rights);
        let mut client = sftp::start(&tree, rng.below(2) == 1);
        let aliases = aliases();
        for _ in 0..SAMPLE {
            let ((name, (number, deed)), path) = (rng.pick(&deeds), rng.pick(&aliases));
            let heard = deed(&mut client, path);
            tree.check(&format!("{rights}: {name} {number} {path}"), &heard);
        }
        client.end().unwrap();
    }
}

#[cfg(feature = "sftp")]
#[test]
fn scp_does_what_the_real_place_allows() {
    let mut rng = Rng::new();
    for rights in right_sets() {
        let mut tree = Tree::new(&rights);
        let setup = sftp::setup(&tree, rng.below(2) == 1);
        let services = setup.services(sftp::files(&tree));
        let aliases = aliases();
        for _ in 0..SAMPLE / 4 {
            let (deed, path) = (*rng.pick(scp::DEEDS), rng.pick(&aliases));
            let heard = scp::run(&services, deed, path);
            tree.check(&format!("{rights}: {} {path}", deed.0), &heard);
        }
    }
}

/// Who may do everything but what the rules forbid tries everything.
#[test]
fn attack_31_nothing_gets_around_a_rule() {
    let mut tree = Tree::new("read-write");
    let server = ftp::server(&tree, "no");
    let mut client = server.ann();
    let mut packets = sftp::start(&tree, false);
    let mut rng = Rng::new();
    for path in aliases() {
        // A third of all pairs each time keeps the test short.
        let mut skips = || rng.below(3) != 0;
        for lines in ftp::COMMANDS.iter().flat_map(|row| row.1) {
            if skips() {
                continue;
            }
            let heard = ftp::run(&mut client, lines, &path);
            tree.check(&format!("{lines:?} {path}"), &heard);
        }
        for (name, deeds) in sftp::REQUESTS {
            for (number, deed) in deeds.iter().enumerate() {
                if skips() {
                    continue;
                }
                let heard = deed(&mut packets, &path);
                tree.check(&format!("{name} {number} {path}"), &heard);
            }
        }
    }
}

/// Names of the same length below a place without any rights: what is there,
/// links of every kind among them, and nothing.
const HIDDEN: &[(&str, Option<&str>)] = &[
    ("zz-m", None),
    ("zz-f", None),
    ("zz-d", None),
    ("zz-o", Some("/open/f")),
    ("zz-e", Some("../open")),
    ("zz-g", Some("/open/nothing")),
    ("zz-l", Some("zz-l")),
    ("zz-t", Some("nothing/../f")),
];

fn with_hidden_names() -> Tree {
    let tree = Tree::new("read-write");
    for (name, target) in HIDDEN {
        let path = tree.top.join("secret").join(name);
        match (*name, target) {
            ("zz-f", _) => std::fs::write(path, b"content").unwrap(),
            ("zz-d", _) => std::fs::create_dir(path).unwrap(),
            (_, Some(target)) => std::os::unix::fs::symlink(target, path).unwrap(),
            (_, None) => {}
        }
    }
    tree
}

/// What was heard without the name that was asked for, and without times.
fn without(name: &str, heard: Vec<u8>) -> String {
    let text = String::from_utf8_lossy(&heard).replace(name, "NAME");
    let text = text.replace(|letter: char| letter.is_ascii_digit(), "0");
    // STOU takes the second name within the same second.
    text.replace(".0\n", "\n")
}

/// All that is heard when every command and request, but for some, is tried on
/// these paths.
fn told(tree: &Tree, name: &str, paths: &[String], but: &[&str]) -> Vec<String> {
    let server = ftp::server(tree, "no");
    let (mut client, mut packets) = (server.ann(), sftp::start(tree, false));
    let mut all = Vec::new();
    for path in paths {
        for (verb, dialogues) in ftp::COMMANDS.iter().filter(|row| !but.contains(&row.0)) {
            for lines in *dialogues {
                let heard = ftp::run(&mut client, lines, path);
                all.push(format!("{verb} {lines:?}: {}", without(name, heard)));
            }
        }
        for (request, deeds) in sftp::REQUESTS.iter().filter(|row| !but.contains(&row.0)) {
            for deed in *deeds {
                let heard = without(name, deed(&mut packets, path));
                all.push(format!("{request}: {heard:?}"));
            }
        }
    }
    all
}

/// Who may only store learns by that alone whether a name is taken.
#[test]
fn a_place_for_dropping_tells_of_no_file() {
    let storing = ["STOR", "APPE", "STOU", "COMB", "open"];
    let [missing, there] = ["zz-m", "zz-f"].map(|name| {
        let tree = Tree::new("drop");
        std::fs::write(tree.top.join("zz-f"), "of another").unwrap();
        told(&tree, name, &[format!("/{name}")], &storing)
    });
    let differ = there.iter().zip(&missing).filter(|(one, two)| one != two);
    let differ: Vec<_> = differ.collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

#[test]
fn nothing_below_a_place_without_rights_is_told() {
    let mut missing: Vec<String> = Vec::new();
    for (name, _) in HIDDEN {
        let paths = [format!("/secret/{name}"), format!("/secret/{name}/f")];
        let all = told(&with_hidden_names(), name, &paths, &[]);
        if missing.is_empty() {
            missing = all;
            continue;
        }
        let differ = all.iter().zip(&missing).filter(|(one, two)| one != two);
        let differ: Vec<_> = differ.take(9).collect();
        assert!(differ.is_empty(), "{name}: {differ:#?}");
    }
}

/// A file that is linked into a place where uploads stay as they are can't be
/// changed by its old name.
#[test]
fn a_hard_link_keeps_no_rights_that_its_new_place_does_not_give() {
    use crate::common::packets::Body;
    const PERMISSION_DENIED: u32 = 3;
    let tree = Tree::new("read-write");
    let mut client = sftp::start(&tree, false);
    let mut link = |to: &str| {
        let body = Body::new().string("/open/f").string(to);
        client.extended("hardlink@openssh.com", body).status()
    };
    assert_eq!(link("/open/again"), 0);
    for to in ["/in/again", "/pub/fixed/again", "/secret/again"] {
        assert_eq!(link(to), PERMISSION_DENIED, "{to}");
    }
}
