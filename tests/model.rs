//! Random sequences of commands against a model of what an FTP server must
//! answer and of what the tree must be. A failure prints the commands so far;
//! `WHARF_SEED` repeats the run, `WHARF_SEQUENCES` sets how many there are.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use common::client::{Client, Data, extended_port};
use common::rng::Rng;
use wharf::auth::{Authenticator, Credentials, User};
use wharf::config::{Config, Endpoint};
use wharf::storage::{FileKind, FileSystem, Follow, MemoryFs, OpenOptions, VirtualPath};
use wharf::{Running, Server};

/// Gives whoever logs in the file system that stands ready.
struct LetIn(Mutex<MemoryFs>);

impl Authenticator for LetIn {
    fn authenticate(&self, _: &Credentials<'_>) -> wharf::Result<User> {
        let files = self.0.lock().unwrap().clone();
        Ok(User::new("ann", Arc::new(files)))
    }
}

/// `None` is a directory.
type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// What a server knows, in the simplest words.
struct Model {
    tree: Tree,
    directory: String,
    ascii: bool,
    restart: usize,
    rename: Option<String>,
    atomic: bool,
}

/// What must be answered.
#[derive(Debug, Clone, PartialEq)]
enum Want {
    Code(u16),
    /// The code and the text behind it.
    Text(u16, String),
    /// Any refusal.
    Failure,
    /// 150, these bytes, 226.
    Send(Vec<u8>),
    /// 150, these names in any order, 226.
    Names(BTreeSet<String>),
    /// 150, our bytes, 226.
    Receive(Vec<u8>),
    /// Perhaps 150, our bytes, a reset, 425 or 426.
    Broken(Vec<u8>),
}

impl Model {
    fn new(atomic: bool) -> Self {
        Model {
            tree: Tree::from([("/".to_string(), None)]),
            directory: "/".into(),
            ascii: false,
            restart: 0,
            rename: None,
            atomic,
        }
    }

