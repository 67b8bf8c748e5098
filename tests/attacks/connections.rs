//! Attacks on connections: who may connect to what, and how many.

use std::collections::HashSet;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use super::common::client::{Client, Data, active_line, connect_from};
use super::common::{server, until};

const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// CERT CA-1997-27, RFC 2577: the server connects to nobody but its client.
#[test]
fn attack_01_bounce() {
    let server = server().start();
    server.file("f", b"x");
    let mut client = server.ann();
    let victim = TcpListener::bind((STRANGER, 0)).unwrap();
    victim.set_nonblocking(true).unwrap();
    let target = victim.local_addr().unwrap();
    let mapped = format!("EPRT |2|::ffff:127.0.0.2|{}|", target.port());
    for line in [
        active_line("PORT", target),
        active_line("EPRT", target),
        mapped,
        "PORT 127,0,0,1,0,80".into(),
        "EPRT |1|127.0.0.1|1023|".into(),
        "PORT 127,0,0,1,0,0".into(),
    ] {
        let code = client.cmd(&line).code;
        assert!(matches!(code, 500 | 501 | 504), "{line}: {code}");
        // A target from before must not come back to life either.
        client.expect("RETR f", 425);
    }
    assert_eq!(victim.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(client.active("PORT"));
}

/// "Pizza thief" (1999): another address takes the passive connection.
#[test]
fn attack_02_passive_theft() {
    let server = server().start();
    server.file("secret", b"for ann alone");
    for upload in [false, true] {
        let mut client = server.ann();
        let address = client.epsv();
        let mut thief = connect_from(STRANGER, address).unwrap();
        let mut data = Data::connect(address);
        if upload {
            client.expect("STOR new", 150);
            data.send(b"whole");
            drop(data);
        } else {
            client.expect("RETR secret", 150);
            assert_eq!(data.rest(), b"for ann alone");
        }
        client.wait_for(226);
        let mut stolen = Vec::new();
        // It ends with nothing, in an orderly way or not.
        let _ = thief.read_to_end(&mut stolen);
        assert!(stolen.is_empty());
    }
    assert_eq!(server.content("new").unwrap(), b"whole");
}

/// More thieves than the backlog takes must not keep the client out for long.
#[test]
fn attack_02_many_thieves() {
    let server = server().start();
    server.file("secret", b"for ann alone");
    let mut client = server.ann();
    let address = client.epsv();
    let thieves: Vec<_> = (0..10)
        .map(|_| connect_from(STRANGER, address).unwrap())
        .collect();
    let mut data = Data::connect(address);
    client.expect("RETR secret", 150);
    assert_eq!(data.rest(), b"for ann alone");
    client.wait_for(226);
    drop(thieves);
}

/// The same paper: ports that come one after the other can be guessed.
#[test]
fn attack_03_predictable_ports() {
    let server = server().start();
    let mut client = server.ann();
    let ports: Vec<u16> = (0..1000).map(|_| client.pasv().port()).collect();
    let distinct: HashSet<u16> = ports.iter().copied().collect();
    // 1000 of 16384: about 30 coincide.
    assert!(distinct.len() > 900, "{} distinct", distinct.len());
    let near = ports
        .windows(2)
        .filter(|pair| pair[0].abs_diff(pair[1]) < 16)
        .count();
    // Expected by chance: 2. Up to 20 has a probability beyond 1 - 1e-12.
    assert!(near < 20, "{near} neighbours are near");
    // Sixteen equal parts get 62.5 each; chi square with 15 degrees of freedom
    // is above 60 once in three million.
    let mut parts = [0f64; 16];
    for port in &ports {
        parts[usize::from((port - 49152) / 1024)] += 1.0;
    }
    let chi: f64 = parts
        .iter()
        .map(|count| (count - 62.5).powi(2) / 62.5)
        .sum();
    assert!(chi < 60.0, "chi square {chi}: {parts:?}");
}

fn log_in_promptly(server: SocketAddr, from: IpAddr) {
    let started = Instant::now();
    let mut client = Client::connect_from(from, server);
    client.wait_for(220);
    client.login("ann", "secret");
    client.expect("NOOP", 200);
    let taken = started.elapsed();
    assert!(taken < Duration::from_secs(2), "the login took {taken:?}");
}

/// LightFTP#59, pyftpdlib#5: threads held by peers who never log in.
#[test]
fn attack_13_strangers_of_one_address() {
    let server = server().set("threads", "16").start();
    let idle: Vec<_> = (0..200)
        .map(|_| connect_from(STRANGER, server.v4).unwrap())
        .collect();
    server.until("half of the threads are taken", |server| {
        server.sessions() == 8
    });
    log_in_promptly(server.v4, IpAddr::V4(Ipv4Addr::LOCALHOST));
    drop(idle);
}

/// The same from as many addresses as the attacker likes.
#[test]
fn attack_13_strangers_of_many_addresses() {
    let server = server().set("threads", "16").start();
    let mut idle = Vec::new();
    for number in 0..200u8 {
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 1, number));
        idle.push(connect_from(from, server.v4).unwrap());
    }
    server.until("strangers hold what they may", |server| {
        (10..=12).contains(&server.sessions())
    });
    for number in 0..20 {
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 2, number));
        log_in_promptly(server.v4, from);
    }
    // Users keep their places, whoever comes.
    let mut users: Vec<Client> = (0..4).map(|_| server.ann()).collect();
    for number in 0..100u8 {
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 3, number));
        idle.push(connect_from(from, server.v4).unwrap());
    }
    for user in &mut users {
        user.expect("PWD", 257);
    }
    log_in_promptly(server.v4, IpAddr::V4(Ipv4Addr::new(127, 0, 4, 1)));
}

