//! Every operation of every FTP command fails once.

use std::sync::Arc;

use wharf::storage::{FileSystem, MemoryFs, VirtualPath};

use super::common::{TestServer, put_file, server};
use super::faulty::Faulty;

const OLD: &[u8] = b"the old contents of the file";
const NEW: &[u8] = b"new contents, somewhat longer than those before";

/// What a command does with a data connection.
#[derive(Clone, Copy, PartialEq)]
enum Data {
    None,
    Down,
    Up,
}

/// Commands that come before, the command, and its data connection.
const COMMANDS: [(&[&str], &str, Data); 47] = [
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
    (
        &[],
        "MFF Modify=20200101000000;UNIX.mode=0600; f",
        Data::None,
    ),
    (&[], "COMB \"new\" \"f\" \"d/g\"", Data::None),
    (&[], "HASH f", Data::None),
    (&[], "XCRC f", Data::None),
    (&[], "SITE CHMOD 600 f", Data::None),
    (&[], "SITE UTIME 20200101000000 f", Data::None),
    (&[], "SITE MKDIR a/b/c", Data::None),
    (&["SITE CPFR f"], "SITE CPTO new", Data::None),
    (&[], "SITE COPY f d/g", Data::None),
    (&[], "SITE SYMLINK f new", Data::None),
    (&[], "SITE RMDIR d", Data::None),
];

fn start(atomic: &str) -> (Arc<Faulty>, TestServer) {
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
    let server = server()
        .files(Arc::clone(&faulty) as Arc<dyn FileSystem>)
        .set("atomic-uploads", atomic)
        .set("fsync-uploads", atomic)
        .set("site-symlink", "yes")
        .start();
    (faulty, server)
}

/// Runs every command with each of its operations failing in turn.
fn every_operation_fails(errno: i32, expected: &[u16], atomic: &str) {
    let mut faults = 0;
    for (before, command, data) in COMMANDS {
        for number in 1.. {
            assert!(number < 200, "{command} never ends");
            let (faulty, server) = start(atomic);
            let mut client = server.ann();
            let connection = (data != Data::None).then(|| client.data());
            for line in before {
                assert!(client.cmd(line).code < 400, "{line}");
            }
            faulty.plan.fail(number, errno);
            client.send(command);
            let mut reply = client.reply();
            let mut received = Vec::new();
            if reply.code == 150 {
                let mut connection = connection.unwrap();
                if data == Data::Up {
                    // The server may have closed already.
                    let _ = std::io::Write::write_all(&mut connection.0, NEW);
                    drop(connection);
                } else {
                    received = connection.rest();
                }
                reply = client.reply();
            }
            let done = faulty.plan.done();
            let what = format!("{command}, atomic {atomic}, operation {number} of {done:?}");
            let failed = faulty.plan.heal();
            assert!(
                reply.code < 400 || failed && expected.contains(&reply.code),
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
            if atomic == "yes" && reply.code >= 400 && command == "STOR f" && before != ["REST 5"] {
                // After the rename it is the new one, whole, though nobody can
                // promise that it stays.
                let renamed = done[..number - 1].contains(&"rename");
                let whole = if renamed { NEW } else { OLD };
                assert_eq!(content("f").unwrap(), whole, "{what}");
            }
            if !(failed && faulty_removal(&done)) {
                let left = server.names("/");
                let temporary = left.iter().find(|name| name.starts_with(".wharf-upload-"));
                assert_eq!(temporary, None, "{what}");
            }
            assert_eq!(faulty.plan.open(), 0, "{what}: something is open");
            client.expect("NOOP", 200);
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
    every_operation_fails(libc_errno("ENOENT"), &[550, 451], "yes");
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
        ["write", "sync", "close", "rename", "open", "sync"],
        "data, what closing says, the name, and the name on the disk"
    );
}
