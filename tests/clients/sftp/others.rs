//! What the programs of `over_ssh` do beside moving trees: passwords, resuming,
//! links, modes and times, odd names; and clients that are libraries.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::common::tree::assert_same;
use super::daemons::Daemon;
#[cfg(feature = "sftp")]
use super::daemons::PASSWORD;
use super::over_ssh::{on_each, openssh};
use super::tools::*;

const PYTHON: &str = "/usr/bin/python3";

fn mtime(path: &Path) -> i64 {
    std::fs::metadata(path).unwrap().mtime()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A script for /bin/sh that is the place's, and may be run.
fn script(place: &Place, name: &str, text: &str) -> String {
    let file = place.top().join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o700)).unwrap();
    file.to_str().unwrap().into()
}

/// What every transfer of this file is about: a local tree with odd names, a
/// half of a file on each side.
fn prepare(place: &Place) -> Vec<u8> {
    let data = bytes(3_000_000);
    let (local, remote) = (place.local(), place.remote());
    std::fs::create_dir(local.join("tree")).unwrap();
    for name in PLAIN_NAMES {
        std::fs::write(local.join("tree").join(name), name).unwrap();
    }
    std::fs::write(local.join("tree").join(odd_name()), b"odd").unwrap();
    std::fs::write(local.join("whole"), &data).unwrap();
    std::fs::write(remote.join("half"), &data[..1_000_000]).unwrap();
    std::fs::write(remote.join("whole"), &data).unwrap();
    std::fs::write(local.join("half"), &data[..700_000]).unwrap();
    data
}

fn halves_are_whole(place: &Place, data: &[u8]) {
    for side in [place.local(), place.remote()] {
        assert!(
            std::fs::read(side.join("half")).unwrap() == data,
            "{side:?}"
        );
    }
}

/// The lines for OpenSSH's sftp, whatever carries them.
fn sftp_lines(place: &Place, daemon: &Daemon) -> String {
    let batch = place.top().join("batch");
    let lines = format!(
        "cd {}\nput -rp tree\nget -rp tree back\nlcd {}\nreput whole half\n\
         lcd {}\nreget whole half\nmkdir d\nrename half d/x\nrename d/x half\nln -s half soft\n\
         ln half hard\nchmod 640 half\nls -la\nrm soft\nrmdir d\ndf\n",
        daemon.path(&place.remote()),
        place.local().display(),
        place.local().display(),
    );
    std::fs::write(&batch, lines).unwrap();
    batch.to_str().unwrap().into()
}

fn sftp_has_done_it(place: &Place, data: &[u8]) {
    halves_are_whole(place, data);
    let (local, remote) = (place.local(), place.remote());
    assert_same(&local.join("tree"), &remote.join("tree"));
    assert_same(&local.join("tree"), &local.join("back"));
    let time = mtime(&local.join("tree/plain"));
    assert_eq!(mtime(&remote.join("tree/plain")), time);
    assert_eq!(mtime(&local.join("back/plain")), time);
    assert_eq!(mode(&remote.join("hard")), 0o640);
    assert!(!remote.join("soft").exists() && !remote.join("d").exists());
}

#[test]
fn openssh_does_everything() {
    if !have(&["sftp"]) {
        return;
    }
    on_each("openssh", |place, daemon| {
        let data = prepare(place);
        let batch = sftp_lines(place, daemon);
        let address = format!("{}@127.0.0.1", daemon.user);
        let arguments = ["-R", "64", "-o", "RekeyLimit=1M", "-b", &batch, &address];
        let listing = openssh("sftp", daemon, &arguments, &place.local());
        assert!(is_harmless(&listing), "{listing:?}");
        sftp_has_done_it(place, &data);
    });
}

/// OpenSSH's sftp and scp with dbclient below them.
#[test]
fn dbclient_carries_sftp_and_scp() {
    if !have(&["dbclient", "dropbearconvert", "sftp", "scp"]) {
        return;
    }
    on_each("dbclient", |place, daemon| {
        let data = prepare(place);
        let key = place.top().join("key.dropbear");
        let (from, to) = (daemon.key.to_str().unwrap(), key.to_str().unwrap());
        // It reads only the old format of private keys.
        let convert = ["openssh", "dropbear", from, to];
        run("dropbearconvert", &convert, place.top());
        let always = format!(
            "-y -y -q -p {} -s {}@127.0.0.1 sftp",
            daemon.port(),
            daemon.user
        );
        let by_key = script(
            place,
            "by_key",
            &format!("exec dbclient -i '{to}' {always}"),
        );
        let batch = sftp_lines(place, daemon);
        run("sftp", &["-S", &by_key, "-b", &batch, "x"], &place.local());
        sftp_has_done_it(place, &data);
        let target = format!("x:{}", daemon.path(&place.remote().join("again")));
        run("scp", &["-S", &by_key, "whole", &target], &place.local());
        assert!(std::fs::read(place.remote().join("again")).unwrap() == data);
        #[cfg(feature = "sftp")]
        if daemon.takes_passwords() {
            let text = format!("DROPBEAR_PASSWORD='{PASSWORD}' exec dbclient {always}");
            let by_password = script(place, "by_password", &text);
            let arguments = ["-S", &by_password, "x:/again", "by-password"];
            run("scp", &arguments, &place.local());
            assert!(std::fs::read(place.local().join("by-password")).unwrap() == data);
        }
    });
}

