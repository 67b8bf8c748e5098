//! `--check`: what is in force, what is wrong and where, what to think about.

use std::net::TcpListener;
#[cfg(feature = "ftps")]
use std::process::Command;

use super::common::TempDir;
#[cfg(feature = "ftps")]
use super::common::process::has;
use super::common::process::{Process, wharfd};
use super::{run, wharfd_with};
use wharf::daemon::{KEYS, Names};

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

/// For each option that names a file or a port, and for what only fits with
/// others: what the check lets pass, the start takes, too.
#[test]
fn what_passes_the_check_starts() {
    let place = TempDir::new("check");
    let (served, file) = (place.join("served"), place.join("file"));
    std::fs::create_dir(&served).unwrap();
    std::fs::write(&file, "no words that mean anything\n").unwrap();
    let paths = |names: &[&str]| -> Vec<String> {
        let of = |name| place.join(name).to_str().unwrap().to_owned();
        names.iter().map(of).collect()
    };
    let mut lines = Vec::new();
    for key in KEYS {
        let values = match key.names {
            Names::Nothing => Vec::new(),
            Names::Port => vec!["nosuch.invalid:0".into(), "192.0.2.1:bad".into()],
            _ => paths(&["missing", "missing/below", "served", "file", "file/below"]),
        };
        lines.extend(values.iter().map(|value| format!("{} {value}", key.name)));
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    drop(taken);
    lines.extend([
        format!("listen {port}\nlisten-metrics {port}"),
        "user nosuchuser".into(),
        "user root:nosuchgroup".into(),
        "shared-data-ports yes".into(),
        "node 3/3\npassive-ports 50000-50001".into(),
        "self-signed yes".into(),
        "tls-required login".into(),
        "listen-ftps 127.0.0.1:0".into(),
        "listen-sftp 127.0.0.1:0".into(),
        "syslog yes".into(),
        "system-group nosuchgroup".into(),
    ]);
    let mut passed = 0;
    let config = place.join("wharfd.conf");
    for line in &lines {
        let text = format!(
            "listen 127.0.0.1:0\nanonymous {}\n{line}\n",
            served.display()
        );
        std::fs::write(&config, text).unwrap();
        let (code, _, _) = run(wharfd().arg("--check").arg("-c").arg(&config));
        if code == 0 {
            println!("{line}");
            Process::start(wharfd().args(["--print-port", "-c"]).arg(&config)).address();
            passed += 1;
        }
    }
    assert!(passed > 10 && passed < lines.len(), "{passed}");
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
    if !has("openssl") {
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
    // What clients will say of it is another matter.
    assert!(!check().contains("renew it"));
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
