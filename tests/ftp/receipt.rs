//! Upload receipts: the checksum of what came, for who asks for it.

use crate::common;

use std::process::Command;
use std::sync::{Arc, Mutex};

use common::{TempDir, server};
use wharf::events::{Event, Events, Who};

/// Paths of uploads with their checksums.
#[derive(Default)]
struct Sums(Mutex<Vec<(String, Option<String>)>>);

impl Events for Sums {
    fn event(&self, _: &Who<'_>, event: &Event<'_>) {
        if let Event::Upload(done) = event {
            let sum = done.sha256.map(String::from);
            self.0.lock().unwrap().push((done.path.to_string(), sum));
        }
    }
}

impl Sums {
    fn last(&self) -> Option<String> {
        self.0.lock().unwrap().pop().expect("an upload").1
    }
}

/// What the system's own program says about a file.
fn sha256sum(path: &std::path::Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim_start_matches('\\')[..64].to_owned()
}

#[test]
fn the_sum_is_that_of_the_file() {
    for atomic in ["no", "yes"] {
        let home = TempDir::new("receipt");
        let sums = Arc::new(Sums::default());
        let running = server()
            .directory(home.path())
            .set("upload-receipt", "sidecar")
            .set("atomic-uploads", atomic)
            .events(Arc::clone(&sums) as Arc<dyn Events>)
            .start();
        let mut client = running.ann();
        // From nothing to what would else go through a pipe.
        for size in [0, 1, 65_536, 3_000_001] {
            let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            assert_eq!(client.store("STOR a file", &content).code, 226);
            let sum = sha256sum(&home.join("a file"));
            assert_eq!(sums.last().as_deref(), Some(&sum[..]), "{size}");
            let sidecar = std::fs::read_to_string(home.join("a file.sha256")).unwrap();
            assert_eq!(sidecar, format!("{sum}  a file\n"));
        }
        let check = Command::new("sha256sum")
            .args(["-c", "a file.sha256"])
            .current_dir(home.path())
            .output()
            .unwrap();
        assert!(check.status.success(), "{check:?}");
        // Of the file, not of the line ends on the wire.
        client.expect("TYPE A", 200);
        assert_eq!(client.store("STOR text", b"a\r\nb\r\n").code, 226);
        assert_eq!(sums.last(), Some(sha256sum(&home.join("text"))));
        client.expect("TYPE I", 200);
        assert_eq!(client.store("APPE new", b"abc").code, 226);
        assert_eq!(sums.last(), Some(sha256sum(&home.join("new"))));
    }
}

#[test]
fn what_is_not_received_as_a_whole_has_none() {
    let home = TempDir::new("receipt");
    let sums = Arc::new(Sums::default());
    let running = server()
        .directory(home.path())
        .set("upload-receipt", "sidecar")
        .events(Arc::clone(&sums) as Arc<dyn Events>)
        .start();
    std::fs::write(home.join("old"), "1234").unwrap();
    let mut client = running.ann();
    assert_eq!(client.store("APPE old", b"56").code, 226);
    assert_eq!(sums.last(), None);
    client.expect("REST 2", 350);
    assert_eq!(client.store("STOR old", b"xx").code, 226);
    assert_eq!(sums.last(), None);
    let mut data = client.data();
    client.expect("STOR broken", 150);
    data.send(b"half");
    running.until("the first half", |running| {
        running
            .content("broken")
            .is_some_and(|half| half.len() == 4)
    });
    data.reset();
    client.wait_for(426);
    assert_eq!(sums.last(), None);
    assert_eq!(running.names(""), ["broken", "old"]);
    // No checksum of a checksum.
    assert_eq!(client.store("STOR x.sha256", b"mine").code, 226);
    assert!(sums.last().is_some());
    assert_eq!(running.names(""), ["broken", "old", "x.sha256"]);
}