/// Programs that send a password, each in its own way.
#[cfg(feature = "sftp")]
#[test]
fn passwords_log_in() {
    let place = Place::new("passwords");
    let Some(daemon) = Daemon::wharfd(&place, "--ssh-banner Welcome.") else {
        return;
    };
    let data = prepare(&place);
    let (local, port) = (place.local(), daemon.port());
    let is_here = |name: &str| {
        assert!(std::fs::read(local.join(name)).unwrap() == data, "{name}");
        std::fs::remove_file(local.join(name)).unwrap();
    };
    let known = format!("UserKnownHostsFile={}", daemon.known_hosts.display());
    let ask = script(&place, "ask", &format!("echo '{PASSWORD}'"));
    let only = "PreferredAuthentications=password";
    let environment = [
        format!("SSH_ASKPASS={ask}"),
        "SSH_ASKPASS_REQUIRE=force".into(),
    ];
    let [ask, force] = environment.each_ref().map(String::as_str);
    let from = "ann@127.0.0.1:/whole";
    let openssh = [
        "-F", "none", "-P", &port, "-o", &known, "-o", only, from, "by-scp",
    ];
    if have(&["scp"]) {
        let output = run(
            "env",
            &[&[ask, force, "scp"][..], &openssh].concat(),
            &local,
        );
        assert!(output.contains("Welcome."), "{output}");
        is_here("by-scp");
    }
    if have(&["curl"]) {
        let url = format!("sftp://127.0.0.1:{port}/whole");
        let user = format!("ann:{PASSWORD}");
        run(
            "curl",
            &["-sSk", "-u", &user, "-o", "by-curl", &url],
            &local,
        );
        is_here("by-curl");
        let user = "ann:wrong";
        let (worked, text) = try_run(
            "curl".as_ref(),
            &["-sSk", "-u", user, "-o", "by-curl", &url],
            &local,
        );
        assert!(!worked, "{text}");
    }
    if have(&["lftp"]) {
        let script = format!(
            "set net:max-retries 1; set sftp:auto-confirm yes; set sftp:connect-program \
             \"ssh -a -x -F none -o '{known}' -o {only}\"; \
             open -u ann,'{PASSWORD}' -p {port} sftp://127.0.0.1; get -c whole -o half; \
             get whole -o by-lftp; exit"
        );
        run("lftp", &["--norc", "-c", &script], &local);
        is_here("by-lftp");
        is_here("half");
    }
    if have(&["psftp", "ssh-keygen"]) {
        let line = run(
            "ssh-keygen",
            &["-lf", daemon.known_hosts.to_str().unwrap()],
            &local,
        );
        let print = line.split_whitespace().nth(1).unwrap();
        std::fs::write(local.join("half"), &data[..900_000]).unwrap();
        let batch = place.top().join("batch");
        std::fs::write(
            &batch,
            "reget whole half\nreput whole half\nchmod 600 half\n",
        )
        .unwrap();
        std::fs::write(local.join("whole"), &data).unwrap();
        let arguments = [
            "-batch",
            "-P",
            &port,
            "-pw",
            PASSWORD,
            "-hostkey",
            print,
            "-b",
            batch.to_str().unwrap(),
            "ann@127.0.0.1",
        ];
        run("psftp", &arguments, &local);
        halves_are_whole(&place, &data);
        assert_eq!(mode(&place.remote().join("half")), 0o600);
    }
    if have(&["rclone"]) {
        let hidden = run("rclone", &["obscure", PASSWORD], &local);
        let remote = format!(
            ":sftp,host=127.0.0.1,port={port},user=ann,pass={},shell_type=none:",
            hidden.trim()
        );
        let config = ["--config", "/dev/null"];
        let arguments = ["copyto", &format!("{remote}whole"), "by-rclone"];
        run("rclone", &[&config[..], &arguments].concat(), &local);
        assert_eq!(
            mtime(&local.join("by-rclone")),
            mtime(&place.remote().join("whole"))
        );
        is_here("by-rclone");
    }
}

/// Runs a Python script with the port, the user, the key, a password or
/// nothing, and the name of the remote directory.
fn python(place: &Place, daemon: &Daemon, module: &str, text: &str) {
    let (installed, _) = try_run(
        PYTHON.as_ref(),
        &["-c", &format!("import {module}")],
        place.top(),
    );
    if !installed {
        return missed(&format!(
            "python3-{module} is missing (tests/install-clients.sh)"
        ));
    }
    let file = place.top().join("script.py");
    std::fs::write(&file, text).unwrap();
    #[cfg(feature = "sftp")]
    let password = if daemon.takes_passwords() {
        PASSWORD
    } else {
        ""
    };
    #[cfg(not(feature = "sftp"))]
    let password = "";
    let arguments = [
        file.to_str().unwrap(),
        &daemon.port(),
        &daemon.user,
        daemon.key.to_str().unwrap(),
        password,
        &daemon.path(&place.remote()),
    ];
    let output = run(PYTHON, &arguments, &place.local());
    // Python's libraries have warnings of their own.
    assert!(output.lines().any(|line| line == "done"), "{output}");
}

