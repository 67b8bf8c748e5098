//! Rights belong to places: a tree whose directories have rights of their
//! own, every kind of name for every place, every operation of both
//! protocols, users of every right set. What happens on disk, and what is
//! heard, is what the rights at the real place allow.
// Once is enough: not with the small build, too, which has fewer checksums.
#![cfg(all(feature = "cli", feature = "ftps"))]

use crate::common;
mod ftp;
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
