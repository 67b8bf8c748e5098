//! Uploads: atomic ones, failed ones, slow ones.

use std::time::{Duration, Instant};

use wharf::ErrorKind;
use wharf::storage::{LocalFs, MemoryFs};

use super::common::TempDir;
use super::common::packets::*;

fn atomic() -> Setup {
    let mut setup = Setup::default();
    setup.config.atomic_uploads = true;
    setup
}

#[test]
fn atomic_uploads_appear_when_they_are_closed() {
    let files = MemoryFs::new();
    let mut other = Client::start(files.clone(), Setup::default());
    let mut client = Client::start(files, atomic());
    let path = |path: &str| Body::new().string(path);
    // The second opens as OpenSSH's scp does.
    for (name, flags) in [("a", NEW), ("b", FOR_WRITING | CREAT), ("c", NEW | EXCL)] {
        let handle = client.open(name, flags);
        assert_eq!(client.write(&handle, 0, b"half"), OK);
        assert_eq!(other.status(STAT, path(name)), NO_SUCH_FILE);
        // sshfs looks at what it has made before it goes on.
        assert_eq!(client.stat(name).size, 4);
        assert_eq!(client.status(SETSTAT, path(name).u32(4).u32(0o600)), OK);
        assert_eq!(client.write(&handle, 4, b" done"), OK);
        assert_eq!(client.close(&handle), OK);
        assert_eq!(other.get(name), b"half done");
        assert_eq!(other.stat(name).mode, 0o100_600);
    }
    let handle = client.open("a", NEW);
    assert_eq!(client.write(&handle, 0, b"new"), OK);
    assert_eq!(other.get("a"), b"half done");
    assert_eq!(client.close(&handle), OK);
    assert_eq!(other.get("a"), b"new");
    assert_eq!(client.try_open("a", NEW | EXCL).status(), FAILURE);
    assert_eq!(
        client.try_open("x", FOR_WRITING | TRUNC).status(),
        NO_SUCH_FILE
    );
    let (names, _) = other.list("/");
    assert_eq!(names.len(), 5, "{names:?}");
}

/// sshfs closes what it has written some time after it goes on with the name.
#[test]
fn a_name_that_is_used_before_the_close_is_there() {
    let mut client = Client::start(MemoryFs::new(), atomic());
    let two = |from: &str, to: &str| Body::new().string(from).string(to);
    for (kind, body) in [
        (RENAME, two("a", "b")),
        (REMOVE, Body::new().string("a")),
        (OPEN, Body::new().string("a").u32(FOR_READING).none()),
        (
            EXTENDED,
            Body::new()
                .string("hardlink@openssh.com")
                .string("a")
                .string("c"),
        ),
    ] {
        let handle = client.open("a", NEW);
        assert_eq!(client.write(&handle, 0, b"data"), OK);
        let reply = client.call(kind, body);
        assert!(reply.kind == HANDLE || reply.status() == OK, "{kind}");
        assert_eq!(client.write(&handle, 4, b" more"), OK);
        assert_eq!(client.close(&handle), OK);
    }
    assert_eq!(client.get("b"), b"data more");
    assert_eq!(client.get("c"), b"data more");
}

