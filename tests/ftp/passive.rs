//! Data connections: ports, addresses, and who may be at the other end
//! (wharf-security(7), attacks 1 to 3 and 14).

use crate::common;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::client::{Data, connect_from};
use common::{Client, server};

const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A range of free ports, another one for each test. The system gives out
/// none of them: they are below those that clients get.
fn ports(count: u16) -> (u16, String) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 20_000 + (std::process::id() % 400) as u16 * 20;
    loop {
        let first = start + NEXT.fetch_add(count, SeqCst);
        let free =
            (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
        if free {
            return (first, format!("{first}-{}", first + count - 1));
        }
    }
}

#[test]
fn ports_come_from_the_range_in_no_order() {
    let server = server().set("passive-ports", "30000-31999").start();
    let mut client = server.ann();
    let ports: Vec<u16> = (0..1000).map(|_| client.epsv().port()).collect();
    assert!(ports.iter().all(|port| (30000..32000).contains(port)));
    let steps: Vec<i32> = ports
        .windows(2)
        .map(|pair| i32::from(pair[1]) - i32::from(pair[0]))
        .collect();
    let near = steps.iter().filter(|step| step.abs() <= 2).count();
    assert!(near < 20, "{near} of 1000 ports are next to the one before");
    let distinct: HashSet<&i32> = steps.iter().collect();
    assert!(distinct.len() > 500, "{} different steps", distinct.len());
    // And not the same in the next session.
    let mut next = server.ann();
    let again: Vec<u16> = (0..10).map(|_| next.epsv().port()).collect();
    assert_ne!(again, ports[..10]);
}

#[test]
fn a_port_that_is_taken_is_passed_over() {
    let (first, range) = ports(2);
    let server = server().set("passive-ports", &range).start();
    let _taken = TcpListener::bind(("127.0.0.1", first)).unwrap();
    let mut client = server.ann();
    for _ in 0..200 {
        assert_eq!(client.epsv().port(), first + 1);
    }
    let mut second = server.ann();
    second.expect("EPSV", 425);
    second.expect("NOOP", 200);
    client.expect("ABOR", 226);
    assert_eq!(second.epsv().port(), first + 1);
}

#[test]
fn one_port_serves_many_transfers() {
    // TIME_WAIT must not take the port away.
    let (first, range) = ports(1);
    let server = server().set("passive-ports", &range).start();
    server.file("f", b"hello");
    let mut client = server.ann();
    for _ in 0..100 {
        assert_eq!(client.fetch("RETR f"), b"hello");
        assert_eq!(client.store("STOR g", b"x").code, 226);
    }
    assert_eq!(client.epsv().port(), first);
}

fn told(client: &mut Client) -> IpAddr {
    client.pasv().ip()
}

#[test]
fn the_external_address_is_told_to_clients_outside() {
    let outside = server()
        .set("passive-address", "192.0.2.7")
        .with(|config| config.passive_local_networks.clear())
        .start();
    assert_eq!(told(&mut outside.ann()), IpAddr::from([192, 0, 2, 7]));
    // EPSV names no address, so it needs no setting.
    let mut client = outside.ann();
    outside.file("f", b"1");
    assert_eq!(client.fetch("RETR f"), b"1");
    // Clients of the LAN get the address they know.
    let inside = server().set("passive-address", "192.0.2.7").start();
    assert_eq!(told(&mut inside.ann()), IpAddr::from([127, 0, 0, 1]));
}

#[test]
fn each_network_gets_its_address() {
    let server = server()
        .set("passive-address", "192.0.2.7")
        .with(|config| config.passive_local_networks.clear())
        .set("passive-local-networks", "127.0.0.2/32")
        .start();
    assert_eq!(told(&mut server.ann()), IpAddr::from([192, 0, 2, 7]));
    let mut other = Client::connect_from(OTHER, server.v4);
    other.wait_for(220);
    other.login("ann", "secret");
    assert_eq!(told(&mut other), IpAddr::from([127, 0, 0, 1]));
}

