//! Who gets in, for how long and how often (wharf-security(7), attacks 13 to 16).

use crate::common;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use common::client::Data;
use common::{Client, server};

const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

#[test]
fn a_place_comes_back_after_each_way_to_end() {
    let server = server().set("max-per-address", "1").start();
    type End = fn(Client);
    let ways: [(&str, End); 6] = [
        ("QUIT", |mut client| {
            client.expect("QUIT", 221);
        }),
        ("close", drop),
        ("reset", |client| Data(client.stream).reset()),
        ("HTTP", |mut client| {
            client.expect("GET / HTTP/1.0", 421);
        }),
        ("half a line", |mut client| client.raw(b"USER an")),
        ("a port that waits", |mut client| {
            client.login("ann", "secret");
            client.epsv();
            client.send("LIST");
        }),
    ];
    for (what, end) in ways {
        for _ in 0..3 {
            end(server.connect());
            server.until(what, |server| server.sessions() == 0);
        }
    }
    server.ann();
}

#[test]
fn max_per_address_counts_addresses_apart() {
    let server = server().set("max-per-address", "3").start();
    let held: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    let mut refused = Client::connect(server.v4);
    refused.wait_for(421);
    refused.closed();
    Client::connect_from(OTHER, server.v4).wait_for(220);
    Client::connect(server.v6).wait_for(220);
    drop(held);
}

/// Who is told why can do something about it: no two refusals share a text.
#[test]
fn each_limit_is_refused_in_its_own_words() {
    let mut told = Vec::new();
    for (setting, value) in [
        ("deny", "127.0.0.0/8"),
        ("threads", "1"),
        ("max-per-address", "1"),
        ("max-unauthenticated-per-address", "1"),
        ("max-unauthenticated", "1"),
    ] {
        let server = server().set(setting, value).start();
        let held = (setting != "deny").then(|| server.connect());
        let mut refused = Client::connect(server.v4);
        told.push(refused.wait_for(421).text().to_owned());
        drop(held);
    }
    let server = server().set("ban-after", "1").start();
    let mut guesser = server.connect();
    guesser.expect("USER ann", 331);
    guesser.expect("PASS wrong", 530);
    told.push(Client::connect(server.v4).wait_for(421).text().to_owned());
    let server = common::server().set("max-per-user", "1").start();
    let _ann = server.ann();
    let mut second = server.connect();
    second.expect("USER ann", 331);
    second.send("PASS secret");
    told.push(second.reply().text().to_owned());
    let words: std::collections::BTreeSet<_> = told.iter().collect();
    assert_eq!(words.len(), told.len(), "{told:#?}");
}

#[test]
fn a_user_has_so_many_sessions_and_another_is_not_harmed() {
    let server = server()
        .user("ann", "secret", "read-only")
        .limits(|limits| limits.max_sessions = 2)
        .user("bob", "pass", "read-only")
        .start();
    let one = server.login("ann", "secret");
    let _two = server.login("ann", "secret");
    let mut third = server.connect();
    third.expect("USER ann", 331);
    third.expect("PASS secret", 421);
    server.login("bob", "pass");
    drop(one);
    // The second one of ann is left, and nobody else.
    server.until("the place", |server| server.sessions() <= 1);
    server.login("ann", "secret");
}

