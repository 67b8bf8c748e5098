//! Rings and retention: the oldest files give way, and nothing else does.

use crate::common;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use common::{Builder, Client, TempDir, server};
use wharf::auth::QuotaFull;
use wharf::events::{Event, Events, Who};
use wharf::storage::{
    Directory, Entry, Existing, File, FileSystem, Follow, LocalFs, Metadata, OpenOptions, Space,
    VirtualPath,
};

/// The paths of deleted files, in order.
#[derive(Default)]
struct Deleted(Mutex<Vec<String>>);

impl Events for Deleted {
    fn event(&self, _: &Who<'_>, event: &Event<'_>) {
        if let Event::Deleted(path) = event {
            self.0.lock().unwrap().push(path.to_string());
        }
    }
}

impl Deleted {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// So many of them, which go in the background.
    fn wait(&self, count: usize) -> Vec<String> {
        common::until("the deletions", || self.0.lock().unwrap().len() >= count);
        self.take()
    }
}

/// A file that was changed so many seconds ago.
fn aged(path: &Path, size: usize, seconds: u64) {
    try_aged(path, size, seconds).unwrap();
}

fn try_aged(path: &Path, size: usize, seconds: u64) -> std::io::Result<()> {
    std::fs::create_dir_all(path.parent().unwrap())?;
    let mut file = std::fs::File::create(path)?;
    std::io::Write::write_all(&mut file, &vec![1; size])?;
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
}

/// A directory whose files are here since their contents were changed: the
/// time of the last change of anything can't be set.
struct Aged(LocalFs);

struct AgedDirectory(Box<dyn Directory>);

fn since_modified(mut metadata: Metadata) -> Metadata {
    metadata.changed = metadata.modified;
    metadata
}

impl FileSystem for Aged {
    fn metadata(&self, path: &VirtualPath, follow: Follow) -> wharf::Result<Metadata> {
        self.0.metadata(path, follow).map(since_modified)
    }
    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> wharf::Result<Box<dyn File>> {
        self.0.open(path, options)
    }
    fn read_dir(&self, path: &VirtualPath) -> wharf::Result<Box<dyn Directory>> {
        let directory = self.0.read_dir(path)?;
        Ok(Box::new(AgedDirectory(directory)))
    }
    fn make_dir(&self, path: &VirtualPath, mode: u32) -> wharf::Result<()> {
        self.0.make_dir(path, mode)
    }
    fn remove_file(&self, path: &VirtualPath) -> wharf::Result<()> {
        self.0.remove_file(path)
    }
    fn remove_dir(&self, path: &VirtualPath) -> wharf::Result<()> {
        self.0.remove_dir(path)
    }
    fn rename(&self, from: &VirtualPath, to: &VirtualPath, how: Existing) -> wharf::Result<()> {
        self.0.rename(from, to, how)
    }
    fn space(&self, path: &VirtualPath) -> wharf::Result<Space> {
        self.0.space(path)
    }
}

impl Directory for AgedDirectory {
    fn next(&mut self, name: &mut Vec<u8>) -> wharf::Result<Option<Entry>> {
        self.0.next(name)
    }
    fn metadata(&self, name: &[u8], follow: Follow) -> wharf::Result<Metadata> {
        self.0.metadata(name, follow).map(since_modified)
    }
    fn read_link(&self, name: &[u8]) -> wharf::Result<Vec<u8>> {
        self.0.read_link(name)
    }
}

fn served(home: &Path) -> Builder {
    server().files(Arc::new(Aged(LocalFs::open(home).unwrap())))
}

/// `cam` with a ring of 1000 bytes in `home`.
fn camera(home: &Path, rights: &str) -> Builder {
    served(home)
        .set("quota-bytes", "1000")
        .set("quota-full", "delete-oldest")
        .user("cam", "secret", rights)
}

#[test]
fn the_oldest_files_make_room_for_the_newest() {
    for atomic in ["no", "yes"] {
        let home = TempDir::new("ring");
        let deleted = Arc::new(Deleted::default());
        aged(&home.join("2026-01-05/1"), 400, 400);
        aged(&home.join("2026-01-06/2"), 300, 300);
        aged(&home.join("2026-01-06/3"), 200, 200);
        let running = camera(home.path(), "upload-only")
            .set("atomic-uploads", atomic)
            .events(Arc::clone(&deleted) as Arc<dyn Events>)
            .start();
        let mut client = running.login("cam", "secret");
        client.expect("MKD wednesday", 257);
        client.expect("CWD wednesday", 250);
        // 900 are in use: the first one goes, and its directory with it.
        assert_eq!(client.store("STOR 4", &[1; 450]).code, 226);
        assert_eq!(deleted.take(), ["/2026-01-05/1"], "atomic-uploads {atomic}");
        assert!(!home.join("2026-01-05").exists());
        assert_eq!(client.store("STOR 5", &[1; 500]).code, 226);
        assert_eq!(deleted.take(), ["/2026-01-06/2", "/2026-01-06/3"]);
        // A whole ring takes everything but itself.
        assert_eq!(client.store("STOR 6", &[1; 1000]).code, 226);
        assert_eq!(deleted.take(), ["/wednesday/4", "/wednesday/5"]);
        assert_eq!(running.names("wednesday"), ["6"]);
        let quota = client.expect("SITE QUOTA", 200);
        assert_eq!(
            quota.text(),
            "1000 bytes of 1000, 1 files of no limit.",
            "atomic-uploads {atomic}"
        );
    }
}

