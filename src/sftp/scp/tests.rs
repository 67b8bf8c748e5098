//! Clients that lie, break off or make noise.

use std::cell::RefCell;
use std::io::{self, Read, Write};

use super::super::fuzz::{Noise, with_files};
use super::*;
use crate::config::Config;
use crate::session::{Files, Put, Readable};
use crate::storage::FileKind;

/// What a client sends, and what came back. A read brings `piece` bytes at most,
/// and every other one nothing.
struct Script {
    input: Vec<u8>,
    piece: usize,
    turn: bool,
    output: Vec<u8>,
}

struct Shared<'a>(&'a RefCell<Script>);

impl Read for Shared<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut script = self.0.borrow_mut();
        script.turn = !script.turn;
        if script.turn {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = script.input.len().min(script.piece).min(buffer.len());
        buffer[..count].copy_from_slice(&script.input[..count]);
        script.input.drain(..count);
        Ok(count)
    }
}

impl Write for Shared<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut script = self.0.borrow_mut();
        let count = bytes.len().min(1 + script.piece);
        script.output.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Exit status and output; the files afterwards are `check`ed.
fn play(line: &str, input: &[u8], piece: usize, check: impl Fn(&Files)) -> (u32, Vec<u8>) {
    let script = RefCell::new(Script {
        input: input.to_vec(),
        piece,
        turn: false,
        output: Vec::new(),
    });
    let status = with_files(Config::default(), |files| {
        let options = Options::default();
        let scp = Scp::new(line.as_bytes(), Shared(&script), files, &options);
        let mut scp = scp.map_err(|text| Error::new(ErrorKind::Invalid, text))?;
        let status = loop {
            if let Some(status) = scp.step()? {
                break status;
            }
        };
        drop(scp);
        check(files);
        Ok(status)
    });
    (status.unwrap(), script.into_inner().output)
}

fn kind(files: &Files, path: &str) -> Option<(FileKind, u64)> {
    let path = VirtualPath::root().join(path.as_bytes()).unwrap();
    let metadata = files.metadata(&path, Follow::No).ok()?;
    Some((metadata.kind, metadata.size))
}

/// SECURITY: a sender's names, sizes and ends are not believed.
#[test]
fn a_sender_that_lies_gets_nowhere() {
    let file = |size| Some((FileKind::File, size));
    for (line, input, status, path, want) in [
        ("scp -t /", &b"C0644 3 a\nabc\0"[..], 0, "a", file(3)),
        ("scp -t /", b"C0644 0 a\n\0", 0, "a", file(0)),
        ("scp -t d/new", b"C0644 1 x\nx\0", 0, "d/new", file(1)),
        // libssh2 does not say that it could read all of it.
        ("scp -t /", b"C0644 3 a\nabc", 0, "a", file(3)),
        (
            "scp -rt /",
            b"D0755 0 n\nC0644 1 x\nx\0E\n",
            0,
            "n/x",
            file(1),
        ),
        ("scp -rt /", b"D0755 0 n\nC0644 1 x\nx\0", 1, "n/x", file(1)),
        ("scp -t d", b"C0644 1 ../x\nx\0", 1, "x", None),
        ("scp -t d", b"C0644 1 /x\nx\0", 1, "x", None),
        (
            "scp -t d",
            b"C0644 1 ..\nx\0",
            1,
            "..",
            Some((FileKind::Directory, 0)),
        ),
        ("scp -t d", b"C0644 1 .\nx\0", 1, "x", None),
        ("scp -t d", b"C0644 1 \nx\0", 1, "x", None),
        ("scp -t d", b"C0644 1 x\0y\nx\0", 1, "d/x", None),
        ("scp -rt d", b"D0755 0 ..\nC0644 1 x\nx\0", 1, "x", None),
        ("scp -rt d", b"E\nC0644 1 x\nx\0", 1, "d/x", None),
        ("scp -t d", b"D0755 0 n\nE\n", 1, "d/n", None),
        (
            "scp -t d",
            b"C0644 99999999999999999999 x\n",
            1,
            "d/x",
            None,
        ),
        ("scp -t d", b"C0644 -1 x\n", 1, "d/x", None),
        ("scp -t d", b"\x02gone\n", 1, "d/x", None),
        ("scp -t d", b"\nC0644 1 x\nx\0", 1, "d/x", None),
        ("scp -t d", b"hello\n", 1, "d/hello", None),
        ("scp -dt none", b"C0644 1 x\nx\0", 1, "none", None),
        // Past the room of the file system, then the next one.
        ("scp -t d", b"C0644 1 link\nx\0", 0, "d/link", file(1)),
    ] {
        for piece in [1, 1000] {
            let check = |files: &Files| {
                let got = kind(files, path).map(|(kind, size)| match kind {
                    FileKind::Directory => (kind, 0),
                    kind => (kind, size),
                });
                assert_eq!(got, want, "{line} {:?}", Escaped(input).to_string());
            };
            let (got, output) = play(line, input, piece, check);
            let words = Escaped(&output).to_string();
            assert_eq!(got, status, "{line} {} -> {words}", Escaped(input));
            // An answer is one byte, or one line.
            assert!(
                output
                    .iter()
                    .all(|byte| *byte != 1 || words.contains("scp: "))
            );
        }
    }
}

