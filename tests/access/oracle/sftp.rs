//! What SFTP can do to a path: every row of the request table.

use crate::common::packets::*;

/// Sends a request; yields all that was received.
type Deed = fn(&mut Client, &str) -> Vec<u8>;

/// A request and how it meets a path. What needs a handle is done with every
/// handle that OPEN or OPENDIR gives, and has no deed of its own.
pub const REQUESTS: &[(&str, &[Deed])] = &[
    (
        "open",
        &[
            |client, path| with_file(client, path, FOR_READING),
            |client, path| with_file(client, path, FOR_WRITING),
            |client, path| with_file(client, path, FOR_WRITING | CREAT),
            |client, path| with_file(client, path, FOR_READING | FOR_WRITING | CREAT),
            |client, path| with_file(client, path, NEW),
            |client, path| with_file(client, path, FOR_WRITING | CREAT | EXCL),
            |client, path| with_file(client, path, FOR_WRITING | APPEND),
            |client, path| with_file(client, path, FOR_WRITING | APPEND | CREAT),
            |client, path| with_file(client, path, FOR_WRITING | TRUNC),
        ],
    ),
    ("close", &[]),
    ("read", &[]),
    ("write", &[]),
    ("fstat", &[]),
    ("fsetstat", &[]),
    ("readdir", &[]),
    ("fstatvfs", &[]),
    ("fsync", &[]),
    ("copy-data", &[]),
    ("check-file", &[]),
    ("check-file-handle", &[]),
    ("limits", &[]),
    ("home-directory", &[]),
    ("users-groups-by-id", &[]),
    ("lstat", &[|client, path| one(client, LSTAT, path)]),
    ("stat", &[|client, path| one(client, STAT, path)]),
    (
        "setstat",
        &[
            |client, path| call(client, SETSTAT, Body::new().string(path).u32(1).u64(2)),
            |client, path| call(client, SETSTAT, Body::new().string(path).u32(4).u32(0o600)),
            |client, path| {
                call(
                    client,
                    SETSTAT,
                    Body::new().string(path).u32(8).u32(9).u32(9),
                )
            },
        ],
    ),
    (
        "lsetstat",
        &[
            |client, path| {
                extended(
                    client,
                    "lsetstat@openssh.com",
                    Body::new().string(path).u32(4).u32(0o600),
                )
            },
            |client, path| {
                extended(
                    client,
                    "lsetstat@openssh.com",
                    Body::new().string(path).u32(8).u32(9).u32(9),
                )
            },
        ],
    ),
    ("opendir", &[with_directory]),
    ("remove", &[|client, path| one(client, REMOVE, path)]),
    (
        "mkdir",
        &[|client, path| call(client, MKDIR, Body::new().string(path).none())],
    ),
    ("rmdir", &[|client, path| one(client, RMDIR, path)]),
    ("realpath", &[|client, path| one(client, REALPATH, path)]),
    ("readlink", &[|client, path| one(client, READLINK, path)]),
    (
        "rename",
        &[
            |client, path| call(client, RENAME, two(path, "/open/fresh")),
            |client, path| call(client, RENAME, two("/open/mine", path)),
            |client, path| call(client, RENAME, two("/open/d", path)),
        ],
    ),
    (
        "posix-rename",
        &[
            |client, path| extended(client, "posix-rename@openssh.com", two(path, "/open/mine")),
            |client, path| extended(client, "posix-rename@openssh.com", two("/open/mine", path)),
            |client, path| extended(client, "posix-rename@openssh.com", two("/open/e", path)),
            |client, path| extended(client, "posix-rename@openssh.com", two("/open/abs", path)),
        ],
    ),
    (
        "symlink",
        &[
            |client, path| {
                let target = ["..", path].concat();
                let mut heard = call(client, SYMLINK, two(&target, "/open/fresh"));
                for flags in [FOR_READING, FOR_WRITING, NEW] {
                    heard.extend(with_file(client, "/open/fresh", flags));
                    heard.extend(with_file(client, "/open/fresh/f", flags));
                }
                heard.extend(one(client, REMOVE, "/open/fresh/f"));
                heard
            },
            |client, path| call(client, SYMLINK, two("f", path)),
            |client, path| {
                let mut heard = call(client, SYMLINK, two("..", path));
                let through = [path, "/secret/f"].concat();
                heard.extend(with_file(client, &through, FOR_READING));
                heard
            },
        ],
    ),
    (
        "hardlink",
        &[
            |client, path| {
                let body = two(path, "/open/fresh");
                let mut heard = extended(client, "hardlink@openssh.com", body);
                heard.extend(with_file(client, "/open/fresh", FOR_READING));
                heard.extend(with_file(client, "/open/fresh", FOR_WRITING));
                heard
            },
            |client, path| extended(client, "hardlink@openssh.com", two("/open/mine", path)),
            |client, path| extended(client, "hardlink@openssh.com", two(path, "/in/fresh")),
        ],
    ),
    (
        "statvfs",
        &[|client, path| extended(client, "statvfs@openssh.com", Body::new().string(path))],
    ),
    (
        "expand-path",
        &[|client, path| extended(client, "expand-path@openssh.com", Body::new().string(path))],
    ),
    (
        "check-file-name",
        &[|client, path| {
            let body = Body::new().string(path).string("sha256").u64(0).u64(0);
            extended(client, "check-file-name", body.u32(0))
        }],
    ),
];

