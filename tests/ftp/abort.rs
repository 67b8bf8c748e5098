//! ABOR, STAT, QUIT and other commands in the middle of a transfer, and
//! clients and data peers that go away (RFC 959, section 4.1.3; RFC 1123,
//! section 4.1.2.12).

use crate::common;

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use common::client::Data;
use common::{Client, TempDir, TestServer, server};

/// What "at once" means: within a second.
const AT_ONCE: Duration = Duration::from_secs(1);
/// More than any socket buffer takes.
const LARGE: usize = 64 << 20;

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

fn large(server: &TestServer) {
    server.file("large", &vec![0x5a; LARGE]);
}

/// A downloading data connection whose peer has stopped reading: everything
/// in between is full.
fn stalled_download(client: &mut Client) -> Data {
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

#[test]
fn a_data_peer_that_vanishes_is_426_and_the_session_goes_on() {
    let server = server().set("atomic-uploads", "yes").start();
    large(&server);
    let mut client = server.ann();
    stalled_download(&mut client).reset();
    client.wait_for(426);
    client.expect("NOOP", 200);

    let mut data = client.data();
    client.expect("STOR up", 150);
    data.send(b"some");
    // The server must have taken the bytes, or the reset overtakes them.
    server.until("bytes of the upload", |server| {
        let all = server.running().services().registry.all();
        all.iter()
            .any(|live| live.bytes.load(std::sync::atomic::Ordering::Relaxed) == 4)
    });
    data.reset();
    client.wait_for(426);
    client.expect("NOOP", 200);
    assert_eq!(server.names("/"), ["large"]);
}

#[test]
fn a_client_killed_in_the_middle_of_an_upload_leaves_nothing() {
    // The kernel closes a killed client's connections in order: its data end
    // looks like the end of a whole file.
    for atomic in ["yes", "no"] {
        let server = server()
            .set("atomic-uploads", atomic)
            .set("delete-broken-uploads", "yes")
            .set("strict-end", "yes")
            .start();
        for _ in 0..20 {
            let mut client = server.ann();
            let mut data = client.data();
            client.expect("STOR up", 150);
            data.send(&[1; 5000]);
            drop(client);
            drop(data);
            server.until("the end of the session", |server| server.sessions() == 0);
            assert!(
                server.names("/").is_empty(),
                "atomic {atomic}: {:?}",
                server.names("/")
            );
        }
    }
}

/// How a client ends its session together with an upload.
#[derive(Debug, Clone, Copy, PartialEq)]
enum HangUp {
    ControlFirst,
    DataFirst,
    /// Closed, and the rest of the data comes a moment later.
    DataLater,
    Quit,
    Reset,
    Abort,
}

/// Cameras close both connections at once when their picture is sent.
#[test]
fn an_upload_is_whole_when_both_connections_are_closed_properly() {
    use HangUp::*;
    let server = server()
        .set("atomic-uploads", "yes")
        .set("delete-broken-uploads", "yes")
        .start();
    let content = vec![7; 300_000];
    for round in 0..10 {
        for how in [ControlFirst, DataFirst, DataLater, Quit, Reset, Abort] {
            let mut client = server.ann();
            let mut data = client.data();
            client.expect("STOR up", 150);
            data.send(&content[..200_000]);
            match how {
                ControlFirst => {
                    data.send(&content[200_000..]);
                    drop(client);
                    drop(data);
                }
                DataFirst => {
                    data.send(&content[200_000..]);
                    drop(data);
                    drop(client);
                }
                DataLater => {
                    drop(client);
                    std::thread::sleep(Duration::from_millis(20));
                    data.send(&content[200_000..]);
                    drop(data);
                }
                Quit => {
                    data.send(&content[200_000..]);
                    client.send("QUIT");
                    drop(client);
                    drop(data);
                }
                Reset => {
                    common::client::Data(client.stream).reset();
                    drop(data);
                }
                Abort => {
                    client.send("ABOR");
                    drop(client);
                    drop(data);
                }
            }
            server.until("the end of the session", |server| server.sessions() == 0);
            let whole = !matches!(how, Reset | Abort);
            let there = server.content("up");
            assert_eq!(there.is_some(), whole, "{how:?} in round {round}");
            if let Some(there) = there {
                assert!(there == content, "{how:?}: {} bytes", there.len());
                server.ann().expect("DELE up", 250);
            }
        }
    }
}

/// Downloads as they are told to listeners: bytes, and whether all of them.
#[derive(Default)]
struct Downloads(std::sync::Mutex<Vec<(u64, bool)>>);

impl wharf::Events for Downloads {
    fn event(&self, _: &wharf::events::Who<'_>, event: &wharf::Event<'_>) {
        if let wharf::Event::Download(one) = event {
            self.0.lock().unwrap().push((one.bytes, one.complete));
        }
    }
}

#[test]
fn a_download_is_complete_when_the_client_has_acknowledged_it() {
    let told = std::sync::Arc::new(Downloads::default());
    let server = server()
        .set("stall-timeout", "0.5")
        .events(told.clone())
        .start();
    // It fits into the buffers of both sides together, mostly of ours.
    const SIZE: usize = 600_000;
    server.file("f", &vec![3; SIZE]);
    let last = || *told.0.lock().unwrap().last().unwrap();
    for line in ["RETR f", "REST 1"] {
        let mut client = server.ann();
        client.expect("TYPE I", 200);
        let data = client.data();
        if line == "REST 1" {
            client.expect(line, 350);
        }
        // Nobody reads: it stands still.
        client.expect("RETR f", 150);
        client.wait_for(426);
        let (bytes, complete) = last();
        assert!(!complete && bytes < SIZE as u64, "{bytes}");
        drop(data);
        // The client resets in the middle.
        let data = client.data();
        client.expect("RETR f", 150);
        data.reset();
        client.wait_for(426);
        assert!(!last().1);
        // It reads all.
        let mut data = client.data();
        client.expect("RETR f", 150);
        assert_eq!(data.rest().len(), SIZE);
        drop(data);
        client.wait_for(226);
        assert_eq!(last(), (SIZE as u64, true));
        // It has ended its own direction before, or sends what nobody asked.
        for stray in [false, true] {
            let mut data = client.data();
            if stray {
                data.send(b"stray");
            } else {
                data.finish();
            }
            client.expect("RETR f", 150);
            assert_eq!(data.rest().len(), SIZE);
            drop(data);
            client.wait_for(226);
        }
    }
}

/// A player that drinks from a full buffer: the kernel takes no more for
/// longer than the stall timeout, and bytes arrive all the time.
#[test]
fn a_slow_reader_is_no_stall() {
    let server = server().set("stall-timeout", "1").start();
    const SIZE: usize = 3 << 20;
    server.file("f", &vec![3; SIZE]);
    let mut client = server.ann();
    client.expect("TYPE I", 200);
    let mut data = client.data();
    client.expect("RETR f", 150);
    let mut piece = vec![0; 32 << 10];
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(100));
        data.0.read_exact(&mut piece).unwrap();
    }
    let rest = data.rest();
    assert_eq!(rest.len(), SIZE - 30 * piece.len());
    drop(data);
    client.wait_for(226);
}

