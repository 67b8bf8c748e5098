//! Listings of any length: all of it, in bounded memory, or an error.

use crate::common;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{TempDir, server};
use wharf::storage::{
    Directory, Entry, File, FileKind, FileSystem, Follow, Metadata, OpenOptions, VirtualPath,
};
use wharf::{Error, ErrorKind, Result};

/// A directory with so many entries that are made up as they are asked for,
/// and an error after some of them if wanted.
struct Endless {
    entries: u64,
    breaks_at: Option<u64>,
    /// Bytes of a name.
    width: usize,
}

struct Entries {
    at: u64,
    entries: u64,
    breaks_at: Option<u64>,
    width: usize,
}

impl FileSystem for Endless {
    fn metadata(&self, path: &VirtualPath, _: Follow) -> Result<Metadata> {
        if path.is_root() {
            Ok(Metadata::new(FileKind::Directory, 0))
        } else {
            Err(ErrorKind::NotFound.into())
        }
    }
    fn open(&self, _: &VirtualPath, _: &OpenOptions) -> Result<Box<dyn File>> {
        Err(ErrorKind::Unsupported.into())
    }
    fn read_dir(&self, _: &VirtualPath) -> Result<Box<dyn Directory>> {
        Ok(Box::new(Entries {
            at: 0,
            entries: self.entries,
            breaks_at: self.breaks_at,
            width: self.width,
        }))
    }
}

impl Directory for Entries {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Entry>> {
        if Some(self.at) == self.breaks_at {
            return Err(Error::new(ErrorKind::Internal, "a fault of the test"));
        }
        if self.at == self.entries {
            return Ok(None);
        }
        name.clear();
        // The last one comes first.
        let number = self.entries - self.at;
        name.extend_from_slice(format!("{number:0>0$}", self.width).as_bytes());
        self.at += 1;
        Ok(Some(FileKind::File.into()))
    }
    fn metadata(&self, _: &[u8], _: Follow) -> Result<Metadata> {
        Ok(Metadata::new(FileKind::File, 1))
    }
    fn read_link(&self, _: &[u8]) -> Result<Vec<u8>> {
        Err(ErrorKind::NotFound.into())
    }
}

/// 100,000 names of so many bytes are 20 MB.
const WIDTH: usize = 200;

/// Bytes of this process that are in memory and its own.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

