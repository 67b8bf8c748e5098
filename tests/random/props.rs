//! Properties: what holds for every input, tried with random ones. A failure
//! prints `WHARF_SEED=…`, which repeats it; WHARF_ROUNDS makes it longer.

use crate::common;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use common::client::Data;
use common::rng::Rng;
use common::{Client, TestServer, server};
use wharf::daemon::{KEYS, Settings, Source};
use wharf::storage::VirtualPath;

fn rounds(usual: usize) -> usize {
    std::env::var("WHARF_ROUNDS").map_or(usual, |factor| {
        usual * factor.parse::<usize>().expect("WHARF_ROUNDS is a factor")
    })
}

/// What a path means, told in the simplest way.
fn naive_join(base: &[Vec<u8>], text: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = if text.first() == Some(&b'/') {
        Vec::new()
    } else {
        base.to_vec()
    };
    for part in text.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part.to_vec()),
        }
    }
    parts
}

#[test]
fn a_path_never_leaves_the_root_and_means_what_it_says() {
    let mut rng = Rng::new();
    let pieces: [&[u8]; 12] = [
        b"..", b".", b"", b"a", b"b c", b"...", b"..a", b"\xff", b"/", b"/../", b"%2e%2e",
        b"\\..\\",
    ];
    for _ in 0..rounds(20_000) {
        let mut path = VirtualPath::root();
        let mut naive: Vec<Vec<u8>> = Vec::new();
        for _ in 0..rng.below(4) {
            let mut text = Vec::new();
            for _ in 0..rng.below(8) {
                let piece = pieces[rng.below(pieces.len())];
                text.extend_from_slice(piece);
                if rng.below(2) == 0 {
                    text.push(b'/');
                }
            }
            let Ok(joined) = path.join(&text) else {
                continue;
            };
            naive = naive_join(&naive, &text);
            let want = naive.iter().fold(Vec::new(), |mut all, part| {
                all.push(b'/');
                all.extend_from_slice(part);
                all
            });
            let want = if want.is_empty() { b"/".to_vec() } else { want };
            assert_eq!(
                joined.as_bytes(),
                want,
                "{path} + {:?}",
                String::from_utf8_lossy(&text)
            );
            assert!(
                joined
                    .components()
                    .all(|part| part != b".." && part != b".")
            );
            // What is normal stays so.
            assert_eq!(joined.join(joined.as_bytes()).unwrap(), joined);
            assert!(joined.starts_with(&joined.parent()));
            path = joined;
        }
    }
}

#[test]
fn settings_written_out_and_read_again_are_the_same() {
    let mut rng = Rng::new();
    for _ in 0..rounds(300) {
        let mut settings = Settings::default();
        for key in KEYS {
            if rng.below(3) != 0 {
                continue;
            }
            key.clear(&mut settings);
            for _ in 0..if key.repeats { 1 + rng.below(3) } else { 1 } {
                let number = rng.next() % 1000;
                // Whatever a key takes, one of these is of its kind.
                for text in [
                    format!("{number}"),
                    format!("{}M", number + 1),
                    "yes".into(),
                    format!("{}.{}.0.0/16", number % 223 + 1, number % 256),
                    format!("127.0.0.1:{number}"),
                    format!("{}-{}", number + 1, number + 50),
                    format!("0{}", number % 8),
                    format!("word{number}"),
                    "read-write".into(),
                    "same-network".into(),
                    "hide".into(),
                ] {
                    if key.set(&mut settings, &text).is_ok() {
                        break;
                    }
                }
            }
        }
        let mut text = String::new();
        for key in KEYS {
            for value in key.shown(&settings) {
                text.push_str(&format!("{} {value}\n", key.name));
            }
        }
        let (mut again, mut mistakes) = (Settings::default(), Vec::new());
        Source::from_lines(&text, "written").apply(&mut again, &mut mistakes);
        assert!(mistakes.is_empty(), "{mistakes:?}\n{text}");
        for key in KEYS {
            assert_eq!(key.shown(&settings), key.shown(&again), "{}", key.name);
        }
    }
}

