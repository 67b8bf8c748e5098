//! The requests of version 3, on both file systems.

use wharf::auth::Perms;
use wharf::daemon::sftp::RequestSet;
use wharf::storage::{FileSystem, LocalFs, MemoryFs};

use super::common::TempDir;
use super::common::packets::*;

/// Runs a case on both file systems.
pub fn on_both(name: &str, case: fn(&mut Client)) {
    let mut client = Client::start(MemoryFs::new(), Setup::default());
    case(&mut client);
    assert_eq!(client.end(), Ok(()));
    let directory = TempDir::new(name);
    let local = LocalFs::open(directory.path()).unwrap();
    let mut client = Client::start(local, Setup::default());
    case(&mut client);
    assert_eq!(client.end(), Ok(()));
}

#[test]
fn files_are_written_and_read() {
    on_both("files", |client| {
        client.put("a", b"hello world");
        assert_eq!(client.get("/a"), b"hello world");
        assert_eq!(client.get("x/../a"), b"hello world");
        let stat = client.stat("a");
        assert_eq!((stat.size, stat.mode), (11, 0o100_644));

        let handle = client.open("a", FOR_READING);
        assert_eq!(client.data(&handle, 6, 3), b"wor");
        assert_eq!(client.data(&handle, 6, 1 << 30), b"world");
        assert_eq!(client.data(&handle, 3, 0), b"");
        for offset in [11, 12, 1 << 40] {
            assert_eq!(client.read(&handle, offset, 10).status(), EOF);
        }
        assert_eq!(client.write(&handle, 0, b"x"), PERMISSION_DENIED);
        let mut reply = client.call(FSTAT, Body::new().string(&handle));
        assert_eq!((reply.kind, reply.attributes().size), (ATTRS, 11));
        assert_eq!(client.close(&handle), OK);
        assert_eq!(client.close(&handle), FAILURE);
    });
}

#[test]
fn flags_of_open_mean_what_they_say() {
    on_both("flags", |client| {
        assert_eq!(client.try_open("a", FOR_READING).status(), NO_SUCH_FILE);
        assert_eq!(client.try_open("a", FOR_WRITING).status(), NO_SUCH_FILE);
        let append = FOR_WRITING | APPEND;
        assert_eq!(client.try_open("a", append).status(), NO_SUCH_FILE);
        let truncate = FOR_WRITING | TRUNC;
        assert_eq!(client.try_open("a", truncate).status(), NO_SUCH_FILE);
        client.put("a", b"0123456789");
        assert_eq!(client.try_open("a", NEW | EXCL).status(), FAILURE);

        let handle = client.open("a", FOR_WRITING | FOR_READING);
        assert_eq!(client.write(&handle, 2, b"ab"), OK);
        assert_eq!(client.data(&handle, 0, 99), b"01ab456789");
        assert_eq!(client.close(&handle), OK);

        let handle = client.open("a", FOR_WRITING | CREAT);
        assert_eq!(client.read(&handle, 0, 1).status(), PERMISSION_DENIED);
        assert_eq!(client.write(&handle, 0, b"X"), OK);
        assert_eq!(client.close(&handle), OK);
        assert_eq!(client.get("a"), b"X1ab456789");

        let handle = client.open("a", FOR_WRITING | CREAT | APPEND);
        assert_eq!(client.write(&handle, 0, b"end"), OK);
        assert_eq!(client.close(&handle), OK);
        assert_eq!(client.get("a"), b"X1ab456789end");

        let handle = client.open("a", FOR_WRITING | TRUNC);
        assert_eq!(client.write(&handle, 0, b"new"), OK);
        assert_eq!(client.close(&handle), OK);
        assert_eq!(client.get("a"), b"new");
        assert_eq!(client.try_open("/", FOR_READING).status(), FAILURE);

        // As open(2): a file that is opened for reading can be made by it.
        let exclusive = FOR_READING | CREAT | EXCL;
        assert_eq!(client.try_open("a", exclusive).status(), FAILURE);
        for (name, flags) in [
            ("b", FOR_READING | CREAT),
            ("b", FOR_READING | CREAT),
            ("c", exclusive),
        ] {
            let handle = client.open(name, flags);
            assert_eq!(client.read(&handle, 0, 1).status(), EOF);
            assert_eq!(client.write(&handle, 0, b"x"), PERMISSION_DENIED);
            assert_eq!(client.close(&handle), OK);
        }
        let handle = client.open("a", FOR_READING | CREAT);
        assert_eq!(client.data(&handle, 0, 9), b"new");
        assert_eq!(client.close(&handle), OK);
    });
}