#[test]
fn a_broken_atomic_upload_leaves_nothing() {
    let directory = TempDir::new("broken");
    let local = LocalFs::open(directory.path()).unwrap();
    let mut client = Client::start(local, atomic());
    let handle = client.open("a", NEW);
    assert_eq!(client.write(&handle, 0, b"half"), OK);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    assert_eq!(client.end(), Ok(()));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_full_disk_is_told_on_the_write_and_on_the_close() {
    let files = MemoryFs::new().with_capacity_limit(100_000);
    let mut client = Client::start(files, atomic());
    let handle = client.open("a", NEW);
    assert_eq!(client.write(&handle, 0, &[1; 50_000]), OK);
    let mut reply = client.call(
        WRITE,
        Body::new()
            .string(&handle)
            .u64(50_000)
            .string(vec![1; 60_000]),
    );
    assert_eq!((reply.kind, reply.u32()), (STATUS, FAILURE));
    assert_eq!(reply.string(), b"No space left");
    assert_eq!(client.close(&handle), FAILURE);
    assert_eq!(client.status(STAT, Body::new().string("a")), NO_SUCH_FILE);
}

/// OpenSSH and ProFTPD give so many, and sshfs needs them.
#[test]
fn four_hundred_files_are_open_at_once() {
    super::requests::on_both("many", |client| {
        client.put("a", b"content");
        let handles: Vec<_> = (0..400).map(|_| client.open("a", FOR_READING)).collect();
        for handle in &handles {
            assert_eq!(client.data(handle, 0, 99), b"content");
        }
        for handle in &handles {
            assert_eq!(client.close(handle), OK);
            assert_eq!(client.close(handle), FAILURE);
        }
    });
}

#[test]
fn handles_are_bounded() {
    let mut setup = Setup::default();
    setup.options.max_handles = 10;
    let mut client = Client::start(MemoryFs::new(), setup);
    client.put("a", b"1");
    let handles: Vec<_> = (0..10).map(|_| client.open("a", FOR_READING)).collect();
    for _ in 0..1000 {
        assert_eq!(client.try_open("a", FOR_READING).status(), FAILURE);
        assert_eq!(client.status(OPENDIR, Body::new().string("/")), FAILURE);
        // Not truncated in vain.
        assert_eq!(client.try_open("a", NEW).status(), FAILURE);
    }
    assert_eq!(client.close(&handles[3]), OK);
    let new = client.open("a", FOR_READING);
    assert_ne!(new, handles[3]);
    assert_eq!(client.data(&new, 0, 9), b"1");
    // A name that was used before stands for nothing.
    assert_eq!(client.read(&handles[3], 0, 1).status(), FAILURE);
    assert_eq!(client.end(), Ok(()));
}

#[test]
fn rates_are_kept() {
    let mut setup = Setup::default();
    setup.config.session_rate_down = 400_000;
    let mut client = Client::start(MemoryFs::new(), setup);
    client.put("a", &[1; 200_000]);
    let handle = client.open("a", FOR_READING);
    let started = Instant::now();
    for at in 0..10 {
        client.data(&handle, at * 20_000, 20_000);
    }
    assert_eq!(client.close(&handle), OK);
    // Half a second, less the tenth that may be saved up.
    assert!(
        started.elapsed() > Duration::from_millis(350),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_client_that_takes_no_replies_is_not_read_from() {
    use std::io::Write;
    let mut client = Client::start(MemoryFs::new(), Setup::default());
    client.put("a", &[1; 200_000]);
    let handle = client.open("a", FOR_READING);
    client.stream.set_nonblocking(true).unwrap();
    let mut request = Vec::new();
    let body = Body::new().u32(7).string(&handle).u64(0).u32(200_000).0;
    request.extend_from_slice(&(body.len() as u32 + 1).to_be_bytes());
    request.push(READ);
    request.extend_from_slice(&body);
    let mut sent = 0usize;
    let blocked = loop {
        match client.stream.write(&request[sent % request.len()..]) {
            Ok(length) => sent += length,
            Err(error) => break error,
        }
        assert!(sent < 10_000_000, "nothing holds the client back");
    };
    assert_eq!(blocked.kind(), std::io::ErrorKind::WouldBlock);
    client.stream.set_nonblocking(false).unwrap();
    for _ in 0..sent / request.len() {
        let mut reply = client.receive();
        assert_eq!(
            (reply.kind, reply.id, reply.string().len()),
            (DATA, 7, 200_000)
        );
    }
    let outcome = client.end();
    assert!(
        matches!(outcome, Ok(()) | Err(ErrorKind::Disconnected)),
        "{outcome:?}"
    );
}

/// The checksum is made of the bytes as they come: one file after the other
/// has one, a file that is written here and there has none.
#[test]
fn a_receipt_is_for_files_that_come_in_order() {
    let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for atomic in [false, true] {
        let mut setup = Setup::default();
        setup.config.atomic_uploads = atomic;
        setup.config.upload_receipt = wharf::config::UploadReceipt::Sidecar;
        let mut client = Client::start(MemoryFs::new(), setup);
        for (name, pieces) in [
            ("in-order", [(0, "a"), (1, "bc")]),
            ("turned", [(1, "bc"), (0, "a")]),
            ("twice", [(0, "abc"), (2, "c")]),
        ] {
            let handle = client.open(name, NEW);
            for (offset, text) in pieces {
                assert_eq!(client.write(&handle, offset, text.as_bytes()), OK);
            }
            assert_eq!(client.close(&handle), OK);
            assert_eq!(client.get(name), b"abc");
        }
        assert_eq!(
            client.get("in-order.sha256"),
            format!("{sum}  in-order\n").as_bytes()
        );
        let (names, _) = client.list("/");
        assert_eq!(names.len(), 4 + 2, "{names:?}");
    }
}

/// What a user's files take is counted below both protocols.
#[test]
fn the_oldest_files_give_way_over_sftp_too() {
    for atomic in [false, true] {
        let mut setup = Setup::default();
        setup.config.atomic_uploads = atomic;
        setup.config.quota_bytes = 1000;
        setup.config.quota_full = wharf::auth::QuotaFull::DeleteOldest;
        let mut client = Client::start(MemoryFs::new(), setup);
        for name in ["1", "2", "3", "4"] {
            let handle = client.open(name, NEW);
            for part in 0..4 {
                assert_eq!(client.write(&handle, part * 100, &[7; 100]), OK);
            }
            assert_eq!(client.close(&handle), OK);
        }
        let names = |client: &mut Client| {
            let found = client.list("/").0;
            let found = found
                .iter()
                .map(|name| String::from_utf8_lossy(name).into_owned());
            found.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&mut client), ". .. 3 4", "atomic {atomic}");
        let handle = client.open("5", NEW);
        assert_eq!(client.write(&handle, 0, &[7; 1000]), OK);
        assert_eq!(client.close(&handle), OK);
        assert_eq!(names(&mut client), ". .. 5");
        // What is open stays, also when it fills the ring.
        let handle = client.open("6", NEW);
        assert_eq!(client.write(&handle, 0, &[7; 1000]), OK);
        assert_eq!(client.write(&handle, 1000, &[7; 1]), FAILURE);
        assert_eq!(client.close(&handle), FAILURE);
    }
}
