//! Whose file it is: two uploads never mix, nobody's file is deleted but the
//! upload's own, and 226 means that the name has the data.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::common::client::Data;
use super::common::{Client, TempDir, TestServer, server};
use super::packets::{self, Body, EXTENDED, FAILURE, FOR_READING, FOR_WRITING, HANDLE, NEW};

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
            let names: &[&str] = if first.ends_with("new") {
                &["new", "here/new", "here/here/new"]
            } else {
                &["f", "link", "d/hard", "here/f"]
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
                if broken {
                    break_off(going)
                } else {
                    assert_eq!(end(going), 451, "{what}")
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

/// SETSTAT, lsetstat and FSETSTAT through a handle for reading, with a size.
fn resize_all(sftp: &mut packets::Client, name: &str) -> Vec<u32> {
    let size = |body: Body| body.u32(1).u64(1);
    let mut codes = vec![sftp.status(packets::SETSTAT, size(Body::new().string(name)))];
    let lsetstat = Body::new().string("lsetstat@openssh.com").string(name);
    codes.push(sftp.status(EXTENDED, size(lsetstat)));
    let handle = sftp.try_open(name, FOR_READING);
    if handle.kind == HANDLE {
        let handle = handle.clone().string();
        codes.push(sftp.status(packets::FSETSTAT, size(Body::new().string(&handle))));
        sftp.close(&handle);
    }
    codes
}

#[test]
fn nobody_else_resizes_a_file_that_is_uploaded() {
    for atomic in ["no", "yes"] {
        for first in ["STOR f", "APPE f", "STOR link"] {
            let place = tree();
            let server = served(&place, &[("atomic-uploads", atomic)]);
            let going = begin(&server, first);
            let mut sftp = packets::Client::beside(server.running().services(), "ann", "secret");
            let mut names: Vec<String> =
                ["f", "link", "d/hard", "here/f"].map(String::from).to_vec();
            let entries = fs::read_dir(place.path()).unwrap();
            let entries = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.extend(entries.filter(|name| name.starts_with(".wharf-upload-")));
            let temporary = atomic == "yes" && first != "APPE f";
            assert_eq!(names.len(), 4 + usize::from(temporary), "{names:?}");
            for name in &names {
                for code in resize_all(&mut sftp, name) {
                    assert_ne!(code, packets::OK, "{first}, then {name}, atomic {atomic}");
                }
                let mode = Body::new().string(name).u32(4).u32(0o600);
                assert_eq!(sftp.status(packets::SETSTAT, mode), packets::OK, "{name}");
            }
            let size = Body::new().string("d/hard").u32(1).u64(1);
            let mut refused = sftp.call(packets::SETSTAT, size);
            assert_eq!(refused.u32(), FAILURE);
            assert_eq!(refused.string(), b"Busy, try again later");
            assert_eq!(end(going), 226, "{first}");
            let want = match first {
                "APPE f" => "oldfirst second",
                _ => "first second",
            };
            assert_eq!(content(place.path(), "f").as_deref(), Some(want), "{first}");
            // And no longer; its own session may always.
            let size = || Body::new().string("f").u32(1).u64(1);
            assert_eq!(sftp.status(packets::SETSTAT, size()), packets::OK);
            let handle = sftp.open("f", FOR_WRITING);
            assert_eq!(sftp.status(packets::SETSTAT, size()), packets::OK);
            assert_eq!(sftp.close(&handle), packets::OK);
            sftp.end().unwrap();
        }
    }
}

#[test]
fn nobody_else_changes_a_name_that_an_upload_gets_at_its_end() {
    for first in ["STOR f", "STOR new", "STOR link"] {
        let place = tree();
        let settings = [("atomic-uploads", "yes"), ("site-symlink", "yes")];
        let server = served(&place, &settings);
        fs::write(place.join("x"), "x").unwrap();
        let going = begin(&server, first);
        let name = if first == "STOR new" { "new" } else { "f" };
        let mut other = server.ann();
        let mut sftp = packets::Client::beside(server.running().services(), "ann", "secret");
        for name in [name.to_owned(), format!("here/{name}")] {
            other.expect("RNFR x", 350);
            other.expect(&format!("RNTO {name}"), 450);
            other.expect(&format!("DELE {name}"), 450);
            other.expect("SITE CPFR x", 350);
            other.expect(&format!("SITE CPTO {name}"), 450);
            let two = |one: &str, two: &str| Body::new().string(one).string(two);
            let posix = Body::new().string("posix-rename@openssh.com");
            let hard = Body::new().string("hardlink@openssh.com");
            for (kind, body) in [
                (packets::REMOVE, Body::new().string(&name)),
                (packets::RENAME, two("x", &name)),
                (packets::SYMLINK, two("x", &name)),
                (EXTENDED, posix.string("x").string(&name)),
                (EXTENDED, hard.string("x").string(&name)),
            ] {
                assert_eq!(sftp.status(kind, body), FAILURE, "{first}, then {kind}");
            }
        }
        // Other names of the file are nobody's.
        other.expect("DELE d/hard", 250);
        assert_eq!(content(place.path(), "x").as_deref(), Some("x"));
        assert_eq!(end(going), 226, "{first}");
        assert_eq!(content(place.path(), name).as_deref(), Some("first second"));
        other.expect("RNFR x", 350);
        other.expect(&format!("RNTO {name}"), 250);
        other.expect(&format!("DELE {name}"), 250);
        sftp.end().unwrap();
    }
}

#[test]
fn a_file_that_is_uploaded_is_no_part() {
    for atomic in ["no", "yes"] {
        for first in ["STOR f", "APPE f", "STOR new"] {
            let place = tree();
            let server = served(&place, &[("atomic-uploads", atomic)]);
            fs::write(place.join("part"), "part").unwrap();
            let going = begin(&server, first);
            let mut other = server.ann();
            let code = other.cmd("COMB whole part d/hard").code;
            assert_eq!(code, if first == "STOR new" { 250 } else { 450 }, "{first}");
            if first != "STOR new" {
                assert_eq!(content(place.path(), "whole"), None);
                assert_eq!(content(place.path(), "part").as_deref(), Some("part"));
                other.expect("COMB part f", 450);
            } else if atomic == "no" {
                other.expect("COMB whole new", 450);
            }
            assert_eq!(end(going), 226, "{first}");
            let name = if first == "STOR new" { "new" } else { "f" };
            other.expect(&format!("COMB all {name}"), 250);
        }
    }
}

#[test]
fn a_close_that_fails_does_not_ask_for_another_try() {
    let place = tree();
    let server = served(&place, &[]);
    let mut sftp = packets::Client::beside(server.running().services(), "ann", "secret");
    let handle = sftp.open("x", NEW);
    assert_eq!(sftp.write(&handle, 0, b"data"), packets::OK);
    fs::remove_file(place.join("x")).unwrap();
    let mut closed = sftp.call(packets::CLOSE, Body::new().string(&handle));
    assert_eq!(closed.u32(), FAILURE);
    assert_eq!(closed.string(), b"The transfer has failed");
    sftp.end().unwrap();
}

/// A laptop whose network has changed comes again from another address, before
/// the server has given up its first session.
#[test]
fn an_upload_of_a_lost_client_gives_way_to_the_next_of_its_user() {
    const KEEPALIVE: Duration = Duration::from_millis(200);
    for atomic in ["no", "yes"] {
        let place = tree();
        let server = server()
            .directory(place.path())
            .set("atomic-uploads", atomic)
            .user("ann", "secret", "read-write")
            .user("bob", "secret", "read-write")
            .with(|config| config.ssh.keepalive = KEEPALIVE)
            .start();
        let (mut lost, _data) = begin(&server, "STOR f");
        server.until("silence", |server| {
            let all = server.running().services().registry.all();
            all.iter().any(|live| live.silence() >= 2 * KEEPALIVE)
        });
        let mut other = server.login("bob", "secret");
        let _port = other.data();
        other.expect("STOR f", 450);
        assert_eq!(server.ann().store("STOR f", b"whole").code, 226, "{atomic}");
        assert_eq!(content(place.path(), "f").unwrap(), "whole", "{atomic}");
        assert!(lost.try_line().is_ok_and(|line| line.is_none()));
    }
}
