//! Peers that stand still: ABOR and STAT act at once, handshakes have an end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::client::Data;
use crate::common::server;
use crate::common::tls::{SecureClient, context, handshake, secure};

/// What counts as at once. A machine with much to do needs seconds; without
/// service it would be a minute.
const PROMPT: Duration = Duration::from_secs(5);

/// What counts as the end at a deadline of one second; the client's own reads
/// give up later.
const SOON: Duration = Duration::from_secs(15);

/// STAT is answered and ABOR ends the transfer, both promptly.
#[track_caller]
fn stat_and_abort(client: &mut SecureClient) {
    let start = Instant::now();
    client.expect("STAT", 213);
    assert!(start.elapsed() < PROMPT, "STAT took {:?}", start.elapsed());
    let start = Instant::now();
    client.send("ABOR");
    client.wait_for(426);
    client.wait_for(226);
    assert!(start.elapsed() < PROMPT, "ABOR took {:?}", start.elapsed());
    client.expect("NOOP", 200);
}

#[test]
fn abor_and_stat_act_while_a_download_stands_still() {
    let server = secure(server());
    server.file("large", &vec![7; 64 << 20]);
    let mut client = server.ready();
    let data = client.data();
    client.send("RETR large");
    let mut data = client.protect(data.0).unwrap();
    client.wait_for(150);
    data.0.read_exact(&mut [0; 100]).unwrap();
    stat_and_abort(&mut client);
}

#[test]
fn abor_and_stat_act_while_an_upload_stands_still() {
    let server = secure(server());
    let mut client = server.ready();
    // Before the first byte, in the middle, and in the middle of a record.
    for begun in [&b""[..], b"some"] {
        let data = client.data();
        client.send("STOR file");
        let mut data = client.protect(data.0).unwrap();
        client.wait_for(150);
        data.send(begun);
        stat_and_abort(&mut client);
    }
    let data = client.data();
    client.send("STOR file");
    let mut data = client.protect(data.0).unwrap();
    client.wait_for(150);
    data.0.get_mut().write_all(&[23, 3, 3, 0x40, 0]).unwrap();
    stat_and_abort(&mut client);
}

#[test]
fn abor_and_stat_act_during_the_handshake_of_data() {
    let server = secure(server());
    server.file("file", b"content");
    let mut client = server.ready();
    // Nothing of a handshake, a part of a hello, and a hello without the rest.
    let hello = client_hello();
    for begun in [&b""[..], &hello[..20], &hello] {
        let mut data = client.data();
        client.expect("RETR file", 150);
        data.send(begun);
        stat_and_abort(&mut client);
    }
    assert_eq!(client.fetch_secure("RETR file").0, b"content");
}

/// The bytes of a ClientHello.
pub fn client_hello() -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let client = std::thread::spawn(move || handshake(&context(|_| {}), stream, None).map(drop));
    let mut server = listener.accept().unwrap().0;
    let mut hello = vec![0; 5];
    server.read_exact(&mut hello).unwrap();
    let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
    hello.resize(5 + length, 0);
    server.read_exact(&mut hello[5..]).unwrap();
    drop(server);
    assert!(client.join().unwrap().is_err());
    hello
}

#[test]
fn the_handshake_may_come_before_the_command() {
    // aioftp finishes the handshake on the data port, then says RETR.
    let server = secure(server().set("tls-reuse", "require"));
    server.file("file", b"content");
    let mut client = server.ready();
    for number in 0..10 {
        let data = client.data();
        let mut data = client.protect(data.0).unwrap();
        assert!(data.resumed(), "connection {number}");
        if number % 2 == 0 {
            client.expect("RETR file", 150);
            assert_eq!(data.rest(), b"content");
        } else {
            client.expect("STOR new", 150);
            data.send(b"new content");
            data.finish();
        }
        client.wait_for(226);
    }
    assert_eq!(server.content("new").unwrap(), b"new content");
    // Half of the handshake first, then the command, then the other half.
    let mut data = client.data();
    let hello = client_hello();
    data.send(&hello[..100]);
    client.expect("NOOP", 200);
    client.expect("RETR file", 150);
    drop(data);
    client.wait_for(522);
    // And commands between handshake and transfer are served.
    let data = client.data();
    let mut data = client.protect(data.0).unwrap();
    client.expect("SIZE file", 213);
    client.expect("RETR file", 150);
    assert_eq!(data.rest(), b"content");
    client.wait_for(226);
}

#[test]
fn the_handshake_may_wait_for_the_150() {
    // lftp and most others: connect, command, 150, handshake.
    let server = secure(server());
    server.file("file", b"content");
    let mut client = server.ready();
    let data = client.data();
    client.expect("RETR file", 150);
    let mut data = client.protect(data.0).unwrap();
    assert_eq!(data.rest(), b"content");
    client.wait_for(226);
    // Others connect only when 150 has come.
    let address = client.epsv();
    client.expect("RETR file", 150);
    let mut data = client.protect(Data::connect(address).0).unwrap();
    assert_eq!(data.rest(), b"content");
    client.wait_for(226);
}

#[test]
fn a_stalled_data_handshake_ends_at_its_deadline() {
    let server = secure(server().set("data-connect-timeout", "1"));
    server.file("file", b"content");
    let mut client = server.ready();
    let hello = client_hello();
    for begun in [&b""[..], &hello[..7], &hello] {
        let mut data = client.data();
        client.expect("RETR file", 150);
        data.send(begun);
        let start = Instant::now();
        client.wait_for(522);
        let took = start.elapsed();
        assert!(took < SOON, "{took:?}");
        // The connection is closed, not left.
        let mut rest = Vec::new();
        let _ = data.0.read_to_end(&mut rest);
    }
    assert_eq!(client.fetch_secure("RETR file").0, b"content");
}

#[test]
fn a_stalled_control_handshake_ends_at_its_deadline() {
    let server = secure(server().set("login-timeout", "1"));
    let hello = client_hello();
    for begun in [&b""[..], &hello[..7], &hello] {
        let start = Instant::now();
        let mut explicit = server.connect();
        explicit.expect("AUTH TLS", 234);
        explicit.raw(begun);
        let mut implicit = crate::common::Client::connect(server.implicit);
        implicit.raw(begun);
        for client in [explicit, implicit] {
            let mut stream = client.stream;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
        }
        let took = start.elapsed();
        assert!(took < SOON, "{took:?}");
    }
    server.until("the sessions end", |server| server.sessions() == 0);
    // Not a whole handshake: on a machine with much to do a second is short.
    server.connect();
}

#[test]
fn a_handshake_that_trickles_ends_at_its_deadline_too() {
    let server = secure(server().set("login-timeout", "1"));
    let hello = client_hello();
    let mut client = crate::common::Client::connect(server.implicit);
    let start = Instant::now();
    for byte in &hello {
        if client.stream.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        if start.elapsed() > SOON {
            break;
        }
    }
    server.until("the session ends", |server| server.sessions() == 0);
    assert!(start.elapsed() < SOON);
}
