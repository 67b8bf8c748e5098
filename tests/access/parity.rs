//! The same user may do the same over FTP and over SFTP, and it has the same
//! effect: every right alone, every right taken away, and the usual sets.

use crate::common;
#[allow(dead_code)]
use crate::common::packets;

use common::client::Client as Ftp;
use common::server;
use packets::*;
use wharf::auth::Perms;
use wharf::config::Config;
use wharf::storage::{FileKind, FileSystem, Follow, MemoryFs, VirtualPath};

/// One thing to do, in the words of both; true is success.
struct Deed {
    name: &'static str,
    ftp: fn(&mut Ftp) -> bool,
    sftp: fn(&mut Client) -> bool,
}

fn ftp_is(client: &mut Ftp, line: &str) -> bool {
    client.cmd(line).code < 400
}

fn ftp_put(client: &mut Ftp, line: &str) -> bool {
    let mut data = client.data();
    let mut code = client.cmd(line).code;
    if code == 150 {
        data.send(b"new contents");
        drop(data);
        code = client.reply().code;
    }
    code == 226
}

fn ftp_get(client: &mut Ftp, line: &str) -> bool {
    let mut data = client.data();
    let mut code = client.cmd(line).code;
    if code == 150 {
        data.rest();
        code = client.reply().code;
    }
    code == 226
}

fn sftp_put(client: &mut Client, path: &str, flags: u32) -> bool {
    let mut reply = client.try_open(path, flags);
    if reply.kind != HANDLE {
        return false;
    }
    let handle = reply.string();
    let written = client.write(&handle, 0, b"new contents");
    client.close(&handle) == OK && written == OK
}

const DEEDS: &[Deed] = &[
    Deed {
        name: "fetch",
        ftp: |client| ftp_get(client, "RETR f"),
        sftp: |client| client.try_open("f", FOR_READING).kind == HANDLE,
    },
    Deed {
        name: "list",
        ftp: |client| ftp_get(client, "MLSD /"),
        sftp: |client| client.call(OPENDIR, Body::new().string("/")).kind == HANDLE,
    },
    Deed {
        name: "look",
        ftp: |client| ftp_is(client, "MLST f"),
        sftp: |client| client.call(STAT, Body::new().string("f")).kind == ATTRS,
    },
    Deed {
        name: "store",
        ftp: |client| ftp_put(client, "STOR new"),
        sftp: |client| sftp_put(client, "new", NEW),
    },
    Deed {
        name: "replace",
        ftp: |client| ftp_put(client, "STOR f"),
        sftp: |client| sftp_put(client, "f", NEW),
    },
    Deed {
        name: "append",
        ftp: |client| ftp_put(client, "APPE f"),
        sftp: |client| sftp_put(client, "f", FOR_WRITING | APPEND),
    },
    Deed {
        name: "append to what is not there",
        ftp: |client| ftp_put(client, "APPE new"),
        sftp: |client| sftp_put(client, "new", FOR_WRITING | APPEND | CREAT),
    },
    Deed {
        name: "store a dot file",
        ftp: |client| ftp_put(client, "STOR .profile"),
        sftp: |client| sftp_put(client, ".profile", NEW),
    },
    Deed {
        name: "make a directory",
        ftp: |client| ftp_is(client, "MKD made"),
        sftp: |client| client.status(MKDIR, Body::new().string("made").none()) == OK,
    },
    Deed {
        name: "make a dot directory",
        ftp: |client| ftp_is(client, "MKD .ssh"),
        sftp: |client| client.status(MKDIR, Body::new().string(".ssh").none()) == OK,
    },
    Deed {
        name: "remove a directory",
        ftp: |client| ftp_is(client, "RMD empty"),
        sftp: |client| client.status(RMDIR, Body::new().string("empty")) == OK,
    },
    Deed {
        name: "delete",
        ftp: |client| ftp_is(client, "DELE f"),
        sftp: |client| client.status(REMOVE, Body::new().string("f")) == OK,
    },
    Deed {
        name: "rename",
        ftp: |client| ftp_is(client, "RNFR f") && ftp_is(client, "RNTO moved"),
        sftp: |client| client.status(RENAME, Body::new().string("f").string("moved")) == OK,
    },
    Deed {
        name: "rename to a dot",
        ftp: |client| ftp_is(client, "RNFR f") && ftp_is(client, "RNTO .f"),
        sftp: |client| client.status(RENAME, Body::new().string("f").string(".f")) == OK,
    },
    Deed {
        name: "rename over another",
        ftp: |client| ftp_is(client, "RNFR f") && ftp_is(client, "RNTO g"),
        sftp: |client| {
            let body = Body::new().string("f").string("g");
            client.extended("posix-rename@openssh.com", body).status() == OK
        },
    },
    Deed {
        name: "change the mode",
        ftp: |client| ftp_is(client, "SITE CHMOD 600 f"),
        sftp: |client| client.status(SETSTAT, Body::new().string("f").u32(4).u32(0o600)) == OK,
    },
    Deed {
        name: "change the time",
        ftp: |client| ftp_is(client, "MFMT 20200101000000 f"),
        sftp: |client| {
            let seconds = 1_577_836_800;
            let body = Body::new().string("f").u32(8).u32(seconds).u32(seconds);
            client.status(SETSTAT, body) == OK
        },
    },
    Deed {
        name: "copy",
        ftp: |client| ftp_is(client, "SITE COPY f copied"),
        sftp: |client| {
            let mut source = client.try_open("f", FOR_READING);
            if source.kind != HANDLE {
                return false;
            }
            let mut target = client.try_open("copied", NEW);
            if target.kind != HANDLE {
                return false;
            }
            let (source, target) = (source.string(), target.string());
            let body = Body::new().string(&source).u64(0).u64(0);
            let copied = client.extended("copy-data", body.string(&target).u64(0));
            copied.status() == OK && client.close(&target) == OK
        },
    },
];

