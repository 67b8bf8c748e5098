//! Attacks on logins, and state that must not outlive an error.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use wharf::auth::{Authenticator, Credentials, Secret, UserDefaults, UserFile};

use super::common::client::Client;
use super::common::{TempDir, server};

/// vsftpd 2.3.4 (CVE-2011-2523): a name that opens a door.
#[test]
fn attack_12_back_doors() {
    let server = server().start();
    let mut client = server.connect();
    client.expect("USER a:)", 331);
    client.expect("PASS x", 530);
    client.expect("PWD", 530);
    // ProFTPD 1.3.3c answered to this one.
    client.expect("HELP ACIDBITCHEZ", 502);
    assert!(TcpStream::connect("127.0.0.1:6200").is_err());
    // All code comes from the registry, at versions and sums that are fixed.
    let lock = include_str!("../../Cargo.lock");
    let packages = lock.matches("[[package]]").count();
    assert_eq!(lock.matches("\nsource = ").count(), packages - 1);
    assert_eq!(lock.matches("\nchecksum = ").count(), packages - 1);
    assert_eq!(
        lock.matches("\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"")
            .count(),
        packages - 1
    );
}

fn users_file(place: &TempDir, text: &str) -> UserFile {
    let path = place.join("users");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    UserFile::open(path, UserDefaults::default()).unwrap()
}

/// RFC 2577, section 6; CVE-2013-4359 and its kin: the time of a refusal says
/// whether the name exists. 200 tries a side, in turns, so that whatever else
/// the machine does falls on both; the medians are compared, which a few
/// interrupted tries can't move.
#[test]
fn attack_15_timing() {
    let place = TempDir::new("timing");
    let home = place.path().display();
    // 5000 rounds, the usual number, as made by mkpasswd.
    let hash = wharf::auth::password::hash(b"secret").unwrap();
    let users = users_file(&place, &format!("ann:{hash}:{home}:read-only:\n"));
    let try_once = |name: &str| {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let started = Instant::now();
        let secret = Secret::Password(b"a wrong one");
        let result = users.authenticate(&Credentials::new(name, secret, peer));
        let taken = started.elapsed().as_secs_f64();
        assert!(result.is_err());
        taken
    };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for number in 0..200 {
        // Whoever comes second must not always find warm caches.
        if number % 2 == 0 {
            known.push(try_once("ann"));
            unknown.push(try_once("eve"));
        } else {
            unknown.push(try_once("eve"));
            known.push(try_once("ann"));
        }
    }
    let quartiles = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        (times[50], times[100], times[150])
    };
    let (one, two) = (quartiles(&mut known), quartiles(&mut unknown));
    let difference = (one.1 - two.1).abs();
    let noise = (one.2 - one.0).max(two.2 - two.0).max(one.1 * 0.05);
    assert!(
        difference < noise,
        "medians {:.6} s and {:.6} s, noise {noise:.6} s",
        one.1,
        two.1
    );
}

/// The replies must not tell either.
#[test]
fn attack_15_replies() {
    let server = server().start();
    let dialogue = |name: &str| {
        let mut client = server.connect();
        let user = client.cmd(&format!("USER {name}"));
        (user, client.cmd("PASS wrong"))
    };
    assert_eq!(dialogue("ann"), dialogue("eve"));
}

/// RFC 2577, section 5.
#[test]
fn attack_16_brute_force() {
    let server = server()
        .set("login-tries", "3")
        .set("ban-after", "6")
        .start();
    let guesser = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    for _ in 0..2 {
        let mut client = Client::connect_from(guesser, server.v4);
        client.wait_for(220);
        for number in 0..3 {
            client.expect("USER ann", 331);
            client.expect("PASS guess", if number < 2 { 530 } else { 421 });
        }
        client.closed();
    }
    // Banned: not even the greeting, and not even with the right password.
    let mut client = Client::connect_from(guesser, server.v4);
    client.wait_for(421);
    client.closed();
    server.ann().expect("NOOP", 200);
}