#[test]
fn a_hundred_thousand_entries_come_whole_and_in_little_memory() {
    if !common::alone("listing::a_hundred_thousand_entries_come_whole_and_in_little_memory") {
        return;
    }
    const COUNT: u64 = 100_000;
    let server = server()
        .files(Arc::new(Endless {
            entries: COUNT,
            breaks_at: None,
            width: WIDTH,
        }))
        .start();
    let mut client = server.ann();
    for (line, more) in [
        ("LIST", 0),
        ("NLST", 0),
        ("MLSD", 2),
        ("LIST -a", 2),
        ("LIST -R", 2),
    ] {
        let before = resident();
        let mut most = before;
        let mut data = client.data();
        client.expect(line, 150);
        let (mut lines, mut piece) = (0, vec![0; 1 << 16]);
        loop {
            match std::io::Read::read(&mut data.0, &mut piece).unwrap() {
                0 => break,
                length => {
                    lines += piece[..length]
                        .iter()
                        .filter(|byte| **byte == b'\n')
                        .count();
                    most = most.max(resident());
                }
            }
        }
        client.wait_for(226);
        assert_eq!(lines as u64, COUNT + more, "{line}");
        let grown = most.saturating_sub(before);
        // 10,000 names are sorted at the most: 2 MB of these.
        assert!(grown < 6 << 20, "{line} took {grown} bytes");
    }
    // Over the control connection they stream, too.
    let reply = client.expect("STAT /", 212);
    assert_eq!(reply.lines.len() as u64, COUNT + 2);
    client.expect("NOOP", 200);

    // A client that reads slowly holds no more.
    let before = resident();
    let _stalled: Vec<_> = (0..4)
        .map(|_| {
            let mut client = server.ann();
            let data = client.data();
            client.expect("MLSD", 150);
            (client, data)
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    let grown = resident().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
}

/// wharf-protocol(7) says 6 MiB, which grow to twice as much.
#[test]
fn a_hundred_thousand_entries_are_sorted_or_refused() {
    if !common::alone("listing::a_hundred_thousand_entries_are_sorted_or_refused") {
        return;
    }
    for (width, code) in [(38, 226), (WIDTH, 451)] {
        let server = server()
            .files(Arc::new(Endless {
                entries: 100_000,
                breaks_at: None,
                width,
            }))
            .start();
        let mut client = server.ann();
        for line in ["LIST -t", "LIST -S", "NLST -t", "LIST -r"] {
            let before = resident();
            let mut most = before;
            let mut data = client.data();
            client.expect(line, 150);
            let (mut got, mut piece) = (Vec::new(), vec![0; 1 << 16]);
            loop {
                match std::io::Read::read(&mut data.0, &mut piece).unwrap() {
                    0 => break,
                    length => {
                        most = most.max(resident().saturating_sub(got.capacity() as u64));
                        got.extend_from_slice(&piece[..length]);
                    }
                }
            }
            client.wait_for(code);
            let text = String::from_utf8(got).unwrap();
            let names: Vec<&str> = text
                .lines()
                .filter_map(|line| line.rsplit(' ').next())
                .collect();
            if code == 451 {
                assert!(names.is_empty(), "{line}: {} names", names.len());
                continue;
            }
            assert_eq!(names.len(), 100_000, "{line}");
            // All are of one time and size, so that names decide.
            let up = line != "LIST -r";
            assert!(names.is_sorted_by(|a, b| (a < b) == up), "{line}");
            let grown = most.saturating_sub(before);
            assert!(grown < 14 << 20, "{line} took {grown} bytes");
        }
    }
}

#[test]
fn the_first_line_of_a_long_listing_is_there_at_once() {
    let server = server()
        .files(Arc::new(Endless {
            entries: u64::MAX,
            breaks_at: None,
            width: WIDTH,
        }))
        .start();
    let mut client = server.ann();
    for line in ["LIST", "NLST", "MLSD"] {
        let mut data = client.data();
        let started = Instant::now();
        client.expect(line, 150);
        let mut some = [0; 100];
        std::io::Read::read_exact(&mut data.0, &mut some).unwrap();
        // Without optimisation, and on a machine that does other things.
        assert!(started.elapsed() < Duration::from_secs(2), "{line}");
        // And it can be ended.
        client.send("ABOR");
        client.wait_for(426);
        client.wait_for(226);
    }
}

#[test]
fn nothing_is_cut_in_silence() {
    for breaks_at in [0, 1, 9_999, 20_000] {
        let server = server()
            .files(Arc::new(Endless {
                entries: 30_000,
                breaks_at: Some(breaks_at),
                width: WIDTH,
            }))
            .start();
        let mut client = server.ann();
        for line in ["LIST", "NLST", "MLSD", "NLST *"] {
            let mut data = client.data();
            client.expect(line, 150);
            data.rest();
            client.wait_for(451);
        }
        // What has left can't be taken back: the last line says what is missing.
        let reply = client.cmd("STAT /");
        match reply.code {
            451 => assert!(breaks_at < 10_000),
            _ => {
                let last = reply.lines.last().unwrap();
                assert!(last.contains("not complete"), "{last}");
            }
        }
        client.expect("NOOP", 200);
    }
}

#[test]
fn a_listing_whose_reader_goes_away_is_426() {
    let server = server()
        .files(Arc::new(Endless {
            entries: u64::MAX,
            breaks_at: None,
            width: WIDTH,
        }))
        .start();
    let mut client = server.ann();
    for line in ["LIST", "NLST", "MLSD"] {
        let data = client.data();
        client.expect(line, 150);
        data.reset();
        client.wait_for(426);
        client.expect("NOOP", 200);
    }
}

#[test]
fn a_real_directory_is_listed_whole_while_it_changes() {
    let directory = TempDir::new("listing");
    for number in 0..3000 {
        std::fs::write(directory.join(format!("stays-{number}")), b"").unwrap();
    }
    let server = server().directory(directory.path()).start();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let path = directory.join(format!("comes-and-goes-{number}"));
                std::fs::write(&path, b"").unwrap();
                let _ = std::fs::remove_file(&path);
                number += 1;
            }
        });
        let mut client = server.ann();
        for line in ["LIST", "NLST", "MLSD", "LIST -R", "STAT /"] {
            let text = match line {
                "STAT /" => client.expect(line, 212).lines.join("\r\n"),
                line => String::from_utf8(client.fetch(line)).unwrap(),
            };
            let stays: HashSet<&str> = text
                .lines()
                .filter_map(|line| line.rsplit(' ').next())
                .filter(|name| name.starts_with("stays-"))
                .collect();
            assert_eq!(stays.len(), 3000, "{line}");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn what_is_listed_can_be_fetched_under_that_name() {
    // NLST's names go back into RETR: mget and mirror do it.
    let directory = TempDir::new("names");
    let names: [&[u8]; 9] = [
        b"plain",
        b" leading blank",
        b"trailing blank ",
        b"quote\"s and 'more'",
        b"back\\slash",
        b"star*?[x]{a,b}",
        b"-option",
        "Ünïcode 日本 🦀".as_bytes(),
        b"latin-1 \xe4\xf6\xfc \xff",
    ];
    for name in names {
        use std::os::unix::ffi::OsStrExt;
        let path = directory.path().join(std::ffi::OsStr::from_bytes(name));
        std::fs::write(path, name).unwrap();
    }
    let server = server().directory(directory.path()).start();
    let mut client = server.ann();
    let listed = client.fetch("NLST");
    let mut lines: Vec<&[u8]> = listed
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_suffix(b"\r"))
        .collect();
    lines.sort();
    let mut want = names.to_vec();
    want.sort();
    assert_eq!(lines, want);
    for name in lines {
        let mut data = client.data();
        // A 0xff is telnet's IAC and must be doubled when another follows.
        client.raw(&[b"RETR ", name, b"\r\n"].concat());
        client.wait_for(150);
        assert_eq!(data.rest(), name);
        client.wait_for(226);
        client.raw(&[b"SIZE ", name, b"\r\n"].concat());
        client.wait_for(213);
    }
}

