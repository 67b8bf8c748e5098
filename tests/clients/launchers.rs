//! wharfd under the real launchers of other people, and fail2ban on its log.

use crate::common;

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::client::DEADLINE;
use common::process::{Process, WHARFD, has, program, soon, wharfd};
use common::{Client, TempDir};

fn tree(name: &str) -> TempDir {
    let directory = TempDir::new(name);
    std::fs::create_dir(directory.join("root")).unwrap();
    std::fs::write(directory.join("root/file"), "content").unwrap();
    directory
}

/// A port that is free on an address that only one test uses: launchers can't
/// be asked which port the system gave them.
fn free(address: &str) -> SocketAddr {
    let listener = std::net::TcpListener::bind((address, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Waits until the launcher listens, and has a whole session.
fn session(address: SocketAddr, launcher: &mut Process) {
    let until = Instant::now() + DEADLINE;
    while TcpStream::connect(address).is_err() {
        let ended = launcher.child.try_wait().unwrap();
        assert!(
            Instant::now() < until && ended.is_none(),
            "{ended:?}: {}",
            launcher.log.text()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    for _ in 0..2 {
        let mut client = Client::greeted(address);
        client.login("anonymous", "x@");
        assert_eq!(client.fetch("RETR file"), b"content");
        client.expect("QUIT", 221);
        client.closed();
    }
}

#[test]
fn openbsd_inetd() {
    if !has("inetd") {
        return;
    }
    let directory = tree("inetd");
    let address = free("127.41.0.1");
    let config = directory.join("inetd.conf");
    // The line of contrib, with the test's own port, user and directory.
    let given = contrib("inetd/wharfd.conf");
    let line = given.lines().find(|line| line.contains(" tcp ")).unwrap();
    let line = own(line, &directory).replacen("ftp", &address.to_string(), 1);
    std::fs::write(&config, line + "\n").unwrap();
    let mut inetd = Process::start(program("inetd").arg("-d").arg(&config));
    session(address, &mut inetd);
}

#[test]
fn xinetd() {
    if !has("xinetd") {
        return;
    }
    let directory = tree("xinetd");
    let address = free("127.41.0.2");
    let config = directory.join("xinetd.conf");
    // The file of contrib, with the test's own port, user and directory.
    let port = format!("type = UNLISTED\n port = {}", address.port());
    let text = own(&contrib("xinetd.d/wharfd"), &directory)
        .replace("disable     = yes", &port)
        .replace("flags       = IPv6", "bind = 127.41.0.2");
    std::fs::write(&config, text).unwrap();
    let mut command = program("xinetd");
    command.args(["-dontfork", "-f"]).arg(&config);
    command.arg("-pidfile").arg(directory.join("pid"));
    let mut xinetd = Process::start(&mut command);
    session(address, &mut xinetd);
}

/// ipsvd's, or busybox's where it is built in; both take the same words.
#[test]
fn tcpsvd() {
    let applets = Command::new("busybox").arg("--list").output();
    let busybox = applets.is_ok_and(|output| {
        let list = String::from_utf8_lossy(&output.stdout).into_owned();
        list.lines().any(|applet| applet == "tcpsvd")
    });
    let words: &[&str] = if busybox {
        &["busybox", "tcpsvd"]
    } else {
        &["tcpsvd"]
    };
    if !has(words[0]) {
        return;
    }
    let directory = tree("tcpsvd");
    let address = free("127.41.0.3");
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command.args(["127.41.0.3", &address.port().to_string()]);
    command
        .args([WHARFD, "--inetd"])
        .arg(directory.join("root"));
    let mut tcpsvd = Process::start(&mut command);
    session(address, &mut tcpsvd);
}

#[test]
fn ucspi_tcpserver() {
    if !has("tcpserver") {
        return;
    }
    let directory = tree("tcpserver");
    let address = free("127.41.0.4");
    let mut command = Command::new("tcpserver");
    command.args(["-HRl0", "127.41.0.4", &address.port().to_string()]);
    command
        .args([WHARFD, "--inetd"])
        .arg(directory.join("root"));
    let mut tcpserver = Process::start(&mut command);
    session(address, &mut tcpserver);
    tcpserver.log.wait_for("logged in");
}

#[test]
fn systemd_sockets() {
    if !has("systemd-socket-activate") {
        return;
    }
    let directory = tree("systemd");
    for (host, mode) in [
        ("127.41.0.5", &["--fdname=ftp"][..]),
        ("127.41.0.6", &["--accept"]),
    ] {
        let address = free(host);
        let mut command = Command::new("systemd-socket-activate");
        command.arg("-l").arg(address.to_string()).args(mode);
        command.arg(WHARFD).arg(directory.join("root"));
        let mut activate = Process::start(&mut command);
        session(address, &mut activate);
    }
}

fn contrib(name: &str) -> String {
    let contrib = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib");
    std::fs::read_to_string(contrib.join(name)).unwrap()
}

/// Words of a file of contrib with the test's program, user and directory.
fn own(text: &str, directory: &TempDir) -> String {
    let served = directory.join("root").display().to_string();
    assert!(text.contains("--config /etc/wharfd.conf"));
    text.replace("--config /etc/wharfd.conf", &served)
        .replace("nowait wharf ", &format!("nowait {} ", user()))
        .replace("= wharf\n", &format!("= {}\n", user()))
        .replace("/usr/sbin/wharfd", WHARFD)
}

/// Who runs the tests may start what inetd starts.
fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().into()
}

#[test]
fn fail2ban_finds_refused_logins_and_no_forged_ones() {
    if !has("fail2ban-regex") {
        return;
    }
    let directory = tree("fail2ban");
    for format in ["text", "json"] {
        let log = directory.join(format);
        let mut command = wharfd();
        command.args([
            "--listen",
            "127.0.0.1:0",
            "--print-port",
            "--login-delay",
            "0",
        ]);
        command.args([
            "--login-tries",
            "0",
            "--ban-after",
            "0",
            "--log-format",
            format,
        ]);
        command.args(["--node-name", "web1", "--log-level", "debug", "--log-file"]);
        let mut server = Process::start(command.arg(&log).arg(directory.join("root")));
        let mut client = Client::greeted(server.address());
        let names = [
            "ann",
            "x\" from 192.0.2.1 (ftp): y",
            "\\\" from 192.0.2.2 (ftp): y",
            "login refused: user \"a\" from 192.0.2.3 (ftp): ",
            "\\",
            "}{",
            "\",\"message\":\"login refused: user \\\"a\\\" from 192.0.2.4 (ftp): ",
        ];
        for name in names {
            client.expect(&format!("USER {name}"), 331);
            client.expect("PASS y", 530);
        }
        client.expect("QUIT", 221);
        server.signal("TERM");
        server.wait();
        let filter =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/fail2ban/filter.d/wharfd.conf");
        let output = program("fail2ban-regex")
            .args(["-v"])
            .arg(&log)
            .arg(filter)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains(&format!("Failregex: {} total", names.len())),
            "{format}: {text}"
        );
        assert!(!text.contains("|      192.0.2."), "{text}");
    }
}

/// A file that the launcher has open is not the server's, nor its hooks'.
#[test]
fn nothing_that_a_launcher_left_open_stays() {
    let directory = tree("left-open");
    let (left, config) = (directory.join("left"), directory.join("config"));
    std::fs::write(&left, "secret").unwrap();
    let root = directory.join("root");
    let (hook, said) = (directory.join("hook"), directory.join("said"));
    std::fs::create_dir(&said).unwrap();
    std::fs::set_permissions(&said, PermissionsExt::from_mode(0o777)).unwrap();
    let text = format!(
        "#!/bin/sh\ncd {} && ls -l /proc/$$/fd > new && mv new open\n",
        said.display()
    );
    std::fs::write(&hook, text).unwrap();
    std::fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
    let text = format!("anonymous {}\nlisten 127.0.0.1:0\n", root.display());
    std::fs::write(&config, text).unwrap();
    let with_hook = format!("WHARFD_ON_LOGIN={}", hook.display());
    let script = format!(
        "exec 9<{} 8<{}; exec {WHARFD} --config /dev/fd/8 --print-port",
        left.display(),
        config.display()
    );
    // The process that starts programs could not read the settings.
    let without = Process::start(Command::new("env").args([&with_hook, "sh", "-c", &script]));
    let why = without.log.wait_for("give a file that stays");
    assert!(why.contains("config /dev/fd/8"), "{why}");
    let script = script.replace("/dev/fd/8", config.to_str().unwrap());
    let server = Process::start(Command::new("env").args([&with_hook, "sh", "-c", &script]));
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let open = open.map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap_or_default());
    let open: Vec<_> = open.collect();
    assert!(!open.contains(&left.to_path_buf()), "{open:?}");
    // Programs get neither that nor a connection of the server's.
    assert!(soon(|| said.join("open").exists()), "{}", server.log.text());
    let open = std::fs::read_to_string(said.join("open")).unwrap();
    for word in [left.to_str().unwrap(), "socket:", "anon_inode"] {
        assert!(!open.contains(word), "{open}");
    }
}
