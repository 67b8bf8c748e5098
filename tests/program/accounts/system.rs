//! `--system-users`.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use super::common::Client;
use super::common::process::{Process, descendants, has, on_connection, program, run, soon, wait};
use super::etc::{ANN, ANNS, Etc, STAFF, threads, worker};

/// ann's home, as she sees and changes it.
fn at_home(client: &mut Client, etc: &Etc) {
    assert!(client.expect("PWD", 257).text().starts_with("\"/\" "));
    client.expect("CWD ..", 250);
    assert_eq!(client.fetch("RETR staffs"), b"staffs");
    client.data();
    client.expect("RETR roots", 550);
    assert_eq!(client.store("STOR mine", b"x").code, 226);
    let metadata = std::fs::metadata(etc.home("ann").join("mine")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (ANN, ANNS));
    client.expect("MKD below", 257);
    client.expect("RNFR mine", 350);
    client.expect("RNTO below/mine", 250);
    client.expect("DELE below/mine", 250);
    client.expect("RMD below", 250);
    // A link out of the home leads nowhere.
    let link = etc.home("ann").join("out");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink("/etc", link).unwrap();
    client.expect("CWD out", 550);
}

/// Nothing in a process can become more than it is.
fn is_shut_in(pid: u32) {
    for (field, want) in [
        ("CapPrm:", "0000000000000000"),
        ("CapEff:", "0000000000000000"),
        ("CapInh:", "0000000000000000"),
        ("CapAmb:", "0000000000000000"),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
    ] {
        let threads = threads(pid, field);
        assert!(
            threads.iter().all(|value| value == &[want]),
            "{field} {threads:?}"
        );
    }
}

#[test]
fn they_work_in_their_homes_as_themselves() {
    let Some(etc) = Etc::new("system-users") else {
        return;
    };
    let server = etc.serve(&["--system-users", "--threads", "2"]);
    let hers = ANN.to_string();
    for _ in 0..2 {
        let mut client = Client::greeted(server.address());
        client.login("ann", "secret");
        // The server is nobody, and so is each of its threads.
        let uids = threads(server.pid(), "Uid:");
        assert!(uids.iter().flatten().all(|uid| uid == "65534"), "{uids:?}");
        is_shut_in(server.pid());
        // Her worker is she, groups included.
        let worker = worker(server.pid(), ANN).unwrap();
        assert!(
            threads(worker, "Uid:")
                .iter()
                .flatten()
                .all(|uid| *uid == hers)
        );
        let groups = threads(worker, "Groups:");
        assert_eq!(groups[0], [ANNS.to_string(), STAFF.to_string()]);
        is_shut_in(worker);
        at_home(&mut client, &etc);
        client.expect("QUIT", 221);
        client.closed();
    }
    // Both sessions had one worker, which does not stay for ever.
    let theirs = || {
        let all = descendants(server.pid()).into_iter();
        all.filter(|pid| {
            threads(*pid, "Uid:")
                .first()
                .is_some_and(|uids| uids[1] == hers)
        })
        .count()
    };
    assert_eq!(theirs(), 1);
    assert!(soon(|| theirs() == 0));
}

/// A worker that dies takes its user's sessions with it, and nothing else.
#[test]
fn a_worker_that_dies_is_an_error_of_its_sessions() {
    let Some(etc) = Etc::new("system-dies") else {
        return;
    };
    let server = etc.serve(&["--system-users"]);
    let mut client = Client::greeted(server.address());
    client.login("ann", "secret");
    let worker = worker(server.pid(), ANN).unwrap();
    let kill = Command::new("kill")
        .args(["-KILL", &worker.to_string()])
        .status();
    assert!(kill.unwrap().success());
    server
        .log
        .wait_for("the worker process of uid 4711 has ended: signal: 9");
    client.expect("SIZE staffs", 451);
    // The next login has another one.
    let mut next = Client::greeted(server.address());
    next.login("ann", "secret");
    at_home(&mut next, &etc);
    client.expect("QUIT", 221);
}

#[test]
fn who_guesses_is_slowed_by_the_monitor_too() {
    let Some(etc) = Etc::new("system-guesses") else {
        return;
    };
    let server = etc.serve(&["--system-users", "--ban-after", "0"]);
    let mut client = Client::greeted(server.address());
    let mut guess = || {
        let start = Instant::now();
        client.expect("USER ann", 331);
        client.expect("PASS wrong", 530);
        start.elapsed()
    };
    for _ in 0..10 {
        guess();
    }
    assert!(guess() >= Duration::from_secs(1));
}