    fn path(&self, argument: &str) -> String {
        let whole = match argument.starts_with('/') {
            true => argument.to_string(),
            false => format!("{}/{argument}", self.directory),
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in whole.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        format!("/{}", parts.join("/"))
    }

    fn is_dir(&self, path: &str) -> bool {
        self.tree.get(path) == Some(&None)
    }

    fn file(&self, path: &str) -> Option<&Vec<u8>> {
        self.tree.get(path)?.as_ref()
    }

    fn parent_is_dir(&self, path: &str) -> bool {
        self.is_dir(parent(path))
    }

    fn below(&self, path: &str) -> BTreeSet<String> {
        let prefix = below(path);
        self.tree
            .keys()
            .filter(|name| name.len() > prefix.len() && name.starts_with(&prefix))
            .cloned()
            .collect()
    }

    fn children(&self, path: &str) -> BTreeSet<String> {
        let name = |path: &String| path[below(parent(path)).len()..].to_string();
        self.below(path)
            .iter()
            .filter(|name| parent(name) == path)
            .map(name)
            .collect()
    }

    /// A file can be made or replaced there.
    fn can_store(&self, path: &str) -> bool {
        path != "/" && self.parent_is_dir(path) && !self.is_dir(path)
    }

    fn rename(&mut self, from: &str, to: &str) -> bool {
        let inside = below(from);
        if from == "/" || to == "/" || !self.tree.contains_key(from) || !self.parent_is_dir(to) {
            return false;
        }
        if from == to {
            return true;
        }
        if to.starts_with(&inside) {
            return false;
        }
        match (self.is_dir(from), self.tree.get(to)) {
            (_, None) | (false, Some(Some(_))) => {}
            (true, Some(None)) if self.below(to).is_empty() => {}
            _ => return false,
        }
        let mut moved: Vec<String> = self.below(from).into_iter().collect();
        moved.push(from.to_string());
        for name in moved {
            let node = self.tree.remove(&name).unwrap();
            let new = format!("{to}{}", &name[from.len()..]);
            self.tree.insert(new, node);
        }
        true
    }

    /// What the command must do; `connected` says whether there is a data
    /// connection, `data` what we would send over it.
    fn run(&mut self, verb: &str, argument: &str, connected: bool, data: &[u8]) -> Want {
        let path = self.path(argument);
        let when = |done: bool, code: u16| match done {
            true => Want::Code(code),
            false => Want::Failure,
        };
        let sent = |model: &Model, bytes: &[u8]| match model.ascii {
            true => to_net(bytes),
            false => bytes.to_vec(),
        };
        match verb {
            "NOOP" => Want::Code(200),
            "PWD" => Want::Text(257, format!("\"{}\"", self.directory)),
            "CWD" | "CDUP" => {
                let path = if verb == "CDUP" {
                    self.path("..")
                } else {
                    path
                };
                let done = self.is_dir(&path);
                if done {
                    self.directory = path;
                }
                when(done, 250)
            }
            "MKD" => {
                let done = !self.tree.contains_key(&path) && self.parent_is_dir(&path);
                if done {
                    self.tree.insert(path, None);
                }
                when(done, 257)
            }
            "RMD" => {
                let done = path != "/" && self.is_dir(&path) && self.below(&path).is_empty();
                if done {
                    self.tree.remove(&path);
                }
                when(done, 250)
            }
            "RMDA" => {
                let done = path != "/" && self.is_dir(&path);
                if done {
                    for name in self.below(&path) {
                        self.tree.remove(&name);
                    }
                    self.tree.remove(&path);
                }
                when(done, 250)
            }
            "DELE" => {
                let done = self.file(&path).is_some();
                if done {
                    self.tree.remove(&path);
                }
                when(done, 250)
            }
            "RNFR" => {
                let done = self.tree.contains_key(&path);
                self.rename = done.then_some(path);
                when(done, 350)
            }
            "RNTO" => match self.rename.take() {
                None => Want::Code(503),
                Some(from) => {
                    let done = self.rename(&from, &path);
                    when(done, 250)
                }
            },
            "SIZE" => match self.file(&path) {
                Some(content) => Want::Text(213, content.len().to_string()),
                None => Want::Code(550),
            },
            "DSIZ" => match self.is_dir(&path) {
                true => {
                    let below = self.below(&path);
                    let sizes = below.iter().filter_map(|name| self.file(name));
                    Want::Text(213, sizes.map(Vec::len).sum::<usize>().to_string())
                }
                false => Want::Failure,
            },
            "MLST" => when(self.tree.contains_key(&path), 250),
            "MFMT 20200101000000" => when(self.tree.contains_key(&path), 213),
            "TYPE" => match argument {
                "A" | "I" => {
                    self.ascii = argument == "A";
                    Want::Code(200)
                }
                _ => Want::Code(504),
            },
            "REST" => match argument.parse() {
                Ok(restart) => {
                    self.restart = restart;
                    Want::Code(350)
                }
                Err(_) => Want::Code(501),
            },
            "REIN" => {
                (self.directory, self.ascii, self.restart) = ("/".into(), true, 0);
                self.rename = None;
                Want::Code(220)
            }
            "SITE COPY" => {
                let (from, to) = argument.split_once(' ').unwrap();
                let (from, to) = (self.path(from), self.path(to));
                let content = self.file(&from).cloned();
                match content {
                    Some(content) if from != to && self.can_store(&to) => {
                        self.tree.insert(to, Some(content));
                        Want::Code(250)
                    }
                    _ => Want::Failure,
                }
            }
            "NLST" | "MLSD" => {
                let names = self.children(&path);
                match self.tree.get(&path) {
                    None => Want::Failure,
                    Some(Some(_)) if verb == "MLSD" => Want::Code(501),
                    _ if !connected => Want::Code(425),
                    Some(None) => Want::Names(names),
                    Some(Some(_)) => {
                        // As it was given, which may be "." where a file has
                        // taken the place of the working directory.
                        let name = argument.trim_end_matches('/').rsplit('/').next();
                        Want::Names(BTreeSet::from([name.unwrap_or("").to_string()]))
                    }
                }
            }
            "RETR" => {
                let start = std::mem::take(&mut self.restart);
                match self.file(&path) {
                    Some(content) if start <= content.len() => match connected {
                        true => Want::Send(sent(self, &content[start..])),
                        false => Want::Code(425),
                    },
                    _ => Want::Failure,
                }
            }
            "STOR" | "APPE" => {
                let start = std::mem::take(&mut self.restart);
                if !connected {
                    return Want::Code(425);
                }
                let old = self.file(&path).cloned();
                let kept = match (verb, &old) {
                    ("APPE", old) => old.clone().unwrap_or_default(),
                    (_, Some(old)) if start <= old.len() => old[..start].to_vec(),
                    (_, None) if start == 0 => Vec::new(),
                    _ => return Want::Failure,
                };
                if !self.can_store(&path) {
                    return Want::Failure;
                }
                let stored = match self.ascii {
                    true => from_net(data),
                    false => data.to_vec(),
                };
                if self.atomic && verb == "STOR" && start == 0 && data.starts_with(b"broken") {
                    return Want::Broken(data.to_vec());
                }
                self.tree.insert(path, Some([kept, stored].concat()));
                Want::Receive(data.to_vec())
            }
            "XYZZY" => Want::Code(500),
            verb => panic!("{verb} is not in the model"),
        }
    }
}

fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

fn below(path: &str) -> String {
    match path {
        "/" => "/".into(),
        path => format!("{path}/"),
    }
}

/// LF goes out as CR LF, but for one that has its CR already.
fn to_net(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in bytes {
        if byte == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out
}

fn from_net(bytes: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for &byte in bytes {
        if byte == b'\n' && out.last() == Some(&b'\r') {
            out.pop();
        }
        out.push(byte);
    }
    out
}

/// One client, its data connection, and what it has said.
struct Dialogue {
    client: Client,
    data: Option<Data>,
    said: Vec<String>,
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the commands:\n  {}", self.said.join("\n  "));
        }
    }
}

