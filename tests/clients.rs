//! Clients that people use, driven against our server: get, put, resume,
//! mirror, active and passive, IPv4 and IPv6, and names that clients trip
//! over. tests/install-clients.sh installs them; one that is missing is a line
//! `SKIP name`, and a failure with WHARF_NEED_CLIENTS=1.
#![cfg(feature = "cli")]

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::process::{attempt, client_in, has, run};
use common::rng::Rng;
use common::{TempDir, TestServer, server};

/// Names that are valid UTF-8, and that every file system takes.
const NAMES: [&str; 8] = [
    "plain",
    "with blanks in it",
    "quote\"s and 'more'",
    "hash # percent % question ?",
    "[brackets] {braces}",
    "umläut ß 日本語",
    "🦀",
    "semi;colon & ampersand",
];

/// A server on a directory, and a directory for the client.
struct Place {
    server: TestServer,
    remote: TempDir,
    local: TempDir,
}

impl Place {
    fn new(name: &str) -> Self {
        let remote = TempDir::new(&format!("{name}-remote"));
        Place {
            server: server().directory(remote.path()).start(),
            local: TempDir::new(&format!("{name}-local")),
            remote,
        }
    }

    /// A command in the client's directory, which is also its home.
    fn command(&self, program: &str) -> Command {
        client_in(self.local.path(), program)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        run(self.command(program).args(arguments), "")
    }

    /// Gives the client a file, here and there.
    fn local(&self, name: &str, content: &[u8]) {
        std::fs::write(self.local.join(name), content).unwrap();
    }

    fn remote(&self, name: &str, content: &[u8]) {
        std::fs::write(self.remote.join(name), content).unwrap();
    }

    #[track_caller]
    fn same(&self, local: &str, remote: &str) {
        let here = std::fs::read(self.local.join(local));
        let there = std::fs::read(self.remote.join(remote));
        let here = here.unwrap_or_else(|error| panic!("{local}: {error}"));
        let there = there.unwrap_or_else(|error| panic!("{remote} (remote): {error}"));
        assert!(
            here == there,
            "{local} and {remote} differ: {} and {}",
            here.len(),
            there.len()
        );
    }
}

fn large() -> Vec<u8> {
    Rng::fixed(7).bytes(3 << 20)
}

/// A tree for mirrors: names, sizes, depths.
fn plant(directory: &Path) {
    std::fs::create_dir_all(directory.join("deep/er/est")).unwrap();
    std::fs::create_dir_all(directory.join("empty dir")).unwrap();
    for name in NAMES {
        std::fs::write(directory.join(name), name).unwrap();
        std::fs::write(directory.join("deep/er").join(name), name).unwrap();
    }
    std::fs::write(directory.join("deep/zero"), b"").unwrap();
    std::fs::write(directory.join("deep/er/est/large"), large()).unwrap();
}

/// Paths and contents below a directory.
fn tree(directory: &Path) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_path_buf()];
    while let Some(path) = waiting.pop() {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(directory)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec();
            if path.is_dir() {
                waiting.push(path);
                found.insert(name, None);
            } else {
                found.insert(name, Some(std::fs::read(path).unwrap()));
            }
        }
    }
    found
}

#[track_caller]
fn same_trees(one: &Path, two: &Path) {
    let (one, two) = (tree(one), tree(two));
    let names = |tree: &BTreeMap<Vec<u8>, Option<Vec<u8>>>| -> Vec<String> {
        tree.keys()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    };
    assert_eq!(names(&one), names(&two));
    assert!(one == two, "contents differ");
}

/// `%20` for everything but letters and digits.
fn encoded(name: &[u8]) -> String {
    name.iter().fold(String::new(), |text, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text + &char::from(*byte).to_string(),
        byte => text + &format!("%{byte:02X}"),
    })
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("ftp://ann:secret@{address}/{path}")
}

