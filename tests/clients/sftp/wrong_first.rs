//! A wrong secret first, then the right one, by each client that can: a wrong
//! password, then the right one; a wrong key, then the right one or a password.
//! curl, psftp and rclone are given one password each, and curl and psftp one key;
//! lftp and sshfs run ssh(1).
#![cfg(feature = "sftp")]

use std::os::unix::fs::PermissionsExt;

use super::daemons::{Daemon, PASSWORD};
use super::tools::*;

struct Tried {
    place: Place,
    daemon: Daemon,
    wrong: String,
    right: String,
}

/// A daemon, a key that it does not know, and a file `whole` to be fetched.
fn begin(name: &str, programs: &[&str]) -> Option<Tried> {
    if !have(programs) {
        return None;
    }
    let place = Place::new(name);
    let daemon = Daemon::wharfd(&place, "")?;
    let wrong = place.top().join("wrong").display().to_string();
    let words = ["-q", "-t", "ed25519", "-N", "", "-f", &wrong];
    run("ssh-keygen", &words, place.top());
    std::fs::write(place.remote().join("whole"), bytes(1000)).unwrap();
    Some(Tried {
        right: daemon.key.display().to_string(),
        place,
        daemon,
        wrong,
    })
}

impl Tried {
    /// Runs a client that fetches `whole` as `got`.
    fn fetches(&self, program: &str, arguments: &[&str]) {
        run(program, arguments, &self.place.local());
        let got = self.place.local().join("got");
        assert!(std::fs::read(&got).unwrap() == bytes(1000), "{arguments:?}");
        std::fs::remove_file(got).unwrap();
    }

    /// A program of the test's own.
    fn script(&self, name: &str, text: &str) -> String {
        let file = self.place.top().join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&file, mode).unwrap();
        file.display().to_string()
    }
}

#[test]
fn openssh_tries_again() {
    let Some(tried) = begin("wrong-openssh", &["scp", "ssh-keygen"]) else {
        return;
    };
    let once = tried.place.top().join("asked");
    let text = format!(
        "if mkdir '{}' 2>/dev/null; then echo wrong; else echo '{PASSWORD}'; fi",
        once.display()
    );
    let ask = format!("SSH_ASKPASS={}", tried.script("ask", &text));
    let known = format!("UserKnownHostsFile={}", tried.daemon.known_hosts.display());
    let port = tried.daemon.port();
    let (wrong, right) = (tried.wrong.as_str(), tried.right.as_str());
    for keys in [&[][..], &["-i", wrong], &["-i", wrong, "-i", right]] {
        let _ = std::fs::remove_dir(&once);
        let always = [&ask, "SSH_ASKPASS_REQUIRE=force", "scp", "-F", "none"];
        let options = ["-P", &port, "-o", &known, "-o", "IdentitiesOnly=yes"];
        let files = ["ann@127.0.0.1:/whole", "got"];
        tried.fetches("env", &[&always[..], &options, keys, &files].concat());
        // Whoever has the right key is not asked.
        assert_eq!(once.exists(), keys.len() < 4);
    }
}

#[test]
fn dbclient_tries_again() {
    let programs = ["dbclient", "dropbearconvert", "scp", "ssh-keygen"];
    let Some(tried) = begin("wrong-dbclient", &programs) else {
        return;
    };
    let convert = |key: &str| {
        let made = format!("{key}.dropbear");
        let words = ["openssh", "dropbear", key, &made];
        run("dropbearconvert", &words, tried.place.top());
        made
    };
    let (wrong, right) = (convert(&tried.wrong), convert(&tried.right));
    let always = format!("-y -y -q -p {} -s ann@127.0.0.1 sftp", tried.daemon.port());
    for (name, keys) in [
        ("password", format!("-i '{wrong}'")),
        ("key", format!("-i '{wrong}' -i '{right}'")),
    ] {
        let text = format!("DROPBEAR_PASSWORD='{PASSWORD}' exec dbclient {keys} {always}");
        let client = tried.script(name, &text);
        tried.fetches("scp", &["-S", &client, "x:/whole", "got"]);
    }
}