/// The login timer is absolute: bytes that trickle in don't stretch it.
#[test]
fn attack_13_slow_login() {
    let server = server()
        .with(|config| config.login_timeout = Duration::from_millis(600))
        .start();
    let mut client = server.connect();
    let started = Instant::now();
    loop {
        client.send("NOOP");
        let reply = client.reply();
        if reply.code == 421 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "never ended");
    }
    client.closed();
}

/// Data connections that are never made, or made and never used.
#[test]
fn attack_14_data_that_stands_still() {
    let server = server()
        .with(|config| {
            config.data_connect_timeout = Duration::from_millis(400);
            config.stall_timeout = Duration::from_millis(400);
        })
        .start();
    server.file("large", &vec![7; 16 << 20]);
    let mut client = server.ann();
    let prompt = |started: Instant| {
        let taken = started.elapsed();
        assert!(taken < Duration::from_secs(5), "{taken:?}");
    };
    // Passive, and nobody comes.
    let started = Instant::now();
    client.epsv();
    client.send("RETR large");
    let last = std::iter::repeat_with(|| client.reply())
        .find(|reply| reply.code != 150)
        .unwrap();
    assert_eq!(last.code, 425);
    prompt(started);
    // Active, to a host that lets packets disappear: a full backlog does.
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&hole, 0).unwrap();
    let address = hole.local_addr().unwrap();
    let full: Vec<_> = (0..4)
        .filter_map(|_| {
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok()
        })
        .collect();
    client.expect(&active_line("PORT", address), 200);
    let started = Instant::now();
    client.expect("RETR large", 425);
    prompt(started);
    drop(full);
    // A reader that does not read, a writer that does not write.
    let mut stalled = client.data();
    let started = Instant::now();
    client.expect("RETR large", 150);
    client.wait_for(426);
    prompt(started);
    let mut byte = [0];
    assert_eq!(stalled.0.read(&mut byte).unwrap(), 1);
    let silent = client.data();
    let started = Instant::now();
    client.expect("STOR new", 150);
    client.wait_for(426);
    prompt(started);
    drop(silent);
    client.expect("NOOP", 200);
    until("nothing waits", || server.sessions() == 1);
}
