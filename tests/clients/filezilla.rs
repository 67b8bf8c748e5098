//! FileZilla itself, on a display that nobody sees: login, list, download and
//! upload under both versions of TLS. Its queue is a file, which a script
//! makes, and a key starts it.
#![cfg(all(feature = "ftps", feature = "cli"))]

use std::path::Path;
use std::process::Command;

use crate::common::TempDir;
use crate::common::process::{Lines, Process, add_user, client_in, has, run, soon};
use crate::common::rng::Rng;
use crate::common::tls::{Certificates, VALID, certificate};

/// Trusts the certificate, and has one file to fetch and one to send.
const SETTINGS: &str = r#"
import os, sqlite3, ssl, sys, time
home, port, pem = sys.argv[1:]
place = home + "/.config/filezilla/"
os.makedirs(place)
def write(name, text):
    with open(place + name, "w") as file:
        file.write("<?xml version='1.0'?><FileZilla3>" + text + "</FileZilla3>")
write("filezilla.xml", "<Settings><Setting name='Greeting version'>99.0.0</Setting>"
    "<Setting name='Update Check'>0</Setting></Settings>")
der = ssl.PEM_cert_to_DER_cert(open(pem).read()).hex()
now = int(time.time())
write("trustedcerts.xml", "<TrustedCerts><Certificate><Data>%s</Data>"
    "<ActivationTime>%d</ActivationTime><ExpirationTime>%d</ExpirationTime>"
    "<Host>127.0.0.1</Host><Port>%s</Port><TrustSANs>0</TrustSANs>"
    "</Certificate></TrustedCerts>" % (der, now - 86400, now + 86400, port))
KEY = "id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL"
queue = sqlite3.connect(place + "queue.sqlite3")
queue.executescript("""
CREATE TABLE servers ({key}, host TEXT NOT NULL, port INTEGER, user TEXT,
 password TEXT, account TEXT, keyfile TEXT, protocol INTEGER, type INTEGER,
 logontype INTEGER, timezone_offset INTEGER, transfer_mode TEXT,
 max_connections INTEGER, encoding TEXT, bypass_proxy INTEGER,
 post_login_commands TEXT, name TEXT, parameters TEXT, site_path TEXT);
CREATE TABLE files ({key}, server INTEGER NOT NULL, source_file TEXT,
 target_file TEXT, local_path INTEGER, remote_path INTEGER, size INTEGER,
 error_count INTEGER, priority INTEGER, flags INTEGER,
 default_exists_action INTEGER, extra_flags TEXT);
CREATE TABLE local_paths ({key}, path TEXT NOT NULL);
CREATE TABLE remote_paths ({key}, path TEXT NOT NULL);
PRAGMA user_version = 7;
INSERT INTO local_paths VALUES (1, '{home}/');
INSERT INTO remote_paths VALUES (1, '1 0');
INSERT INTO servers (id, host, port, user, password, protocol, type, logontype,
 timezone_offset, transfer_mode, max_connections, encoding, bypass_proxy)
 VALUES (1, '127.0.0.1', {port}, 'ann', 'secret', 4, 0, 1, 0, 'default', 0, 'Auto', 0);
INSERT INTO files (server, source_file, local_path, remote_path, size, priority, flags)
 VALUES (1, 'down', 1, 1, 3000000, 2, 16), (1, 'up', 1, 1, 3000000, 2, 0);
""".format(key=KEY, home=home, port=port))
queue.commit()
"#;

/// GnuTLS asks this file, whatever FileZilla asks of it.
const ONLY_1_2: &str = "[overrides]\ndisabled-version = tls1.3\n";

fn moves_files(display: &str, version: &str) {
    let place = TempDir::new("filezilla");
    let [home, remote] = ["local", "remote"].map(|name| place.join(name));
    std::fs::create_dir(&home).unwrap();
    std::fs::create_dir(&remote).unwrap();
    let content = Rng::fixed(5).bytes(3_000_000);
    std::fs::write(home.join("up"), &content).unwrap();
    std::fs::write(remote.join("down"), &content).unwrap();
    let users = place.join("users");
    add_user(&users, "ann", &remote, &["--rights", "read-write"]);
    let certificates = Certificates::new();
    let made = certificate("ftp.test", None, VALID);
    let (pem, key) = certificates.write("ftp.test", &[&made]);
    let own = [
        format!("--tls-cert={}", pem.display()),
        format!("--tls-key={}", key.display()),
    ];
    // FileZilla resumes the session of its control connection.
    let strict = [
        "--tls-required=data",
        "--tls-reuse=require",
        "--log-level=debug",
    ];
    let arguments: Vec<&str> = own.iter().map(String::as_str).chain(strict).collect();
    let server = Process::for_users(&users, &arguments);
    let port = server.address().port().to_string();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let told = [SETTINGS, &text(&home), &port, &text(&pem)];
    run(
        client_in(&home, "/usr/bin/python3").arg("-c").args(told),
        "",
    );

    let mut filezilla = client_in(&home, "filezilla");
    filezilla.env("DISPLAY", display);
    if version == "TLSv1.2" {
        std::fs::write(place.join("gnutls"), ONLY_1_2).unwrap();
        filezilla.env("GNUTLS_SYSTEM_PRIORITY_FILE", place.join("gnutls"));
    }
    filezilla.arg(format!("ftp://ann:secret@127.0.0.1:{port}/"));
    let _filezilla = Process::start(&mut filezilla);
    // It takes its time to start on a busy machine.
    for step in ["connected (ftp)", "logged in", "The listing is complete"] {
        server.log.wait_for(step);
    }
    // No window manager: the window is given the keys by hand.
    let window = "search --sync --name .-.FileZilla windowfocus --sync key ctrl+p";
    let mut xdotool = client_in(&home, "xdotool");
    xdotool.env("DISPLAY", display).args(window.split(' '));
    run(&mut xdotool, "");
    server.log.wait_for("sent /down, 3000000 bytes");
    server.log.wait_for("received /up, 3000000 bytes");
    let log = server.log.text();
    let handshakes = log.lines().filter(|line| line.contains("full handshake"));
    for line in handshakes {
        assert!(line.contains(version), "{line}");
    }
    let arrived = |path: &Path| std::fs::read(path).is_ok_and(|got| got == content);
    assert!(soon(|| arrived(&home.join("down"))), "the download");
    assert!(arrived(&remote.join("up")), "the upload");
}

#[test]
fn filezilla_moves_files_under_both_versions() {
    if !(has("filezilla") && has("Xvfb") && has("xdotool")) {
        return;
    }
    let mut command = Command::new("Xvfb");
    command.args([
        "-displayfd",
        "1",
        "-screen",
        "0",
        "1024x768x24",
        "-nolisten",
        "tcp",
    ]);
    let server = Process::start(&mut command);
    let number: &Lines = &server.out;
    let display = format!(":{}", number.first(1)[0]);
    if cfg!(feature = "tls13") {
        moves_files(&display, "TLSv1.3");
    }
    moves_files(&display, "TLSv1.2");
}
