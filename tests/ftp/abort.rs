//! ABOR, STAT, QUIT and other commands in the middle of a transfer (RFC 959,
//! section 4.1.3; RFC 1123, section 4.1.2.12).

use crate::common;

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::client::Data;
use common::{Client, TempDir, TestServer, server};

/// What "at once" means: within a second.
const AT_ONCE: Duration = Duration::from_secs(1);
/// More than any socket buffer takes.
pub const LARGE: usize = 64 << 20;

/// How a client says ABOR.
#[derive(Debug, Clone, Copy)]
enum How {
    /// The line alone, as under TLS and from FileZilla.
    Plain,
    /// Behind IAC IP IAC DM.
    Telnet,
    /// IAC IP, then IAC DM as urgent data, then ABOR: telnet's Synch, as lftp
    /// and BSD's ftp send it.
    Synch,
    /// In one segment behind a command that waits.
    Behind,
}

const HOWS: [How; 4] = [How::Plain, How::Telnet, How::Synch, How::Behind];

fn abort(client: &mut Client, how: How) {
    match how {
        How::Plain => client.send("ABOR"),
        How::Telnet => client.raw(b"\xff\xf4\xff\xf2ABOR\r\n"),
        How::Synch => {
            client.raw(b"\xff\xf4\xff");
            rustix::net::send(&client.stream, b"\xf2", rustix::net::SendFlags::OOB).unwrap();
            client.raw(b"ABOR\r\n");
        }
        How::Behind => client.raw(b"NOOP\r\nABOR\r\n"),
    }
}

/// Reads the replies to an ABOR, which must come at once, and checks that the
/// session goes on in step.
fn aborted(client: &mut Client, how: How, what: &str) {
    let started = Instant::now();
    client.wait_for(426);
    if matches!(how, How::Behind) {
        client.wait_for(200);
    }
    client.wait_for(226);
    let took = started.elapsed();
    assert!(took < AT_ONCE, "{what}, {how:?}: {took:?}");
    client.expect("PWD", 257);
}

pub fn large(server: &TestServer) {
    server.file("large", &vec![0x5a; LARGE]);
}

/// A downloading data connection whose peer has stopped reading: everything
/// in between is full.
pub fn stalled_download(client: &mut Client) -> Data {
    let mut data = client.data();
    client.expect("RETR large", 150);
    let mut some = [0; 1000];
    data.0.read_exact(&mut some).unwrap();
    data
}

#[test]
fn abor_ends_a_download_whose_peer_has_stalled() {
    for store in [None, Some(TempDir::new("abort"))] {
        let builder = server();
        let server = match &store {
            Some(directory) => builder.directory(directory.path()).start(),
            None => builder.start(),
        };
        large(&server);
        for how in HOWS {
            let mut client = server.ann();
            let _data = stalled_download(&mut client);
            abort(&mut client, how);
            aborted(&mut client, how, "stalled download");
        }
    }
}

#[test]
fn abor_ends_a_download_that_flows() {
    let server = server().start();
    large(&server);
    for how in HOWS {
        let mut client = server.ann();
        let mut data = stalled_download(&mut client);
        // Somebody who reads as fast as the server sends, for ever.
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            let mut count = 0;
            while let Ok(length @ 1..) = data.0.read(&mut buffer) {
                count += length;
                std::thread::sleep(Duration::from_micros(500));
            }
            count
        });
        abort(&mut client, how);
        aborted(&mut client, how, "download");
        assert!(reader.join().unwrap() < LARGE, "it was not ended");
    }
}

#[test]
fn abor_ends_an_upload() {
    let server = server().set("atomic-uploads", "yes").start();
    for how in HOWS {
        let mut client = server.ann();
        let mut data = client.data();
        client.expect("STOR up", 150);
        data.send(b"half of it");
        abort(&mut client, how);
        aborted(&mut client, how, "upload");
        assert!(server.names("/").is_empty(), "{:?}", server.names("/"));
    }
}