#[test]
fn a_client_killed_in_the_middle_of_a_download_frees_its_place() {
    let server = server().set("max-per-address", "1").start();
    large(&server);
    for _ in 0..3 {
        let mut client = server.ann();
        let data = stalled_download(&mut client);
        drop(client);
        drop(data);
        server.until("the end of the session", |server| server.sessions() == 0);
    }
}

/// `printf ... | nc -N`: the client has said all that it wants to say.
#[test]
fn the_end_of_the_commands_does_not_end_a_download() {
    for store in [None, Some(TempDir::new("half-closed"))] {
        let builder = server();
        let server = match &store {
            Some(directory) => builder.directory(directory.path()).start(),
            None => builder.start(),
        };
        large(&server);
        for command in ["RETR large", "LIST"] {
            let mut client = server.ann();
            client.expect("TYPE I", 200);
            let mut data = client.data();
            client.raw(format!("{command}\r\nNOOP\r\nQUIT\r\n").as_bytes());
            client.stream.shutdown(Shutdown::Write).unwrap();
            client.wait_for(150);
            let got = data.rest().len();
            assert!(command == "LIST" || got == LARGE, "{command}: {got}");
            drop(data);
            for code in [226, 200, 221] {
                client.wait_for(code);
            }
            client.closed();
        }
    }
}

/// Ends of every other kind are seen: a reset, and the server's own.
#[test]
fn a_download_after_the_end_of_the_commands_can_be_ended() {
    let server = server().start();
    large(&server);
    for by_reset in [true, false] {
        let mut client = server.ann();
        let data = stalled_download(&mut client);
        client.stream.shutdown(Shutdown::Write).unwrap();
        if by_reset {
            rustix::net::sockopt::set_socket_linger(&client.stream, Some(Duration::ZERO)).unwrap();
            drop(client);
            server.until("the end of the session", |server| server.sessions() == 0);
        } else {
            assert!(server.stop(Duration::ZERO), "sessions are left");
            return;
        }
        drop(data);
    }
}

#[test]
fn a_transfer_that_stands_still_ends() {
    let server = server().set("stall-timeout", "0.3").start();
    large(&server);
    let mut client = server.ann();
    let _download = stalled_download(&mut client);
    client.wait_for(426);
    let mut upload = client.data();
    client.expect("STOR up", 150);
    upload.send(b"x");
    client.wait_for(426);
    client.expect("NOOP", 200);
}

#[test]
fn the_idle_time_does_not_run_during_a_transfer() {
    // ftp-srv#387: long transfers ended by the timer of the control connection.
    let server = server()
        .set("idle-timeout", "0.4")
        .set("session-rate-down", "500K")
        .start();
    server.file("f", &vec![1; 600_000]);
    let mut client = server.ann();
    assert_eq!(client.fetch("RETR f").len(), 600_000);
    client.expect("NOOP", 200);
}

#[test]
fn the_server_stops_while_transfers_stand_still() {
    let server = server().start();
    large(&server);
    let mut client = server.ann();
    let _data = stalled_download(&mut client);
    let started = Instant::now();
    assert!(server.stop(Duration::ZERO), "sessions are left");
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_draining_server_lets_a_transfer_finish_and_says_goodbye() {
    let server = server().start();
    large(&server);
    let mut idle = server.ann();
    let mut busy = server.ann();
    let mut data = stalled_download(&mut busy);
    let stopper = std::thread::spawn(move || server.stop(Duration::from_secs(20)));
    idle.wait_for(421);
    assert_eq!(data.rest().len(), LARGE - 1000);
    busy.wait_for(226);
    busy.wait_for(421);
    assert!(stopper.join().unwrap());
}
