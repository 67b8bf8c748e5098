//! Whose file it is: two uploads never mix, nobody's file is deleted but the
//! upload's own, and 226 means that the name has the data.

use std::fs;
use std::path::Path;

use super::common::client::Data;
use super::common::{Client, TempDir, TestServer, server};
use super::packets::{self, FOR_WRITING, HANDLE, NEW};

/// Begins an upload and waits until its first bytes are there.
fn begin(server: &TestServer, line: &str) -> (Client, Data) {
    let mut client = server.ann();
    let mut data = client.data();
    if let Some(rest) = line.strip_prefix("REST ") {
        let (offset, line) = rest.split_once(' ').unwrap();
        client.expect(&format!("REST {offset}"), 350);
        client.expect(line, 150);
    } else {
        client.expect(line, 150);
    }
    data.send(b"first ");
    server.until("the bytes", |server| {
        let all = server.running().services().registry.all();
        all.iter()
            .any(|live| live.bytes.load(std::sync::atomic::Ordering::SeqCst) == 6)
    });
    (client, data)
}

fn end((mut client, mut data): (Client, Data)) -> u16 {
    data.send(b"second");
    drop(data);
    client.reply().code
}

fn break_off((mut client, data): (Client, Data)) {
    data.reset();
    client.wait_for(426);
}

fn content(place: &Path, name: &str) -> Option<String> {
    fs::read_to_string(place.join(name)).ok()
}

fn tree() -> TempDir {
    let place = TempDir::new("owners");
    fs::write(place.join("f"), "old").unwrap();
    fs::create_dir(place.join("d")).unwrap();
    fs::hard_link(place.join("f"), place.join("d/hard")).unwrap();
    std::os::unix::fs::symlink("f", place.join("link")).unwrap();
    std::os::unix::fs::symlink(".", place.join("here")).unwrap();
    place
}

fn served(place: &TempDir, settings: &[(&str, &str)]) -> TestServer {
    let builder = server().directory(place.path());
    let set =
        |builder: super::common::Builder, (key, value): &(&str, &str)| builder.set(key, value);
    settings.iter().fold(builder, set).start()
}

#[test]
fn an_upload_owns_its_file_until_it_ends() {
    let firsts = [
        "STOR f",
        "APPE f",
        "REST 3 STOR f",
        "STOR new",
        "APPE new",
        "STOR link",
    ];
    for atomic in ["no", "yes"] {
        for first in firsts {
            let place = tree();
            let server = served(&place, &[("atomic-uploads", atomic)]);
            let going = begin(&server, first);
            let names: &[&str] = match first.ends_with("new") {
                true => &["new", "here/new", "here/here/new"],
                false => &["f", "link", "d/hard", "here/f"],
            };
            let mut other = server.ann();
            let mut sftp = packets::Client::beside(server.running().services(), "ann", "secret");
            for name in names {
                for verb in ["STOR", "APPE"] {
                    other.data();
                    let code = other.cmd(&format!("{verb} {name}")).code;
                    assert_eq!(code, 450, "{first}, then {verb} {name}, atomic {atomic}");
                }
                other.expect(
                    &format!("SITE COPY d/hard {name}"),
                    if first.ends_with("new") { 450 } else { 550 },
                );
                for flags in [NEW, FOR_WRITING] {
                    let reply = sftp.try_open(name, flags);
                    assert_ne!(reply.kind, HANDLE, "{first}, then {name}");
                }
            }
            assert_eq!(end(going), 226, "{first}");
            let want = match first {
                "APPE f" | "REST 3 STOR f" => "oldfirst second",
                _ => "first second",
            };
            let name = if first.ends_with("new") { "new" } else { "f" };
            assert_eq!(
                content(place.path(), name).as_deref(),
                Some(want),
                "{first}"
            );
            // And no longer.
            assert_eq!(other.store(&format!("STOR {name}"), b"other").code, 226);
            sftp.put(name, b"sftp");
            assert_eq!(content(place.path(), name).as_deref(), Some("sftp"));
            sftp.end().unwrap();
        }
    }
}

