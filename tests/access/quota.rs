//! Quotas of a user: no way to use more, and none counted that is not used.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::common;

use common::{TempDir, packets, server, until};
use wharf::Result;
use wharf::storage::{
    Directory, File, FileSystem, Follow, MemoryFs, Metadata, OpenOptions, VirtualPath,
};

#[test]
fn attack_23_no_way_leads_past_a_quota() {
    for atomic in ["no", "yes"] {
        let running = server()
            .user("ann", "secret", "elradfmwMT")
            .limits(|limits| {
                limits.quota_bytes = Some(1000);
                limits.quota_files = Some(3);
            })
            .set("atomic-uploads", atomic)
            .start();
        let mut client = running.login("ann", "secret");
        let mut other = running.login("ann", "secret");
        client.expect("TYPE I", 200);
        other.expect("TYPE I", 200);
        let quota = |client: &mut common::Client, text: &str| {
            let reply = client.expect("SITE QUOTA", 200);
            assert_eq!(reply.text(), text, "atomic-uploads {atomic}");
        };
        quota(&mut client, "0 bytes of 1000, 0 files of 3.");
        assert_eq!(client.store("STOR a", &[1; 600]).code, 226);
        // Both sessions count together.
        quota(&mut other, "600 bytes of 1000, 1 files of 3.");
        assert_eq!(other.store("APPE a", &[1; 300]).code, 226);
        client.expect("REST 800", 350);
        assert_eq!(client.store("STOR a", &[1; 200]).code, 226);
        quota(&mut client, "1000 bytes of 1000, 1 files of 3.");
        assert_eq!(client.store("APPE a", &[1; 1]).code, 552);
        client.expect("DELE a", 250);
        quota(&mut client, "0 bytes of 1000, 0 files of 3.");
        for name in ["a", "b", "c"] {
            assert_eq!(client.store(&format!("STOR {name}"), &[1; 10]).code, 226);
        }
        client.data();
        client.expect("STOR d", 552);
        client.expect("RNFR a", 350);
        client.expect("RNTO b", 250);
        quota(&mut client, "20 bytes of 1000, 2 files of 3.");
        // What is too much at once leaves nothing that is not counted.
        let code = client.store("STOR a", &vec![1; 100_000]).code;
        assert!(code == 552 || code == 426, "{code}");
        client.cmd("DELE a");
        quota(&mut client, "20 bytes of 1000, 2 files of 3.");
    }
}

#[test]
fn without_a_quota_none_is_shown() {
    let running = server().start();
    let mut client = running.login("ann", "secret");
    assert_eq!(
        client.expect("SITE QUOTA", 200).text(),
        "There is no quota."
    );
}

/// Users who have one home share its quota, under whatever path it is.
#[test]
fn a_home_of_several_users_is_counted_once() {
    let place = TempDir::new("shared-home");
    std::fs::create_dir(place.join("home")).unwrap();
    std::os::unix::fs::symlink("home", place.join("other")).unwrap();
    let home = |name: &str| {
        let files = wharf::storage::LocalFs::open(place.join(name)).unwrap();
        Arc::new(files) as Arc<dyn FileSystem>
    };
    let running = server()
        .set("quota-bytes", "1000")
        .user("ann", "secret", "read-write")
        .home(home("home"))
        .user("bob", "secret", "read-write")
        .home(home("other"))
        .start();
    let (mut ann, mut bob) = (running.ann(), running.login("bob", "secret"));
    let quota = |client: &mut common::Client, text: &str| {
        let reply = client.expect("SITE QUOTA", 200);
        assert_eq!(reply.text(), text);
    };
    assert_eq!(ann.store("STOR f", &[1; 600]).code, 226);
    assert_eq!(bob.store("STOR g", &[1; 600]).code, 552);
    bob.expect("DELE g", 250);
    for client in [&mut ann, &mut bob] {
        quota(client, "600 bytes of 1000, 1 files of no limit.");
    }
    // What the other one deletes while it grows is given back at its end.
    let mut data = ann.data();
    ann.expect("STOR f", 150);
    data.send(&[1; 300]);
    until("the bytes", || {
        place.join("home/f").metadata().unwrap().len() == 300
    });
    bob.expect("DELE f", 250);
    drop(data);
    ann.wait_for(451);
    for client in [&mut ann, &mut bob] {
        quota(client, "0 bytes of 1000, 0 files of no limit.");
    }
}

