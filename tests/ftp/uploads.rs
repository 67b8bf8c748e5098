//! Uploads: what appears under which name and with which mode, and that no
//! failure is ever answered with 226.

mod access;
use crate::common;
mod copies;
mod odd;
mod owners;
#[allow(dead_code)]
use crate::common::packets;

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use common::Client;
use common::{TempDir, server};
use wharf::storage::{
    Attributes, Directory, Existing, File, FileSystem, Follow, MemoryFs, Metadata, OpenOptions,
    VirtualPath, Write,
};
use wharf::{Error, ErrorKind, Result};

/// What goes wrong, and what has been done.
#[derive(Default)]
struct Faults {
    write: Mutex<Option<ErrorKind>>,
    sync: Mutex<Option<ErrorKind>>,
    close: Mutex<Option<ErrorKind>>,
    rename: Mutex<Option<ErrorKind>>,
    syncs: AtomicU32,
    /// Syncs before the rename.
    syncs_at_rename: AtomicU32,
}

fn fault(of: &Mutex<Option<ErrorKind>>) -> Result<()> {
    match *of.lock().unwrap() {
        Some(kind) => Err(Error::new(kind, "a fault of the test")),
        None => Ok(()),
    }
}

/// Memory whose files fail when told so.
struct FaultyFs(MemoryFs, Arc<Faults>);

struct FaultyFile(Box<dyn File>, Arc<Faults>, bool);

impl FileSystem for FaultyFs {
    fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata> {
        self.0.metadata(path, follow)
    }
    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        let file = self.0.open(path, options)?;
        let writes = options.write != Write::No;
        Ok(Box::new(FaultyFile(file, Arc::clone(&self.1), writes)))
    }
    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        self.0.read_dir(path)
    }
    fn remove_file(&self, path: &VirtualPath) -> Result<()> {
        self.0.remove_file(path)
    }
    fn rename(&self, from: &VirtualPath, to: &VirtualPath, existing: Existing) -> Result<()> {
        fault(&self.1.rename)?;
        self.1
            .syncs_at_rename
            .store(self.1.syncs.load(SeqCst), SeqCst);
        self.0.rename(from, to, existing)
    }
}

impl File for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_all_at(&self, data: &[u8], offset: u64) -> Result<()> {
        fault(&self.1.write)?;
        self.0.write_all_at(data, offset)
    }
    fn metadata(&self) -> Result<Metadata> {
        self.0.metadata()
    }
    fn set_attributes(&self, attributes: &Attributes) -> Result<()> {
        self.0.set_attributes(attributes)
    }
    fn sync(&self) -> Result<()> {
        fault(&self.1.sync)?;
        self.1.syncs.fetch_add(1, SeqCst);
        self.0.sync()
    }
    fn close(self: Box<Self>) -> Result<()> {
        if self.2 {
            fault(&self.1.close)?;
        }
        self.0.close()
    }
}

#[test]
fn no_failure_is_answered_with_226() {
    type Place = fn(&Faults) -> &Mutex<Option<ErrorKind>>;
    let places: [(&str, Place); 4] = [
        ("write", |faults| &faults.write),
        ("sync", |faults| &faults.sync),
        ("close", |faults| &faults.close),
        ("rename", |faults| &faults.rename),
    ];
    let kinds = [
        (ErrorKind::NoSpace, 452),
        (ErrorKind::Quota, 552),
        (ErrorKind::Internal, 451),
        (ErrorKind::ReadOnly, 451),
    ];
    let faults = Arc::new(Faults::default());
    let server = server()
        .files(Arc::new(FaultyFs(MemoryFs::new(), Arc::clone(&faults))))
        .set("atomic-uploads", "yes")
        .set("fsync-uploads", "yes")
        .start();
    let mut client = server.ann();
    for (what, place) in places {
        for (kind, code) in kinds {
            for line in ["STOR new", "STOR old", "STOU new"] {
                assert_eq!(client.store("STOR old", b"old").code, 226);
                *place(&faults).lock().unwrap() = Some(kind);
                let reply = client.store(line, b"data that is lost");
                *place(&faults).lock().unwrap() = None;
                assert_eq!(reply.code, code, "{line}: {what} {kind:?}: {reply:?}");
                assert_eq!(server.names("/"), ["old"], "{line}: {what}");
                assert_eq!(server.content("old").as_deref(), Some(&b"old"[..]));
            }
            // In place nothing can be undone, but it is told.
            if what == "write" || what == "close" {
                *place(&faults).lock().unwrap() = Some(kind);
                let reply = client.store("APPE old", b"more");
                *place(&faults).lock().unwrap() = None;
                assert_eq!(reply.code, code, "APPE: {what} {kind:?}");
            }
        }
    }
    client.expect("NOOP", 200);
}

