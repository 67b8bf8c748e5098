//! Every system call that the program makes on a user's files fails, with
//! every error number that file systems are known for: `strace -e inject`
//! makes the calls of the real program fail, whichever library makes them.
//!
//! The session goes on, nothing is told as an error of the connection, what is
//! acknowledged is there, and nothing is tried again without end.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::common::client::Client;
use super::common::process::has;
use super::common::rng::Rng;
use super::common::{TempDir, until};
use super::daemon::{Daemon, names};
use super::ftp::{COMMANDS, Data, NEW, OLD, play};
use super::packets;
use super::sftp::{self, REQUESTS};

/// Calls on files; those that another processor or C library has not are
/// passed over.
const CALLS: &[&str] = &[
    "openat2",
    "openat",
    "open",
    "newfstatat",
    "statx",
    "fstat",
    "getdents64",
    "pread64",
    "pwrite64",
    "write",
    "sendfile",
    "splice",
    "copy_file_range",
    "lseek",
    "ftruncate",
    "utimensat",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchownat",
    "renameat",
    "renameat2",
    "unlinkat",
    "mkdirat",
    "fsync",
    "fdatasync",
    "syncfs",
    "statfs",
    "fstatfs",
    "readlinkat",
    "symlinkat",
    "linkat",
    "fgetxattr",
    "getxattr",
    "lgetxattr",
    "listxattr",
    "llistxattr",
    "flistxattr",
    "fsetxattr",
    "fremovexattr",
];

/// What a call fails with, and the replies that may tell it. 450: another try
/// may work. 421, 425 and 426 are for connections alone.
const REPLIES: &[(&str, &[u16])] = &[
    ("error=ENOTCONN", &[450, 451, 550]),
    ("error=EIO", &[450, 451, 550]),
    ("error=ESTALE", &[450, 451, 550]),
    ("error=ETIMEDOUT", &[450, 451, 550]),
    ("error=EAGAIN", &[450, 451, 550]),
    ("error=EPIPE", &[450, 451, 550]),
    ("error=EXDEV", &[450, 451, 550]),
    ("error=ENOSPC", &[450, 451, 452, 550]),
    ("error=EDQUOT", &[450, 451, 552, 550]),
    // Nothing was moved, though there was no error.
    ("retval=0", &[450, 451, 452, 550]),
];

/// Calls that move bytes of files, and may move fewer than they were asked for.
/// (`splice` also moves those of a connection, where 0 is its end.)
const MOVE: &[&str] = &[
    "pread64",
    "pwrite64",
    "write",
    "sendfile",
    "copy_file_range",
];

/// Calls of which one alone may fail in a reply that is none of its own: while
/// all of them fail, nothing can be removed, or nothing can be known.
const CLEARING: &[&str] = &[
    "unlinkat",
    "openat2",
    "openat",
    "newfstatat",
    "statx",
    "fstat",
];

/// How many commands meet a fault of a call that they all make; without it, a
/// few meet some of the faults, others each time.
fn asked() -> Option<usize> {
    let rows = std::env::var("WHARF_ROWS").ok()?;
    Some(rows.parse().expect("WHARF_ROWS is a number"))
}

/// So many of `rows` in the mean.
fn share<T>(mut rows: Vec<T>, rng: &mut Rng) -> Vec<T> {
    let most = asked().unwrap_or(4);
    let count = rows.len().max(1);
    rows.retain(|_| rng.below(count) < most);
    rows
}

/// More of one call in one command would be a loop.
const MOST: usize = 400;

/// A strace that looks at a process, or meddles with it.
struct Strace {
    child: Child,
    trace: PathBuf,
}

