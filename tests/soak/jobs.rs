//! What the clients of a soak do. Each has a directory of its own, knows what
//! is in it, and panics when it finds something else.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::common::client::Client;
use super::common::process::run_within;
use super::common::rng::Rng;
use super::common::tls::{SecureClient, context};
use super::{PATIENCE, Place};

pub type Job = fn(&Place, &mut Files, &mut Rng);

/// Programs are started less often than our own clients, which cost less.
pub const KINDS: [(&str, Job); 16] = [
    ("plain", plain),
    ("plain", plain),
    ("plain", plain),
    ("stay", stay),
    ("stay", stay),
    ("stay", stay),
    ("tls", tls),
    ("tls", tls),
    ("reset", reset),
    ("reset", reset),
    ("gone", gone),
    ("curl", curl),
    ("curl-tls", curl_tls),
    ("curl-sftp", curl_sftp),
    ("lftp", lftp),
    ("sftp", sftp),
];

/// A client's directory and what is known to be in it: the seed and the size
/// of each file's content.
pub struct Files {
    name: String,
    known: BTreeMap<String, (u64, usize)>,
    count: u64,
    scratch: PathBuf,
}

/// Files that one client keeps; beyond, it writes over them.
const MOST: u64 = 8;

fn content(seed: u64, size: usize) -> Vec<u8> {
    Rng::fixed(seed).bytes(size)
}

impl Files {
    pub fn new(place: &Place, number: usize) -> Self {
        let name = format!("client-{number}");
        std::fs::create_dir(place.root().join(&name)).unwrap();
        let scratch = place.path(&format!("scratch-{number}"));
        std::fs::create_dir(&scratch).unwrap();
        Files {
            name,
            known: BTreeMap::new(),
            count: 0,
            scratch,
        }
    }

    /// A file to be written: its path on the server and its content. It is
    /// not known until it is acknowledged.
    fn next(&mut self, rng: &mut Rng) -> (String, String, u64, usize) {
        self.count += 1;
        let file = format!("file {}", self.count % MOST);
        let size = [0, 1, 1000, 65_536, 200_001, 1 << 20][rng.below(6)];
        (format!("/{}/{file}", self.name), file, rng.next(), size)
    }

    fn acknowledged(&mut self, place: &Place, file: String, seed: u64, size: usize) {
        place.bytes.fetch_add(size as u64, SeqCst);
        self.known.insert(file, (seed, size));
    }

    /// A file that is there.
    fn any(&self, rng: &mut Rng) -> Option<(String, String, Vec<u8>)> {
        let at = rng.below(self.known.len());
        let (file, (seed, size)) = self.known.iter().nth(at)?;
        Some((
            format!("/{}/{file}", self.name),
            file.clone(),
            content(*seed, *size),
        ))
    }

    fn same(&self, place: &Place, what: &str, found: &[u8], wanted: &[u8]) {
        assert!(
            found == wanted,
            "{}: {what} has {} bytes, not those {}",
            self.name,
            found.len(),
            wanted.len()
        );
        place.bytes.fetch_add(found.len() as u64, SeqCst);
    }

    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// Everything that was acknowledged is on the disk as it was sent.
    pub fn check(&self, place: &Place) {
        for (file, (seed, size)) in &self.known {
            let found = std::fs::read(place.root().join(&self.name).join(file)).unwrap();
            assert!(found == content(*seed, *size), "{}/{file}", self.name);
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.scratch)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.scratch);
        command
    }

    /// Runs a program that puts `up` and one that gets `down`, both files of
    /// the scratch directory.
    fn by_program(
        &mut self,
        place: &Place,
        rng: &mut Rng,
        program: impl Fn(&Files, &str, Option<&str>),
    ) {
        let (path, file, seed, size) = self.next(rng);
        std::fs::write(self.scratch.join("up"), content(seed, size)).unwrap();
        let there = self.any(rng).filter(|(_, other, _)| *other != file);
        let down = there.as_ref().map(|(path, _, _)| path.as_str());
        self.known.remove(&file);
        program(self, &path, down);
        self.acknowledged(place, file, seed, size);
        if let Some((path, _, wanted)) = there {
            let found = std::fs::read(self.scratch.join("down")).unwrap();
            self.same(place, &path, &found, &wanted);
            std::fs::remove_file(self.scratch.join("down")).unwrap();
        }
    }
}