#[test]
fn fsync_comes_before_the_name_and_before_226() {
    for atomic in ["yes", "no"] {
        let faults = Arc::new(Faults::default());
        let server = server()
            .files(Arc::new(FaultyFs(MemoryFs::new(), Arc::clone(&faults))))
            .set("atomic-uploads", atomic)
            .set("fsync-uploads", "yes")
            .start();
        let mut client = server.ann();
        assert_eq!(client.store("STOR f", b"x").code, 226);
        assert!(faults.syncs.load(SeqCst) >= 1);
        if atomic == "yes" {
            assert!(faults.syncs_at_rename.load(SeqCst) >= 1);
        }
        let before = faults.syncs.load(SeqCst);
        assert_eq!(client.store("APPE f", b"x").code, 226);
        assert!(faults.syncs.load(SeqCst) > before);
    }
}

#[test]
fn an_atomic_upload_is_seen_whole_or_not_at_all() {
    let server = server().set("atomic-uploads", "yes").start();
    server.file("f", b"old");
    let mut client = server.ann();
    let mut other = server.ann();
    for (name, before) in [("f", Some(&b"old"[..])), ("new", None)] {
        let mut data = client.data();
        client.expect(&format!("STOR {name}"), 150);
        data.send(b"new contents");
        server.until("the bytes", |server| {
            let all = server.running().services().registry.all();
            all.iter().any(|live| live.bytes.load(SeqCst) == 12)
        });
        assert_eq!(server.content(name).as_deref(), before);
        // Nobody sees the unfinished one, in whatever listing.
        for line in ["LIST -a", "NLST -a", "MLSD"] {
            let listing = String::from_utf8(other.fetch(line)).unwrap();
            assert!(!listing.contains("upload"), "{line}: {listing}");
        }
        drop(data);
        client.wait_for(226);
        assert_eq!(server.content(name).as_deref(), Some(&b"new contents"[..]));
    }
}

#[test]
fn an_upload_that_breaks_off_keeps_what_resuming_needs() {
    // In place: what came stays, and REST goes on from there.
    let server = server().start();
    let mut client = server.ann();
    let mut data = client.data();
    client.expect("STOR f", 150);
    data.send(b"first half, ");
    server.until("the bytes", |server| {
        let all = server.running().services().registry.all();
        all.iter().any(|live| live.bytes.load(SeqCst) == 12)
    });
    data.reset();
    client.wait_for(426);
    assert_eq!(client.expect("SIZE f", 213).text(), "12");
    client.expect("REST 12", 350);
    assert_eq!(client.store("STOR f", b"second half").code, 226);
    assert_eq!(
        server.content("f").as_deref(),
        Some(&b"first half, second half"[..])
    );
}

#[test]
fn modes_are_what_was_configured_whatever_the_umask() {
    let directory = TempDir::new("modes");
    let server = server()
        .directory(directory.path())
        .set("file-mode", "666")
        .set("dir-mode", "777")
        .start();
    let mut client = server.ann();
    let mode = |name: &str| {
        let metadata = std::fs::metadata(directory.join(name)).unwrap();
        metadata.permissions().mode() & 0o7777
    };
    assert_eq!(client.store("STOR f", b"x").code, 226);
    assert_eq!(mode("f"), 0o666);
    client.expect("MKD d", 257);
    assert_eq!(mode("d"), 0o777);
    client.expect("SITE UMASK 027", 200);
    assert_eq!(client.store("STOR g", b"x").code, 226);
    assert_eq!(mode("g"), 0o640);
    client.expect("MKD e", 257);
    assert_eq!(mode("e"), 0o750);
    // A file that is replaced keeps its mode; one that is appended to, too.
    client.expect("SITE CHMOD 600 g", 200);
    assert_eq!(client.store("STOR g", b"y").code, 226);
    assert_eq!(client.store("APPE g", b"y").code, 226);
    assert_eq!(mode("g"), 0o600);
}

