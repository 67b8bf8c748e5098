//! Random histories of several sessions, over FTP and over SFTP, on one home
//! with a quota: uploads that go on while others upload, delete, rename, link,
//! copy and join. A plain model of the tree says what each must be answered;
//! the tree and the quota are compared at the end of each history.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::common::client::{Client, Data};
use super::common::rng::Rng;
use super::common::{TempDir, TestServer, server, until};
use super::packets::{self, Body, HANDLE, NEW, OK, REMOVE, RENAME, SETSTAT};

/// Names that are used; `d` may be called `e`.
const NAMES: [&str; 7] = ["a", "b", "c", "d/a", "d/b", "e/a", "e/b"];

type File = usize;

/// What must be there.
#[derive(Default)]
struct Model {
    atomic: bool,
    /// The directory's name now.
    directory: &'static str,
    names: BTreeMap<String, File>,
    contents: Vec<Vec<u8>>,
    uploads: Vec<Upload>,
}

struct Upload {
    session: usize,
    /// Where it goes, as renamed meanwhile.
    path: String,
    file: File,
    /// The file that was there when an atomic upload began.
    old: Option<File>,
    /// Where uploads are atomic, the name that nobody else may change.
    claim: Option<String>,
    given_up: bool,
    /// It writes to the file of that name from the beginning.
    in_place: bool,
    /// Bytes so far.
    sent: u64,
}

/// How an upload treats what is there.
#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Replace,
    Append,
    Restart(usize),
}

impl Model {
    fn has_parent(&self, name: &str) -> bool {
        name.split_once('/')
            .is_none_or(|(directory, _)| directory == self.directory)
    }

    fn new_file(&mut self, content: Vec<u8>) -> File {
        self.contents.push(content);
        self.contents.len() - 1
    }

    /// Whether another session uploads to the file.
    fn is_written(&self, session: usize, name: &str) -> bool {
        let there = self.names.get(name);
        let is_written = |upload: &Upload| {
            Some(&upload.file) == there || upload.old.as_ref() == there && there.is_some()
        };
        let mut others = self
            .uploads
            .iter()
            .filter(|upload| upload.session != session);
        others.any(is_written)
    }

    /// Whether another session uploads to the name, or to its file.
    fn is_busy(&self, session: usize, name: &str) -> bool {
        self.is_written(session, name) || self.is_claimed(session, name)
    }

    /// Whether the name is that of another session's upload.
    fn is_claimed(&self, session: usize, name: &str) -> bool {
        let claims =
            |upload: &Upload| upload.session != session && upload.claim.as_deref() == Some(name);
        self.uploads.iter().any(claims)
    }

    fn begin(&mut self, session: usize, name: &str, how: How) -> bool {
        if !self.has_parent(name) || self.is_busy(session, name) {
            return false;
        }
        let old = self.names.get(name).copied();
        let in_place = !self.atomic || how != How::Replace;
        if let How::Restart(offset) = how
            && old.is_none_or(|old| offset > self.contents[old].len())
        {
            return false;
        }
        let file = match old {
            Some(file) if in_place => {
                let content = &mut self.contents[file];
                match how {
                    How::Replace => content.clear(),
                    How::Append => {}
                    How::Restart(offset) => content.truncate(offset),
                }
                file
            }
            _ => self.new_file(Vec::new()),
        };
        if in_place {
            self.names.insert(name.to_owned(), file);
        }
        self.uploads.push(Upload {
            session,
            path: name.to_owned(),
            file,
            old: old.filter(|_| !in_place),
            claim: self.atomic.then(|| name.to_owned()),
            given_up: false,
            in_place,
            sent: 0,
        });
        true
    }

    fn write(&mut self, session: usize, data: &[u8]) {
        let mut uploads = self.uploads.iter_mut();
        let upload = uploads.find(|upload| upload.session == session).unwrap();
        upload.sent += data.len() as u64;
        self.contents[upload.file].extend_from_slice(data);
    }

