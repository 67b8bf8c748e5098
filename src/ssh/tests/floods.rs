//! Every message that a client may send, without end, from clients that read
//! nothing, or a byte now and then: what the server holds stays bounded, and
//! somebody else logs in meanwhile.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::peer::Peer;
use super::*;
use crate::ssh::wire::Put;

const CLIENTS: usize = 32;
/// KiB that server and clients of the test may take together.
const MOST: u64 = 96 << 10;

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

fn strings(number: u8, before: &[u8], words: &[&str], after: &[u8]) -> Vec<u8> {
    let mut message = vec![number];
    message.put_bytes(before);
    for word in words {
        message.put_string(word.as_bytes());
    }
    message.put_bytes(after);
    message
}

/// Messages after the login, each of which asks for an answer or for room. The
/// client keeps within its windows: what does not would end the connection.
fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let channel = [0; 4];
    let open = [0, 0, 0, 42, 0, 16, 0, 0, 0, 0, 128, 0];
    vec![
        (
            "global request",
            strings(80, &[], &["keepalive@openssh.com"], &[1]),
        ),
        (
            "refused channel",
            strings(90, &[], &["direct-tcpip"], &open),
        ),
        ("unknown channel", strings(90, &[], &["no-such"], &open)),
        ("session channel", strings(90, &[], &["session"], &open)),
        (
            "subsystem again",
            strings(98, &channel, &["subsystem"], &[1]),
        ),
        ("environment", strings(98, &channel, &["env"], &[1])),
        ("shell", strings(98, &channel, &["shell"], &[1])),
        ("no such message", vec![192, 1, 2]),
        ("ignored", strings(2, &[], &["x"], &[])),
        ("debug", strings(4, &[1], &["x", ""], &[])),
        ("unimplemented", vec![3, 0, 0, 0, 9]),
        ("extensions", vec![7, 0, 0, 0, 0]),
        (
            "login",
            strings(50, &[], &["ann", "ssh-connection", "none"], &[]),
        ),
        ("window", [&[93][..], &channel, &[0; 4]].concat()),
        ("success", [&[99][..], &channel].concat()),
        ("request success", vec![81]),
    ]
}

/// Sends until the server reads no more, or for a while.
fn flood(peer: &mut Peer, message: &[u8]) {
    let until = Instant::now() + Duration::from_secs(3);
    let wait = Some(Duration::from_millis(300));
    peer.stream.set_write_timeout(wait).unwrap();
    while Instant::now() < until {
        let mut burst = Vec::new();
        for _ in 0..500 {
            burst.extend(peer.packet(message, None));
        }
        if peer.stream.write_all(&burst).is_err() {
            break;
        }
    }
}

/// Data up to the end of the window, which come back and are not taken.
fn fill_window(peer: &mut Peer) {
    for _ in 0..8 {
        peer.data(&[7; 32_000]);
    }
}

/// The memory is the whole process's, so the test runs in one of its own.
#[test]
fn no_flood_of_messages_makes_the_server_hold_much() {
    const ALONE: &str = "WHARF_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "ssh::tests::floods::no_flood_of_messages_makes_the_server_hold_much";
        let outcome = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let text = [outcome.stdout, outcome.stderr].concat();
        assert!(
            outcome.status.success(),
            "{}",
            String::from_utf8_lossy(&text)
        );
        return;
    }
    let kinds = messages();
    let handles: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (name, message) = kinds[number % kinds.len()].clone();
            std::thread::spawn(move || {
                let mut peer = Peer::running(Settings::default());
                if number >= CLIENTS / 2 {
                    fill_window(&mut peer);
                }
                flood(&mut peer, &message);
                // The second half reads a byte now and then, and goes on.
                let mut byte = [0];
                for _ in 0..20 * usize::from(number >= CLIENTS / 2) {
                    if peer.stream.read(&mut byte).is_err() {
                        break;
                    }
                    let packet = peer.packet(&message, None);
                    let _ = peer.stream.write(&packet);
                }
                (name, peer)
            })
        })
        .collect();
    let mut most = 0;
    while !handles.iter().all(|handle| handle.is_finished()) {
        most = most.max(resident());
        let mut bystander = Peer::running(Settings::default());
        bystander.data(b"alive");
        assert_eq!(&bystander.receive()[9..], b"alive");
    }
    let peers: Vec<_> = handles
        .into_iter()
        .map(|handle| handle.join().unwrap())
        .collect();
    most = most.max(resident());
    drop(peers);
    println!("{most} KiB");
    assert!(most < MOST, "{most} KiB");
}
