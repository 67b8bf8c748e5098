//! What clients are refused: a reply each time, and one line in the log that
//! names address, session and reason, however often they try.
#![cfg(feature = "cli")]

use crate::common;

use common::process::Process;
use common::{Client, TempDir};

/// So often is the same tried again.
const TIMES: usize = 5;

/// Lines of the log, up to one that stands behind all that has happened.
fn lines(server: &Process, number: &mut u32) -> Vec<String> {
    *number += 1;
    let mark = format!("mark-{number}");
    let mut client = Client::greeted(server.address());
    client.expect(&format!("CLNT {mark}"), 200);
    server.log.wait_for(&mark);
    drop(client);
    let text = server.log.text();
    let before = text.lines().take_while(|line| !line.contains(&mark));
    before.map(String::from).collect()
}

/// Those of one session.
fn of(lines: &[String], session: u32) -> Vec<&String> {
    let head = format!("session {session}: ");
    lines.iter().filter(|line| line.contains(&head)).collect()
}

/// Every command of the table in every way that is wrong, and what is none.
fn bad_lines() -> Vec<Vec<u8>> {
    let mut lines = vec![
        b"XYZZY".to_vec(),
        b"PASSsecret".to_vec(),
        vec![b'x'; 5000],
        b"SITE XYZZY".to_vec(),
        b"\xff\xff\xff".to_vec(),
    ];
    // These end the session, or are tries to log in, each of which has a line.
    let apart = ["QUIT", "USER", "PASS", "REIN"];
    let mut verbs: Vec<_> = wharf::daemon::tables::rows();
    // Behind them the next transfer would wait for a data connection.
    verbs.sort_by_key(|(verb, _, _)| ["PASV", "EPSV"].contains(&verb.as_str()));
    for (verb, _, _) in verbs {
        if apart.contains(&verb.as_str()) {
            continue;
        }
        let arguments: [&[u8]; 6] = [
            b"",
            b" a\0b",
            b" x.key",
            b" ../none/x.key",
            b" \x1b[2J \xe2\x80\xae",
            b" 1 99999999999999999999 none",
        ];
        let line = |argument: &&[u8]| [verb.as_bytes(), argument].concat();
        lines.extend(arguments.iter().map(line));
    }
    lines
}

fn wrong(client: &mut Client, lines: &[Vec<u8>]) {
    for line in lines {
        client.raw(&[line, &b"\r\n"[..]].concat());
        let mut reply = client.reply();
        // Of transfers: there is no data connection.
        if reply.code / 100 == 1 {
            reply = client.reply();
        }
        let shown = String::from_utf8_lossy(line);
        let clear = reply.code < 400 || reply.text().contains(' ');
        assert!(clear, "{shown}: {:?}", reply.lines);
    }
}

#[test]
fn every_command_is_refused_in_one_line_however_often() {
    let place = TempDir::new("refusals");
    std::fs::write(place.join("x.key"), b"secret").unwrap();
    let server = Process::serve(
        place.path(),
        &["--deny-names=*.key", "--data-connect-timeout=1"],
    );
    let mut number = 0;
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "guest@");
    let wrong_lines = bad_lines();
    wrong(&mut client, &wrong_lines);
    let first = lines(&server, &mut number);
    let first = of(&first, 1);
    for _ in 0..TIMES {
        wrong(&mut client, &wrong_lines);
    }
    let all = lines(&server, &mut number);
    let again = of(&all, 1);
    assert_eq!(again.len(), first.len(), "{:#?}", &again[first.len()..]);
    for line in &first {
        assert!(line.contains("127.0.0.1"), "whose is it? {line}");
        assert!(line.is_ascii(), "{line}");
    }
    for reason in [
        "an unknown command: ***",
        "a line was refused: it is too long",
        "a command was refused: ",
        "a denied name: /x.key",
        "DELE: no right Delete at /",
    ] {
        let times = first.iter().filter(|line| line.contains(reason)).count();
        assert_eq!(times, 1, "{reason}: {first:#?}");
    }
}