#[test]
fn what_never_fits_is_refused_and_the_ring_stays() {
    let home = TempDir::new("ring");
    aged(&home.join("old"), 900, 100);
    let running = camera(home.path(), "upload-only").start();
    let mut client = running.login("cam", "secret");
    // One segment on this machine, and so one piece for the server.
    assert_eq!(client.store("STOR big", &[1; 1001]).code, 552);
    assert_eq!(running.content("old").unwrap().len(), 900);
    let larger = camera(home.path(), "upload-only")
        .set("quota-bytes", "1M")
        .start();
    let mut client = larger.login("cam", "secret");
    client.expect("ALLO 1048577", 452);
    // What is there gives way.
    client.expect("ALLO 1048576", 200);
}

#[test]
fn a_number_of_files_is_a_ring_too_and_users_differ() {
    let home = TempDir::new("ring");
    let running = camera(home.path(), "upload-only")
        .limits(|limits| {
            limits.quota_bytes = Some(0);
            limits.quota_files = Some(2);
        })
        .user("ann", "secret", "read-write")
        .limits(|limits| limits.quota_full = Some(QuotaFull::Refuse))
        .start();
    let mut client = running.login("cam", "secret");
    for name in ["1", "2", "3", "4"] {
        assert_eq!(client.store(&format!("STOR {name}"), &[1; 600]).code, 226);
    }
    assert_eq!(running.names(""), ["3", "4"]);
    let mut ann = running.login("ann", "secret");
    assert_eq!(ann.store("STOR 5", &[1; 10]).code, 552);
    assert!(running.content("3").is_some());
}

#[test]
fn what_may_not_be_stored_what_is_linked_and_what_is_written_stays() {
    let home = TempDir::new("ring");
    let outside = TempDir::new("outside");
    aged(&outside.join("far"), 900, 1000);
    aged(&outside.join("tree/file"), 900, 1000);
    aged(&home.join("manuals/kept"), 300, 900);
    aged(&home.join(".wharf-upload-1-2-3-4"), 10, 800);
    aged(&home.join("old"), 100, 700);
    symlink(outside.join("far"), home.join("link")).unwrap();
    symlink(outside.join("tree"), home.join("tree")).unwrap();
    symlink("manuals/kept", home.join("inner")).unwrap();
    let running = camera(home.path(), "upload-only")
        .at("manuals", "read-only")
        .start();
    let mut slow = running.login("cam", "secret");
    let mut data = slow.data();
    slow.expect("STOR slow", 150);
    data.send(&[1; 300]);
    running.until("the first bytes", |running| {
        running
            .content("slow")
            .is_some_and(|text| text.len() == 300)
    });
    // It is the oldest now, by its time, and still being written.
    let file = std::fs::File::options()
        .write(true)
        .open(home.join("slow"))
        .unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let mut client = running.login("cam", "secret");
    assert_eq!(client.store("STOR a", &[1; 390]).code, 226);
    assert!(!home.join("old").exists());
    // Nothing is left that may go but the file of just now, which is not enough
    // and so stays.
    assert_eq!(client.store("STOR b", &[1; 395]).code, 552);
    assert_eq!(running.content("a").unwrap().len(), 390);
    data.send(&[1; 50]);
    drop(data);
    slow.wait_for(226);
    assert_eq!(running.content("slow").unwrap().len(), 350);
    for (place, name) in [
        (&home, "manuals/kept"),
        (&home, ".wharf-upload-1-2-3-4"),
        (&home, "link"),
        (&home, "tree"),
        (&home, "inner"),
        (&outside, "far"),
        (&outside, "tree/file"),
    ] {
        assert!(
            std::fs::symlink_metadata(place.join(name)).is_ok(),
            "{name}"
        );
    }
}

