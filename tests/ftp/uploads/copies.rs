//! Copies and joined parts: of files that have several names, with holes, and
//! that fail half way.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::common::tree::{assert_same_trees, tree};
use super::common::{Client, TempDir, TestServer, server};

/// A tree in which `f` has more names than one.
fn tree_with_names(place: &TempDir) -> TestServer {
    let root = place.path();
    std::fs::create_dir(root.join("d")).unwrap();
    std::fs::write(root.join("f"), b"the contents of f").unwrap();
    std::fs::write(root.join("d/g"), b"the contents of g").unwrap();
    std::fs::write(root.join("p"), b"a part").unwrap();
    std::os::unix::fs::symlink("f", root.join("link")).unwrap();
    std::os::unix::fs::symlink("link", root.join("chain")).unwrap();
    std::os::unix::fs::symlink("d", root.join("dlink")).unwrap();
    std::os::unix::fs::symlink("..", root.join("d/up")).unwrap();
    std::fs::hard_link(root.join("f"), root.join("hard")).unwrap();
    std::fs::hard_link(root.join("d/g"), root.join("d/hard")).unwrap();
    server().directory(root).start()
}

/// Names of one file each.
const NAMES: [&[&str]; 2] = [
    &["f", "link", "chain", "hard", "d/up/f", "dlink/up/hard"],
    &["d/g", "dlink/g", "d/hard", "dlink/up/d/hard"],
];

#[test]
fn a_file_is_never_copied_onto_itself_under_any_name() {
    let place = TempDir::new("copies");
    let server = tree_with_names(&place);
    let mut client = server.ann();
    let before = tree(place.path());
    for names in NAMES {
        for from in names {
            for to in names {
                client.expect(&format!("SITE COPY {from} {to}"), 550);
                client.expect(&format!("SITE CPFR {from}"), 350);
                client.expect(&format!("SITE CPTO {to}"), 550);
            }
        }
    }
    assert_same_trees(&tree(place.path()), &before);
    // To another file under whatever name: a link still leads to it.
    for to in ["link", "d/hard", "dlink/g", "chain"] {
        std::fs::write(place.path().join("p"), to).unwrap();
        client.expect(&format!("SITE COPY p {to}"), 250);
        let content = std::fs::read_to_string(place.path().join(to)).unwrap();
        assert_eq!(content, to);
    }
    assert!(place.path().join("link").is_symlink());
    assert_eq!(std::fs::read(place.path().join("f")).unwrap(), b"chain");
}

#[test]
fn no_part_is_the_target_or_named_twice() {
    let place = TempDir::new("copies");
    let server = tree_with_names(&place);
    let mut client = server.ann();
    let before = tree(place.path());
    for names in NAMES {
        for one in names {
            for two in names {
                client.expect(&format!("COMB {one} {two}"), 501);
                client.expect(&format!("COMB new {one} p {two}"), 501);
                client.expect(&format!("COMB {one} p {two}"), 501);
            }
        }
    }
    assert_same_trees(&tree(place.path()), &before);
    client.expect("COMB link p d/g", 250);
    let joined = std::fs::read(place.path().join("f")).unwrap();
    assert_eq!(joined, b"the contents of fa partthe contents of g");
    assert!(place.path().join("link").is_symlink());
    assert!(!place.path().join("p").exists() && place.path().join("d/hard").exists());
}

#[test]
fn holes_stay_holes() {
    const HOLE: u64 = 32 << 20;
    let place = TempDir::new("copies");
    let sparse = |name: &str, end: &[u8]| {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::create(place.path().join(name)).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(end, HOLE).unwrap();
        file.set_len(2 * HOLE).unwrap();
    };
    sparse("f", b"end");
    sparse("part", b"other end");
    let whole = std::fs::read(place.path().join("f")).unwrap();
    for receipt in ["no", "log"] {
        let server = server()
            .directory(place.path())
            .set("upload-receipt", receipt)
            .start();
        let mut client = server.ann();
        client.expect("SITE COPY f g", 250);
        client.expect("SITE COPY part p", 250);
        assert!(std::fs::read(place.path().join("g")).unwrap() == whole);
        assert_sparse(&place.path().join("g"), 2 * HOLE);
        client.expect("COMB g p", 250);
        assert_sparse(&place.path().join("g"), 4 * HOLE);
        let joined = std::fs::read(place.path().join("g")).unwrap();
        let part = std::fs::read(place.path().join("part")).unwrap();
        assert!(joined == [&whole[..], &part[..]].concat());
    }
}

fn assert_sparse(path: &Path, size: u64) {
    let metadata = std::fs::metadata(path).unwrap();
    assert_eq!(metadata.len(), size);
    assert!(metadata.blocks() < 4096, "{} blocks", metadata.blocks());
}

/// A size of zero says nothing in /proc.
#[test]
fn files_that_hide_their_size_are_copied_to_their_end() {
    let place = TempDir::new("copies");
    std::fs::write(place.path().join("empty"), b"").unwrap();
    let server = server().directory(Path::new("/")).start();
    let mut client = server.ann();
    let copy = |client: &mut Client, from: &str| {
        let to = place.path().join("copy");
        client.expect(&format!("SITE COPY {from} {}", to.display()), 250);
        std::fs::read(to).unwrap()
    };
    let version = std::fs::read("/proc/version").unwrap();
    assert_eq!(copy(&mut client, "/proc/version"), version);
    let empty = place.path().join("empty");
    assert_eq!(copy(&mut client, empty.to_str().unwrap()), b"");
}
