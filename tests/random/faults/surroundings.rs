//! What changes around a daemon that runs: its disk loses power or goes away,
//! no thread can be started, the clock jumps.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::common::TempDir;
use super::common::client::Client;
use super::common::process::has;
use super::common::rng::Rng;
use super::daemon::{Daemon, in_a_namespace, mount, names, on_small_disk, unmount};
use super::machine::upload_until_it_ends;

/// EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: from now on nothing
/// reaches the device, and everything is EIO.
fn cut_power(disk: &Path) {
    const SHUTDOWN: libc::c_ulong = 0x8004_587d;
    let directory = std::fs::File::open(disk).unwrap();
    let flag: u32 = 2;
    // SAFETY: the request reads 32 bits behind the pointer, which outlives it.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), SHUTDOWN as _, &raw const flag) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn umount(place: &TempDir) {
    let status = Command::new("umount").arg(place.join("disk")).status();
    assert!(status.unwrap().success());
}

/// The disk's power goes in the middle of uploads. While the daemon runs on
/// without its disk there is one reply to everything and no success; after
/// the reboot, what was answered 226 is whole.
#[test]
fn power_cut() {
    let Some(place) = in_a_namespace("faults::surroundings::power_cut") else {
        return;
    };
    let image = place.join("image");
    let image = image.to_str().unwrap();
    let file = std::fs::File::create(image).unwrap();
    file.set_len(48 << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F", image]).status();
    let loops = ["-o", "loop", image];
    if !made.is_ok_and(|status| status.success()) || !mount(&place, &loops) {
        eprintln!("SKIP power_cut: no ext4 on a loop device here");
        return;
    }
    let root = place.join("disk/root");
    std::fs::create_dir(&root).unwrap();
    // What the test itself has made is not what is tried.
    let disk = std::fs::File::open(place.join("disk")).unwrap();
    disk.sync_all().unwrap();
    drop(disk);
    let mut rng = Rng::new();
    let mut acknowledged = 0;
    for round in 0..6 {
        let switches: &[&str] = match round % 2 {
            0 => &["--fsync-uploads", "--atomic-uploads"],
            _ => &["--fsync-uploads"],
        };
        let mut daemon = Daemon::start(&place, &root, "", switches);
        let address = daemon.address;
        let mut witness = daemon.ann();
        let uploads: Vec<_> = (0..3u8)
            .map(|client| std::thread::spawn(move || upload_until_it_ends(address, round, client)))
            .collect();
        // Each of the three has at most one that is not acknowledged.
        let some = 4 + rng.below(6);
        super::common::until("uploads", || names(&root).len() >= some);
        std::thread::sleep(Duration::from_millis(rng.below(20) as u64));
        cut_power(&place.join("disk"));
        for line in [
            "MKD d", "DELE x", "SIZE x", "RNFR x", "MLST", "STAT /", "AVBL",
        ] {
            witness.cmd(line);
            witness.expect("NOOP", 200);
        }
        for line in ["STOR after", "STOU", "APPE after"] {
            let mut data = witness.data();
            let mut reply = witness.cmd(line);
            if reply.code == 150 {
                let _ = std::io::Write::write_all(&mut data.0, b"content");
                drop(data);
                reply = witness.reply();
            }
            assert!(reply.code >= 400, "{line}: {:?}", reply.lines);
        }
        witness.expect("NOOP", 200);
        daemon.kill();
        let uploads: Vec<_> = uploads
            .into_iter()
            .map(|upload| upload.join().unwrap())
            .collect();
        umount(&place);
        assert!(mount(&place, &loops), "after the power cut");
        for (client, done) in uploads.iter().enumerate() {
            for (name, size) in done {
                acknowledged += 1;
                let content = std::fs::read(root.join(name));
                let content = content.unwrap_or_else(|error| panic!("{name}: {error}"));
                let whole = content.len() == *size
                    && content.iter().all(|byte| usize::from(*byte) == client + 1);
                assert!(whole, "{name} was answered 226");
            }
        }
        let done: Vec<&String> = uploads.iter().flatten().map(|(name, _)| name).collect();
        for name in names(&root) {
            // With atomic uploads even what was not acknowledged is whole.
            if round % 2 == 0 && !name.starts_with(".wharf-upload-") && !done.contains(&&name) {
                let size: u64 = name.rsplit('-').next().unwrap().parse().unwrap();
                let found = std::fs::metadata(root.join(&name)).unwrap().len();
                assert_eq!(found, size, "{name} has half a file");
            }
            std::fs::remove_file(root.join(name)).unwrap();
        }
    }
    assert!(acknowledged > 0, "no upload was ever acknowledged");
    eprintln!("power_cut: {acknowledged} acknowledged uploads were whole after 6 cuts");
    umount(&place);
}

/// An administrator takes the file system away under the sessions, and brings
/// another one.
#[test]
fn disk_goes_away() {
    let Some(place) = on_small_disk("faults::surroundings::disk_goes_away") else {
        return;
    };
    let disk = place.join("disk");
    std::fs::write(disk.join("old"), "old contents").unwrap();
    let daemon = Daemon::start(&place, &disk, "", &["--atomic-uploads"]);
    let mut client = daemon.ann();
    let mut data = client.data();
    client.expect("STOR new", 150);
    data.send(b"half");
    unmount(&place);
    // Who had it has it: the kernel keeps it until the last one has gone.
    data.send(b" and half");
    drop(data);
    client.wait_for(226);
    assert_eq!(client.fetch("RETR new"), b"half and half");
    assert_eq!(client.fetch("RETR old"), b"old contents");
    // Who comes now sees what is there now, which is an empty directory.
    let mut late = daemon.ann();
    assert_eq!(late.fetch("NLST"), b"");
    late.expect("SIZE old", 550);
    late.expect("QUIT", 221);
    std::fs::remove_dir(&disk).unwrap();
    let mut later = Client::greeted(daemon.address);
    later.expect("USER ann", 331);
    // Without a home there is no login, or one in which nothing is found.
    if later.cmd("PASS secret").code == 230 {
        later.expect("SIZE old", 550);
        later.expect("MKD d", 550);
        later.expect("NOOP", 200);
    }
    assert!(mount(&place, &["-t", "tmpfs", "-o", "size=1m", "none"]));
    let mut last = daemon.ann();
    assert_eq!(last.store("STOR newest", b"x").code, 226);
    assert_eq!(names(&disk), ["newest"]);
    assert_eq!(client.fetch("RETR old"), b"old contents");
    client.expect("QUIT", 221);
    drop(daemon);
    unmount(&place);
}

/// RLIMIT_NPROC is reached: who is served goes on, who comes is told, and when
/// there is room again all is as before.
#[test]
fn no_threads() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!(
            "SKIP no_threads: the limit does not bind root, and only root can become another"
        );
    }
    if !has("setpriv") || !has("prlimit") {
        return;
    }
    let place = TempDir::new("threads");
    let root = place.join("root");
    std::fs::create_dir(&root).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&root, open).unwrap();
    // A user number that nobody else on the machine has threads with.
    let number = (60_000 + std::process::id() % 5000).to_string();
    let before = format!("chown {number} '{}'", place.join("users").display());
    let user = format!("{number}:{number}");
    let daemon = Daemon::start(&place, &root, &before, &["--user", &user]);
    let threads = || {
        let tasks = format!("/proc/{}/task", daemon.child.id());
        std::fs::read_dir(tasks).unwrap().count()
    };
    // Not by prlimit(2) of ours: for another user's process it needs a
    // capability that root in a container may not have.
    let limit = |most: &str| {
        let status = Command::new("setpriv")
            .args(["--reuid", &number, "--regid", &number, "--clear-groups"])
            .args(["prlimit", "--pid", &daemon.child.id().to_string()])
            .arg(format!("--nproc={most}:"))
            .status();
        assert!(status.unwrap().success());
    };
    let mut first = daemon.ann();
    super::common::until("the thread of the password", || {
        let now = threads();
        std::thread::sleep(Duration::from_millis(50));
        now == threads()
    });
    limit(&threads().to_string());
    // Logins work without a thread for the password.
    first.expect("REIN", 220);
    first.login("ann", "secret");
    for _ in 0..5 {
        let mut refused = Client::connect(daemon.address);
        refused.wait_for(421);
        refused.closed();
    }
    assert_eq!(first.store("STOR f", b"content").code, 226);
    assert_eq!(first.fetch("RETR f"), b"content");
    // The thread of one that goes serves the next one.
    first.expect("QUIT", 221);
    first.closed();
    drop(first);
    let mut second = daemon.ann();
    second.expect("NOOP", 200);
    limit("10000");
    let mut third = daemon.ann();
    assert_eq!(third.fetch("RETR f"), b"content");
    second.expect("NOOP", 200);
}

