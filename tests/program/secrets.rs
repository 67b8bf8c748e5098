//! What is left in the server's memory of passwords and keys that were used, and
//! who may look there.
#![cfg(feature = "cli")]

use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::common;

use common::process::{Process, WHARFD, add_user_with, wharfd};
use common::{Client, TempDir};

/// Where something stands in the memory of a process, with what is around it.
/// `None` where nobody may look.
fn found(pid: u32, what: &[u8]) -> Option<Vec<String>> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut found = Vec::new();
    for map in maps.lines().filter(|map| map.contains(" rw-p ")) {
        let (from, rest) = map.split_once('-')?;
        let (to, _) = rest.split_once(' ')?;
        let from = u64::from_str_radix(from, 16).ok()?;
        let to = u64::from_str_radix(to, 16).ok()?;
        let mut bytes = vec![0; (to - from) as usize];
        // Of a stack that was just given back.
        if memory.read_exact_at(&mut bytes, from).is_err() {
            continue;
        }
        let mut at = 0;
        while let Some(next) = bytes[at..].iter().position(|byte| *byte == what[0]) {
            at += next;
            if bytes[at..].starts_with(what) {
                let around = at.saturating_sub(20)..(at + what.len() + 20).min(bytes.len());
                let text = String::from_utf8_lossy(&bytes[around]).into_owned();
                found.push(format!("{map}: {text:?}"));
            }
            at += 1;
        }
    }
    Some(found)
}

#[track_caller]
fn gone(server: &Process, what: &[u8]) {
    if let Some(found) = found(server.pid(), what) {
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// A password that nothing else in the process holds.
fn password(kind: &str) -> String {
    format!("{kind}:{:x}:pass phrase", common::rng::Rng::new().next())
}

fn start(place: &TempDir, more: &[&str], password: &str) -> Process {
    let home = place.join("home");
    let state = place.join("state");
    std::fs::create_dir(&home).unwrap();
    std::fs::create_dir(&state).unwrap();
    let users = place.join("users");
    add_user_with(password, &users, "ann", &home, &[]);
    let mut command = wharfd();
    command
        .args(["--listen=127.0.0.1:0", "--print-port", "--login-delay=0"])
        .args(more)
        .arg("--state-dir")
        .arg(state)
        .arg("--users")
        .arg(users);
    Process::start(&mut command)
}

#[test]
fn passwords_of_ftp_are_gone_when_they_are_answered() {
    let place = TempDir::new("wiped");
    let (right, wrong, mistyped) = (password("right"), password("wrong"), password("typo"));
    let server = start(&place, &[], &right);
    let mut client = Client::greeted(server.address());
    client.expect("USER ann", 331);
    // The test sees what is there.
    client.raw(format!("PASS {right}").as_bytes());
    let seen = || found(server.pid(), right.as_bytes()).is_none_or(|found| !found.is_empty());
    assert!(common::process::soon(seen), "nothing is seen");
    client.raw(b"\r\n");
    client.wait_for(230);
    gone(&server, right.as_bytes());
    let mut client = Client::greeted(server.address());
    client.expect("USER ann", 331);
    client.expect(&format!("PASS {wrong}"), 530);
    client.expect(&format!("PAS {mistyped}"), 500);
    gone(&server, wrong.as_bytes());
    gone(&server, mistyped.as_bytes());
}

/// No text of a key that the server has made, by a line that is this key's alone.
#[cfg(any(feature = "ftps", feature = "sftp"))]
fn keys_are_gone(server: &Process, place: &TempDir, own_line: impl Fn(&str) -> Option<&str>) {
    let mut keys = 0;
    for entry in std::fs::read_dir(place.join("state")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        if text.contains("PRIVATE KEY") {
            keys += 1;
            gone(server, own_line(&text).unwrap().as_bytes());
        }
    }
    assert_ne!(keys, 0, "which key is it?");
}

// Others have no way to tell OpenSSL.
#[cfg(all(feature = "tls13", ossl300))]
#[test]
fn passwords_under_tls_and_the_text_of_keys_are_gone() {
    let place = TempDir::new("wiped-tls");
    let right = password("secure");
    let server = start(&place, &["--self-signed"], &right);
    let mut client = common::tls::SecureClient::explicit(server.address());
    client.login("ann", &right);
    gone(&server, right.as_bytes());
    keys_are_gone(&server, &place, |text| text.lines().nth(1));
}

#[cfg(feature = "sftp")]
#[test]
fn passwords_of_ssh_and_the_text_of_host_keys_are_gone() {
    if !common::process::has("sftp") {
        return;
    }
    let place = TempDir::new("wiped-ssh");
    let right = password("shell");
    let server = start(&place, &["--listen-sftp=127.0.0.1:0"], &right);
    let port = server.addresses(2)[1].port();
    let ask = place.join("ask");
    std::fs::write(&ask, format!("#!/bin/sh\necho '{right}'\n")).unwrap();
    std::fs::set_permissions(&ask, Permissions::from_mode(0o700)).unwrap();
    std::fs::write(place.join("batch"), "pwd\n").unwrap();
    let mut client = Command::new("sftp");
    client
        .env("SSH_ASKPASS", &ask)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o"])
        .arg(format!(
            "UserKnownHostsFile={}",
            place.join("known").display()
        ))
        .args([
            "-o",
            "PreferredAuthentications=password",
            "-o",
            "BatchMode=no",
        ])
        .args(["-P", &port.to_string(), "-b"])
        .arg(place.join("batch"))
        .arg("ann@127.0.0.1");
    common::process::run(&mut client, "");
    gone(&server, right.as_bytes());
    // The lines before the last but one are the same in all keys.
    keys_are_gone(&server, &place, |text| text.lines().rev().nth(2));
}

/// What belongs to a process in /proc is root's where nobody may look into it.
fn is_closed(pid: u32) -> bool {
    std::fs::metadata(format!("/proc/{pid}/stat"))
        .unwrap()
        .uid()
        == 0
}

/// Another process of the same user looks into no process of ours.
#[test]
fn nobody_looks_into_the_server_or_the_process_of_its_programs() {
    let place = TempDir::new("closed");
    std::fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let program = place.join("wharfd");
    std::fs::copy(WHARFD, &program).unwrap();
    std::fs::create_dir(place.join("home")).unwrap();
    let start = |program: &Path| {
        let mut command = Command::new(program);
        command.env_clear();
        if rustix::process::getuid().is_root() {
            command.uid(4711).gid(4711);
        }
        command
    };
    let mut open = start("/bin/cat".as_ref());
    let mut open = open.stdin(std::process::Stdio::piped()).spawn().unwrap();
    assert!(!is_closed(open.id()), "the test could not fail");
    open.kill().unwrap();
    open.wait().unwrap();
    let mut command = start(&program);
    command
        .args([
            "--listen=127.0.0.1:0",
            "--print-port",
            "--on-login=/bin/true",
        ])
        .arg(place.join("home"));
    let server = Process::start(&mut command);
    server.address();
    assert!(is_closed(server.pid()));
    let others = common::process::descendants(server.pid());
    assert!(!others.is_empty(), "who starts hooks?");
    assert!(others.into_iter().all(is_closed));
}
