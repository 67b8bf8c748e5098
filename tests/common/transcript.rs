//! Runs a dialogue that is written down in a file.
//!
//! ```text
//! # Why there is this dialogue: an RFC's section, a client, an attack.
//! config idle-timeout = 0.2      a key of the configuration
//! user eve:pass:read-only        a user; without one there is ann:secret
//! anonymous read-write           rights of anonymous users (read-only)
//! tree dir/file = text\n         a file; `tree dir/` a directory,
//! tree link -> target            a link
//! store local                    files in a directory instead of memory
//! over ipv6                      the control connection
//! login ann                      USER and PASS, TYPE I
//! C: EPSV                        a line of the client
//! S: 229 Entering * (|||*|)      a line of the server, `*` is anything
//! C: RETR dir/file
//! S: 150 *
//! D< text\n                      what must come over the data connection
//! S: 226 *
//! C+ NO                          bytes of the client without a line end
//! D> text\n                      data of the client, then its end
//! D+ text                        data of the client, no end yet
//! drop data                      the client's end of the data connection
//! drop                           the client's end of the control connection
//! wait                           the server closes the control connection
//! file dir/file = text\n         what must be in a file now
//! no file dir/file               what must not be there
//! ```
//!
//! `S: ...` is any number of lines before the next one. `C2:`, `S2:` and so on are a second client. `\r \n \t \0 \\ \* \xHH` are
//! bytes. A passive data connection is made when a command that needs it is
//! sent, unless `late` comes before that command. `{port}` and `{h,p}` in a
//! line are a port of the client that the server can connect to.
//! `{x*4000}` is 4000 times `x`.
//!
//! With `WHARF_BLESS=1` every `S:` and `D<` line that does not fit is written
//! anew from what came; the change is then for a human to judge. A line of a
//! code alone (`S: 226`) fits every text, and is completed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use wharf::storage::{FileSystem, MemoryFs, VirtualPath};

use super::client::{Data, extended_port, passive_address};
use super::{Client, TempDir, TestServer, content, make_dirs, put_file, server};

/// Thursday, 2024-02-29 12:34:56 UTC: the clock of the files in memory.
const NOW: u64 = 1_709_210_096;
/// Commands that use the data connection.
const DATA_VERBS: [&str; 7] = ["RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD"];