#[test]
fn curl() {
    if !has("curl") {
        return;
    }
    let place = Place::new("curl");
    let curl = |arguments: &[&str]| {
        let all = [&["-sS", "--fail", "-m", "50"], arguments].concat();
        place.run("curl", &all)
    };
    place.local("large", &large());
    place.local("zero", b"");
    for address in [place.server.v4, place.server.v6] {
        for mode in [
            &[][..],
            &["--disable-epsv"],
            &["-P", "-"],
            &["-P", "-", "--disable-eprt"],
        ] {
            let v6_without_extension =
                address.is_ipv6() && mode.iter().any(|word| word.contains("disable"));
            if v6_without_extension {
                continue;
            }
            for method in ["multicwd", "nocwd", "singlecwd"] {
                let with = |more: &[&str]| {
                    curl(&[mode, &["--ftp-method", method], more].concat());
                };
                // Only with multicwd does curl make them one after the other.
                if method != "multicwd" {
                    std::fs::create_dir_all(place.remote.join("new/dir")).unwrap();
                }
                let target = url(address, "new/dir/large");
                with(&["-T", "large", "--ftp-create-dirs", &target]);
                place.same("large", "new/dir/large");
                with(&["-T", "zero", &url(address, "zero")]);
                place.same("zero", "zero");
                with(&["-o", "got", &url(address, "new/dir/large")]);
                place.same("got", "new/dir/large");
                with(&["-o", "got0", &url(address, "zero")]);
                place.same("got0", "zero");
                std::fs::remove_dir_all(place.remote.join("new")).unwrap();
            }
        }
    }
    let address = place.server.v4;
    // Names, as bytes, down to those that are no UTF-8.
    let mut names: Vec<&[u8]> = NAMES.iter().map(|name| name.as_bytes()).collect();
    names.push(b"latin-1 \xe4\xf6\xfc");
    for name in names {
        place.local("small", name);
        curl(&["-T", "small", &url(address, &encoded(name))]);
        assert_eq!(
            std::fs::read(place.remote.path().join(OsStr::from_bytes(name))).unwrap(),
            name
        );
        let got = curl(&["-o", "got", &url(address, &encoded(name))]);
        assert_eq!(
            std::fs::read(place.local.join("got")).unwrap(),
            name,
            "{got}"
        );
    }
    // Resume both ways, a range, and append.
    place.remote("large", &large());
    place.local("part", &large()[..1_000_000]);
    curl(&["-C", "-", "-o", "part", &url(address, "large")]);
    place.same("part", "large");
    place.remote("up", &large()[..1_000_001]);
    curl(&["-C", "-", "-T", "large", &url(address, "up")]);
    place.same("large", "up");
    curl(&["-r", "100-199", "-o", "range", &url(address, "large")]);
    assert_eq!(
        std::fs::read(place.local.join("range")).unwrap(),
        large()[100..200]
    );
    place.local("tail", b"tail");
    curl(&["-a", "-T", "tail", &url(address, "up")]);
    assert_eq!(
        std::fs::metadata(place.remote.join("up")).unwrap().len(),
        (3 << 20) + 4
    );
    // Listings, head, quoted commands, times.
    let listed = curl(&["--list-only", &url(address, "")]);
    assert!(listed.lines().any(|line| line == "large"), "{listed}");
    assert!(curl(&[&url(address, "")]).contains("-rw-r--r--"));
    let head = curl(&["-I", &url(address, "large")]);
    assert!(head.contains("Content-Length: 3145728"), "{head}");
    curl(&["-Q", "-DELE up", "-o", "got", &url(address, "large")]);
    assert!(!place.remote.join("up").exists());
    curl(&["-R", "-o", "dated", &url(address, "large")]);
    let modified = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
    let apart = modified(&place.remote.join("large"))
        .duration_since(modified(&place.local.join("dated")))
        .unwrap();
    assert!(apart < Duration::from_secs(1));
    // What is not there, and what is not allowed.
    let (ok, _) = attempt(
        place
            .command("curl")
            .args(["-sS", &url(address, "missing")]),
        "",
    );
    assert!(!ok);
    let anonymous = format!("ftp://{address}/large");
    curl(&["-o", "got", &anonymous]);
    place.same("got", "large");
    let (ok, _) = attempt(
        place
            .command("curl")
            .args(["-sS", "-T", "tail", &format!("ftp://{address}/new")]),
        "",
    );
    assert!(!ok);
}

