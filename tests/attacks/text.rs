//! Attacks in the text of commands, names and logs.

use std::sync::{Mutex, OnceLock};

use wharf::TransferLog;

use super::common::client::Client;
use super::common::rng::Rng;
use super::common::{TempDir, server};

/// Everything that any test of this program makes the server log.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Collector;

impl log::Log for Collector {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let mut lines = LINES.lock().unwrap();
        if lines.len() < 10_000 {
            lines.push(record.args().to_string());
        }
    }
    fn flush(&self) {}
}

fn collect_logs() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        log::set_logger(&Collector).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
    });
}

/// LightFTP#80, proftpd#2286.
#[test]
fn attack_18_numbers() {
    let server = server().start();
    server.file("f", b"0123456789");
    let mut client = server.ann();
    for number in [
        "-1",
        "+1",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "10000000000000000000000000000000000000000",
        "0x10",
        "1e3",
        "1 2 3",
        "١",
        "",
        " ",
        "1.5",
    ] {
        for verb in ["REST", "RANG", "RANG 0", "ALLO"] {
            // "ALLO 1 R 2" has two numbers by right.
            if verb == "ALLO" && number == "1 2 3" || verb == "RANG 0" && number.trim().is_empty() {
                continue;
            }
            client.expect(&format!("{verb} {number}"), 501);
        }
    }
    assert_eq!(client.fetch("RETR f"), b"0123456789");
    client.expect("REST 9223372036854775807", 350);
    client.epsv();
    let code = client.cmd("RETR f").code;
    assert!((500..=559).contains(&code), "{code}");
    client.expect("REST 9223372036854775807", 350);
    let code = client.cmd("STOR f").code;
    assert!((500..=559).contains(&code), "{code}");
    client.expect("RANG 3 9223372036854775807", 350);
    assert_eq!(client.fetch("RETR f"), b"3456789");
    client.expect("SITE IDLE 99999999999999999999", 501);
    client.expect("SITE CHMOD 99999999999999999999 f", 501);
    client.expect("SITE UMASK 99999999999999999999", 501);
    assert_eq!(server.content("f").unwrap(), b"0123456789");
}