/// Runs every dialogue of a directory; the failures of all of them together.
pub fn run_directory(name: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/transcripts")
        .join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no transcripts in {name}");
    let bless = std::env::var_os("WHARF_BLESS").is_some();
    let mut failures = String::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let shown = format!("{name}/{}", path.file_name().unwrap().display());
        if !text.starts_with("# ") {
            let _ = writeln!(failures, "{shown}: begins without a comment that says why");
        }
        let outcome = std::panic::catch_unwind(|| Run::new(&text).play());
        match outcome {
            Ok(lines) if bless => {
                let new: String = lines.iter().map(|line| line.new.clone() + "\n").collect();
                if new != text {
                    std::fs::write(&path, new).unwrap();
                }
                // Other words are a matter of taste, other codes are not.
                let code = |line: &str| {
                    line.split(' ')
                        .nth(1)
                        .map(|word| word.chars().take(3).collect::<String>())
                };
                for (number, line) in lines.iter().enumerate() {
                    if line.old.starts_with('S') && line.wrong && code(&line.old) != code(&line.new)
                    {
                        let _ = writeln!(
                            failures,
                            "{shown}:{}: {} has become {}",
                            number + 1,
                            line.old,
                            line.new
                        );
                    }
                }
            }
            Ok(lines) if lines.iter().all(|line| !line.wrong) => {}
            Ok(lines) => {
                let _ = writeln!(failures, "--- {shown}");
                for (number, line) in lines.iter().enumerate() {
                    match line.wrong {
                        true => {
                            let _ = writeln!(failures, "{:>4} -{}", number + 1, line.old);
                            let _ = writeln!(failures, "     +{}", line.new);
                        }
                        false => {
                            let _ = writeln!(failures, "      {}", line.old);
                        }
                    }
                }
            }
            Err(panic) => {
                let what = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("a panic");
                let _ = writeln!(failures, "--- {shown}: {what}");
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// A line of the file, and what it should have been.
struct Outcome {
    old: String,
    new: String,
    wrong: bool,
}

#[derive(Default)]
struct Party {
    client: Option<Client>,
    passive: Option<SocketAddr>,
    listener: Option<TcpListener>,
    data: Option<Data>,
    late: bool,
    /// What came over the data connection and has not been compared yet.
    received: Option<Vec<u8>>,
}

struct Run {
    lines: Vec<String>,
    at: usize,
    // Clients go first: a server that stops waits for them a moment.
    parties: BTreeMap<u32, Party>,
    server: TestServer,
    over: SocketAddr,
    _directory: Option<TempDir>,
}

const HEADER: [&str; 6] = ["config", "user", "anonymous", "tree", "store", "over"];

impl Run {
    fn new(text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(String::from).collect();
        let mut builder = server();
        let (mut tree, mut local, mut ipv6) = (Vec::new(), false, false);
        for line in &lines {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "config" => {
                    let (key, value) = rest.split_once(" = ").expect("config KEY = VALUE");
                    builder = builder.set(key.trim(), value);
                }
                "user" => {
                    let parts: Vec<&str> = rest.split(':').collect();
                    let [name, password, rights, at @ ..] = &parts[..] else {
                        panic!("user NAME:PASSWORD:RIGHTS");
                    };
                    builder = builder.user(name, password, rights);
                    for at in at {
                        let (directory, rights) = at.split_once('=').expect(":DIRECTORY=RIGHTS");
                        builder = builder.at(directory, rights);
                    }
                }
                "anonymous" => builder = builder.anonymous(rest),
                "tree" => tree.push(rest.to_string()),
                "store" => local = rest == "local",
                "over" => ipv6 = rest == "ipv6",
                _ => {}
            }
        }
        let directory = local.then(|| TempDir::new("transcript"));
        builder = match &directory {
            Some(directory) => builder.directory(directory.path()),
            None => {
                builder.memory(MemoryFs::new().with_clock(|| UNIX_EPOCH + Duration::from_secs(NOW)))
            }
        };
        let server = builder.start();
        for entry in tree {
            plant(server.files.as_ref(), &entry);
        }
        Run {
            over: if ipv6 { server.v6 } else { server.v4 },
            lines,
            at: 0,
            server,
            parties: BTreeMap::new(),
            _directory: directory,
        }
    }

    fn play(mut self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while let Some(line) = self.lines.get(self.at).cloned() {
            self.at += 1;
            let number = self.at;
            let new = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.step(&line)))
                .unwrap_or_else(|panic| {
                    let what = panic.downcast_ref::<String>().cloned();
                    let what =
                        what.or_else(|| panic.downcast_ref::<&str>().map(|what| what.to_string()));
                    panic!("line {number}: {line}: {}", what.unwrap_or_default())
                });
            let (new, more) = match new {
                Some(mut new) => (new.remove(0), new),
                None => (line.clone(), Vec::new()),
            };
            let wrong = new != line;
            // A code alone fits; it is completed when blessing.
            let code_alone = line.len() <= 8
                && line.starts_with('S')
                && new.starts_with(line.trim_end())
                && line
                    .split(": ")
                    .nth(1)
                    .is_some_and(|code| code.trim().len() == 3);
            let wrong_too = !more.is_empty();
            outcomes.push(Outcome {
                wrong: wrong && !code_alone,
                old: line,
                new,
            });
            outcomes.extend(more.into_iter().map(|new| Outcome {
                old: String::new(),
                new,
                wrong: wrong_too,
            }));
        }
        for (number, party) in &self.parties {
            if let Some(rest) = &party.received {
                assert!(
                    rest.is_empty(),
                    "client {number}: data nobody asked for: {}",
                    escaped(rest)
                );
            }
        }
        outcomes
    }

    /// Does what a line says; what it should have said if it did not fit.
    fn step(&mut self, line: &str) -> Option<Vec<String>> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if line.is_empty() || word.starts_with('#') || HEADER.contains(&word) {
            return None;
        }
        let digits = |word: &str| {
            word.chars()
                .filter(char::is_ascii_digit)
                .collect::<String>()
        };
        let party = digits(word).parse().unwrap_or(1);
        let kind: String = word.chars().filter(|c| !c.is_ascii_digit()).collect();
        match kind.as_str() {
            "C:" => self.send(party, rest, true),
            "C+" => self.send(party, rest, false),
            "S:" => return self.hear(party, word, rest),
            "D<" => return self.receive(party, line, word, rest),
            "D>" | "D+" => {
                let data = self.data(party);
                data.send(&bytes(rest));
                if kind == "D>" {
                    self.party(party).data = None;
                }
            }
            "login" => {
                let password = if rest == "ann" { "secret" } else { "pass" };
                self.client(1).login(rest, password);
                self.client(1).expect("TYPE I", 200);
            }
            "late" => self.party(party).late = true,
            "drop" if rest == "data" => {
                self.party(1).data = None;
            }
            "drop" => {
                self.party(rest.parse().unwrap_or(1)).client = None;
            }
            "wait" => self.client(rest.parse().unwrap_or(1)).closed(),
            "file" => {
                let (path, want) = rest.split_once(" =").expect("file PATH = CONTENT");
                let want = want.strip_prefix(' ').unwrap_or(want);
                let got = content(self.server.files.as_ref(), &bytes(path));
                if got.as_deref() != Some(&bytes(want)) {
                    let got = got.map_or("nothing".into(), |got| escaped(&got));
                    return Some(vec![format!("file {path} = {got}")]);
                }
            }
            "no" => {
                let path = rest.strip_prefix("file ").expect("no file PATH");
                if let Some(got) = content(self.server.files.as_ref(), &bytes(path)) {
                    return Some(vec![format!("file {path} = {}", escaped(&got))]);
                }
            }
            _ => panic!("no such instruction"),
        }
        None
    }

    fn party(&mut self, number: u32) -> &mut Party {
        self.parties.entry(number).or_default()
    }

    fn client(&mut self, number: u32) -> &mut Client {
        let over = self.over;
        let party = self.party(number);
        // The first line of a transcript that names a client is its greeting;
        // `login` and `C:` pass over it.
        party.client.get_or_insert_with(|| Client::greeted(over))
    }

    fn send(&mut self, number: u32, text: &str, line_end: bool) {
        let mut line = bytes(text);
        if text.contains("{port}") || text.contains("{h,p}") {
            let listener = TcpListener::bind((self.over.ip(), 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let port = address.port();
            let filled = text.replace("{port}", &port.to_string());
            let pair = format!("{},{}", port >> 8, port & 255);
            line = bytes(&filled.replace("{h,p}", &pair));
            self.party(number).listener = Some(listener);
            self.party(number).passive = None;
        }
        let verb = String::from_utf8_lossy(line.get(..4).unwrap_or(b"")).to_ascii_uppercase();
        if DATA_VERBS.contains(&verb.as_str()) && !std::mem::take(&mut self.party(number).late) {
            let party = self.party(number);
            if let Some(address) = party.passive.take() {
                party.data = Some(Data::connect(address));
                party.received = None;
            }
        }
        if line_end {
            line.extend_from_slice(b"\r\n");
        }
        self.client(number).raw(&line);
    }

    fn hear(&mut self, number: u32, word: &str, want: &str) -> Option<Vec<String>> {
        let over = self.over;
        let party = self.party(number);
        let client = party.client.get_or_insert_with(|| Client::connect(over));
        let got = match client.try_line() {
            Ok(Some(got)) => got,
            Ok(None) => {
                return Some(vec![format!(
                    "wait{}",
                    if number == 1 {
                        String::new()
                    } else {
                        format!(" {number}")
                    }
                )]);
            }
            Err(error) => return Some(vec![format!("{word} ({error})")]),
        };
        let text = String::from_utf8_lossy(&got);
        if text.starts_with("229 ") || text.starts_with("227 ") {
            party.listener = None;
        }
        if text.starts_with("229 ") {
            party.passive = extended_port(&text).map(|port| SocketAddr::new(over.ip(), port));
        } else if text.starts_with("227 ") {
            party.passive =
                passive_address(&text).map(|told| SocketAddr::new(over.ip(), told.port()));
        }
        if want == "..." {
            // Seen in `got` only so that the next pattern can be it.
            let next = self
                .lines
                .get(self.at)
                .and_then(|next| next.split_once(' '))
                .map(|(_, want)| want.to_string());
            let next = next.expect("a line behind S: ...");
            let mut got = got;
            let ends = |got: &[u8]| match next.len() {
                3 => got.starts_with(format!("{next} ").as_bytes()),
                _ => fits(&next, got),
            };
            while !ends(&got) {
                got = self.client(number).line();
            }
            self.client(number).unread(&got);
            return None;
        }
        if fits(want, &got) {
            return None;
        }
        let shown = match &text[..4.min(text.len())] {
            "229 " => "229 Entering Extended Passive Mode (|||*|)".into(),
            "227 " => "227 Entering Passive Mode (127,0,0,1,*,*).".into(),
            _ => escaped(&got),
        };
        Some(vec![format!("{word} {shown}")])
    }

    fn data(&mut self, number: u32) -> &mut Data {
        let party = self.party(number);
        if let Some(listener) = party.listener.take() {
            party.data = Some(Data::accept(&listener));
            party.received = None;
        }
        if let Some(address) = party.passive.take() {
            party.data = Some(Data::connect(address));
            party.received = None;
        }
        party.data.as_mut().expect("a data connection")
    }

    fn receive(&mut self, number: u32, line: &str, word: &str, want: &str) -> Option<Vec<String>> {
        if self.party(number).received.is_none() {
            let received = self.data(number).rest();
            self.party(number).received = Some(received);
            self.party(number).data = None;
        }
        let last = !self
            .lines
            .get(self.at)
            .is_some_and(|next| next.starts_with(word));
        let received = self.party(number).received.as_mut().unwrap();
        // One line of the file for each line of the data.
        let end = received
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(received.len(), |at| at + 1);
        let got: Vec<u8> = received.drain(..end).collect();
        let mut new = vec![match fits(want, &got) {
            true => line.to_string(),
            false => format!("{word} {}", escaped(&got)),
        }];
        while last && !received.is_empty() {
            let end = received
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(received.len(), |at| at + 1);
            let more: Vec<u8> = received.drain(..end).collect();
            new.push(format!("{word} {}", escaped(&more)));
        }
        if last {
            self.party(number).received = None;
        }
        (new.len() > 1 || new[0] != line).then_some(new)
    }
}

/// Puts an entry of the tree there.
fn plant(files: &dyn FileSystem, entry: &str) {
    if let Some((path, target)) = entry.split_once(" -> ") {
        let path = VirtualPath::root().join(&bytes(path)).unwrap();
        make_dirs(files, &path.parent());
        files.symlink(&bytes(target), &path).unwrap();
    } else if let Some((path, content)) = entry.split_once(" = ") {
        put_file(files, &bytes(path), &bytes(content));
    } else if entry.ends_with('/') {
        make_dirs(files, &VirtualPath::root().join(&bytes(entry)).unwrap());
    } else {
        put_file(files, &bytes(entry), b"");
    }
}

/// One byte of a pattern, or anything.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Byte(u8),
    Any,
}

