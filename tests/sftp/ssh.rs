//! The SSH transport against OpenSSH's client: every algorithm, logins, bulk
//! data in both directions, rekeying, refusals.
#![cfg(feature = "sftp")]

use crate::common as temp;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use temp::TempDir;
use wharf::auth::PublicKey;
use wharf::daemon::ssh::{
    AuthOutcome, Channel, Handler, HostKeys, Progress, Proof, Settings, Subsystem, serve,
};

// ---- the server under test ----

/// Lets `tester` in with the password `open sesame` or a key of the list; the
/// subsystem gives everything back.
struct Echo {
    keys: Vec<PublicKey>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Handler for Echo {
    fn authenticate(&mut self, name: &str, proof: Proof<'_>) -> AuthOutcome {
        let (word, good) = match proof {
            Proof::Password(password) => ("password", password == b"open sesame"),
            Proof::KeyOffered(key) => ("offered", self.keys.contains(key)),
            Proof::KeyVerified(key) => ("verified", self.keys.contains(key)),
            _ => ("none", false),
        };
        let good = good && name == "tester";
        let seen = format!("{word} {}", if good { "yes" } else { "no" });
        self.seen.lock().unwrap().push(seen);
        if good {
            AuthOutcome::Accepted
        } else {
            AuthOutcome::Refused
        }
    }

    fn sftp<'h>(&'h self, channel: Box<dyn Channel + 'h>) -> Box<dyn Subsystem + 'h> {
        Box::new(EchoChannel {
            channel,
            waiting: Vec::new(),
        })
    }
}

struct EchoChannel<'h> {
    channel: Box<dyn Channel + 'h>,
    waiting: Vec<u8>,
}

impl EchoChannel<'_> {
    fn give_back(&mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; 100_000];
        loop {
            while !self.waiting.is_empty() {
                let count = self.channel.write(&self.waiting)?;
                self.waiting.drain(..count);
            }
            match self.channel.read(&mut buffer)? {
                0 => return Ok(()),
                count => self.waiting.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

impl Subsystem for EchoChannel<'_> {
    fn step(&mut self) -> Progress {
        match self.give_back() {
            Ok(()) => Progress::Ended(7),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Progress::Waiting,
            Err(_) => Progress::Ended(1),
        }
    }
}

struct Server {
    address: SocketAddr,
    scratch: TempDir,
    seen: Arc<Mutex<Vec<String>>>,
    /// How each connection ended.
    ends: Arc<Mutex<Vec<String>>>,
}

const KEY_TYPES: [&str; 5] = ["ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa-3072"];

impl Server {
    fn start(settings: Settings) -> Server {
        let scratch = TempDir::new("ssh");
        let host_keys: Vec<PathBuf> = ["ed25519", "ecdsa", "rsa"]
            .iter()
            .map(|kind| scratch.join(format!("host_{kind}_key")))
            .collect();
        let host_keys = Arc::new(HostKeys::load_or_create(&host_keys).unwrap());
        let mut known = String::new();
        for (path, _, _) in host_keys.fingerprints() {
            let shown = Command::new("ssh-keygen")
                .args(["-y", "-f"])
                .arg(&path)
                .output()
                .unwrap();
            assert!(shown.status.success(), "ssh-keygen reads {path:?}");
            known += &format!("wharf {}", String::from_utf8(shown.stdout).unwrap());
        }
        fs::write(scratch.join("known_hosts"), known).unwrap();
        let mut keys = Vec::new();
        for kind in KEY_TYPES {
            let file = scratch.join(format!("user_{kind}"));
            let (algorithm, bits) = kind.split_once('-').unwrap_or((kind, "0"));
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-N", "", "-t", algorithm]);
            if bits != "0" {
                command.args(["-b", bits]);
            }
            assert!(command.arg("-f").arg(&file).status().unwrap().success());
            let public = fs::read_to_string(file.with_extension("pub")).unwrap();
            let mut words = public.split(' ');
            let name = words.next().unwrap();
            let blob = openssl::base64::decode_block(words.next().unwrap()).unwrap();
            keys.push(PublicKey::new(name, blob));
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let ends = Arc::new(Mutex::new(Vec::new()));
        let server = Server {
            address,
            scratch,
            seen: seen.clone(),
            ends: ends.clone(),
        };
        let settings = Arc::new(settings);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let (host_keys, settings) = (host_keys.clone(), settings.clone());
                let (ends, seen, keys) = (ends.clone(), seen.clone(), keys.clone());
                thread::spawn(move || {
                    let mut handler = Echo { keys, seen };
                    let end = serve(&mut socket, &host_keys, &settings, &mut handler);
                    let end = match end {
                        Ok(()) => "ok".to_owned(),
                        Err(error) => format!("{:?}: {error}", error.kind()),
                    };
                    ends.lock().unwrap().push(end);
                });
            }
        });
        server
    }

    /// An `ssh` command that uses nothing of the machine's configuration.
    fn ssh(&self, options: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command
            .args(["-F", "/dev/null", "-p"])
            .arg(self.address.port().to_string())
            .args([
                "-o",
                "HostKeyAlias=wharf",
                "-o",
                "StrictHostKeyChecking=yes",
            ])
            .args([
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "GlobalKnownHostsFile=/dev/null",
            ])
            .args(["-o", "ServerAliveInterval=30", "-o", "ConnectTimeout=20"])
            .arg("-o")
            .arg(format!(
                "UserKnownHostsFile={}",
                self.scratch.join("known_hosts").display()
            ))
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.scratch.path())
            .args(options);
        command
    }

    fn with_key(&self, kind: &str, options: &[&str]) -> Command {
        let mut command = self.ssh(&["-o", "BatchMode=yes", "-i"]);
        command.arg(self.scratch.join(format!("user_{kind}")));
        command.args(options);
        command
    }

    fn with_password(&self, password: &str, options: &[&str]) -> Command {
        let script = self.scratch.join("askpass");
        fs::write(&script, format!("#!/bin/sh\necho '{password}'\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
        let mut command = self.ssh(&["-o", "PreferredAuthentications=password"]);
        command.env("SSH_ASKPASS", script);
        command.env("SSH_ASKPASS_REQUIRE", "force");
        command.args(options);
        command
    }
}

const SUBSYSTEM: [&str; 3] = ["-s", "tester@127.0.0.1", "sftp"];

/// Runs to the end or the deadline; `input` goes in from a thread.
fn run(command: &mut Command, input: Vec<u8>) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let mut stdout = child.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut out = Vec::new();
        let _ = stdout.read_to_end(&mut out);
        out
    });
    let mut stderr = child.stderr.take().unwrap();
    let errors = thread::spawn(move || {
        let mut out = Vec::new();
        let _ = stderr.read_to_end(&mut out);
        out
    });
    let status = wait(&mut child, Duration::from_secs(120));
    writer.join().unwrap();
    Output {
        status,
        stdout: reader.join().unwrap(),
        stderr: errors.join().unwrap(),
    }
}