#[test]
fn asyncssh_does_everything() {
    on_each("asyncssh", |place, daemon| {
        python(place, daemon, "asyncssh", ASYNCSSH)
    });
}

#[test]
fn paramiko_does_everything() {
    on_each("paramiko", |place, daemon| {
        python(place, daemon, "paramiko", PARAMIKO)
    });
}

const ASYNCSSH: &str = r#"
import asyncio, asyncssh, os, stat, sys
port, user, key, password, home = sys.argv[1:]
data = os.urandom(3_000_000)
async def session(**how):
    return asyncssh.connect("127.0.0.1", int(port), username=user, known_hosts=None,
                            config=None, agent_path=None, **how)
async def main():
    os.mkdir("src")
    names = [b"with space", "größe-日本".encode(), b"bell\x07 new\nline \xff"]
    for name in names:
        with open(b"src/" + name, "wb") as file:
            file.write(name)
    with open("src/big", "wb") as file:
        file.write(data)
    os.utime("src/big", (1, 2))
    async with await session(client_keys=[key], rekey_bytes=1 << 20) as connection:
        async with connection.start_sftp_client() as sftp:
            at = lambda name: home.rstrip("/").encode() + b"/" + name.encode()
            await sftp.put(b"src", at("dst"), recurse=True, preserve=True, follow_symlinks=False,
                           max_requests=64)
            await sftp.get(at("dst"), b"back", recurse=True, preserve=True, follow_symlinks=False,
                           max_requests=64)
            assert open("back/big", "rb").read() == data
            assert os.stat("back/big").st_mtime == 2
            for name in names:
                assert open(b"back/" + name, "rb").read() == name
            await sftp.chmod(at("dst/big"), 0o600)
            found = await sftp.stat(at("dst/big"))
            assert stat.S_IMODE(found.permissions) == 0o600 and found.mtime == 2
            await sftp.rename(at("dst/big"), at("moved"))
            await sftp.posix_rename(at("moved"), at("dst/with space"))
            await sftp.link(at("dst/with space"), at("hard"))
            await sftp.symlink("hard", at("soft"))
            assert await sftp.readlink(at("soft")) == b"hard"
            # Resuming: the second half behind the first.
            async with sftp.open(at("half"), "wb") as file:
                await file.write(data[:1_500_000])
            async with sftp.open(at("half"), "r+b") as file:
                await file.seek(1_500_000)
                await file.write(data[1_500_000:])
            async with sftp.open(at("half"), "rb") as file:
                assert await file.read() == data
            assert (await sftp.statvfs(home)).bsize > 0
            try:
                await sftp.stat(at("missing"))
                raise SystemExit("what is missing is there")
            except asyncssh.SFTPNoSuchFile:
                pass
            await sftp.rmtree(at("dst"))
            assert not await sftp.exists(at("dst"))
    if password:
        async with await session(password=password, client_keys=None) as connection:
            async with connection.start_sftp_client() as sftp:
                assert (await sftp.stat("/half")).size == len(data)
asyncio.run(main())
print("done")
"#;

const PARAMIKO: &str = r#"
import os, sys
import paramiko
port, user, key, password, home = sys.argv[1:]
data = os.urandom(3_000_000)
def session(**how):
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect("127.0.0.1", int(port), username=user, allow_agent=False, look_for_keys=False, **how)
    return client
client = session(key_filename=key)
client.get_transport().packetizer.REKEY_BYTES = 1 << 20
sftp = client.open_sftp()
sftp.chdir(home)
with open("big", "wb") as file:
    file.write(data)
sftp.put("big", "there")
sftp.get("there", "back")
assert open("back", "rb").read() == data
with sftp.open("half", "wb") as file:
    file.write(data[:1_000_000])
with sftp.open("half", "ab") as file:
    file.set_pipelined(True)
    for at in range(1_000_000, len(data), 30_000):
        file.write(data[at:at + 30_000])
with sftp.open("half", "rb") as file:
    file.prefetch(len(data))
    assert file.read() == data
for name in ["with space", "größe-日本", b"bell\x07 new\nline \xff"]:
    with sftp.open(name, "wb") as file:
        file.write(b"x")
    assert sftp.stat(name).st_size == 1
    sftp.remove(name)
sftp.chmod("half", 0o600)
sftp.utime("half", (1, 2))
assert sftp.stat("half").st_mtime == 2 and sftp.stat("half").st_mode & 0o777 == 0o600
sftp.rename("half", "moved")
sftp.posix_rename("moved", "there")
sftp.symlink("there", "link")
assert sftp.readlink("link") == "there"
client.close()
if password:
    client = session(password=password)
    assert client.open_sftp().stat("/there").st_size == len(data)
    client.close()
print("done")
"#;
