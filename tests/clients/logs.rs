//! The daemon's logs with those who take them further: a real syslogd,
//! logrotate and fail2ban. Each has directories of its own in the places that
//! the files of contrib name, which needs root; without, the tests say SKIP.
#![cfg(feature = "cli")]

use crate::common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::process::{Lines, Process, WHARFD, has, program, run, signal_to, soon};
use common::{Client, TempDir};

/// A directory with `root/file`, `log` and `run`, for programs in a mount
/// namespace that has the last two as /var/log and /run.
fn place(name: &str, programs: &[&str]) -> Option<TempDir> {
    if !std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        eprintln!("SKIP: needs root");
        return None;
    }
    if !programs.iter().all(|program| has(program)) {
        return None;
    }
    let directory = TempDir::new(name);
    for name in ["root", "log", "run", "dev"] {
        std::fs::create_dir(directory.join(name)).unwrap();
        let mode = PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.join(name), mode).unwrap();
    }
    std::fs::write(directory.join("root/file"), "content").unwrap();
    Some(directory)
}

/// `sh -c SCRIPT sh ARGUMENTS`, alone with its mounts.
fn apart(directory: &TempDir, script: &str) -> Command {
    let mounts = "cd \"$1\" && mount --bind log /var/log && mount --bind run /run && ";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child"]);
    command.args(["sh", "-c", &format!("{mounts}{script}"), "sh"]);
    command.arg(directory.path());
    command
}

fn contrib(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("contrib")
        .join(path)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The process whose command line has all these words.
fn process_with(words: &[&str]) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let given: Vec<_> = line.split(|byte| *byte == 0).collect();
            words.iter().all(|word| given.contains(&word.as_bytes()))
        })
}

fn refused(server: &Process, name: &str) {
    let mut client = Client::greeted(server.address());
    client.expect(&format!("USER {name}"), 331);
    client.expect("PASS x", 530);
    client.expect("QUIT", 221);
}