fn wait(child: &mut Child, limit: Duration) -> std::process::ExitStatus {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the client did not end in time");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes that do not compress and do not repeat.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// The echo must be the same, with the subsystem's exit status behind it.
#[track_caller]
fn echoes(command: &mut Command, size: usize) {
    let input = noise(size);
    let out = run(command, input.clone());
    let errors = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(7), "{errors}");
    assert!(
        out.stdout == input,
        "{} bytes back; {errors}",
        out.stdout.len()
    );
}

#[test]
fn each_user_key_logs_in() {
    let server = Server::start(Settings::default());
    for kind in KEY_TYPES {
        echoes(server.with_key(kind, &[]).args(SUBSYSTEM), 1000);
        assert_eq!(
            server.seen.lock().unwrap().split_off(0),
            ["none no", "offered yes", "offered yes", "verified yes"],
            "{kind}"
        );
    }
    // The last client may be gone before its connection's thread.
    let until = Instant::now() + Duration::from_secs(20);
    while server.ends.lock().unwrap().len() < 5 && Instant::now() < until {
        thread::yield_now();
    }
    assert_eq!(*server.ends.lock().unwrap(), ["ok"; 5]);
}

#[test]
fn the_password_logs_in_and_a_wrong_one_does_not() {
    let server = Server::start(Settings::default());
    echoes(
        server.with_password("open sesame", &[]).args(SUBSYSTEM),
        1000,
    );
    let out = run(
        server
            .with_password("wrong", &["-o", "NumberOfPasswordPrompts=2"])
            .args(SUBSYSTEM),
        Vec::new(),
    );
    assert_eq!(out.status.code(), Some(255));
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(
        errors.contains("Permission denied (publickey,password,keyboard-interactive)"),
        "{errors}"
    );
}

