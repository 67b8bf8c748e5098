//! Whom the process and its threads act as. Most of it needs root; without,
//! the tests say SKIP.

use crate::common;

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::process::{Process, WHARFD, copy_libraries, has, on_connection, soon, wait, wharfd};
use common::{Client, TempDir};

fn is_root() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        eprintln!("SKIP: needs root");
    }
    root
}

fn field(status: &Path, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(status).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}

fn status_of(pid: u32) -> PathBuf {
    format!("/proc/{pid}/status").into()
}

/// A directory that everybody may enter, with a copy of the program: the one
/// that cargo has built may lie where others can't reach it.
fn open_directory() -> (TempDir, PathBuf) {
    let directory = TempDir::new("identity");
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = directory.join("wharfd");
    std::fs::copy(WHARFD, &program).unwrap();
    (directory, program)
}

/// A users file with `ann`, who acts as 4711, and `bob`, who acts as nobody
/// in particular; both have the password `secret`.
fn users(directory: &TempDir) -> PathBuf {
    let homes = directory.join("homes");
    for (name, owner) in [("ann", 4711), ("bob", 0)] {
        let home = homes.join(name);
        std::fs::create_dir_all(&home).unwrap();
        chown(&home, Some(owner), Some(owner)).unwrap();
        std::fs::set_permissions(&home, PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::write(home.join("private"), "of root").unwrap();
        std::fs::set_permissions(home.join("private"), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let file = directory.join("users");
    for (name, options) in [("ann", "uid=4711,gid=4712,groups=4713"), ("bob", "")] {
        add_user(&file, name, &homes.join(name), options);
    }
    file
}

/// A user with the password `secret`.
fn add_user(file: &Path, name: &str, home: &Path, options: &str) {
    let mut passwd = Command::new(WHARFD);
    passwd.args(["passwd", "-c"]);
    passwd.args(["--home", home.to_str().unwrap()]);
    if !options.is_empty() {
        passwd.args(["--options", options]);
    }
    let mut child = passwd
        .arg(file)
        .arg(name)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::Write;
    child.stdin.take().unwrap().write_all(b"secret\n").unwrap();
    assert!(wait(&mut child).success());
}

#[test]
fn attack_27_root_becomes_the_user_and_nothing_is_left() {
    if !is_root() {
        return;
    }
    let (directory, _) = open_directory();
    std::fs::write(directory.join("file"), "x").unwrap();
    let server = Process::serve(directory.path(), &["--user", "12345:12346"]);
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    assert_eq!(client.fetch("RETR file"), b"x");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let mut count = 0;
    for task in tasks {
        let status = task.unwrap().path().join("status");
        assert_eq!(field(&status, "Uid:"), ["12345"; 4]);
        assert_eq!(field(&status, "Gid:"), ["12346"; 4]);
        assert!(field(&status, "Groups:").is_empty());
        assert_eq!(field(&status, "CapEff:"), ["0000000000000000"]);
        assert_eq!(field(&status, "CapPrm:"), ["0000000000000000"]);
        assert_eq!(field(&status, "NoNewPrivs:"), ["1"]);
        count += 1;
    }
    assert!(count >= 3);
}

/// `uid=` in the users file, or the owner of the home: never root.
#[test]
fn a_session_acts_as_its_user_by_a_worker() {
    if !is_root() {
        return;
    }
    let (directory, program) = open_directory();
    let file = users(&directory);
    let cat = directory.join("homes/cat");
    std::fs::create_dir(&cat).unwrap();
    chown(&cat, Some(4720), Some(4721)).unwrap();
    std::fs::set_permissions(&cat, PermissionsExt::from_mode(0o700)).unwrap();
    add_user(&file, "cat", &cat, "");
    let mut command = Command::new(program);
    command.args(["--listen", "127.0.0.1:0", "--print-port", "--threads", "2"]);
    command.args(["--login-delay", "0", "--users"]).arg(&file);
    let server = Process::start(&mut command);
    let owner = |name: &str| {
        let metadata = std::fs::metadata(directory.join("homes").join(name)).unwrap();
        (metadata.uid(), metadata.gid())
    };
    for _ in 0..2 {
        let mut client = Client::greeted(server.address());
        client.login("ann", "secret");
        assert_eq!(client.store("STOR mine", b"x").code, 226);
        assert_eq!(owner("ann/mine"), (4711, 4712));
        client.data();
        client.expect("RETR private", 550);
        let line = server.log.wait_for("Permission denied");
        assert!(line.contains(" WARN "), "{line}");
        client.expect("DELE mine", 250);
        // Another login on the same connection, by REIN, is another user. The
        // home is root's, and the server is not: it is nobody there.
        client.expect("REIN", 220);
        client.login("bob", "secret");
        client.data();
        client.expect("RETR private", 550);
        client.expect("REIN", 220);
        client.login("cat", "secret");
        assert_eq!(client.store("STOR mine", b"x").code, 226);
        assert_eq!(owner("cat/mine"), (4720, 4721));
        client.expect("QUIT", 221);
        client.closed();
    }
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    for task in tasks {
        let status = task.unwrap().path().join("status");
        assert_eq!(field(&status, "Uid:"), ["65534"; 4]);
        assert_eq!(field(&status, "Seccomp:"), ["2"]);
    }
}

/// The users file is root's alone, and the tree lies where nobody may go.
#[test]
fn what_root_alone_may_read_is_served_and_read_again() {
    if !is_root() {
        return;
    }
    let (directory, program) = open_directory();
    let file = users(&directory);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let closed = directory.join("closed");
    std::fs::create_dir_all(closed.join("tree")).unwrap();
    std::fs::write(closed.join("tree/file"), "content").unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    let mut command = Command::new(program);
    command.args(["--listen", "127.0.0.1:0", "--print-port"]);
    command.args(["--login-delay", "0", "--login-tries", "0"]);
    command.args(["--ban-after", "0", "--users"]);
    let server = Process::start(command.arg(&file).arg(closed.join("tree")));
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    assert_eq!(client.fetch("RETR file"), b"content");
    client.expect("REIN", 220);
    add_user(&file, "dan", &directory.join("homes/ann"), "");
    assert!(soon(|| {
        client.expect("USER dan", 331);
        client.cmd("PASS secret").code == 230
    }));
    server.signal("HUP");
    server.log.wait_for("read again");
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    assert_eq!(client.fetch("RETR file"), b"content");
    assert!(
        !server.log.text().contains("can't be read"),
        "{}",
        server.log.text()
    );
}

#[test]
fn under_inetd_the_user_is_for_good() {
    if !is_root() {
        return;
    }
    let (directory, _) = open_directory();
    let file = users(&directory);
    let (mut child, mut client) = on_connection(wharfd().args(["--inetd", "--users"]).arg(&file));
    client.login("ann", "secret");
    let status = status_of(child.id());
    assert_eq!(field(&status, "Uid:"), ["4711"; 4]);
    assert_eq!(field(&status, "Gid:"), ["4712"; 4]);
    assert_eq!(field(&status, "Groups:"), ["4712", "4713"]);
    assert_eq!(field(&status, "CapEff:"), ["0000000000000000"]);
    client.data();
    client.expect("RETR private", 550);
    client.expect("QUIT", 221);
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn without_root_nobody_can_be_another() {
    if !is_root() || !has("setpriv") {
        return;
    }
    let (directory, program) = open_directory();
    let file = users(&directory);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "54321", "--regid", "54321", "--clear-groups"]);
    command.arg(&program);
    command.args(["--listen", "127.0.0.1:0", "--user", "12345"]);
    let mut server = Process::start(command.arg(directory.path()));
    assert_eq!(server.wait().code(), Some(100));
    assert!(
        server
            .log
            .all()
            .contains("only root can become another user")
    );
}

#[test]
fn an_empty_chroot_a_random_uid_and_a_read_only_root_will_do() {
    if !is_root() || !has("chroot") || !has("unshare") {
        return;
    }
    let (root, program) = open_directory();
    copy_libraries(&program, root.path());
    std::fs::create_dir(root.join("srv")).unwrap();
    std::fs::write(root.join("srv/file"), "content").unwrap();
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" && \
                  exec chroot --userspec=54321:54321 \"$1\" /wharfd \
                  --listen 127.0.0.1:0 --print-port /srv";
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(root.path());
    let server = Process::start(&mut command);
    let address: SocketAddr = server.address();
    let mut client = Client::greeted(address);
    client.login("anonymous", "x@");
    assert_eq!(client.fetch("RETR file"), b"content");
    client.expect("LIST", 425);
    client.expect("QUIT", 221);
    assert_eq!(field(&status_of(server.pid()), "Uid:"), ["54321"; 4]);
}

/// Containers without the capabilities to become others, and root of a user
/// namespace who may not: it serves, and has no capability at all.
#[test]
fn root_that_may_become_nobody_serves_without_capabilities() {
    if !is_root() || !has("setpriv") || !has("unshare") {
        return;
    }
    let (directory, program) = open_directory();
    std::fs::create_dir(directory.join("tree")).unwrap();
    std::fs::write(directory.join("tree/file"), "content").unwrap();
    for words in [
        &["unshare", "--map-root-user"][..],
        &["setpriv", "--bounding-set=-all", "--inh-caps=-all"],
        &["setpriv", "--bounding-set=-setuid", "--inh-caps=-all"],
    ] {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(&program);
        command.args(["--listen", "127.0.0.1:0", "--print-port"]);
        let server = Process::start(command.arg(directory.join("tree")));
        let mut client = Client::greeted(server.address());
        client.login("anonymous", "x@");
        assert_eq!(client.fetch("RETR file"), b"content");
        for name in ["CapEff:", "CapPrm:"] {
            let sets = field(&status_of(server.pid()), name);
            assert_eq!(sets, ["0000000000000000"], "{words:?}");
        }
        assert_eq!(field(&status_of(server.pid()), "Seccomp:"), ["2"]);
    }
}

#[test]
fn landlock_shuts_in_what_is_served() {
    let directory = TempDir::new("landlock");
    for name in ["served", "other", "settings"] {
        std::fs::create_dir(directory.join(name)).unwrap();
    }
    std::fs::write(directory.join("served/file"), "content").unwrap();
    let config = directory.join("settings/wharfd.conf");
    let write = |name: &str| {
        // "/" stays what it is.
        let text = format!("anonymous {}\n", directory.join(name).display());
        std::fs::write(&config, text + "landlock yes\nanonymous-rights elradfmw\n").unwrap();
    };
    write("served");
    let mut command = wharfd();
    command.args(["--listen", "127.0.0.1:0", "--print-port", "--config"]);
    let mut server = Process::start(command.arg(&config));
    if server.out.text().is_empty() && !soon(|| !server.out.text().is_empty()) {
        // A kernel without Landlock says so.
        assert_eq!(server.wait().code(), Some(100));
        eprintln!("SKIP: {}", server.log.all());
        return;
    }
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    assert_eq!(client.fetch("RETR file"), b"content");
    assert_eq!(client.store("STOR new", b"new").code, 226);
    client.expect("MKD below", 257);
    client.expect("RNFR new", 350);
    client.expect("RNTO below/new", 250);
    client.expect("DELE below/new", 250);
    // Another tree is out of reach, whatever the settings say by now.
    std::fs::write(directory.join("other/file"), "other").unwrap();
    write("other");
    server.signal("HUP");
    server.log.wait_for("landlock keeps wharfd from");
    assert!(soon(|| {
        let mut client = Client::greeted(server.address());
        client.login("anonymous", "x@");
        client.data();
        client.cmd("RETR file").code == 550
    }));
    // The worst that can become of a jail: it is the whole machine, and the
    // process is root. /etc/shadow stays out of reach.
    write("/");
    server.signal("HUP");
    assert!(soon(|| {
        let mut client = Client::greeted(server.address());
        client.login("anonymous", "x@");
        client.cmd("SIZE /etc/passwd").code == 213
    }));
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    if is_root() {
        assert!(!client.fetch("RETR /etc/passwd").is_empty());
    }
    for path in ["/etc/shadow", "/etc/shadow-", "/root/.profile", "/bin/sh"] {
        client.data();
        client.expect(&format!("RETR {path}"), 550);
    }
    client.data();
    client.expect("STOR /etc/cron.d/mine", 550);
}

/// Certificates that root alone may read are read again by the monitor: when
/// they change, as far as the server can see that, and on SIGHUP.
#[cfg(feature = "ftps")]
#[test]
fn keys_of_root_alone_are_read_again() {
    use common::tls::{Certificates, SecureClient, VALID, certificate};
    if !is_root() {
        return;
    }
    let shown = |server: &Process| {
        let client = SecureClient::explicit(server.address());
        let certificate = client.stream.ssl().peer_certificate().unwrap();
        certificate.to_der().unwrap()
    };
    // In a directory that root alone may enter, and in one that is open.
    for mode in [0o700, 0o755] {
        let (directory, program) = open_directory();
        let certificates = Certificates::new();
        let old = certificate("ftp.test", None, VALID);
        let (chain, key) = certificates.write("ftp", &[&old]);
        std::fs::set_permissions(certificates.0.path(), PermissionsExt::from_mode(mode)).unwrap();
        let mut command = Command::new(&program);
        command
            .env_clear()
            .args(["--listen", "127.0.0.1:0", "--print-port"])
            .args(["--user", "12345", "--tls-cert"])
            .arg(&chain)
            .arg("--tls-key")
            .arg(&key)
            .arg(directory.path());
        let server = Process::start(&mut command);
        assert_eq!(shown(&server), old.certificate.to_der().unwrap());
        let new = certificate("ftp.test", None, VALID);
        certificates.write("ftp", &[&new]);
        let new = new.certificate.to_der().unwrap();
        if mode == 0o700 {
            server.signal("HUP");
        }
        assert!(soon(|| shown(&server) == new), "{}", server.log.text());
        assert!(
            !server.log.text().contains("can't be read"),
            "{}",
            server.log.text()
        );
    }
}

/// A thread of the server, after everything is set up, tries what an attacker
/// would try who runs code there.
#[test]
fn code_that_has_taken_over_a_thread_gets_nothing() {
    if !is_root() {
        return;
    }
    let (directory, program) = open_directory();
    std::fs::create_dir(directory.join("tree")).unwrap();
    std::fs::write(directory.join("private"), "of another").unwrap();
    std::fs::set_permissions(directory.join("private"), PermissionsExt::from_mode(0o600)).unwrap();
    let mut command = Command::new(program);
    command
        .args(["--listen", "127.0.0.1:0", "--print-port"])
        .args(["--user", "12345", "--active-mode=no"])
        .arg(directory.join("tree"))
        .env("PLANTED_EXPLOIT", directory.join("private"));
    let server = Process::start(&mut command);
    server.log.wait_for("exploit: over");
    let said = server.log.text();
    for what in ["execve", "shadow", "target", "ptrace", "number"] {
        let line = said
            .lines()
            .find(|line| line.contains(&format!("exploit: {what}:")));
        assert!(
            line.unwrap().contains("denied") || line.unwrap().contains("not permitted"),
            "{said}"
        );
    }
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    for task in tasks {
        let status = task.unwrap().path().join("status");
        assert_eq!(field(&status, "Seccomp:"), ["2"]);
        assert_eq!(field(&status, "NoNewPrivs:"), ["1"]);
        assert_eq!(field(&status, "CapPrm:"), ["0000000000000000"]);
    }
}

/// Hooks are started by another process: the server can't start anything.
#[test]
fn hooks_run_as_the_servers_user_and_the_server_starts_nothing() {
    if !is_root() || !has("setpriv") {
        return;
    }
    let (directory, program) = open_directory();
    std::fs::create_dir(directory.join("tree")).unwrap();
    let script = directory.join("hook");
    let said = directory.join("said");
    std::fs::create_dir(&said).unwrap();
    std::fs::set_permissions(&said, PermissionsExt::from_mode(0o777)).unwrap();
    let text = format!("#!/bin/sh\nid -u > {}/$(id -u)\n", said.display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let drop_to = ["--reuid", "54321", "--regid", "54321", "--clear-groups"];
    for (words, uid) in [(&drop_to[..], "54321"), (&[], "65534")] {
        let mut command = Command::new("setpriv");
        command.args(words);
        if words.is_empty() {
            command.arg("--clear-groups");
        }
        command.arg(&program);
        command.args(["--listen", "127.0.0.1:0", "--print-port", "--on-login"]);
        let server = Process::start(command.arg(&script).arg(directory.join("tree")));
        let mut client = Client::greeted(server.address());
        client.login("anonymous", "x@");
        assert!(soon(|| said.join(uid).exists()), "{}", server.log.text());
        assert_eq!(
            std::fs::metadata(said.join(uid)).unwrap().uid().to_string(),
            uid
        );
        assert_eq!(field(&status_of(server.pid()), "Seccomp:"), ["2"]);
        assert_eq!(field(&status_of(server.pid()), "NoNewPrivs:"), ["1"]);
    }
}
