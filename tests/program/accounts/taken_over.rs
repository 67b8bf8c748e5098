//! Code that runs in the server, with the channels to the monitor and to the
//! workers in its hands, says what it likes to them. The test is that server:
//! it starts the monitor itself.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::net::RecvFlags;
use wharf::daemon::remote::{MESSAGE_MAX, Message, MessageSocket, Parts, RemoteFs};
use wharf::storage::{Attributes, FileSystem, Follow, OpenOptions, VirtualPath};
use wharf::{Error, ErrorKind};

use super::common::process::{add_user, soon, wait};
use super::common::rng::Rng;
use super::etc::{ANN, Etc, open_to_all, threads};

const SYSTEM: u8 = 1;
const HOME: u8 = 2;
const HOOK: u8 = 4;
const FILE: u8 = 6;

/// A monitor, and the end of its channel that the server would have.
struct Taken {
    etc: Etc,
    channel: MessageSocket,
    monitor: Child,
}

impl Taken {
    /// With a users file of ann, who has a home of hers, and of cat, whose home is inside it.
    fn new(name: &str, arguments: &[&str]) -> Option<Self> {
        let etc = Etc::new(name)?;
        let users = etc.0.join("users-of-ours");
        add_user(
            &users,
            "ann",
            &etc.home("ann"),
            &["--options", "keys=homes/ann/keys"],
        );
        add_user(&users, "cat", &etc.home("ann").join("cat"), &[]);
        let (channel, far) = MessageSocket::pair().unwrap();
        let mut command = etc.wharfd(&["--monitor", "--system-users", "--users"]);
        command.arg(&users).args(arguments);
        let monitor = command
            .stdin(Stdio::from(OwnedFd::from(far)))
            .spawn()
            .unwrap();
        let mut ready = [0; 16];
        assert!(channel.receive(&mut ready).unwrap().is_some());
        Some(Taken {
            etc,
            channel,
            monitor,
        })
    }

    /// Sends any bytes as a question; the answer, if there is one.
    fn send(&self, question: &[u8]) -> wharf::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
        let (near, far) = MessageSocket::pair().unwrap();
        self.channel.send(question, Some(far.as_fd()))?;
        drop(far);
        let mut buffer = vec![0; MESSAGE_MAX];
        let received = near.receive(&mut buffer)?;
        Ok(received.map(|(length, descriptor)| (buffer[..length].to_vec(), descriptor)))
    }

    fn ask(&self, question: Message) -> Result<Option<OwnedFd>, Error> {
        let (answer, descriptor) = self.send(question.as_bytes())?.unwrap();
        let mut parts = Parts::of(&answer);
        match parts.u8()? {
            0 => Err(parts.error()?),
            _ => Ok(descriptor),
        }
    }

    fn file(&self, path: &Path) -> Result<Option<OwnedFd>, Error> {
        let path = path.as_os_str().as_encoded_bytes();
        self.ask(Message::default().u8(FILE).bytes(path))
    }

    /// The channel to ann's worker: her home is one of the users file.
    fn worker(&self) -> MessageSocket {
        let home = self
            .ask(Message::default().u8(HOME).bytes(b"ann").u8(0))
            .unwrap();
        home.unwrap().into()
    }

    /// The monitor still answers as it should.
    fn is_well(&self) {
        let files = RemoteFs::new(self.worker());
        assert!(files.metadata(&path("staffs"), Follow::Yes).is_ok());
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let (idle, _) = MessageSocket::pair().unwrap();
        self.channel = idle;
        // It ends with the server.
        let _ = wait(&mut self.monitor);
    }
}

fn path(text: &str) -> VirtualPath {
    VirtualPath::root().join(text.as_bytes()).unwrap()
}

fn credentials(name: &str, secret: &[u8]) -> Message {
    let question = Message::default().u8(SYSTEM).bytes(name.as_bytes());
    question.bytes(b"127.0.0.1").u8(1).u8(0).u8(0).bytes(secret)
}