#[test]
fn lftp() {
    if !has("lftp") {
        return;
    }
    let place = Place::new("lftp");
    plant(&place.local.join("tree"));
    for address in [place.server.v4, place.server.v6] {
        for passive in ["yes", "no"] {
            let lftp = |commands: &str| {
                let script = format!(
                    "set net:timeout 20; set net:max-retries 1; set cmd:fail-exit yes; \
                     set ftp:ssl-allow no; set ftp:passive-mode {passive}; \
                     open -u ann,secret ftp://{address}; {commands}; bye"
                );
                place.run("lftp", &["--norc", "-c", &script])
            };
            lftp("mirror -R tree up");
            same_trees(&place.local.join("tree"), &place.remote.join("up"));
            lftp("mirror --parallel=4 up back");
            same_trees(&place.local.join("tree"), &place.local.join("back"));
            // Nothing is left to do: times and sizes are understood.
            let again = lftp("mirror -R --verbose tree up");
            assert!(!again.contains("Transferring"), "{again}");
            let whole = large();
            std::fs::write(place.local.join("part"), &whole[..77_777]).unwrap();
            lftp("get -c up/deep/er/est/large -o part");
            place.same("part", "up/deep/er/est/large");
            place.remote("partial", &whole[..99_999]);
            lftp("put -c tree/deep/er/est/large -o partial");
            place.same("part", "partial");
            lftp(
                "chmod 600 partial; mv partial moved; rm moved; mkdir -p a/b/c; cls -l; \
                  ls -la; nlist; du up; site help; rm -r a",
            );
            assert!(!place.remote.join("a").exists());
            lftp("rm -r up");
            std::fs::remove_dir_all(place.local.join("back")).unwrap();
        }
    }
    // An ABOR in the middle: a get that its time ends, then the session goes on.
    place.remote("large", &large());
    let address = place.server.v4;
    let script = format!(
        "set net:timeout 20; set net:limit-rate 100000; set ftp:ssl-allow no; \
         open -u ann,secret ftp://{address}; get large -o aborted & sleep 1; kill all; \
         set net:limit-rate 0; get large -o whole; bye"
    );
    place.run("lftp", &["--norc", "-c", &script]);
    place.same("whole", "large");
}

/// The line-oriented clients: BSD's and GNU's `ftp`.
fn ftp(program: &str, passive: &[&str], active: &[&str]) {
    if !has(program) {
        return;
    }
    let place = Place::new(program);
    place.local("large", &large());
    place.local("zero", b"");
    place.local("text.txt", b"one\ntwo\n");
    for address in [place.server.v4, place.server.v6] {
        for mode in [passive, active] {
            let host = address.ip().to_string();
            let port = address.port().to_string();
            let session = |commands: &str| {
                let mut command = place.command(program);
                command.args(mode).args(["-n", "-i", "-v", &host, &port]);
                let input = format!("user ann secret\nbinary\n{commands}\nbye\n");
                let (_, said) = attempt(&mut command, &input);
                assert!(said.contains("230 "), "no login:\n{said}");
                said
            };
            let said = session(
                "put large\nput zero\nput \"text.txt\" \"with blanks\"\nget large got\n\
                 get zero got0\nget \"with blanks\" \"here too\"\nls\nnlist\npwd\nmkdir sub\n\
                 cd sub\nmput large zero\ncd ..\nmget \"with*\"\nsize large\nmodtime large\n\
                 rename zero nought\ndelete nought\nrmdir sub\nsystem\nascii\n\
                 put text.txt ascii.txt\nget ascii.txt ascii-back.txt",
            );
            assert!(!said.contains("500 "), "{said}");
            place.same("large", "large");
            place.same("got", "large");
            place.same("got0", "sub/zero");
            place.same("here too", "with blanks");
            place.same("with blanks", "with blanks");
            place.same("text.txt", "ascii.txt");
            assert_eq!(
                std::fs::read(place.local.join("ascii-back.txt")).unwrap(),
                b"one\ntwo\n"
            );
            assert!(!place.remote.join("nought").exists());
            // Resuming a download.
            place.local("got", &large()[..500_000]);
            let said = session("reget large got");
            place.same("got", "large");
            assert!(said.contains("350 "), "{said}");
            for name in ["large", "with blanks", "ascii.txt", "sub/large", "sub/zero"] {
                std::fs::remove_file(place.remote.join(name)).unwrap();
            }
            std::fs::remove_dir(place.remote.join("sub")).unwrap();
            std::fs::remove_file(place.local.join("with blanks")).unwrap();
        }
    }
}