    fn take(&mut self, session: usize) -> Upload {
        let at = self
            .uploads
            .iter()
            .position(|upload| upload.session == session);
        self.uploads.remove(at.unwrap())
    }

    /// Whether the upload is acknowledged.
    fn end(&mut self, session: usize) -> bool {
        let upload = self.take(session);
        if upload.in_place {
            return upload.given_up || self.names.get(&upload.path) == Some(&upload.file);
        }
        // Another one may have begun in the file that was renamed to the name.
        let there = self.names.get(&upload.path);
        let is_of_another = |other: &Upload| {
            Some(&other.file) == there || other.old.as_ref() == there && there.is_some()
        };
        if self
            .uploads
            .iter()
            .any(|other| other.session != session && is_of_another(other))
        {
            return false;
        }
        self.names.insert(upload.path, upload.file);
        true
    }

    fn delete(&mut self, session: usize, name: &str) -> bool {
        let done = !self.is_claimed(session, name) && self.names.remove(name).is_some();
        if done {
            self.gone(session, name);
        }
        done
    }

    fn gone(&mut self, session: usize, name: &str) {
        for upload in &mut self.uploads {
            upload.given_up |= upload.in_place && upload.session == session && upload.path == name;
        }
    }

    fn rename(&mut self, session: usize, from: &str, to: &str, replace: bool) -> bool {
        let Some(file) = self
            .names
            .get(from)
            .copied()
            .filter(|_| self.has_parent(to))
        else {
            return false;
        };
        if !replace && self.names.contains_key(to) || self.is_claimed(session, to) {
            return false;
        }
        // Two names of one file both stay (rename(2)).
        if self.names.get(to) != Some(&file) {
            self.names.remove(from);
            self.names.insert(to.to_owned(), file);
        }
        self.gone(session, to);
        for upload in &mut self.uploads {
            if upload.in_place && upload.path == from {
                upload.path = to.to_owned();
            }
        }
        true
    }

    fn rename_directory(&mut self, to: &'static str) {
        let from = std::mem::replace(&mut self.directory, to);
        let moved = |name: &str| match name.strip_prefix(from) {
            Some(rest) if rest.starts_with('/') => format!("{to}{rest}"),
            _ => name.to_owned(),
        };
        self.names = self
            .names
            .iter()
            .map(|(name, file)| (moved(name), *file))
            .collect();
        for upload in &mut self.uploads {
            upload.path = moved(&upload.path);
            upload.claim = upload.claim.as_deref().map(moved);
        }
    }

    fn resize(&mut self, session: usize, name: &str, size: usize) -> bool {
        let Some(file) = self.names.get(name).copied() else {
            return false;
        };
        let done = !self.is_written(session, name);
        if done {
            self.contents[file].resize(size, 0);
        }
        done
    }

    fn link(&mut self, session: usize, from: &str, to: &str) -> bool {
        let Some(file) = self.names.get(from).copied() else {
            return false;
        };
        let is_taken = self.names.contains_key(to) || self.is_claimed(session, to);
        if !self.has_parent(to) || is_taken {
            return false;
        }
        self.names.insert(to.to_owned(), file);
        true
    }

    fn copy(&mut self, session: usize, from: &str, to: &str) -> bool {
        let Some(source) = self.names.get(from).copied() else {
            return false;
        };
        let same = from == to || self.names.get(to) == Some(&source);
        if same || !self.has_parent(to) || self.is_busy(session, to) {
            return false;
        }
        let copy = self.new_file(self.contents[source].clone());
        self.names.insert(to.to_owned(), copy);
        true
    }

    fn join(&mut self, session: usize, target: &str, part: &str) -> bool {
        let Some(second) = self.names.get(part).copied() else {
            return false;
        };
        let first = self.names.get(target).copied();
        let is_busy = self.is_busy(session, target) || self.is_busy(session, part);
        if first == Some(second) || !self.has_parent(target) || is_busy {
            return false;
        }
        let begin = first.map_or(Vec::new(), |first| self.contents[first].clone());
        let whole = [begin, self.contents[second].clone()].concat();
        let whole = self.new_file(whole);
        self.names.insert(target.to_owned(), whole);
        self.delete(session, part)
    }
}