impl Strace {
    /// `None` where processes can't be traced.
    fn attach(place: &Path, pid: u32, rules: &[String]) -> Option<Strace> {
        let trace = place.join("trace");
        let mut child = Command::new("strace")
            .args(["-f", "-p", &pid.to_string(), "-o"])
            .arg(&trace)
            .args(rules)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        said.read_line(&mut line).unwrap();
        // It may say more, which nobody reads.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        if line.contains("attached") {
            return Some(Strace { child, trace });
        }
        let _ = child.wait();
        assert!(line.contains("not permitted"), "strace {rules:?}: {line}");
        eprintln!("SKIP: no process may be traced here");
        None
    }

    /// How often each call was made, and how often one was made to fail.
    fn seen(&self) -> (BTreeMap<String, usize>, usize) {
        let text = std::fs::read_to_string(&self.trace).unwrap_or_default();
        let mut calls = BTreeMap::new();
        for line in text.lines() {
            let call = line
                .split_once(' ')
                .map_or("", |(_, call)| call.trim_start());
            if let Some((name, _)) = call.split_once('(') {
                *calls.entry(name.to_owned()).or_default() += 1;
            }
        }
        let injected = text.lines().filter(|line| line.ends_with("(INJECTED)"));
        (calls, injected.count())
    }
}

impl Drop for Strace {
    /// The process goes on without it.
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// The rules that trace `calls`.
fn tracing(calls: &[&str]) -> String {
    let calls: Vec<String> = calls.iter().map(|call| format!("?{call}")).collect();
    format!("--trace={}", calls.join(","))
}

/// By which rules a call fails: always, or now and then.
fn rules(fault: &Fault, rng: &mut Rng) -> (String, [String; 2]) {
    let Fault { call, what, .. } = fault;
    let when = if fault.always {
        "1+".to_owned()
    } else {
        format!("{}+{}", 1 + rng.below(4), 2 + rng.below(3))
    };
    let rule = format!("--inject=?{call}:{what}:when={when}");
    (
        format!("{call}:{what}:when={when}"),
        [tracing(&[call]), rule],
    )
}

/// Every call with everything that it can fail with, or a quarter of it;
/// whether it always fails, and where uploads are atomic.
fn faults(rng: &mut Rng) -> Vec<Fault> {
    let every = CALLS
        .iter()
        .flat_map(|call| REPLIES.iter().map(move |row| (call, row)));
    let mut faults = Vec::new();
    for (call, (what, replies)) in every {
        let fits = what.starts_with("error") || MOVE.contains(call);
        if fits && (asked().is_some() || rng.below(4) == 0) {
            faults.push(Fault {
                call,
                what,
                replies,
                always: rng.below(2) == 0,
                atomic: rng.below(2) == 0,
            });
        }
    }
    faults
}

struct Fault {
    call: &'static str,
    what: &'static str,
    replies: &'static [u16],
    always: bool,
    atomic: bool,
}

/// Bytes of a file that is worth a pipe.
const LARGE: usize = 3 << 20;

fn large() -> Vec<u8> {
    (0..LARGE as u32)
        .map(|number| (number >> 5) as u8)
        .collect()
}

/// The tree before each command.
fn plant(root: &Path) {
    for name in names(root) {
        let path = root.join(name);
        let is_directory = path.symlink_metadata().unwrap().is_dir();
        let removed = if is_directory {
            std::fs::remove_dir_all(path)
        } else {
            std::fs::remove_file(path)
        };
        removed.unwrap();
    }
    std::fs::create_dir_all(root.join("d/e")).unwrap();
    std::fs::create_dir(root.join("empty")).unwrap();
    for name in ["f", "d/g", "d/e/h"] {
        std::fs::write(root.join(name), OLD).unwrap();
    }
    std::fs::write(root.join("large"), large()).unwrap();
    std::os::unix::fs::symlink("d", root.join("link")).unwrap();
}

/// Of the table of commands, and what only large files need. A login is no
/// command on files.
fn commands() -> impl Iterator<Item = (&'static [&'static str], &'static str, Data)> {
    let more: [(&[&str], &str, Data); 4] = [
        (&[], "RETR large", Data::Down),
        (&["REST 1000000"], "RETR large", Data::Down),
        (&[], "STOR large", Data::Up),
        (&[], "APPE large", Data::Up),
    ];
    let files = COMMANDS
        .iter()
        .copied()
        .filter(|row| !row.1.starts_with("PASS"));
    files.chain(more)
}