#[test]
fn tnftp() {
    ftp("tnftp", &["-p"], &["-A"]);
    if !has("tnftp") {
        return;
    }
    // Its way of a URL: anonymous, EPSV, restart.
    let place = Place::new("tnftp-url");
    place.remote("large", &large());
    place.run(
        "tnftp",
        &["-o", "got", &format!("ftp://{}/large", place.server.v4)],
    );
    place.same("got", "large");
}

#[test]
fn inetutils_ftp() {
    ftp("inetutils-ftp", &["-p"], &[]);
}

#[test]
fn ncftp() {
    if !has("ncftpget") || !has("ncftpput") {
        return;
    }
    let place = Place::new("ncftp");
    plant(&place.local.join("tree"));
    let address = place.server.v4;
    let port = address.port().to_string();
    let common = ["-u", "ann", "-p", "secret", "-P", &port, "-t", "30", "-V"];
    for mode in ["-F", "-E"] {
        let with = |program: &str, more: &[&str]| {
            place.run(program, &[&common[..], &[mode], more].concat())
        };
        with("ncftpput", &["-R", "127.0.0.1", "/", "tree"]);
        same_trees(&place.local.join("tree"), &place.remote.join("tree"));
        std::fs::create_dir(place.local.join("back")).unwrap();
        with("ncftpget", &["-R", "127.0.0.1", "back", "/tree"]);
        same_trees(&place.local.join("tree"), &place.local.join("back/tree"));
        // Resume.
        std::fs::write(place.local.join("large"), &large()[..123_456]).unwrap();
        with(
            "ncftpget",
            &["-z", "127.0.0.1", ".", "/tree/deep/er/est/large"],
        );
        place.same("large", "tree/deep/er/est/large");
        std::fs::remove_file(place.local.join("large")).unwrap();
        let listed = place.run(
            "ncftpls",
            &[&common[..8], &[mode, "-l", "ftp://127.0.0.1/tree/deep/"]].concat(),
        );
        assert!(listed.contains("zero"), "{listed}");
        std::fs::remove_dir_all(place.local.join("back")).unwrap();
        std::fs::remove_dir_all(place.remote.join("tree")).unwrap();
    }
}

#[test]
fn wget() {
    if !has("wget") {
        return;
    }
    let place = Place::new("wget");
    plant(&place.remote.join("tree"));
    for address in [place.server.v4, place.server.v6] {
        for mode in [&[][..], &["--no-passive-ftp"]] {
            let wget = |more: &[&str]| {
                let all = [&["-nv", "--tries=1", "--timeout=20"], mode, more].concat();
                place.run("wget", &all)
            };
            wget(&[
                "-r",
                "-l",
                "0",
                "-nH",
                "-P",
                "got",
                "--restrict-file-names=nocontrol",
                &url(address, "tree/"),
            ]);
            let mut want = tree(&place.remote.join("tree"));
            let mut got = tree(&place.local.join("got/tree"));
            want.retain(|_, content| content.is_some());
            got.retain(|_, content| content.is_some());
            let names = |tree: &BTreeMap<Vec<u8>, Option<Vec<u8>>>| -> Vec<String> {
                tree.keys()
                    .map(|name| String::from_utf8_lossy(name).into_owned())
                    .collect()
            };
            assert_eq!(names(&got), names(&want));
            assert!(got == want);
            std::fs::write(place.local.join("large"), &large()[..55_555]).unwrap();
            wget(&["-c", &url(address, "tree/deep/er/est/large")]);
            place.same("large", "tree/deep/er/est/large");
            std::fs::remove_file(place.local.join("large")).unwrap();
            std::fs::remove_dir_all(place.local.join("got")).unwrap();
        }
    }
}

#[test]
fn busybox() {
    if !has("busybox") {
        return;
    }
    let place = Place::new("busybox");
    place.local("large", &large());
    place.local("zero", b"");
    let address = place.server.v4;
    let port = address.port().to_string();
    let common = ["-u", "ann", "-p", "secret", "-P", &port];
    let busybox = |applet: &str, more: &[&str]| {
        place.run("busybox", &[&[applet], &common[..], more].concat())
    };
    for name in ["large", "zero"] {
        busybox("ftpput", &["127.0.0.1", name, name]);
        place.same(name, name);
        busybox("ftpget", &["127.0.0.1", "got", name]);
        place.same("got", name);
    }
    place.local("got", &large()[..4096]);
    busybox("ftpget", &["-c", "127.0.0.1", "got", "large"]);
    place.same("got", "large");
    let anonymous = format!("ftp://{address}/large");
    place.run("busybox", &["wget", "-q", "-O", "got", &anonymous]);
    place.same("got", "large");
}