#[test]
fn nobody_is_had_without_a_secret_and_root_not_at_all() {
    let Some(taken) = Taken::new("taken-users", &[]) else {
        return;
    };
    assert!(taken.ask(credentials("ann", b"secret")).is_ok());
    for (name, secret) in [
        ("ann", "wrong"),
        ("ann", ""),
        ("root", "secret"),
        ("locked", "secret"),
    ] {
        let got = taken.ask(credentials(name, secret.as_bytes()));
        assert_eq!(got.unwrap_err().kind(), ErrorKind::LoginRefused, "{name}");
    }
    // Names that the users file does not have.
    for name in ["root", "daemon", "", "ann\0", "ann:x", "../ann"] {
        let got = taken.ask(Message::default().u8(HOME).bytes(name.as_bytes()).u8(0));
        assert!(got.is_err(), "{name}");
    }
    // No process of anybody's but root's and ann's has come of it.
    let all = super::common::process::descendants(taken.monitor.id()).into_iter();
    for uid in all.flat_map(|pid| threads(pid, "Uid:")).flatten() {
        assert!(uid == "0" || uid == ANN.to_string(), "{uid}");
    }
}

/// Root opens nothing for the server but files of the settings, and these
/// only where nobody else chooses what their names lead to.
#[test]
fn files_of_root_are_not_had_by_links() {
    let Some(taken) = Taken::new("taken-files", &[]) else {
        return;
    };
    let etc = &taken.etc;
    let keys = etc.home("ann").join("keys");
    for name in ["etc/shadow", "etc/passwd", "users-of-ours/../etc/shadow"] {
        assert!(taken.file(&etc.0.join(name)).is_err(), "{name}");
    }
    assert!(taken.file(Path::new("/etc/shadow")).is_err());
    assert!(taken.file(&etc.0.join("users-of-ours")).unwrap().is_some());
    // The server makes links in ann's home, through her worker.
    let files = RemoteFs::new(taken.worker());
    let shadow = etc.0.join("etc/shadow");
    for target in [&shadow, Path::new("/etc/shadow"), Path::new("/dev/zero")] {
        let bytes = target.as_os_str().as_encoded_bytes();
        files.symlink(bytes, &path("keys")).unwrap();
        assert!(keys.is_symlink());
        let got = taken.file(&keys).unwrap_err();
        assert_eq!(got.kind(), ErrorKind::Denied, "{}", target.display());
        files.remove_file(&path("keys")).unwrap();
    }
    // A pipe would hold the monitor up.
    let made = std::process::Command::new("mkfifo").arg(&keys).status();
    assert!(made.unwrap().success());
    assert!(taken.file(&keys).is_err());
    std::fs::remove_file(&keys).unwrap();
    // What is hers is handed over, for it is what the line says.
    std::fs::write(&keys, "").unwrap();
    chown(&keys, Some(ANN), None).unwrap();
    assert!(taken.file(&keys).unwrap().is_some());
    // cat's home is within ann's, so she says where it is.
    symlink("/root", etc.home("ann").join("cat")).unwrap();
    let got = taken.ask(Message::default().u8(HOME).bytes(b"cat").u8(0));
    assert!(got.is_ok_and(|descriptor| descriptor.is_none()));
}

/// A worker serves one home as one user, whatever is asked of it.
#[test]
fn workers_lead_nowhere_else() {
    let Some(taken) = Taken::new("taken-paths", &[]) else {
        return;
    };
    let etc = &taken.etc;
    let outside = etc.0.join("outside");
    std::fs::write(&outside, "outside").unwrap();
    open_to_all(&outside, 0o666);
    let files = RemoteFs::new(taken.worker());
    let target = outside.as_os_str().as_encoded_bytes();
    files.symlink(target, &path("link")).unwrap();
    files
        .symlink(b"/proc/self/root/etc", &path("magic"))
        .unwrap();
    for name in ["link", "magic/passwd", "../outside", "../../outside"] {
        let opened = files.open(&path(name), &OpenOptions::read());
        assert!(opened.is_err(), "{name}");
    }
    // A path with `..` in its bytes is no path.
    let worker = taken.worker();
    for name in ["/../outside", "../outside", "/x/../../outside"] {
        let question = Message::default().u8(1).u8(1).bytes(name.as_bytes());
        let question = question.u8(1).u8(0).u8(0).u32(0);
        worker.send(question.as_bytes(), None).unwrap();
        let mut answer = [0; 1024];
        let (length, descriptor) = worker.receive(&mut answer).unwrap().unwrap();
        assert!(descriptor.is_none(), "{name}");
        assert_eq!(Parts::of(&answer[..length]).u8().unwrap(), 0, "{name}");
    }
    // Root's file stays closed, and stays root's.
    let roots = path("roots");
    assert!(files.open(&roots, &OpenOptions::read()).is_err());
    let mut owner = Attributes::default();
    owner.uid = Some(ANN);
    assert!(files.set_attributes(&roots, &owner, Follow::No).is_err());
    let found = std::fs::metadata(etc.home("ann").join("roots")).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o600));
    // On somebody else's open file a worker can do what its user can.
    let file = std::fs::File::open(&outside).unwrap();
    for operation in 15..=18u8 {
        let question = Message::default().u8(operation).u8(1).bytes(b"/staffs");
        let question = question.u8(1).u8(1).u8(0).u32(0).u8(1).u32(0o777);
        let question = question.u8(0).u8(0).u8(1).u32(ANN).u8(0).u8(0);
        worker
            .send(question.as_bytes(), Some(file.as_fd()))
            .unwrap();
        let mut answer = [0; 1024];
        worker.receive(&mut answer).unwrap().unwrap();
    }
    let found = std::fs::metadata(&outside).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o666));
}

