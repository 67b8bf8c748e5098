//! The program from a shell: usage, settings from three sources, --check,
//! exit codes 0, 100 (wrong usage) and 111 (may work another time), signals.
#![cfg(feature = "cli")]

mod common;

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::client::Data;
use common::process::{Process, wharfd};
use common::{Client, TempDir};

/// Exit code, standard output, standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = common::process::wait(&mut child);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        status.code().expect("no signal"),
        text(output.stdout),
        text(output.stderr),
    )
}

fn wharfd_with(arguments: &[&str]) -> (i32, String, String) {
    run(wharfd().args(arguments))
}

#[test]
fn help_and_version_go_to_standard_output() {
    for flag in ["--help", "-h"] {
        let (code, out, err) = wharfd_with(&[flag]);
        assert_eq!((code, err.as_str()), (0, ""));
        for word in [
            "--listen",
            "--users",
            "--passive-ports",
            "--check",
            "-c, --config FILE",
        ] {
            assert!(out.contains(word), "{word} is not in the help");
        }
        assert!(out.lines().all(|line| line.len() <= 120), "{out}");
    }
    for flag in ["--version", "-V"] {
        let (code, out, _) = wharfd_with(&[flag]);
        assert_eq!(code, 0);
        assert!(
            out.starts_with(concat!("wharfd ", env!("CARGO_PKG_VERSION"))),
            "{out}"
        );
    }
}

#[test]
fn wrong_usage_is_100_and_says_what_was_meant() {
    for (arguments, words) in [
        (&["--lisen", "2121", "/"][..], &["lisen", "--listen"][..]),
        (&["--listen"], &["listen"]),
        (&["--listen", "x:y:z", "/"], &["--listen", "expected"]),
        (&["--threads", "many", "/"], &["--threads", "whole number"]),
        (&["--threads", "1", "--threads", "2", "/"], &["twice"]),
        (
            &["--atomic-uploads=maybe", "/"],
            &["--atomic-uploads", "yes or no"],
        ),
        (&["/", "/tmp"], &["one DIR"]),
        (&["/does/not/exist"], &["/does/not/exist"]),
        (&["--users", "/does/not/exist"], &["/does/not/exist"]),
        (&["-c", "/does/not/exist"], &["/does/not/exist"]),
        (&[], &["nobody could log in"]),
    ] {
        let (code, out, err) = wharfd_with(arguments);
        assert_eq!(code, 100, "{arguments:?}: {err}");
        assert_eq!(out, "", "{arguments:?}");
        for word in words {
            assert!(err.contains(word), "{arguments:?}: no {word:?} in {err}");
        }
    }
}

#[test]
fn mistakes_in_a_file_have_their_lines_and_the_nearest_key() {
    let directory = TempDir::new("cli");
    let file = directory.join("wharfd.conf");
    std::fs::write(
        &file,
        "# comment\nidle-timout 5\nthreads many\n\nbanner one\nbanner two\nlisten\n",
    )
    .unwrap();
    let name = file.to_str().unwrap();
    let (code, _, err) = wharfd_with(&["-c", name]);
    assert_eq!(code, 100);
    for line in [
        format!("{name}:2: unknown key 'idle-timout'; did you mean 'idle-timeout'?"),
        format!("{name}:3: threads: expected a whole number from 0 to 4294967295, not 'many'"),
        format!("{name}:6: 'banner' is given twice"),
        format!("{name}:7: listen: expected"),
    ] {
        assert!(err.contains(&line), "no {line} in\n{err}");
    }
    std::fs::write(&file, b"banner \xff\n").unwrap();
    let (code, _, err) = wharfd_with(&["-c", name]);
    assert_eq!(code, 100);
    assert!(err.contains(&format!("{name}:1: not UTF-8")), "{err}");
}

#[test]
fn flags_are_stronger_than_the_environment_and_that_than_the_file() {
    let directory = TempDir::new("cli");
    let file = directory.join("wharfd.conf");
    std::fs::write(
        &file,
        "idle-timeout 11\nthreads 11\nmax-per-user 11\ndeny 10.1.0.0/16\ndeny 10.2.0.0/16\n",
    )
    .unwrap();
    let name = file.to_str().unwrap();
    let (code, out, err) = run(wharfd()
        .env("WHARFD_CONFIG", name)
        .env("WHARFD_IDLE_TIMEOUT", "22")
        .env("WHARFD_THREADS", "22")
        .env("WHARFD_DENY", "10.3.0.0/16 10.4.0.0/16")
        .args(["--idle-timeout", "33", "--check"])
        .arg(directory.path()));
    assert_eq!(code, 0, "{err}");
    for line in [
        "# from --idle-timeout:\nidle-timeout 33\n".to_owned(),
        "# from WHARFD_THREADS:\nthreads 22\n".into(),
        format!("# from {name}:3:\nmax-per-user 11\n"),
        "# from WHARFD_DENY:\ndeny 10.3.0.0/16\ndeny 10.4.0.0/16\n".into(),
        format!("# from DIR:\nanonymous {}\n", directory.path().display()),
        "\nstall-timeout 60\n".into(),
        "\n# users\n".into(),
    ] {
        assert!(out.contains(&line), "no {line:?} in\n{out}");
    }
    assert!(!out.contains("10.1.0.0"), "lists are replaced");
    // An unknown variable of ours is a mistake like an unknown key.
    let (code, _, err) = run(wharfd().env("WHARFD_LISTNE", "1").arg("/"));
    assert_eq!(code, 100);
    assert!(
        err.contains("WHARFD_LISTNE") && err.contains("listen"),
        "{err}"
    );
}