#[test]
fn silent_strangers_of_one_address_keep_nobody_else_out() {
    // Slow loris: 200 connections that say nothing, against a pool of 16.
    let server = server().set("threads", "16").start();
    let mut silent = Vec::new();
    let mut refused = 0;
    for _ in 0..200 {
        let mut client = Client::connect(server.v4);
        match client.reply().code {
            220 => silent.push(client),
            421 => refused += 1,
            code => panic!("{code}"),
        }
    }
    assert!(
        silent.len() <= 8 && refused >= 192,
        "{} {refused}",
        silent.len()
    );
    let started = Instant::now();
    for _ in 0..4 {
        let mut other = Client::connect_from(OTHER, server.v4);
        other.wait_for(220);
        other.login("ann", "secret");
        other.expect("QUIT", 221);
    }
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn max_unauthenticated_leaves_those_who_log_in_alone() {
    let server = server().set("max-unauthenticated", "2").start();
    let mut users: Vec<Client> = (0..5).map(|_| server.ann()).collect();
    let _strangers: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    Client::connect_from(OTHER, server.v4).wait_for(421);
    // REIN makes a stranger of a user; the user is no longer counted as one.
    users[0].expect("REIN", 220);
    users[0].login("ann", "secret");
}

#[test]
fn the_time_for_a_login_is_absolute() {
    // Neither bytes nor commands lengthen it.
    let server = server().set("login-timeout", "1").start();
    let started = Instant::now();
    let mut client = server.connect();
    let reply = loop {
        client.raw(b"NOOP\r\n");
        let reply = client.reply();
        if reply.code != 200 {
            break reply;
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(started.elapsed() < Duration::from_secs(10));
    };
    assert_eq!(reply.code, 421);
    assert!(started.elapsed() >= Duration::from_millis(900));

    let mut dripping = server.connect();
    let mut writer = dripping.stream.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        let started = Instant::now();
        while std::io::Write::write_all(&mut writer, b"x").is_ok()
            && started.elapsed() < Duration::from_secs(10)
        {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    dripping.wait_for(421);
    drop(dripping);
    drip.join().unwrap();
}

#[test]
fn a_login_ends_the_time_for_it() {
    let server = server().set("login-timeout", "0.5").start();
    let mut client = server.ann();
    std::thread::sleep(Duration::from_millis(700));
    client.expect("NOOP", 200);
}

#[test]
fn idle_sessions_end_and_busy_ones_do_not() {
    let server = server().set("idle-timeout", "1").start();
    let mut idle = server.ann();
    let mut busy = server.ann();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1500) {
        busy.expect("NOOP", 200);
        std::thread::sleep(Duration::from_millis(100));
    }
    idle.wait_for(421);
    idle.closed();
    busy.expect("NOOP", 200);
}

#[test]
fn a_session_that_was_silent_goes_on_where_it_was() {
    // After a second it gives back the stack that it does not need.
    let server = server().start();
    server.file("d/f", b"content");
    let mut client = server.ann();
    client.expect("CWD d", 250);
    assert!(client.fetch("LIST").ends_with(b"f\r\n"));
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(1300));
        assert_eq!(client.fetch("RETR f"), b"content");
        assert!(client.expect("PWD", 257).text().starts_with("\"/d\""));
    }
}

/// A transfer may take longer than idle-timeout, with a silent control
/// connection; when it is over the time begins anew.
#[test]
fn the_idle_time_does_not_run_during_a_transfer() {
    let server = server().set("idle-timeout", "1").start();
    let mut client = server.ann();
    let mut data = client.data();
    client.expect("STOR slow", 150);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        data.send(b"x");
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(data);
    client.wait_for(226);
    client.expect("NOOP", 200);
    // And it does run when the transfer is over.
    client.wait_for(421);
}

