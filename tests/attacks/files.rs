//! Attacks on files: names, patterns, links, copies.

use std::time::{Duration, Instant};

use wharf::auth::Perms;
use wharf::storage::{FileSystem, MemoryFs, VirtualPath};

use super::common::{TempDir, packets, put_file, server};

fn within<T>(limit: Duration, what: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    let taken = started.elapsed();
    assert!(taken < limit, "{what} took {taken:?}");
    result
}

/// CVE-2010-2632, CVE-2011-0418, CVE-2011-0762: patterns of exponential cost.
#[test]
fn attack_08_patterns_and_listings() {
    let memory = MemoryFs::new();
    put_file(&memory, &b"a".repeat(255), b"");
    for number in 0..200 {
        put_file(
            &memory,
            format!("{}{number}", "a".repeat(200)).as_bytes(),
            b"",
        );
    }
    let server = server().memory(memory).start();
    let mut client = server.ann();
    // 50 ms is the aim; an unoptimised build on a busy machine gets more.
    let limit = Duration::from_millis(if cfg!(debug_assertions) { 2000 } else { 50 });
    let stars = format!("{}b", "a*".repeat(100));
    let braces = format!("{}{}", "{".repeat(200), "{*,*},".repeat(200));
    for pattern in [
        "a*a*a*a*a*b",
        &stars,
        &braces,
        &"*".repeat(1000),
        &"?".repeat(1000),
    ] {
        for verb in ["STAT", "STAT -R"] {
            within(limit, verb, || {
                let reply = client.cmd(&format!("{verb} {pattern}"));
                assert!(reply.code >= 211, "{:?}", reply.lines);
            });
        }
        let data = client.data();
        client.send(&format!("NLST {pattern}"));
        within(limit, "NLST", || {
            if client.reply().code == 150 {
                client.reply();
            }
        });
        drop(data);
    }
}

/// A recursive listing ends, with a word, and can be aborted.
#[test]
fn attack_08_recursion_is_bounded() {
    let memory = MemoryFs::new();
    for outer in 0..20 {
        for inner in 0..20 {
            put_file(&memory, format!("d{outer}/e{inner}/f").as_bytes(), b"");
        }
    }
    // Links that lead around are not followed.
    let root = VirtualPath::root();
    memory
        .symlink(b"/", &root.join(b"d0/round").unwrap())
        .unwrap();
    let server = server().memory(memory).set("max-recursion", "300").start();
    let mut client = server.ann();
    let mut data = client.data();
    client.expect("LIST -R", 150);
    data.rest();
    client.wait_for(451);
    for line in ["DSIZ /", "RMDA d0/../d1/.."] {
        assert!(client.cmd(line).code >= 450, "{line}");
    }
    assert_eq!(server.names("/d1").len(), 20);
}

/// CVE-2017-7418, CVE-2023-24042 and many more; swapped links are tests/access/jail.rs's.
#[test]
fn attack_09_traversal() {
    let place = TempDir::new("traversal");
    let root = place.join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(place.join("outside"), "not for you").unwrap();
    std::fs::create_dir(place.join("root-private")).unwrap();
    std::fs::write(place.join("root-private/secret"), "not for you").unwrap();
    let outside = place.join("outside");
    std::os::unix::fs::symlink(&outside, root.join("absolute")).unwrap();
    std::os::unix::fs::symlink("../outside", root.join("relative")).unwrap();
    std::os::unix::fs::symlink(place.path(), root.join("directory")).unwrap();
    let server = server().directory(&root).start();
    let mut client = server.ann();
    let up = "../".repeat(300);
    let absolute = outside.to_str().unwrap().to_owned();
    for path in [
        "../outside",
        "/../outside",
        "//../outside",
        "./.././outside",
        "a/../../outside",
        "%2e%2e/outside",
        "/%2e%2e/outside",
        "..\\outside",
        "....//outside",
        "../root-private/secret",
        "absolute",
        "relative",
        "directory/outside",
        "directory/root-private/secret",
        &format!("{up}{absolute}"),
        &format!("~{absolute}"),
        &absolute,
        "~root",
        "/proc/self/root/etc/passwd",
        "/etc/passwd",
    ] {
        client.epsv();
        let code = client.cmd(&format!("RETR {path}")).code;
        assert!((500..=559).contains(&code), "RETR {path}: {code}");
        client.expect(&format!("SIZE {path}"), 550);
        for verb in ["DELE", "CWD", "RNFR"] {
            // The links themselves are inside, and may be removed by name.
            if path == "absolute" || path == "relative" {
                continue;
            }
            let code = client.cmd(&format!("{verb} {path}")).code;
            assert!((500..=559).contains(&code), "{verb} {path}: {code}");
        }
    }
    // What is stored "outside" lands inside or nowhere.
    for path in ["../new", "absolute", "directory/new", "/../../new2"] {
        let data = client.data();
        let code = client.cmd(&format!("STOR {path}")).code;
        drop(data);
        if code == 150 {
            client.reply();
        }
    }
    let mut left: Vec<_> = std::fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["outside", "root", "root-private"]);
    assert_eq!(std::fs::read(&outside).unwrap(), b"not for you");
}

