//! The examples do what they say.
#![allow(dead_code)]

use crate::common;

#[path = "../../examples/both_protocols.rs"]
mod both_protocols;
#[path = "../../examples/own_users.rs"]
mod own_users;
#[path = "../../examples/reports.rs"]
mod reports;
#[path = "../../examples/smallest.rs"]
mod smallest;
#[path = "../../examples/upload_gateway.rs"]
mod upload_gateway;

use std::time::Duration;

use common::{Client, TempDir};

const ANY: &str = "127.0.0.1:0";

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_smallest_serves_a_directory() {
    let place = TempDir::new("smallest");
    std::fs::write(place.join("a.txt"), "hello").unwrap();
    let running = smallest::start(place.path().to_str().unwrap(), ANY).unwrap();
    let mut client = Client::greeted(running.addresses()[0].0);
    client.login("anonymous", "x");
    client.expect("TYPE I", 200);
    assert_eq!(client.fetch("RETR a.txt"), b"hello");
    client.expect("DELE a.txt", 550);
    drop(client);
    assert!(running.stop(Duration::from_secs(5)));
}

#[test]
fn users_of_a_closure_have_homes_of_their_own() {
    let running = own_users::start(ANY).unwrap();
    let mut ann = Client::greeted(running.addresses()[0].0);
    ann.login("ann", "nna");
    assert_eq!(ann.store("STOR a", b"1").code, 226);
    let mut bob = Client::greeted(running.addresses()[0].0);
    bob.expect("USER bob", 331);
    bob.expect("PASS bob", 230);
    bob.expect("SIZE a", 550);
    let mut eve = Client::greeted(running.addresses()[0].0);
    eve.expect("USER ann", 331);
    eve.expect("PASS ann", 530);
}

#[test]
fn reports_are_new_for_each_download() {
    let running = reports::start(ANY).unwrap();
    let mut client = Client::greeted(running.addresses()[0].0);
    client.login("anonymous", "x");
    client.expect("TYPE I", 200);
    for number in 1..3 {
        let report = text(client.fetch("RETR report.txt"));
        assert_eq!(report, format!("Report {number} of this server.\n"));
    }
    let names = text(client.fetch("NLST"));
    assert!(
        names.contains("inbox\r\n") && names.contains("report.txt\r\n"),
        "{names}"
    );
    assert_eq!(client.store("STOR inbox/a", b"1").code, 226);
    assert_eq!(client.fetch("RETR inbox/a"), b"1");
    client.expect("DELE report.txt", 502);
    let _passive = client.epsv();
    assert_eq!(client.cmd("STOR report.txt").code, 550);
}

#[test]
fn the_gateway_hands_on_what_is_whole() {
    let (running, arrived) = upload_gateway::start(ANY).unwrap();
    let mut client = Client::greeted(running.addresses()[0].0);
    client.login("anonymous", "x");
    client.expect("TYPE I", 200);
    assert_eq!(client.store("STOR scan.pdf", b"pages").code, 226);
    let file = arrived.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(
        (file.name.as_str(), &file.content[..]),
        ("scan.pdf", &b"pages"[..])
    );
    // One that breaks off is never seen, and its name is free.
    let mut data = client.data();
    client.expect("STOR scan.pdf", 150);
    data.send(b"pag");
    client.send("ABOR");
    client.wait_for(426);
    client.wait_for(226);
    drop(data);
    assert_eq!(client.store("STOR scan.pdf", b"again").code, 226);
    let file = arrived.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(file.content, b"again");
}

#[cfg(feature = "sftp")]
#[test]
fn both_protocols_see_the_same_files() {
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    let place = TempDir::new("both");
    let running = both_protocols::start(ANY, ANY, place.path()).unwrap();
    let mut client = Client::greeted(running.addresses()[0].0);
    client.login("guest", "guest");
    client.expect("TYPE I", 200);
    assert_eq!(client.store("STOR a", b"by ftp").code, 226);

    let needed = std::env::var_os("WHARF_NEED_CLIENTS").is_some_and(|value| value == "1");
    if !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join("sftp").is_file())
    {
        assert!(!needed, "sftp is missing");
        return eprintln!("SKIP sftp");
    }
    // The password comes from a program, as there is no terminal.
    let ask = place.join("ask");
    std::fs::write(&ask, "#!/bin/sh\necho guest\n").unwrap();
    std::fs::set_permissions(&ask, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(place.join("commands"), "rename a b\nget b\nput b c\n").unwrap();
    let port = running.addresses()[1].0.port().to_string();
    let options = [
        "BatchMode=no",
        "PubkeyAuthentication=no",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
    ];
    let output = Command::new("timeout")
        .args(["60", "sftp", "-q", "-F/dev/null"])
        .args(options.map(|option| format!("-o{option}")))
        .args(["-b", "commands", "-P", &port, "guest@127.0.0.1"])
        .current_dir(place.path())
        .env("SSH_ASKPASS", &ask)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read(place.join("b")).unwrap(), b"by ftp");
    assert_eq!(client.fetch("RETR c"), b"by ftp");
    client.expect("SIZE a", 550);
}