/// RFC 2577, section 6, and common sense.
#[test]
fn secrets_are_in_no_line_at_any_level() {
    let directory = TempDir::new("secrets");
    let users = directory.join("users");
    let mut passwd = Command::new(WHARFD);
    passwd.args(["passwd", "-c", "--rounds", "1000", "--home"]);
    passwd.arg(directory.path()).arg(&users).arg("ann");
    run(&mut passwd, "hunter2-right\n");
    let mut command = common::process::wharfd();
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--print-port",
        "--log-level",
        "trace",
    ]);
    command.args(["--login-delay", "0", "--users"]).arg(&users);
    let mut server = Process::start(&mut command);
    let mut client = Client::greeted(server.address());
    for (line, code) in [
        ("USER ann", 331),
        ("PASS hunter2-wrong", 530),
        ("PASS hunter2-order", 503),
        ("pAsS hunter2-case", 503),
        ("USER ann", 331),
        ("PASS hunter2-right", 230),
        ("QUIT", 221),
    ] {
        client.expect(line, code);
    }
    client.closed();
    // Mistyped, or sent by a client that is out of step.
    for verb in [
        " PASS ", "PASS\t", "\0PASS ", "PASS:", "PASS", "XPASS ", "PAS ",
    ] {
        let mut client = Client::greeted(server.address());
        client.expect("USER ann", 331);
        client.expect(&format!("{verb}hunter2"), 500);
        client.expect("PASS hunter2-right", 230);
        let lines = ["SITE PASS ", "HELP PASS ", "CWD pass ", "SITE PSWD x "];
        for line in [verb].iter().chain(&lines) {
            client.cmd(&format!("{line}hunter2"));
        }
        client.expect("QUIT", 221);
    }
    server.signal("TERM");
    server.wait();
    let log = server.log.all();
    assert!(log.contains("PASS"), "{log}");
    assert!(log.contains("an unknown command: ***"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    let hash = text(&users);
    assert!(!log.contains(hash.split(':').nth(1).unwrap()), "{log}");
}

#[test]
fn syslogd_gets_the_lines_also_when_it_was_started_again() {
    let Some(directory) = place("syslog", &["unshare", "busybox", "fail2ban-regex"]) else {
        return;
    };
    let messages = directory.join("messages");
    // /dev is replaced, for syslogd binds /dev/log.
    let script = "for name in null zero random urandom; do \
                    : >dev/$name && mount --bind /dev/$name dev/$name || exit 1; done; \
                  mount --rbind dev /dev || exit 1; \
                  (while :; do busybox syslogd -n -O \"$1/messages\"; done) & \
                  tries=0; until [ -S /dev/log ]; do \
                    tries=$((tries + 1)); [ $tries -lt 200 ] || exit 1; sleep 0.1; done; \
                  shift; exec \"$@\"";
    let mut command = apart(&directory, script);
    command.args([
        WHARFD,
        "--syslog",
        "--listen",
        "127.0.0.1:0",
        "--print-port",
    ]);
    command.args(["--login-delay", "0", "--node-name", "web1", "root"]);
    let server = Process::start(&mut command);
    refused(&server, "ann");
    let has_line = |words: &str| soon(|| text(&messages).contains(words));
    assert!(has_line("login refused: user \"ann\" from 127.0.0.1 (ftp)"));
    // Who, whence and how important stand in syslog's own places.
    let line = text(&messages);
    let line = line.lines().find(|line| line.contains("refused")).unwrap();
    assert!(line.contains(" ftp.warn wharfd["), "{line}");
    assert!(line.contains("]: web1 session "), "{line}");
    // A name forges no line.
    refused(&server, "a\\r\\nb");
    // Another syslogd takes the place of the first, and is found.
    let own = messages.to_str().unwrap();
    let first = process_with(&["syslogd", own]).unwrap();
    signal_to(first, "KILL");
    assert!(soon(
        || process_with(&["syslogd", own]).is_some_and(|pid| pid != first)
    ));
    // What is said before it listens is lost.
    assert!(soon(|| {
        refused(&server, "bob");
        text(&messages).contains("\"bob\"")
    }));
    let mut filter = program("fail2ban-regex");
    filter
        .arg(&messages)
        .arg(contrib("fail2ban/filter.d/wharfd.conf"));
    let said = run(&mut filter, "");
    let lines = text(&messages);
    let count = lines
        .lines()
        .filter(|line| line.contains("refused"))
        .count();
    assert!(
        said.contains(&format!("Failregex: {count} total")),
        "{said}\n{lines}"
    );
}

#[test]
fn logrotate_takes_the_logs_away_and_nothing_is_lost() {
    let Some(directory) = place("logrotate", &["unshare", "nsenter", "logrotate"]) else {
        return;
    };
    std::fs::create_dir(directory.join("log/wharf")).unwrap();
    let mut command = apart(&directory, "shift; mount -t proc proc /proc && exec \"$@\"");
    command.args([WHARFD, "--listen", "127.0.0.1:0", "--print-port", "root"]);
    command.args([
        "--log-file",
        "/var/log/wharf/wharfd.log",
        "--pid-file",
        "/run/wharfd.pid",
    ]);
    command.args(["--transfer-log", "/var/log/wharf/transfers.log"]);
    if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        // The logs are root's, and the server is not.
        command.args(["--user", "nobody"]);
    }
    let server = Process::start(&mut command);
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    assert_eq!(client.fetch("RETR file"), b"content");
    let log = directory.join("log/wharf");
    let old = ["wharfd.log.1", "transfers.log.1"].map(|name| log.join(name));
    let new = ["wharfd.log", "transfers.log"].map(|name| log.join(name));
    let session = "anonymous from 127.0.0.1 logged in";
    assert!(soon(|| text(&new[0]).contains(session)));
    assert!(soon(|| text(&new[1]).contains("file")));
    // logrotate takes rules from root alone, and not from everybody's directory.
    let rules = directory.join("rules");
    // The user whom the package makes need not be here.
    let installed = text(&contrib("logrotate/wharfd"));
    assert!(installed.contains("    su wharf wharf\n"));
    std::fs::write(&rules, installed.replace("su wharf wharf", "su root root")).unwrap();
    std::fs::set_permissions(&rules, PermissionsExt::from_mode(0o644)).unwrap();
    let target = child_of(server.pid()).unwrap().to_string();
    let mut rotate = Command::new("nsenter");
    rotate.args([
        "--target",
        &target,
        "--mount",
        "--pid",
        "logrotate",
        "--force",
        "--state",
    ]);
    rotate.arg(directory.join("state")).arg(&rules);
    run(&mut rotate, "");
    // The session goes on, and what happens now stands in the new files.
    assert!(soon(|| {
        assert_eq!(client.fetch("RETR file"), b"content");
        text(&new[1]).contains("file")
    }));
    Client::greeted(server.address()).login("anonymous", "x@");
    assert!(soon(|| text(&new[0]).contains(session)));
    assert!(text(&old[0]).contains(session));
    assert!(text(&old[1]).contains("file"));
    client.expect("QUIT", 221);
}