#[test]
fn what_check_prints_is_a_configuration_file() {
    let directory = TempDir::new("cli");
    let arguments = [
        "--check",
        "--atomic-uploads",
        "--passive-ports",
        "50000-50010",
    ];
    let (code, first, _) = run(wharfd().args(arguments).arg(directory.path()));
    assert_eq!(code, 0);
    let file = directory.join("printed.conf");
    std::fs::write(&file, &first).unwrap();
    let (code, second, err) = run(wharfd().arg("--check").arg("-c").arg(&file));
    assert_eq!(code, 0, "{err}");
    let values = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with("# from"));
        lines.map(String::from).collect()
    };
    assert_eq!(values(&first), values(&second));
}

#[test]
fn check_says_what_is_wrong_and_where() {
    let directory = TempDir::new("cli");
    let file = directory.join("wharfd.conf");
    let users = directory.join("users");
    std::fs::write(&users, "ann:plain-text:/srv:read-only:\n").unwrap();
    let text = format!(
        "anonymous {0}/missing\nusers {0}/users\ntransfer-log {0}/no/such/log\n",
        directory.path().display()
    );
    std::fs::write(&file, text).unwrap();
    let name = file.to_str().unwrap();
    let (code, out, err) = wharfd_with(&["--check", "-c", name]);
    assert_eq!(code, 100);
    assert!(out.contains("\nanonymous "), "{out}");
    for words in [
        format!("{name}:1: anonymous: "),
        format!("{name}:2: users: "),
        format!("{}:1", users.display()),
        format!("{name}:3: transfer-log: "),
    ] {
        assert!(err.contains(&words), "no {words} in\n{err}");
    }
    // Nothing is bound: a port in use is no mistake of the settings.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let (code, _, err) = run(wharfd()
        .args(["--check", "--listen", &listen])
        .arg(directory.path()));
    assert_eq!(code, 0, "{err}");
    // A server without users is a mistake.
    let (code, _, err) = wharfd_with(&["--check"]);
    assert_eq!(code, 100);
    assert!(err.contains("nobody could log in"), "{err}");
}

#[test]
fn check_shows_what_clients_are_told() {
    let directory = TempDir::new("cli");
    let root = directory.path().to_str().unwrap();
    for (arguments, want) in [
        (
            &[
                "--listen",
                "127.0.0.1:2121",
                "--passive-ports",
                "50000-50199",
            ][..],
            &[
                "# What clients are told, with a PORT of 50000-50199 (P1*256+P2)",
                "# LAN at 127.0.0.1: PASV 227 (127,0,0,1,P1,P2), EPSV 229 (|||PORT|)",
                "# WAN at 127.0.0.1: PASV 227 (127,0,0,1,P1,P2), EPSV 229 (|||PORT|)",
            ][..],
        ),
        (
            &["--listen", "127.0.0.1:2121", "--passive-address", "8.8.4.4"],
            &[
                "# LAN at 127.0.0.1: PASV 227 (127,0,0,1,P1,P2), EPSV 229 (|||PORT|)",
                "# WAN at 127.0.0.1: PASV 227 (8,8,4,4,P1,P2), EPSV 229 (|||PORT|)",
            ],
        ),
        (
            &["--listen", "[::1]:2121", "--passive-address", "8.8.4.4"],
            &["# WAN at ::1: EPSV 229 (|||PORT|)"],
        ),
        (
            &["--listen", "2121", "--passive-address", "8.8.4.4"],
            &[": PASV 227 (8,8,4,4,P1,P2), EPSV 229 (|||PORT|)"],
        ),
    ] {
        let (code, out, err) = wharfd_with(&[&["--check"], arguments, &[root]].concat());
        assert_eq!((code, &err[..]), (0, ""), "{arguments:?}");
        for line in want {
            assert!(out.contains(line), "{line} is not in\n{out}");
        }
    }
    let (_, out, _) = wharfd_with(&["--check", "--listen-sftp", "2222", root]);
    assert!(!out.contains("What clients are told"), "{out}");
}

