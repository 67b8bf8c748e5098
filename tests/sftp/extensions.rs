//! The extensions.

use std::sync::Arc;

use wharf::daemon::sftp::Owners;
use wharf::storage::{LocalFs, MemoryFs, VirtualPath};

use super::common::TempDir;
use super::common::packets::*;

#[test]
fn version_lists_them() {
    let mut client = Client::connect(MemoryFs::new(), Setup::default());
    let extensions = client.greet();
    for (name, data) in [
        ("posix-rename@openssh.com", "1"),
        ("statvfs@openssh.com", "2"),
        ("fstatvfs@openssh.com", "2"),
        ("hardlink@openssh.com", "1"),
        ("fsync@openssh.com", "1"),
        ("lsetstat@openssh.com", "1"),
        ("limits@openssh.com", "1"),
        ("expand-path@openssh.com", "1"),
        ("copy-data", "1"),
        ("home-directory", "1"),
        ("users-groups-by-id@openssh.com", "1"),
        ("check-file", "1"),
    ] {
        let want = (name.as_bytes().to_vec(), data.as_bytes().to_vec());
        assert!(extensions.contains(&want), "{name}");
    }
}

#[test]
fn limits_are_told() {
    let mut client = Client::start(MemoryFs::new(), Setup::default());
    let mut reply = client.extended("limits@openssh.com", Body::new());
    assert_eq!(reply.kind, EXTENDED_REPLY);
    let numbers = [reply.u64(), reply.u64(), reply.u64(), reply.u64()];
    assert_eq!(numbers, [262_144, 261_120, 261_120, 512]);
    // And kept: the largest WRITE and READ in one packet each.
    let data: Vec<u8> = (0..261_120u32).map(|at| (at % 251) as u8).collect();
    let handle = client.open("a", NEW | FOR_READING);
    assert_eq!(client.write(&handle, 0, &data), OK);
    assert!(client.data(&handle, 0, 261_120) == data);
    // Clients that count 256 KiB of data without the fields around it.
    assert_eq!(client.write(&handle, 0, &vec![7; 262_144]), OK);
    assert_eq!(client.data(&handle, 0, u32::MAX).len(), 261_120);
}

#[test]
fn room_is_told() {
    let directory = TempDir::new("room");
    let local = LocalFs::open(directory.path()).unwrap();
    let mut client = Client::start(local, Setup::default());
    let handle = client.open("a", NEW);
    for (name, argument) in [
        ("statvfs@openssh.com", &b"/"[..]),
        ("fstatvfs@openssh.com", &handle),
    ] {
        let mut reply = client.extended(name, Body::new().string(argument));
        assert_eq!(reply.kind, EXTENDED_REPLY, "{reply:?}");
        let numbers: Vec<u64> = (0..11).map(|_| reply.u64()).collect();
        assert!(reply.rest.is_empty());
        assert!(
            numbers[0] >= 512 && numbers[2] >= numbers[3] && numbers[10] >= 255,
            "{numbers:?}"
        );
    }
    let reply = client.extended("statvfs@openssh.com", Body::new().string("none"));
    assert_eq!(reply.status(), NO_SUCH_FILE);
}

#[test]
fn links_themselves_are_changed() {
    let directory = TempDir::new("links");
    let local = LocalFs::open(directory.path()).unwrap();
    let mut client = Client::start(local, Setup::default());
    client.put("a", b"1");
    let before = client.stat("a").modified;
    assert_eq!(
        client.status(SYMLINK, Body::new().string("a").string("l")),
        OK
    );
    let times = Body::new().string("l").u32(8).u32(5).u32(6);
    assert_eq!(client.extended("lsetstat@openssh.com", times).status(), OK);
    let mut link = client.call(LSTAT, Body::new().string("l"));
    assert_eq!(link.attributes().modified, 6);
    assert_eq!(client.stat("l").modified, before);
}

#[test]
fn homes_and_tildes_are_expanded() {
    let mut setup = Setup::default();
    setup.options.start = VirtualPath::root().join(b"home/ann").unwrap();
    let passwd = "ann:x:7:8::/home/ann:\nbob:x:9:8::/srv/bob:\n";
    setup.options.owners = Some(Arc::new(Owners::parse(passwd, "staff:x:8:\n")));
    let mut client = Client::start(MemoryFs::new(), setup);
    for (path, want) in [
        ("~", "/home/ann"),
        ("~/x", "/home/ann/x"),
        ("~bob/y", "/srv/bob/y"),
        ("~ann", "/home/ann"),
        ("z", "/home/ann/z"),
        ("/z/~", "/z/~"),
    ] {
        let names = client
            .extended("expand-path@openssh.com", Body::new().string(path))
            .names();
        assert_eq!(names[0].0, want.as_bytes(), "{path}");
    }
    let unknown = client.extended("expand-path@openssh.com", Body::new().string("~eve/x"));
    assert_eq!(unknown.status(), NO_SUCH_FILE);
    for (user, want) in [("", "/home/ann"), ("bob", "/srv/bob")] {
        let names = client
            .extended("home-directory", Body::new().string(user))
            .names();
        assert_eq!(names[0].0, want.as_bytes());
    }

    let ids = |numbers: &[u32]| {
        let bytes = numbers
            .iter()
            .fold(Body::new(), |body, number| body.u32(*number));
        bytes.0
    };
    let body = Body::new().string(ids(&[7, 1])).string(ids(&[8]));
    let mut reply = client.extended("users-groups-by-id@openssh.com", body);
    assert_eq!(reply.kind, EXTENDED_REPLY);
    assert_eq!(reply.string(), b"\0\0\0\x03ann\0\0\0\0");
    assert_eq!(reply.string(), b"\0\0\0\x05staff");
    let cut = Body::new().string(b"\0\0").string(b"");
    let reply = client.extended("users-groups-by-id@openssh.com", cut);
    assert_eq!(reply.status(), BAD_MESSAGE);
}

