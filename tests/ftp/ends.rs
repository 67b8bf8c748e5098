//! Ends of transfers: clients and data peers that go away, read slowly or
//! stand still, and a server that stops meanwhile.

use crate::common;

use std::io::Read;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::abort::{LARGE, large, stalled_download};
use common::{TempDir, server};

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

/// A client that has gone has asked for nothing: of a pipeline of each command
/// what is left ends with the connection, though its lines have come. A hash of
/// the file takes a tenth of a second, three thousand take minutes.
#[test]
fn what_a_client_that_is_gone_has_asked_is_not_done() {
    let place = TempDir::new("gone");
    let server = server().directory(place.path()).start();
    for (verb, _, _) in wharf::daemon::tables::rows() {
        let file = std::fs::File::create(place.join("big")).unwrap();
        file.set_len(50 << 20).unwrap();
        let mut client = server.ann();
        client.raw(format!("{verb} big\r\n").repeat(3000).as_bytes());
        crate::common::client::Data(client.stream).reset();
        server.until(&verb, |server| server.sessions() == 0);
    }
}
