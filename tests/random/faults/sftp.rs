//! Every operation of every SFTP request fails once.

use std::sync::Arc;

use wharf::config::{Config, Symlinks};
use wharf::daemon::{Metered, Usage};
use wharf::storage::{FileSystem, MemoryFs, VirtualPath};

use super::common::put_file;
use super::faulty::{Faulty, Plan};
use super::ftp::libc_errno;
use super::packets::*;

const OLD: &[u8] = b"the old contents of the file";

/// A request; handles stand for an open file, a new one, and a directory.
pub type Make = fn(&[u8], &[u8], &[u8]) -> (u8, Body);

pub const REQUESTS: &[Make] = &[
    |_, _, _| (OPEN, Body::new().string("f").u32(FOR_READING).none()),
    |_, _, _| (OPEN, Body::new().string("n2").u32(NEW).none()),
    |_, _, _| {
        (
            OPEN,
            Body::new().string("f").u32(FOR_WRITING | APPEND).none(),
        )
    },
    |_, _, _| (OPEN, Body::new().string("n3").u32(NEW | EXCL).none()),
    |file, _, _| (READ, Body::new().string(file).u64(0).u32(100)),
    |_, new, _| (WRITE, Body::new().string(new).u64(0).string("data")),
    |file, _, _| (CLOSE, Body::new().string(file)),
    |_, new, _| (CLOSE, Body::new().string(new)),
    |_, _, directory| (CLOSE, Body::new().string(directory)),
    |file, _, _| (FSTAT, Body::new().string(file)),
    |_, new, _| (FSETSTAT, Body::new().string(new).u32(4).u32(0o600)),
    |_, _, _| (OPENDIR, Body::new().string("d")),
    |_, _, directory| (READDIR, Body::new().string(directory)),
    |_, _, _| (REMOVE, Body::new().string("f")),
    |_, _, _| (MKDIR, Body::new().string("made").none()),
    |_, _, _| (RMDIR, Body::new().string("empty")),
    |_, _, _| (REALPATH, Body::new().string("d/../f")),
    |_, _, _| (STAT, Body::new().string("f")),
    |_, _, _| (LSTAT, Body::new().string("f")),
    |_, _, _| (SETSTAT, Body::new().string("f").u32(4).u32(0o600)),
    |_, _, _| (RENAME, Body::new().string("f").string("g")),
    |_, _, _| (READLINK, Body::new().string("link")),
    |_, _, _| (SYMLINK, Body::new().string("f").string("link2")),
    |_, _, _| {
        (
            EXTENDED,
            Body::new()
                .string("posix-rename@openssh.com")
                .string("f")
                .string("d/g"),
        )
    },
    |_, _, _| {
        (
            EXTENDED,
            Body::new()
                .string("hardlink@openssh.com")
                .string("f")
                .string("h"),
        )
    },
    |_, new, _| {
        (
            EXTENDED,
            Body::new().string("fsync@openssh.com").string(new),
        )
    },
    |_, _, _| {
        (
            EXTENDED,
            Body::new().string("statvfs@openssh.com").string("/"),
        )
    },
    |file, _, _| {
        (
            EXTENDED,
            Body::new().string("fstatvfs@openssh.com").string(file),
        )
    },
    |_, _, _| (EXTENDED, Body::new().string("limits@openssh.com")),
    |_, _, _| (EXTENDED, Body::new().string("home-directory").string("ann")),
    |_, _, _| {
        let body = Body::new().string("users-groups-by-id@openssh.com");
        let numbers = b"\0\0\0\0";
        (EXTENDED, body.string(numbers).string(numbers))
    },
    |file, _, _| {
        let body = Body::new().string("check-file").string(file);
        (EXTENDED, body.string("sha256").u64(0).u64(0).u32(0))
    },
    |file, _, _| {
        let body = Body::new().string("check-file-handle").string(file);
        (EXTENDED, body.string("sha256").u64(0).u64(0).u32(0))
    },
    |_, _, _| {
        (
            EXTENDED,
            Body::new().string("expand-path@openssh.com").string("f"),
        )
    },
    |file, new, _| {
        let body = Body::new().string("copy-data").string(file).u64(0).u64(0);
        (EXTENDED, body.string(new).u64(0))
    },
    |_, _, _| {
        let body = Body::new()
            .string("check-file-name")
            .string("f")
            .string("sha256");
        (EXTENDED, body.u64(0).u64(0).u32(0))
    },
    |_, _, _| {
        (
            EXTENDED,
            Body::new()
                .string("lsetstat@openssh.com")
                .string("f")
                .u32(4)
                .u32(0o600),
        )
    },
];

