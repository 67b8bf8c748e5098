//! The same random commands to wharf and to a server that people know, each
//! on a directory of its own. Where the two differ, the difference must be one
//! of those below, which wharf-protocol(7), "Differences from other servers",
//! explains to people.
#![cfg(unix)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::commands::{contents, one_line};
use super::common::client::{Client, Data, extended_port};
use super::common::peers::{self, USER, missing};
use super::common::rng::Rng;
use super::common::tree::tree;
use super::common::{TempDir, server};

/// A verb, the reply of wharf and that of the other; 0 is any.
type Difference = (&'static str, u16, u16);

/// From both of them.
const FROM_BOTH: [Difference; 8] = [
    // Both refuse, and give another number.
    ("STOR", 550, 553),
    ("STOR in TYPE A", 550, 553),
    ("APPE", 550, 553),
    ("APPE in TYPE A", 550, 553),
    // A restart behind the end of a file, or of one that is not there, makes
    // no hole.
    ("STOR", 550, 226),
    ("STOR", 554, 226),
    ("STOR in TYPE A", 550, 226),
    ("STOR in TYPE A", 554, 226),
];

const FROM_VSFTPD: [Difference; 8] = [
    // Nothing is listed where nothing is.
    ("NLST", 550, 226),
    // Of a file, its name.
    ("NLST", 226, 226),
    // "-1" is no offset.
    ("REST", 501, 350),
    ("TYPE", 504, 500),
    // A path is made normal before it is used: "." is a name as any other.
    ("RMD", 250, 550),
    ("RNTO", 250, 550),
    // A directory into itself: the argument is wrong.
    ("RNTO", 501, 550),
    // What may not be renamed is refused at once.
    ("RNFR", 550, 350),
];

const FROM_PURE_FTPD: [Difference; 13] = [
    // After a REST, a file that is not there: 550 as ever.
    ("RETR", 550, 554),
    // Without "." and "..".
    ("NLST", 226, 226),
    ("NLST", 226, 550),
    ("REST", 501, 554),
    // No restart in TYPE A there.
    ("RETR in TYPE A", 0, 503),
    ("STOR in TYPE A", 0, 503),
    ("APPE in TYPE A", 0, 503),
    // RNFR counts for the next command alone, as RFC 959 has it.
    ("RNTO", 503, 451),
    ("RNTO", 503, 250),
    ("RNTO", 550, 451),
    ("RNTO", 501, 451),
    ("RNTO", 250, 451),
    // In TYPE A a CR that no LF follows is a byte of the file.
    ("STOR in TYPE A", 226, 226),
];

struct Other {
    name: &'static str,
    verbs: &'static [&'static str],
    differences: &'static [Difference],
    command: peers::Peer,
    /// Pure-FTPd waits longer and longer after each refusal.
    sequences: usize,
    /// Where one may write: vsftpd insists that it is not the root.
    top: &'static str,
}

/// What everybody has.
const VERBS: [&str; 18] = [
    "NOOP", "PWD", "CWD", "CDUP", "MKD", "RMD", "DELE", "RNFR", "RNTO", "SIZE", "TYPE", "REST",
    "NLST", "RETR", "STOR", "APPE", "XYZZY", "MLST",
];

/// A session with a server that talks on its standard input.
struct Session {
    client: Client,
    child: Option<Child>,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn by_inetd(command: &mut Command) -> Option<Session> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stream = TcpStream::connect(address).unwrap();
    let ours = OwnedFd::from(listener.accept().unwrap().0);
    let child = command
        .stdin(Stdio::from(ours.try_clone().unwrap()))
        .stdout(Stdio::from(ours))
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut session = Session {
        client: Client::over(stream, address),
        child: Some(child),
    };
    // A server without its libraries says nothing.
    match session.client.try_line() {
        Ok(Some(line)) if line.starts_with(b"220 ") => {}
        Ok(Some(line)) if line.starts_with(b"220-") => {
            while !session.client.line().starts_with(b"220 ") {}
        }
        other => {
            let said = other.map(Option::unwrap_or_default);
            eprintln!("{:?}", said.map(|line| line.escape_ascii().to_string()));
            return None;
        }
    }
    session.client.expect("USER ftp", 331);
    session.client.expect("PASS secret", 230);
    Some(session)
}

/// What came of a command.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// The last reply.
    code: u16,
    /// What was received, a listing as its names.
    data: Option<BTreeSet<Vec<u8>>>,
}

fn run(client: &mut Client, verb: &str, line: &str, content: &[u8]) -> Outcome {
    let transfers = matches!(verb, "RETR" | "STOR" | "APPE" | "NLST");
    let mut connection = transfers.then(|| {
        let reply = client.expect("EPSV", 229);
        let port = extended_port(reply.text()).unwrap();
        Data::connect((client.server().ip(), port).into())
    });
    let mut code = client.cmd(line).code;
    let mut data = None;
    if matches!(code, 125 | 150) {
        let mut connection = connection.take().unwrap();
        if matches!(verb, "STOR" | "APPE") {
            connection.send(content);
            drop(connection);
        } else {
            let received = connection.rest();
            data = Some(match verb {
                "NLST" => received
                    .split(|byte| *byte == b'\n')
                    .filter(|line| !line.is_empty())
                    .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
                    // "./a" and "a" are the same name.
                    .map(|line| line.rsplit(|byte| *byte == b'/').next().unwrap_or(line))
                    .map(<[u8]>::to_vec)
                    .collect(),
                _ => BTreeSet::from([received]),
            });
        }
        code = client.reply().code;
    }
    Outcome { code, data }
}