#[test]
fn curl_goes_on_with_the_password() {
    let Some(tried) = begin("wrong-curl", &["curl", "ssh-keygen"]) else {
        return;
    };
    let url = format!("sftp://127.0.0.1:{}/whole", tried.daemon.port());
    let user = format!("ann:{PASSWORD}");
    let public = format!("{}.pub", tried.wrong);
    let words = ["-sSk", "--key", &tried.wrong, "--pubkey", &public, "-u"];
    tried.fetches("curl", &[&words[..], &[&user, "-o", "got", &url]].concat());
}

#[test]
fn rclone_goes_on_with_the_password() {
    let Some(tried) = begin("wrong-rclone", &["rclone", "ssh-keygen"]) else {
        return;
    };
    let hidden = run("rclone", &["obscure", PASSWORD], tried.place.top());
    let remote = format!(
        ":sftp,host=127.0.0.1,port={},user=ann,pass={},key_file={},shell_type=none:whole",
        tried.daemon.port(),
        hidden.trim(),
        tried.wrong
    );
    tried.fetches(
        "rclone",
        &["--config", "/dev/null", "copyto", &remote, "got"],
    );
}

#[test]
fn psftp_goes_on_with_the_password() {
    let Some(tried) = begin("wrong-psftp", &["psftp", "puttygen", "ssh-keygen"]) else {
        return;
    };
    let key = format!("{}.ppk", tried.wrong);
    let words = [tried.wrong.as_str(), "-O", "private", "-o", &key];
    run("puttygen", &words, tried.place.top());
    let known = tried.daemon.known_hosts.display().to_string();
    let line = run("ssh-keygen", &["-lf", &known], tried.place.top());
    let print = line.split_whitespace().nth(1).unwrap().to_owned();
    let batch = tried.place.top().join("batch").display().to_string();
    std::fs::write(&batch, "get whole got\n").unwrap();
    let port = tried.daemon.port();
    let words = ["-batch", "-P", &port, "-i", &key, "-pw", PASSWORD];
    let rest = ["-hostkey", &print, "-b", &batch, "ann@127.0.0.1"];
    tried.fetches("psftp", &[&words[..], &rest].concat());
}

#[test]
fn asyncssh_tries_again() {
    const PYTHON: &str = "/usr/bin/python3";
    let there = try_run(PYTHON.as_ref(), &["-c", "import asyncssh"], "/".as_ref()).0;
    if !there {
        return missed("python3-asyncssh is missing (tests/install-clients.sh)");
    }
    let Some(tried) = begin("wrong-asyncssh", &["ssh-keygen"]) else {
        return;
    };
    let script = tried.place.top().join("script.py").display().to_string();
    let text = "import asyncio, asyncssh, sys\n\
        port, wrong, right, password = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]\n\
        class Asked(asyncssh.SSHClient):\n\
        \x20   def __init__(self): self.passwords = ['wrong', password]\n\
        \x20   def password_auth_requested(self): return self.passwords.pop(0) if self.passwords else None\n\
        \x20   def kbdint_auth_requested(self): return None\n\
        async def fetch(name, **how):\n\
        \x20   async with asyncssh.connect('127.0.0.1', port, username='ann', known_hosts=None,\n\
        \x20                               agent_path=None, config=None, **how) as connection:\n\
        \x20       async with connection.start_sftp_client() as sftp:\n\
        \x20           await sftp.get('/whole', name)\n\
        async def all():\n\
        \x20   await fetch('one', client_factory=Asked, client_keys=None)\n\
        \x20   await fetch('two', client_keys=[wrong, right])\n\
        \x20   await fetch('got', client_keys=[wrong], password=password)\n\
        asyncio.run(all())\n";
    std::fs::write(&script, text).unwrap();
    let port = tried.daemon.port();
    let words = [&script, &port, &tried.wrong, &tried.right, PASSWORD];
    tried.fetches(PYTHON, &words);
    for name in ["one", "two"] {
        assert!(std::fs::read(tried.place.local().join(name)).unwrap() == bytes(1000));
    }
}