/// Sends bytes in pieces of random lengths.
fn in_pieces(rng: &mut Rng, mut bytes: &[u8], stream: &mut impl Write) {
    while !bytes.is_empty() {
        let length = match rng.below(3) {
            0 => 1 + rng.below(4),
            1 => 1 + rng.below(100),
            _ => 1 + rng.below(70_000),
        };
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        stream.write_all(piece).unwrap();
        bytes = rest;
    }
}

#[test]
fn lines_are_the_same_however_they_are_cut() {
    let mut rng = Rng::new();
    let server = server().start();
    for _ in 0..rounds(20) {
        let mut client = server.ann();
        let mut sent = Vec::new();
        let mut want = Vec::new();
        for number in 0..20 {
            let end: &[u8] = if rng.below(3) == 0 { b"\n" } else { b"\r\n" };
            let telnet: &[u8] = if rng.below(4) == 0 {
                b"\xff\xf4\xff\xf2"
            } else {
                b""
            };
            sent.extend_from_slice(telnet);
            match rng.below(4) {
                0 => {
                    sent.extend_from_slice(b"NOOP");
                    want.push(200);
                }
                1 => {
                    sent.extend_from_slice(format!("MKD d{number} {}", rng.below(100)).as_bytes());
                    want.push(257);
                }
                2 => {
                    sent.extend_from_slice(b"XYZZY");
                    want.push(500);
                }
                _ => {
                    sent.extend(std::iter::repeat_n(b'x', 5000 + rng.below(5000)));
                    want.push(500);
                }
            }
            sent.extend_from_slice(end);
        }
        let mut stream = client.stream.try_clone().unwrap();
        in_pieces(&mut rng, &sent, &mut stream);
        let got: Vec<u16> = want.iter().map(|_| client.reply().code).collect();
        assert_eq!(got, want);
        for name in server.names("/") {
            client.expect(&format!("RMD {name}"), 250);
        }
    }
}

#[test]
fn text_comes_back_as_it_was_however_it_is_cut() {
    let mut rng = Rng::new();
    let server = server().start();
    let mut client = server.ann();
    client.expect("TYPE A", 200);
    for _ in 0..rounds(30) {
        // Text of the network's form: CR only before LF.
        let mut wire = Vec::new();
        for _ in 0..rng.below(3000) {
            match rng.below(5) {
                0 => wire.extend_from_slice(b"\r\n"),
                _ => wire.push(match rng.next() as u8 {
                    b'\r' | b'\n' => b'x',
                    byte => byte,
                }),
            }
        }
        let mut data = client.data();
        client.expect("STOR f", 150);
        in_pieces(&mut rng, &wire, &mut data.0);
        drop(data);
        client.wait_for(226);
        let stored = server.content("f").unwrap();
        assert!(!stored.contains(&b'\r'));
        assert!(client.fetch("RETR f") == wire);
    }
}

/// A name that a file system takes, with all that clients trip over.
fn random_name(rng: &mut Rng) -> Vec<u8> {
    let length = 1 + rng.below(40);
    let mut name = Vec::new();
    while name.len() < length {
        match rng.below(6) {
            0 => name.push(b' '),
            1 => name.extend_from_slice("ä日🦀".as_bytes()),
            2 => name.push(*rng.pick(b"\"'\\*?[]{};=<>|&$-.,")),
            3 => name.push(0x80 | rng.next() as u8),
            _ => name.push(b'a' + rng.below(26) as u8),
        }
    }
    if name.iter().all(|byte| *byte == b'.') {
        name.push(b'x');
    }
    name
}