#[test]
fn who_may_not_log_in_may_not() {
    let Some(etc) = Etc::new("system-refused") else {
        return;
    };
    let server = etc.serve(&["--system-users"]);
    let mut client = Client::greeted(server.address());
    let mut refused = |name: &str, password: &str, why: &str| {
        client.expect(&format!("USER {name}"), 331);
        client.expect(&format!("PASS {password}"), 530);
        let line = server.log.wait_for(&format!("user \"{name}\" from"));
        let _ = line;
        server.log.wait_for(why);
    };
    refused("root", "secret", "root may not log in");
    refused("daemon", "secret", "shell is not in the shells file");
    refused("listed", "secret", "in the ftpusers file");
    refused("locked", "secret", "locked");
    refused("ann", "wrong", "wrong secret");
    refused("nobody", "secret", "no such user");
    // The files are read at each login.
    etc.write("nologin", "");
    refused("ann", "secret", "nologin file");
    std::fs::remove_file(etc.0.join("etc/nologin")).unwrap();
    etc.write("ftpusers", "listed\nann\n");
    refused("ann", "secret", "in the ftpusers file");
    etc.write("ftpusers", "");
    client.login("ann", "secret");
}

#[test]
fn their_rights_are_a_setting() {
    let Some(etc) = Etc::new("system-rights") else {
        return;
    };
    let server = etc.serve(&["--system-users", "--system-rights", "read-only"]);
    let mut client = Client::greeted(server.address());
    client.login("ann", "secret");
    assert_eq!(client.fetch("RETR staffs"), b"staffs");
    client.expect("MKD below", 550);
    client.data();
    client.expect("STOR mine", 550);
}

#[test]
fn under_inetd_the_process_becomes_the_user() {
    let Some(etc) = Etc::new("system-inetd") else {
        return;
    };
    let (mut child, mut client) = on_connection(&mut etc.wharfd(&["--inetd", "--system-users"]));
    client.login("ann", "secret");
    for uids in threads(child.id(), "Uid:") {
        assert_eq!(
            uids,
            [
                ANN.to_string(),
                ANN.to_string(),
                ANN.to_string(),
                ANN.to_string()
            ]
        );
    }
    assert!(
        threads(child.id(), "CapPrm:")
            .iter()
            .all(|sets| sets == &["0000000000000000"])
    );
    at_home(&mut client, &etc);
    client.expect("QUIT", 221);
    assert_eq!(wait(&mut child).code(), Some(0));
}

/// What the unit for users of the system leaves to root is enough.
#[test]
fn the_capabilities_of_the_unit_are_enough() {
    let Some(etc) = Etc::new("system-capabilities") else {
        return;
    };
    if !has("setpriv") {
        return;
    }
    let drop_in = include_str!("../../../contrib/systemd/system-users.conf");
    let line = drop_in
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet=CAP_"));
    let bounds = line.unwrap().to_lowercase().replace(" cap_", ",+");
    let mut command = etc.wharfd(&["--listen", "127.0.0.1:0", "--print-port"]);
    command.arg("--system-users");
    let bounds = format!("-all,+{bounds}");
    let before = ["setpriv", "--no-new-privs", "--bounding-set", &bounds];
    let before = before.map(std::ffi::OsString::from);
    let server = Process::start(&mut with_words_before_wharfd(&etc, &command, before));
    let mut client = Client::greeted(server.address());
    client.login("ann", "secret");
    at_home(&mut client, &etc);
}