/// As in Unix: a slash at the end follows a link, and wants a directory.
#[test]
fn a_slash_at_the_end_wants_a_directory() {
    on_both("slash", |client| {
        client.put("file", b"1");
        assert_eq!(client.status(MKDIR, Body::new().string("d/").none()), OK);
        let link = Body::new().string("d").string("dl");
        assert_eq!(client.status(SYMLINK, link), OK);
        let link = Body::new().string("file").string("fl");
        assert_eq!(client.status(SYMLINK, link), OK);
        let kind = |client: &mut Client, path: &str| {
            let mut reply = client.call(LSTAT, Body::new().string(path));
            reply.attributes().mode & 0o170_000
        };
        assert_eq!(kind(client, "dl"), 0o120_000);
        for path in ["d/", "dl/", "dl/."] {
            assert_eq!(kind(client, path), 0o040_000, "{path}");
        }
        for path in ["file/", "fl/", "file/."] {
            for request in [STAT, LSTAT, REMOVE, RMDIR] {
                let status = client.status(request, Body::new().string(path));
                assert_eq!(status, NO_SUCH_FILE, "{request} {path}");
            }
            let status = client.try_open(path, FOR_READING).status();
            assert_eq!(status, NO_SUCH_FILE, "{path}");
        }
        // The link stays, and what it points to.
        for request in [REMOVE, RMDIR] {
            let status = client.status(request, Body::new().string("dl/"));
            assert_eq!(status, NO_SUCH_FILE);
        }
        let rename = Body::new().string("dl/").string("other");
        assert_eq!(client.status(RENAME, rename), NO_SUCH_FILE);
        assert_eq!(client.try_open("new/", NEW).status(), NO_SUCH_FILE);
        // A file gets no name of a directory, and a link none with a slash.
        let rename = Body::new().string("file").string("e/");
        assert_eq!(client.status(RENAME, rename), NO_SUCH_FILE);
        let link = Body::new().string("d").string("e/");
        assert_eq!(client.status(SYMLINK, link), NO_SUCH_FILE);
        assert_eq!(kind(client, "dl"), 0o120_000);
        let rename = Body::new().string("d/").string("e/");
        assert_eq!(client.status(RENAME, rename), OK);
        assert_eq!(client.status(RMDIR, Body::new().string("e/")), OK);
        assert_eq!(client.status(REMOVE, Body::new().string("dl")), OK);
    });
}

#[test]
fn modes_are_the_clients_within_the_servers() {
    on_both("modes", |client| {
        for (wished, want) in [(0o600, 0o600), (0o777, 0o755), (0o4755, 0o755)] {
            let open = Body::new().string("f").u32(NEW).u32(4).u32(wished);
            let handle = client.call(OPEN, open).string();
            assert_eq!(client.close(&handle), OK);
            assert_eq!(client.stat("f").mode, 0o100_000 | want, "{wished:o}");
            assert_eq!(client.status(REMOVE, Body::new().string("f")), OK);
        }
        let mkdir = Body::new().string("d").u32(4).u32(0o40_770);
        assert_eq!(client.status(MKDIR, mkdir), OK);
        assert_eq!(client.stat("d").mode, 0o40_750);
    });
}

