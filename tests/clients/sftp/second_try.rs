//! What clients do after the first failure, and beside the first channel:
//! wrong password, then the right one; wrong keys, then the right one or a
//! password; a command, then SFTP; several sessions over one connection.
#![cfg(feature = "sftp")]

use std::process::{Child, Command, Stdio};

use super::daemons::{Daemon, PASSWORD};
use super::over_ssh::openssh;
use super::tools::*;

const PYTHON: &str = "/usr/bin/python3";

/// Runs a script of paramiko, which finds port, key, password and a directory
/// in `sys.argv`.
fn paramiko(place: &Place, daemon: &Daemon, script: &str) {
    let head = "import os, sys, paramiko\n\
        port, key, password, top = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]\n\
        right = paramiko.Ed25519Key(filename=key)\n\
        def connect():\n\
        \x20   transport = paramiko.Transport(('127.0.0.1', port))\n\
        \x20   transport.start_client(timeout=60)\n\
        \x20   return transport\n\
        def refused(attempt):\n\
        \x20   try: attempt()\n\
        \x20   except paramiko.AuthenticationException: return\n\
        \x20   sys.exit('let in')\n\
        def use(transport):\n\
        \x20   sftp = paramiko.SFTPClient.from_transport(transport)\n\
        \x20   sftp.putfo(open(key, 'rb'), '/copy')\n\
        \x20   assert sftp.stat('/copy').st_size == os.stat(key).st_size\n\
        \x20   return sftp\n";
    let file = place.top().join("script.py");
    std::fs::write(&file, format!("{head}{script}")).unwrap();
    let (port, key) = (daemon.port(), daemon.key.to_str().unwrap().to_owned());
    let top = place.top().to_str().unwrap();
    let arguments = [file.to_str().unwrap(), &port, &key, PASSWORD, top];
    run(PYTHON, &arguments, place.top());
}

fn with_paramiko(name: &str, script: &str) {
    let there = try_run(PYTHON.as_ref(), &["-c", "import paramiko"], "/".as_ref()).0;
    if !there {
        return missed("python3-paramiko is missing (tests/install-clients.sh)");
    }
    let place = Place::new(name);
    if let Some(daemon) = Daemon::wharfd(&place, "") {
        paramiko(&place, &daemon, script);
    }
}

#[test]
fn paramiko_logs_in_at_the_second_try() {
    with_paramiko(
        "second-try",
        "other = lambda: paramiko.ECDSAKey.generate()\n\
        for first in ['password', 'key', 'ten keys']:\n\
        \x20   for second in ['password', 'key', 'interactive']:\n\
        \x20       t = connect()\n\
        \x20       if first == 'password': refused(lambda: t.auth_password('ann', 'wrong'))\n\
        \x20       for _ in range({'key': 1, 'ten keys': 10}.get(first, 0)):\n\
        \x20           refused(lambda: t.auth_publickey('ann', other()))\n\
        \x20       if second == 'password': t.auth_password('ann', password)\n\
        \x20       elif second == 'key': t.auth_publickey('ann', right)\n\
        \x20       else: t.auth_interactive('ann', lambda *_: [password])\n\
        \x20       use(t)\n\
        \x20       t.close()\n",
    );
}

/// What a script must show as ann, whose line ends with `options`.
fn with_options(name: &str, options: &str, script: &str) {
    let there = try_run(PYTHON.as_ref(), &["-c", "import paramiko"], "/".as_ref()).0;
    if !there {
        return missed("python3-paramiko is missing (tests/install-clients.sh)");
    }
    let place = Place::new(name);
    let user = format!("elradfmwMT:keys=key.pub,{options}");
    if let Some(daemon) = Daemon::wharfd_with(&place, "", &user) {
        paramiko(&place, &daemon, script);
    }
}

#[test]
fn a_code_is_asked_for_and_counts_once() {
    with_options(
        "totp",
        "totp=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
        "import hmac, struct, time\n\
        def code(step):\n\
        \x20   mac = hmac.digest(b'12345678901234567890', struct.pack('>Q', int(time.time()) // 30 + step), 'sha1')\n\
        \x20   at = mac[-1] & 15\n\
        \x20   return '%06d' % ((struct.unpack('>I', mac[at:at+4])[0] & 0x7fffffff) % 1000000)\n\
        asked = []\n\
        def answers(password, code):\n\
        \x20   def answer(title, text, prompts):\n\
        \x20       asked.extend(prompt for prompt, _ in prompts)\n\
        \x20       return [code if 'code' in prompt else password for prompt, _ in prompts]\n\
        \x20   return answer\n\
        t = connect()\n\
        refused(lambda: t.auth_password('ann', password))\n\
        refused(lambda: t.auth_interactive('ann', answers('wrong', code(0))))\n\
        refused(lambda: t.auth_interactive('ann', answers(password, '12345x')))\n\
        del asked[:]\n\
        now = code(0)\n\
        t.auth_interactive('ann', answers(password, now))\n\
        assert asked == ['Password: ', 'One-time code: '], asked\n\
        use(t)\n\
        t.close()\n\
        t = connect()\n\
        refused(lambda: t.auth_interactive('ann', answers(password, now)))\n\
        t.auth_password('ann', password + code(1))\n\
        use(t)\n\
        t = connect()\n\
        t.auth_publickey('ann', right)\n\
        use(t)\n",
    );
}

