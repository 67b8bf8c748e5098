//! Runs a dialogue that is written down in a file.
//!
//! ```text
//! # Why there is this dialogue: an RFC's section, a client, an attack.
//! config idle-timeout = 0.2      a key of the configuration
//! profile camera                 the settings of a profile
//! user eve:pass:read-only        a user; without one there is ann:secret
//! anonymous read-write           rights of anonymous users (read-only)
//! tree dir/file = text\n         a file; `tree dir/` a directory,
//! tree link -> target            a link
//! store local                    only for files in a directory, or `memory`, or
//!                                `numbered`: files that have numbers
//! over ipv6                      the control connection
//! login ann                      USER and PASS, TYPE I
//! C: EPSV                        a line of the client
//! S: 229 Entering * (|||*|)      a line of the server, `*` is anything
//! C: RETR dir/file
//! S: 150 *
//! D< text\n                      what must come over the data connection
//! D? text\n                      a line of it, in any order among its like
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
//! A line of a code alone (`S: 226`) fits every text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wharf::Result;
use wharf::daemon::Profile;
use wharf::storage::FileSystem;

use super::client::{Data, extended_port, passive_address};
use super::link::{Clear, Control, End, Flow, Layer, Link};
use super::pattern::{bytes, escaped, fits};
use super::server::{TestServer, content, plant, server};

/// Commands that use the data connection.
const DATA_VERBS: [&str; 7] = ["RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD"];
/// Words that say what there is before the dialogue begins.
const HEADER: [&str; 7] = [
    "config",
    "profile",
    "user",
    "anonymous",
    "tree",
    "store",
    "over",
];

/// When the files of `tree` were changed: 2024-02-29 12:34:56 UTC.
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_709_210_096)
}

/// What kind of file system a dialogue is for: `None` is any, `memory` one
/// that has the clock of [`now`] and no bounds, `local` a directory, `numbered`
/// one whose files have numbers.
pub fn store(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("store "))
}

/// A line of the file, and what it should have been.
pub struct Outcome {
    /// The line as it is written.
    pub old: String,
    /// What fits.
    pub new: String,
    /// Whether they differ.
    pub wrong: bool,
}

/// Plays a dialogue against a server with these files, which are empty.
///
/// # Errors
/// The files of `tree` can't be made, [`wharf::ErrorKind::Unsupported`] for one.
///
/// # Panics
/// On a dialogue that makes no sense, and when the server goes astray.
pub fn play(text: &str, files: Arc<dyn FileSystem>) -> Result<Vec<Outcome>> {
    play_over(text, files, &Clear)
}

/// The same, with something under its connections.
///
/// # Errors
/// As [`play`].
pub fn play_over(
    text: &str,
    files: Arc<dyn FileSystem>,
    layer: &dyn Layer,
) -> Result<Vec<Outcome>> {
    Ok(Run::new(text, files, layer)?.play())
}

/// The lines of a dialogue with what came instead; `None` if all is well.
pub fn difference(lines: &[Outcome]) -> Option<String> {
    if lines.iter().all(|line| !line.wrong) {
        return None;
    }
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        let _ = if line.wrong {
            writeln!(out, "{:>4} -{}\n     +{}", number + 1, line.old, line.new)
        } else {
            writeln!(out, "      {}", line.old)
        };
    }
    Some(out)
}

#[derive(Default)]
struct Party {
    client: Option<Link>,
    passive: Option<SocketAddr>,
    listener: Option<TcpListener>,
    data: Option<Box<dyn Flow>>,
    late: bool,
    /// What came over the data connection and has not been compared yet.
    received: Option<Vec<u8>>,
    /// How the data connection ended that was read last.
    end: Option<End>,
}

struct Run<'a> {
    lines: Vec<String>,
    at: usize,
    // Clients go first: a server that stops waits for them a moment.
    parties: BTreeMap<u32, Party>,
    server: TestServer,
    over: SocketAddr,
    layer: &'a dyn Layer,
}