fn fresh(directory: &Path) {
    let _ = std::fs::remove_dir_all(directory);
    std::fs::create_dir(directory).unwrap();
    let _ = chown(directory, Some(USER), Some(USER));
    std::fs::set_permissions(directory, PermissionsExt::from_mode(0o777)).unwrap();
}

fn compare(other: &Other) {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("SKIP {}: it needs root", other.name);
    }
    let place = TempDir::new(other.name);
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (ours, theirs) = (place.join("ours"), place.join("theirs"));
    let Some(mut command) = (other.command)(&place, &theirs, None) else {
        return;
    };
    // Always the same unless asked for: what is compared is what is explained.
    let mut rng = match std::env::var_os("WHARF_SEED") {
        Some(_) => Rng::new(),
        None => Rng::fixed(1971),
    };
    let count = std::env::var("WHARF_COMPARED");
    let count = count.map_or(other.sequences, |text| text.parse().unwrap());
    let mut seen: BTreeMap<(String, u16, u16), (usize, Vec<String>)> = BTreeMap::new();
    let (mut commands, mut same) = (0, 0);
    for _ in 0..count {
        fresh(&ours);
        fresh(&theirs);
        let mut settings = server().directory(&ours);
        if !other.top.is_empty() {
            for root in [&ours, &theirs] {
                fresh(&root.join(&other.top[1..]));
                std::fs::set_permissions(root, PermissionsExt::from_mode(0o755)).unwrap();
                chown(root, Some(0), Some(0)).unwrap();
            }
            settings = settings.user("ann", "secret", "elr");
            settings = settings.at(other.top, "read-write");
        }
        let server = settings.start();
        let mut wharf = server.ann();
        let Some(mut session) = by_inetd(&mut command) else {
            return missing(&format!("{} that starts here", other.name));
        };
        for client in [&mut wharf, &mut session.client] {
            client.expect("TYPE I", 200);
            client.expect(&format!("CWD {}/", other.top), 250);
        }
        let mut said = Vec::new();
        let mut ascii = false;
        for _ in 0..10 + rng.below(60) {
            let (verb, argument) = one_line(&mut rng);
            let content = contents(&mut rng);
            if !other.verbs.contains(&verb) {
                continue;
            }
            let line = match argument.as_str() {
                "" => verb.to_string(),
                argument if argument.starts_with('/') => format!("{verb} {}{argument}", other.top),
                argument => format!("{verb} {argument}"),
            };
            let one = run(&mut wharf, verb, &line, &content);
            let two = run(&mut session.client, verb, &line, &content);
            said.push(format!("{line} -> {} {}", one.code, two.code));
            commands += 1;
            if verb == "TYPE" && one.code == 200 {
                ascii = argument == "A";
            }
            let trees = tree(&ours) == tree(&theirs);
            if one == two && trees {
                same += 1;
                continue;
            }
            if one.data != two.data {
                let text = |data: &Option<BTreeSet<Vec<u8>>>| -> String {
                    let shown = data.iter().flatten();
                    shown
                        .map(|name| name.escape_ascii().to_string() + " ")
                        .collect()
                };
                said.push(format!("   ours: {}", text(&one.data)));
                said.push(format!("   theirs: {}", text(&two.data)));
            }
            let verb = match (verb, ascii) {
                ("STOR" | "APPE" | "RETR" | "SIZE", true) => format!("{verb} in TYPE A"),
                _ => verb.to_string(),
            };
            let key = (verb, one.code, two.code);
            let entry = seen.entry(key).or_insert((0, said.clone()));
            entry.0 += 1;
            if one.data != two.data || !trees || (one.code < 400) != (two.code < 400) {
                // From here on the two are different places.
                break;
            }
        }
    }
    eprintln!("{}: {commands} commands, {same} the same", other.name);
    let mut unexplained = Vec::new();
    for ((verb, one, two), (count, said)) in &seen {
        eprintln!("  {verb}: wharf {one}, {} {two}: {count} times", other.name);
        let known = |all: &[Difference]| {
            all.iter().any(|known| {
                known.0 == verb && [0, *one].contains(&known.1) && [0, *two].contains(&known.2)
            })
        };
        if !known(&FROM_BOTH) && !known(other.differences) {
            unexplained.push((verb, one, two, said));
        }
    }
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}

#[test]
fn differences_from_vsftpd_are_known() {
    compare(&Other {
        name: "vsftpd",
        verbs: &VERBS[..17],
        differences: &FROM_VSFTPD,
        command: peers::vsftpd,
        sequences: 40,
        top: "/pub",
    });
}

#[test]
fn differences_from_pure_ftpd_are_known() {
    compare(&Other {
        name: "pure-ftpd",
        verbs: &VERBS,
        differences: &FROM_PURE_FTPD,
        command: peers::pure_ftpd,
        sequences: 8,
        top: "",
    });
}
