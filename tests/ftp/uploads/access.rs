//! Access control lists, extended attributes and setgid: what a directory
//! gives to the files made in it, and what a file keeps that is replaced.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::io::Errno;

use super::common::{TempDir, TestServer, server};
use super::packets::{self, Body, NEW, SETSTAT};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
/// A user of the lists, who owns nothing.
const NAMED: u8 = 77;

/// A list as the kernel has it: the owner, a named user, the group, the mask
/// and everybody else.
fn list(owner: u8, named: u8, group: u8, mask: u8, others: u8) -> Vec<u8> {
    let none = [255; 4];
    let entries = [
        (0x01, owner, none),
        (0x02, named, [NAMED, 0, 0, 0]),
        (0x04, group, none),
        (0x10, mask, none),
        (0x20, others, none),
    ];
    let mut bytes = vec![2, 0, 0, 0];
    for (tag, perm, id) in entries {
        bytes.extend_from_slice(&[tag, 0, perm, 0]);
        bytes.extend_from_slice(&id);
    }
    bytes
}

fn set(path: &Path, name: &str, value: &[u8]) {
    setxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|errno| panic!("{name} at {}: {errno}", path.display()));
}

fn value(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 4096];
    match getxattr(path, name, &mut buffer[..]) {
        Ok(length) => Some(buffer[..length].to_vec()),
        Err(Errno::NODATA) => None,
        Err(errno) => panic!("{name} at {}: {errno}", path.display()),
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

fn served(place: &TempDir, atomic: &str) -> TestServer {
    server()
        .directory(place.path())
        .set("atomic-uploads", atomic)
        .set("upload-receipt", "sidecar")
        .set("file-mode", "666")
        .set("dir-mode", "777")
        .start()
}

#[test]
fn a_default_list_decides_who_may_what() {
    for atomic in ["no", "yes"] {
        let place = TempDir::new("lists");
        set(place.path(), DEFAULT, &list(7, 6, 4, 7, 0));
        let server = served(&place, atomic);
        let mut client = server.ann();
        assert_eq!(client.store("STOR stored", b"x").code, 226);
        assert_eq!(client.store("APPE appended", b"x").code, 226);
        assert_eq!(client.store("STOU unique", b"x").code, 226);
        client.expect("SITE COPY stored copied", 250);
        client.expect("MKD made", 257);
        assert_eq!(client.store("STOR made/inside", b"x").code, 226);
        let mut sftp = packets::Client::beside(server.running().services(), "ann", "secret");
        sftp.put("over-sftp", b"x");
        sftp.end().unwrap();
        let names = [
            "stored",
            "stored.sha256",
            "appended",
            "unique",
            "copied",
            "made",
            "made/inside",
            "over-sftp",
        ];
        for name in names {
            let path = place.path().join(name);
            let what = format!("{name}, atomic {atomic}: {:o}", mode(&path));
            assert_eq!(mode(&path) & 0o007, 0, "{what}");
            let mask = if name == "made" { 7 } else { 6 };
            let want = list(if name == "made" { 7 } else { 6 }, 6, 4, mask, 0);
            assert_eq!(value(&path, ACCESS), Some(want), "{what}");
        }
        assert!(value(&place.path().join("made"), DEFAULT).is_some());
    }
}

#[test]
fn a_replaced_file_keeps_its_list_and_attributes() {
    // Where the directory gives nothing, and where it would open the file wider.
    for default in [None, Some(list(7, 7, 7, 7, 7))] {
        let place = TempDir::new("lists");
        let at = |name: &str| place.path().join(name);
        for name in ["with-list", "plain"] {
            std::fs::write(at(name), b"old").unwrap();
        }
        std::fs::set_permissions(at("plain"), PermissionsExt::from_mode(0o640)).unwrap();
        let own = list(6, 4, 0, 4, 0);
        set(&at("with-list"), ACCESS, &own);
        set(&at("with-list"), "user.origin", b"camera 7");
        if let Some(default) = &default {
            set(place.path(), DEFAULT, default);
        }
        let server = served(&place, "yes");
        let mut client = server.ann();
        assert_eq!(client.store("STOR part", b"x").code, 226);
        for round in ["STOR", "SITE COPY", "COMB"] {
            for name in ["with-list", "plain"] {
                let before = std::fs::metadata(at(name)).unwrap().ino();
                match round {
                    "STOR" => assert_eq!(client.store(&format!("STOR {name}"), b"new").code, 226),
                    "COMB" => {
                        client.expect("SITE COPY part piece", 250);
                        client.expect(&format!("COMB {name} piece"), 250);
                    }
                    _ => drop(client.expect(&format!("SITE COPY part {name}"), 250)),
                }
                assert_ne!(std::fs::metadata(at(name)).unwrap().ino(), before);
                let want = (name == "with-list").then(|| own.clone());
                assert_eq!(value(&at(name), ACCESS), want, "{round} {name}");
            }
            assert_eq!(mode(&at("plain")), 0o640, "{round}");
            let origin = value(&at("with-list"), "user.origin");
            assert_eq!(origin.as_deref(), Some(&b"camera 7"[..]), "{round}");
        }
    }
}

#[test]
fn a_directory_keeps_its_setgid_bit() {
    let place = TempDir::new("setgid");
    let directory = place.path().join("d");
    std::fs::create_dir(&directory).unwrap();
    let server = served(&place, "no");
    let mut client = server.ann();
    let mut sftp = packets::Client::beside(server.running().services(), "ann", "secret");
    let setgid = || std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o2755));
    for bits in ["755", "700", "2775", "0"] {
        setgid().unwrap();
        client.expect(&format!("SITE CHMOD {bits} d"), 200);
        assert_eq!(mode(&directory) & 0o6000, 0o2000, "SITE CHMOD {bits}");
        setgid().unwrap();
        client.expect(&format!("MFF UNIX.mode={bits}; d"), 213);
        assert_eq!(mode(&directory) & 0o6000, 0o2000, "MFF {bits}");
        setgid().unwrap();
        let wanted = u32::from_str_radix(bits, 8).unwrap();
        let body = Body::new().string("d").u32(4).u32(wanted);
        assert_eq!(sftp.status(SETSTAT, body), packets::OK);
        assert_eq!(mode(&directory), 0o2000 | wanted & 0o777, "SETSTAT {bits}");
    }
    // A file gets no such bit, and loses one.
    sftp.close(&[]);
    let handle = sftp.open("f", NEW);
    assert_eq!(sftp.close(&handle), packets::OK);
    client.expect("SITE CHMOD 6755 f", 200);
    assert_eq!(mode(&place.path().join("f")), 0o755);
    sftp.end().unwrap();
}