#[test]
fn the_external_address_may_be_a_name() {
    let server = server()
        .set("passive-address", "localhost")
        .with(|config| config.passive_local_networks.clear())
        .start();
    let mut client = server.ann();
    assert_eq!(told(&mut client), IpAddr::from([127, 0, 0, 1]));
    let started = Instant::now();
    // Asked once a minute and not at each PASV.
    for _ in 0..200 {
        told(&mut client);
    }
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_thief_at_the_passive_port_gets_nothing_and_harms_nobody() {
    let server = server().start();
    server.file("f", b"secret");
    let mut client = server.ann();
    for _ in 0..10 {
        let address = client.epsv();
        let thieves: Vec<_> = (0..8)
            .map(|_| connect_from(OTHER, address).unwrap())
            .collect();
        client.send("RETR f");
        let mut data = Data::connect(address);
        client.wait_for(150);
        assert_eq!(data.rest(), b"secret");
        client.wait_for(226);
        for thief in thieves {
            let mut got = Vec::new();
            let mut thief = Data::from(thief).0;
            // Closed or reset, with no byte.
            let _ = std::io::Read::read_to_end(&mut thief, &mut got);
            assert!(got.is_empty(), "{got:?}");
        }
    }
}

#[test]
fn a_thief_can_not_store_either() {
    let server = server().start();
    let mut client = server.ann();
    let address = client.epsv();
    let mut thief = Data::from(connect_from(OTHER, address).unwrap());
    thief.send(b"forged");
    drop(thief);
    client.send("STOR f");
    let mut data = Data::connect(address);
    client.wait_for(150);
    data.send(b"mine");
    drop(data);
    client.wait_for(226);
    assert_eq!(server.content("f").as_deref(), Some(&b"mine"[..]));
}

#[test]
fn data_peer_settings_let_others_in() {
    for (key, value) in [
        ("data-peer", "any"),
        ("data-peer", "same-network"),
        ("data-peer-allow", "127.0.0.2/32"),
    ] {
        let server = server().set(key, value).start();
        server.file("f", b"shared");
        let mut client = server.ann();
        let address = client.epsv();
        client.send("RETR f");
        let mut data = Data::from(connect_from(OTHER, address).unwrap());
        client.wait_for(150);
        assert_eq!(data.rest(), b"shared", "{key} {value}");
        client.wait_for(226);
        // Active mode goes by the same rule.
        let listener = TcpListener::bind((OTHER, 0)).unwrap();
        let line = common::client::active_line("PORT", listener.local_addr().unwrap());
        client.expect(&line, 200);
        client.expect("RETR f", 150);
        assert_eq!(Data::accept(&listener).rest(), b"shared");
        client.wait_for(226);
    }
}

#[test]
fn no_connection_goes_to_somebody_else() {
    // CERT CA-1997-27: not even a SYN.
    let server = server().start();
    server.file("f", b"x");
    let victim = TcpListener::bind((OTHER, 0)).unwrap();
    victim.set_nonblocking(true).unwrap();
    let mut client = server.ann();
    for verb in ["PORT", "EPRT"] {
        let line = common::client::active_line(verb, victim.local_addr().unwrap());
        client.expect(&line, 500);
        client.expect("RETR f", 425);
    }
    assert!(victim.accept().is_err(), "the server has connected");
}

#[test]
fn an_active_connection_that_fails_is_425_in_time() {
    let server = server().set("data-connect-timeout", "0.5").start();
    server.file("f", b"x");
    let mut client = server.ann();
    // Nobody listens there any more.
    let address: SocketAddr = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    client.expect(&common::client::active_line("PORT", address), 200);
    let started = Instant::now();
    client.expect("RETR f", 425);
    assert!(started.elapsed() < Duration::from_secs(3));
    client.expect("NOOP", 200);
}

#[test]
fn active_connections_come_from_the_address_that_the_client_knows() {
    let server = server().start();
    server.file("f", b"x");
    for address in [server.v4, server.v6] {
        let mut client = Client::greeted(address);
        client.login("ann", "secret");
        let listener = client.active("EPRT");
        client.expect("RETR f", 150);
        let (stream, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), address.ip());
        assert_eq!(Data::from(stream).rest(), b"x");
        client.wait_for(226);
    }
}