/// What a client sends for an upload.
fn content(command: &str) -> Vec<u8> {
    if command.ends_with("large") {
        large()
    } else {
        NEW.to_vec()
    }
}

/// A command, what it answers when all is well, and its calls.
type Row = (
    (&'static [&'static str], &'static str, Data),
    Answer,
    BTreeMap<String, usize>,
);

/// What was answered: the code, the text, and the data.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    code: u16,
    text: String,
    data: Vec<u8>,
}

/// Plays a command from a fresh tree; `None` if one before it failed, which
/// then has one of the allowed replies.
fn answer(
    client: &mut Client,
    (before, command, data): (&[&str], &str, Data),
    allowed: &[u16],
    what: &str,
) -> Option<Answer> {
    client.expect("TYPE I", 200);
    let connection = (data != Data::None).then(|| client.data());
    for line in ["CWD /"].iter().chain(before) {
        let reply = client.cmd(line);
        if reply.code >= 400 {
            assert!(
                allowed.contains(&reply.code),
                "{what}, {line}: {:?}",
                reply.lines
            );
            return None;
        }
    }
    let (reply, data) = play(client, connection, command, (data, &content(command)));
    client.expect("NOOP", 200);
    Some(Answer {
        code: reply.code,
        text: reply.lines.join("\n"),
        data,
    })
}

/// Whether the tree is as an acknowledged command must have left it.
fn is_done(root: &Path, (before, command): (&[&str], &str), got: &Answer, whole: &Answer) -> bool {
    let content = |name: &str| std::fs::read(root.join(name)).ok();
    let old = Some(OLD.to_vec());
    let is_there = |name: &str| root.join(name).symlink_metadata().is_ok();
    let mode = || root.join("f").metadata().unwrap().permissions().mode() & 0o777;
    let is_dated = || {
        let modified = root.join("f").metadata().unwrap().modified().unwrap();
        let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
        // 2020-01-01.
        since.as_secs() == 1_577_836_800
    };
    let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
    match verb {
        "RETR" | "NLST" => got.data == whole.data,
        "LIST" | "MLSD" => {
            let lines = |answer: &Answer| answer.data.iter().filter(|byte| **byte == b'\n').count();
            lines(got) == lines(whole)
        }
        "STOR" | "APPE" | "STOU" => {
            let sent = self::content(command);
            let wanted = match (before.first(), command) {
                (Some(&"REST 5"), _) => [&OLD[..5], &sent].concat(),
                (_, "APPE f") => [OLD, &sent].concat(),
                (_, "APPE large") => [large(), sent].concat(),
                _ => sent,
            };
            match verb {
                "STOU" => names(root)
                    .iter()
                    .any(|name| content(name).as_ref() == Some(&wanted)),
                _ => content(argument) == Some(wanted),
            }
        }
        "DELE" => !is_there("f"),
        "MKD" => is_there("new"),
        "RMD" => !is_there("empty"),
        "RMDA" => !is_there("d"),
        "RNTO" => !is_there("f") && content(argument) == old,
        "MFMT" | "MFF" => is_dated(),
        "MDTM" if argument.contains(' ') => is_dated(),
        "SIZE" | "DSIZ" | "HASH" | "XCRC" | "XMD5" | "XSHA1" | "XSHA256" | "XSHA512" => {
            got.text == whole.text
        }
        "COMB" if argument.starts_with('f') => content("f") == Some(OLD.repeat(3)),
        "COMB" => content("new") == Some(OLD.repeat(2)),
        "SITE" => match argument.split_once(' ').unwrap() {
            ("CHMOD", _) => mode() == 0o600,
            ("UTIME", _) => is_dated(),
            ("MKDIR", name) => is_there(name),
            ("CPTO", name) => content(name) == old,
            ("COPY", _) => content("d/g") == old,
            ("SYMLINK", _) => is_there("new"),
            ("RMDIR", _) => !is_there("d"),
            _ => true,
        },
        _ => true,
    }
}