#[test]
fn a_session_lasts_no_longer_than_session_timeout() {
    let server = server().set("session-timeout", "1").start();
    let mut client = server.ann();
    let started = Instant::now();
    while client.cmd("NOOP").code == 200 {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn failed_logins_ban_the_address_for_a_time_and_no_other() {
    let server = server()
        .set("ban-after", "3")
        .set("ban-seconds", "1")
        .start();
    let mut client = server.connect();
    for _ in 0..3 {
        client.expect("USER ann", 331);
        client.expect("PASS wrong", 530);
    }
    let mut banned = Client::connect(server.v4);
    banned.wait_for(421);
    banned.closed();
    Client::connect_from(OTHER, server.v4).wait_for(220);
    common::until("the end of the ban", || {
        Client::connect(server.v4).reply().code == 220
    });
}

#[test]
fn login_delay_slows_the_guesser_and_nobody_else() {
    let server = server().set("login-delay", "0.5").start();
    let mut guesser = server.connect();
    guesser.expect("USER ann", 331);
    guesser.send("PASS wrong");
    let started = Instant::now();
    server.ann();
    assert!(started.elapsed() < Duration::from_millis(450));
    guesser.wait_for(530);
    assert!(started.elapsed() > Duration::from_millis(300));
}

#[test]
fn commands_a_second_are_limited() {
    let server = server().set("max-commands-per-second", "2").start();
    let mut client = server.ann();
    // Ten seconds' worth may come at once; then it is slow.
    for _ in 0..16 {
        client.expect("NOOP", 200);
    }
    client.send("NOOP");
    client.send("NOOP");
    client.send("NOOP");
    client
        .stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let quick = (0..3)
        .filter(|_| matches!(client.try_line(), Ok(Some(_))))
        .count();
    assert!(quick < 3, "nothing was slowed");
}

#[test]
fn networks_are_allowed_and_denied() {
    let denied = server().set("deny", "127.0.0.2").start();
    Client::connect_from(OTHER, denied.v4).wait_for(421);
    denied.connect();
    let allowed = server().set("allow", "127.0.0.2/32").start();
    Client::connect(allowed.v4).wait_for(421);
    Client::connect(allowed.v6).wait_for(421);
    Client::connect_from(OTHER, allowed.v4).wait_for(220);
}

#[test]
fn when_all_threads_are_busy_the_next_is_told_so() {
    let server = server().set("threads", "2").start();
    let one = server.ann();
    let _two = server.ann();
    Client::connect_from(OTHER, server.v4).wait_for(421);
    drop(one);
    server.until("the place", |server| server.sessions() == 1);
    common::until("a free thread", || {
        Client::connect_from(OTHER, server.v4).reply().code == 220
    });
}

#[test]
fn two_servers_in_one_process_know_nothing_of_each_other() {
    let one = server().set("max-per-address", "1").start();
    let two = server().set("max-per-address", "1").start();
    one.file("f", b"1");
    let mut first = one.ann();
    let mut second = two.ann();
    first.expect("SIZE f", 213);
    second.expect("SIZE f", 550);
}

/// fail2ban, helpers and hooks know IPv4 clients by their IPv4 address.
#[test]
fn a_client_on_ipv4_is_one_on_a_dual_stack_socket_too() {
    let both = |config: &mut wharf::Config| {
        config.listen = vec!["0".parse().unwrap(), "0".parse().unwrap()];
    };
    let server = server().with(both).start();
    let port = server.v4.port();
    let _client = Client::greeted((Ipv4Addr::LOCALHOST, port).into());
    let sessions = server.running().services().registry.all();
    assert_eq!(sessions[0].peer.ip(), Ipv4Addr::LOCALHOST);
}

/// A pulled cable: nothing tells the server that the client is gone.
#[test]
fn a_silent_session_gives_its_place_to_a_new_one_of_the_same_client() {
    let server = server()
        .set("max-per-user", "1")
        .set("ssh-keepalive", "1")
        .start();
    let mut lost = server.ann();
    let mut second = server.connect();
    second.expect("USER ann", 331);
    second.expect("PASS secret", 421);
    // One from another address, and one that talks, leave it alone.
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(2) {
        lost.expect("NOOP", 200);
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut third = server.connect();
    third.expect("USER ann", 331);
    third.expect("PASS secret", 421);
    std::thread::sleep(Duration::from_millis(1600));
    let mut other = Client::connect_from(OTHER, server.v4);
    other.wait_for(220);
    other.expect("USER ann", 331);
    other.expect("PASS secret", 421);
    let mut back = server.ann();
    back.expect("NOOP", 200);
    lost.closed();
}