/// A client that says STOR and never makes its data connection, as one behind
/// a firewall does, has neither emptied a file nor made one.
#[test]
fn an_upload_that_never_comes_leaves_everything_as_it_was() {
    for (what, files) in [("memory", None), ("disk", Some(TempDir::new("never")))] {
        for (atomic, delete) in [("no", "no"), ("no", "yes"), ("yes", "no")] {
            let mut builder = server()
                .set("atomic-uploads", atomic)
                .set("delete-broken-uploads", delete)
                .set("data-connect-timeout", "0.2");
            if let Some(directory) = &files {
                builder = builder.directory(directory.path());
            }
            let server = builder.start();
            server.file("old", b"old contents");
            let mut client = server.ann();
            for (rest, line) in [
                (None, "STOR old"),
                (Some("REST 4"), "STOR old"),
                (None, "APPE old"),
                (None, "STOU old"),
                (None, "STOR new"),
                (None, "APPE new"),
                (None, "STOU new"),
            ] {
                if let Some(rest) = rest {
                    client.expect(rest, 350);
                }
                client.epsv();
                client.expect(line, 425);
                assert_eq!(
                    server.content("old").as_deref(),
                    Some(&b"old contents"[..]),
                    "{what}, atomic {atomic}, delete {delete}: {line}"
                );
                assert_eq!(server.names("/"), ["old"], "{what}: {line}");
            }
            // A client that does come, and sends nothing, means an empty file.
            assert_eq!(client.store("STOR old", b"").code, 226);
            assert_eq!(server.content("old").as_deref(), Some(&b""[..]));
            assert_eq!(client.store("STOR old", b"new").code, 226);
            assert_eq!(server.content("old").as_deref(), Some(&b"new"[..]));
        }
    }
}

/// The old contents are gone as soon as the data connection stands: who reads
/// the file then gets the new one, as far as it has come.
#[test]
fn an_upload_in_place_begins_with_its_data_connection() {
    let server = server().start();
    server.file("f", b"old contents");
    let mut client = server.ann();
    let address = client.epsv();
    client.send("STOR f");
    let data = common::client::Data::connect(address);
    client.wait_for(150);
    server.until("the file is empty", |server| {
        server.content("f").as_deref() == Some(&b""[..])
    });
    drop(data);
    client.wait_for(226);
}

#[test]
fn an_atomic_upload_keeps_mode_and_owner_of_what_it_replaces() {
    use std::os::unix::fs::MetadataExt;
    let directory = TempDir::new("replace");
    let server = server()
        .directory(directory.path())
        .set("atomic-uploads", "yes")
        .start();
    let mut client = server.ann();
    let root = rustix::process::geteuid().is_root();
    for mode in [0o600, 0o664, 0o444, 0o755] {
        let path = directory.join("f");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        if root {
            std::os::unix::fs::chown(&path, Some(1234), Some(2345)).unwrap();
        }
        let old = std::fs::metadata(&path).unwrap();
        client.expect("SITE UMASK 077", 200);
        assert_eq!(client.store("STOR f", b"new").code, 226);
        let new = std::fs::metadata(&path).unwrap();
        assert_ne!(new.ino(), old.ino());
        assert_eq!(new.mode(), old.mode());
        assert_eq!((new.uid(), new.gid()), (old.uid(), old.gid()));
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }
    // What is new has the mode that was configured.
    assert_eq!(client.store("STOR g", b"new").code, 226);
    assert_eq!(
        std::fs::metadata(directory.join("g")).unwrap().mode() & 0o777,
        0o600
    );
}

#[test]
fn special_files_are_never_opened() {
    // A FIFO must not block the session.
    let directory = TempDir::new("special");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        directory.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o666),
        0,
    )
    .unwrap();
    let server = server().directory(directory.path()).start();
    let mut client = server.ann();
    client.epsv();
    for line in ["RETR fifo", "STOR fifo", "APPE fifo", "HASH fifo"] {
        client.expect(line, 550);
    }
    let listing = client.fetch("LIST");
    assert!(!listing.starts_with(b"-"), "{listing:?}");
}

