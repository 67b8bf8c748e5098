//! What nodes share through a directory: bans, failed logins, sessions of
//! users. Each server here is a node.

use crate::common;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Client, TempDir, TestServer, server, until};
use wharf::config::Network;
use wharf::daemon::Unban;

fn node(directory: &TempDir, name: &str, settings: &[(&str, &str)]) -> TestServer {
    let shared = directory.join("shared");
    let mut builder = server()
        .set("shared-dir", shared.to_str().unwrap())
        .set("node-name", name)
        .set("login-tries", "0");
    for (key, value) in settings {
        builder = builder.set(key, value);
    }
    builder.start()
}

fn fail(server: &TestServer, times: u32) {
    let mut client = server.connect();
    for _ in 0..times {
        client.expect("USER ann", 331);
        client.expect("PASS wrong", 530);
    }
}

/// The greeting's code: 220, or 421 for who is refused.
fn greeting(server: &TestServer) -> u16 {
    Client::connect(server.v4).reply().code
}

fn ban_file(directory: &TempDir) -> std::path::PathBuf {
    directory.join("shared").join("bans").join("127.0.0.1")
}

#[test]
fn a_ban_on_one_node_holds_on_all_until_any_of_them_lifts_it() {
    let directory = TempDir::new("bans");
    let nodes = ["one", "two", "three"].map(|name| node(&directory, name, &[("ban-after", "3")]));
    fail(&nodes[0], 3);
    for node in &nodes {
        until("it is banned everywhere", || greeting(node) == 421);
    }
    until("its file is there", || ban_file(&directory).exists());
    // Not on the node that has made it.
    let network = "127.0.0.1".parse::<Network>().unwrap();
    nodes[2]
        .running()
        .services()
        .limits
        .unban(Unban::One(network));
    assert_eq!(greeting(&nodes[2]), 220);
    for node in &nodes {
        until("it is lifted everywhere", || greeting(node) == 220);
    }
    assert!(!ban_file(&directory).exists());
    // It is forgotten, and not only asleep.
    fail(&nodes[0], 2);
    assert_eq!(greeting(&nodes[0]), 220);
    fail(&nodes[0], 1);
    assert_eq!(greeting(&nodes[0]), 421);
    until("it is banned again", || greeting(&nodes[1]) == 421);
    until("its file is back", || ban_file(&directory).exists());
    nodes[1].running().services().limits.unban(Unban::All);
    for node in &nodes {
        until("all are lifted", || greeting(node) == 220);
    }
}

