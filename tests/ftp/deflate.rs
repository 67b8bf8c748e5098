//! MODE Z: what travels deflated arrives as it was, and nothing grows without
//! end.
#![cfg(feature = "deflate")]

use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::decompress_to_vec_zlib;

use crate::common::rng::Rng;
use crate::common::{Client, server};

fn fetched(client: &mut Client, line: &str) -> Vec<u8> {
    decompress_to_vec_zlib(&client.fetch(line)).unwrap()
}

#[test]
fn files_and_listings_travel_deflated() {
    let server = server().start();
    let mut client = server.ann();
    client.expect("TYPE I", 200);
    client.expect("OPTS MODE Z LEVEL 10", 501);
    let text: Vec<u8> = (0..900_000u32).map(|at| (at / 5000) as u8).collect();
    let noise = Rng::fixed(3).bytes(700_001);
    for level in [0, 1, 6, 9] {
        client.expect(&format!("OPTS MODE Z LEVEL {level}"), 200);
        for content in [&text[..], &noise, b"x", b""] {
            client.expect("MODE Z", 200);
            let sent = compress_to_vec_zlib(content, level);
            assert_eq!(client.store("STOR f", &sent).code, 226);
            assert!(server.content("f").unwrap() == content);
            assert!(fetched(&mut client, "RETR f") == content);
            if content.len() > 1 {
                client.expect("REST 77777", 350);
                assert!(fetched(&mut client, "RETR f") == content[77_777..]);
                client.expect("REST 77777", 350);
                let rest = compress_to_vec_zlib(&content[77_777..], 6);
                assert_eq!(client.store("STOR f", &rest).code, 226);
                assert!(server.content("f").unwrap() == content);
            }
            client.expect("MODE S", 200);
            assert!(client.fetch("RETR f") == content);
        }
    }
    client.expect("MODE Z", 200);
    let status = client.expect("STAT", 211).lines.join("\n");
    assert!(status.contains("MODE deflate"), "{status}");
    // Pieces that are inflated to their last byte.
    for length in [65_535, 65_536, 65_537, 131_072] {
        let sent = compress_to_vec_zlib(&noise[..length], 1);
        assert_eq!(client.store("STOR f", &sent).code, 226);
        assert!(fetched(&mut client, "RETR f") == noise[..length]);
    }
    // A name that is missing leaves nothing behind for the next transfer.
    client.expect("RETR missing", 550);
    client.expect("MODE S", 200);
    assert!(client.fetch("RETR f") == noise[..131_072]);
    client.expect("MODE Z", 200);
    assert_eq!(fetched(&mut client, "NLST"), b"f\r\n");
    assert!(fetched(&mut client, "MLSD").ends_with(b" f\r\n"));
    let lines = compress_to_vec_zlib(b"one\r\ntwo\r\n", 6);
    client.expect("TYPE A", 200);
    assert_eq!(client.store("STOR lines", &lines).code, 226);
    assert_eq!(server.content("lines").unwrap(), b"one\ntwo\n");
    assert_eq!(fetched(&mut client, "RETR lines"), b"one\r\ntwo\r\n");
    // REIN takes it back.
    client.expect("REIN", 220);
    client.login("ann", "secret");
    client.expect("TYPE I", 200);
    assert_eq!(client.fetch("RETR lines"), b"one\ntwo\n");
}

/// Lines of text are deflated to a tenth or a hundredth, so that what one read
/// brings goes more than once round the window of the inflater.
#[test]
fn whatever_the_ratio_uploads_arrive_whole() {
    let server = server().start();
    let mut client = server.ann();
    client.expect("TYPE I", 200);
    client.expect("MODE Z", 200);
    let mut random = Rng::fixed(11);
    for words in [1, 5, 100, 100_000] {
        let content: Vec<u8> = (0..100_000)
            .flat_map(|at| format!("{at} and {}\n", random.below(words)).into_bytes())
            .collect();
        for level in [1, 9] {
            let sent = compress_to_vec_zlib(&content, level);
            assert_eq!(client.store("STOR f", &sent).code, 226, "{words} {level}");
            assert!(server.content("f").unwrap() == content, "{words} {level}");
            assert!(fetched(&mut client, "RETR f") == content, "{words} {level}");
        }
    }
}

#[test]
fn a_stream_that_is_cut_or_none_is_not_whole() {
    let server = server().set("atomic-uploads", "yes").start();
    let mut client = server.ann();
    client.expect("TYPE I", 200);
    client.expect("MODE Z", 200);
    let whole = compress_to_vec_zlib(&[7; 100_000], 6);
    let cut = &whole[..whole.len() - 1];
    let longer = [&whole[..], b"x"].concat();
    // Without a header, and with an empty block instead of the end.
    let raw = &whole[2..];
    let flushed = b"\x78\x9c\0\0\0\xff\xff";
    for sent in [cut, &whole[..2], b"no zlib stream", &longer, raw, flushed] {
        assert_eq!(client.store("STOR f", sent).code, 426);
        assert_eq!(server.content("f"), None);
    }
    assert_eq!(client.store("STOR f", &whole).code, 226);
}

/// A bomb: a thousandth of what it becomes.
#[test]
fn what_grows_is_stopped_by_the_quota() {
    let server = server().set("quota-bytes", "5000000").start();
    let mut client = server.ann();
    client.expect("TYPE I", 200);
    client.expect("MODE Z", 200);
    let bomb = compress_to_vec_zlib(&vec![0; 50_000_000], 9);
    assert!(bomb.len() < 60_000);
    assert_eq!(client.store("STOR f", &bomb).code, 552);
    assert!(
        server
            .content("f")
            .is_none_or(|content| content.len() <= 5_000_000)
    );
}