#[test]
fn an_upload_over_sftp_owns_its_file_too() {
    for atomic in ["no", "yes"] {
        let place = tree();
        let server = served(&place, &[("atomic-uploads", atomic)]);
        let mut sftp = packets::Client::beside(server.running().services(), "ann", "secret");
        let handle = sftp.open("f", NEW);
        assert_eq!(sftp.write(&handle, 0, b"from sftp"), packets::OK);
        let mut client = server.ann();
        client.data();
        client.expect("STOR link", 450);
        // A session may have several handles of one file.
        let again = sftp.open("f", FOR_WRITING);
        assert_eq!(sftp.close(&again), packets::OK);
        client.data();
        client.expect("APPE here/f", 450);
        assert_eq!(sftp.close(&handle), packets::OK);
        assert_eq!(content(place.path(), "f").as_deref(), Some("from sftp"));
        assert_eq!(client.store("STOR f", b"x").code, 226);
        sftp.end().unwrap();
    }
}

#[test]
fn an_upload_whose_file_is_gone_is_not_226() {
    type Deed = (&'static str, fn(&Path));
    let deeds: [Deed; 3] = [
        ("removed", |place| {
            fs::remove_file(place.join("d/x")).unwrap()
        }),
        ("replaced", |place| {
            fs::write(place.join("other"), "other").unwrap();
            fs::rename(place.join("other"), place.join("d/x")).unwrap();
        }),
        ("moved away", |place| {
            fs::rename(place.join("d/x"), place.join("y")).unwrap();
            fs::write(place.join("d/x"), "other").unwrap();
        }),
    ];
    for (what, deed) in deeds {
        for delete in ["no", "yes"] {
            for broken in [false, true] {
                let place = tree();
                let server = served(&place, &[("delete-broken-uploads", delete)]);
                let going = begin(&server, "STOR d/x");
                deed(place.path());
                let before = content(place.path(), "d/x");
                match broken {
                    true => break_off(going),
                    false => assert_eq!(end(going), 451, "{what}"),
                }
                assert_eq!(content(place.path(), "d/x"), before, "{what}");
                if what == "moved away" && delete == "yes" && broken {
                    assert_eq!(content(place.path(), "y"), None);
                }
            }
        }
    }
}

#[test]
fn only_what_is_its_own_is_deleted() {
    let place = tree();
    let server = served(&place, &[("delete-broken-uploads", "yes")]);
    // Through a link the file goes, not the link.
    let going = begin(&server, "STOR link");
    break_off(going);
    assert_eq!(content(place.path(), "f"), None);
    assert!(place.join("link").is_symlink());
    // What another session has put there meanwhile stays.
    let going = begin(&server, "STOR f");
    let mut other = server.ann();
    assert_eq!(other.store("STOR g", b"finished").code, 226);
    other.expect("RNFR g", 350);
    other.expect("RNTO f", 250);
    break_off(going);
    assert_eq!(content(place.path(), "f").as_deref(), Some("finished"));
}

#[test]
fn a_directory_that_is_renamed_meanwhile_keeps_no_temporary_file() {
    for (by, broken) in [
        ("us", false),
        ("us", true),
        ("others", false),
        ("others", true),
    ] {
        for atomic in ["no", "yes"] {
            let place = tree();
            fs::create_dir(place.join("d/e")).unwrap();
            let settings = [("atomic-uploads", atomic), ("delete-broken-uploads", "yes")];
            let server = served(&place, &settings);
            let going = begin(&server, "STOR d/e/x");
            if by == "us" {
                let mut other = server.ann();
                other.expect("RNFR d", 350);
                other.expect("RNTO moved", 250);
            } else {
                fs::rename(place.join("d"), place.join("moved")).unwrap();
            }
            let what = format!("{by}, broken {broken}, atomic {atomic}");
            match (by, broken) {
                (_, true) => break_off(going),
                ("us", false) => assert_eq!(end(going), 226, "{what}"),
                (_, false) => assert_eq!(end(going), 451, "{what}"),
            }
            let left = fs::read_dir(place.join("moved/e")).unwrap();
            let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
            match (by, broken) {
                ("us", false) => assert_eq!(left, ["x"], "{what}"),
                (_, true) => assert!(left.is_empty(), "{what}: {left:?}"),
                // In place the data are there, and the client is told that the
                // name is not.
                (_, false) => assert!(!left.iter().any(|name| name != "x"), "{what}: {left:?}"),
            }
        }
    }
}