fn greeted(place: &Place) -> Client {
    let mut client = Client::patient(place.ftp, PATIENCE);
    client.wait_for(220);
    client
}

fn ann(place: &Place) -> Client {
    let mut client = greeted(place);
    client.login("ann", "secret");
    client.expect("TYPE I", 200);
    client
}

fn round(client: &mut Client, place: &Place, files: &mut Files, rng: &mut Rng) {
    let (path, file, seed, size) = files.next(rng);
    // What stands there while it is replaced is the old file or the new one.
    let reply = client.store(&format!("STOR {path}"), &content(seed, size));
    assert_eq!(reply.code, 226, "{:?}", reply.lines);
    files.acknowledged(place, file, seed, size);
    if let Some((path, file, wanted)) = files.any(rng) {
        let found = client.fetch(&format!("RETR {path}"));
        files.same(place, &path, &found, &wanted);
        if rng.below(4) == 0 {
            client.expect(&format!("RNFR {path}"), 350);
            client.expect(&format!("RNTO {path}"), 250);
        }
        if rng.below(8) == 0 {
            client.expect(&format!("DELE {path}"), 250);
            files.known.remove(&file);
        }
    }
    let listing = client.fetch(&format!("NLST /{}", files.name));
    let listing = String::from_utf8(listing).unwrap();
    for file in files.known.keys() {
        assert!(listing.contains(file), "{file} is not in {listing:?}");
    }
}

fn plain(place: &Place, files: &mut Files, rng: &mut Rng) {
    let mut client = ann(place);
    std::thread::sleep(place.pause(rng));
    round(&mut client, place, files, rng);
    client.expect("QUIT", 221);
}

/// A session that lasts.
fn stay(place: &Place, files: &mut Files, rng: &mut Rng) {
    let mut client = ann(place);
    for _ in 0..1 + rng.below(4) {
        round(&mut client, place, files, rng);
        std::thread::sleep(place.pause(rng));
        client.expect("NOOP", 200);
    }
    client.expect("QUIT", 221);
}

fn tls(place: &Place, files: &mut Files, rng: &mut Rng) {
    let mut client = SecureClient::upgrade(greeted(place), context(|_| {})).ready();
    for _ in 0..1 + rng.below(2) {
        let (path, file, seed, size) = files.next(rng);
        let (reply, _) = client.store_secure(&format!("STOR {path}"), &content(seed, size));
        assert_eq!(reply.code, 226, "{:?}", reply.lines);
        files.acknowledged(place, file, seed, size);
        if let Some((path, _, wanted)) = files.any(rng) {
            let (found, _) = client.fetch_secure(&format!("RETR {path}"));
            files.same(place, &path, &found, &wanted);
        }
        std::thread::sleep(place.pause(rng));
    }
    client.expect("QUIT", 221);
}

/// The data connection is reset: the upload fails, and the old file stays.
fn reset(place: &Place, files: &mut Files, rng: &mut Rng) {
    let mut client = ann(place);
    let (path, file, seed, size) = files.next(rng);
    let mut data = client.data();
    client.expect(&format!("STOR {path}"), 150);
    data.send(&content(seed, size));
    data.reset();
    client.wait_for(426);
    if let Some((seed, size)) = files.known.get(&file).copied() {
        let found = client.fetch(&format!("RETR {path}"));
        files.same(place, &path, &found, &content(seed, size));
    }
    // And a download that nobody wants to the end.
    if let Some((path, _, wanted)) = files.any(rng) {
        let data = client.data();
        client.expect(&format!("RETR {path}"), 150);
        data.reset();
        let code = client.reply().code;
        assert!(code == 426 || code == 226, "{code} for {}", wanted.len());
    }
    client.expect("QUIT", 221);
}