/// Whatever changes a file takes its receipt away, or makes it anew.
#[test]
fn a_receipt_is_never_out_of_date() {
    for atomic in ["no", "yes"] {
        let home = TempDir::new("receipt");
        let running = server()
            .directory(home.path())
            .set("upload-receipt", "sidecar")
            .set("atomic-uploads", atomic)
            .start();
        let mut client = running.ann();
        let check = |what: &str| {
            for name in running.names("/") {
                let Some(file) = name.strip_suffix(".sha256").filter(|file| *file != "mine") else {
                    continue;
                };
                let sum = sha256sum(&home.join(file));
                let receipt = std::fs::read_to_string(home.join(&name)).unwrap();
                assert_eq!(receipt, format!("{sum}  {file}\n"), "{what}: {file}");
            }
        };
        std::fs::write(home.join("mine.sha256"), "no receipt").unwrap();
        std::fs::write(home.join("mine"), "mine").unwrap();
        for name in ["f", "g", "part"] {
            assert_eq!(
                client.store(&format!("STOR {name}"), name.as_bytes()).code,
                226
            );
        }
        assert_eq!(client.store("APPE f", b"more").code, 226);
        assert!(!home.join("f.sha256").exists());
        check("APPE");
        assert_eq!(client.store("STOR f", b"again").code, 226);
        client.expect("REST 2", 350);
        assert_eq!(client.store("STOR f", b"resumed").code, 226);
        check("REST");
        assert_eq!(client.store("STOR f", b"again").code, 226);
        client.expect("RNFR g", 350);
        client.expect("RNTO f", 250);
        check("RNTO");
        assert!(home.join("f.sha256").exists() && !home.join("g.sha256").exists());
        client.expect("COMB f part", 250);
        assert!(home.join("f.sha256").exists() && !home.join("part.sha256").exists());
        check("COMB");
        client.expect("SITE COPY f copy", 250);
        client.expect("DELE f", 250);
        assert!(home.join("copy.sha256").exists() && !home.join("f.sha256").exists());
        check("SITE COPY");
        // In place a broken upload has changed the file.
        let mut data = client.data();
        client.expect("STOR copy", 150);
        data.send(b"half");
        running.until("the first half", |running| {
            let all = running.running().services().registry.all();
            all.iter()
                .any(|live| live.bytes.load(std::sync::atomic::Ordering::SeqCst) == 4)
        });
        data.reset();
        client.wait_for(426);
        check("a broken upload");
        client.expect("DELE mine", 250);
        assert!(home.join("mine.sha256").exists(), "it was no receipt");
    }
}

#[test]
fn the_file_beside_is_within_the_rights_of_the_user() {
    let home = TempDir::new("receipt");
    let running = server()
        .directory(home.path())
        .set("upload-receipt", "sidecar")
        .user("cam", "secret", "upload-only")
        .start();
    std::fs::write(home.join("a.sha256"), "of somebody else").unwrap();
    let mut client = running.login("cam", "secret");
    // Without its receipt an upload is not acknowledged.
    assert_eq!(client.store("STOR a", b"abc").code, 451);
    assert_eq!(running.content("a.sha256").unwrap(), b"of somebody else");
    assert_eq!(client.store("STOR b", b"abc").code, 226);
    assert_eq!(running.content("b.sha256").unwrap().len(), 64 + 4);
}

#[test]
fn without_asking_there_is_none() {
    let home = TempDir::new("receipt");
    for (value, sum) in [("no", false), ("log", true)] {
        let sums = Arc::new(Sums::default());
        let running = server()
            .directory(home.path())
            .set("upload-receipt", value)
            .events(Arc::clone(&sums) as Arc<dyn Events>)
            .start();
        assert_eq!(running.ann().store("STOR a", b"abc").code, 226);
        assert_eq!(sums.last().is_some(), sum, "{value}");
        assert_eq!(running.names(""), ["a"]);
    }
}

#[cfg(feature = "cli")]
#[test]
fn the_sum_is_in_the_log_the_transfer_log_and_the_hook() {
    use std::os::unix::fs::PermissionsExt;

    let place = TempDir::new("receipt");
    let (root, hook) = (place.join("root"), place.join("hook"));
    let (transfers, record) = (place.join("transfers"), place.join("record"));
    std::fs::create_dir(&root).unwrap();
    let text = format!("#!/bin/sh\necho \"$WHARF_SHA256\" > {}\n", record.display());
    std::fs::write(&hook, text).unwrap();
    std::fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
    let server = common::process::Process::serve(
        &root,
        &[
            "--upload-receipt",
            "log",
            "--anonymous-rights",
            "read-write",
            "--transfer-log",
            transfers.to_str().unwrap(),
            "--on-upload",
            hook.to_str().unwrap(),
        ],
    );
    let mut client = common::Client::greeted(server.address());
    client.login("anonymous", "x@");
    client.expect("TYPE I", 200);
    assert_eq!(client.store("STOR a\u{1}b", b"abc").code, 226);
    let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let line = server.log.wait_for("session 1: received ");
    assert!(line.contains("received /a\\x01b, 3 bytes in "), "{line}");
    assert!(line.ends_with(&format!(", SHA-256 {sum}")), "{line}");
    let line = std::fs::read_to_string(transfers).unwrap();
    assert!(line.ends_with(&format!(" 0 * c {sum}\n")), "{line}");
    common::until("the hook", || {
        std::fs::read_to_string(&record).is_ok_and(|text| text.trim() == sum)
    });
    assert_eq!(client.fetch("RETR a\u{1}b"), b"abc");
    server.log.wait_for("session 1: sent /a\\x01b, 3 bytes in ");
}