/// A key that nobody authorized: the question is refused, and no signature is
/// asked for.
#[test]
fn a_strange_key_does_not_log_in() {
    let server = Server::start(Settings::default());
    let strange = server.scratch.join("user_strange");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-t", "ed25519", "-f"])
        .arg(&strange)
        .status();
    assert!(made.unwrap().success());
    let out = run(server.with_key("strange", &[]).args(SUBSYSTEM), Vec::new());
    assert_eq!(out.status.code(), Some(255));
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(errors.contains("Permission denied"), "{errors}");
    assert_eq!(*server.seen.lock().unwrap(), ["none no", "offered no"]);
}

#[test]
fn each_cipher_and_mac_carries_data() {
    let server = Server::start(Settings::default());
    let sizes = 3_000_000;
    for cipher in [
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
    ] {
        let mut command = server.with_key("ed25519", &["-c", cipher]);
        echoes(command.args(SUBSYSTEM), sizes);
    }
    for cipher in ["aes128-ctr", "aes256-ctr"] {
        for mac in [
            "hmac-sha2-256-etm@openssh.com",
            "hmac-sha2-512-etm@openssh.com",
            "hmac-sha2-256",
            "hmac-sha2-512",
        ] {
            let mut command = server.with_key("ed25519", &["-c", cipher, "-m", mac]);
            echoes(command.args(SUBSYSTEM), sizes);
        }
    }
}

#[test]
fn each_key_exchange_and_host_key_works() {
    let settings = Settings::default();
    // OpenSSH before 9.9 has no mlkem768x25519-sha256, nor has OpenSSL before 3.5.
    let clients = Command::new("ssh").args(["-Q", "kex"]).output().unwrap();
    let clients = String::from_utf8(clients.stdout).unwrap();
    let mut both = settings.algorithms.kex.clone();
    both.retain(|kex| clients.lines().any(|name| name == kex));
    assert!(both.len() >= 3, "{both:?}");
    let server = Server::start(settings);
    for kex in both {
        for host_key in [
            "ssh-ed25519",
            "ecdsa-sha2-nistp256",
            "rsa-sha2-512",
            "rsa-sha2-256",
        ] {
            let kex = format!("KexAlgorithms={kex}");
            let host_key = format!("HostKeyAlgorithms={host_key}");
            let mut command = server.with_key("ed25519", &["-o", &kex, "-o", &host_key]);
            echoes(command.args(SUBSYSTEM), 10);
        }
    }
}

#[test]
fn sixty_four_mebibytes_go_both_ways() {
    let server = Server::start(Settings::default());
    let mut command = server.with_key("ed25519", &["-c", "aes128-gcm@openssh.com"]);
    echoes(command.args(SUBSYSTEM), 64 << 20);
}

#[test]
fn both_sides_rekey_while_data_flow() {
    let server = Server::start(Settings::default());
    let mut command = server.with_key("ed25519", &["-o", "RekeyLimit=1M"]);
    echoes(command.args(SUBSYSTEM), 20 << 20);

    let mut settings = Settings::default();
    settings.rekey_bytes = 1 << 20;
    let server = Server::start(settings);
    let mut command = server.with_key("ed25519", &["-v"]);
    let input = noise(20 << 20);
    let out = run(command.args(SUBSYSTEM), input.clone());
    assert_eq!(out.status.code(), Some(7));
    assert!(out.stdout == input);
    let log = String::from_utf8_lossy(&out.stderr);
    let rekeys = log.matches("SSH2_MSG_NEWKEYS received").count();
    assert!(rekeys > 10, "{rekeys} key exchanges");
}

#[test]
fn shell_and_commands_are_politely_refused() {
    let server = Server::start(Settings::default());
    for (arguments, words) in [
        (&["tester@127.0.0.1"][..], "there is no shell"),
        (&["tester@127.0.0.1", "ls"], "commands are not run"),
    ] {
        let out = run(server.with_key("ed25519", arguments).arg("-T"), Vec::new());
        let errors = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{errors}");
        assert!(errors.contains(words), "{errors}");
    }
    let out = run(
        server
            .with_key("ed25519", &["-s", "tester@127.0.0.1", "other"])
            .arg("-T"),
        Vec::new(),
    );
    assert_eq!(out.status.code(), Some(255));
    // Forwarding: the client is told no, and the session lives on.
    let mut command = server.with_key("ed25519", &["-v", "-A", "-X", "-R", "0:127.0.0.1:9"]);
    echoes(command.args(SUBSYSTEM), 100);
}

/// What is not SSH gets a line, not silence.
#[test]
fn something_else_than_ssh_is_sent_away() {
    let server = Server::start(Settings::default());
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("SSH-2.0-wharf_"), "{answer}");
    assert!(answer.ends_with("does not speak SSH\r\n"), "{answer}");
}