/// Each line: what is set, what `--check` warns of. The rest of the advice is
/// in the table of src/program/check/advice.rs.
#[test]
fn check_warns_of_what_works_but_not_as_meant() {
    let directory = TempDir::new("cli");
    let root = directory.path().to_str().unwrap();
    let users = directory.join("users");
    let text =
        "ann:*:/nonexistent/ann:read-only:\nbob:*:/nonexistent/bob:read-only:create-home=yes\n";
    std::fs::write(&users, text).unwrap();
    let set = |mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&users, permissions).unwrap();
    };
    let users = users.to_str().unwrap();
    let file = directory.join("wharfd.conf");
    std::fs::write(&file, "listen 2121\npassive-address 10.1.2.3\n").unwrap();
    let file = file.to_str().unwrap();
    for (arguments, mode, want) in [
        (
            &["--passive-ports", "50000-50010"][..],
            0o600,
            "wharfd: warning: passive-ports: 11 ports for up to 200 sessions".to_owned(),
        ),
        (
            &["-c", file],
            0o600,
            format!("{file}:2: warning: passive-address: 10.1.2.3 is a private address"),
        ),
        (
            &["--users", users],
            0o644,
            format!("warning: users: {users} can be read by everybody on this machine"),
        ),
        (
            &["--users", users],
            0o600,
            "warning: users: the home of ann: /nonexistent: ".to_owned(),
        ),
    ] {
        set(mode);
        let (code, _, err) = wharfd_with(&[&["--check"], arguments, &[root]].concat());
        assert_eq!(code, 0, "a warning is no mistake: {err}");
        assert!(err.contains(&want), "{want} is not in\n{err}");
        assert!(!err.contains("bob"), "{err}");
    }
    let (code, _, err) = wharfd_with(&["--check", root]);
    assert_eq!((code, &err[..]), (0, ""));
}

#[test]
#[cfg(feature = "ftps")]
fn check_warns_of_the_end_of_a_certificate_and_of_a_key_for_all() {
    if !common::process::has("openssl") {
        return;
    }
    let directory = TempDir::new("cli");
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let make = |days: &str, subject: &str| {
        let output = Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", days,
            ])
            .args(["-subj", subject, "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let check = || {
        let (code, _, err) = run(wharfd()
            .arg("--check")
            .arg("--tls-cert")
            .arg(&cert)
            .arg("--tls-key")
            .arg(&key)
            .arg(directory.path()));
        assert_eq!(code, 0, "{err}");
        err
    };
    make("10", "/CN=short");
    let err = check();
    assert!(
        err.contains("warning: tls-cert: ") && err.contains("renew it"),
        "{err}"
    );
    make("100", "/CN=long");
    assert_eq!(check(), "");
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&key, permissions).unwrap();
    let err = check();
    assert!(
        err.contains("warning: tls-key: ") && err.contains("chmod o-r"),
        "{err}"
    );
}

#[test]
#[cfg(feature = "ftps")]
fn check_looks_at_certificates_and_makes_none() {
    let directory = TempDir::new("cli");
    std::fs::write(directory.join("cert.pem"), "no certificate").unwrap();
    let cert = directory.join("cert.pem");
    let (code, _, err) = run(wharfd()
        .args(["--check", "--tls-cert", cert.to_str().unwrap()])
        .arg(directory.path()));
    assert_eq!(code, 100);
    assert!(
        err.contains("--tls-cert") && err.contains("cert.pem"),
        "{err}"
    );
    let state = directory.join("state");
    let (code, _, err) = run(wharfd()
        .args([
            "--check",
            "--self-signed",
            "--state-dir",
            state.to_str().unwrap(),
        ])
        .arg(directory.path()));
    assert_eq!(code, 0, "{err}");
    assert!(!state.exists(), "--check has made keys");
}

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
        (&["/nonexistent/tree"], 100, "make it"),
        (&["/dev/null"], 100, "name a directory"),
        (&["--pid-file", "/nonexistent/pid", root], 111, "make it"),
        (
            &["--control-socket", "/nonexistent/s", root],
            111,
            "make it",
        ),
        (&["--transfer-log", "/nonexistent/t", root], 100, "make it"),
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
            &["--listen-metrics", "192.0.2.1:1", root],
            111,
            "this machine has no such address",
        ),
        (
            &["--listen", "192.0.2.1:1", root],
            111,
            "this machine has no such address",
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
    if !low.is_ok_and(|text| text.trim() == "1024") || !common::process::has("setpriv") {
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
        .args([common::process::WHARFD, "--version"])
        .output();
    if !started.is_ok_and(|output| output.status.success()) {
        return;
    }
    let (code, _, err) = run(command.args([common::process::WHARFD, "--listen", "21", "/"]));
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
