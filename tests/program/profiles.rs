//! `--profile`: sets of settings for the usual purposes, as clients see them.
#![cfg(feature = "cli")]

use crate::common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::process::{Process, add_user, wharfd};
use common::{Client, TempDir};
use wharf::daemon::{Key, PROFILES, Settings, Source};

fn check(command: &mut Command) -> String {
    let output = command.arg("--check").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn check_shows_each_setting_of_each_profile_and_where_it_is_from() {
    for profile in PROFILES {
        let text = check(wharfd().args(["--profile", profile.name, "/"]));
        let mut settings = Settings::default();
        Source::from(profile).apply(&mut settings, &mut Vec::new());
        for (key, _) in profile.settings {
            let value = &Key::find(key).unwrap().shown(&settings)[0];
            let lines = format!("\n# from profile {}:\n{key} {value}\n", profile.name);
            assert!(text.contains(&lines), "{lines} is not in\n{text}");
        }
        let help = wharfd().arg("--help").output().unwrap().stdout;
        let help = String::from_utf8(help).unwrap();
        assert!(help.contains(profile.help), "{}", profile.name);
    }
}

#[test]
fn whatever_is_set_is_stronger_than_a_profile() {
    let directory = TempDir::new("profile");
    let file = directory.join("conf");
    let set = |text: &str| std::fs::write(&file, text).unwrap();
    let shown = |command: &mut Command| {
        let text = check(command.arg("-c").arg(&file).arg("/"));
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix("idle-timeout "));
        line.unwrap().to_owned()
    };
    // The file names the profile, and then it does not matter where.
    set("profile camera\n");
    assert_eq!(shown(&mut wharfd()), "900");
    set("idle-timeout 77\nprofile camera\n");
    assert_eq!(shown(&mut wharfd()), "77");
    assert_eq!(shown(wharfd().env("WHARFD_IDLE_TIMEOUT", "78")), "78");
    assert_eq!(shown(wharfd().args(["--idle-timeout", "79"])), "79");
    // A profile of the command line is weaker than the file, too.
    set("idle-timeout 77\n");
    assert_eq!(shown(wharfd().args(["--profile", "mirror"])), "77");
    set("\n");
    assert_eq!(shown(wharfd().env("WHARFD_PROFILE", "mirror")), "120");
    // Of two profiles the stronger one counts alone.
    set("profile camera\n");
    let text = check(
        wharfd()
            .args(["--profile", "mirror", "-c"])
            .arg(&file)
            .arg("/"),
    );
    assert!(text.contains("\nidle-timeout 120\n") && text.contains("\nquota-full refuse\n"));
    let output = wharfd()
        .args(["--profile", "cameras", "/"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(100));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("mirror home upload camera scanner"), "{said}");
}

/// A server with a profile, and an anonymous client of it.
fn served(root: &Path, arguments: &[&str]) -> (Process, Client) {
    let server = Process::serve(root, arguments);
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    client.expect("TYPE I", 200);
    (server, client)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn mirror_is_for_reading() {
    let root = TempDir::new("profile");
    std::fs::write(root.join("file"), "content").unwrap();
    std::fs::write(root.join(".hidden"), "").unwrap();
    let (_server, mut client) = served(root.path(), &["--profile", "mirror"]);
    assert_eq!(client.fetch("RETR file"), b"content");
    assert_eq!(client.fetch("NLST"), b"file\r\n");
    client.data();
    client.expect("STOR new", 550);
    client.expect("DELE file", 550);
}

#[test]
fn upload_takes_and_shows_nothing() {
    let root = TempDir::new("profile");
    let (server, mut client) = served(root.path(), &["--profile", "upload"]);
    assert_eq!(client.store("STOR box", b"abc").code, 226);
    assert_eq!(mode(&root.join("box")), 0o640);
    server.log.wait_for("received /box, 3 bytes in ");
    assert!(server.log.text().contains(", SHA-256 ba7816bf"));
    // What was there before the session is not the session's.
    std::fs::write(root.join("old"), "x").unwrap();
    for line in ["RETR box", "RETR old", "STOR old", "DELE old", "MDTM old"] {
        client.data();
        client.expect(line, 550);
    }
    assert_eq!(client.fetch("NLST"), b"box\r\n");
    client.data();
    client.expect("STOR .htaccess", 550);
    assert!(!root.join(".htaccess").exists());
    // A flag is stronger.
    let arguments = ["--profile", "upload", "--anonymous-rights", "read-write"];
    let (_server, mut client) = served(root.path(), &arguments);
    assert_eq!(client.fetch("RETR box"), b"abc");
}

#[test]
fn camera_is_a_ring() {
    let root = TempDir::new("profile");
    let arguments = ["--profile", "camera", "--quota-bytes", "1000"];
    let (server, mut client) = served(root.path(), &arguments);
    for number in 0..5 {
        let name = format!("STOR picture{number}.jpg");
        assert_eq!(client.store(&name, &[1; 400]).code, 226);
    }
    let line = server
        .log
        .wait_for("deleted /picture0.jpg: the quota is full");
    assert!(line.contains("INFO"), "{line}");
    assert_eq!(client.fetch("NLST").split(|byte| *byte == b'\n').count(), 3);
}

#[test]
fn scanner_delivers_to_a_group() {
    let root = TempDir::new("profile");
    let (_server, mut client) = served(root.path(), &["--profile", "scanner"]);
    client.expect("MKD day", 257);
    assert_eq!(client.store("STOR day/scan.pdf", b"abc").code, 226);
    assert_eq!(mode(&root.join("day")), 0o775);
    assert_eq!(mode(&root.join("day/scan.pdf")), 0o664);
    std::fs::write(root.join("day/old.pdf"), "x").unwrap();
    client.expect("DELE day/old.pdf", 550);
    client.expect("DELE day/scan.pdf", 250);
}

#[test]
fn home_is_for_people() {
    let place = TempDir::new("profile");
    let home = place.join("ann");
    std::fs::create_dir(&home).unwrap();
    let users = place.join("users");
    add_user(&users, "ann", &home, &[]);
    let server = Process::for_users(&users, &["--profile", "home"]);
    let mut client = Client::greeted(server.address());
    client.login("ann", "secret");
    client.expect("TYPE I", 200);
    assert_eq!(client.store("STOR letter", b"abc").code, 226);
    assert_eq!(mode(&home.join("letter")), 0o640);
    // What is not whole is not there.
    let mut data = client.data();
    client.expect("STOR half", 150);
    data.send(b"ha");
    assert!(!home.join("half").exists());
    data.send(b"lf");
    drop(data);
    client.wait_for(226);
    assert_eq!(std::fs::read(home.join("half")).unwrap(), b"half");
}