/// One session of the user.
enum Session {
    Ftp(Client, Option<Data>),
    Sftp(packets::Client, Option<(Vec<u8>, u64)>),
}

struct History {
    server: TestServer,
    place: TempDir,
    sessions: Vec<Session>,
    model: Model,
    said: Vec<String>,
}

impl History {
    fn new(atomic: bool) -> Self {
        let place = TempDir::new("sessions");
        let server = server()
            .directory(place.path())
            .set("atomic-uploads", if atomic { "yes" } else { "no" })
            .set("quota-bytes", "1000000")
            .start();
        let mut sessions = Vec::new();
        for _ in 0..2 {
            sessions.push(Session::Ftp(server.ann(), None));
            let services = server.running().services();
            let client = packets::Client::beside(services, "ann", "secret");
            sessions.push(Session::Sftp(client, None));
        }
        let mut history = History {
            server,
            place,
            sessions,
            model: Model {
                atomic,
                ..Model::default()
            },
            said: Vec::new(),
        };
        history.begin();
        history
    }

    /// From the empty home on.
    fn begin(&mut self) {
        self.said.clear();
        self.model = Model {
            atomic: self.model.atomic,
            directory: "d",
            ..Model::default()
        };
        self.first().expect("MKD d", 257);
    }

    /// Deletes everything, as a client does.
    fn clear(&mut self) {
        let names: Vec<String> = self.model.names.keys().cloned().collect();
        let directory = self.model.directory;
        let client = self.first();
        client.expect(&format!("RMDA {directory}"), 250);
        for name in names.iter().filter(|name| !name.contains('/')) {
            client.expect(&format!("DELE {name}"), 250);
        }
        let quota = client.expect("SITE QUOTA", 200);
        assert_eq!(quota.text(), "0 bytes of 1000000, 0 files of no limit.");
    }

    fn first(&mut self) -> &mut Client {
        match &mut self.sessions[0] {
            Session::Ftp(client, _) => client,
            Session::Sftp(..) => unreachable!("the first session is one of FTP"),
        }
    }

    fn check(&mut self, at: usize, what: String, done: bool, want: bool) {
        self.said.push(format!("{at}: {what}: {done}"));
        assert_eq!(done, want, "{}", self.said.join("\n"));
    }

    /// Goes on with an upload: more data, its end, or its breaking off.
    fn go_on(&mut self, at: usize, rng: &mut Rng) {
        let data = vec![b'a' + rng.below(26) as u8; 1 + rng.below(40)];
        let how = rng.below(4);
        match &mut self.sessions[at] {
            Session::Ftp(client, data_connection) => match how {
                0 | 1 => {
                    let connection = data_connection.as_mut().unwrap();
                    connection.send(&data);
                    self.model.write(at, &data);
                    self.wait_for_bytes(at);
                }
                2 => {
                    *data_connection = None;
                    let (done, want) = (client.reply().code == 226, self.model.end(at));
                    self.check(at, "the end".into(), done, want);
                }
                _ => {
                    data_connection.take().unwrap().reset();
                    client.wait_for(426);
                    self.model.take(at);
                    self.check(at, "a broken upload".into(), true, true);
                }
            },
            Session::Sftp(client, handle) => match how {
                0 | 1 => {
                    let (handle, offset) = handle.as_mut().unwrap();
                    let status = client.write(handle, *offset, &data);
                    *offset += data.len() as u64;
                    self.model.write(at, &data);
                    self.check(at, "WRITE".into(), status == OK, true);
                }
                _ => {
                    let (handle, _) = handle.take().unwrap();
                    let (done, want) = (client.close(&handle) == OK, self.model.end(at));
                    self.check(at, "CLOSE".into(), done, want);
                }
            },
        }
    }

