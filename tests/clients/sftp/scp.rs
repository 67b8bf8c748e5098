//! The old protocol of scp: `scp -O`, `pscp -scp`, and libraries that have it
//! built in.
#![cfg(feature = "sftp")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::common::tree::assert_same;
use super::daemons::{Daemon, PASSWORD};
use super::over_ssh::openssh;
use super::tools::*;

const PYTHON: &str = "/usr/bin/python3";

fn mtime(path: &Path) -> i64 {
    std::fs::metadata(path).unwrap().mtime()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

/// The same trees, modes and times, wherever `-p` was given.
fn kept(one: &Path, two: &Path) {
    assert_same(one, two);
    for name in ["", "sub", "sub/deep", "sub/large", "plain"] {
        let (one, two) = (one.join(name), two.join(name));
        assert_eq!(mode(&one), mode(&two), "{one:?}");
        assert_eq!(mtime(&one), mtime(&two), "{one:?}");
    }
}

fn on_wharfd(name: &str, case: fn(&Place, &Daemon)) {
    if !have(&["scp", "touch"]) {
        return;
    }
    for flags in ["", "--atomic-uploads --ssh-rekey-bytes 1M"] {
        let place = Place::new(name);
        if let Some(daemon) = Daemon::wharfd(&place, flags) {
            case(&place, &daemon);
        }
    }
}

fn tree_with_old_times(top: &Path) {
    make_tree(top, &PLAIN_NAMES);
    let set = |name: &str, bits| {
        let mode = std::fs::Permissions::from_mode(bits);
        std::fs::set_permissions(top.join(name), mode).unwrap();
    };
    set("plain", 0o640);
    set("sub/large", 0o600);
    set("sub", 0o750);
    for name in ["sub/large", "plain", "sub/deep", "sub", ""] {
        let path = top.join(name);
        run(
            "touch",
            &["-d", "2020-02-03 04:05:06Z", path.to_str().unwrap()],
            top,
        );
    }
}

#[test]
fn openssh_copies_both_ways_as_it_did_before_sftp() {
    on_wharfd("scp-o", |place, daemon| {
        let (local, remote) = (place.local(), place.remote());
        tree_with_old_times(&local.join("tree"));
        let at = |path: &str| format!("ann@127.0.0.1:{path}");
        let scp =
            |arguments: &[&str]| openssh("scp", daemon, &[&["-O"], arguments].concat(), &local);
        // One file: to a name, into a directory, over what is there, by an
        // absolute path, from the home.
        scp(&["tree/sub/large", &at("large")]);
        scp(&["tree/plain", &at("large")]);
        assert_eq!(std::fs::read(remote.join("large")).unwrap(), b"");
        scp(&["tree/sub/large", &at("/")]);
        scp(&["tree/sub/large", &at("'with blank'")]);
        scp(&["tree/sub/large", &at("")]);
        for name in ["large", "with blank"] {
            assert!(std::fs::read(remote.join(name)).unwrap() == bytes(3 << 20));
        }
        scp(&[&at("large"), "back"]);
        assert!(std::fs::read(local.join("back")).unwrap() == bytes(3 << 20));
        // Several, which need a directory.
        std::fs::create_dir(remote.join("into")).unwrap();
        scp(&[
            "tree/plain",
            "tree/with space",
            "tree/quote's",
            &at("into/"),
        ]);
        assert!(remote.join("into/quote's").exists());
        // Trees, with and without times and modes.
        scp(&["-rp", "tree", &at("new")]);
        kept(&local.join("tree"), &remote.join("new"));
        scp(&["-r", "tree", &at("new")]);
        assert_same(&local.join("tree"), &remote.join("new/tree"));
        std::fs::remove_dir_all(remote.join("new/tree")).unwrap();
        run("touch", &["-d", "2020-02-03 04:05:06Z", "new"], &remote);
        scp(&["-rp", &at("new"), "fetched"]);
        kept(&remote.join("new"), &local.join("fetched"));
        // Wildcards of the far side.
        std::fs::create_dir(local.join("globbed")).unwrap();
        scp(&["-r", &at("new/*s*"), "globbed"]);
        for name in ["with space", "quote's", "sub/large"] {
            assert!(local.join("globbed").join(name).exists(), "{name}");
        }
        assert!(!local.join("globbed/plain").exists());
    });
}

#[test]
fn what_goes_wrong_with_scp_is_told() {
    on_wharfd("scp-wrong", |place, daemon| {
        let (local, remote) = (place.local(), place.remote());
        std::fs::write(local.join("one"), b"one").unwrap();
        std::fs::write(local.join("two"), b"two").unwrap();
        std::fs::create_dir(remote.join("dir")).unwrap();
        std::fs::write(remote.join("file"), b"file").unwrap();
        std::fs::write(remote.join("line\nbreak"), b"").unwrap();
        std::fs::write(remote.join("dir/in"), b"in").unwrap();
        std::fs::write(remote.join("dir/line\nbreak"), b"").unwrap();
        let at = |path: &str| format!("ann@127.0.0.1:{path}");
        let options = daemon.options();
        let fails = |arguments: &[&str], words: &str| {
            let options = options.iter().map(String::as_str);
            let all: Vec<&str> = options
                .chain(["-O"])
                .chain(arguments.iter().copied())
                .collect();
            let (ok, output) = try_run("scp".as_ref(), &all, &local);
            assert!(!ok && output.contains(words), "{arguments:?}: {output}");
        };
        fails(&[&at("missing"), "."], "No such file");
        fails(&[&at("dir"), "."], "not a regular file");
        fails(&["one", &at("missing/one")], "No such file");
        fails(&["one", "two", &at("file")], "Not a directory");
        fails(&["one", "two", &at("missing")], "No such file");
        fails(&["one", &at("missing/")], "Not a directory");
        fails(&["-r", "../local", &at("file")], "File exists");
        fails(&[&at("'file;id'"), "."], "No such file");
        fails(&[&at("file;id"), "."], "no shell");
        fails(&[&at("$(id)"), "."], "no shell");
        fails(&["one", &at("a b")], "in quotes");
        // The others of a directory come all the same.
        fails(&["-r", &at("dir"), "."], "Invalid name");
        assert!(local.join("dir/in").exists());
        let log = std::fs::read_to_string(place.top().join("daemon.log")).unwrap();
        assert!(log.contains("sent /dir/in, 2 bytes"), "{log}");
        let listed = std::fs::read_dir(&remote).unwrap().count();
        assert_eq!(listed, 3, "nothing was made");
    });
}

#[test]
fn the_rights_of_scp_are_those_of_sftp() {
    if !have(&["scp"]) {
        return;
    }
    for (rights, up, over, down) in [
        ("read-only", false, false, true),
        ("upload-only", true, false, false),
        ("drop", true, false, false),
        ("read-write", true, true, true),
    ] {
        let place = Place::new("scp-rights");
        let user = format!("{rights}:keys=key.pub");
        let Some(daemon) = Daemon::wharfd_with(&place, "", &user) else {
            return;
        };
        let (local, remote) = (place.local(), place.remote());
        std::fs::write(remote.join("there"), b"there").unwrap();
        std::fs::write(local.join("here"), b"here").unwrap();
        let options = daemon.options();
        let scp = |from: &str, to: &str| {
            let options = options.iter().map(String::as_str);
            let all: Vec<&str> = options.chain(["-O", from, to]).collect();
            try_run("scp".as_ref(), &all, &local)
        };
        let at = |path: &str| format!("ann@127.0.0.1:{path}");
        for (from, to, want) in [
            ("here", at("new"), up),
            ("here", at(""), up && rights != "drop"),
            ("here", at("there"), over),
            (at("there").as_str(), "got".into(), down),
        ] {
            let (ok, output) = scp(from, &to);
            assert!(
                ok == want || rights == "drop" && to == at(""),
                "{rights} {from} {to}: {output}"
            );
        }
        let there = std::fs::read(remote.join("there")).unwrap();
        assert_eq!(
            there,
            if over { &b"here"[..] } else { b"there" },
            "{rights}"
        );
    }
}

#[test]
fn pscp_copies_by_the_old_protocol() {
    if !have(&["pscp", "ssh-keygen"]) {
        return;
    }
    on_wharfd("pscp", |place, daemon| {
        let (local, remote) = (place.local(), place.remote());
        let known = daemon.known_hosts.to_str().unwrap();
        let line = run("ssh-keygen", &["-lf", known], &local);
        let print = line.split_whitespace().nth(1).unwrap().to_owned();
        tree_with_old_times(&local.join("tree"));
        let port = daemon.port();
        let pscp = |arguments: &[&str]| {
            let head = [
                "-scp", "-batch", "-P", &port, "-pw", PASSWORD, "-hostkey", &print,
            ];
            run("pscp", &[&head, arguments].concat(), &local)
        };
        pscp(&["-p", "-r", "tree", "ann@127.0.0.1:"]);
        // It sends no times of directories.
        assert_same(&local.join("tree"), &remote.join("tree"));
        for name in ["plain", "sub/large"] {
            let one = local.join("tree").join(name);
            assert_eq!(mtime(&one), mtime(&remote.join("tree").join(name)));
        }
        pscp(&["-p", "-r", "ann@127.0.0.1:tree", "back"]);
        assert_same(&local.join("tree"), &local.join("back"));
        pscp(&["ann@127.0.0.1:tree/sub/l*", "large"]);
        assert!(std::fs::read(local.join("large")).unwrap() == bytes(3 << 20));
    });
}

#[test]
fn libraries_copy_by_the_old_protocol() {
    const SCP_PY: &str = "import sys, paramiko, scp\n\
        port, key = int(sys.argv[1]), sys.argv[2]\n\
        ssh = paramiko.SSHClient()\n\
        ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())\n\
        ssh.connect('127.0.0.1', port, 'ann', key_filename=key, look_for_keys=False, allow_agent=False)\n\
        with scp.SCPClient(ssh.get_transport()) as client:\n\
        \x20   client.put('tree', recursive=True, preserve_times=True, remote_path='py tree')\n\
        \x20   client.get('py tree', 'py back', recursive=True, preserve_times=True)\n\
        \x20   client.put(['tree/plain', \"tree/quote's\"], '/')\n\
        \x20   try: client.get('/missing')\n\
        \x20   except scp.SCPException as error: assert 'No such file' in str(error), error\n\
        \x20   else: sys.exit('no error')\n";
    const ASYNCSSH: &str = "import asyncio, sys, asyncssh\n\
        port, key = int(sys.argv[1]), sys.argv[2]\n\
        async def main():\n\
        \x20   async with asyncssh.connect('127.0.0.1', port, username='ann', known_hosts=None, client_keys=[key]) as c:\n\
        \x20       await asyncssh.scp('tree', (c, '\\'py tree\\''), recurse=True, preserve=True)\n\
        \x20       await asyncssh.scp((c, '\\'py tree\\''), 'py back', recurse=True, preserve=True)\n\
        asyncio.run(main())\n";
    for (module, script) in [("scp", SCP_PY), ("asyncssh", ASYNCSSH)] {
        let import = format!("import {module}");
        if !try_run(PYTHON.as_ref(), &["-c", &import], "/".as_ref()).0 {
            missed(&format!(
                "python3-{module} is missing (tests/install-clients.sh)"
            ));
            continue;
        }
        let place = Place::new("scp-library");
        let Some(daemon) = Daemon::wharfd(&place, "") else {
            return;
        };
        tree_with_old_times(&place.local().join("tree"));
        let file = place.top().join("script.py");
        std::fs::write(&file, script).unwrap();
        let arguments = [
            file.to_str().unwrap(),
            &daemon.port(),
            daemon.key.to_str().unwrap(),
        ];
        run(PYTHON, &arguments, &place.local());
        assert_same(&place.local().join("tree"), &place.remote().join("py tree"));
        assert_same(&place.local().join("tree"), &place.local().join("py back"));
    }
}

#[test]
fn curl_copies_by_the_old_protocol() {
    if !have(&["curl"]) {
        return;
    }
    on_wharfd("curl-scp", |place, daemon| {
        let local = place.local();
        std::fs::write(local.join("file"), bytes(1 << 20)).unwrap();
        let url = format!("scp://127.0.0.1:{}/it%27s%20here", daemon.port());
        let user = format!("ann:{PASSWORD}");
        let head = ["-sS", "-k", "-u", &user];
        run("curl", &[&head[..], &["-T", "file", &url]].concat(), &local);
        run("curl", &[&head[..], &["-o", "back", &url]].concat(), &local);
        assert!(std::fs::read(local.join("back")).unwrap() == bytes(1 << 20));
        assert!(place.remote().join("it's here").exists());
    });
}