#[test]
fn a_key_and_a_password_may_both_be_required() {
    with_options(
        "require",
        "require=publickey+password",
        "other = paramiko.ECDSAKey.generate()\n\
        t = connect()\n\
        assert t.auth_publickey('ann', right) == ['password', 'keyboard-interactive']\n\
        assert not t.is_authenticated()\n\
        refused(lambda: t.auth_password('ann', 'wrong'))\n\
        try: t.auth_publickey('ann', right)\n\
        except paramiko.BadAuthenticationType as error:\n\
        \x20   assert error.allowed_types == ['password', 'keyboard-interactive']\n\
        else: sys.exit('the key again')\n\
        t.auth_password('ann', password)\n\
        use(t)\n\
        t = connect()\n\
        refused(lambda: t.auth_publickey('ann', other))\n\
        assert t.auth_interactive('ann', lambda *_: [password]) == ['publickey']\n\
        refused(lambda: t.auth_publickey('ann', other))\n\
        assert not t.is_authenticated()\n\
        t.auth_publickey('ann', right)\n\
        use(t)\n",
    );
}

#[test]
fn paramiko_opens_sftp_after_a_command_and_several_times() {
    with_paramiko(
        "second-channel",
        "t = connect()\n\
        t.auth_publickey('ann', right)\n\
        for _ in range(50):\n\
        \x20   channel = t.open_session()\n\
        \x20   channel.exec_command('hostname')\n\
        \x20   assert channel.recv_exit_status() == 1\n\
        \x20   use(t).close()\n\
        many = [use(t) for _ in range(10)]\n\
        for sftp in many: assert sftp.listdir('/') == ['copy']\n\
        opened = [sftp.open('/copy') for sftp in many for _ in range(30)]\n\
        for file in opened: assert len(file.read()) == os.stat(key).st_size\n",
    );
}

/// An agent with ten keys of others before the right one.
#[test]
fn openssh_logs_in_with_the_eleventh_key_of_its_agent() {
    if !have(&["sftp", "ssh-agent", "ssh-add", "ssh-keygen"]) {
        return;
    }
    let place = Place::new("agent");
    let Some(daemon) = Daemon::wharfd(&place, "") else {
        return;
    };
    let socket = place.top().join("agent.socket");
    let agent = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _agent = Killed(agent);
    let mut keys = Vec::new();
    for number in 0..10 {
        let key = place.top().join(format!("other{number}"));
        let arguments = ["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().unwrap()];
        run("ssh-keygen", &arguments, place.top());
        keys.push(key);
    }
    keys.push(daemon.key.clone());
    // The agent makes its socket a moment after it has started.
    let add = |key: &std::path::Path| {
        let mut command = Command::new("ssh-add");
        command.arg("-q").arg(key).env("SSH_AUTH_SOCK", &socket);
        command.status().unwrap().success()
    };
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !socket.exists() {
        assert!(std::time::Instant::now() < until);
        std::thread::yield_now();
    }
    assert!(keys.iter().all(|key| add(key)));
    let batch = place.top().join("batch");
    std::fs::write(&batch, "put key.pub there\n").unwrap();
    let agent = format!("IdentityAgent={}", socket.display());
    let port = format!("Port={}", daemon.port());
    let known = format!("UserKnownHostsFile={}", daemon.known_hosts.display());
    let mut arguments = vec!["-F", "none", "-b", batch.to_str().unwrap()];
    for option in [&agent, &port, &known, "BatchMode=yes"] {
        arguments.extend(["-o", option]);
    }
    arguments.push("ann@127.0.0.1");
    run("sftp", &arguments, place.top());
    assert!(place.remote().join("there").exists());
}

/// Four at once over one connection of OpenSSH's.
#[test]
fn openssh_shares_one_connection() {
    if !have(&["sftp", "scp", "ssh"]) {
        return;
    }
    let place = Place::new("master");
    let Some(daemon) = Daemon::wharfd(&place, "") else {
        return;
    };
    let socket = place.top().join("control");
    let path = format!("ControlPath={}", socket.display());
    let mut master = Command::new("ssh");
    master
        .args(daemon.options())
        .args(["-o", &path, "-M", "-N", "ann@127.0.0.1"])
        .stdin(Stdio::null());
    let _master = Killed(master.spawn().unwrap());
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !socket.exists() {
        assert!(std::time::Instant::now() < until);
        std::thread::yield_now();
    }
    std::fs::write(place.local().join("large"), bytes(5 << 20)).unwrap();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (place, daemon, path) = (&place, &daemon, &path);
            scope.spawn(move || {
                let there = format!("ann@127.0.0.1:/large{number}");
                let options = ["-o", path, "-o", "ProxyCommand=false"];
                let up = [&options[..], &["large", &there]].concat();
                openssh("scp", daemon, &up, &place.local());
                let back = format!("back{number}");
                let down = [&options[..], &[&there, &back]].concat();
                openssh("scp", daemon, &down, &place.local());
                assert!(std::fs::read(place.local().join(back)).unwrap() == bytes(5 << 20));
            });
        }
    });
    let log = std::fs::read_to_string(place.top().join("daemon.log")).unwrap();
    assert_eq!(log.matches("logged in").count(), 1, "{log}");
}

/// A program that is ended with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