    /// Until the bytes of an FTP upload are in the file.
    fn wait_for_bytes(&self, at: usize) {
        let upload = self
            .model
            .uploads
            .iter()
            .find(|upload| upload.session == at);
        let length = upload.unwrap().sent;
        let number = at as u64 + 1;
        self.server.until("the bytes", |server| {
            let all = server.running().services().registry.all();
            let live = all.iter().find(|live| live.id == number).unwrap();
            live.bytes.load(SeqCst) == length
        });
    }

    fn step(&mut self, rng: &mut Rng) {
        let at = rng.below(self.sessions.len());
        let uploads = self.model.uploads.iter().any(|upload| upload.session == at);
        let (one, two) = (*rng.pick(&NAMES), *rng.pick(&NAMES));
        match &mut self.sessions[at] {
            Session::Ftp(..) if uploads => self.go_on(at, rng),
            Session::Sftp(..) if uploads && rng.below(2) == 0 => self.go_on(at, rng),
            Session::Ftp(..) => self.command(at, rng, one, two),
            Session::Sftp(..) => self.request(at, rng, one, two, uploads),
        }
    }

    fn command(&mut self, at: usize, rng: &mut Rng, one: &str, two: &str) {
        let Session::Ftp(client, connection) = &mut self.sessions[at] else {
            return;
        };
        let model = &mut self.model;
        let is = |client: &mut Client, line: &str| client.cmd(line).code < 400;
        let (what, done, want) = match rng.below(10) {
            0..4 => {
                let data = client.data();
                let how = match rng.below(6) {
                    0 => How::Append,
                    1 => How::Restart(1 + rng.below(20)),
                    _ => How::Replace,
                };
                let verb = match how {
                    How::Append => "APPE",
                    _ => "STOR",
                };
                if let How::Restart(offset) = how {
                    client.expect(&format!("REST {offset}"), 350);
                }
                let done = is(client, &format!("{verb} {one}"));
                *connection = done.then_some(data);
                let want = model.begin(at, one, how);
                // What is there is cut after the 150, when another session may
                // be told that it became shorter.
                let upload = model.uploads.iter().find(|upload| upload.session == at);
                if let Some(upload) = upload.filter(|upload| done && upload.in_place) {
                    let size = model.contents[upload.file].len() as u64;
                    let path = self.place.join(one);
                    until("it is cut", || path.metadata().unwrap().len() == size);
                }
                (format!("{how:?} {one}"), done, want)
            }
            8 => {
                let line = format!("MFMT 20200101000000 {one}");
                let want = model.names.contains_key(one);
                (line.clone(), is(client, &line), want)
            }
            9 => {
                let line = format!("DELE {one}");
                (line.clone(), is(client, &line), model.delete(at, one))
            }
            4 => {
                let done = is(client, &format!("RNFR {one}")) && is(client, &format!("RNTO {two}"));
                let want = model.rename(at, one, two, true);
                (format!("rename {one} {two}"), done, want)
            }
            5 => {
                let line = format!("SITE COPY {one} {two}");
                (line.clone(), is(client, &line), model.copy(at, one, two))
            }
            6 => {
                let line = format!("COMB {one} {two}");
                (line.clone(), is(client, &line), model.join(at, one, two))
            }
            _ => {
                let to = if model.directory == "d" { "e" } else { "d" };
                is(client, &format!("RNFR {}", model.directory));
                let done = is(client, &format!("RNTO {to}"));
                model.rename_directory(to);
                (format!("rename the directory to {to}"), done, true)
            }
        };
        self.check(at, what, done, want);
    }