/// Whether what a command that failed was to work on is still somewhere.
fn nothing_is_lost(root: &Path, (before, command): (&[&str], &str), atomic: bool) -> bool {
    let content = |name: &str| std::fs::read(root.join(name)).ok();
    let old = Some(OLD.to_vec());
    let kept = |name: &str| content(name) == old;
    let joined = |name: &str, parts: usize| content(name) == Some(OLD.repeat(parts));
    match command {
        "COMB \"new\" \"f\" \"d/g\"" => joined("new", 2) || kept("f") && kept("d/g"),
        "COMB f d/g d/e/h" => joined("f", 3) || kept("f") && kept("d/g") && kept("d/e/h"),
        "RNTO new" | "SITE CPTO new" => kept("f") || kept("new"),
        "RNTO d/g" => kept("f") || kept("d/g"),
        "STOR f" if before == ["REST 5"] => {
            content("f").is_some_and(|now| now.starts_with(&OLD[..5]))
        }
        "STOR f" if atomic => kept("f") || content("f").as_deref() == Some(NEW),
        "APPE f" if atomic => content("f").is_some_and(|now| now.starts_with(OLD)),
        "STOR f" | "APPE f" | "DELE f" | "RMDA d" | "SITE RMDIR d" => true,
        "STOR large" | "APPE large" => true,
        _ => kept("f") && kept("d/g") && kept("d/e/h"),
    }
}

#[test]
fn every_call_of_every_command_fails() {
    if !has("strace") {
        return;
    }
    let mut rng = Rng::new();
    let mut hit = 0;
    let faults = faults(&mut rng);
    for atomic in [false, true] {
        let place = TempDir::new("calls");
        let root = place.join("root");
        std::fs::create_dir(&root).unwrap();
        let mut switches = vec!["--site-symlink", "anywhere"];
        if atomic {
            switches.extend(["--atomic-uploads", "--fsync-uploads"]);
        }
        let daemon = Daemon::start(&place, &root, "", &switches);
        let pid = daemon.child.id();
        // Which command makes which calls, and what it answers when all is well.
        let mut rows = Vec::new();
        let mut client = daemon.ann();
        for row in commands() {
            plant(&root);
            let rule = tracing(CALLS);
            let Some(strace) = Strace::attach(&place, pid, &[rule]) else {
                return;
            };
            let whole = answer(&mut client, row, &[], row.1).unwrap();
            assert!(whole.code < 400, "{}: {whole:?}", row.1);
            assert!(is_done(&root, (row.0, row.1), &whole, &whole), "{}", row.1);
            rows.push((row, whole, strace.seen().0));
        }
        // The kernel copies by itself, and shares blocks where it can.
        let copies = |(row, _, calls): &Row| {
            row.1.starts_with("SITE COPY") && calls.contains_key("copy_file_range")
        };
        assert!(rows.iter().any(copies));
        for fault in faults.iter().filter(|fault| fault.atomic == atomic) {
            let (call, allowed) = (fault.call, fault.replies);
            let with_call = rows.iter().filter(|(.., calls)| calls.contains_key(call));
            let with_call = share(with_call.collect(), &mut rng);
            if with_call.is_empty() {
                continue;
            }
            let (name, rules) = rules(fault, &mut rng);
            let Some(strace) = Strace::attach(&place, pid, &rules) else {
                return;
            };
            let mut before = 0;
            for (row, whole, _) in with_call {
                plant(&root);
                let what = format!("{}, {name}, atomic {atomic}", row.1);
                let Some(got) = answer(&mut client, *row, allowed, &what) else {
                    continue;
                };
                let now = strace.seen().1;
                let failed = now - std::mem::replace(&mut before, now);
                hit += failed.min(1);
                assert!(failed < MOST, "{what}: {failed} times");
                if got.code < 400 {
                    let done = is_done(&root, (row.0, row.1), &got, whole);
                    assert!(done, "{what}: {:?} {:?}", got.text, names(&root));
                } else {
                    // A part of the upload goes from the connection to a pipe.
                    let of_connection = call == "splice" && got.code == 426;
                    assert!(
                        failed > 0 && (of_connection || allowed.contains(&got.code)),
                        "{what}: {}",
                        got.text
                    );
                    assert!(
                        nothing_is_lost(&root, (row.0, row.1), atomic),
                        "{what}: {}",
                        got.text
                    );
                }
                let left = names(&root).into_iter();
                let left = left.filter(|name| name.starts_with(".wharf-upload-"));
                assert!(CLEARING.contains(&call) || left.count() == 0, "{what}");
            }
        }
        client.expect("QUIT", 221);
    }
    assert!(hit > 50, "{hit} commands met a call that failed");
}