#[test]
fn data_are_copied_on_the_server() {
    let mut client = Client::start(MemoryFs::new(), Setup::default());
    let data: Vec<u8> = (0..300_000u32).map(|at| (at % 253) as u8).collect();
    let source = client.open("a", NEW | FOR_READING);
    assert_eq!(client.write(&source, 0, &data[..200_000]), OK);
    assert_eq!(client.write(&source, 200_000, &data[200_000..]), OK);
    let target = client.open("b", NEW | FOR_READING);
    let copy = |from: &[u8], at: u64, length: u64, to: &[u8], to_at: u64| {
        Body::new()
            .string(from)
            .u64(at)
            .u64(length)
            .string(to)
            .u64(to_at)
    };
    assert_eq!(
        client
            .extended("copy-data", copy(&source, 0, 0, &target, 0))
            .status(),
        OK
    );
    assert!(client.data(&target, 100_000, 200_000) == data[100_000..]);
    assert_eq!(
        client
            .extended("copy-data", copy(&source, 5, 3, &target, 1))
            .status(),
        OK
    );
    assert_eq!(client.data(&target, 0, 5), [0, 5, 6, 7, 4]);
    // Fewer bytes than asked for: the end of the file, as OpenSSH says it.
    assert_eq!(
        client
            .extended("copy-data", copy(&source, 299_999, 2, &target, 0))
            .status(),
        EOF
    );
    // A copy that would feed itself for ever.
    assert_eq!(
        client
            .extended("copy-data", copy(&source, 0, 0, &source, 1))
            .status(),
        FAILURE
    );
    let again = client.open("a", FOR_WRITING);
    assert_eq!(
        client
            .extended("copy-data", copy(&source, 0, 0, &again, 1))
            .status(),
        FAILURE
    );
    let reader = client.open("a", FOR_READING);
    assert_eq!(
        client
            .extended("copy-data", copy(&source, 0, 0, &reader, 0))
            .status(),
        PERMISSION_DENIED
    );
    assert_eq!(
        client
            .extended("fsync@openssh.com", Body::new().string(&target))
            .status(),
        OK
    );
}

#[test]
fn checksums_are_computed() {
    let mut client = Client::start(MemoryFs::new(), Setup::default());
    client.put("a", &[b'x'; 1000]);
    let handle = client.open("a", FOR_READING);
    let ask = |what: &[u8], list: &str, offset: u64, length: u64, block: u32| {
        Body::new()
            .string(what)
            .string(list)
            .u64(offset)
            .u64(length)
            .u32(block)
    };
    // printf 'x%.0s' $(seq 1000) | sha256sum
    let want = "44f8354494a5ba03ba1792a8d3e9c534c47a9181980fde7a3f44b06ef2ae7c7f";
    let mut reply = client.extended("check-file-name", ask(b"a", "sha3,sha256,md5", 0, 0, 0));
    assert_eq!(reply.kind, EXTENDED_REPLY, "{reply:?}");
    assert_eq!(reply.string(), b"sha256");
    let sum = reply.rest.clone();
    let hex: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, want);

    let mut reply = client.extended("check-file-handle", ask(&handle, "sha256", 0, 5000, 0));
    assert_eq!((reply.string(), &reply.rest), (b"sha256".to_vec(), &sum));
    let mut reply = client.extended("check-file", ask(&handle, "sha256", 0, 0, 0));
    assert_eq!(reply.string(), b"check-file");
    assert_eq!((reply.string(), &reply.rest), (b"sha256".to_vec(), &sum));

    // Blocks of 256 bytes: three whole and alike, one short; zlib.crc32.
    let mut reply = client.extended("check-file-name", ask(b"a", "crc32", 0, 0, 256));
    assert_eq!(reply.string(), b"crc32");
    assert_eq!(reply.rest.len(), 16);
    let [block, last] = [0x73ee1a10u32, 0xb9ca4015].map(u32::to_be_bytes);
    assert_eq!(reply.rest, [block, block, block, last].concat());
    let mut part = client.extended("check-file-name", ask(b"a", "crc32", 744, 256, 0));
    assert_eq!(
        (part.string(), &part.rest[..]),
        (b"crc32".to_vec(), &reply.rest[..4])
    );

    client.put("empty", b"");
    let mut reply = client.extended("check-file-name", ask(b"empty", "crc32", 0, 0, 256));
    assert_eq!(
        (reply.string(), &reply.rest[..]),
        (b"crc32".to_vec(), &[0; 4][..])
    );
    let reply = client.extended("check-file-name", ask(b"a", "rot13", 0, 0, 0));
    assert_eq!(reply.status(), UNSUPPORTED);
    let reply = client.extended("check-file-name", ask(b"a", "crc32", 0, 0, 1));
    assert_eq!(reply.status(), FAILURE);
    let reply = client.extended("check-file-name", ask(b"none", "crc32", 0, 0, 0));
    assert_eq!(reply.status(), NO_SUCH_FILE);
}
