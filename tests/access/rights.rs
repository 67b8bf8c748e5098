//! Rights by commands: each command needs exactly the rights that
//! wharfd-users(5) says, and without one of them nothing changes.

use crate::common;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use common::{Client, TempDir, TestServer, server};

/// Rights, and what is done with them.
struct Row {
    needs: &'static str,
    lines: &'static [&'static str],
}

const fn row(needs: &'static str, lines: &'static [&'static str]) -> Row {
    Row { needs, lines }
}

/// The letters are elradfmwMT of pyftpdlib: enter, list, read, append, delete,
/// rename, make directories, write, mode, time. The last line of each row is
/// the one that counts; data commands get their connection.
const MATRIX: &[Row] = &[
    row("e", &["CWD d"]),
    row("e", &["CDUP"]),
    row("l", &["LIST"]),
    row("l", &["LIST d"]),
    row("l", &["NLST"]),
    row("l", &["NLST d/*"]),
    row("l", &["MLSD d"]),
    row("l", &["MLST f"]),
    row("l", &["STAT d"]),
    row("l", &["STAT f"]),
    row("l", &["SIZE f"]),
    row("l", &["MDTM f"]),
    row("l", &["DSIZ d"]),
    row("l", &["AVBL"]),
    row("r", &["RETR f"]),
    row("r", &["REST 1", "RETR f"]),
    row("r", &["HASH f"]),
    row("r", &["XCRC f"]),
    row("r", &["XSHA256 f"]),
    row("w", &["STOR new"]),
    row("wd", &["STOR f"]),
    row("w", &["STOU"]),
    row("w", &["STOU f"]),
    row("w", &["APPE new"]),
    row("a", &["APPE f"]),
    row("a", &["REST 9", "STOR f"]),
    row("wd", &["REST 1", "STOR f"]),
    row("d", &["DELE f"]),
    row("d", &["RMD empty"]),
    row("ld", &["RMDA d"]),
    row("ld", &["SITE RMDIR d"]),
    row("f", &["RNFR f", "RNTO new"]),
    row("fwd", &["RNFR f", "RNTO g"]),
    row("f", &["RNFR d", "RNTO new"]),
    row("m", &["MKD new"]),
    row("m", &["XMKD new"]),
    row("m", &["SITE MKDIR new"]),
    row("M", &["SITE CHMOD 600 f"]),
    row("M", &["MFF UNIX.mode=0600; f"]),
    row("M", &["MFF UNIX.group=7; f"]),
    row("T", &["MFMT 20010203040506 f"]),
    row("T", &["MFF Modify=20010203040506; f"]),
    row("T", &["SITE UTIME 20010203040506 f"]),
    row("lT", &["MDTM 20010203040506 f"]),
    row("lrw", &["SITE CPFR f", "SITE CPTO new"]),
    row("lrwd", &["SITE CPFR f", "SITE CPTO g"]),
    row("rw", &["SITE COPY f new"]),
    row("rwd", &["SITE COPY f g"]),
    row("rad", &["COMB g f"]),
    row("wd", &["SITE SYMLINK f new"]),
];

fn start(rights: &str) -> TestServer {
    let server = server()
        .user("ann", "secret", rights)
        .set("site-symlink", "yes")
        .start();
    server.file("f", b"content f");
    server.file("g", b"content g");
    server.file("d/h", b"content h");
    server.file("empty/x", b"");
    let path = wharf::storage::VirtualPath::root()
        .join(b"empty/x")
        .unwrap();
    server.files.remove_file(&path).unwrap();
    server
}

/// Runs a line, with data if it needs any, to its final reply.
fn run(client: &mut Client, line: &str) -> u16 {
    let data = ["RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD"];
    if !data.iter().any(|verb| line.starts_with(verb)) {
        return client.cmd(line).code;
    }
    let listener = client.active("PORT");
    let reply = client.cmd(line);
    if reply.code != 150 {
        return reply.code;
    }
    let mut data = common::client::Data::accept(&listener);
    if line.starts_with("STO") || line.starts_with("APPE") {
        data.send(b"data");
        data.finish();
    }
    data.rest();
    client.reply().code
}

/// Everything in the tree, names, contents, modes and times.
fn picture(server: &TestServer) -> Vec<String> {
    let mut picture = Vec::new();
    let mut waiting = vec![String::new()];
    while let Some(directory) = waiting.pop() {
        for name in server.names(&directory) {
            let path = format!("{directory}/{name}");
            let at = wharf::storage::VirtualPath::root()
                .join(path.as_bytes())
                .unwrap();
            let metadata = server
                .files
                .metadata(&at, wharf::storage::Follow::No)
                .unwrap();
            let content = match metadata.kind {
                wharf::storage::FileKind::File => server.content(&path),
                wharf::storage::FileKind::Directory => {
                    waiting.push(path.clone());
                    None
                }
                _ => None,
            };
            picture.push(format!(
                "{path} {:o} {} {:?} {content:?}",
                metadata.mode, metadata.gid, metadata.modified
            ));
        }
    }
    picture.sort();
    picture
}

#[test]
fn the_needed_rights_are_enough() {
    for row in MATRIX {
        let server = start(row.needs);
        let mut client = server.ann();
        let mut code = 0;
        for line in row.lines {
            code = run(&mut client, line);
        }
        assert!(
            (200..300).contains(&code),
            "{:?} with {}: {code}",
            row.lines,
            row.needs
        );
    }
}

#[test]
fn each_needed_right_is_needed() {
    for row in MATRIX {
        for missing in row.needs.chars() {
            // With `a` one may go on with a file as with `w` and `d` together.
            let all: String = "elradfmwMT"
                .chars()
                .filter(|right| *right != missing)
                .collect();
            let all = match (row.needs, missing) {
                ("a", 'a') => all.replace(['w', 'd'], ""),
                ("rad", 'a') => all.replace('w', ""),
                _ => all,
            };
            let server = start(&all);
            let before = picture(&server);
            let mut client = server.ann();
            let code = row.lines.iter().fold(0, |_, line| run(&mut client, line));
            let what = format!("{:?} without {missing}: {code}", row.lines);
            // STOU tries other names, and RNTO has no RNFR then.
            assert!(matches!(code, 550 | 503 | 553), "{what}");
            assert_eq!(picture(&server), before, "{what}");
        }
    }
}

#[test]
fn without_any_right_there_is_nothing() {
    let server = start("none");
    let before = picture(&server);
    let mut client = server.ann();
    for row in MATRIX {
        let code = row.lines.iter().fold(0, |_, line| run(&mut client, line));
        assert!(code >= 500, "{:?}: {code}", row.lines);
    }
    assert_eq!(picture(&server), before);
    client.expect("PWD", 257);
}

#[test]
fn a_directory_has_rights_of_its_own() {
    let server = server()
        .user("ann", "secret", "read-only")
        .at("in", "elw")
        .at("in/shut", "none")
        .start();
    server.file("f", b"1");
    server.file("in/old", b"2");
    server.file("in/shut/g", b"3");
    server.file("inside", b"4");
    let mut client = server.ann();
    for (line, want) in [
        ("STOR new", 550),
        ("STOR in/new", 226),
        ("STOR in/old", 550),
        ("RETR in/old", 550),
        ("RETR inside", 226),
        ("STOR inside2", 550),
        ("CWD in/shut", 550),
        ("RETR in/shut/g", 550),
        ("STOR in/shut/new", 550),
        ("RETR in/../f", 226),
        ("STOR in/../x", 550),
        ("RNFR f", 550),
        ("SITE COPY f in/copy", 250),
        ("SITE COPY in/old in/copy2", 550),
    ] {
        assert_eq!(run(&mut client, line), want, "{line}");
    }
}

/// vsftpd's `anon_world_readable_only`: by the mode of the open file, whatever
/// command reads it and however it is named.
#[test]
fn anonymous_users_may_be_kept_to_what_everybody_may_read() {
    let place = TempDir::new("world");
    for (name, mode) in [("open", 0o644), ("closed", 0o640)] {
        let file = place.join(name);
        std::fs::write(&file, name).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::symlink("closed", place.join("link")).unwrap();
    std::fs::hard_link(place.join("closed"), place.join("second")).unwrap();
    let start = |value: &str| {
        server()
            .directory(place.path())
            .anonymous("read-write")
            .set("anonymous-world-readable", value)
            .start()
    };
    let server = start("yes");
    let mut client = server.connect();
    client.login("anonymous", "guest@");
    assert_eq!(client.fetch("RETR open"), b"open");
    client.expect("XCRC open", 250);
    for name in ["closed", "link", "second", "./closed"] {
        for line in [
            format!("XCRC {name}"),
            format!("HASH {name}"),
            format!("SITE COPY {name} copy"),
            format!("COMB whole {name}"),
        ] {
            client.expect(&line, 550);
        }
        let _data = client.data();
        client.expect(&format!("RETR {name}"), 550);
        client.expect("SIZE closed", 213);
    }
    assert!(!place.join("copy").exists() && !place.join("whole").exists());
    // Users of their own, and anonymous ones otherwise, read what we can.
    assert_eq!(server.ann().fetch("RETR closed"), b"closed");
    let unjudged = start("no");
    let mut client = unjudged.connect();
    client.login("anonymous", "guest@");
    assert_eq!(client.fetch("RETR closed"), b"closed");
}

/// What a session has made is its own only as long as it is still that, there:
/// a program of the machine has put something else under the name.
#[test]
fn what_another_program_has_put_there_is_not_the_sessions() {
    let directory = TempDir::new("own");
    let server = server()
        .user("cam", "pass", "upload-only")
        .directory(directory.path())
        .start();
    let mut cam = server.login("cam", "pass");
    let other = |name: &str| {
        std::fs::write(directory.join("other"), b"other").unwrap();
        std::fs::rename(directory.join("other"), directory.join(name)).unwrap();
    };
    let link = |name: &str| {
        std::fs::write(directory.join("secret"), b"other").unwrap();
        // Over it, as the number of a file that is removed is given out again.
        std::os::unix::fs::symlink("secret", directory.join("made")).unwrap();
        std::fs::rename(directory.join("made"), directory.join(name)).unwrap();
    };
    // The file is kept, so that its number is not given out again.
    let away = |name: &str| {
        std::fs::rename(directory.join(name), directory.join("kept")).unwrap();
        std::fs::write(directory.join(name), b"other").unwrap();
    };
    for (name, replace) in [
        ("renamed-over", &other as &dyn Fn(&str)),
        ("link", &link),
        ("moved-away", &away),
    ] {
        assert_eq!(run(&mut cam, &format!("STOR {name}")), 226);
        assert_eq!(cam.cmd(&format!("RNFR {name}")).code, 350, "{name}");
        replace(name);
        assert_eq!(cam.cmd(&format!("RNTO {name}-new")).code, 550, "{name}");
        for line in ["RNFR", "DELE", "STOR"] {
            assert_eq!(
                run(&mut cam, &format!("{line} {name}")),
                550,
                "{line} {name}"
            );
        }
        assert_eq!(server.content(name).unwrap(), b"other", "{name}");
        // The next session of the camera may as little.
        let mut next = server.login("cam", "pass");
        for line in ["RNFR", "DELE", "STOR"] {
            assert_eq!(
                run(&mut next, &format!("{line} {name}")),
                550,
                "{line} {name}"
            );
        }
    }
    // Under the name that another program gave it, neither.
    assert_eq!(cam.cmd("DELE kept").code, 550);
    // The same for directories.
    assert_eq!(cam.cmd("MKD d").code, 257);
    std::fs::rename(directory.join("d"), directory.join("old")).unwrap();
    std::fs::create_dir(directory.join("d")).unwrap();
    assert_eq!(cam.cmd("RMD d").code, 550);
    assert_eq!(cam.cmd("RMD old").code, 550);
}