    fn request(&mut self, at: usize, rng: &mut Rng, one: &str, two: &str, uploads: bool) {
        let Session::Sftp(client, handle) = &mut self.sessions[at] else {
            return;
        };
        let model = &mut self.model;
        let both = || Body::new().string(one).string(two);
        let (what, done, want) = match rng.below(7) {
            0..3 if !uploads => {
                let mut reply = client.try_open(one, NEW);
                let done = reply.kind == HANDLE;
                *handle = done.then(|| (reply.string(), 0));
                (
                    format!("OPEN {one}"),
                    done,
                    model.begin(at, one, How::Replace),
                )
            }
            // An atomic upload appears when its own session goes on with the
            // name; tests/sftp says so.
            0..4 if uploads && model.atomic => return,
            0..4 => {
                let done = client.status(REMOVE, Body::new().string(one)) == OK;
                (format!("REMOVE {one}"), done, model.delete(at, one))
            }
            6 if uploads => return,
            6 => {
                let size = rng.below(50);
                let body = Body::new().string(one).u32(1).u64(size as u64);
                let done = client.status(SETSTAT, body) == OK;
                let want = model.resize(at, one, size);
                (format!("size of {one} {size}"), done, want)
            }
            4 if uploads && model.atomic => return,
            4 => {
                let done = client.status(RENAME, both()) == OK;
                let want = model.rename(at, one, two, false);
                (format!("RENAME {one} {two}"), done, want)
            }
            _ if uploads && model.atomic => return,
            _ => {
                let done = client.extended("hardlink@openssh.com", both()).status() == OK;
                (
                    format!("hardlink {one} {two}"),
                    done,
                    model.link(at, one, two),
                )
            }
        };
        self.check(at, what, done, want);
    }

    /// Ends all uploads, and compares.
    fn end(&mut self) {
        for at in 0..self.sessions.len() {
            if !self.model.uploads.iter().any(|upload| upload.session == at) {
                continue;
            }
            let done = match &mut self.sessions[at] {
                Session::Ftp(client, connection) => {
                    *connection = None;
                    client.reply().code == 226
                }
                Session::Sftp(client, handle) => client.close(&handle.take().unwrap().0) == OK,
            };
            let want = self.model.end(at);
            self.check(at, "the last end".into(), done, want);
        }
        let said = self.said.join("\n");
        let mut there = BTreeMap::new();
        for directory in ["", self.model.directory] {
            for entry in std::fs::read_dir(self.place.join(directory)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let name = path.strip_prefix(self.place.path()).unwrap();
                    let content = std::fs::read(&path).unwrap();
                    there.insert(name.to_str().unwrap().to_owned(), content);
                }
            }
        }
        let contents = &self.model.contents;
        let names = self.model.names.iter();
        let want: BTreeMap<_, _> = names
            .map(|(name, file)| (name.clone(), contents[*file].clone()))
            .collect();
        assert_eq!(there, want, "{said}");
        let mut files: Vec<File> = self.model.names.values().copied().collect();
        files.sort_unstable();
        files.dedup();
        let bytes: usize = files.iter().map(|file| contents[*file].len()).sum();
        let want = format!(
            "{bytes} bytes of 1000000, {} files of no limit.",
            files.len()
        );
        for session in &mut self.sessions {
            if let Session::Ftp(client, _) = session {
                assert_eq!(client.expect("SITE QUOTA", 200).text(), want, "{said}");
            }
        }
    }
}

#[test]
fn several_sessions_leave_the_tree_of_the_model() {
    let mut rng = Rng::new();
    let start = Instant::now();
    // All histories together take so long; `WHARF_SECONDS` asks for more.
    let seconds = std::env::var("WHARF_SECONDS").map_or(10, |text| text.parse().unwrap());
    let mut histories = 0;
    let mut servers = [History::new(false), History::new(true)];
    while start.elapsed() < Duration::from_secs(seconds) {
        let history = &mut servers[histories % 2];
        for _ in 0..10 + rng.below(50) {
            history.step(&mut rng);
        }
        history.end();
        history.clear();
        history.begin();
        histories += 1;
    }
    println!("{histories} histories");
    for history in servers {
        for session in history.sessions {
            if let Session::Sftp(client, _) = session {
                client.end().unwrap();
            }
        }
        drop(history.server);
    }
}