/// A daemon of which everybody may do everything; `wrapper` is what starts it.
#[cfg(feature = "cli")]
fn daemon(wrapper: &[&str], directory: &str) -> common::process::Process {
    let mut command = std::process::Command::new(wrapper[0]);
    command.args(&wrapper[1..]).env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.args([
        common::process::WHARFD,
        "--print-port",
        "--listen",
        "127.0.0.1:0",
    ]);
    command.args(["--anonymous-rights", "read-write", directory]);
    common::process::Process::start(&mut command)
}

#[cfg(feature = "cli")]
fn guest(server: std::net::SocketAddr) -> Client {
    let mut client = Client::greeted(server);
    client.login("anonymous", "x");
    client.expect("TYPE I", 200);
    client
}

#[test]
#[cfg(feature = "cli")]
fn a_full_disk_is_452_and_the_session_goes_on() {
    let directory = TempDir::new("full");
    let path = directory.path().to_str().unwrap();
    // A file system of 1 MiB that only the daemon sees.
    let script = format!("mount -t tmpfs -o size=1m tmpfs '{path}' && exec \"$@\"");
    let wrapper = ["unshare", "-m", "sh", "-c", &script, "sh"];
    let possible = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", &format!("mount -t tmpfs tmpfs '{path}'")])
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !possible {
        eprintln!("SKIP a full disk: mounting needs root");
        return;
    }
    let daemon = daemon(&wrapper, path);
    let mut client = guest(daemon.address());
    let free: u64 = client.expect("AVBL", 213).text().parse().unwrap();
    assert!(free <= 1 << 20);
    client.expect(&format!("ALLO {}", 2 << 20), 452);
    client.expect("ALLO 1000", 200);
    for line in ["STOR big", "APPE big2", "STOU big3"] {
        let mut data = client.data();
        client.expect(line, 150);
        // The server may close before all is sent.
        let _ = std::io::Write::write_all(&mut data.0, &vec![1; 3 << 20]);
        drop(data);
        client.wait_for(452);
        client.expect("NOOP", 200);
        let names = String::from_utf8(client.fetch("NLST")).unwrap();
        for name in names.lines() {
            client.expect(&format!("DELE {name}"), 250);
        }
    }
    assert_eq!(client.store("STOR small", b"fits").code, 226);
    assert_eq!(client.fetch("RETR small"), b"fits");
}

#[test]
#[cfg(feature = "cli")]
fn a_file_past_the_largest_size_is_552_and_the_server_lives() {
    let directory = TempDir::new("fsize");
    let path = directory.path().to_str().unwrap();
    let wrapper = ["sh", "-c", "ulimit -f 100 && exec \"$@\"", "sh"];
    let daemon = daemon(&wrapper, path);
    let mut client = guest(daemon.address());
    let mut data = client.data();
    client.expect("STOR big", 150);
    let _ = std::io::Write::write_all(&mut data.0, &vec![1; 3 << 20]);
    drop(data);
    client.wait_for(552);
    assert_eq!(client.store("STOR small", b"fits").code, 226);
    guest(daemon.address());
}

/// Many devices say no TYPE, and TYPE A is what that means.
#[cfg(feature = "cli")]
#[test]
fn a_picture_that_ascii_changes_is_warned_of_once_a_session() {
    let directory = TempDir::new("ascii");
    let users = directory.join("users");
    common::process::add_user(
        &users,
        "cam",
        directory.path(),
        &["--rights", "upload-only"],
    );
    let server = common::process::Process::for_users(&users, &[]);
    for session in 1..=2 {
        let mut client = Client::greeted(server.address());
        client.login("cam", "secret");
        let text = client.store(&format!("STOR text{session}"), b"one\r\n");
        assert!(text.text().contains("converted"), "{text:?}");
        assert_eq!(server.log.text().matches("WARN").count(), session - 1);
        for name in ["a", "b"] {
            let line = format!("STOR {name}{session}.jpg");
            assert_eq!(client.store(&line, b"\xff\xd8\0\r\n").code, 226);
        }
        client.expect("QUIT", 221);
        server.log.wait_for(&format!("session {session}: ended"));
        let warned = server.log.text();
        let warned: Vec<&str> = warned
            .lines()
            .filter(|line| line.contains("WARN"))
            .collect();
        assert_eq!(warned.len(), session, "{warned:?}");
        assert!(warned[session - 1].contains("TYPE A"), "{warned:?}");
    }
}
