//! Who has failed: an error of storage is told as one, whatever its number
//! says elsewhere, and the session goes on.

use std::sync::Arc;

use rustix::io::Errno;
use wharf::storage::{FileSystem, MemoryFs, Mounts, VirtualPath};

use super::common::{put_file, server};
use super::ftp;
use super::sftp;

/// An error number of a file, and the replies that may tell it. 450: another
/// try may work. 421 and 426 are for connections alone.
const REPLIES: &[(Errno, &[u16])] = &[
    (Errno::NOTCONN, &[451, 550]),
    (Errno::TIMEDOUT, &[450, 451, 550]),
    (Errno::PIPE, &[451, 550]),
    (Errno::AGAIN, &[450, 451, 550]),
    (Errno::XDEV, &[451, 550]),
];

#[test]
fn storage_is_never_taken_for_the_connection() {
    for (errno, replies) in REPLIES {
        ftp::every_operation_fails(errno.raw_os_error(), replies, "yes");
    }
}

#[test]
fn storage_is_never_taken_for_the_channel() {
    for (errno, _) in REPLIES {
        sftp::every_operation_fails(errno.raw_os_error(), true);
    }
}

/// Between two file systems in one home a file is moved by a copy.
#[test]
fn files_are_renamed_between_file_systems() {
    for (allowed, code) in [("yes", 250), ("no", 550)] {
        let (base, folder) = (MemoryFs::new(), MemoryFs::new());
        put_file(&base, b"f", b"contents");
        put_file(&base, b"d/g", b"in a directory");
        put_file(&folder, b"old", b"old");
        let at = VirtualPath::root().join(b"pub").unwrap();
        let mounts = Mounts::new(Arc::new(base)).mount(at, Arc::new(folder));
        let server = server()
            .files(Arc::new(mounts.unwrap()) as Arc<dyn FileSystem>)
            .set("cross-device-rename", allowed)
            .start();
        let mut client = server.ann();
        client.expect("MFMT 20200102030405 f", 213);
        client.expect("SITE CHMOD 640 f", 200);
        for (from, to) in [("f", "pub/new"), ("pub/new", "g"), ("g", "pub/old")] {
            client.expect(
                &format!("RNFR {}", if code == 250 { from } else { "f" }),
                350,
            );
            client.expect(
                &format!("RNTO {to}"),
                if code == 250 || to == "g" { 250 } else { 550 },
            );
            if code != 250 {
                assert_eq!(server.names("/pub"), ["old"]);
                assert_eq!(server.content("pub/old").unwrap(), b"old");
                break;
            }
            assert_eq!(server.content(from), None);
            assert_eq!(server.content(to).unwrap(), b"contents");
            assert_eq!(
                client.expect(&format!("MDTM {to}"), 213).text(),
                "20200102030405"
            );
            let facts = client.expect(&format!("MLST {to}"), 250);
            assert!(format!("{facts:?}").contains("UNIX.mode=0640"), "{facts:?}");
        }
        // Directories are not copied in silence.
        client.expect("RNFR d", 350);
        let reply = client.expect("RNTO pub/d", 550);
        assert_eq!(
            reply.text(),
            "Source and target are on different file systems."
        );
        assert_eq!(server.content("d/g").unwrap(), b"in a directory");
    }
}

/// An entry that can't be looked at takes no other with it.
#[test]
fn a_listing_shows_what_it_cannot_look_at() {
    for errno in [Errno::IO, Errno::NOTCONN, Errno::ACCESS, Errno::STALE] {
        for line in ["LIST", "MLSD", "LIST -R", "STAT .", "LIST *"] {
            let (faulty, server) = ftp::start("no");
            let mut client = server.ann();
            let whole = list(&mut client, line);
            faulty.plan.fail(0, 0);
            list(&mut client, line);
            let done = faulty.plan.done();
            for (at, _) in done
                .iter()
                .enumerate()
                .filter(|(_, name)| **name == "entry metadata")
            {
                faulty.plan.fail(at + 1, errno.raw_os_error());
                let listing = list(&mut client, line);
                assert!(faulty.plan.heal());
                let names = |listing: &str| {
                    let line = |line: &str| {
                        let name = line.split(" -> ").next()?;
                        name.trim_end().rsplit(' ').next().map(String::from)
                    };
                    let lines = listing.lines().map(line);
                    lines.collect::<Vec<_>>()
                };
                assert_eq!(names(&listing), names(&whole), "{line}, {at}: {listing}");
            }
        }
    }
}

fn list(client: &mut super::common::Client, line: &str) -> String {
    if line.starts_with("STAT") {
        return client.cmd(line).inner().join("\n");
    }
    String::from_utf8(client.fetch(line)).unwrap()
}
