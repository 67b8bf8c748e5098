//! Every operation of every FTP command fails once, or takes its time.

use std::sync::Arc;

use wharf::daemon::Usage;
use wharf::storage::{FileSystem, MemoryFs, VirtualPath};

use super::common::client::{Client, Data as Connection, Reply};
use super::common::{Builder, TestServer, put_file, server, until};
use super::faulty::Faulty;

pub const OLD: &[u8] = b"the old contents of the file";
pub const NEW: &[u8] = b"new contents, somewhat longer than those before";

/// What a command does with a data connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Data {
    None,
    Down,
    Up,
}

/// Commands that come before, the command, and its data connection.
#[rustfmt::skip]
pub const COMMANDS: &[(&[&str], &str, Data)] = &[
    (&["REIN", "USER ann"], "PASS secret", Data::None),
    (&["CWD d"], "CDUP", Data::None),
    (&[], "CWD d", Data::None),
    (&[], "MKD new", Data::None),
    (&[], "RMD empty", Data::None),
    (&[], "RMDA d", Data::None),
    (&[], "LIST", Data::Down),
    (&[], "LIST -a d", Data::Down),
    (&[], "LIST -R", Data::Down),
    (&[], "LIST *", Data::Down),
    (&[], "NLST", Data::Down),
    (&[], "MLSD", Data::Down),
    (&[], "MLST f", Data::None),
    (&[], "STAT d", Data::None),
    (&[], "STAT f", Data::None),
    (&[], "DSIZ d", Data::None),
    (&[], "AVBL", Data::None),
    (&[], "ALLO 100", Data::None),
    (&[], "RETR f", Data::Down),
    (&["TYPE A"], "RETR f", Data::Down),
    (&["REST 5"], "RETR f", Data::Down),
    (&["RANG 5 9"], "RETR f", Data::Down),
    (&[], "STOR f", Data::Up),
    (&[], "STOR new", Data::Up),
    (&["TYPE A"], "STOR f", Data::Up),
    (&["REST 5"], "STOR f", Data::Up),
    (&[], "STOU", Data::Up),
    (&[], "STOU f", Data::Up),
    (&[], "APPE f", Data::Up),
    (&[], "APPE new", Data::Up),
    (&[], "DELE f", Data::None),
    (&[], "RNFR f", Data::None),
    (&["RNFR f"], "RNTO new", Data::None),
    (&["RNFR f"], "RNTO d/g", Data::None),
    (&[], "SIZE f", Data::None),
    (&[], "MDTM f", Data::None),
    (&[], "MDTM 20200101000000 f", Data::None),
    (&[], "MFMT 20200101000000 f", Data::None),
    (&[], "MFF Modify=20200101000000;UNIX.mode=0600; f", Data::None),
    (&[], "COMB \"new\" \"f\" \"d/g\"", Data::None),
    (&[], "COMB f d/g d/e/h", Data::None),
    (&[], "HASH f", Data::None),
    (&[], "XCRC f", Data::None),
    #[cfg(any(feature = "ftps", feature = "sftp"))]
    (&[], "XMD5 f", Data::None),
    #[cfg(any(feature = "ftps", feature = "sftp"))]
    (&[], "XSHA1 f", Data::None),
    (&[], "XSHA256 f", Data::None),
    (&[], "XSHA512 f", Data::None),
    (&[], "SITE CHMOD 600 f", Data::None),
    (&[], "SITE UTIME 20200101000000 f", Data::None),
    (&[], "SITE MKDIR a/b/c", Data::None),
    (&[], "SITE CPFR f", Data::None),
    (&["SITE CPFR f"], "SITE CPTO new", Data::None),
    (&[], "SITE COPY f d/g", Data::None),
    (&[], "SITE SYMLINK f new", Data::None),
    (&[], "SITE RMDIR d", Data::None),
];

pub fn start(atomic: &str) -> (Arc<Faulty>, TestServer) {
    start_with(atomic, |settings| settings)
}

/// The same with a quota for `ann` that is large enough.
fn start_counting(atomic: &str) -> (Arc<Faulty>, TestServer) {
    start_with(atomic, |settings| {
        settings
            .user("ann", "secret", "elradfmwMT")
            .limits(|limits| {
                limits.quota_bytes = Some(1 << 20);
                limits.quota_files = Some(100);
            })
    })
}