#[test]
fn attributes_are_set() {
    on_both("attributes", |client| {
        client.put("a", b"hello");
        let set = |path: &str| {
            Body::new()
                .string(path)
                .u32(4 | 8)
                .u32(0o640)
                .u32(7)
                .u32(1 << 31)
        };
        assert_eq!(client.status(SETSTAT, set("a")), OK);
        let stat = client.stat("a");
        assert_eq!((stat.mode, stat.modified), (0o100_640, 1 << 31));
        assert_eq!(client.status(SETSTAT, set("b")), NO_SUCH_FILE);

        let handle = client.open("a", FOR_WRITING);
        let set = Body::new().string(&handle).u32(1).u64(2);
        assert_eq!(client.status(FSETSTAT, set), OK);
        // SECURITY: set-id bits pass neither by path nor by handle.
        let set = Body::new().string(&handle).u32(4).u32(0o6755);
        assert_eq!(client.status(FSETSTAT, set), OK);
        assert_eq!(client.close(&handle), OK);
        let stat = client.stat("a");
        assert_eq!((stat.size, stat.mode), (2, 0o100_755));
        assert_eq!(client.status(MKDIR, Body::new().string("d").none()), OK);
        // On a disk a directory keeps its set-group-ID bit: tests/ftp/uploads.rs.
        for (wished, want) in [(0o6775, 0o2775), (0o3777, 0o3777)] {
            let set = Body::new().string("d").u32(4).u32(wished);
            assert_eq!(client.status(SETSTAT, set), OK);
            assert_eq!(client.stat("d").mode, 0o040_000 | want, "{wished:o}");
        }
        let set = Body::new().string("a").u32(4).u32(0o6711);
        assert_eq!(client.status(SETSTAT, set), OK);
        assert_eq!(client.stat("a").mode, 0o100_711);
    });
}

#[test]
fn directories_are_made_listed_and_removed() {
    on_both("directories", |client| {
        let path = |path: &str| Body::new().string(path);
        assert_eq!(client.status(MKDIR, path("d").none()), OK);
        assert_eq!(client.status(MKDIR, path("d").none()), FAILURE);
        assert_eq!(client.status(MKDIR, path("x/y").none()), NO_SUCH_FILE);
        assert_eq!(client.stat("d").mode, 0o40_755);
        client.put("d/a b", b"1");
        client.put("d/n\nl", b"22");
        let mut handle = client.call(OPENDIR, path("d"));
        let handle = handle.string();
        let mut names = client.call(READDIR, Body::new().string(&handle)).names();
        names.sort();
        let listed: Vec<_> = names
            .iter()
            .map(|(name, _, stat)| (&name[..], stat.size))
            .collect();
        assert_eq!(listed[0].0, b".");
        assert_eq!(listed[1].0, b"..");
        assert_eq!(listed[2..], [(&b"a b"[..], 1), (b"n\nl", 2)]);
        let long = String::from_utf8(names[3].1.clone()).unwrap();
        assert!(
            long.starts_with("-rw-r--r--   1 ") && long.ends_with(" n?l"),
            "{long}"
        );
        assert_eq!(client.status(READDIR, Body::new().string(&handle)), EOF);
        assert_eq!(client.status(READDIR, Body::new().string(&handle)), EOF);
        assert_eq!(client.read(&handle, 0, 1).status(), FAILURE);
        assert_eq!(client.close(&handle), OK);

        assert_eq!(client.status(OPENDIR, path("none")), NO_SUCH_FILE);
        assert_eq!(client.status(OPENDIR, path("d/a b")), NO_SUCH_FILE);
        assert_eq!(client.status(RMDIR, path("d")), FAILURE);
        assert_eq!(client.status(REMOVE, path("d")), FAILURE);
        assert_eq!(client.status(REMOVE, path("d/a b")), OK);
        assert_eq!(client.status(REMOVE, path("d/a b")), NO_SUCH_FILE);
        assert_eq!(client.status(REMOVE, path("d/n\nl")), OK);
        assert_eq!(client.status(RMDIR, path("d")), OK);
        assert_eq!(client.status(RMDIR, path("d")), NO_SUCH_FILE);
    });
}