#[test]
fn abor_ends_the_wait_for_a_data_connection_that_never_comes() {
    let server = server().start();
    server.file("f", b"x");
    for how in HOWS {
        for line in ["RETR f", "STOR g", "LIST", "MLSD"] {
            let mut client = server.ann();
            client.epsv();
            client.send(line);
            abort(&mut client, how);
            let started = Instant::now();
            // 150 comes only after a while, or with the connection.
            let mut reply = client.reply();
            if reply.code == 150 {
                reply = client.reply();
            }
            assert_eq!(reply.code, 426, "{line} {how:?}");
            if matches!(how, How::Behind) {
                client.wait_for(200);
            }
            client.wait_for(226);
            assert!(started.elapsed() < AT_ONCE, "{line} {how:?}");
            client.expect("NOOP", 200);
        }
    }
}

#[test]
fn abor_ends_the_wait_for_an_active_connection() {
    // A black hole: a listener whose queue is full answers no SYN.
    let server = server().start();
    server.file("f", b"x");
    let hole = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    rustix::net::bind(&hole, &any).unwrap();
    rustix::net::listen(&hole, 0).unwrap();
    let address: std::net::SocketAddr =
        rustix::net::getsockname(&hole).unwrap().try_into().unwrap();
    let fillers: Vec<_> = (0..4)
        .map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(50)))
        .collect();
    let mut client = server.ann();
    client.expect(&common::client::active_line("PORT", address), 200);
    client.send("RETR f");
    client.send("ABOR");
    let started = Instant::now();
    let mut reply = client.reply();
    if reply.code == 150 {
        reply = client.reply();
    }
    assert_eq!(reply.code, 426);
    client.wait_for(226);
    assert!(started.elapsed() < AT_ONCE);
    drop(fillers);
}

#[test]
fn abor_ends_a_checksum_and_a_copy() {
    let directory = TempDir::new("long-work");
    let server = server().directory(directory.path()).start();
    // A sparse file: work without end, on no disk.
    let file = std::fs::File::create(directory.join("huge")).unwrap();
    file.set_len(1 << 40).unwrap();
    for line in ["HASH huge", "XCRC huge"] {
        let mut client = server.ann();
        client.send(line);
        abort(&mut client, How::Plain);
        aborted(&mut client, How::Plain, line);
    }
}

#[test]
fn stat_tells_how_far_a_stalled_transfer_is() {
    let server = server().start();
    large(&server);
    let mut client = server.ann();
    let mut data = stalled_download(&mut client);
    let mut last = 0u64;
    for _ in 0..3 {
        let started = Instant::now();
        let reply = client.expect("STAT", 213);
        assert!(started.elapsed() < AT_ONCE);
        let line = &reply.inner()[0];
        let words: Vec<&str> = line.split_whitespace().collect();
        let (bytes, of): (u64, u64) = (words[0].parse().unwrap(), words[2].parse().unwrap());
        assert_eq!(of, LARGE as u64);
        assert!(bytes >= 1000 && bytes >= last && bytes < of, "{line}");
        last = bytes;
    }
    assert_eq!(data.rest().len(), LARGE - 1000);
    client.wait_for(226);
}

#[test]
fn noop_waits_and_replies_stay_in_step() {
    // Clients send NOOP to keep the connection alive and count the replies.
    let server = server().start();
    let mut client = server.ann();
    let mut data = client.data();
    client.expect("STOR f", 150);
    data.send(b"one ");
    client.raw(b"NOOP\r\nNOOP\r\nPWD\r\nSTAT\r\n");
    data.send(b"two");
    drop(data);
    for code in [226, 200, 200, 257, 211] {
        client.wait_for(code);
    }
    assert_eq!(server.content("f").as_deref(), Some(&b"one two"[..]));
}

#[test]
fn quit_waits_for_the_transfer() {
    let server = server().start();
    large(&server);
    let mut client = server.ann();
    let mut data = stalled_download(&mut client);
    client.send("QUIT");
    assert_eq!(data.rest().len(), LARGE - 1000);
    client.wait_for(226);
    client.wait_for(221);
    client.closed();
}

#[test]
fn a_flood_of_commands_during_a_transfer_takes_bounded_memory_and_harms_nothing() {
    let server = server().start();
    large(&server);
    let mut client = server.ann();
    let mut data = stalled_download(&mut client);
    let flood: Vec<u8> = b"NOOP\r\n".repeat(2000);
    let mut writer = client.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &flood));
    assert_eq!(data.rest().len(), LARGE - 1000);
    client.wait_for(226);
    for _ in 0..2000 {
        client.wait_for(200);
    }
    sender.join().unwrap().unwrap();
    client.expect("PWD", 257);
}