/// A directory that its owner could not read would not be counted at the next
/// login, nor what is in it.
#[test]
fn attack_23_nothing_hides_from_a_count() {
    use std::os::unix::fs::PermissionsExt;

    let place = TempDir::new("hidden");
    let running = server()
        .directory(place.path())
        .user("ann", "secret", "elradfmwMT")
        .limits(|limits| limits.quota_bytes = Some(1000))
        .start();
    let mode = |name: &str| {
        let metadata = std::fs::metadata(place.join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    let mut client = running.ann();
    client.expect("MKD d", 257);
    for (wished, is) in [("333", 0o733), ("0", 0o500), ("750", 0o750)] {
        client.expect(&format!("SITE CHMOD {wished} d"), 200);
        assert_eq!(mode("d"), is, "{wished}");
    }
    assert_eq!(client.store("STOR d/f", b"x").code, 226);
    client.expect("SITE CHMOD 0 d/f", 200);
    assert_eq!(mode("d/f"), 0);
    let services = running.running().services();
    let mut sftp = packets::Client::beside(services, "ann", "secret");
    let made = packets::Body::new().string("e").u32(4).u32(0o300);
    assert_eq!(sftp.status(packets::MKDIR, made), packets::OK);
    sftp.end().unwrap();
    assert_eq!(mode("e") & 0o500, 0o500);
}

/// What of a home hangs.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Hangs {
    Nothing,
    Directories,
    Everything,
}

/// A home on a disk that answers when it is let.
struct Slow {
    files: MemoryFs,
    hangs: Mutex<Hangs>,
    waiting: Mutex<usize>,
    changed: Condvar,
}

impl Slow {
    fn set(&self, hangs: Hangs) {
        *self.hangs.lock().unwrap() = hangs;
        self.changed.notify_all();
    }

    fn wait(&self, passes: impl Fn(Hangs) -> bool) {
        *self.waiting.lock().unwrap() += 1;
        let hangs = self.hangs.lock().unwrap();
        let limit = Duration::from_secs(60);
        let waited = self
            .changed
            .wait_timeout_while(hangs, limit, |hangs| !passes(*hangs));
        assert!(!waited.unwrap().1.timed_out(), "nobody lets it go on");
        *self.waiting.lock().unwrap() -= 1;
    }

    fn waits(&self) -> bool {
        *self.waiting.lock().unwrap() > 0
    }
}

impl FileSystem for Slow {
    fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata> {
        self.wait(|hangs| hangs != Hangs::Everything);
        self.files.metadata(path, follow)
    }
    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        self.wait(|hangs| hangs != Hangs::Everything);
        self.files.open(path, options)
    }
    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        self.wait(|hangs| hangs == Hangs::Nothing);
        self.files.read_dir(path)
    }
}

/// The files of a home that hangs are not counted yet. Its user logs in, reads
/// and is refused what would change the count; nobody else notices.
#[test]
fn a_home_that_hangs_delays_no_other_login() {
    let slow = Arc::new(Slow {
        files: MemoryFs::new(),
        hangs: Mutex::new(Hangs::Directories),
        waiting: Mutex::new(0),
        changed: Condvar::new(),
    });
    common::put_file(&slow.files, b"f", &[1; 600]);
    let limit = |limits: &mut wharf::auth::UserLimits| limits.quota_bytes = Some(1000);
    let running = server()
        .user("ann", "secret", "read-write")
        .limits(limit)
        .home(Arc::clone(&slow) as Arc<dyn FileSystem>)
        .user("bob", "secret", "read-write")
        .limits(limit)
        .start();
    let others_are_served = |name: &str| {
        let mut bob = running.login("bob", "secret");
        assert_eq!(bob.store(&format!("STOR {name}"), b"x").code, 226);
        assert_eq!(bob.fetch(&format!("RETR {name}")), b"x");
        bob.expect(&format!("DELE {name}"), 250);
        let quota = bob.expect("SITE QUOTA", 200).text().to_owned();
        assert_eq!(quota, "0 bytes of 1000, 0 files of no limit.");
        bob.expect("QUIT", 221);
    };
    let mut first = running.ann();
    assert!(slow.waits(), "the files are being counted");
    others_are_served("beside a count");
    // Another session of the same user does not count again, nor for ever wait.
    let mut second = running.ann();
    for client in [&mut first, &mut second] {
        let quota = client.expect("SITE QUOTA", 200).text().to_owned();
        assert_eq!(quota, "The files are being counted.");
        assert_eq!(client.fetch("RETR f"), [1; 600]);
        client.epsv();
        client.expect("STOR g", 450);
        client.expect("DELE f", 450);
    }
    slow.set(Hangs::Everything);
    first.send("SIZE f");
    until("a command hangs, too", || {
        *slow.waiting.lock().unwrap() == 2
    });
    others_are_served("beside a hung home");
    slow.set(Hangs::Nothing);
    first.wait_for(213);
    until("the files are counted", || {
        let quota = second.expect("SITE QUOTA", 200).text().to_owned();
        quota == "600 bytes of 1000, 1 files of no limit."
    });
    assert_eq!(second.store("STOR g", &[1; 401]).code, 552);
    slow.set(Hangs::Directories);
    others_are_served("afterwards");
    slow.set(Hangs::Nothing);
}