/// Lines without end, and bytes that have no business in one.
#[test]
fn attack_19_lines() {
    let server = server().start();
    let mut client = server.ann();
    let rss = resident();
    for _ in 0..16 {
        client.raw(&vec![b'x'; 1 << 20]);
        client.raw(b"\r\n");
        client.wait_for(500);
    }
    let grown = resident().saturating_sub(rss);
    assert!(grown < 8 << 20, "{grown} bytes for lines without end");
    for (line, code) in [
        (&b"NOOP\n"[..], 200),
        (b"\r\nNOOP\r\n", 200),
        (b"noop\r\n", 200),
        (b"\xff\xf4\xff\xf2NOOP\r\n", 200),
        (b"\xff\xfd\x06NOOP\r\n", 200),
        (b"NO\0OP\r\n", 500),
        (b"CWD \0\r\n", 501),
        (b"CWD a\0b\r\n", 501),
        (b"NOOP\rPWD\r\n", 500),
        (b"\xff\xff\xff\r\n", 500),
        (b"\x1b[2J\r\n", 500),
        (b"NOOP\r\n", 200),
    ] {
        client.raw(line);
        client.wait_for(code);
    }
    // Half a line end a segment.
    for byte in b"NOOP\r\nPWD\r\n" {
        client.raw(&[*byte]);
    }
    client.wait_for(200);
    client.wait_for(257);
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

const NASTY: [&[u8]; 6] = [
    b"a\r\n200 forged",
    b"b\n-rw-r--r-- 1 x x 1 Jan 1 1970 forged",
    b"c\x1b[2J\x1b]0;title\x07",
    b"d\x7f\x01\x02",
    b"e\r",
    b"f\xc2\x85\xe2\x80\xa8",
];

/// GHSA-8mhj-xm4h-m5m6 and its kin: names that end a line and begin another.
#[test]
fn attack_20_injection() {
    collect_logs();
    let place = TempDir::new("injection");
    let xferlog = place.join("xferlog");
    let log = std::sync::Arc::new(TransferLog::open(&xferlog).unwrap());
    let server = server().events(log).start();
    for name in NASTY {
        super::common::put_file(server.files.as_ref(), name, b"x");
    }
    let mut client = server.ann();
    // Names with ESC can be made; those with a line end can't, in FTP.
    for line in [
        &b"MKD \x1b[31m"[..],
        b"STOR g\x1b[31m\x01",
        b"USER eve\x1b]0;x\x07\r200 forged",
    ] {
        let data = line.starts_with(b"STOR").then(|| client.data());
        client.raw(&[line, b"\r\n"].concat());
        if let Some(data) = data {
            client.wait_for(150);
            drop(data);
        }
        assert!(client.reply().code < 400);
    }
    client.expect("PASS x", 530);
    client.login("ann", "secret");
    for command in ["LIST -a", "NLST", "MLSD", "LIST -R"] {
        let listing = client.fetch(command);
        let lines: Vec<&[u8]> = listing.split(|byte| *byte == b'\n').collect();
        for line in &lines {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            assert!(
                line.iter().all(|byte| *byte >= b' ' && *byte != 0x7f),
                "{command}: {}",
                String::from_utf8_lossy(line).escape_debug()
            );
            assert!(!line.starts_with(b"200 forged"));
        }
        assert!(lines.len() >= NASTY.len());
    }
    client.send("STAT /");
    let status = client.reply();
    assert_eq!(status.code, 212);
    let clean = |line: &String| line.bytes().all(|byte| byte >= b' ' && byte != 0x7f);
    assert!(status.lines.iter().all(clean), "{status:?}");
    client.raw(b"CWD \x1b[31m\r\nPWD\r\nMLST\r\n");
    client.wait_for(250);
    client.wait_for(257);
    client.wait_for(250);
    client.expect("QUIT", 221);
    // What the logs say.
    let text = std::fs::read_to_string(&xferlog).unwrap();
    assert!(text.contains("/g_[31m_"), "{text:?}");
    assert!(text.lines().all(|line| !line.chars().any(char::is_control)));
    let lines = LINES.lock().unwrap();
    assert!(lines.iter().any(|line| line.contains("eve\\x1b]0;x")));
    for line in lines.iter() {
        assert!(
            !line.chars().any(char::is_control),
            "{}",
            line.escape_debug()
        );
    }
}

/// CVE-2026-42167: a client's name in the DNS is the client's to choose, so
/// nobody asks for it.
#[test]
fn attack_21_no_names_from_the_dns() {
    fn visit(directory: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for word in ["getnameinfo", "gethostbyaddr", "lookup_addr", "in-addr"] {
                if text.contains(word) {
                    found.push(format!("{}: {word}", path.display()));
                }
            }
        }
    }
    let mut found = Vec::new();
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    visit(&source, &mut found);
    assert_eq!(found, [""; 0]);
}

/// proftpd#2141, LightFTP#59: nonsense in every argument. One final reply for
/// each line, no panic, and the session goes on. `WHARF_COMMANDS` sets how
/// many.
#[test]
fn attack_30_nonsense() {
    let count: usize =
        std::env::var("WHARF_COMMANDS").map_or(100_000, |text| text.parse().expect("a number"));
    let server = server()
        .with(|config| config.data_connect_timeout = std::time::Duration::from_millis(1))
        .start();
    server.file("f", b"0123456789");
    let mut rng = Rng::new();
    let mut client = server.ann();
    let mut done = 0;
    while done < count {
        // Many in one segment, as fast as it goes.
        let (mut sent, mut expected) = (Vec::new(), 0);
        for _ in 0..200 {
            sent.extend_from_slice(&nonsense(&mut rng));
            sent.extend_from_slice(b"\r\n");
            expected += 1;
        }
        // A writer of its own: replies must be read while lines are sent.
        let mut writer = client.stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &sent));
        while expected > 0 {
            let reply = client.reply();
            if !(100..200).contains(&reply.code) {
                expected -= 1;
            }
        }
        sending.join().unwrap().unwrap();
        done += 200;
    }
    again(&mut client);
    server.file("after", b"x");
    assert_eq!(client.fetch("RETR after"), b"x");
}

