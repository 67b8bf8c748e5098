//! What no client should send: the session ends or a status comes, memory
//! stays bounded, nothing panics.

use std::io::Write;

use wharf::ErrorKind;
use wharf::storage::MemoryFs;

use super::common::packets::*;

fn start() -> Client {
    Client::start(MemoryFs::new(), Setup::default())
}

#[test]
fn lengths_that_no_packet_has_end_the_session() {
    for length in [0, 256 * 1024 + 1025, 1 << 31, u32::MAX] {
        let mut client = start();
        client.stream.write_all(&length.to_be_bytes()).unwrap();
        assert_eq!(client.ended(), Err(ErrorKind::Protocol), "{length}");
    }
}

#[test]
fn packets_without_a_number_end_the_session() {
    for rest in [&b""[..], b"\0", b"\0\0\0"] {
        let mut client = start();
        client.packet(STAT, rest);
        assert_eq!(client.ended(), Err(ErrorKind::Protocol));
    }
}

#[test]
fn nothing_comes_before_init() {
    let mut client = Client::connect(MemoryFs::new(), Setup::default());
    client.send(STAT, Body::new().string("/"));
    assert_eq!(client.ended(), Err(ErrorKind::Protocol));
}

#[test]
fn a_cut_packet_is_a_disconnection() {
    let mut client = start();
    client.stream.write_all(b"\0\0\0\x09\x11\0\0").unwrap();
    assert_eq!(client.end(), Err(ErrorKind::Disconnected));
    assert_eq!(start().end(), Ok(()));
}

#[test]
fn what_is_unknown_is_unsupported() {
    let mut client = start();
    for kind in [0, 2, 21, 22, 99, 101, 201, 255] {
        assert_eq!(
            client.status(kind, Body::new().string("x")),
            UNSUPPORTED,
            "{kind}"
        );
    }
    for name in ["", "statvfs", "open", "posix-rename@openssh.com\0"] {
        assert_eq!(
            client.extended(name, Body::new()).status(),
            UNSUPPORTED,
            "{name}"
        );
    }
    assert_eq!(client.status(EXTENDED, Body::new().u32(9)), BAD_MESSAGE);
    // And the session goes on.
    assert_eq!(client.stat("/").mode & 0o170_000, 0o040_000);
}

#[test]
fn every_request_survives_every_cut() {
    let mut client = start();
    client.put("a", b"1");
    let handle = client.open("a", FOR_READING);
    let two = Body::new().string("a").string("b");
    let mut extended = Vec::new();
    for (name, body) in [
        ("posix-rename@openssh.com", two.clone()),
        ("statvfs@openssh.com", Body::new().string("a")),
        (
            "lsetstat@openssh.com",
            Body::new().string("a").u32(15).u64(1).u64(0).u64(0).u32(0),
        ),
        (
            "copy-data",
            Body::new()
                .string(&handle)
                .u64(0)
                .u64(0)
                .string(&handle)
                .u64(0),
        ),
        (
            "check-file-name",
            Body::new().string("a").string("crc32").u64(0).u64(0).u32(0),
        ),
    ] {
        let mut whole = Body::new().string(name);
        whole.0.extend_from_slice(&body.0);
        extended.push((EXTENDED, whole));
    }
    let requests = [
        (OPEN, Body::new().string("a").u32(1).u32(4).u32(0)),
        (READ, Body::new().string(&handle).u64(0).u32(1)),
        (WRITE, Body::new().string(&handle).u64(0).string("data")),
        (FSETSTAT, Body::new().string(&handle).u32(8).u64(0)),
        (SETSTAT, Body::new().string("a").u32(1).u64(0)),
        (STAT, Body::new().string("a")),
        (MKDIR, Body::new().string("d").u32(4).u32(0o755)),
        (RENAME, two.clone()),
        (SYMLINK, two),
        (CLOSE, Body::new().string("none")),
    ];
    for (kind, body) in requests.into_iter().chain(extended) {
        for length in 0..body.0.len() {
            let code = client.status(kind, Body(body.0[..length].to_vec()));
            // A cut field, or a shorter name that stands for nothing.
            let known = [BAD_MESSAGE, UNSUPPORTED, FAILURE];
            assert!(known.contains(&code), "{kind} {length}: {code}");
        }
    }
    assert_eq!(client.get("a"), b"1");
}

#[test]
fn attack_26_counts_and_lengths_that_lie_are_bad_messages() {
    let mut client = start();
    client.put("a", b"1");
    for count in [1 << 31, u32::MAX] {
        let set = Body::new()
            .string("a")
            .u32(1 << 31)
            .u32(count)
            .string("x")
            .string("y");
        assert_eq!(client.status(SETSTAT, set), BAD_MESSAGE);
    }
    for length in [u32::MAX, 1 << 31, 5] {
        assert_eq!(client.status(STAT, Body::new().u32(length)), BAD_MESSAGE);
    }
    let long = vec![b'x'; 65536];
    let deep = b"x/".repeat(32768);
    for name in [&long[..], &deep, b"a\0b"] {
        for kind in [STAT, OPENDIR, REMOVE, REALPATH, READLINK] {
            assert_eq!(
                client.status(kind, Body::new().string(name)),
                BAD_MESSAGE,
                "{kind}"
            );
        }
        assert_eq!(
            client.status(MKDIR, Body::new().string(name).none()),
            BAD_MESSAGE
        );
        let rename = Body::new().string("a").string(name);
        assert_eq!(client.status(RENAME, rename), BAD_MESSAGE);
    }
    assert_eq!(client.get("a"), b"1");
}

#[test]
fn handles_that_are_none_are_refused() {
    let mut client = start();
    client.put("a", b"1");
    let good = client.open("a", FOR_READING);
    let mut other = good.clone();
    other[3] ^= 0xff;
    let mut older = good.clone();
    older[0] ^= 1;
    let longer = [&good[..], b"\0"].concat();
    for handle in [
        &b""[..],
        b"a",
        &good[..3],
        &longer,
        &other,
        &older,
        &[0; 256],
        &[0xff; 4],
    ] {
        assert_eq!(client.read(handle, 0, 1).status(), FAILURE);
        assert_eq!(client.status(FSTAT, Body::new().string(handle)), FAILURE);
        assert_eq!(client.status(READDIR, Body::new().string(handle)), FAILURE);
        assert_eq!(client.close(handle), FAILURE);
    }
    assert_eq!(client.status(READDIR, Body::new().string(&good)), FAILURE);
    assert_eq!(client.data(&good, 0, 1), b"1");
}