#[test]
fn a_file_that_was_cut_or_could_not_be_read_is_no_upload() {
    for (input, status) in [
        (&b"C0644 9 a\nabc"[..], 1),
        (b"C0644 3 a\nabc\x01read error\n", 1),
        (b"C0644 9 a\n", 1),
    ] {
        let config = Config {
            atomic_uploads: true,
            ..Config::default()
        };
        let script = RefCell::new(Script {
            input: input.to_vec(),
            piece: 5,
            turn: false,
            output: Vec::new(),
        });
        with_files(config, |files| {
            let mut scp =
                Scp::new(b"scp -t /", Shared(&script), files, &Options::default()).unwrap();
            let got = loop {
                if let Some(status) = scp.step()? {
                    break status;
                }
            };
            assert_eq!(got, status);
            drop(scp);
            assert_eq!(kind(files, "a"), None);
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_receiver_gets_what_it_asks_for_and_may_refuse() {
    for (line, input, status, want) in [
        (
            "scp -f d",
            &b"\0"[..],
            1,
            "\u{1}scp: d: not a regular file\n",
        ),
        ("scp -f none", b"\0", 1, "\u{1}scp: none: No such file\n"),
        ("scp -rf d", b"\0\0\0", 0, "D0755 0 d\nE\n"),
        ("scp -rpf d", b"\0\0\0\0", 0, "T"),
        ("scp -rf d", b"\0\x01no\n", 1, "D0755 0 d\n"),
        ("scp -rf d", b"\0\x02no\n", 1, "D0755 0 d\n"),
        ("scp -rf d", b"\0x", 1, "D0755 0 d\n"),
        (
            "scp -rf *",
            b"\0\0\0",
            1,
            "D0755 0 d\nE\n\u{1}scp: link: No such file\n",
        ),
        ("scp -f loop", b"\0", 1, "\u{1}scp: loop: "),
        ("scp -f d", b"", 1, ""),
    ] {
        let (got, output) = play(line, input, 3, |_| {});
        let output = String::from_utf8(output).unwrap();
        assert!(output.starts_with(want), "{line}: {output:?}");
        assert_eq!(got, status, "{line}: {output:?}");
    }
}

#[test]
fn noise_does_no_harm() {
    let mut noise = Noise(0x5c9);
    let words: [&[u8]; 12] = [
        b"C0644 3 a\nabc",
        b"C0644 5 d\n",
        b"D0755 0 n\n",
        b"E\n",
        b"T1 0 2 0\n",
        b"\0",
        b"\0\0\0",
        b"\x01x\n",
        b"\x02",
        b"C0",
        b"\n",
        b"D0700 0 link\n",
    ];
    for _ in 0..300 {
        let mut input = Vec::new();
        for _ in 0..noise.next() % 12 {
            let word = noise.one_of(&words);
            input.extend_from_slice(word);
        }
        let line = noise.one_of(&[
            "scp -t /",
            "scp -rt /",
            "scp -prt d",
            "scp -rf *",
            "scp -prf d link",
        ]);
        let piece = 1 + noise.next() as usize % 20;
        play(line, &input, piece, |_| {});
    }
}

/// SECURITY: a directory as large as may be does not keep the other channels of
/// the connection from their turn, and makes us keep little.
#[test]
fn wildcards_are_looked_for_piece_by_piece() {
    let script = RefCell::new(Script {
        input: vec![0; 3],
        piece: 1 << 20,
        turn: false,
        output: Vec::new(),
    });
    with_files(Config::default(), |files| {
        let root = VirtualPath::root();
        files.make_dir(&root.join(b"many")?, None)?;
        for number in 0..2000 {
            let path = root.join(format!("many/n{number}").as_bytes())?;
            files.put(&path, Put::New, Readable::No, None)?.finish()?;
        }
        let options = Options::default();
        let mut scp = Scp::new(b"scp -f many/*7", Shared(&script), files, &options).unwrap();
        let mut turns = 0;
        while scp.step()?.is_none() {
            turns += u32::from(scp.has_work());
        }
        // 2000 entries and 200 names, and a few of the levels.
        assert!((7..20).contains(&turns), "{turns}");
        let output = String::from_utf8(script.borrow().output.clone()).unwrap();
        assert!(
            output.starts_with("C0644 0 n1007\n\0C0644 0 n1017\n"),
            "{output}"
        );
        Ok(())
    })
    .unwrap();
}

/// What scp has open counts with the handles of SFTP on the same connection.
#[test]
fn what_scp_has_open_is_counted() {
    for (line, input) in [("scp -rf d", &b"\0"[..]), ("scp -t /", b"C0644 9 a\nabc")] {
        let script = RefCell::new(Script {
            input: input.to_vec(),
            piece: 1 << 20,
            turn: false,
            output: Vec::new(),
        });
        with_files(Config::default(), |files| {
            let options = Options::default();
            let mut scp = Scp::new(line.as_bytes(), Shared(&script), files, &options).unwrap();
            for want in [0, 1] {
                assert_eq!(scp.step()?, None);
                assert_eq!(options.shared.handles(), want, "{line}");
            }
            drop(scp);
            assert_eq!(options.shared.handles(), 0, "{line}");
            Ok(())
        })
        .unwrap();
    }
}
