//! Clients that talk to the subsystem over a pipe: OpenSSH's sftp (`-D`) and
//! paramiko.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::common::tree::assert_same;
use super::tools::*;

/// Runs lines of OpenSSH's sftp in `local` with the server in `remote`. The
/// operand is ignored, as OpenSSH's server does: `scp -D` passes one.
fn sftp(place: &Place, flags: &str, lines: &str) -> String {
    let batch = place.top().join("batch");
    std::fs::write(&batch, lines).unwrap();
    let server = format!(
        "{} --sftp-server -d {} {flags} ignored.example.org",
        wharfd(),
        place.remote().display()
    );
    let arguments = ["-b", batch.to_str().unwrap(), "-D", &server];
    run("sftp", &arguments, &place.local())
}

#[test]
fn trees_go_there_and_back() {
    if !have(&["sftp"]) {
        return;
    }
    for flags in ["", "--atomic-uploads"] {
        let place = Place::new("pipe-trees");
        make_tree(&place.local().join("tree"), &PLAIN_NAMES);
        std::fs::write(place.local().join("tree").join(odd_name()), b"odd").unwrap();
        sftp(
            &place,
            flags,
            "put -r tree\nput -rp tree new\nget -r tree back\nget -rp new back2\n",
        );
        let local = place.local();
        for copy in [
            place.remote().join("tree"),
            place.remote().join("new"),
            local.join("back"),
            local.join("back2"),
        ] {
            assert_same(&local.join("tree"), &copy);
        }
        let time = |path: &Path| std::fs::metadata(path).unwrap().mtime();
        let original = time(&local.join("tree/plain"));
        assert_eq!(time(&place.remote().join("new/plain")), original);
    }
}

/// OpenSSH's client sends the target first, whatever the server makes of it.
#[test]
fn the_order_of_symlinks_paths_is_an_option() {
    if !have(&["sftp"]) {
        return;
    }
    for (flags, link, target) in [
        ("", "second", "first"),
        ("--symlink-order target", "second", "first"),
        ("--symlink-order link", "first", "second"),
    ] {
        let place = Place::new("pipe-symlink");
        sftp(&place, flags, "symlink first second\n");
        let found = std::fs::read_link(place.remote().join(link)).unwrap();
        assert!(found.ends_with(target), "{flags}: {found:?}");
    }
}

#[test]
fn transfers_are_resumed() {
    if !have(&["sftp"]) {
        return;
    }
    let place = Place::new("pipe-resume");
    let data = bytes(1_000_000);
    std::fs::write(place.local().join("a"), &data).unwrap();
    std::fs::write(place.local().join("b"), &data[..400_000]).unwrap();
    std::fs::write(place.remote().join("a"), &data[..300_000]).unwrap();
    std::fs::write(place.remote().join("b"), &data).unwrap();
    sftp(&place, "", "reput a\nreget b\n");
    assert!(std::fs::read(place.remote().join("a")).unwrap() == data);
    assert!(std::fs::read(place.local().join("b")).unwrap() == data);
}

#[test]
fn everything_else_works() {
    if !have(&["sftp"]) {
        return;
    }
    let place = Place::new("pipe-other");
    let remote = place.remote();
    std::fs::write(remote.join("a"), b"1").unwrap();
    std::fs::write(remote.join("taken"), b"2").unwrap();
    std::fs::write(place.local().join("empty"), b"").unwrap();
    std::fs::write(remote.join(odd_name()), b"3").unwrap();
    let output = sftp(
        &place,
        "-u 027",
        "mkdir d\nrename a \"d/b c\"\nrename \"d/b c\" taken\nln taken hard\nln -s taken soft\n\
         chmod 640 taken\nls -la\ndf\ndf -h d\nmkdir e\nrmdir e\npwd\ncd d\nput empty\n\
         cd ..\nrm hard\nls -1\n",
    );
    assert!(is_harmless(&output), "{output:?}");
    assert!(output.contains("-rw-r-----"), "{output}");
    let start = format!("Remote working directory: {}", remote.display());
    assert!(output.contains(&start), "{output}");
    // The client prefers posix-rename, which replaces.
    assert_eq!(std::fs::read(remote.join("taken")).unwrap(), b"1");
    assert_eq!(std::fs::read(remote.join("soft")).unwrap(), b"1");
    assert!(!remote.join("hard").exists() && !remote.join("e").exists());
    let mode = |name: &str| {
        std::fs::metadata(remote.join(name))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("taken") & 0o777, 0o640);
    assert_eq!(mode("d") & 0o777, 0o750);
}