/// proftpd#2275, #2279: no password at all, or no name at all.
#[test]
fn attack_17_empty_names_and_passwords() {
    let place = TempDir::new("empty");
    let home = place.path().display();
    let path = place.join("users");
    for line in [
        format!("ann::{home}:read-only:\n"),
        format!(":x:{home}:read-only:\n"),
    ] {
        fs::write(&path, line).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let opened = UserFile::open(&path, UserDefaults::default());
        let refused = opened.is_ok_and(|users| {
            let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
            ["", "x"].iter().all(|password| {
                let secret = Secret::Password(password.as_bytes());
                users
                    .authenticate(&Credentials::new("ann", secret, peer))
                    .is_err()
            })
        });
        // Either the file is refused, or its user is.
        assert!(refused || UserFile::open(&path, UserDefaults::default()).is_err());
    }
    let users = users_file(&place, &format!("ann:!:{home}:read-only:\n"));
    let secret = Secret::Password(b"!");
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert!(
        users
            .authenticate(&Credentials::new("ann", secret, peer))
            .is_err()
    );
    let server = server().start();
    let mut client = server.connect();
    client.expect("USER", 501);
    client.expect("USER  ", 501);
    client.raw(b"USER \0\r\n");
    client.wait_for(501);
    client.expect("PASS", 503);
    client.expect("PASS secret", 503);
    client.expect("USER ann", 331);
    client.expect("PASS", 530);
    client.expect("PWD", 530);
}

/// proftpd#2003, #2255, #2272: what an error leaves behind.
#[test]
fn attack_24_state_after_errors() {
    let server = server().start();
    server.file("f", b"0123456789");
    let mut client = server.connect();
    for line in [
        "RNFR f",
        "RNTO g",
        "REST 5",
        "SITE CPFR f",
        "EPSV",
        "TYPE I",
    ] {
        client.expect(line, 530);
    }
    client.login("ann", "secret");
    client.expect("RNTO g", 503);
    client.expect("SITE CPTO g", 503);
    client.expect("TYPE I", 200);
    // REST is for the next transfer alone, whatever becomes of that.
    client.expect("REST 5", 350);
    client.expect("RETR missing", 550);
    assert_eq!(client.fetch("RETR f"), b"0123456789");
    client.expect("REST 5", 350);
    client.expect("RETR f", 425);
    assert_eq!(client.fetch("RETR f"), b"0123456789");
    client.expect("RANG 2 4", 350);
    assert_eq!(client.fetch("RETR f"), b"234");
    assert_eq!(client.fetch("RETR f"), b"0123456789");
    // A restart that can't be makes no file.
    client.epsv();
    client.expect("REST 5", 350);
    let code = client.cmd("STOR new").code;
    assert!(code >= 500, "{code}");
    assert_eq!(server.content("new"), None);
    // A broken RNFR forgets the one before it.
    client.expect("RNFR f", 350);
    client.expect("RNFR missing", 550);
    client.expect("RNTO g", 503);
    client.expect("RNFR f", 350);
    client.expect("RNTO missing/g", 550);
    client.expect("RNTO g", 503);
    // A wrong TYPE or PORT changes nothing, or takes the old target away.
    client.expect("TYPE X", 504);
    assert!(client.expect("STAT", 211).lines.len() > 1);
    assert_eq!(client.fetch("RETR f"), b"0123456789");
    let listener = client.active("PORT");
    client.expect("PORT 1,2,3", 501);
    client.expect("RETR f", 425);
    drop(listener);
    // EPSV ALL stays through REIN and login (RFC 2428: for the session).
    client.expect("EPSV ALL", 200);
    client.expect("PASV", 503);
    client.expect("REIN", 220);
    client.expect("RNFR f", 530);
    client.login("ann", "secret");
    client.expect("PASV", 503);
    client.expect("EPSV", 229);
}
