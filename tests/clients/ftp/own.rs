//! Programs that upload to a temporary name and rename it, for users who may
//! store and neither delete nor rename.

use std::process::Command;

use super::common::TempDir;
use super::common::process::{Process, add_user, client_in, has, run};

/// A server of both protocols with a user of these rights, and its ports.
fn served(place: &TempDir, rights: &str) -> (Process, [u16; 2]) {
    let home = place.join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("old"), "old").unwrap();
    let users = place.join("users");
    add_user(&users, "ann", &home, &["--rights", rights]);
    let key = place.join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    let mut arguments = vec!["--atomic-uploads".to_owned()];
    let ssh = cfg!(feature = "sftp") && made.is_ok_and(|status| status.success());
    if ssh {
        arguments.push("--listen-sftp=127.0.0.1:0".into());
        arguments.push(format!("--host-key={}", key.display()));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = Process::for_users(&users, &arguments);
    let addresses = server.addresses(1 + usize::from(ssh));
    let sftp = addresses.get(1).map_or(0, |address| address.port());
    let ftp = addresses[0].port();
    (server, [ftp, sftp])
}

fn assert_whole(place: &TempDir) {
    let mut names: Vec<_> = std::fs::read_dir(place.join("home"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["1.jpg", "2.jpg", "3.jpg", "old"]);
    for name in &names[..3] {
        let there = std::fs::read_to_string(place.join("home").join(name)).unwrap();
        assert_eq!(&there, name);
    }
}

#[test]
fn temporary_names_end_well() {
    for rights in ["upload-only", "drop"] {
        for (client, protocol) in [("rclone", 0), ("rclone", 1), ("lftp", 0)] {
            if !has(client) {
                continue;
            }
            let place = TempDir::new("own");
            let (_server, ports) = served(&place, rights);
            let port = ports[protocol];
            if port == 0 {
                continue;
            }
            let local = place.join("local");
            std::fs::create_dir_all(local.join("tree")).unwrap();
            for name in ["1.jpg", "2.jpg", "3.jpg"] {
                std::fs::write(local.join("tree").join(name), name).unwrap();
            }
            // Once more is not too often: nothing is left to do, or it is replaced.
            for _ in 0..2 {
                match client {
                    "rclone" => rclone(&local, ["ftp", "sftp"][protocol], port),
                    _ => lftp(&local, port),
                }
                assert_whole(&place);
            }
        }
    }
}

fn rclone(local: &std::path::Path, protocol: &str, port: u16) {
    let hidden = run(client_in(local, "rclone").args(["obscure", "secret"]), "");
    let remote = format!(
        ":{protocol},host=127.0.0.1,port={port},user=ann,pass={}:",
        hidden.trim()
    );
    let arguments = ["--config", "/dev/null", "--retries", "1", "copy", "tree"];
    run(client_in(local, "rclone").args(arguments).arg(remote), "");
}

fn lftp(local: &std::path::Path, port: u16) {
    let script = format!(
        "set net:timeout 20; set net:max-retries 1; set cmd:fail-exit yes; \
         set ftp:ssl-allow no; set xfer:use-temp-file yes; set xfer:clobber yes; \
         open -u ann,secret ftp://127.0.0.1:{port}; mput tree/*; bye"
    );
    run(client_in(local, "lftp").args(["--norc", "-c", &script]), "");
}