impl Dialogue {
    fn cmd(&mut self, line: &str) -> common::client::Reply {
        self.said.push(line.to_string());
        let reply = self.client.cmd(line);
        let said = self.said.last_mut().unwrap();
        said.push_str(&format!("   -> {:?}", reply.lines));
        reply
    }

    fn last(&mut self, code: u16) {
        let reply = self.client.reply();
        assert_eq!(reply.code, code, "{:?}", reply.lines);
    }

    fn check(&mut self, line: &str, want: Want) {
        let reply = self.cmd(line);
        let what = format!("{line}: {:?}, wanted {want:?}", reply.lines);
        let mut data = match reply.code {
            150 => self.data.take(),
            _ => None,
        };
        match want {
            Want::Code(code) => assert_eq!(reply.code, code, "{what}"),
            Want::Text(code, text) => {
                assert_eq!(reply.code, code, "{what}");
                assert!(reply.text().starts_with(&text), "{what}");
            }
            Want::Failure => assert!((450..=559).contains(&reply.code), "{what}"),
            Want::Send(bytes) => {
                assert_eq!(reply.code, 150, "{what}");
                assert_eq!(data.expect(&what).rest(), bytes, "{what}");
                self.last(226);
            }
            Want::Names(names) => {
                assert_eq!(reply.code, 150, "{what}");
                let listing = data.expect(&what).rest();
                let listing = String::from_utf8(listing).unwrap();
                let found: BTreeSet<String> = listing
                    .lines()
                    .filter(|line| !line.contains("type=cdir") && !line.contains("type=pdir"))
                    .map(|line| {
                        // The name of a file comes as it was given.
                        let line = line.trim_end_matches('/');
                        line.rsplit(['/', ' ']).next().unwrap_or("").to_string()
                    })
                    .collect();
                assert_eq!(found, names, "{what}");
                self.last(226);
            }
            Want::Receive(bytes) => {
                assert_eq!(reply.code, 150, "{what}");
                data.as_mut().expect(&what).send(&bytes);
                drop(data);
                self.last(226);
            }
            Want::Broken(bytes) => {
                let mut last = reply.code;
                if last == 150 {
                    let mut data = data.expect(&what);
                    data.send(&bytes);
                    data.reset();
                    last = self.client.reply().code;
                }
                assert_eq!(last, 426, "{what}");
            }
        }
    }
}

const NAMES: [&str; 16] = [
    "a", "b", "c", "d", "d/a", "d/b", "d/e", "d/e/f", "/", "..", ".", "/a", "/d", "../d", "a/b",
    "d//e/",
];