/// CVE-2015-3306, CVE-2019-12815: copies on the server by whoever may not.
#[test]
fn attack_10_copies() {
    let server = server()
        .user("reader", "x", "read-only")
        .user("writer", "x", "ew")
        .at("/private", "none")
        .start();
    server.file("f", b"source");
    server.file("private/p", b"private");
    let mut stranger = server.connect();
    for line in [
        "SITE CPFR f",
        "SITE CPTO g",
        "SITE COPY f g",
        "COMB \"g\" \"f\"",
    ] {
        stranger.expect(line, 530);
    }
    let mut reader = server.login("reader", "x");
    reader.expect("SITE CPFR f", 350);
    reader.expect("SITE CPTO g", 550);
    assert!(reader.cmd("SITE COPY f g").code >= 500);
    assert!(reader.cmd("COMB \"g\" \"f\"").code >= 500);
    let mut writer = server.login("writer", "x");
    for line in [
        "SITE CPFR private/p",
        "SITE CPFR f",
        "SITE COPY private/p g",
    ] {
        assert!(writer.cmd(line).code >= 500, "{line}");
    }
    assert_eq!(server.content("g"), None);
}

/// CVE-2015-1419: a denied name in other words.
#[test]
fn attack_11_denied_names() {
    let place = TempDir::new("denied");
    std::fs::create_dir(place.join("d")).unwrap();
    std::fs::write(place.join("a.key"), "secret").unwrap();
    std::fs::write(place.join("d/b.KEY"), "secret").unwrap();
    std::os::unix::fs::symlink("a.key", place.join("innocent")).unwrap();
    std::os::unix::fs::symlink("innocent", place.join("twice")).unwrap();
    let server = server()
        .directory(place.path())
        .set("deny-names", "*.key")
        .start();
    let mut client = server.ann();
    for path in [
        "a.key",
        "./a.key",
        "d/../a.key",
        "//a.key",
        "A.KEY",
        "a.key ",
        "a.key.",
        "d/b.KEY",
        "innocent",
        "twice",
        "/./innocent",
    ] {
        for verb in [
            "RETR",
            "SIZE",
            "MDTM",
            "DELE",
            "RNFR",
            "HASH",
            "SITE CPFR",
            "SITE CHMOD 777",
        ] {
            if matches!(verb, "RETR") {
                client.epsv();
            }
            let code = client.cmd(&format!("{verb} {path}")).code;
            assert!((500..=559).contains(&code), "{verb} {path}: {code}");
        }
    }
    for path in ["new.key", "d/new.Key", "innocent"] {
        client.epsv();
        let code = client.cmd(&format!("STOR {path}")).code;
        assert!((500..=559).contains(&code), "STOR {path}: {code}");
    }
    let listing = client.fetch("MLSD");
    assert!(!String::from_utf8_lossy(&listing).contains("a.key"));
    assert_eq!(std::fs::read(place.join("a.key")).unwrap(), b"secret");
}

/// A tree deeper than the longest path is made by moving one into another; it
/// is still listed, counted, and removed.
#[test]
fn attack_08_deep_trees_are_listed_counted_and_removed() {
    let place = TempDir::new("deep");
    let server = server().directory(place.path()).start();
    let mut client = server.ann();
    let name = "d".repeat(100);
    let chain = |count: usize| vec![name.as_str(); count].join("/");
    for top in ["one", "two", "three"] {
        client.expect(&format!("SITE MKDIR {top}/{}", chain(35)), 200);
    }
    std::fs::write(place.join("three").join(chain(35)).join("f"), [0; 1234]).unwrap();
    for (from, to) in [("three", "two"), ("two", "one")] {
        client.expect(&format!("RNFR {from}"), 350);
        client.expect(&format!("RNTO {to}/{}/{from}", chain(35)), 250);
    }
    let mut data = client.data();
    client.expect("LIST -R one", 150);
    let listing = data.rest();
    client.wait_for(226);
    let last = format!("/two/{0}/three/{0}:", chain(35));
    assert!(String::from_utf8_lossy(&listing).contains(&last));
    let size = client.expect("DSIZ one", 213);
    assert_eq!(size.text(), "1234");
    client.expect("RMDA one", 250);
    assert!(std::fs::read_dir(place.path()).unwrap().next().is_none());
}