pub fn every_operation_fails(errno: i32, atomic: bool) {
    let mut faults = 0;
    for (at, make) in REQUESTS.iter().enumerate() {
        for number in 1.. {
            assert!(number < 100, "request {at} never ends");
            let memory = MemoryFs::new();
            put_file(&memory, b"f", OLD);
            put_file(&memory, b"d/g", OLD);
            let root = VirtualPath::root();
            memory
                .make_dir(&root.join(b"empty").unwrap(), 0o755)
                .unwrap();
            memory.symlink(b"f", &root.join(b"link").unwrap()).unwrap();
            let faulty = Arc::new(Faulty::new(memory.clone()));
            let plan: Arc<Plan> = Arc::clone(&faulty.plan);
            let mut config = Config::default();
            config.atomic_uploads = atomic;
            config.fsync_uploads = atomic;
            config.site_symlink = Symlinks::Inside;
            let setup = Setup {
                config,
                ..Setup::default()
            };
            let usage = Arc::new(Usage::scan(&memory, 1 << 20, 100));
            let metered = Metered::new(faulty, Arc::clone(&usage));
            let mut client = Client::start(metered, setup);
            let file = client.open("f", FOR_READING);
            let new = client.open("new", NEW);
            let mut directory = client.call(OPENDIR, Body::new().string("/"));
            let directory = directory.string();
            plan.fail(number, errno);
            let (kind, body) = make(&file, &new, &directory);
            // `call` sees to it that exactly one answer of this number comes.
            let reply = client.call(kind, body);
            let what = format!("request {at}, operation {number} of {:?}", plan.done());
            let failed = plan.heal();
            let bad = reply.kind == STATUS && !matches!(reply.clone().status(), OK | EOF);
            assert!(failed || !bad, "{what}: {reply:?}");
            let mut root = client.call(STAT, Body::new().string("/"));
            assert_eq!(root.kind, ATTRS, "{what}");
            root.attributes();
            let ended = client.end();
            assert!(ended.is_ok(), "{what}: {ended:?}");
            assert_eq!(plan.open(), 0, "{what}: something is open");
            let there = Usage::scan(&memory, 0, 0).used();
            assert_eq!(usage.used(), there, "{what}: the quota counts wrong");
            let mut names = memory.read_dir(&VirtualPath::root()).unwrap();
            let mut name = Vec::new();
            while names.next(&mut name).unwrap().is_some() {
                assert!(!name.starts_with(b".wharf-upload-"), "{what}");
            }
            if !failed {
                break;
            }
            faults += 1;
        }
    }
    assert!(faults > 40, "{faults} faults");
}

#[test]
fn requests_fail() {
    for name in ["ENOSPC", "EIO", "EDQUOT", "EACCES", "ESTALE", "EMFILE"] {
        for atomic in [false, true] {
            every_operation_fails(libc_errno(name), atomic);
        }
    }
}

/// A row of the table of requests that is not above is one that nobody tries.
#[test]
fn no_request_is_missing() {
    let tried: Vec<String> = REQUESTS
        .iter()
        .map(|make| match make(b"", b"", b"") {
            (EXTENDED, body) => {
                let length = u32::from_be_bytes(body.0[..4].try_into().unwrap());
                let name = String::from_utf8(body.0[4..4 + length as usize].to_vec()).unwrap();
                name.split('@').next().unwrap().to_owned()
            }
            // The table begins with the numbers of the draft, from OPEN on.
            (number, _) => wharf::daemon::sftp::REQUESTS[usize::from(number - OPEN)]
                .name
                .to_owned(),
        })
        .collect();
    for row in wharf::daemon::sftp::REQUESTS {
        assert!(tried.iter().any(|name| name == row.name), "{}", row.name);
    }
}