/// The zone that is set, whatever the machine's is; MDTM and MLSD have UTC.
#[cfg(feature = "cli")]
#[test]
fn times_are_those_of_the_zone() {
    if !std::path::Path::new("/usr/share/zoneinfo/Asia/Kolkata").exists() {
        return eprintln!("SKIP tzdata");
    }
    let directory = TempDir::new("zones");
    std::fs::write(directory.join("f"), b"").unwrap();
    let modified = std::fs::metadata(directory.join("f")).unwrap().modified();
    let modified = modified.unwrap().duration_since(std::time::UNIX_EPOCH);
    let seconds = modified.unwrap().as_secs();
    for (setting, minutes) in [("utc", 0), ("local", 9 * 60), ("Asia/Kolkata", 5 * 60 + 30)] {
        let mut command = common::process::wharfd();
        command
            .args([
                "--listen=127.0.0.1:0",
                "--print-port",
                "--list-time",
                setting,
            ])
            .arg(directory.path())
            .env("TZ", "Asia/Tokyo");
        let server = common::process::Process::start(&mut command);
        let mut client = common::Client::greeted(server.address());
        client.login("anonymous", "x");
        let minute = seconds / 60 + minutes;
        let want = format!(" {:02}:{:02} f\r\n", minute / 60 % 24, minute % 60);
        let line = String::from_utf8(client.fetch("LIST")).unwrap();
        assert!(line.ends_with(&want), "{setting}: {line} and not {want}");
        let told = client.expect("MDTM f", 213);
        let facts = String::from_utf8(client.fetch("MLSD")).unwrap();
        let clock = format!(
            "{:02}{:02}{:02}",
            seconds / 3600 % 24,
            seconds / 60 % 60,
            seconds % 60
        );
        let told = told.text();
        assert!(told.trim().ends_with(&clock), "{told}");
        assert!(facts.contains(&format!("{clock};")), "{facts}");
    }
}

/// Letters that sort, choose and mark do what they do in ls.
#[test]
fn options_do_what_ls_does() {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new("ls");
    for (at, name) in ["b", "a", ".hidden", "C", "long name", "z.txt", "0"]
        .iter()
        .enumerate()
    {
        let path = directory.join(name);
        std::fs::write(&path, vec![0; (at * 7919) % 5000]).unwrap();
        let time =
            std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + (at as u64 * 37) % 11);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
    }
    let runs = directory.join("runs");
    std::fs::write(&runs, vec![0; 6000]).unwrap();
    std::fs::set_permissions(&runs, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(directory.join("dir")).unwrap();
    std::os::unix::fs::symlink("a", directory.join("link")).unwrap();
    // In one second, in another order than by name.
    for (name, nanos) in [("dir", 1), ("runs", 2), ("z.txt", 3)] {
        let time = std::time::UNIX_EPOCH + Duration::new(1_700_000_020, nanos);
        let file = std::fs::File::open(directory.join(name)).unwrap();
        file.set_modified(time).unwrap();
    }
    let server = server().directory(directory.path()).start();
    let mut client = server.ann();
    for sort in ["", "t", "S"] {
        for reverse in ["", "r"] {
            for more in ["", "A", "F", "AF", "1"] {
                let letters = format!("-{sort}{reverse}{more}");
                // NLST without an order comes as the directory has it.
                if sort.is_empty() && reverse.is_empty() {
                    continue;
                }
                let output = std::process::Command::new("ls")
                    .env("LC_ALL", "C")
                    .arg("-1")
                    .arg(&letters)
                    .current_dir(directory.path())
                    .output()
                    .unwrap();
                let want = String::from_utf8(output.stdout)
                    .unwrap()
                    .replace('\n', "\r\n");
                let got = String::from_utf8(client.fetch(&format!("NLST {letters}"))).unwrap();
                assert_eq!(got, want, "NLST {letters}");
                let long = String::from_utf8(client.fetch(&format!("LIST {letters}"))).unwrap();
                let names = long.lines().zip(want.lines());
                for (line, name) in names.filter(|(line, _)| !line.starts_with('l')) {
                    assert!(
                        line.ends_with(&format!(" {name}")),
                        "LIST {letters}: {line}"
                    );
                }
                assert_eq!(long.lines().count(), want.lines().count(), "LIST {letters}");
            }
        }
    }
}
