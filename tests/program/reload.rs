//! SIGHUP: what is taken up, what has to wait, and what nobody notices.
#![cfg(feature = "cli")]

use crate::common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::process::{Process, add_user, soon, wharfd};
use common::{Client, TempDir};

/// A server with a configuration file that can change.
struct Changing {
    place: TempDir,
    server: Process,
}

impl Changing {
    fn start(settings: &str) -> Self {
        let place = TempDir::new("reload");
        std::fs::create_dir(place.join("root")).unwrap();
        let file = write(&place, settings);
        let mut command = wharfd();
        command.args(["--print-port", "-c"]).arg(file);
        let server = Process::start(&mut command);
        server.address();
        Changing { place, server }
    }

    /// Other settings, and the signal.
    fn change(&self, settings: &str) {
        write(&self.place, settings);
        self.server.signal("HUP");
    }

    fn client(&self) -> Client {
        let mut client = Client::greeted(self.server.address());
        client.login("anonymous", "x@");
        client.expect("TYPE I", 200);
        client
    }
}

fn write(place: &TempDir, settings: &str) -> PathBuf {
    let (root, file) = (place.join("root"), place.join("conf"));
    let text = format!(
        "listen 127.0.0.1:0\nanonymous {}\nanonymous-rights read-write\n{settings}",
        root.display()
    );
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn level_format_and_name_of_the_log_change() {
    let daemon = Changing::start("log-level warn\n");
    let mut old = daemon.client();
    old.expect("NOOP", 200);
    assert_eq!(daemon.server.log.text(), "");
    daemon.change("log-level debug\nlog-format json\nnode-name web7\n");
    // A session that runs is logged by the new rules, too.
    assert!(soon(|| {
        old.expect("NOOP", 200);
        daemon.server.log.text().contains("NOOP")
    }));
    let line = daemon.server.log.wait_for("NOOP");
    assert!(line.starts_with("{\"time\":"), "{line}");
    assert!(
        line.contains("\"level\":\"debug\",\"node\":\"web7\""),
        "{line}"
    );
    daemon.change("log-level warn\n");
    assert!(soon(|| {
        let length = daemon.server.log.text().len();
        old.expect("NOOP", 200);
        // The line of the command comes before its reply.
        daemon.server.log.text().len() == length
    }));
}

#[test]
fn a_node_keeps_its_name_in_the_log() {
    let daemon = Changing::start("node 2/3\nlog-level warn\n");
    daemon.change("node 2/3\nlog-level debug\n");
    let mut client = daemon.client();
    assert!(soon(|| {
        client.expect("NOOP", 200);
        daemon.server.log.text().contains("NOOP")
    }));
    let line = daemon.server.log.wait_for("NOOP");
    assert!(line.contains(" node2 "), "{line}");
}

#[test]
fn limits_hold_for_new_sessions_and_old_ones_keep_theirs() {
    let daemon = Changing::start("max-per-address 2\n");
    let mut old = daemon.client();
    daemon.change("max-per-address 1\ndeny-commands DELE\n");
    assert!(soon(|| {
        let mut new = Client::connect(daemon.server.address());
        new.reply().code == 421
    }));
    assert_eq!(old.store("STOR a", b"1").code, 226);
    old.expect("DELE a", 250);
    old.expect("QUIT", 221);
    let mut new = None;
    assert!(soon(|| {
        let mut client = Client::connect(daemon.server.address());
        let greeted = client.reply().code == 220;
        new = Some(client);
        greeted
    }));
    let mut new = new.unwrap();
    new.login("anonymous", "x@");
    assert_eq!(new.store("STOR a", b"1").code, 226);
    new.expect("DELE a", 502);
}

#[test]
fn users_come_and_go() {
    let place = TempDir::new("reload");
    let (home, users) = (place.join("home"), place.join("users"));
    std::fs::create_dir(&home).unwrap();
    add_user(&users, "ann", &home, &[]);
    let server = Process::for_users(&users, &[]);
    let mut ann = Client::greeted(server.address());
    ann.login("ann", "secret");
    add_user(&users, "bob", &home, &[]);
    server.signal("HUP");
    let may = |name: &str| {
        let mut client = Client::greeted(server.address());
        client.expect(&format!("USER {name}"), 331);
        client.cmd("PASS secret").code == 230
    };
    assert!(soon(|| may("bob")));
    // A file with a mistake leaves the users as they were.
    std::fs::write(&users, "nonsense\n").unwrap();
    server.signal("HUP");
    server.log.wait_for("stay in force");
    assert!(may("bob") && may("ann"));
    ann.expect("NOOP", 200);
}

#[test]
fn hooks_change() {
    let place = TempDir::new("reload");
    let hook = |name: &str| {
        let (script, record) = (place.join(name), place.join(format!("{name}.ran")));
        let text = format!("#!/bin/sh\necho >> {}\n", record.display());
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        (script.display().to_string(), record)
    };
    let ((one, one_ran), (two, two_ran)) = (hook("one"), hook("two"));
    let daemon = Changing::start(&format!("on-upload {one}\n"));
    let mut client = daemon.client();
    assert_eq!(client.store("STOR a", b"1").code, 226);
    assert!(soon(|| one_ran.exists()));
    daemon.change(&format!("on-upload {two}\n"));
    // Of the session that runs, too.
    assert!(soon(|| {
        assert_eq!(client.store("STOR a", b"1").code, 226);
        two_ran.exists()
    }));
    let without = Changing::start("");
    without.change(&format!("on-upload {one}\n"));
    let line = without
        .server
        .log
        .wait_for("the first one needs a new start");
    assert!(line.contains("WARN"), "{line}");
}

#[test]
fn what_has_to_wait_for_the_next_start_is_named() {
    let daemon = Changing::start("threads 50\n");
    let log = daemon.place.join("log").display().to_string();
    daemon.change(&format!(
        "listen 127.0.0.1:2\nlisten-sftp 127.0.0.1:3\nthreads 60\nlog-file {log}\n"
    ));
    for (key, given, new) in [
        ("listen", "127.0.0.1:0", "127.0.0.1:0 127.0.0.1:2"),
        ("listen-sftp", "nothing", "127.0.0.1:3"),
        ("threads", "50", "60"),
        ("log-file", "nothing", &log),
    ] {
        let want = format!("{key}: still {given}; {new} needs a new start");
        let line = daemon.server.log.wait_for(&want);
        assert!(line.contains("WARN"), "{line}");
    }
    daemon.client().expect("QUIT", 221);
    assert!(!Path::new(&log).exists());
}

/// Each kind of thing that is read again, broken, together with another
/// change that is right: nothing of both is put in force, and one line says
/// where the mistake is.
#[test]
fn one_mistake_and_everything_stays_as_it_was() {
    let place = TempDir::new("reload");
    let (home, users) = (place.join("home"), place.join("users"));
    std::fs::create_dir(&home).unwrap();
    add_user(&users, "ann", &home, &[]);
    let good_users = std::fs::read_to_string(&users).unwrap();
    let nonsense = place.join("nonsense");
    std::fs::write(&nonsense, "nonsense\n").unwrap();
    let nonsense = nonsense.display();
    let users_line = format!("users {}\n", users.display());
    let daemon = Changing::start(&format!("banner old\n{users_line}"));
    let conf = daemon.place.join("conf").display().to_string();
    let banner = || {
        let mut client = Client::connect(daemon.server.address());
        client.reply().text().to_owned()
    };
    let mut cases = vec![
        ("threads many\n".to_owned(), format!("{conf}:6: threads: ")),
        ("nonsense 1\n".into(), format!("{conf}:6: unknown key")),
        (
            "node 3/3\npassive-ports 50000-50001\n".into(),
            format!("{conf}:7: passive-ports: "),
        ),
        (
            "auth-helper-rights read-only\nanonymous /nowhere\n".into(),
            format!("{conf}:7: 'anonymous' is given twice"),
        ),
    ];
    if cfg!(feature = "sftp") {
        cases.push((
            format!("host-key {nonsense}\n"),
            format!("{conf}:6: host-key: "),
        ));
        cases.push(("ssh-kex nonsense\n".into(), format!("{conf}:6: ssh-kex: ")));
    }
    if cfg!(feature = "ftps") {
        cases.push((
            format!("tls-cert {nonsense}\n"),
            format!("{conf}:6: tls-cert: "),
        ));
        cases.push((
            "tls-required login\n".into(),
            format!("{conf}:6: tls-required: "),
        ));
    }
    let mut errors = 0;
    for (broken, want) in &cases {
        daemon.change(&format!("banner new\n{users_line}{broken}"));
        let line = daemon.server.log.wait_for(want);
        assert!(
            line.contains("ERROR") && line.contains("as they were"),
            "{line}"
        );
        errors += 1;
        assert_eq!(
            daemon.server.log.text().matches("ERROR").count(),
            errors,
            "{want}"
        );
        assert!(banner().contains("old"), "{want}");
    }
    // Users who come and go are users of the old settings or of the new.
    std::fs::write(&users, format!("{good_users}broken\n")).unwrap();
    daemon.change(&format!("banner new\n{users_line}"));
    let line = daemon
        .server
        .log
        .wait_for(&format!("{}:2:", users.display()));
    assert!(line.contains(&format!("{conf}:5: users: ")), "{line}");
    assert!(banner().contains("old"));
    let mut ann = Client::greeted(daemon.server.address());
    ann.login("ann", "secret");

    std::fs::write(&users, good_users).unwrap();
    daemon.change(&format!("banner new\n{users_line}"));
    assert!(soon(|| banner().contains("new")));
    ann.expect("NOOP", 200);
}

/// Shared data ports are made once, of these settings.
#[test]
fn what_shared_ports_are_made_of_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let daemon = Changing::start(&format!("shared-data-ports\npassive-ports {port}\n"));
    daemon.change(
        "shared-data-ports\npassive-ports 50000-50001\nproxy-from 192.0.2.0/24\nnode 1/2\nproxy-data tls\n",
    );
    for key in ["passive-ports", "node", "proxy-from", "proxy-data"] {
        let line = daemon.server.log.wait_for(&format!("{key}: still "));
        assert!(line.contains("needs a new start"), "{line}");
    }
}
