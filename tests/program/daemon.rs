//! The program as a daemon: logs, background, signals under load, and what
//! service managers ask for.
#![cfg(feature = "cli")]

use crate::common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};

use common::client::{DEADLINE, Data};
use common::process::{Process, WHARFD, add_user, attempt, has, signal_to, soon, wharfd};
use common::{Client, TempDir};

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_log_file_is_opened_again_on_hup_and_sessions_go_on() {
    let directory = TempDir::new("daemon");
    let log = directory.path().join("log");
    let transfers = directory.path().join("transfers");
    let root = directory.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("file"), "content").unwrap();
    let server = Process::serve(
        &root,
        &[
            "--log-file",
            log.to_str().unwrap(),
            "--transfer-log",
            transfers.to_str().unwrap(),
            "--node-name",
            "web1",
        ],
    );
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    assert_eq!(client.fetch("RETR file"), b"content");
    let old = [&log, &transfers].map(|path| path.with_extension("old"));
    std::fs::rename(&log, &old[0]).unwrap();
    std::fs::rename(&transfers, &old[1]).unwrap();
    server.signal("HUP");
    assert!(soon(|| log.exists() && transfers.exists()));
    assert_eq!(client.fetch("RETR file"), b"content");
    client.expect("QUIT", 221);
    assert!(soon(|| read(&log).contains("ended")));
    for path in [&log, &old[0]] {
        for line in read(path).lines() {
            assert!(line.contains(" web1 "), "{line}");
        }
    }
    assert!(read(&old[0]).contains("session 1: anonymous from 127.0.0.1 logged in"));
    assert_eq!(read(&old[1]).lines().count(), 1);
    assert_eq!(read(&transfers).lines().count(), 1);
    let mode = std::fs::metadata(&log).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640 & mode);
}

#[test]
fn json_lines_hold_whatever_a_name_holds() {
    let directory = TempDir::new("daemon");
    let server = Process::serve(
        directory.path(),
        &["--log-format", "json", "--login-delay", "0"],
    );
    let mut client = Client::greeted(server.address());
    client.expect("USER \"\\\u{85}\u{1}", 331);
    client.expect("PASS secret-word", 530);
    let line = server.log.wait_for("login refused");
    assert!(
        line.starts_with("{\"time\":\"20") && line.ends_with("\"}"),
        "{line}"
    );
    let fields = "\"level\":\"warn\",\"session\":1,\"address\":\"127.0.0.1\",\"protocol\":\"ftp\",";
    assert!(line.contains(fields), "{line}");
    let name = "user \\\"\\\\\\\"\\\\\\\\\\\\u{85}\\\\x01\\\" from 127.0.0.1 (ftp): ";
    assert!(line.contains(name), "{line}");
    assert!(!server.log.text().contains("secret-word"));
    std::fs::write(directory.join("file"), "content").unwrap();
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    assert_eq!(client.fetch("RETR file"), b"content");
    client.expect("QUIT", 221);
    let who =
        "\"session\":2,\"user\":\"anonymous\",\"address\":\"127.0.0.1\",\"protocol\":\"ftp\",";
    for (word, fields) in [
        (
            "sent /file",
            "\"path\":\"/file\",\"bytes\":7,\"complete\":true,\"data_tls\":\"none\",",
        ),
        ("logged in", "\"encrypted\":false,"),
        ("\"ended\"", ""),
    ] {
        let line = server.log.wait_for(word);
        assert!(
            line.contains(&format!("{who}{fields}\"message\":")),
            "{line}"
        );
    }
}

#[test]
fn the_daemon_lets_go_of_the_terminal_when_it_serves() {
    let directory = TempDir::new("daemon");
    let pid_file = directory.path().join("pid");
    let log = directory.path().join("log");
    let arguments = [
        "--daemon",
        "--listen",
        "127.0.0.1:0",
        "--print-port",
        "--log-file",
        log.to_str().unwrap(),
        "--pid-file",
        pid_file.to_str().unwrap(),
    ];
    let mut command = wharfd();
    command.args(arguments).arg(directory.path());
    let mut parent = Process::start(&mut command);
    assert_eq!(parent.wait().code(), Some(0));
    // The daemon holds neither of the pipes, or there would be no end.
    let address: SocketAddr = parent.out.all().trim().parse().unwrap();
    parent.log.all();
    let pid: u32 = read(&pid_file).trim().parse().unwrap();
    let stat = read(Path::new(&format!("/proc/{pid}/stat")));
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    assert_eq!(fields[3], pid.to_string(), "a session of its own: {stat}");
    assert_eq!(fields[4], "0", "no terminal: {stat}");
    Client::greeted(address).expect("QUIT", 221);

    // A second one with the same file, and one that can't bind, say so.
    let taken = address.to_string();
    for (more, code) in [
        (vec!["--pid-file", pid_file.to_str().unwrap()], 111),
        (vec!["--listen", &taken], 111),
        (vec!["--bogus"], 100),
    ] {
        let mut command = wharfd();
        command.args(["--daemon", "--log-file", log.to_str().unwrap()]);
        command.args(&more).arg(directory.path());
        if !more.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut other = Process::start(&mut command);
        assert_eq!(other.wait().code(), Some(code), "{more:?}");
        assert!(!other.log.all().is_empty());
    }
    signal_to(pid, "TERM");
    assert!(soon(|| !pid_file.exists()), "the pid file goes with it");
}