/// A clock that can be set, below the daemon: no test may set the machine's.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *t) {
    int result = syscall(SYS_clock_gettime, id, t);
    const char *name = getenv("WHARF_TEST_CLOCK");
    if (result == 0 && id == CLOCK_REALTIME && name) {
        char text[32] = {0};
        int file = open(name, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) t->tv_sec += atoll(text);
            close(file);
        }
    }
    return result;
}
"#;

/// The clock jumps by days and years, forwards and back: no session ends, no
/// upload of somebody who is there is swept up as dead, no ban is lifted.
#[test]
fn clock_jumps() {
    let place = TempDir::new("clock");
    let root = place.join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(place.join("clock.c"), CLOCK).unwrap();
    let library = place.join("clock.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(place.join("clock.c"))
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return eprintln!("SKIP clock_jumps: no C compiler");
    }
    let clock = place.join("seconds");
    let jump = |seconds: i64| std::fs::write(&clock, seconds.to_string()).unwrap();
    jump(0);
    let before = format!(
        "export LD_PRELOAD='{}' WHARF_TEST_CLOCK='{}'",
        library.display(),
        clock.display()
    );
    let switches = [
        "--atomic-uploads",
        "--ban-after",
        "3",
        "--ban-seconds",
        "3600",
    ];
    let daemon = Daemon::start(&place, &root, &before, &switches);
    let guesser = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    let mut guesses = Client::connect_from(guesser, daemon.address);
    guesses.wait_for(220);
    for _ in 0..3 {
        guesses.expect("USER ann", 331);
        assert!(matches!(guesses.cmd("PASS guess").code, 421 | 530));
    }
    let mut client = daemon.ann();
    for (number, seconds) in [2 * 86_400, -2 * 86_400, 5000 * 86_400, -5000 * 86_400]
        .into_iter()
        .enumerate()
    {
        jump(0);
        // In a directory of its own: each is swept when it is first used.
        client.expect(&format!("MKD /d{number}"), 257);
        client.expect(&format!("CWD /d{number}"), 250);
        let mut data = client.data();
        client.expect("STOR slow", 150);
        data.send(b"half");
        jump(seconds);
        // The clock the daemon sees has jumped.
        let mut other = daemon.ann();
        other.expect(&format!("CWD /d{number}"), 250);
        assert_eq!(other.store("STOR quick", b"x").code, 226);
        other.fetch("LIST");
        other.fetch("MLSD");
        data.send(b" and half");
        drop(data);
        client.wait_for(226);
        assert_eq!(client.fetch("RETR slow"), b"half and half");
        let directory = root.join(format!("d{number}"));
        assert_eq!(names(&directory), ["quick", "slow"]);
        other.expect("QUIT", 221);
        let mut banned = Client::connect_from(guesser, daemon.address);
        banned.wait_for(421);
    }
    // It was a clock that jumped: an upload of a process that is gone is dead
    // when the clock says so.
    let dead = root.join(".wharf-upload-1-1-0-0000");
    std::fs::write(&dead, "half").unwrap();
    jump(2 * 86_400);
    client.expect("CWD /", 250);
    assert_eq!(client.store("STOR last", b"x").code, 226);
    assert!(!dead.exists());
    client.expect("QUIT", 221);
}