/// Which process opens what: the files of the accounts are the monitor's
/// business, those of a home its user's worker's.
#[test]
fn each_process_opens_what_is_its_own() {
    let Some(etc) = Etc::new("system-trace") else {
        return;
    };
    if !has("strace") {
        return;
    }
    let mut command = etc.wharfd(&["--listen", "127.0.0.1:0", "--print-port"]);
    command.arg("--system-users");
    let trace = etc.0.join("trace");
    let words = [
        "strace",
        "-ff",
        "-qq",
        "-e",
        "trace=open,openat,openat2",
        "-o",
    ];
    let mut before: Vec<std::ffi::OsString> = words.iter().map(Into::into).collect();
    before.push(trace.clone().into());
    let server = Process::start(&mut with_words_before_wharfd(&etc, &command, before));
    let mut client = Client::greeted(server.address());
    client.login("ann", "secret");
    at_home(&mut client, &etc);
    // strace is the server's parent; the threads of a process share its trace.
    let of_thread = |thread: u32| {
        let path = format!("{}.{thread}", trace.display());
        std::fs::read_to_string(path).unwrap_or_default()
    };
    let opened = |pid: u32| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let tasks = tasks.map(|task| task.unwrap().file_name().into_string().unwrap());
        tasks
            .map(|task| of_thread(task.parse().unwrap()))
            .collect::<String>()
    };
    let has_opened = |text: &str, name: &str| {
        let mut lines = text.lines().filter(|line| line.contains(name));
        lines.any(|line| !line.contains("= -1"))
    };
    let hers = worker(server.pid(), ANN).unwrap();
    let theirs = descendants(server.pid())
        .into_iter()
        .find(|pid| threads(*pid, "Uid:").iter().all(|uids| uids[0] == "65534"))
        .unwrap();
    let (hers, theirs) = (opened(hers), opened(theirs));
    assert!(
        has_opened(&hers, "\"staffs\"") && has_opened(&hers, "\"mine\""),
        "{hers}"
    );
    assert!(!has_opened(&hers, "shadow\""), "{hers}");
    assert!(!has_opened(&theirs, "\"staffs\"") && !has_opened(&theirs, "\"mine\""));
    assert!(!has_opened(&theirs, "shadow\""), "{theirs}");
    let all = std::fs::read_dir(etc.0.path()).unwrap().flatten();
    let all = all.filter(|file| file.path().display().to_string().contains("trace."));
    let all: String = all
        .map(|file| std::fs::read_to_string(file.path()).unwrap())
        .collect();
    assert!(has_opened(&all, "\"/etc/shadow\""));
}

/// The command with other words before the program, inside of the private /etc.
fn with_words_before_wharfd(
    etc: &Etc,
    command: &Command,
    before: impl IntoIterator<Item = std::ffi::OsString>,
) -> Command {
    let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let program = words.iter().position(|word| *word == etc.0.join("wharfd"));
    let (outside, inside) = words.split_at(program.unwrap());
    let mut command = Command::new("unshare");
    command.args(outside).args(before).args(inside);
    command
}

/// Half of a small disk is reserved for root: nobody who writes is root, or may
/// take from it.
#[test]
fn blocks_that_are_reserved_stay_free() {
    let Some(etc) = Etc::new("system-reserved") else {
        return;
    };
    if !has("mkfs.ext4") {
        return;
    }
    let image = etc.0.join("image");
    let file = std::fs::File::create(&image).unwrap();
    file.set_len(16 << 20).unwrap();
    let disk = etc.home("ann").join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mut make = program("mkfs.ext4");
    make.args(["-q", "-m", "50", "-E", "root_owner=4711:4712"])
        .arg(&image);
    run(&mut make, "");
    let mut command = etc.wharfd(&["--listen", "127.0.0.1:0", "--print-port"]);
    command.arg("--system-users");
    let script = "mount -o loop \"$1\" \"$2\" || exit 77; shift 2; exec \"$@\"";
    let before = ["sh", "-c", script, "sh"].map(std::ffi::OsString::from);
    let before = before
        .into_iter()
        .chain([image.into(), disk.clone().into()]);
    let mut server = Process::start(&mut with_words_before_wharfd(&etc, &command, before));
    if !soon(|| !server.out.text().is_empty() || server.child.try_wait().unwrap().is_some())
        || server.out.text().is_empty()
    {
        assert_eq!(server.wait().code(), Some(77), "{}", server.log.text());
        eprintln!("SKIP: no loop devices");
        return;
    }
    let mut client = Client::greeted(server.address());
    client.login("ann", "secret");
    client.expect("CWD disk", 250);
    assert_eq!(client.store("STOR small", &[7; 1 << 20]).code, 226);
    let mut data = client.data();
    client.expect("STOR large", 150);
    // The server takes no more than there is room for.
    let _ = data.0.write_all(&vec![7; 12 << 20]);
    drop(data);
    client.wait_for(452);
}