impl<'a> Run<'a> {
    fn new(text: &str, files: Arc<dyn FileSystem>, layer: &'a dyn Layer) -> Result<Self> {
        let lines: Vec<String> = text.lines().map(String::from).collect();
        let mut builder = server();
        let (mut tree, mut ipv6) = (Vec::new(), false);
        for line in &lines {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "config" => {
                    let (key, value) = rest.split_once(" = ").expect("config KEY = VALUE");
                    builder = builder.set(key.trim(), value);
                }
                "profile" => {
                    let profile = Profile::find(rest).expect("a profile");
                    for (key, value) in profile.settings {
                        builder = match *key {
                            "anonymous-rights" => builder.anonymous(value),
                            key => builder.set(key, value),
                        };
                    }
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
                "over" => ipv6 = rest == "ipv6",
                _ => {}
            }
        }
        for entry in tree {
            plant(files.as_ref(), &entry, now())?;
        }
        let server = layer.prepare(builder).files(files).start();
        Ok(Run {
            over: if ipv6 { server.v6 } else { server.v4 },
            lines,
            at: 0,
            server,
            parties: BTreeMap::new(),
            layer,
        })
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
            "D<" | "D?" => return self.receive(party, line, word, rest),
            "D>" | "D+" => {
                let data = self.data(party);
                data.send(&bytes(rest));
                if kind == "D>" {
                    self.close_data(party);
                }
            }
            "login" => {
                let password = if rest == "ann" { "secret" } else { "pass" };
                self.client(1).login(rest, password);
                self.client(1).expect("TYPE I", 200);
            }
            "late" => self.party(party).late = true,
            "drop" if rest == "data" => self.close_data(1),
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

    fn client(&mut self, number: u32) -> &mut Control {
        let (over, layer) = (self.over, self.layer);
        let party = self.party(number);
        // The first line of a transcript that names a client is its greeting;
        // `login` and `C:` pass over it.
        let link = party
            .client
            .get_or_insert_with(|| layer.connect(over).greeted());
        &mut link.control
    }

    fn close_data(&mut self, number: u32) {
        if let Some(data) = self.party(number).data.take() {
            data.close();
        }
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
            self.connect_data(number);
        }
        if line_end {
            line.extend_from_slice(b"\r\n");
        }
        self.client(number).raw(&line);
    }

    fn hear(&mut self, number: u32, word: &str, want: &str) -> Option<Vec<String>> {
        let (over, layer) = (self.over, self.layer);
        let party = self.party(number);
        let client = &mut party
            .client
            .get_or_insert_with(|| layer.connect(over))
            .control;
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
        // What looks whole must be, and what is not must not look so.
        if text.starts_with("226 ") && party.end == Some(End::Cut) {
            return Some(vec![format!("{word} 226, and the data are cut")]);
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

    /// Connects to the passive port, if there is a new one.
    fn connect_data(&mut self, number: u32) {
        let party = self.party(number);
        if let (Some(address), Some(link)) = (party.passive.take(), &party.client) {
            party.data = Some((link.wrap)(Data::connect(address)));
            party.received = None;
        }
    }

    fn data(&mut self, number: u32) -> &mut dyn Flow {
        let party = self.party(number);
        if let (Some(listener), Some(link)) = (party.listener.take(), &party.client) {
            party.data = Some((link.wrap)(Data::accept(&listener)));
            party.received = None;
        }
        self.connect_data(number);
        let party = self.party(number);
        party.data.as_deref_mut().expect("a data connection")
    }

    fn receive(&mut self, number: u32, line: &str, word: &str, want: &str) -> Option<Vec<String>> {
        if self.party(number).received.is_none() {
            let (received, end) = self.data(number).rest();
            self.party(number).received = Some(received);
            self.party(number).end = Some(end);
            self.party(number).data = None;
        }
        let last = !self
            .lines
            .get(self.at)
            .and_then(|next| next.split_once(' '))
            .is_some_and(|(next, _)| next.starts_with('D') && next.ends_with(['<', '?']));
        let received = self.party(number).received.as_mut().unwrap();
        // One line of the file for each line of the data.
        let mut lines = received.split_inclusive(|byte| *byte == b'\n');
        let place = if word.ends_with('?') {
            lines.position(|line| fits(want, line)).unwrap_or(0)
        } else {
            0
        };
        let start = received
            .split_inclusive(|byte| *byte == b'\n')
            .take(place)
            .map(<[u8]>::len)
            .sum();
        let end = line_end(received, start);
        let got: Vec<u8> = received.drain(start..end).collect();
        let mut new = vec![if fits(want, &got) {
            line.to_string()
        } else {
            format!("{word} {}", escaped(&got))
        }];
        while last && !received.is_empty() {
            let end = line_end(received, 0);
            let more: Vec<u8> = received.drain(..end).collect();
            new.push(format!("{word} {}", escaped(&more)));
        }
        if last {
            self.party(number).received = None;
        }
        (new.len() > 1 || new[0] != line).then_some(new)
    }
}

/// The end of the line that begins at `start`.
fn line_end(bytes: &[u8], start: usize) -> usize {
    let newline = bytes[start..].iter().position(|byte| *byte == b'\n');
    newline.map_or(bytes.len(), |at| start + at + 1)
}
