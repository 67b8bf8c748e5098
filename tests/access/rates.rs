//! Bandwidth by session, by user and by the server: nobody is faster, and
//! who is not meant is not slower.

use crate::common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Builder, Client, TestServer, server};

/// Bytes of each transfer, at 400 KB/s one second and a half.
const SIZE: usize = 600_000;
const RATE: &str = "400000";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Up,
    Down,
}

fn transfer(client: &mut Client, way: Way, name: &str) {
    match way {
        Way::Up => assert_eq!(
            client.store(&format!("STOR {name}"), &vec![7; SIZE]).code,
            226
        ),
        Way::Down => assert_eq!(client.fetch("RETR big").len(), SIZE),
    }
}

/// How long so many transfers at once take; `names` are their users.
fn time(server: TestServer, way: Way, names: &[&'static str]) -> Duration {
    server.file("big", &vec![7; SIZE]);
    let server = Arc::new(server);
    let mut clients: Vec<Client> = names
        .iter()
        .map(|name| server.login(name, "secret"))
        .collect();
    let started = Instant::now();
    let threads: Vec<_> = clients
        .drain(..)
        .enumerate()
        .map(|(number, mut client)| {
            std::thread::spawn(move || transfer(&mut client, way, &format!("up{number}")))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    started.elapsed()
}

fn two_users() -> Builder {
    server()
        .user("ann", "secret", "read-write")
        .user("bob", "secret", "read-write")
}

/// What has to pass through one bucket takes its time: so many transfers of
/// `SIZE` bytes at `RATE`, less the tenth of a second that may be saved up.
/// The upper bound is only for a rate that nobody is meant to share.
fn rates_are_of_the_session_the_user_or_the_server(way: Way) {
    let one = SIZE as f64 / 400_000.0;
    let key = |of: &str| match way {
        Way::Up => format!("{of}rate-up"),
        Way::Down => format!("{of}rate-down"),
    };
    let both: &[&'static str] = &["ann", "ann"];
    for (what, server, names, shared) in [
        (
            "session",
            two_users().set(&key("session-"), RATE).start(),
            both,
            1.0,
        ),
        (
            "user",
            server()
                .user("ann", "secret", "read-write")
                .limits(|limits| match way {
                    Way::Up => limits.rate_up = 400_000,
                    Way::Down => limits.rate_down = 400_000,
                })
                .user("bob", "secret", "read-write")
                .start(),
            both,
            2.0,
        ),
        (
            "server",
            two_users().set(&key(""), RATE).start(),
            &["ann", "bob"],
            2.0,
        ),
    ] {
        let took = time(server, way, names).as_secs_f64();
        assert!(took >= one * shared - 0.4, "{what} {way:?}: {took} s");
    }
}

#[test]
fn rates_up() {
    rates_are_of_the_session_the_user_or_the_server(Way::Up);
}

#[test]
fn rates_down() {
    rates_are_of_the_session_the_user_or_the_server(Way::Down);
}

#[test]
fn the_rate_of_one_user_holds_up_no_other() {
    let server = server()
        .user("ann", "secret", "read-write")
        .limits(|limits| limits.rate_down = 10_000)
        .user("bob", "secret", "read-write")
        .start();
    server.file("big", &vec![7; SIZE]);
    let mut ann = server.login("ann", "secret");
    let mut data = ann.data();
    ann.expect("RETR big", 150);
    let mut bob = server.login("bob", "secret");
    transfer(&mut bob, Way::Down, "");
    // ann needs a minute for it and is still at it.
    ann.send("ABOR");
    let codes = [ann.reply().code, ann.reply().code];
    assert_eq!(codes, [426, 226]);
    assert!(data.rest().len() < SIZE);
}