/// Deeper than the longest path of the server's own: what is there is listed and
/// the reply says that it is not all. Who made it can take it apart.
#[test]
fn attack_08_no_tree_is_left_out_in_silence() {
    let place = TempDir::new("deeper");
    let chain = vec!["d".repeat(250); 15].join("/");
    let at = |name: &str| place.join(name);
    std::fs::create_dir(at("0")).unwrap();
    std::fs::write(at("0/f"), "deep").unwrap();
    for top in 1..=18 {
        std::fs::create_dir_all(at(&format!("{top}/{chain}"))).unwrap();
        let inner = (top - 1).to_string();
        std::fs::rename(at(&inner), at(&format!("{top}/{chain}/{inner}"))).unwrap();
    }
    std::fs::create_dir(at("a")).unwrap();
    std::fs::create_dir(at("z")).unwrap();
    let server = server().directory(place.path()).start();
    let mut client = server.ann();
    let mut data = client.data();
    client.expect("LIST -R", 150);
    let listing = String::from_utf8(data.rest()).unwrap();
    client.wait_for(451);
    for directory in ["./a:", "./z:", &format!("./18/{chain}/17/{chain}/16:")] {
        assert!(listing.contains(directory), "{directory}");
    }
    client.expect("DSIZ 18", 451);
    client.expect("RMDA 18", 451);
    client.expect("NOOP", 200);
    let services = server.running().services();
    let mut sftp = packets::Client::beside(services, "ann", "secret");
    let long = packets::Body::new().string(format!("18/{chain}/17/{chain}"));
    // ENAMETOOLONG of OpenSSH.
    assert_eq!(sftp.status(packets::OPENDIR, long), packets::BAD_MESSAGE);
    let middle = packets::Body::new().string(format!("18/{chain}/17"));
    assert_eq!(
        sftp.status(packets::RENAME, middle.string("17")),
        packets::OK
    );
    assert_eq!(sftp.list("17").0.len(), 3);
    sftp.end().unwrap();
    client.expect("RMDA 18", 250);
    client.expect(&format!("RNFR 17/{chain}/16"), 350);
    client.expect("RNTO 16", 250);
    client.expect("RMDA 17", 250);
    client.expect("DSIZ 16", 213);
    client.expect("RMDA 16", 250);
    assert_eq!(server.names("/"), ["a", "z"]);
}

/// `.ftpaccess`, `.htaccess`, `.ssh/authorized_keys`, `.bashrc`: who may not
/// even delete in a directory is a guest there, and brings no such files.
#[test]
fn attack_28_dot_files() {
    let server = server()
        .user("owner", "x", "read-write")
        .user("device", "x", "upload-only")
        .user("dropper", "x", "drop")
        .anonymous("elrwmadf")
        .start();
    server.file("plain", b"x");
    server.file(".there", b"old");
    let mut owner = server.login("owner", "x");
    assert_eq!(owner.store("STOR .bashrc", b"x").code, 226);
    owner.expect("MKD .ssh", 257);
    for (name, password) in [("device", "x"), ("dropper", "x"), ("anonymous", "me")] {
        let mut guest = server.login(name, password);
        // What is uploaded to such a name lies under another one, see below.
        let dotted = format!(".ht-{name}");
        assert_eq!(guest.store(&format!("STOR {dotted}"), b"x").code, 226);
        guest.expect(&format!("RNFR {dotted}"), 350);
        guest.expect("RNTO .profile", 550);
        assert_eq!(server.content(&dotted), None);
        let apart = format!(".wharf-guest-{dotted}");
        assert_eq!(server.content(&apart).unwrap(), b"x");
        for path in [".ssh/authorized_keys", "/.there"] {
            for verb in ["STOR", "APPE", "STOU"] {
                if (verb, path) == ("STOU", "/.there") {
                    // It finds another name.
                    continue;
                }
                guest.epsv();
                let code = guest.cmd(&format!("{verb} {path}")).code;
                assert!((500..=559).contains(&code), "{name} {verb} {path}: {code}");
            }
        }
        guest.expect("MKD .git", 550);
        if guest.cmd("RNFR plain").code == 350 {
            guest.expect("RNTO .profile", 550);
        }
        assert_eq!(guest.store(&format!("STOR {name}.txt"), b"x").code, 226);
    }
    assert_eq!(server.content(".there").unwrap(), b"old");
    for name in [".profile", ".git"] {
        assert_eq!(server.content(name), None, "{name}");
    }
    assert_eq!(server.names("/.ssh"), [""; 0]);
    assert_eq!(
        "upload-only".parse::<Perms>().unwrap().to_string(),
        "elamwT"
    );
}