/// Logins that fail, and connections beyond a limit or of a banned address.
#[test]
fn refused_logins_and_connections_have_a_line_each_and_then_no_more() {
    let place = TempDir::new("refused-logins");
    let mut command = common::process::wharfd();
    command
        .args(["--listen=127.0.0.1:0", "--print-port", "--login-delay=0"])
        .args(["--login-tries=3", "--ban-after=6", "--max-per-address=4"])
        .arg(place.path());
    let server = Process::start(&mut command);
    let address = server.address();
    for _ in 0..2 {
        let mut client = Client::greeted(address);
        for code in [530, 530, 421] {
            client.expect("USER eve", 331);
            client.expect("PASS guess", code);
        }
        client.closed();
    }
    for _ in 0..50 {
        Client::connect(address).wait_for(421);
    }
    // Behind all others: they are written in their order.
    server.signal("TERM");
    let text = server.log.all();
    let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    for session in 1..=2 {
        let line = format!("session {session}: login refused: user \"eve\" from 127.0.0.1 (ftp): ");
        assert_eq!(count(&line), 3, "{text}");
    }
    assert_eq!(count("refused a connection from 127.0.0.1: "), 1, "{text}");
    assert!(text.lines().count() < 20, "{text}");
}

/// What is no TLS, on every port and at every time.
#[cfg(feature = "ftps")]
#[test]
fn what_is_no_tls_has_one_line() {
    let place = TempDir::new("no-tls");
    let state = format!("--state-dir={}", place.join("state").display());
    std::fs::create_dir(place.join("state")).unwrap();
    let server = Process::serve(
        place.path(),
        &["--listen-ftps=127.0.0.1:0", "--self-signed=yes", &state],
    );
    let [clear, implicit] = server.addresses(2)[..] else {
        panic!("two ports");
    };
    let hello = [22, 3, 1, 0, 5, 1, 0, 0, 1, 0];
    let garbage: [&[u8]; 4] = [
        b"USER ann\r\n",
        &[0; 400],
        &hello,
        b"\x15\x03\x03\0\x02\x02\x28",
    ];
    for bytes in garbage {
        let mut client = Client::connect(implicit);
        client.raw(bytes);
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        while let Ok(Some(_)) = client.try_line() {}
        let mut client = Client::greeted(clear);
        client.expect("AUTH TLS", 234);
        client.raw(bytes);
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        while let Ok(Some(_)) = client.try_line() {}
    }
    // Data connections of one session.
    let mut client = common::tls::SecureClient::explicit(clear);
    client.expect("PBSZ 0", 200);
    client.expect("PROT P", 200);
    client.login("anonymous", "guest@");
    for bytes in garbage.iter().cycle().take(20) {
        let data = client.data();
        client.send("NLST");
        std::io::Write::write_all(&mut &data.0, bytes).unwrap();
        data.0.shutdown(std::net::Shutdown::Write).unwrap();
        client.wait_for(150);
        client.wait_for(522);
    }
    server.signal("TERM");
    let text = server.log.all();
    let lines: Vec<String> = text.lines().map(String::from).collect();
    for session in 1..=8 {
        let lines = of(&lines, session);
        let told = lines.iter().filter(|line| line.contains(" WARN "));
        assert_eq!(told.count(), 1, "{lines:#?}");
        assert!(
            lines.len() <= 3 && lines[1].contains("127.0.0.1"),
            "{lines:#?}"
        );
    }
    let told = of(&lines, 9).into_iter();
    let told: Vec<_> = told.filter(|line| line.contains(" WARN ")).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(
        told[0].contains("127.0.0.1: refused a data connection: "),
        "{told:?}"
    );
}

/// A directory that may be read and not entered: no entry can be looked at, the
/// listing has them all, and the log one line.
#[test]
fn what_a_listing_cannot_look_at_has_one_line() {
    let place = TempDir::new("unseen");
    let mode = |path: &std::path::Path, mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path, mode).unwrap();
    };
    mode(place.path(), 0o755);
    let shut = place.join("shut");
    std::fs::create_dir(&shut).unwrap();
    for name in ["one", "two", "three"] {
        std::fs::write(shut.join(name), "").unwrap();
    }
    mode(&shut, 0o444);
    let as_nobody: &[&str] = if rustix::process::geteuid().is_root() {
        &["--user=65534"]
    } else {
        &[]
    };
    let server = Process::serve(place.path(), as_nobody);
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    for line in ["LIST shut", "MLSD shut", "LIST -t shut"] {
        let listing = String::from_utf8(client.fetch(line)).unwrap();
        for name in ["one", "two", "three"] {
            assert!(listing.contains(name), "{line}: {listing}");
        }
    }
    let mut number = 0;
    let lines = lines(&server, &mut number);
    let told = |line: &&String| line.contains("could not look at");
    let told: Vec<_> = lines.iter().filter(told).collect();
    assert_eq!(told.len(), 1, "{lines:?}");
    assert!(told[0].contains("Permission denied"), "{told:?}");
    mode(&shut, 0o755);
}