fn parts(text: &str) -> Vec<Part> {
    let text = repeated(text);
    let mut parts = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'*' {
            parts.push(Part::Any);
            continue;
        }
        if first != b'\\' {
            parts.push(Part::Byte(first));
            continue;
        }
        let (&letter, after) = rest.split_first().expect("something behind \\");
        rest = after;
        parts.push(Part::Byte(match letter {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'x' => {
                let digits = std::str::from_utf8(&rest[..2]).unwrap();
                rest = &rest[2..];
                u8::from_str_radix(digits, 16).expect("two hex digits")
            }
            other => other,
        }));
    }
    parts
}

/// `{x*4000}` as 4000 times `x`.
fn repeated(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let end = after.find('}');
        let inner = end.map(|end| &after[1..end]);
        match inner.and_then(|inner| inner.rsplit_once('*')) {
            Some((what, count)) if count.parse::<usize>().is_ok() => {
                out.push_str(&what.repeat(count.parse().unwrap()));
                rest = &after[end.unwrap() + 1..];
            }
            _ => {
                out.push('{');
                rest = &after[1..];
            }
        }
    }
    out + rest
}

/// The bytes that a text means; a star means itself here.
fn bytes(text: &str) -> Vec<u8> {
    parts(text)
        .into_iter()
        .map(|part| match part {
            Part::Byte(byte) => byte,
            Part::Any => b'*',
        })
        .collect()
}

fn fits(pattern: &str, got: &[u8]) -> bool {
    let pattern = parts(pattern);
    let (mut at, mut here, mut star) = (0, 0, None);
    while here < got.len() {
        match pattern.get(at) {
            Some(Part::Any) => {
                star = Some((at, here));
                at += 1;
            }
            Some(Part::Byte(byte)) if *byte == got[here] => {
                at += 1;
                here += 1;
            }
            _ => match star {
                Some((star_at, tried)) => {
                    star = Some((star_at, tried + 1));
                    at = star_at + 1;
                    here = tried + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|part| *part == Part::Any)
}

/// Bytes as a transcript writes them.
fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let valid = match std::str::from_utf8(rest) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap(),
        };
        for c in valid.chars() {
            match c {
                '\r' => out.push_str("\\r"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\0' => out.push_str("\\0"),
                '\\' => out.push_str("\\\\"),
                '*' => out.push_str("\\*"),
                c if c.is_control() => {
                    let _ = write!(out, "\\x{:02x}", c as u32);
                }
                c => out.push(c),
            }
        }
        rest = &rest[valid.len()..];
        if let Some((&byte, after)) = rest.split_first() {
            let _ = write!(out, "\\x{byte:02x}");
            rest = after;
        }
    }
    out
}
