//! Shared folders: `mount=` of the users file.
#![cfg(feature = "cli")]

use crate::common;

use common::process::{Process, add_user};
use common::{Client, TempDir};

#[test]
fn a_shared_folder_has_its_rights_and_stays() {
    let place = TempDir::new("mounts");
    let made = |name: &str| {
        let path = place.join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let (ann, bob, shared) = (made("ann"), made("bob"), made("shared"));
    std::fs::write(ann.join("hidden"), "").unwrap();
    std::fs::create_dir(ann.join("shared")).unwrap();
    std::fs::write(ann.join("shared/under"), "").unwrap();
    std::fs::write(shared.join("a.txt"), "of all").unwrap();
    std::os::unix::fs::symlink(ann.join("hidden"), shared.join("out")).unwrap();
    let users = place.join("users");
    let options = |more: &str| {
        let shared = shared.display();
        format!("mount=/shared={shared}{more},mount=/team/gone={shared}/no,quota-bytes=10")
    };
    add_user(&users, "ann", &ann, &["--options", &options(":read-only")]);
    add_user(&users, "bob", &bob, &["--options", &options("")]);
    let server = Process::for_users(&users, &[]);
    let login = |name: &str| {
        let mut client = Client::greeted(server.address());
        client.login(name, "secret");
        client.expect("TYPE I", 200);
        client
    };
    let mut bob = login("bob");
    // More than the quota of the home.
    assert_eq!(bob.store("STOR shared/b.txt", &[b'b'; 100]).code, 226);
    assert_eq!(bob.store("STOR home.txt", &[b'b'; 100]).code, 552);

    let mut ann = login("ann");
    let names = String::from_utf8(ann.fetch("NLST")).unwrap();
    assert_eq!(names.lines().count(), 3, "hidden, shared and team: {names}");
    let names = String::from_utf8(ann.fetch("NLST shared")).unwrap();
    assert!(names.contains("a.txt") && names.contains("b.txt") && !names.contains("under"));
    assert_eq!(ann.fetch("RETR /shared/b.txt"), [b'b'; 100]);
    for line in [
        "DELE shared/b.txt",
        "MKD shared/d",
        "RMD shared",
        "RNFR shared",
        "RMD team",
        "DELE shared",
        "SITE RMDIR shared",
        "SITE CHMOD 777 shared/b.txt",
        "CWD team/gone",
        "CWD shared/../../bob",
        "SIZE shared/out",
        "MKD team/gone",
    ] {
        let code = ann.cmd(line).code;
        assert!(matches!(code, 550 | 553 | 450), "{line}: {code}");
    }
    let unused = ann.data();
    ann.expect("STOR shared/c.txt", 550);
    drop(unused);
    ann.expect("RNFR team", 350);
    assert_eq!(ann.cmd("RNTO moved").code / 100, 5);
    bob.expect("RNFR shared", 350);
    for line in ["RNTO moved", "RMD shared", "DELE shared"] {
        let code = bob.cmd(line).code;
        assert!(matches!(code, 550 | 553 | 450), "{line}: {code}");
    }
    assert_eq!(std::fs::read(shared.join("b.txt")).unwrap().len(), 100);
    assert!(shared.join("a.txt").exists());
    bob.expect("RNFR shared/b.txt", 350);
    bob.expect("RNTO shared/renamed.txt", 250);
    bob.expect("DELE shared/renamed.txt", 250);
    let line = server.log.wait_for("mount=/team/gone");
    assert!(line.contains("ERROR") || line.contains("error"), "{line}");
}
