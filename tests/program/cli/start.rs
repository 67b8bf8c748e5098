//! Starts that work, starts that don't and say why, and ends by signals.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use super::common::client::Data;
use super::common::process::{Process, WHARFD, has, wharfd};
use super::common::{Client, TempDir};
use super::{run, wharfd_with};

#[test]
fn a_port_that_is_taken_is_111() {
    let directory = TempDir::new("cli");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let (code, _, err) = run(wharfd().args(["--listen", &listen]).arg(directory.path()));
    assert_eq!(code, 111);
    assert!(
        err.contains(&listen) && err.contains("another program"),
        "{err}"
    );
}

/// What is wrong at a start, the exit code, and the words that say what to do.
#[test]
fn what_stops_a_start_says_what_to_do() {
    let directory = TempDir::new("cli");
    let root = directory.path().to_str().unwrap();
    let listen = ["--listen", "127.0.0.1:0"];
    let long_name = format!("{}:1", "a".repeat(64));
    for (arguments, code, want) in [
        (
            &["--users", "/nonexistent/users"][..],
            100,
            "make it with: wharfd passwd -c /nonexistent/users NAME",
        ),
        (
            &["-c", "/nonexistent/conf"],
            100,
            "every setting can be an option instead",
        ),
        (&["/nonexistent/tree"], 100, "create it"),
        (&["/dev/null"], 100, "name a directory"),
        (&["--pid-file", "/nonexistent/pid", root], 111, "create it"),
        (
            &["--control-socket", "/nonexistent/s", root],
            111,
            "create it",
        ),
        (
            &["--transfer-log", "/nonexistent/t", root],
            100,
            "create it",
        ),
        (
            &["--log-file", "/nonexistent/l", root],
            100,
            "may this user write there?",
        ),
        (
            &["--user", "no-such-user", root],
            100,
            "make one, or give a number",
        ),
        (
            // A label that is too long is refused without asking the DNS.
            &["--listen", &long_name, root],
            111,
            "an address needs no resolver",
        ),
        (
            &["--listen-ftps", "127.0.0.1:0", root],
            100,
            #[cfg(feature = "ftps")]
            "needs tls-cert and tls-key, or self-signed",
            #[cfg(not(feature = "ftps"))]
            "leave out the options of TLS",
        ),
        (
            &["--passive-ports", "50000-50001", "--node", "1/3", root],
            100,
            "passive-ports has fewer ports than there are nodes",
        ),
        (&[], 100, "give a DIR to serve, --users FILE"),
        (
            &["--inetd", root],
            100,
            "without --inetd wharfd accepts them",
        ),
    ] {
        let (status, _, err) = wharfd_with(&[&listen, arguments].concat());
        assert_eq!(status, code, "{arguments:?}: {err}");
        assert!(err.contains(want), "{want} is not in\n{err}");
    }
}

/// Without root a low port is the usual first mistake.
#[test]
fn a_low_port_says_what_it_needs() {
    let low = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if !low.is_ok_and(|text| text.trim() == "1024") || !has("setpriv") {
        return;
    }
    // Only a root that can give itself up and others who can start us show it.
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set",
        "-all",
        "--reuid",
        "65534",
        "--clear-groups",
    ]);
    let started = Command::new("setpriv")
        .args([
            "--bounding-set",
            "-all",
            "--reuid",
            "65534",
            "--clear-groups",
        ])
        .args([WHARFD, "--version"])
        .output();
    if !started.is_ok_and(|output| output.status.success()) {
        return;
    }
    let (code, _, err) = run(command.args([WHARFD, "--listen", "21", "/"]));
    assert_eq!(code, 100, "{err}");
    assert!(
        err.contains("ports below 1024 need root or CAP_NET_BIND_SERVICE; try --listen 2121"),
        "{err}"
    );
}

#[test]
fn the_first_command_says_how_to_connect_and_ctrl_c_stops_it() {
    let directory = TempDir::new("cli");
    std::fs::write(directory.join("hello"), "world").unwrap();
    let mut command = wharfd();
    command
        .args(["--listen", "127.0.0.1:0", "--listen", "[::1]:0"])
        .arg(directory.path());
    let mut process = Process::start(&mut command);
    process.out.wait_for("Ctrl-C stops it.");
    let text = process.out.text();
    let address = |line: &str| -> SocketAddr {
        let (_, rest) = line.split_once("curl ftp://").expect("how to use curl");
        rest.split('/').next().unwrap().parse().unwrap()
    };
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("curl ftp://"))
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    for line in lines {
        assert!(line.contains("lftp ftp://"), "{text}");
        let mut client = Client::greeted(address(line));
        client.login("anonymous", "x");
        client.expect("TYPE I", 200);
        assert_eq!(client.fetch("RETR hello"), b"world");
        client.epsv();
        client.expect("STOR new", 550);
    }
    let started = Instant::now();
    process.signal("INT");
    assert_eq!(process.wait().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[test]
fn term_lets_transfers_finish_and_a_second_one_does_not() {
    let directory = TempDir::new("cli");
    let file = std::fs::File::create(directory.join("large")).unwrap();
    file.set_len(64 << 20).unwrap();
    for impatient in [false, true] {
        let mut process = Process::serve(directory.path(), &[]);
        let mut client = Client::greeted(process.address());
        client.login("anonymous", "x");
        client.expect("TYPE I", 200);
        let mut data: Data = client.data();
        client.expect("RETR large", 150);
        process.signal("TERM");
        process.log.wait_for("stopping");
        if impatient {
            process.signal("TERM");
            assert!(!process.wait().success());
            continue;
        }
        assert_eq!(data.rest().len(), 64 << 20);
        client.wait_for(226);
        client.wait_for(421);
        assert_eq!(process.wait().code(), Some(0));
    }
}

#[test]
fn print_port_gives_each_address_a_line() {
    let directory = TempDir::new("cli");
    let mut command = wharfd();
    command
        .args([
            "--print-port",
            "--listen",
            "127.0.0.1:0",
            "--listen",
            "[::1]:0",
        ])
        .arg(directory.path());
    let mut process = Process::start(&mut command);
    process.out.wait_for("[::1]:");
    let text = process.out.text();
    for line in text.lines() {
        let address: SocketAddr = line.parse().unwrap_or_else(|_| panic!("{text}"));
        assert_ne!(address.port(), 0);
        Client::greeted(address);
    }
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
}