#[test]
fn names_change() {
    on_both("names", |client| {
        let two = |from: &str, to: &str| Body::new().string(from).string(to);
        client.put("a", b"1");
        client.put("b", b"2");
        assert_eq!(client.status(RENAME, two("a", "b")), FAILURE);
        assert_eq!(client.status(RENAME, two("a", "c")), OK);
        assert_eq!(client.status(RENAME, two("a", "d")), NO_SUCH_FILE);
        let rename = "posix-rename@openssh.com";
        assert_eq!(client.extended(rename, two("c", "b")).status(), OK);
        assert_eq!(client.get("b"), b"1");
        // The order that OpenSSH has made of it: target, link.
        assert_eq!(client.status(SYMLINK, two("b", "link")), OK);
        assert_eq!(client.status(SYMLINK, two("b", "link")), FAILURE);
        let names = client.call(READLINK, Body::new().string("link")).names();
        assert_eq!(names[0].0, b"b");
        assert_eq!(client.status(READLINK, Body::new().string("b")), FAILURE);
        assert_eq!(client.get("link"), b"1");
        let mut link = client.call(LSTAT, Body::new().string("link"));
        assert_eq!(link.attributes().mode & 0o170_000, 0o120_000);
        assert_eq!(client.stat("link").mode & 0o170_000, 0o100_000);
        assert_eq!(
            client
                .extended("hardlink@openssh.com", two("b", "e"))
                .status(),
            OK
        );
        assert_eq!(client.get("e"), b"1");
    });
}

#[test]
fn real_paths_need_not_exist() {
    on_both("paths", |client| {
        assert_eq!(client.status(MKDIR, Body::new().string("d").none()), OK);
        let link = Body::new().string("/d").string("link");
        assert_eq!(client.status(SYMLINK, link), OK);
        for (path, want) in [
            ("", "/"),
            (".", "/"),
            ("../../x", "/x"),
            ("link/new", "/d/new"),
            ("none/at/all", "/none/at/all"),
        ] {
            let names = client.call(REALPATH, Body::new().string(path)).names();
            let (name, long, _) = &names[0];
            assert_eq!(
                (names.len(), &name[..], &long[..]),
                (1, want.as_bytes(), want.as_bytes())
            );
        }
        let long = "x".repeat(300);
        assert_eq!(
            client.status(REALPATH, Body::new().string(&long)),
            BAD_MESSAGE
        );
    });
}

#[test]
fn a_hundred_thousand_entries_come_in_small_replies() {
    let files = MemoryFs::new();
    let mut client = Client::start(files.clone(), Setup::default());
    let name = |number: u32| format!("{number:0>150}");
    for number in 0..100_000 {
        let path = wharf::storage::VirtualPath::root()
            .join(name(number).as_bytes())
            .unwrap();
        files.symlink(b"x", &path).unwrap();
    }
    let (mut names, longest) = client.list("/");
    assert!(longest <= 34_000, "{longest}");
    names.sort();
    assert_eq!(names.len(), 100_002);
    assert_eq!(names[2], name(0).as_bytes());
    assert_eq!(names[100_001], name(99_999).as_bytes());
    assert_eq!(client.end(), Ok(()));
}

#[test]
fn sixty_four_requests_in_flight_are_answered_in_order() {
    on_both("order", |client| {
        let data: Vec<u8> = (0..64 * 4000u32).map(|at| (at / 4000) as u8).collect();
        client.put("a", &data);
        let handle = client.open("a", FOR_READING);
        let ids: Vec<u32> = (0..64)
            .map(|at| {
                let read = Body::new().string(&handle).u64(at * 4000).u32(4000);
                client.send(READ, read)
            })
            .collect();
        for (at, id) in ids.into_iter().enumerate() {
            let mut reply = client.receive();
            assert_eq!((reply.kind, reply.id), (DATA, id));
            assert!(reply.string().iter().all(|byte| *byte == at as u8));
        }
    });
}

#[test]
fn offsets_go_beyond_four_gibibytes() {
    let directory = TempDir::new("offsets");
    let local = LocalFs::open(directory.path()).unwrap();
    let mut client = Client::start(local, Setup::default());
    let offset = 5 << 30;
    let handle = client.open("sparse", NEW | FOR_READING);
    assert_eq!(client.write(&handle, offset, b"far"), OK);
    assert_eq!(client.data(&handle, offset - 1, 10), b"\0far");
    assert_eq!(client.stat("sparse").size, offset + 3);
    for offset in [1 << 63, u64::MAX] {
        assert_eq!(client.write(&handle, offset, b"x"), FAILURE);
        assert_eq!(client.read(&handle, offset, 1).status(), FAILURE);
    }
    assert_eq!(client.end(), Ok(()));
}

