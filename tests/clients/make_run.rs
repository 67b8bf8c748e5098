//! The first minute: what `make run` says to do next does it, pasted.
// Once is enough: not with the small build, too.
#![cfg(all(feature = "cli", feature = "ftps"))]

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::common::process::{Process, WHARFD, has, run};
use crate::common::{Client, TempDir};

/// A command for somebody whose directory is `home`; servers choose their ports.
fn command(home: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home);
    command.env("PATH", std::env::var_os("PATH").expect("there is a PATH"));
    command.env("WHARFD_LISTEN", "127.0.0.1:0");
    command.env("WHARFD_STATE_DIR", home.join("state"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// A client of a server that says how to connect.
fn client(server: &Process) -> Client {
    let line = server.out.wait_for("curl ftp://");
    let port = line.split([':', '/']).nth(4).expect("a port");
    let port: u16 = port.parse().unwrap_or_else(|_| panic!("{line}"));
    Client::greeted(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// The command behind `name: ` in what make has printed, for this home and any port.
fn line(server: &Process, name: &str, home: &Path) -> String {
    let line = server.out.wait_for(name);
    let (_, line) = line.split_once(name).expect("it was waited for");
    let home = home.to_str().expect("a path of letters");
    line.trim()
        .replace("/srv/ann", &format!("{home}/ann"))
        .replace("--listen 2121", "--listen 0")
}

/// Runs all of a line; its last command serves.
fn pasted(line: &str, home: &Path) -> Process {
    let mut commands: Vec<&str> = line.split(" && ").collect();
    let last = commands.pop().expect("there is a command");
    for before in commands {
        run(command(home, "sh").args(["-c", before]), "secret\n");
    }
    Process::start(command(home, "sh").args(["-c", &format!("exec {last}")]))
}

#[test]
fn what_make_run_says_to_do_next_can_be_pasted() {
    if !has("make") {
        return;
    }
    let home = TempDir::new("first-minute");
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let files = home.join("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("hello"), "world").unwrap();
    let mut make = command(&home, "make");
    // As if it had been built.
    make.args(["-s", "-o", "all", "run", &format!("WHARFD={WHARFD}")]);
    let first = Process::start(make.arg(format!("DIR={}", files.display())));
    let mut guest = client(&first);
    guest.login("anonymous", "x");
    guest.expect("TYPE I", 200);
    assert_eq!(guest.fetch("RETR hello"), b"world");

    let with_user = pasted(&line(&first, "add a user: ", &home), &home);
    let mut ann = client(&with_user);
    ann.login("ann", "secret");
    ann.expect("TYPE I", 200);
    ann.store("STOR new", b"hers");
    let stored = std::fs::metadata(home.join("ann/new")).expect("the file is in her home");
    assert_eq!(
        stored.uid(),
        std::fs::metadata(home.join("ann")).unwrap().uid()
    );

    let encrypted = pasted(&line(&first, "encrypt: ", &home), &home);
    client(&encrypted).expect("AUTH TLS", 234);
    let with_tls = encrypted.out.wait_for("--ssl-reqd");
    if has("curl") {
        let listing = run(command(&home, "sh").args(["-c", &with_tls]), "");
        assert!(listing.contains("hello"), "{with_tls}: {listing}");
    }

    let open = pasted(&line(&first, "serve the network: ", &home), &home);
    let mut guest = client(&open);
    guest.login("anonymous", "x");
    guest.expect("TYPE I", 200);
    assert_eq!(guest.fetch("RETR hello"), b"world");
}