/// The first child of a process: what `unshare --fork` has started.
fn child_of(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// What systemd says about standard error.
#[derive(PartialEq)]
enum Journal {
    IsIt,
    IsAnother,
}

/// wharfd whose standard error goes where nobody reads yet.
fn unread(
    journal: Journal,
    arguments: &[&str],
    directory: &Path,
) -> (Process, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = common::process::wharfd();
    let own = rustix::fs::fstat(&writer).unwrap();
    let inode = own.st_ino + u64::from(journal == Journal::IsAnother);
    command.env("JOURNAL_STREAM", format!("{}:{inode}", own.st_dev));
    command
        .args(["--listen=127.0.0.1:0", "--print-port", "--login-delay=0"])
        .args(["--drain-seconds=1", "--log-level=debug"])
        .args(arguments)
        .arg(directory);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(writer)
        .spawn()
        .unwrap();
    let out = Lines::of(child.stdout.take().unwrap());
    let log = Lines::default();
    (Process { child, out, log }, reader)
}

/// Logs some 200 KB at level debug, more than a pipe takes.
fn talk(server: &Process) {
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    let long = "x".repeat(200);
    for _ in 0..500 {
        client.expect(&format!("SIZE {long}"), 550);
    }
    client.expect("QUIT", 221);
}

/// SIGTERM does not wait for the log.
fn ends_soon(server: &mut Process) {
    let before = Instant::now();
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(before.elapsed() < Duration::from_secs(10));
}

#[test]
fn the_journal_gets_priorities_and_fail2ban_reads_it() {
    if !has("fail2ban-regex") {
        return;
    }
    let directory = TempDir::new("logs");
    for format in ["text", "json"] {
        let arguments = ["--log-format", format, "--node-name=web1", "--ban-after=0"];
        let (mut server, reader) = unread(Journal::IsIt, &arguments, directory.path());
        let log = Lines::of(reader);
        for name in [
            "ann",
            "{\"",
            "<4>login refused: user \"a\" from 192.0.2.1 (ftp): ",
        ] {
            refused(&server, name);
        }
        ends_soon(&mut server);
        // What fail2ban's journal backend makes of them: the time, which it
        // knows from the journal, host, name, number and the message without
        // its priority.
        let mut lines = String::new();
        for line in log.all().lines() {
            let (priority, message) = line.split_at(3);
            assert!(["<4>", "<6>", "<7>"].contains(&priority), "{line}");
            assert!(
                priority != "<4>" || message.contains("login refused: user"),
                "{line}"
            );
            let start = if format == "text" {
                "web1 "
            } else {
                "{\"time\":"
            };
            assert!(message.starts_with(start), "{line}");
            lines += &format!("2026-11-30T10:00:00Z host wharfd[7]: {message}\n");
        }
        let journal = directory.join(format);
        std::fs::write(&journal, lines).unwrap();
        let mut filter = program("fail2ban-regex");
        let rules = contrib("fail2ban/filter.d/wharfd.conf");
        let said = run(filter.arg("-v").arg(&journal).arg(rules), "");
        assert!(said.contains("Failregex: 3 total"), "{format}: {said}");
        assert!(!said.contains("|      192.0.2."), "{said}");
    }
}

#[test]
fn a_pipe_that_nobody_reads_stops_no_session_and_not_the_end() {
    let directory = TempDir::new("logs");
    let (mut server, _reader) = unread(Journal::IsAnother, &[], directory.path());
    for _ in 0..6 {
        talk(&server);
    }
    ends_soon(&mut server);
}

#[test]
fn a_pipe_that_flows_again_tells_what_was_lost() {
    let directory = TempDir::new("logs");
    let (mut server, reader) = unread(Journal::IsAnother, &[], directory.path());
    for _ in 0..6 {
        talk(&server);
    }
    let log = Lines::of(reader);
    let lost = log.wait_for(" lines of this log are lost");
    assert!(lost.contains(" WARN "), "{lost}");
    // Every line is whole, and new ones come through.
    Client::greeted(server.address()).expect("NOOP", 200);
    log.wait_for("session 7: NOOP");
    ends_soon(&mut server);
    for line in log.all().lines() {
        assert!(line.starts_with("20"), "{line}");
    }
}

/// A named pipe that is open for reading and never read: its writer hangs, as
/// that of a file on a dead file server does.
fn hung(directory: &TempDir, name: &str) -> (PathBuf, std::fs::File) {
    let path = directory.join(name);
    run(Command::new("mkfifo").arg(&path), "");
    let mut both = std::fs::File::options();
    let file = both.read(true).write(true).open(&path).unwrap();
    // A pipe of one page is full at once.
    rustix::pipe::fcntl_setpipe_size(&file, 4096).unwrap();
    (path, file)
}

#[test]
fn files_that_hang_stop_no_session_and_not_the_end() {
    let directory = TempDir::new("logs");
    std::fs::create_dir(directory.join("root")).unwrap();
    std::fs::write(directory.join("root/file"), "content").unwrap();
    let (log, _log) = hung(&directory, "log");
    let (transfers, _transfers) = hung(&directory, "transfers");
    let mut command = common::process::wharfd();
    command.args(["--listen=127.0.0.1:0", "--print-port", "--drain-seconds=1"]);
    command.args(["--log-level=debug", "--log-file"]).arg(&log);
    command.arg("--transfer-log").arg(&transfers);
    let mut server = Process::start(command.arg(directory.join("root")));
    for _ in 0..2 {
        talk(&server);
    }
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    let before = Instant::now();
    for _ in 0..100 {
        assert_eq!(client.fetch("RETR file"), b"content");
    }
    // One of them waited for two seconds, and not all.
    assert!(before.elapsed() < Duration::from_secs(15));
    server.signal("HUP");
    client.expect("NOOP", 200);
    ends_soon(&mut server);
}

#[test]
fn a_syslogd_that_hangs_stops_no_session_and_not_the_end() {
    let Some(directory) = place("hung-syslog", &["unshare"]) else {
        return;
    };
    // Takes a few datagrams and reads none.
    let _syslogd = std::os::unix::net::UnixDatagram::bind(directory.join("dev/log")).unwrap();
    let script = "for name in null zero random urandom; do \
                    : >dev/$name && mount --bind /dev/$name dev/$name || exit 1; done; \
                  mount --rbind dev /dev || exit 1; shift; exec \"$@\"";
    let mut command = apart(&directory, script);
    command.args([WHARFD, "--syslog", "--listen=127.0.0.1:0", "--print-port"]);
    command.args(["--login-delay=0", "--log-level=debug", "root"]);
    let server = Process::start(&mut command);
    let before = Instant::now();
    for _ in 0..3 {
        talk(&server);
    }
    assert!(before.elapsed() < Duration::from_secs(20));
    signal_to(child_of(server.pid()).unwrap(), "TERM");
    let mut server = server;
    server.wait();
}

#[test]
fn a_transfer_log_on_a_full_disk_has_whole_lines_and_what_is_missing_is_told() {
    let Some(directory) = place("full", &["unshare"]) else {
        return;
    };
    // Two pages, one of which is somebody else's.
    let script = "mount -t tmpfs -o size=8k none /var/log && \
                  head -c 4096 /dev/zero >/var/log/other && shift && exec \"$@\"";
    let mut command = apart(&directory, script);
    command.args([WHARFD, "--listen=127.0.0.1:0", "--print-port", "root"]);
    command.args(["--transfer-log", "/var/log/transfers"]);
    let server = Process::start(&mut command);
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    let path = format!("/proc/{}/root/var/log/", child_of(server.pid()).unwrap());
    let log = Path::new(&path).join("transfers");
    let mut fetch = |times: u32| {
        for _ in 0..times {
            assert_eq!(client.fetch("RETR file"), b"content");
        }
    };
    fetch(200);
    let failed = server
        .log
        .wait_for("writing the transfer log /var/log/transfers: ");
    assert!(failed.contains(" ERROR "), "{failed}");
    let whole = |line: &str| line.ends_with(" /file a _ o a anonymous ftp 0 * c");
    let before = text(&log);
    let count = before.lines().count();
    assert!(
        before.ends_with('\n') && before.lines().all(whole),
        "{before}"
    );
    assert!((20..100).contains(&count), "{count}");
    std::fs::remove_file(Path::new(&path).join("other")).unwrap();
    fetch(1);
    let told = server.log.wait_for("can be written again");
    let lost = format!("; {} lines are lost", 200 - count);
    assert!(told.contains(&lost), "{told}");
    let after = text(&log);
    assert_eq!(after.lines().count(), count + 1);
    assert!(after.lines().all(whole), "{after}");
}

/// The user has the right password; only the administrator can help.
#[test]
fn a_missing_home_is_named_and_is_no_failed_login() {
    let directory = TempDir::new("home");
    let (users, home) = (directory.join("users"), directory.join("home"));
    std::fs::create_dir(&home).unwrap();
    common::process::add_user(&users, "ann", &home, &[]);
    std::fs::remove_dir(&home).unwrap();
    let server = Process::for_users(&users, &["--login-tries=1"]);
    for _ in 0..2 {
        let mut client = Client::greeted(server.address());
        client.expect("USER ann", 331);
        let reply = client.expect("PASS secret", 530);
        assert_eq!(reply.text(), "Your home directory is missing.");
    }
    let line = server.log.wait_for("ann can't log in");
    let named = line.contains(home.to_str().unwrap()) && line.contains("create-home=yes");
    assert!(line.contains(" WARN ") && named, "{line}");
}