fn start_with(atomic: &str, adjust: fn(Builder) -> Builder) -> (Arc<Faulty>, TestServer) {
    let memory = MemoryFs::new();
    put_file(&memory, b"f", OLD);
    put_file(&memory, b"d/g", OLD);
    put_file(&memory, b"d/e/h", OLD);
    let root = VirtualPath::root();
    memory
        .make_dir(&root.join(b"empty").unwrap(), 0o755)
        .unwrap();
    memory.symlink(b"d", &root.join(b"link").unwrap()).unwrap();
    let faulty = Arc::new(Faulty::new(memory));
    let server = adjust(server())
        .files(Arc::clone(&faulty) as Arc<dyn FileSystem>)
        .set("atomic-uploads", atomic)
        .set("fsync-uploads", atomic)
        .set("site-symlink", "anywhere")
        .start();
    (faulty, server)
}

/// Runs a command to its final reply; that, and what was received.
pub fn play(
    client: &mut Client,
    connection: Option<Connection>,
    command: &str,
    (data, content): (Data, &[u8]),
) -> (Reply, Vec<u8>) {
    client.send(command);
    let mut received = Vec::new();
    let reply = client.reply();
    if reply.code != 150 {
        return (reply, received);
    }
    let mut connection = connection.unwrap();
    if data == Data::Up {
        // The server may have closed already.
        let _ = std::io::Write::write_all(&mut connection.0, content);
        drop(connection);
    } else {
        received = connection.rest();
    }
    (client.reply(), received)
}

/// Runs every command with each of its operations failing in turn.
pub fn every_operation_fails(errno: i32, expected: &[u16], atomic: &str) {
    let mut faults = 0;
    for &(before, command, data) in COMMANDS {
        for number in 1.. {
            assert!(number < 200, "{command} never ends");
            let (faulty, server) = start(atomic);
            let mut client = server.ann();
            let connection = (data != Data::None).then(|| client.data());
            for line in before {
                assert!(client.cmd(line).code < 400, "{line}");
            }
            faulty.plan.fail(number, errno);
            let (reply, received) = play(&mut client, connection, command, (data, NEW));
            let done = faulty.plan.done();
            let what = format!("{command}, atomic {atomic}, operation {number} of {done:?}");
            let failed = faulty.plan.heal();
            // A recursive listing that had to leave a directory out.
            let left_out = command == "LIST -R" && reply.code == 451;
            assert!(
                reply.code < 400 || failed && (left_out || expected.contains(&reply.code)),
                "{what}: {:?}",
                reply.lines
            );
            // What was promised is there; what failed has left nothing.
            let content = |name: &str| server.content(name);
            if reply.code == 226 && data == Data::Up {
                let whole = match (before.first(), command) {
                    (Some(&"REST 5"), _) => [&OLD[..5], NEW].concat(),
                    (_, "APPE f") => [OLD, NEW].concat(),
                    _ => NEW.to_vec(),
                };
                let name = match command {
                    "STOR f" | "APPE f" => "f".to_owned(),
                    _ => {
                        let names = server.names("/");
                        let known = ["d", "empty", "f", "link"];
                        names
                            .into_iter()
                            .find(|name| !known.contains(&name.as_str()))
                            .expect("a new file")
                    }
                };
                assert_eq!(content(&name).unwrap(), whole, "{what}");
            }
            if reply.code == 226 && command == "RETR f" {
                let whole = match before.first() {
                    Some(&"REST 5") => &OLD[5..],
                    Some(&"RANG 5 9") => &OLD[5..=9],
                    _ => OLD,
                };
                assert_eq!(received, whole, "{what}");
            }
            let gone = errno == libc_errno("ENOENT");
            if reply.code == 213 && command == "DSIZ d" && !gone {
                assert_eq!(reply.text(), (2 * OLD.len()).to_string(), "{what}");
            }
            if atomic == "yes" && reply.code >= 400 && command == "STOR f" && before != ["REST 5"] {
                // After the rename it is the new one, whole, though nobody can
                // promise that it stays.
                let renamed = done[..number - 1].contains(&"rename");
                let whole = if renamed { NEW } else { OLD };
                assert_eq!(content("f").unwrap(), whole, "{what}");
            }
            if command.starts_with("COMB") || command.starts_with("SITE C") {
                // After the rename it is there, though nobody can promise that
                // it stays.
                if reply.code < 400 || !done[..number - 1].contains(&"rename") {
                    joined_or_as_before(&server, &reply, command, &what);
                }
            }
            if !(failed && faulty_removal(&done)) {
                nothing_is_left(&server, &what);
            }
            assert_eq!(faulty.plan.open(), 0, "{what}: something is open");
            client.expect("NOOP", 200);
            if reply.code == 530 {
                client.login("ann", "secret");
            }
            client.expect("PWD", 257);
            client.fetch("NLST /");
            if !failed {
                break;
            }
            faults += 1;
        }
    }
    assert!(faults > 200, "{faults} faults");
}