fn again(client: &mut Client) {
    client.expect("REIN", 220);
    client.login("ann", "secret");
    client.expect("TYPE I", 200);
}

fn nonsense(rng: &mut Rng) -> Vec<u8> {
    // All verbs but those that end the session, take it away, or wait.
    const VERBS: [&str; 60] = [
        "TYPE",
        "STRU",
        "MODE",
        "PORT",
        "EPRT",
        "PASV",
        "EPSV",
        "ALLO",
        "REST",
        "RANG",
        "PWD",
        "CWD",
        "CDUP",
        "MKD",
        "RMD",
        "LIST",
        "NLST",
        "MLSD",
        "MLST",
        "DSIZ",
        "AVBL",
        "RETR",
        "STOR",
        "STOU",
        "APPE",
        "DELE",
        "RNFR",
        "RNTO",
        "SIZE",
        "MDTM",
        "MFMT",
        "MFF",
        "COMB",
        "HASH",
        "XCRC",
        "XMD5",
        "XSHA1",
        "XSHA256",
        "SITE HELP",
        "SITE CHMOD",
        "SITE UTIME",
        "SITE UMASK",
        "SITE MKDIR",
        "SITE CPFR",
        "SITE CPTO",
        "SITE COPY",
        "SITE SYMLINK",
        "OPTS",
        "OPTS MLST",
        "OPTS HASH",
        "OPTS UTF8",
        "FEAT",
        "HELP",
        "STAT",
        "SYST",
        "CLNT",
        "CSID",
        "ABOR",
        "NOOP",
        "XYZZY",
    ];
    const WORDS: [&[u8]; 40] = [
        b"f",
        b"/",
        b"..",
        b"../../etc/passwd",
        b"*",
        b"a*a*a*b",
        b"-la",
        b"-",
        b"0",
        b"-1",
        b"1",
        b"256",
        b"65536",
        b"4294967296",
        b"9223372036854775808",
        b"1,2,3,4,5,6",
        b"127,0,0,1,255,255",
        b"127,0,0,1,1,",
        b"300,0,0,1,4,4",
        b",,,,,",
        b"|1|127.0.0.1|1|",
        b"|2|::1|65535|",
        b"||||",
        b"|1|1|1|1|",
        b"%1%127.0.0.1%70000%",
        b"A",
        b"A N",
        b"L 7",
        b"I",
        b"20200101000000",
        b"99999999999999",
        b"20201332256199.9",
        b"type;size;",
        b"Modify=1;UNIX.mode=7777;",
        b"0777",
        b"ALL",
        b"\"a b\" \"c",
        b"\xff\xfe",
        b"\0",
        b"\xe2\x82",
    ];
    let mut line = rng.pick(&VERBS).as_bytes().to_vec();
    if rng.below(10) > 0 {
        line.push(b' ');
        for _ in 0..1 + rng.below(3) {
            match rng.below(8) {
                0 => {
                    let length = rng.below(40);
                    line.extend(rng.bytes(length).iter().filter(|byte| **byte != b'\n'));
                }
                _ => line.extend_from_slice(WORDS[rng.below(WORDS.len())]),
            }
            if rng.below(2) == 0 {
                line.push(b' ');
            }
        }
    }
    // An IAC could swallow what follows; that has tests of its own.
    line.retain(|byte| *byte != 0xff);
    line
}