/// A directory that turns into a link to elsewhere and back, all the time.
#[test]
fn nothing_outside_is_deleted_while_links_are_swapped() {
    let home = TempDir::new("ring");
    let outside = TempDir::new("outside");
    aged(&outside.join("1"), 500, 100_000);
    let running = camera(home.path(), "read-write").start();
    let (stop, inner) = (Arc::new(AtomicBool::new(false)), home.join("d"));
    let (halt, target) = (Arc::clone(&stop), outside.path().to_path_buf());
    let swapper = std::thread::spawn(move || {
        let away = inner.with_extension("away");
        while !halt.load(Ordering::Relaxed) {
            // The server deletes at any moment, the directory too.
            let _ = try_aged(&inner.join("1"), 500, 100_000);
            let _ = std::fs::rename(&inner, &away);
            let _ = symlink(&target, &inner);
            std::thread::yield_now();
            let _ = std::fs::remove_file(&inner);
            let _ = std::fs::remove_dir_all(&away);
        }
    });
    let mut client = running.login("cam", "secret");
    for number in 0..200 {
        // Full or not: what matters is what is left.
        client.store(&format!("STOR new{}", number % 7), &[1; 700]);
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    assert_eq!(std::fs::read(outside.join("1")).unwrap().len(), 500);
}

#[test]
fn sessions_that_upload_at_once_never_exceed_the_ring() {
    let home = TempDir::new("ring");
    let running = Arc::new(camera(home.path(), "upload-only").start());
    let threads: Vec<_> = (0..4)
        .map(|camera| {
            let running = Arc::clone(&running);
            std::thread::spawn(move || {
                let mut client: Client = running.login("cam", "secret");
                for number in 0..25 {
                    let name = format!("STOR {camera}-{number}");
                    assert_eq!(client.store(&name, &[1; 200]).code, 226);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(running.names("").len(), 5);
    let mut client = running.login("cam", "secret");
    let quota = client.expect("SITE QUOTA", 200);
    assert_eq!(quota.text(), "1000 bytes of 1000, 5 files of no limit.");
}

#[test]
fn old_files_go_at_a_login_and_before_an_upload() {
    let home = TempDir::new("ring");
    let deleted = Arc::new(Deleted::default());
    let day = 86_400;
    aged(&home.join("2026-01-01/a"), 10, 40 * day);
    aged(&home.join("2026-01-02/b"), 10, 31 * day);
    aged(&home.join("2026-01-02/c"), 10, 29 * day);
    aged(&home.join("config/old"), 10, 90 * day);
    aged(&home.join("holiday/d"), 10, 32 * day);
    let running = served(home.path())
        .set("retention", "30d")
        .user("cam", "secret", "upload-only")
        .at("config", "read-only")
        .user("kept", "secret", "read-write")
        .limits(|limits| limits.retention = Some(Duration::ZERO))
        .user("quick", "secret", "read-write")
        .limits(|limits| limits.retention = Some(Duration::from_secs(20 * day)))
        .user("reader", "secret", "read-only")
        .events(Arc::clone(&deleted) as Arc<dyn Events>)
        .start();
    for harmless in ["kept", "reader"] {
        running.login(harmless, "secret");
        assert_eq!(deleted.take(), [""; 0], "{harmless}");
    }
    let mut client = running.login("cam", "secret");
    let gone = ["/2026-01-01/a", "/holiday/d", "/2026-01-02/b"];
    assert_eq!(deleted.wait(3), gone);
    // What cameras make for a day goes, what people make stays.
    common::until("the directory", || !home.join("2026-01-01").exists());
    assert!(home.join("holiday").exists());
    assert_eq!(
        client.expect("SITE QUOTA", 200).text(),
        "There is no quota."
    );
    // The next look is an hour later.
    aged(&home.join("late"), 10, 31 * day);
    assert_eq!(client.store("STOR d", &[1; 10]).code, 226);
    assert_eq!(deleted.take(), [""; 0]);
    running.login("quick", "secret");
    let mut gone = deleted.wait(3);
    gone.sort();
    assert_eq!(gone, ["/2026-01-02/c", "/config/old", "/late"]);
}

/// The time that an upload brings along is not that of its arrival.
#[test]
fn an_upload_with_an_old_time_is_not_old() {
    let home = TempDir::new("ring");
    let running = server()
        .directory(home.path())
        .set("retention", "30d")
        .set("quota-bytes", "1000")
        .set("quota-full", "delete-oldest")
        .start();
    let mut client = running.ann();
    for name in ["first", "second"] {
        assert_eq!(client.store(&format!("STOR {name}"), &[1; 400]).code, 226);
        client.expect(&format!("MFMT 19990101000000 {name}"), 213);
    }
    client.expect("MFMT 19980101000000 second", 213);
    let mut again = running.ann();
    // The ring takes what came first.
    assert_eq!(again.store("STOR third", &[1; 400]).code, 226);
    assert_eq!(running.names("/"), ["second", "third"]);
}

#[test]
fn a_file_grows_too_old_while_the_session_goes_on() {
    let home = TempDir::new("ring");
    let running = server()
        .directory(home.path())
        .set("retention", "1")
        .user("cam", "secret", "upload-only")
        .start();
    let mut client = running.login("cam", "secret");
    assert_eq!(client.store("STOR a", &[1; 10]).code, 226);
    let mut number = 0;
    common::until("the end of the first file", || {
        number += 1;
        let name = format!("STOR b{number}");
        client.store(&name, &[1; 10]).code == 226 && !home.join("a").exists()
    });
}