fn files() -> MemoryFs {
    let files = MemoryFs::new();
    common::put_file(&files, b"f", b"old contents of f");
    common::put_file(&files, b"g", b"old contents of g");
    let empty = VirtualPath::root().join(b"empty").unwrap();
    files.make_dir(&empty, 0o755).unwrap();
    files
}

/// Names, modes and contents; not what an upload that was never allowed left.
fn tree(files: &MemoryFs) -> Vec<(String, u32, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut directory = files.read_dir(&VirtualPath::root()).unwrap();
    let mut name = Vec::new();
    while directory.next(&mut name).unwrap().is_some() {
        let path = VirtualPath::root().join(&name).unwrap();
        let metadata = files.metadata(&path, Follow::No).unwrap();
        let content = match metadata.kind {
            FileKind::File => common::content(files, &name),
            _ => None,
        };
        let name = String::from_utf8(name.clone()).unwrap();
        found.push((name, metadata.mode, content));
    }
    found
}

#[test]
fn both_protocols_allow_the_same() {
    let letters = "elradfmwMT";
    let mut sets: Vec<String> = ["read-only", "read-write", "upload-only", "drop", "none"]
        .map(String::from)
        .into();
    for letter in letters.chars() {
        sets.push(letter.to_string());
        sets.push(letters.replace(letter, ""));
        sets.push(format!("el{letter}w"));
    }
    for rights in &sets {
        for atomic in ["no", "yes"] {
            for deed in DEEDS {
                let (one, other) = (files(), files());
                let server = server()
                    .memory(one.clone())
                    .set("atomic-uploads", atomic)
                    .user("ann", "secret", rights)
                    .start();
                let by_ftp = (deed.ftp)(&mut server.ann());
                drop(server);
                let mut config = Config::default();
                config.atomic_uploads = atomic == "yes";
                let setup = Setup {
                    config,
                    perms: rights.parse::<Perms>().unwrap(),
                    ..Setup::default()
                };
                let mut client = Client::start(other.clone(), setup);
                let by_sftp = (deed.sftp)(&mut client);
                client.end().unwrap();
                let what = format!("{} with {rights}, atomic {atomic}", deed.name);
                assert_eq!(by_ftp, by_sftp, "{what}: FTP and SFTP");
                assert_eq!(tree(&one), tree(&other), "{what}");
            }
        }
    }
}