/// Starts `count` downloads and `count` uploads that stand in the middle, and
/// yields what ends each and says whether it was whole.
fn in_flight(address: SocketAddr, root: &Path, count: usize) -> Vec<Box<dyn FnOnce() + Send>> {
    let content: Vec<u8> = (0..4_000_000u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let content = Arc::new(content);
    std::fs::write(root.join("big"), &*content).unwrap();
    let mut rest: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for number in 0..count {
        let mut client = Client::greeted(address);
        client.login("anonymous", "x@");
        client.expect("TYPE I", 200);
        let mut data: Data = client.data();
        client.send("RETR big");
        client.wait_for(150);
        let mut begin = [0; 1000];
        data.0.read_exact(&mut begin).unwrap();
        let whole = Arc::clone(&content);
        rest.push(Box::new(move || {
            let mut got = begin.to_vec();
            got.extend(data.rest());
            assert!(got == *whole, "download {number}");
            client.wait_for(226);
        }));
    }
    for number in 0..count {
        let mut client = Client::greeted(address);
        client.login("anonymous", "x@");
        client.expect("TYPE I", 200);
        let mut data: Data = client.data();
        client.send(&format!("STOR up{number}"));
        client.wait_for(150);
        let (whole, path) = (Arc::clone(&content), root.join(format!("up{number}")));
        data.0.write_all(&whole[..1_000_000]).unwrap();
        rest.push(Box::new(move || {
            data.send(&whole[1_000_000..]);
            drop(data);
            client.wait_for(226);
            assert!(std::fs::read(path).unwrap() == *whole, "upload {number}");
        }));
    }
    rest
}

fn busy_server(root: &Path) -> Process {
    Process::serve(
        root,
        &[
            "--anonymous-rights",
            "elradfmw",
            "--max-per-address",
            "0",
            "--max-unauthenticated-per-address",
            "0",
            "--log-level",
            "warn",
        ],
    )
}

fn finish(rest: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = rest.into_iter().map(std::thread::spawn).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_hundred_transfers_survive_hup() {
    let root = TempDir::new("daemon");
    let server = busy_server(root.path());
    let rest = in_flight(server.address(), root.path(), 50);
    let begun = Arc::new(Barrier::new(2));
    let (pid, other) = (server.pid(), Arc::clone(&begun));
    let hups = std::thread::spawn(move || {
        other.wait();
        for _ in 0..20 {
            signal_to(pid, "HUP");
        }
    });
    begun.wait();
    finish(rest);
    hups.join().unwrap();
    Client::greeted(server.address()).expect("QUIT", 221);
    assert_eq!(server.log.text(), "");
}

#[test]
fn a_hundred_transfers_survive_term_and_nobody_new_gets_in() {
    let root = TempDir::new("daemon");
    let mut server = busy_server(root.path());
    let address = server.address();
    let rest = in_flight(address, root.path(), 50);
    let mut idle = Client::greeted(address);
    server.signal("TERM");
    idle.wait_for(421);
    let mut new = Client::connect(address);
    new.wait_for(421);
    new.closed();
    finish(rest);
    assert_eq!(server.wait().code(), Some(0));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_second_term_ends_at_once() {
    let root = TempDir::new("daemon");
    let mut server = busy_server(root.path());
    let rest = in_flight(server.address(), root.path(), 1);
    let mut idle = Client::greeted(server.address());
    server.signal("TERM");
    // The signal has arrived when the idle session hears of it.
    idle.wait_for(421);
    Client::connect(server.address()).wait_for(421);
    assert!(server.child.try_wait().unwrap().is_none());
    server.signal("TERM");
    server.wait();
    drop(rest);
}

#[test]
fn drain_seconds_bound_the_wait() {
    let root = TempDir::new("daemon");
    let mut command = wharfd();
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--print-port",
        "--drain-seconds",
        "0.2",
    ]);
    command
        .args(["--anonymous-rights", "elradfmw"])
        .arg(root.path());
    let mut server = Process::start(&mut command);
    let rest = in_flight(server.address(), root.path(), 1);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    drop(rest);
}

#[test]
fn a_service_manager_hears_how_it_is() {
    let directory = TempDir::new("daemon");
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let hear = || {
        let mut buffer = [0; 1000];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let hear_word = |word: &str| loop {
        let text = hear();
        if text.contains(word) {
            return text;
        }
    };
    let mut command = wharfd();
    command
        .args(["--listen", "127.0.0.1:0"])
        .arg(directory.path())
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000");
    let mut server = Process::start(&mut command);
    assert!(hear().contains("READY=1\n"));
    hear_word("WATCHDOG=1");
    assert!(hear_word("STATUS=0 sessions").contains("0 transfers"));
    server.signal("HUP");
    let text = hear_word("RELOADING=1");
    assert!(text.contains("MONOTONIC_USEC="), "{text}");
    hear_word("READY=1");
    server.signal("TERM");
    hear_word("STOPPING=1");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn users_and_limits_are_read_again_on_hup() {
    let directory = TempDir::new("daemon");
    let config = directory.path().join("wharfd.conf");
    std::fs::write(&config, "banner one\n").unwrap();
    let config_text = config.to_str().unwrap();
    let server = Process::serve(directory.path(), &["--config", config_text]);
    let greeting = || {
        let mut client = Client::connect(server.address());
        client.wait_for(220).text().to_owned()
    };
    assert_eq!(greeting(), "one");
    std::fs::write(&config, "banner two\n").unwrap();
    server.signal("HUP");
    assert!(soon(|| greeting() == "two"));
    std::fs::write(&config, "baner three\n").unwrap();
    server.signal("HUP");
    let line = server.log.wait_for("did you mean 'banner'");
    assert!(
        line.contains("ERROR") && line.contains("wharfd.conf:1"),
        "{line}"
    );
    assert_eq!(greeting(), "two");
}

#[test]
fn networks_of_a_user_hold_for_that_user() {
    let directory = TempDir::new("daemon");
    let users = directory.path().join("users");
    for (name, options) in [
        ("near", "allow=127.0.0.2/31"),
        ("far", "deny=127.0.0.0/30"),
        ("both", "allow=127.0.0.0/8,deny=127.0.0.2"),
    ] {
        add_user(&users, name, Path::new("/"), &["--options", options]);
    }
    let server = Process::for_users(&users, &[]);
    for (name, from, code) in [
        ("near", "127.0.0.1", 530),
        ("near", "127.0.0.2", 230),
        ("near", "127.0.0.3", 230),
        ("near", "127.0.0.4", 530),
        ("far", "127.0.0.1", 530),
        ("far", "127.0.0.4", 230),
        ("both", "127.0.0.1", 230),
        ("both", "127.0.0.2", 530),
    ] {
        let mut client = Client::connect_from(from.parse().unwrap(), server.address());
        client.wait_for(220);
        client.expect(&format!("USER {name}"), 331);
        assert_eq!(client.cmd("PASS secret").code, code, "{name} from {from}");
    }
    // The reason is for the log alone.
    server
        .log
        .wait_for("the address is not allowed to the user");
    server.log.wait_for("the address is denied to the user");
}

/// A server whose descriptors are short lets clients wait in the kernel, says so
/// once, and serves those who are inside; as soon as some leave, others come in.
#[test]
fn a_full_table_of_descriptors_pauses_accepting() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let directory = TempDir::new("table");
    std::fs::write(directory.join("f"), b"content").unwrap();
    let server = Process::start(
        wharfd()
            .args([
                "--listen",
                "127.0.0.1:0",
                "--print-port",
                "--max-per-address",
                "100",
            ])
            .args(["--max-unauthenticated-per-address", "100"])
            .arg(directory.path()),
    );
    let address = server.address();
    let mut inside = vec![Client::greeted(address)];
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let limit = Rlimit {
        current: Some(open.count() as u64 + 44),
        maximum: rustix::process::getrlimit(Resource::Nofile).maximum,
    };
    let pid = Pid::from_raw(server.pid() as i32);
    prlimit(pid, Resource::Nofile, limit).unwrap();
    let mut outside: Vec<TcpStream> = Vec::new();
    for _ in 0..60 {
        let stream = TcpStream::connect(address).unwrap();
        let wait = if outside.is_empty() { 2000 } else { 1 };
        let wait = std::time::Duration::from_millis(wait);
        stream.set_read_timeout(Some(wait)).unwrap();
        match stream.peek(&mut [0]) {
            Ok(_) => {
                assert!(outside.is_empty(), "one comes in before another who waits");
                let mut client = Client::over(stream, address);
                client.wait_for(220);
                inside.push(client);
            }
            Err(_) => outside.push(stream),
        }
    }
    assert!(inside.len() > 5 && outside.len() > 20, "{}", outside.len());
    for client in &mut inside[..5] {
        client.login("anonymous", "me@");
        client.expect("TYPE I", 200);
        assert_eq!(client.fetch("RETR f"), b"content");
    }
    assert_eq!(server.log.text().matches("too many open files").count(), 1);
    inside.truncate(1);
    Client::over(outside.remove(0), address).wait_for(220);
}

#[test]
fn too_few_open_files_are_named() {
    let directory = TempDir::new("daemon");
    let limit = "ulimit -n 80 && exec \"$0\" --listen 127.0.0.1:0 --threads 20 \"$1\"";
    let mut command = std::process::Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--clear-groups", "sh", "-c", limit])
        .args([common::process::WHARFD, "/"])
        .stdout(Stdio::null());
    // Only without privileges the limit holds; without setpriv, see elsewhere.
    if !common::process::has("setpriv") || !is_reachable_for_nobody(directory.path()) {
        return;
    }
    let mut server = Process::start(&mut command);
    let code = server.wait().code();
    let text = server.log.all();
    assert_eq!(code, Some(100), "{text}");
    assert!(
        text.contains("threads 20 need 124 open files and the limit is 80"),
        "{text}"
    );
}

/// A build under a home that others can't enter can't be started by others.
fn is_reachable_for_nobody(_: &Path) -> bool {
    let own = std::fs::metadata("/proc/self").is_ok_and(|proc| {
        use std::os::unix::fs::MetadataExt;
        proc.uid() == 0
    });
    own && std::process::Command::new("setpriv")
        .args(["--reuid", "65534", "--clear-groups"])
        .args([common::process::WHARFD, "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}

#[test]
fn exit_codes_tell_wrong_use_from_bad_luck() {
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = bound.local_addr().unwrap().to_string();
    for (arguments, code) in [
        (&["--version"][..], 0),
        (&["--help"], 0),
        (&["--bogus"], 100),
        (&["--log-level", "loud", "/"], 100),
        (&["--log-file", "/nonexistent/log", "/"], 100),
        (&["--listen", "127.0.0.1:0"], 100),
        (&["--listen", &taken, "/"], 111),
    ] {
        let mut server = Process::start(wharfd().args(arguments));
        assert_eq!(server.wait().code(), Some(code), "{arguments:?}");
    }
}

/// DHCP, VPN, VRRP.
#[test]
fn an_address_that_comes_later_is_served_then() {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root
        || !["unshare", "nsenter", "ip", "curl"]
            .iter()
            .all(|name| has(name))
    {
        eprintln!("SKIP: needs root and network namespaces");
        return;
    }
    let directory = TempDir::new("daemon");
    let script = "ip link set lo up && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", script, "sh", WHARFD, "--print-port"]);
    command.args(["--listen=127.0.0.1:2121", "--listen=192.0.2.1:2121"]);
    command.args(["--listen=[2001:db8::1]:2121"]);
    let server = Process::start(command.arg(directory.path()));
    server.addresses(3);
    for address in ["192.0.2.1:2121", "[2001:db8::1]:2121"] {
        let line = server.log.wait_for(&format!("listening on {address}: "));
        assert!(line.contains(" WARN "), "{line}");
    }
    let inside = |words: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &server.pid().to_string(), "--net"]);
        attempt(command.args(words), "")
    };
    let get = |host: &str| inside(&["curl", "-sS", "-m", "10", &format!("ftp://{host}:2121/")]);
    assert!(get("127.0.0.1").0);
    assert!(!get("192.0.2.1").0);
    for address in ["192.0.2.1/32", "2001:db8::1/128"] {
        let (added, said) = inside(&["ip", "address", "add", address, "dev", "lo"]);
        assert!(added, "{said}");
    }
    for host in ["192.0.2.1", "[2001:db8::1]"] {
        assert!(soon(|| get(host).0), "{host}");
    }
}