#[test]
fn python_ftplib() {
    if !has("python3") {
        return;
    }
    let place = Place::new("python");
    place.local("large", &large());
    let script = r#"
import ftplib, io, sys
host, port = sys.argv[1], int(sys.argv[2])
large = open("large", "rb").read()
for passive in (True, False):
    ftp = ftplib.FTP()
    ftp.connect(host, port, timeout=20)
    assert "\n" not in ftp.getwelcome()
    ftp.login("ann", "secret")
    ftp.set_pasv(passive)
    for content in (b"", b"x", large):
        ftp.storbinary("STOR f", io.BytesIO(content))
        assert ftp.size("f") == len(content)
        got = io.BytesIO()
        ftp.retrbinary("RETR f", got.write)
        assert got.getvalue() == content
    got = io.BytesIO()
    ftp.retrbinary("RETR f", got.write, rest=1000)
    assert got.getvalue() == large[1000:]
    ftp.storbinary("STOR f", io.BytesIO(large[2000:]), rest=2000)
    assert ftp.size("f") == len(large)
    lines = []
    ftp.storlines("STOR t", io.BytesIO(b"one\r\ntwo\r\n"))
    ftp.retrlines("RETR t", lines.append)
    assert lines == ["one", "two"], lines
    for name in ("with blanks", "quote\"s", "umläut 日本", "🦀"):
        assert ftp.mkd(name) == "/" + name
        ftp.cwd(name)
        assert ftp.pwd() == "/" + name
        ftp.cwd("..")
        assert name in ftp.nlst()
        assert any(n == name and f["type"] == "dir" for n, f in ftp.mlsd())
        ftp.rmd(name)
    ftp.rename("t", "u")
    ftp.delete("u")
    assert ftp.sendcmd("MDTM f").startswith("213 ")
    try:
        ftp.size("missing")
        raise SystemExit("no error")
    except ftplib.error_perm as error:
        assert str(error).startswith("550")
    # Abort in the middle of a download, then go on.
    data = ftp.transfercmd("RETR f")
    data.recv(10)
    try:
        ftp.abort()
    except ftplib.error_proto:
        pass
    data.close()
    ftp.quit()
    with ftplib.FTP() as ftp:
        ftp.connect(host, port, timeout=20)
        ftp.login()
        ftp.retrlines("LIST", lines.append)
"#;
    for address in [place.server.v4, place.server.v6] {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        place.run("python3", &["-c", script, &host, &port]);
    }
}

#[test]
fn rclone() {
    if !has("rclone") {
        return;
    }
    let place = Place::new("rclone");
    plant(&place.local.join("tree"));
    let obscured = place.run("rclone", &["obscure", "secret"]);
    // IPv4 only: this rclone takes no IPv6 address for a host.
    let remote = format!(
        ":ftp,host=127.0.0.1,port={},user=ann,pass={}:",
        place.server.v4.port(),
        obscured.trim()
    );
    let rclone = |more: &[&str]| {
        let config = [
            "--config",
            "/dev/null",
            "--retries",
            "1",
            "--transfers",
            "8",
        ];
        place.run("rclone", &[&config[..], more].concat())
    };
    let up = format!("{remote}up");
    rclone(&["copy", "--create-empty-src-dirs", "tree", &up]);
    same_trees(&place.local.join("tree"), &place.remote.join("up"));
    rclone(&["copy", "--create-empty-src-dirs", &up, "back"]);
    same_trees(&place.local.join("tree"), &place.local.join("back"));
    rclone(&["check", "--download", "tree", &up]);
    // Times went with the files: nothing is copied twice.
    let again = rclone(&["sync", "-v", "tree", &up]);
    assert!(!again.contains("Copied"), "{again}");
    rclone(&["moveto", &format!("{up}/plain"), &format!("{up}/moved")]);
    assert!(place.remote.join("up/moved").exists());
    assert!(rclone(&["lsl", &up]).contains("deep/er/est/large"));
    rclone(&["purge", &up]);
    assert!(!place.remote.join("up").exists());
}
