//! `wharfd passwd` as it is started from a shell.
#![cfg(feature = "cli")]

use crate::common as temp;

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use temp::TempDir;
use wharf::auth::password;

struct Place(TempDir);

impl Place {
    fn new(name: &str) -> Self {
        Place(TempDir::new(name))
    }

    fn file(&self) -> PathBuf {
        self.0.join("users")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    /// Runs with the file's name in place of `@`; returns code and messages.
    fn run(&self, input: &str, arguments: &[&str]) -> (i32, String) {
        let file = self.file();
        let arguments = arguments.iter().map(|word| match *word {
            "@" => file.as_path(),
            word => Path::new(word),
        });
        let mut child = Command::new(env!("CARGO_BIN_EXE_wharfd"))
            .arg("passwd")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end without reading.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        let messages = String::from_utf8(stderr).unwrap();
        (status.code().unwrap(), messages)
    }
}

#[test]
fn a_first_user_is_made_and_can_log_in() {
    let place = Place::new("first");
    let (code, messages) = place.run("Tr0ub4dor&3\n", &["-c", "@", "ann", "--rounds", "1000"]);
    assert_eq!(code, 0, "{messages}");
    assert!(messages.contains("/srv/ftp/ann"), "{messages}");
    let text = place.text();
    let fields: Vec<_> = text.trim_end().split(':').collect();
    assert_eq!(fields.len(), 5);
    assert_eq!(
        (fields[0], fields[2], fields[3]),
        ("ann", "/srv/ftp/ann", "read-write")
    );
    assert!(password::verify(fields[1], b"Tr0ub4dor&3").unwrap());
    let mode = std::fs::metadata(place.file())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn a_change_keeps_everything_else_and_the_mode() {
    let place = Place::new("change");
    let before = "# ours\nbob:*:/srv/b:elr:tls=required\r\n\nann:!:/srv/a:elr";
    std::fs::write(place.file(), before).unwrap();
    std::fs::set_permissions(place.file(), PermissionsExt::from_mode(0o640)).unwrap();
    let (code, messages) = place.run("secret", &["@", "bob", "--rounds", "1000"]);
    assert_eq!(code, 0, "{messages}");
    let text = place.text();
    let hash = text.split(':').nth(1).unwrap();
    assert!(password::verify(hash, b"secret").unwrap());
    assert_eq!(text.replace(hash, "*"), before);
    let mode = std::fs::metadata(place.file()).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o640);
    for (arguments, want) in [
        (&["@", "bob", "--no-password"][..], before.to_string()),
        (
            &["@", "bob", "-k", "--rights", "drop"],
            before.replace("/b:elr", "/b:drop"),
        ),
        (&["@", "bob", "-k", "--rights", "elr"], before.to_string()),
        (&["@", "bob", "--lock"], before.replace("b:*", "b:!*")),
        (&["@", "bob", "--unlock"], before.to_string()),
        (
            &["@", "ann", "--delete"],
            before.replace("ann:!:/srv/a:elr", ""),
        ),
    ] {
        let (code, messages) = place.run("", arguments);
        assert_eq!((code, messages.as_str()), (0, ""), "{arguments:?}");
        assert_eq!(place.text(), want, "{arguments:?}");
    }
    // Nothing is left beside the file.
    assert_eq!(std::fs::read_dir(&place.0).unwrap().count(), 1);
}

#[test]
fn a_missing_home_is_told_or_made() {
    let place = Place::new("home");
    let home = place.0.join("homes/ann");
    let home = home.to_str().unwrap();
    let add = ["-c", "@", "ann", "--rounds", "1000", "--home", home];
    let (code, messages) = place.run("secret", &add);
    assert_eq!(code, 0, "{messages}");
    assert!(messages.contains("--create-home makes it"), "{messages}");
    assert!(!Path::new(home).exists());
    let (code, messages) = place.run("", &["@", "ann", "-k", "--create-home"]);
    assert_eq!((code, messages.as_str()), (0, ""));
    let mode = std::fs::metadata(home).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o750);
    // One that is there stays as it is.
    let (code, messages) = place.run("", &["@", "ann", "-k", "--create-home"]);
    assert_eq!((code, messages.as_str()), (0, ""));
}