/// A copy or joined parts are there as a whole, or everything is as it was.
fn joined_or_as_before(server: &TestServer, reply: &Reply, command: &str, what: &str) {
    let content = |name: &str| server.content(name);
    let old = Some(OLD.to_vec());
    if reply.code >= 400 {
        for name in ["f", "d/g", "d/e/h"] {
            assert_eq!(content(name), old, "{what}: {name}");
        }
        assert_eq!(content("new"), None, "{what}");
    } else if command.starts_with("COMB f") {
        assert_eq!(content("f").unwrap(), OLD.repeat(3), "{what}");
    } else if command.starts_with("COMB") {
        assert_eq!(content("new").unwrap(), OLD.repeat(2), "{what}");
    } else if command.starts_with("SITE CPTO") {
        assert_eq!(content("new"), old, "{what}");
    }
}

fn nothing_is_left(server: &TestServer, what: &str) {
    let left = server.names("/");
    let temporary = left.iter().find(|name| name.starts_with(".wharf-upload-"));
    assert_eq!(temporary, None, "{what}");
}

/// Whether the removal of the temporary file is what failed last.
fn faulty_removal(done: &[&str]) -> bool {
    done.last() == Some(&"remove_file")
}

#[test]
fn no_space() {
    every_operation_fails(libc_errno("ENOSPC"), &[452, 550], "no");
    every_operation_fails(libc_errno("ENOSPC"), &[452, 550], "yes");
}

#[test]
fn input_output_errors() {
    every_operation_fails(libc_errno("EIO"), &[451, 550], "no");
    every_operation_fails(libc_errno("EIO"), &[451, 550], "yes");
}

#[test]
fn quotas() {
    every_operation_fails(libc_errno("EDQUOT"), &[552, 550], "yes");
}

#[test]
fn rights_that_vanish() {
    every_operation_fails(libc_errno("EACCES"), &[550, 451], "yes");
}

#[test]
fn stale_handles() {
    every_operation_fails(libc_errno("ESTALE"), &[451, 550], "yes");
}

#[test]
fn no_descriptors() {
    every_operation_fails(libc_errno("EMFILE"), &[450, 451, 550], "yes");
}

#[test]
fn files_that_vanish() {
    // 450: what was there a moment ago was replaced, as it seems.
    every_operation_fails(libc_errno("ENOENT"), &[450, 550, 451], "yes");
}

pub fn libc_errno(name: &str) -> i32 {
    use rustix::io::Errno;
    let errno = match name {
        "ENOSPC" => Errno::NOSPC,
        "EIO" => Errno::IO,
        "EDQUOT" => Errno::DQUOT,
        "EACCES" => Errno::ACCESS,
        "ESTALE" => Errno::STALE,
        "EMFILE" => Errno::MFILE,
        "ENOENT" => Errno::NOENT,
        name => panic!("{name}"),
    };
    errno.raw_os_error()
}

/// A quota counts what is there, whatever has failed: nothing that is gone and
/// all that came.
#[test]
fn quotas_count_what_is_there() {
    // The login counts, and leaves out, with a word, what can't be read then.
    let rows = || COMMANDS.iter().filter(|row| !row.1.starts_with("PASS"));
    for atomic in ["no", "yes"] {
        for &(before, command, data) in rows() {
            for number in 1.. {
                let (faulty, server) = start_counting(atomic);
                let mut client = server.ann();
                let connection = (data != Data::None).then(|| client.data());
                for line in before {
                    client.cmd(line);
                }
                faulty.plan.fail(number, libc_errno("EIO"));
                let (reply, _) = play(&mut client, connection, command, (data, NEW));
                let done = faulty.plan.done();
                let failed = faulty.plan.heal();
                if reply.code == 530 {
                    client.login("ann", "secret");
                }
                let what = format!("{command}, atomic {atomic}, operation {number} of {done:?}");
                if !(failed && faulty_removal(&done)) {
                    nothing_is_left(&server, &what);
                }
                let used = Usage::scan(&faulty.files, 0, 0).used();
                assert_eq!(
                    client.expect("SITE QUOTA", 200).text(),
                    format!(
                        "{} bytes of 1048576, {} files of 100.",
                        used.bytes, used.files
                    ),
                    "{what}: {:?}",
                    reply.lines
                );
                if !failed {
                    break;
                }
            }
        }
    }
}