/// Two nodes ban by their own counts, and may not have told each other yet.
#[test]
fn a_lifted_ban_does_not_come_back_from_another_node() {
    let directory = TempDir::new("bans-lifted");
    let nodes = ["one", "two"].map(|name| node(&directory, name, &[("ban-after", "2")]));
    let network: Network = "127.0.0.1".parse().unwrap();
    for unban in [Unban::One(network), Unban::All] {
        for node in &nodes {
            fail(node, 2);
        }
        nodes[0].running().services().limits.unban(unban);
        until("it is lifted on the other", || greeting(&nodes[1]) == 220);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(4) {
            assert!(nodes.iter().all(|node| greeting(node) == 220), "{unban:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(!ban_file(&directory).exists());
    }
}

#[test]
fn a_ban_is_over_on_all_nodes() {
    let directory = TempDir::new("bans-over");
    let settings = [("ban-after", "1"), ("ban-seconds", "3")];
    let nodes = ["one", "two"].map(|name| node(&directory, name, &settings));
    fail(&nodes[0], 1);
    until("it is banned everywhere", || greeting(&nodes[1]) == 421);
    for node in &nodes {
        until("it is over", || greeting(node) == 220);
    }
    until("its file is gone", || !ban_file(&directory).exists());
}

#[test]
fn failed_logins_on_all_nodes_count_together() {
    let directory = TempDir::new("failures");
    let nodes = ["one", "two"].map(|name| node(&directory, name, &[("ban-after", "6")]));
    fail(&nodes[0], 3);
    fail(&nodes[1], 3);
    for node in &nodes {
        until("three and three are six", || greeting(node) == 421);
    }
}

#[test]
fn sessions_of_a_user_on_all_nodes_count_together() {
    let directory = TempDir::new("sessions");
    let nodes = ["one", "two"].map(|name| node(&directory, name, &[("max-per-user", "2")]));
    let mut held = [nodes[0].ann(), nodes[0].ann()];
    until("the other node knows", || {
        let mut client = nodes[1].connect();
        client.expect("USER ann", 331);
        client.cmd("PASS secret").code == 421
    });
    held[1].expect("QUIT", 221);
    until("one has gone", || {
        let mut client = nodes[1].connect();
        client.expect("USER ann", 331);
        client.cmd("PASS secret").code == 230
    });
}

/// Many logins, none of which may wait for the share.
fn logins_go_on(server: &TestServer) {
    let started = Instant::now();
    for _ in 0..20 {
        server.ann().expect("QUIT", 221);
    }
    // A share that is gone answers after minutes, or never.
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_share_that_is_gone_stops_nobody_and_is_used_again() {
    let directory = TempDir::new("gone");
    let settings = [("ban-after", "2"), ("max-per-user", "1000")];
    let nodes = ["one", "two"].map(|name| node(&directory, name, &settings));
    let shared = directory.join("shared");
    let away = directory.join("away");
    std::fs::rename(&shared, &away).unwrap();
    // Something that is no directory is in its place: every call fails.
    std::fs::write(&shared, b"").unwrap();
    nodes.iter().for_each(logins_go_on);
    // Bans go on where they are made.
    fail(&nodes[0], 2);
    assert_eq!(greeting(&nodes[0]), 421);
    assert_eq!(greeting(&nodes[1]), 220);
    std::fs::remove_file(&shared).unwrap();
    std::fs::rename(&away, &shared).unwrap();
    until("the other node hears of it", || greeting(&nodes[1]) == 421);
    // Cleared by somebody, at once, while the nodes write there, it is made again.
    std::fs::rename(&shared, directory.join("cleared")).unwrap();
    until("it is there again", || {
        shared.join("nodes").join("one").exists()
    });
}

/// A FIFO that nobody reads holds who opens it for writing for ever, as a
/// hard mount of NFS does whose server is gone.
fn hang(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn a_share_that_hangs_stops_nobody() {
    let directory = TempDir::new("hangs");
    let nodes = directory.join("shared").join("nodes");
    std::fs::create_dir_all(&nodes).unwrap();
    let fifo = nodes.join(".one.new");
    hang(&fifo);
    let server = node(
        &directory,
        "one",
        &[("ban-after", "2"), ("max-per-user", "1000")],
    );
    logins_go_on(&server);
    fail(&server, 2);
    assert_eq!(greeting(&server), 421);
    let network = "127.0.0.1".parse::<Network>().unwrap();
    server
        .running()
        .services()
        .limits
        .unban(Unban::One(network));
    assert_eq!(greeting(&server), 220);
    // It comes back.
    drop(std::fs::read(&fifo).unwrap());
    until("the node tells again", || nodes.join("one").exists());
}

#[cfg(feature = "cli")]
#[test]
fn users_replaced_by_rename_are_in_force_on_every_node() {
    use common::process::{Process, wharfd};
    let directory = TempDir::new("users");
    let users = directory.join("users");
    let home = directory.join("home");
    std::fs::create_dir(&home).unwrap();
    // The hash of "secret", of fewest rounds.
    let hash = "$5$rounds=1000$wharf$GHOYWvDF/1MJFeDqPkjlDy6PwXYC8TB8cvlmbYSD2N9";
    let put = |name: &str| {
        let new = directory.join("users.new");
        let line = format!("{name}:{hash}:{}:read-write:\n", home.display());
        std::fs::write(&new, line).unwrap();
        std::fs::rename(&new, &users).unwrap();
    };
    put("ann");
    let start = |number: u8| {
        let mut command = wharfd();
        command
            .args([
                "--listen",
                "127.0.0.1:0",
                "--print-port",
                "--login-delay=0",
                "--ban-after=0",
            ])
            .arg(format!("--node={number}/2"))
            .arg("--users")
            .arg(&users);
        Process::start(&mut command)
    };
    let nodes = [start(1), start(2)];
    let may = |node: &Process, name: &str| {
        let mut client = Client::greeted(node.address());
        client.expect(&format!("USER {name}"), 331);
        client.cmd("PASS secret").code == 230
    };
    assert!(nodes.iter().all(|node| may(node, "ann")));
    put("bob");
    for node in &nodes {
        until("the new user may log in", || may(node, "bob"));
        assert!(!may(node, "ann"));
    }
}
