//! Clients that are given all they do on the command line, or in a script:
//! curl, wget, busybox, Python's ftplib, rclone.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::common::process::{attempt, has};
use super::common::tree::{assert_same, assert_same_trees, tree};
use super::{NAMES, Place, encoded, large, plant, url};

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
            assert_same_trees(&got, &want);
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
    assert_same(&place.local.join("tree"), &place.remote.join("up"));
    rclone(&["copy", "--create-empty-src-dirs", &up, "back"]);
    assert_same(&place.local.join("tree"), &place.local.join("back"));
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