#[test]
fn bad_usage_says_what_to_do_and_changes_nothing() {
    let place = Place::new("usage");
    let (code, messages) = place.run("x\n", &["@", "ann"]);
    assert_eq!(code, 100);
    assert!(messages.contains("-c"), "{messages}");
    let text = "ann:*:/srv/a:elr:\n";
    std::fs::write(place.file(), text).unwrap();
    for (input, arguments, part) in [
        ("x\n", &["@"][..], "NAME"),
        ("x\n", &["@", "ann", "secret"], "standard input"),
        ("", &["@", "ann"], "no password"),
        ("\n", &["@", "ann"], "no password"),
        ("x\n", &["@", "a:b"], "can't be the name"),
        ("x\n", &["@", "ann", "--rights", "rx"], "elradfmwMT"),
        ("x\n", &["@", "ann", "--home", "srv"], "begins with '/'"),
        ("x\n", &["@", "ann", "--options", "uid=0,gid=0"], "root"),
        ("x\n", &["@", "ann", "--rounds", "1"], "1000"),
        ("x\n", &["@", "ann", "--lock", "--delete"], "exclude"),
        ("x\n", &["@", "ann", "--colour"], "colour"),
        ("", &["@", "bob", "--delete"], "no user 'bob'"),
        ("", &["@", "bob", "--lock"], "no user 'bob'"),
    ] {
        let (code, messages) = place.run(input, arguments);
        assert_eq!(code, 100, "{arguments:?}: {messages}");
        assert!(messages.contains(part), "{arguments:?}: {messages}");
        assert_eq!(place.text(), text, "{arguments:?}");
    }
    let (code, _) = place.run(
        "x\n",
        &["-c", "/proc/no/such/file", "ann", "--rounds", "1000"],
    );
    assert_eq!(code, 111);
}

#[test]
fn two_at_once_lose_nothing() {
    let place = Place::new("race");
    std::fs::write(place.file(), "").unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let place = &place;
            scope.spawn(move || {
                let name = format!("user{number}");
                assert_eq!(place.run("", &["@", &name, "--no-password"]).0, 0);
            });
        }
    });
    assert_eq!(place.text().lines().count(), 8);
}

#[test]
fn a_directory_of_users_is_changed_file_by_file() {
    let place = Place::new("users-directory");
    std::fs::create_dir(place.file()).unwrap();
    let read = |name: &str| std::fs::read_to_string(place.file().join(name)).unwrap();
    let new = ["@", "ann", "--rounds", "1000", "--home", "/tmp"];
    let (code, messages) = place.run("Tr0ub4dor&3\n", &new);
    assert_eq!(code, 0, "{messages}");
    let line = read("ann");
    assert!(
        line.starts_with("$6$") && line.ends_with(":/tmp:read-write:\n"),
        "{line}"
    );
    let mode = std::fs::metadata(place.file().join("ann")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    let home = ["--home", "/srv/%u", "--no-password", "@", "@staff"];
    let (code, messages) = place.run("", &home);
    assert_eq!(
        (code, read("@staff").as_str()),
        (0, "*:/srv/%u::\n"),
        "{messages}"
    );
    std::fs::write(place.file().join("@staff"), "*:/tmp:elr:\n").unwrap();
    let (code, messages) = place.run(
        "",
        &["--no-password", "--options", "group=staff", "@", "bob"],
    );
    assert_eq!(
        (code, read("bob").as_str()),
        (0, "*:::group=staff\n"),
        "{messages}"
    );
    assert!(
        messages.contains("added 'bob' with home /tmp and rights elr"),
        "{messages}"
    );

    assert_eq!(place.run("", &["--lock", "@", "ann"]).0, 0);
    assert!(read("ann").starts_with("!$6$"));
    for (arguments, part) in [
        (["--lock", "@", "nobody"], "there is no user"),
        (["--delete", "@", "nobody"], "there is no user"),
        (["--no-password", "@", "../ann"], "plain name"),
        (["--no-password", "@", ".ann"], "plain name"),
    ] {
        let (code, messages) = place.run("", &arguments);
        assert_eq!(code, 100, "{arguments:?}");
        assert!(messages.contains(part), "{messages}");
    }
    std::fs::write(place.file().join("cid"), "*:/tmp:elr:\n*:/:elr:\n").unwrap();
    let (code, messages) = place.run("", &["--lock", "@", "cid"]);
    assert_eq!(code, 100);
    assert!(
        messages.contains("cid:2:1: expected one line"),
        "{messages}"
    );
    assert_eq!(place.run("", &["--delete", "@", "ann"]).0, 0);
    let mut left: Vec<_> = std::fs::read_dir(place.file())
        .unwrap()
        .flatten()
        .map(|f| f.file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["@staff", "bob", "cid"]);
}