#[test]
fn listings_can_be_read_back() {
    let mut rng = Rng::new();
    for _ in 0..rounds(10) {
        let server = server().start();
        let mut want = BTreeMap::new();
        for _ in 0..rng.below(60) {
            let name = random_name(&mut rng);
            let size = rng.below(5000);
            common::put_file(server.files.as_ref(), &name, &vec![1; size]);
            want.insert(name, size);
        }
        let mut client = server.ann();
        let lines = |text: Vec<u8>| -> Vec<Vec<u8>> {
            text.split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(|line| line.strip_suffix(b"\r").expect("CR LF").to_vec())
                .collect()
        };
        // MLSD: facts, one blank, the name (RFC 3659, 7.2).
        let mut found = BTreeMap::new();
        for line in lines(client.fetch("MLSD")) {
            let at = line.windows(2).position(|pair| pair == b"; ").unwrap();
            let (facts, name) = (&line[..=at], &line[at + 2..]);
            let facts = std::str::from_utf8(facts).unwrap().to_lowercase();
            let fact = |name: &str| {
                let mut all = facts.split(';').filter_map(|fact| fact.split_once('='));
                all.find(|(key, _)| *key == name)
                    .map(|(_, value)| value.to_string())
            };
            assert_eq!(fact("modify").unwrap().len(), 14);
            if fact("type").as_deref() == Some("file") {
                found.insert(name.to_vec(), fact("size").unwrap().parse().unwrap());
            }
        }
        assert_eq!(found, want, "MLSD");
        // LIST -a: eight columns, then the name.
        let mut found = BTreeMap::new();
        for line in lines(client.fetch("LIST -a")) {
            let (mut rest, mut columns) = (&line[..], Vec::new());
            for _ in 0..8 {
                let start = rest.iter().position(|byte| *byte != b' ').unwrap();
                rest = &rest[start..];
                let end = rest.iter().position(|byte| *byte == b' ').unwrap();
                columns.push(String::from_utf8(rest[..end].to_vec()).unwrap());
                rest = &rest[end..];
            }
            if columns[0].starts_with('-') {
                found.insert(rest[1..].to_vec(), columns[4].parse().unwrap());
            }
        }
        assert_eq!(found, want, "LIST");
        let mut names = lines(client.fetch("NLST -a"));
        names.sort();
        assert_eq!(names, want.keys().cloned().collect::<Vec<_>>(), "NLST");
    }
}

/// Verbs as HELP and SITE HELP list them.
fn verbs(client: &mut Client) -> Vec<String> {
    let mut verbs = Vec::new();
    for (line, prefix) in [("HELP", ""), ("HELP SITE", "SITE ")] {
        let reply = client.expect(line, 214);
        for line in reply.inner() {
            verbs.extend(
                line.split_whitespace()
                    .map(|verb| format!("{prefix}{verb}")),
            );
        }
    }
    assert!(verbs.len() > 60, "{verbs:?}");
    verbs
}

#[test]
fn nothing_for_users_runs_before_login() {
    let mut rng = Rng::new();
    let server = server().start();
    server.file("f", b"content");
    let mut client = server.connect();
    let anybody = [
        "USER", "PASS", "ACCT", "REIN", "QUIT", "FEAT", "OPTS", "CLNT", "CSID", "SYST", "NOOP",
        "HELP", "ABOR", "STAT", "AUTH", "PBSZ", "PROT", "CCC", "HOST", "LANG",
    ];
    for verb in verbs(&mut client) {
        if anybody.contains(&verb.as_str()) {
            continue;
        }
        for argument in ["", "f", "1", "f g", "127,0,0,1,200,200"] {
            // The state before login does not matter.
            if rng.below(2) == 0 {
                client.expect("USER ann", 331);
            }
            let line = format!("{verb} {argument}");
            let code = client.cmd(line.trim_end()).code;
            assert!(
                matches!(code, 530) || (argument.is_empty() && matches!(code, 501 | 530)),
                "{line}: {code}"
            );
        }
    }
    assert_eq!(server.content("f").as_deref(), Some(&b"content"[..]));
}