#[test]
fn every_call_of_every_request_fails() {
    if !has("strace") {
        return;
    }
    let mut rng = Rng::new();
    let mut hit = 0;
    let place = TempDir::new("calls-sftp");
    let root = place.join("root");
    std::fs::create_dir(&root).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let theirs = OwnedFd::from(theirs);
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharfd"));
    let mut child = command
        .args(["--sftp-server", "-d"])
        .arg(&root)
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(command);
    let pid = child.id();
    let mut client = packets::Client::of_stream(ours);
    client.greet();
    let play = |client: &mut packets::Client, make: sftp::Make| {
        plant(&root);
        // Where no handle is had, the request names none.
        let mut handle = |kind, body| match client.call(kind, body) {
            mut reply if reply.kind == packets::HANDLE => reply.string(),
            _ => Vec::new(),
        };
        let open = |name: &str, flags| packets::Body::new().string(name).u32(flags).none();
        let handles = [
            handle(packets::OPEN, open("f", packets::FOR_READING)),
            handle(packets::OPEN, open("new", packets::NEW)),
            handle(packets::OPENDIR, packets::Body::new().string(".")),
        ];
        let (kind, body) = make(&handles[0], &handles[1], &handles[2]);
        let reply = client.call(kind, body);
        for handle in handles {
            client.call(packets::CLOSE, packets::Body::new().string(handle));
        }
        reply
    };
    let mut rows = Vec::new();
    for make in REQUESTS {
        let Some(strace) = Strace::attach(&place, pid, &[tracing(CALLS)]) else {
            child.kill().and_then(|()| child.wait()).unwrap();
            return;
        };
        play(&mut client, *make);
        rows.push((*make, strace.seen().0));
    }
    for fault in faults(&mut rng) {
        let call = fault.call;
        let with_call = rows.iter().filter(|(_, calls)| calls.contains_key(call));
        let with_call = share(with_call.collect(), &mut rng);
        // The channel itself is written to.
        if call == "write" || with_call.is_empty() {
            continue;
        }
        let (name, rules) = rules(&fault, &mut rng);
        let Some(strace) = Strace::attach(&place, pid, &rules) else {
            child.kill().and_then(|()| child.wait()).unwrap();
            return;
        };
        let mut before = 0;
        for (make, _) in with_call {
            let reply = play(&mut client, *make);
            let now = strace.seen().1;
            let failed = now - std::mem::replace(&mut before, now);
            let what = format!("{name}: {reply:?} to {:?}", make(b"", b"", b"").1.0);
            assert!(failed < MOST, "{what}: {failed} times");
            hit += failed.min(1);
            if reply.kind == packets::STATUS {
                let code = reply.status();
                let connection = [packets::EOF, packets::BAD_MESSAGE, 6, 7];
                let ends = fault.what == "retval=0" || call == "getdents64";
                assert!(
                    ends && code == packets::EOF || !connection.contains(&code),
                    "{what}"
                );
            }
        }
        drop(strace);
        let mut root = client.call(packets::STAT, packets::Body::new().string("/"));
        assert_eq!(root.kind, packets::ATTRS, "{name}");
        root.attributes();
    }
    assert!(hit > 25, "{hit} requests met a call that failed");
    drop(client);
    until("the program ends", || child.try_wait().unwrap().is_some());
}
