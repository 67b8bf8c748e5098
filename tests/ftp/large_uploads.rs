//! Uploads long enough to go through a pipe of the kernel's (`splice`), and
//! what must do without: appending, ASCII, restarts, files in memory.

use crate::common;

use common::TempDir;
use common::server;

/// Beyond the start that is read into a buffer, and no round number.
const LENGTH: usize = (5 << 20) + 4321;

fn bytes() -> Vec<u8> {
    (0..LENGTH as u32)
        .map(|n| (n ^ (n >> 8).wrapping_mul(31)) as u8)
        .collect()
}

/// The end of a long comparison that says where, and not five MiB of bytes.
fn same(got: &[u8], want: &[u8], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let differs = got.iter().zip(want).position(|(one, other)| one != other);
    assert_eq!(differs, None, "{what}: the first byte that differs");
}

#[test]
fn every_way_to_upload_keeps_every_byte() {
    let content = bytes();
    let place = TempDir::new("large-uploads");
    for (name, server) in [
        ("disk", server().directory(place.path()).start()),
        ("memory", server().start()),
    ] {
        let mut client = server.ann();
        assert_eq!(client.store("STOR whole", &content).code, 226);
        same(&server.content("/whole").unwrap(), &content, name);

        assert_eq!(client.store("APPE whole", &content).code, 226);
        let twice = [&content[..], &content[..]].concat();
        same(&server.content("/whole").unwrap(), &twice, name);

        client.expect("REST 1000001", 350);
        assert_eq!(client.store("STOR whole", &content).code, 226);
        let tail = [&content[..1_000_001], &content[..]].concat();
        same(&server.content("/whole").unwrap(), &tail, name);

        let lines = b"a line\r\n".repeat(400_000);
        client.expect("TYPE A", 200);
        assert_eq!(client.store("STOR text", &lines).code, 226);
        let want = b"a line\n".repeat(400_000);
        same(&server.content("/text").unwrap(), &want, name);
        client.expect("QUIT", 221);
    }
}

/// A socket tells an error once. Whoever meets a reset and asks again is told
/// that the stream has ended, and takes a part of a file for all of it: at
/// every length, before and after the upload has gone over to the pipe.
#[test]
fn an_upload_that_is_reset_is_never_whole() {
    let content = bytes();
    let place = TempDir::new("large-uploads");
    let plain = server().directory(place.path()).start();
    let atomic = server()
        .directory(place.path())
        .set("atomic-uploads", "yes");
    for server in [plain, atomic.start()] {
        let mut client = server.ann();
        for round in 0..60 {
            let length = [1, 70_000, 900_000, 1_100_000, 3_000_000, LENGTH][round % 6];
            let mut data = client.data();
            client.expect("STOR reset", 150);
            data.send(&content[..length]);
            data.reset();
            assert_eq!(client.reply().code, 426, "{length} bytes in round {round}");
        }
    }
}

#[test]
fn an_upload_that_comes_in_small_pieces_is_whole() {
    let content = bytes();
    let place = TempDir::new("large-uploads");
    let server = server().directory(place.path()).start();
    let mut client = server.ann();
    let mut data = client.data();
    client.send("STOR pieces");
    client.wait_for(150);
    let mut rest = &content[..];
    let mut length = 1;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(length.min(rest.len()));
        data.send(piece);
        rest = more;
        length = (length * 3 + 1) % 50_000 + 1;
    }
    drop(data);
    client.wait_for(226);
    same(&server.content("/pieces").unwrap(), &content, "pieces");
}