/// Bytes of no meaning, of each kind of question: an error or an end, never
/// the end of the process.
#[test]
fn no_bytes_end_the_monitor_or_a_worker() {
    let Some(taken) = Taken::new("taken-bytes", &[]) else {
        return;
    };
    let before = tree(&taken.etc.home("root"));
    let mut rng = Rng::fixed(17);
    let mut worker = taken.worker();
    for round in 0..3000usize {
        let mut bytes = vec![(round % 32) as u8, 1];
        for _ in 0..rng.below(6) {
            match rng.below(4) {
                0 => bytes.extend((rng.below(12) as u32).to_ne_bytes()),
                1 => bytes.extend(u32::MAX.to_ne_bytes()),
                2 => bytes.extend([4, 0, 0, 0, b'/', b'.', b'.', b'/']),
                _ => bytes.push(rng.below(4) as u8),
            }
        }
        // Hooks and helpers there are none; the answer is an error.
        if round % 2 == 0 {
            let _ = taken.send(&bytes);
            continue;
        }
        let sent = worker.send(&bytes, None).is_ok();
        let mut answer = vec![0; MESSAGE_MAX];
        // What closes a directory has no answer.
        let received = bytes[0] == 22 || worker.receive(&mut answer).is_ok_and(|got| got.is_some());
        if !sent || !received {
            worker = taken.worker();
        }
    }
    taken.is_well();
    assert_eq!(tree(&taken.etc.home("root")), before);
    assert!(taken.ask(Message::default().u8(HOOK).bytes(b"")).is_err());
}

fn tree(directory: &Path) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

/// Thousands of questions whose answers nobody reads, descriptors that are no
/// channels, several at once, and none: memory and processes stay few.
#[test]
fn a_flood_of_questions_is_bounded() {
    let Some(taken) = Taken::new("taken-flood", &[]) else {
        return;
    };
    let null = std::fs::File::open("/dev/null").unwrap();
    let question = Message::default().u8(HOME).bytes(b"ann").u8(0);
    let monitor = taken.monitor.id();
    let resident = || -> u64 {
        let field = &threads(monitor, "VmRSS:")[0][0];
        field.parse().unwrap()
    };
    taken.is_well();
    let before = resident();
    for round in 0..20_000 {
        let descriptor = match round % 3 {
            0 => Some(null.as_fd()),
            1 => Some(taken.channel.as_fd()),
            _ => None,
        };
        // Its own end of the channel answers into the flood; nothing waits.
        taken.channel.send(question.as_bytes(), descriptor).unwrap();
        drain(&taken.channel);
    }
    assert!(soon(|| {
        drain(&taken.channel);
        threads(monitor, "Threads:")[0][0] == "1" || threads(monitor, "Threads:").len() < 8
    }));
    taken.is_well();
    assert!(
        resident() < before + 8 * 1024,
        "{before} {} KiB",
        resident()
    );
    let workers = super::common::process::descendants(monitor);
    let hers = |pid: &&u32| {
        threads(**pid, "Uid:")
            .iter()
            .any(|uids| uids[0] == ANN.to_string())
    };
    assert!(workers.iter().filter(hers).count() <= 1);
}

/// Takes what has come, so that the sender does not wait for us.
fn drain(channel: &MessageSocket) {
    let mut buffer = [0; 1024];
    while let Ok((length, _)) = rustix::net::recv(channel, &mut buffer[..], RecvFlags::DONTWAIT)
        && length > 0
    {}
}
