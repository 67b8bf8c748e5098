//! What an FTP server must answer and what its tree must be, in the simplest
//! words.

use std::collections::{BTreeMap, BTreeSet};

/// `None` is a directory.
pub type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// What a server knows, in the simplest words.
pub struct Model {
    pub tree: Tree,
    directory: String,
    ascii: bool,
    restart: usize,
    rename: Option<String>,
    atomic: bool,
}

/// What must be answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Want {
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
    pub fn new(atomic: bool) -> Self {
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
        let whole = if argument.starts_with('/') {
            argument.to_string()
        } else {
            format!("{}/{argument}", self.directory)
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
    pub fn run(&mut self, verb: &str, argument: &str, connected: bool, data: &[u8]) -> Want {
        let path = self.path(argument);
        let slash = argument.ends_with('/');
        let when = |done: bool, code: u16| {
            if done {
                Want::Code(code)
            } else {
                Want::Failure
            }
        };
        let sent = |model: &Model, bytes: &[u8]| {
            if model.ascii {
                to_net(bytes)
            } else {
                bytes.to_vec()
            }
        };
        // A transfer ends what RNFR and REST have begun, whatever comes of it.
        if ["RETR", "STOR", "APPE", "STOU", "LIST", "NLST", "MLSD"].contains(&verb) {
            self.rename = None;
            if !["RETR", "STOR"].contains(&verb) {
                self.restart = 0;
            }
        }
        // With a slash at its end, a name is a directory's. The data connection
        // of an upload is asked for first.
        let name = argument.rsplit(' ').next().unwrap_or(argument);
        let stores = ["STOR", "APPE"].contains(&verb);
        if slash && self.file(&self.path(name)).is_some() && (connected || !stores) {
            if ["RETR", "STOR"].contains(&verb) {
                self.restart = 0;
            }
            if ["RNFR", "RNTO"].contains(&verb) {
                let given = self.rename.take().is_some();
                return if verb == "RNTO" && !given {
                    Want::Code(503)
                } else {
                    Want::Failure
                };
            }
            return Want::Failure;
        }
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
                    let fits = !slash || self.is_dir(&from);
                    let done = fits && self.rename(&from, &path);
                    when(done, 250)
                }
            },
            "SIZE" => match self.file(&path) {
                Some(content) => Want::Text(213, content.len().to_string()),
                None => Want::Code(550),
            },
            "DSIZ" => {
                if self.is_dir(&path) {
                    let below = self.below(&path);
                    let sizes = below.iter().filter_map(|name| self.file(name));
                    Want::Text(213, sizes.map(Vec::len).sum::<usize>().to_string())
                } else {
                    Want::Failure
                }
            }
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
                let from_slash = from.ends_with('/');
                let (from, to) = (self.path(from), self.path(to));
                let content = self.file(&from).filter(|_| !from_slash).cloned();
                match content {
                    Some(content) if from != to && self.can_store(&to) && !slash => {
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
                    Some(content) if start <= content.len() => {
                        if connected {
                            Want::Send(sent(self, &content[start..]))
                        } else {
                            Want::Code(425)
                        }
                    }
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
                if slash || !self.can_store(&path) {
                    return Want::Failure;
                }
                let stored = if self.ascii {
                    from_net(data)
                } else {
                    data.to_vec()
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