/// Both connections go in the middle, the control connection with a reset.
fn gone(place: &Place, files: &mut Files, rng: &mut Rng) {
    let mut client = ann(place);
    let (path, _, seed, _) = files.next(rng);
    let mut data = client.data();
    client.expect(&format!("STOR {path}"), 150);
    // The control connection goes first: nobody can take it for the end.
    let _ = data.0.write_all(&content(seed, 50_000));
    super::common::client::Data::from(client.stream).reset();
    std::thread::sleep(Duration::from_millis(50));
    data.reset();
}

/// Runs a program, which makes several connections and says nothing meanwhile.
fn program(command: &mut Command) {
    run_within(PATIENCE * 2, command, "");
}

fn curl(place: &Place, files: &mut Files, rng: &mut Rng) {
    by_curl(place, files, rng, &["--disable-epsv"]);
}

fn curl_tls(place: &Place, files: &mut Files, rng: &mut Rng) {
    by_curl(place, files, rng, &["--ssl-reqd", "-k"]);
}

fn by_curl(place: &Place, files: &mut Files, rng: &mut Rng, switches: &[&str]) {
    if !place.has_curl {
        return plain(place, files, rng);
    }
    // Slow ones are there at the same time as many others.
    let slow = rng.below(3) == 0;
    files.by_program(place, rng, |files, up, down| {
        let address = |path: &str| format!("ftp://{}{}", place.ftp, path.replace(' ', "%20"));
        let mut command = files.command("curl");
        command.args(["-sS", "--fail", "-u", "ann:secret"]);
        command.args(switches);
        if slow {
            command.args(["--limit-rate", "400k"]);
        }
        command.args(["-T", "up"]).arg(address(up));
        if let Some(down) = down {
            command.args(["--next", "-sS", "-u", "ann:secret"]);
            command
                .args(switches)
                .args(["-o", "down"])
                .arg(address(down));
        }
        program(&mut command);
    });
}

fn curl_sftp(place: &Place, files: &mut Files, rng: &mut Rng) {
    if !place.has_curl {
        return plain(place, files, rng);
    }
    files.by_program(place, rng, |files, up, down| {
        let address = |path: &str| format!("sftp://{}{}", place.sftp, path.replace(' ', "%20"));
        let mut command = files.command("curl");
        command.args(["-sS", "-k", "-u", "ann:secret"]);
        command.args(["-T", "up"]).arg(address(up));
        if let Some(down) = down {
            command.args(["--next", "-sS", "-k", "-u", "ann:secret"]);
            command.args(["-o", "down"]).arg(address(down));
        }
        program(&mut command);
    });
}

fn lftp(place: &Place, files: &mut Files, rng: &mut Rng) {
    if !place.has_lftp {
        return plain(place, files, rng);
    }
    files.by_program(place, rng, |files, up, down| {
        let mut script = format!(
            "set ssl:verify-certificate no; set net:max-retries 1; set cmd:fail-exit yes; \
             open -u ann,secret ftp://{}; put up -o \"{up}\"; ",
            place.ftp
        );
        if let Some(down) = down {
            script += &format!("get \"{down}\" -o down; ");
        }
        program(files.command("lftp").args(["-c", &script]));
    });
}

fn sftp(place: &Place, files: &mut Files, rng: &mut Rng) {
    if !place.has_sftp {
        return plain(place, files, rng);
    }
    let pause = place.pause(rng).as_secs();
    files.by_program(place, rng, |files, up, down| {
        let mut batch = format!("!sleep {pause}\nput up \"{up}\"\n");
        if let Some(down) = down {
            batch += &format!("get \"{down}\" down\n");
        }
        std::fs::write(files.scratch.join("batch"), batch).unwrap();
        let mut command = files.command("sftp");
        command.args(["-q", "-b", "batch", "-o", "StrictHostKeyChecking=no"]);
        command.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
        command
            .args(["-o", "IdentitiesOnly=yes", "-i"])
            .arg(place.path("key"));
        command.args(["-P", &place.sftp.port().to_string(), "ann@127.0.0.1"]);
        program(&mut command);
    });
}