#[test]
fn flags_hold() {
    if !have(&["sftp"]) {
        return;
    }
    let place = Place::new("pipe-flags");
    std::fs::write(place.remote().join("a"), b"1").unwrap();
    std::fs::write(place.local().join("b"), b"2").unwrap();
    for (flags, line, works) in [
        ("", "put b x1", true),
        ("-R", "put b x2", false),
        ("-R", "get a", true),
        ("-R", "rm a", false),
        ("-R", "mkdir x3", false),
        ("-P mkdir,rmdir", "mkdir x4", false),
        ("-P mkdir,rmdir", "put b x5", true),
        ("-p realpath,stat,lstat,open,read,close", "get a", true),
        ("-p realpath,stat,lstat,open,read,close", "put b x6", false),
        ("--rights upload-only", "put b x7", true),
        ("--rights upload-only", "get a", false),
        ("--rights elr", "chmod 600 a", false),
    ] {
        let batch = place.top().join("batch");
        std::fs::write(&batch, format!("{line}\n")).unwrap();
        let server = format!(
            "{} --sftp-server -d {} {flags}",
            wharfd(),
            place.remote().display()
        );
        let arguments = ["-b", batch.to_str().unwrap(), "-D", &server];
        let (worked, output) = try_run("sftp".as_ref(), &arguments, &place.local());
        assert_eq!(worked, works, "{flags} {line}:\n{output}");
    }
    // A jail: the client sees its root as /, and nothing above.
    let root = place.remote();
    let server = format!("{} --sftp-server --root {}", wharfd(), root.display());
    let batch = place.top().join("batch");
    std::os::unix::fs::symlink("/etc", root.join("out")).unwrap();
    std::fs::write(&batch, "pwd\nget /../../a inside\n-get out/passwd\n").unwrap();
    let arguments = ["-b", batch.to_str().unwrap(), "-D", &server];
    let output = run("sftp", &arguments, &place.local());
    assert!(output.contains("Remote working directory: /\n"), "{output}");
    assert_eq!(std::fs::read(place.local().join("inside")).unwrap(), b"1");
    assert!(!place.local().join("passwd").exists());
}

#[test]
fn names_of_requests_are_listed() {
    let place = Place::new("pipe-names");
    let names = run(wharfd(), &["--sftp-server", "-Q", "requests"], place.top());
    assert!(names.starts_with("open\nclose\nread\n"), "{names}");
    assert!(names.contains("\nposix-rename\n"), "{names}");
    let (worked, text) = try_run(
        wharfd().as_ref(),
        &["--sftp-server", "-Q", "x"],
        place.top(),
    );
    assert!(!worked && text.contains("requests"), "{text}");
    // Called as sftp-server, no flag is needed.
    let link = place.top().join("sftp-server");
    std::os::unix::fs::symlink(wharfd(), &link).unwrap();
    assert_eq!(run(&link, &["-Q", "requests"], place.top()), names);
    assert!(run(&link, &["-h"], place.top()).contains("--rights"));
}

#[test]
fn paramiko_works() {
    const PYTHON: &str = "/usr/bin/python3";
    let place = Place::new("pipe-paramiko");
    let (installed, _) = try_run(PYTHON.as_ref(), &["-c", "import paramiko"], place.top());
    if !installed {
        return missed("python3-paramiko is missing (tests/install-clients.sh)");
    }
    let script = place.top().join("script.py");
    std::fs::write(&script, PARAMIKO).unwrap();
    let remote = place.remote();
    let arguments = [script.to_str().unwrap(), wharfd(), remote.to_str().unwrap()];
    let output = run(PYTHON, &arguments, place.top());
    assert!(output.ends_with("done\n"), "{output}");
}

const PARAMIKO: &str = r#"
import hashlib, os, socket, subprocess, sys
import paramiko
class Named(socket.socket):
    def get_name(self):
        return "pair"
ours, theirs = socket.socketpair()
ours = Named(fileno=ours.detach())
server = subprocess.Popen([sys.argv[1], "--sftp-server", "--root", sys.argv[2], "--atomic-uploads"],
                          stdin=theirs, stdout=theirs)
theirs.close()
sftp = paramiko.SFTPClient(ours)
data = os.urandom(2_000_000)
with sftp.open("a b", "wb") as file:
    file.set_pipelined(True)
    for at in range(0, len(data), 30_000):
        file.write(data[at:at + 30_000])
with sftp.open("a b", "rb") as file:
    file.prefetch(len(data))
    assert file.read() == data
    assert file.check("sha256") == hashlib.sha256(data).digest()
    sums = [hashlib.sha512(data[at:at + 500]).digest() for at in (10, 510)]
    assert file.check("sha3,sha512", 10, 1000, 500) == b"".join(sums)
with sftp.open("a b", "ab") as file:
    file.write(b"end")
with sftp.open("a b", "r+b") as file:
    file.seek(5)
    file.write(b"XYZ")
    file.truncate(1000)
want = bytearray(data[:1000]); want[5:8] = b"XYZ"
with sftp.open("a b", "rb") as file:
    assert file.read() == want
    assert file.readv([(0, 10), (500, 20)]) is not None
assert sftp.stat("a b").st_size == 1000
sftp.mkdir("d", 0o700)
sftp.chmod("d", 0o750)
sftp.utime("a b", (1, 2))
assert sftp.lstat("a b").st_mtime == 2
sftp.chdir("d")
assert sftp.getcwd() == "/d"
sftp.symlink("../a b", "l")
assert sftp.readlink("l") == "../a b"
assert sftp.normalize("l") == "/a b"
sftp.chdir("/")
try:
    sftp.open("a b", "xb")
    raise SystemExit("an exclusive open of what exists")
except OSError:
    pass
sftp.rename("a b", "c")
sftp.posix_rename("c", "é")
assert sorted(sftp.listdir()) == [".", "..", "d", "é"] or sorted(sftp.listdir()) == ["d", "é"]
for name in ["d/l", "é"]:
    sftp.remove(name)
sftp.rmdir("d")
try:
    sftp.stat("d")
    raise SystemExit("what was removed is there")
except FileNotFoundError:
    pass
sftp.close()
assert server.wait(10) == 0
print("done")
"#;