#[test]
fn rights_decide() {
    let files = MemoryFs::new();
    let mut client = Client::start(files.clone(), Setup::default());
    client.put("a", b"old");
    let with = |letters: &str| Setup {
        perms: letters.parse::<Perms>().unwrap(),
        ..Setup::default()
    };

    let mut reader = Client::start(files.clone(), with("read-only"));
    assert_eq!(reader.get("a"), b"old");
    assert_eq!(
        reader.try_open("a", FOR_WRITING).status(),
        PERMISSION_DENIED
    );
    assert_eq!(reader.try_open("b", NEW).status(), PERMISSION_DENIED);
    for (kind, body) in [
        (REMOVE, Body::new().string("a")),
        (MKDIR, Body::new().string("d").none()),
        (RENAME, Body::new().string("a").string("b")),
        (SYMLINK, Body::new().string("a").string("b")),
        (SETSTAT, Body::new().string("a").u32(4).u32(0o600)),
        (SETSTAT, Body::new().string("a").u32(8).u32(1).u32(1)),
        (SETSTAT, Body::new().string("a").u32(1).u64(1)),
    ] {
        assert_eq!(reader.status(kind, body), PERMISSION_DENIED, "{kind}");
    }

    // What OpenSSH's scp does, by a user who may not replace files: it opens
    // without TRUNC and cuts the file at its end.
    let mut uploader = Client::start(files.clone(), with("upload-only"));
    let handle = uploader.open("new", FOR_WRITING | CREAT);
    assert_eq!(uploader.write(&handle, 0, b"data"), OK);
    let cut = |size| Body::new().string(&handle).u32(1).u64(size);
    assert_eq!(uploader.status(FSETSTAT, cut(4)), OK);
    assert_eq!(uploader.close(&handle), OK);
    let handle = uploader.open("a", FOR_WRITING);
    let cut = |size| Body::new().string(&handle).u32(1).u64(size);
    assert_eq!(uploader.status(FSETSTAT, cut(0)), PERMISSION_DENIED);
    assert_eq!(uploader.close(&handle), OK);
    // What the session has made is its own.
    let times = Body::new().string("new").u32(8).u32(1).u32(1);
    assert_eq!(uploader.status(SETSTAT, times), OK);
    assert_eq!(
        uploader.status(RENAME, Body::new().string("new").string("a")),
        FAILURE
    );
    assert_eq!(
        uploader.status(RENAME, Body::new().string("new").string("done")),
        OK
    );
    assert_eq!(uploader.status(REMOVE, Body::new().string("done")), OK);
    assert_eq!(
        uploader.status(REMOVE, Body::new().string("a")),
        PERMISSION_DENIED
    );
    assert_eq!(
        uploader.try_open("a", FOR_READING).status(),
        PERMISSION_DENIED
    );
    assert_eq!(uploader.try_open("a", NEW).status(), PERMISSION_DENIED);

    // A place for dropping looks empty but for what the session has made.
    let mut dropper = Client::start(files, with("drop"));
    dropper.put("dropped", b"x");
    assert_eq!(dropper.status(STAT, Body::new().string("a")), NO_SUCH_FILE);
    let (names, _) = dropper.list("/");
    assert!(names.contains(&b"dropped".to_vec()) && !names.contains(&b"a".to_vec()));
    assert_eq!(client.get("dropped"), b"x");
}

#[test]
fn requests_can_be_refused() {
    let mut setup = Setup::default();
    setup.options.deny = RequestSet::parse("remove,statvfs").unwrap();
    let mut client = Client::connect(MemoryFs::new(), setup);
    let extensions = client.greet();
    assert!(
        extensions
            .iter()
            .all(|(name, _)| name != b"statvfs@openssh.com")
    );
    client.put("a", b"1");
    assert_eq!(
        client.status(REMOVE, Body::new().string("a")),
        PERMISSION_DENIED
    );
    let statvfs = client.extended("statvfs@openssh.com", Body::new().string("a"));
    assert_eq!(statvfs.status(), PERMISSION_DENIED);

    let mut setup = Setup::default();
    setup.options.allow = RequestSet::parse("realpath").unwrap();
    let mut client = Client::connect(MemoryFs::new(), setup);
    assert!(client.greet().is_empty());
    assert_eq!(client.call(REALPATH, Body::new().string("x")).kind, NAME);
    assert_eq!(
        client.status(STAT, Body::new().string("/")),
        PERMISSION_DENIED
    );
}