/// A line that is a command, or looks like one.
fn random_line(rng: &mut Rng, verbs: &[String]) -> Vec<u8> {
    let names: [&[u8]; 16] = [
        b"f",
        b"d",
        b"d/g",
        b"/",
        b"..",
        b"new",
        b"link",
        b"missing/x",
        b"-la",
        b"*",
        b"d/*",
        b"a b",
        b"\"a b\" f",
        b"20200102030405 f",
        b"600 f",
        b"",
    ];
    let mut line = match rng.below(12) {
        0 => rng.bytes(3),
        1 => b"SITE".to_vec(),
        _ => rng.pick(verbs).clone().into_bytes(),
    };
    if rng.below(6) != 0 {
        line.push(b' ');
        match rng.below(8) {
            0 => {
                let length = rng.below(30);
                line.extend(rng.bytes(length));
            }
            1 => line.extend_from_slice(format!("{}", rng.next() >> rng.below(64)).as_bytes()),
            2 => line.extend_from_slice(b"A"),
            3 => line.extend_from_slice(b"I"),
            4 => line.extend_from_slice(b"1 5"),
            _ => line.extend_from_slice(names[rng.below(names.len())]),
        }
    }
    line.retain(|byte| *byte != b'\n' && *byte != b'\r' && *byte != 0xff);
    if line.is_empty() {
        b"NOOP".to_vec()
    } else {
        line
    }
}

fn session_of_random_commands(rng: &mut Rng, server: &TestServer, verbs: &[String]) {
    let mut client = server.ann();
    let mut data: Option<std::net::SocketAddr> = None;
    let mut said: Vec<String> = Vec::new();
    for _ in 0..50 {
        let line = match rng.below(5) {
            0 => b"EPSV".to_vec(),
            _ => random_line(rng, verbs),
        };
        let shown = String::from_utf8_lossy(&line).into_owned();
        said.push(shown.clone());
        let verb = shown.split(' ').next().unwrap().to_ascii_uppercase();
        if [
            "QUIT", "REIN", "USER", "AUTH", "CCC", "PORT", "EPRT", "HOST",
        ]
        .contains(&verb.as_str())
        {
            continue;
        }
        // A client that makes its data connection, if there is one to make.
        let mut connection = data
            .filter(|_| {
                ["RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD"].contains(&verb.as_str())
            })
            .map(Data::connect);
        client.raw(&[&line[..], b"\r\n"].concat());
        let first = client.reply();
        let last = match first.code {
            100..200 => {
                if let Some(mut connection) = connection.take() {
                    if ["STOR", "STOU", "APPE"].contains(&verb.as_str()) {
                        connection.send(b"data");
                        connection.finish();
                    }
                    connection.rest();
                }
                client.reply()
            }
            _ => first,
        };
        assert!((200..600).contains(&last.code), "{said:?}: {last:?}");
        match last.code {
            229 => {
                let port = common::client::extended_port(last.text()).unwrap();
                data = Some((server.v4.ip(), port).into());
            }
            227 => data = common::client::passive_address(last.text()),
            421 => return,
            _ if connection.is_some() || last.code == 226 || verb == "ABOR" => data = None,
            _ => {}
        }
    }
    // In step: exactly one final reply each, and nothing more.
    let mark = format!("MLST /mark-{}", rng.next());
    client.send(&mark);
    let reply = client.reply();
    assert!(matches!(reply.code, 550), "{said:?}: {reply:?}");
}

#[test]
fn random_commands_get_one_final_reply_each() {
    let mut rng = Rng::new();
    // A server for each session: the one before may have left a directory
    // where a file shall be.
    let start = || {
        server()
            .set("data-connect-timeout", "0.1")
            .set("max-recursion", "100")
            .start()
    };
    let verbs = verbs(&mut start().connect());
    for _ in 0..rounds(60) {
        let server = start();
        server.file("f", b"some content\n");
        server.file("d/g", b"more\n");
        session_of_random_commands(&mut rng, &server, &verbs);
    }
}

#[test]
fn noise_is_survived() {
    // Bytes of any kind, before and after login: the server goes on.
    let mut rng = Rng::new();
    let server = server().start();
    for round in 0..rounds(60) {
        let mut client = if round % 2 == 0 {
            server.ann()
        } else {
            server.connect()
        };
        let length = rng.below(20_000);
        let noise = rng.bytes(length);
        // The server may have had enough before the end.
        let _ = client.stream.write_all(&noise);
        let _ = client.stream.write_all(b"\r\nQUIT\r\n");
        client
            .stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        while let Ok(Some(line)) = client.try_line() {
            assert!(line.len() >= 3);
        }
    }
    server.ann().expect("NOOP", 200);
}