fn one_line(rng: &mut Rng) -> (&'static str, String) {
    const WITH_NAME: [&str; 22] = [
        "CWD",
        "MKD",
        "MKD",
        "MKD",
        "RMD",
        "RMDA",
        "DELE",
        "RNFR",
        "RNFR",
        "RNTO",
        "RNTO",
        "SIZE",
        "DSIZ",
        "MLST",
        "MFMT 20200101000000",
        "NLST",
        "MLSD",
        "RETR",
        "RETR",
        "STOR",
        "STOR",
        "APPE",
    ];
    let name = |rng: &mut Rng| NAMES[rng.below(NAMES.len())].to_string();
    match rng.below(16) {
        0 => ("TYPE", ["A", "I", "I", "I", "Z"][rng.below(5)].into()),
        1 => (
            "REST",
            ["0", "1", "3", "7", "1000000", "-1"][rng.below(6)].into(),
        ),
        2 => ("SITE COPY", format!("{} {}", name(rng), name(rng))),
        3 => (
            ["PWD", "NOOP", "XYZZY", "CDUP"][rng.below(4)],
            String::new(),
        ),
        4 if rng.below(8) == 0 => ("REIN", String::new()),
        _ => (WITH_NAME[rng.below(WITH_NAME.len())], name(rng)),
    }
}

fn contents(rng: &mut Rng) -> Vec<u8> {
    let mut data = Vec::new();
    if rng.below(10) == 0 {
        data.extend_from_slice(b"broken");
    }
    let size = [0, 1, 5, 30, 300][rng.below(5)];
    data.extend((0..size).map(|_| b"ab\r\n\0\xff"[rng.below(6)]));
    // What a CR at the end means in ASCII is the next transfer's question.
    if data.last() == Some(&b'\r') {
        data.push(b'x');
    }
    data
}

fn sequence(users: &LetIn, server: &Running, rng: &mut Rng, atomic: bool) {
    let files = MemoryFs::new();
    *users.0.lock().unwrap() = files.clone();
    let mut dialogue = Dialogue {
        client: Client::greeted(server.address()),
        data: None,
        said: Vec::new(),
    };
    dialogue.client.login("ann", "x");
    dialogue.cmd("TYPE I");
    let mut model = Model::new(atomic);
    let most = rng.below(191);
    for _ in 0..10 + rng.below(most + 1) {
        if dialogue.data.is_none() && rng.below(4) > 0 {
            let reply = dialogue.cmd("EPSV");
            let port = extended_port(reply.text()).unwrap();
            let address = (server.address().ip(), port).into();
            dialogue.data = Some(Data::connect(address));
        }
        let (verb, argument) = one_line(rng);
        let data = contents(rng);
        let want = model.run(verb, &argument, dialogue.data.is_some(), &data);
        let line = match argument.is_empty() {
            true => verb.to_string(),
            false => format!("{verb} {argument}"),
        };
        dialogue.check(&line, want);
        if verb == "REIN" {
            dialogue.data = None;
            dialogue.client.login("ann", "x");
        }
    }
    assert_eq!(tree(&files), model.tree);
    dialogue.client.expect("QUIT", 221);
    dialogue.client.closed();
}

/// All that is in a file system.
fn tree(files: &MemoryFs) -> Tree {
    let mut found = Tree::new();
    let mut waiting = vec![VirtualPath::root()];
    while let Some(path) = waiting.pop() {
        let name = String::from_utf8(path.as_bytes().to_vec()).unwrap();
        let metadata = files.metadata(&path, Follow::No).unwrap();
        if metadata.kind == FileKind::File {
            let file = files.open(&path, &OpenOptions::read()).unwrap();
            let mut content = vec![0; metadata.size as usize];
            assert_eq!(file.read_at(&mut content, 0).unwrap(), content.len());
            found.insert(name, Some(content));
            continue;
        }
        found.insert(name, None);
        let mut directory = files.read_dir(&path).unwrap();
        let mut name = Vec::new();
        while directory.next(&mut name).unwrap().is_some() {
            waiting.push(path.join(&name).unwrap());
        }
    }
    found
}

fn sequences(atomic: bool) {
    let count: usize = std::env::var("WHARF_SEQUENCES").map_or(2500, |text| {
        text.parse().expect("WHARF_SEQUENCES is a number")
    });
    let users = Arc::new(LetIn(Mutex::new(MemoryFs::new())));
    let mut config = Config::default();
    config.listen = vec![Endpoint {
        host: "127.0.0.1".into(),
        port: 0,
    }];
    config.atomic_uploads = atomic;
    let server = Server::new(config, Arc::clone(&users) as Arc<dyn Authenticator>);
    let server = server.bind().unwrap().start().unwrap();
    let mut rng = Rng::new();
    for _ in 0..count {
        sequence(&users, &server, &mut rng, atomic);
    }
    assert!(server.stop(std::time::Duration::ZERO));
}

#[test]
fn a_server_does_what_the_model_does() {
    sequences(false);
}

#[test]
fn so_does_one_with_atomic_uploads() {
    sequences(true);
}