/// An operation that takes its time holds up nobody else: meanwhile another
/// client logs in, lists, reads and writes; then the command ends as ever.
#[test]
fn slow_operations_hold_up_nobody_else() {
    let mut waits = 0;
    for &(before, command, data) in COMMANDS {
        for number in 1.. {
            let (faulty, server) = start("yes");
            let mut client = server.ann();
            let connection = (data != Data::None).then(|| client.data());
            for line in before {
                client.cmd(line);
            }
            faulty.plan.hold(number);
            let slow =
                std::thread::spawn(move || play(&mut client, connection, command, (data, NEW)).0);
            until(command, || faulty.plan.is_waiting() || slow.is_finished());
            let waiting = faulty.plan.is_waiting();
            if !waiting {
                // It has fewer operations.
                break;
            }
            let mut other = server.ann();
            other.fetch("MLSD /");
            assert_eq!(other.store("STOR /other", NEW).code, 226);
            assert_eq!(other.fetch("RETR /other"), NEW);
            other.expect("QUIT", 221);
            faulty.plan.release();
            let reply = slow.join().unwrap();
            assert!(reply.code < 400, "{command}, {number}: {:?}", reply.lines);
            waits += 1;
        }
    }
    assert!(waits > 100, "{waits} operations");
}

/// A row of the command table that is not above does nothing with files.
#[test]
fn no_command_is_missing() {
    let (faulty, server) = start("no");
    // Without OpenSSL these end in a refusal.
    let refused: &[&str] = if cfg!(any(feature = "ftps", feature = "sftp")) {
        &[]
    } else {
        &["XMD5", "XSHA1"]
    };
    for (verb, ..) in wharf::daemon::tables::rows() {
        if refused.contains(&verb.as_str()) {
            continue;
        }
        let is_this = |line: &str| line == verb || line.starts_with(&format!("{verb} "));
        if COMMANDS.iter().any(|(_, line, _)| is_this(line)) {
            continue;
        }
        for argument in ["", " f", " d", " /d/g", " 100 f", " new", " 1 2"] {
            let mut client = server.ann();
            client.data();
            faulty.plan.fail(0, 0);
            client.cmd(&format!("{verb}{argument}"));
            let done = faulty.plan.done();
            assert!(
                done.is_empty(),
                "{verb}{argument}: {done:?}, and no row above"
            );
        }
    }
}

/// Reads may give less than asked for; a file may be shorter than it was.
#[test]
fn short_reads() {
    let (faulty, server) = start("no");
    faulty.plan.short_reads(3);
    let mut client = server.ann();
    assert_eq!(client.fetch("RETR f"), OLD);
    client.expect("TYPE A", 200);
    assert_eq!(client.fetch("RETR f"), OLD);
    client.expect("SITE COPY f new", 250);
    assert_eq!(server.content("new").unwrap(), OLD);
    let sum =
        |reply: super::common::client::Reply| reply.text().split(' ').nth(2).map(String::from);
    let short = sum(client.cmd("HASH f"));
    faulty.plan.short_reads(0);
    assert_eq!(sum(client.cmd("HASH f")), short);
}

/// With fsync-uploads the data are on the disk before the name, and the name
/// before the 226.
#[test]
fn what_is_synced_when() {
    let (faulty, server) = start("yes");
    let mut client = server.ann();
    let data = client.data();
    faulty.plan.fail(0, 0);
    client.expect("STOR f", 150);
    let mut data = data;
    data.send(NEW);
    drop(data);
    client.wait_for(226);
    let done = faulty.plan.done();
    let tail = &done[done.iter().rposition(|name| *name == "write").unwrap()..];
    assert_eq!(
        tail,
        [
            "write", "sync", "metadata", "close", "metadata", "rename", "open", "sync"
        ],
        "data, whose file it is, what closing says, the name, and the name on the disk"
    );
}

/// A file that somebody cuts while it is copied or joined is not taken for
/// whole.
#[test]
fn a_source_that_becomes_shorter_is_an_error() {
    for command in ["SITE COPY f d/g", "COMB d/g f"] {
        let (faulty, server) = start("no");
        let mut client = server.ann();
        faulty.plan.fail(0, 0);
        client.expect(command, 250);
        let done = faulty.plan.done();
        let at = done.iter().rposition(|name| *name == "read").unwrap() + 1;
        let (faulty, server) = start("no");
        let mut client = server.ann();
        faulty.plan.hold(at);
        let copying = std::thread::spawn(move || client.cmd(command));
        until(command, || faulty.plan.is_waiting());
        let path = VirtualPath::root().join(b"f").unwrap();
        let mut cut = wharf::storage::Attributes::default();
        cut.size = Some(3);
        let follow = wharf::storage::Follow::Yes;
        faulty.files.set_attributes(&path, &cut, follow).unwrap();
        faulty.plan.release();
        assert_eq!(copying.join().unwrap().code, 451, "{command}");
        assert_eq!(server.content("d/g").unwrap(), OLD);
        assert_eq!(server.content("f").unwrap(), OLD[..3]);
        nothing_is_left(&server, command);
    }
}