fn two(one: &str, two: &str) -> Body {
    Body::new().string(one).string(two)
}

fn call(client: &mut Client, kind: u8, body: Body) -> Vec<u8> {
    client.call(kind, body).rest
}

fn one(client: &mut Client, kind: u8, path: &str) -> Vec<u8> {
    call(client, kind, Body::new().string(path))
}

fn extended(client: &mut Client, name: &str, body: Body) -> Vec<u8> {
    client.extended(name, body).rest
}

/// Opens a file and does everything to the handle, if there is one.
fn with_file(client: &mut Client, path: &str, flags: u32) -> Vec<u8> {
    let mut reply = client.try_open(path, flags);
    if reply.kind != HANDLE {
        return reply.rest;
    }
    let handle = reply.string();
    let on = || Body::new().string(&handle);
    let mut heard = call(client, FSTAT, on());
    heard.extend(call(client, READ, on().u64(0).u32(200)));
    for offset in [0, 1, 10_632, 100_000] {
        heard.extend(call(client, WRITE, on().u64(offset).string("data")));
    }
    let mut mine = client.try_open("/open/mine", FOR_READING);
    if mine.kind == HANDLE {
        let mine = mine.string();
        let body = Body::new().string(&mine).u64(0).u64(4);
        heard.extend(extended(client, "copy-data", body.string(&handle).u64(0)));
        client.close(&mine);
    }
    let mut fresh = client.try_open("/open/copied", NEW);
    if fresh.kind == HANDLE {
        let fresh = fresh.string();
        let body = on().u64(0).u64(0).string(&fresh).u64(0);
        heard.extend(extended(client, "copy-data", body));
        client.close(&fresh);
    }
    for sum in ["check-file", "check-file-handle"] {
        let body = on().string("sha256").u64(0).u64(0).u32(0);
        heard.extend(extended(client, sum, body));
    }
    heard.extend(extended(client, "fsync@openssh.com", on()));
    heard.extend(extended(client, "fstatvfs@openssh.com", on()));
    for attributes in [
        on().u32(1).u64(2),
        on().u32(4).u32(0o600),
        on().u32(8).u32(9).u32(9),
    ] {
        heard.extend(call(client, FSETSTAT, attributes));
    }
    heard.extend(one_handle(client, CLOSE, &handle));
    // What a handle shows of the user's own, new file is no secret.
    match flags & FOR_WRITING {
        0 => heard,
        _ => Vec::new(),
    }
}

fn one_handle(client: &mut Client, kind: u8, handle: &[u8]) -> Vec<u8> {
    call(client, kind, Body::new().string(handle))
}

fn with_directory(client: &mut Client, path: &str) -> Vec<u8> {
    let mut reply = one_reply(client, path);
    if reply.kind != HANDLE {
        return reply.rest;
    }
    let handle = reply.string();
    let mut heard = Vec::new();
    loop {
        let reply = client.call(READDIR, Body::new().string(&handle));
        let ended = reply.kind == STATUS;
        heard.extend(reply.rest);
        if ended {
            break;
        }
    }
    for attributes in [
        Body::new().string(&handle).u32(4).u32(0o700),
        Body::new().string(&handle).u32(8).u32(9).u32(9),
    ] {
        heard.extend(call(client, FSETSTAT, attributes));
    }
    heard.extend(one_handle(client, FSTAT, &handle));
    heard.extend(one_handle(client, CLOSE, &handle));
    heard
}

fn one_reply(client: &mut Client, path: &str) -> Reply {
    client.call(OPENDIR, Body::new().string(path))
}

/// A client of a server on a tree, for a user of its rights.
pub fn start(tree: &crate::oracle::tree::Tree, atomic: bool) -> Client {
    Client::start(files(tree), setup(tree, atomic))
}

pub fn files(tree: &crate::oracle::tree::Tree) -> wharf::storage::LocalFs {
    wharf::storage::LocalFs::open(&tree.top).unwrap()
}

pub fn setup(tree: &crate::oracle::tree::Tree, atomic: bool) -> Setup {
    let mut config = wharf::config::Config::default();
    config.atomic_uploads = atomic;
    config.site_symlink = wharf::config::Symlinks::Anywhere;
    Setup {
        config,
        perms: tree.default,
        directories: crate::oracle::tree::Tree::rules(),
        ..Setup::default()
    }
}