#[test]
fn a_dual_stack_socket_treats_mapped_addresses_as_ipv4() {
    let server = server()
        .with(|config| {
            config.listen[0].host.clear();
        })
        .start();
    server.file("f", b"x");
    let address = SocketAddr::from(([127, 0, 0, 1], server.v4.port()));
    let mut client = Client::greeted(address);
    client.login("ann", "secret");
    assert_eq!(client.pasv().ip(), address.ip());
    client.expect("EPSV 1", 229);
    client.expect("EPSV 2", 522);
    let listener = client.active("PORT");
    client.expect("RETR f", 150);
    assert_eq!(Data::accept(&listener).rest(), b"x");
    client.wait_for(226);
    assert_eq!(client.fetch("RETR f"), b"x");
    let reply = client.expect("STAT", 211);
    assert!(reply.lines[1].contains("127.0.0.1"), "{:?}", reply.lines);
    assert!(!reply.lines[1].contains("ffff"));
}

#[test]
fn the_reason_for_no_data_connection_is_told_and_counted() {
    let (first, range) = ports(1);
    let server = server()
        .set("data-connect-timeout", "0.3")
        .set("passive-ports", &range)
        .start();
    server.file("f", b"x");
    let count = |name: &str| {
        let counts = server.running().services().data_failures.counts();
        let found = counts.iter().find(|(reason, _)| reason.name() == name);
        found.unwrap().1
    };
    let mut client = server.ann();
    let refused = client.active("PORT");
    drop(refused);
    let text = |reply: common::client::Reply| reply.text().to_owned();
    assert!(text(client.expect("RETR f", 425)).contains("refused"));
    assert_eq!(count("refused"), 1);
    client.epsv();
    client.send("RETR f");
    // 150 may come first, for clients that wait for it.
    let mut reply = client.reply();
    if reply.code == 150 {
        reply = client.reply();
    }
    assert!(reply.code == 425 && reply.text().contains("firewall"));
    assert_eq!(count("never came"), 1);
    let address = client.epsv();
    assert_eq!(address.port(), first);
    let _thief = connect_from(OTHER, address).unwrap();
    let mut reply = client.cmd("RETR f");
    if reply.code == 150 {
        reply = client.reply();
    }
    assert!(reply.code == 425 && reply.text().contains("another address"));
    client.expect("PORT 127,0,0,2,200,200", 500);
    assert_eq!(count("wrong address"), 2);
    client.epsv();
    let mut second = server.ann();
    assert!(text(second.expect("EPSV", 425)).contains("passive range"));
    assert_eq!(count("no free port"), 1);
    assert_eq!(count("timed out"), 0);
}

/// Each connection of the active mode to another port of the client: none
/// takes a local port away from the next ones.
#[test]
fn active_connections_use_up_no_ports() {
    let server = server().start();
    server.file("f", b"x");
    let mut client = server.ann();
    for _ in 0..2000 {
        let listener = client.active("PORT");
        client.expect("RETR f", 150);
        let mut data = Data::accept(&listener);
        assert_eq!(data.rest(), b"x");
        client.wait_for(226);
    }
}

/// The local address would be a wrong one.
#[test]
fn a_name_that_does_not_resolve_is_no_address() {
    let server = server()
        .set("passive-address", "no-such-host.invalid")
        .with(|config| config.passive_local_networks.clear())
        .start();
    let mut client = server.ann();
    for _ in 0..3 {
        client.expect("PASV", 425);
    }
    client.epsv();
    client.expect("NOOP", 200);
}
