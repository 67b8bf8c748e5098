//! Faults that the machine makes: the daemon on a full disk, without
//! descriptors, on a disk that becomes read-only, under a largest size of a
//! file, and killed.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::common::client::Client;
use super::common::rng::Rng;
use super::common::{TempDir, until};
use super::daemon::{Daemon, names, on_small_disk, unmount};
use super::packets;

#[test]
fn full_disk() {
    let Some(place) = on_small_disk("faults::machine::full_disk") else {
        return;
    };
    let disk = place.join("disk");
    for atomic in [false, true] {
        let switches: &[&str] = if atomic { &["--atomic-uploads"] } else { &[] };
        let daemon = Daemon::start(&place, &disk, "", switches);
        let mut client = daemon.ann();
        assert_eq!(client.store("STOR old", &[1; 300_000]).code, 226);
        for size in [1_500_000, 9_000_000] {
            let mut data = client.data();
            client.expect("STOR large", 150);
            // The server stops to read when the disk is full.
            let _ = std::io::Write::write_all(&mut data.0, &vec![2; size]);
            drop(data);
            client.wait_for(452);
            client.expect("NOOP", 200);
            if atomic {
                assert_eq!(names(&disk), ["old"]);
            } else {
                client.expect("DELE large", 250);
            }
        }
        // Restarts and appends are told, too.
        let mut data = client.data();
        client.expect("APPE old", 150);
        let _ = std::io::Write::write_all(&mut data.0, &vec![2; 1_500_000]);
        drop(data);
        client.wait_for(452);
        client.expect("ALLO 2000000", 452);
        client.expect("DELE old", 250);
        assert_eq!(client.store("STOR old", b"x").code, 226);
        client.expect("DELE old", 250);
        assert_eq!(names(&disk), [""; 0]);
    }
    unmount(&place);
}

#[test]
fn read_only_remount() {
    let Some(place) = on_small_disk("faults::machine::read_only_remount") else {
        return;
    };
    let disk = place.join("disk");
    std::fs::write(disk.join("old"), "old contents").unwrap();
    let daemon = Daemon::start(&place, &disk, "", &["--atomic-uploads"]);
    let mut client = daemon.ann();
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&disk)
        .status();
    assert!(remounted.unwrap().success());
    for line in [
        "MKD d",
        "DELE old",
        "MFMT 20200101000000 old",
        "SITE CHMOD 600 old",
    ] {
        client.expect(line, 550);
    }
    for line in ["STOR old", "STOR new", "APPE old", "STOU"] {
        client.epsv();
        client.expect(line, 550);
    }
    client.expect("RNFR old", 350);
    client.expect("RNTO new", 550);
    assert_eq!(client.fetch("RETR old"), b"old contents");
    drop(daemon);
    unmount(&place);
}

/// A second file system inside the home: files are moved to it by a copy, over
/// both protocols; directories are not, and the reply says why.
#[test]
fn a_second_file_system() {
    let Some(place) = on_small_disk("faults::machine::a_second_file_system") else {
        return;
    };
    let disk = place.join("disk");
    let second = disk.join("second");
    std::fs::create_dir_all(disk.join("directory")).unwrap();
    std::fs::create_dir(&second).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "none"])
        .arg(&second)
        .status();
    assert!(mounted.unwrap().success());
    for name in ["by-ftp", "by-sftp"] {
        std::fs::write(disk.join(name), name).unwrap();
    }
    let daemon = Daemon::start(&place, &disk, "", &[]);
    let mut client = daemon.ann();
    client.expect("RNFR by-ftp", 350);
    client.expect("RNTO second/by-ftp", 250);
    client.expect("RNFR directory", 350);
    let reply = client.expect("RNTO second/directory", 550);
    assert!(reply.text().contains("different file systems"), "{reply:?}");
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let theirs = std::os::fd::OwnedFd::from(theirs);
    let mut server = Command::new(env!("CARGO_BIN_EXE_wharfd"))
        .args(["--sftp-server", "-d"])
        .arg(&disk)
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs)
        .spawn()
        .unwrap();
    let mut sftp = packets::Client::of_stream(ours);
    sftp.greet();
    let rename = |from: &str, to: &str| packets::Body::new().string(from).string(to);
    let moved = rename("by-sftp", "second/by-sftp");
    assert_eq!(sftp.status(packets::RENAME, moved), packets::OK);
    let refused = rename("directory", "second/directory");
    assert_eq!(sftp.status(packets::RENAME, refused), packets::FAILURE);
    sftp.end().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(names(&second), ["by-ftp", "by-sftp"]);
    assert_eq!(names(&disk), ["directory", "second"]);
    assert_eq!(std::fs::read(second.join("by-sftp")).unwrap(), b"by-sftp");
    drop(daemon);
    unmount(&place);
}

/// RLIMIT_FSIZE comes with a signal that would end the daemon.
#[test]
fn largest_size() {
    for switches in [&[][..], &["--atomic-uploads"]] {
        let place = TempDir::new("largest");
        let root = place.join("root");
        std::fs::create_dir(&root).unwrap();
        // In blocks of 512 bytes: 50,000 bytes and some.
        let daemon = Daemon::start(&place, &root, "ulimit -f 100", switches);
        let mut client = daemon.ann();
        assert_eq!(client.store("STOR small", &[1; 40_000]).code, 226);
        for size in [100_000, 5_000_000] {
            let mut data = client.data();
            client.expect("STOR large", 150);
            let _ = std::io::Write::write_all(&mut data.0, &vec![2; size]);
            drop(data);
            client.wait_for(552);
            client.expect("NOOP", 200);
        }
        assert_eq!(client.fetch("RETR small").len(), 40_000);
        if !switches.is_empty() {
            assert_eq!(names(&root), ["small"]);
        }
    }
}

/// Every descriptor in use: who is there goes on, who comes waits or is sent
/// away, and when some are free again all is as before.
#[test]
fn no_descriptors() {
    let place = TempDir::new("descriptors");
    let root = place.join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("f"), "contents").unwrap();
    let daemon = Daemon::start(&place, &root, "", &[]);
    let mut client = daemon.ann();
    let descriptors = || {
        let directory = format!("/proc/{}/fd", daemon.child.id());
        std::fs::read_dir(directory).unwrap().count()
    };
    // Below what the daemon makes sure of when it starts; of these it keeps 32
    // for those who are there.
    let most = descriptors() + 44;
    let limit = rustix::process::Rlimit {
        current: Some(most as u64),
        maximum: Some(most as u64),
    };
    let process = rustix::process::Pid::from_raw(daemon.child.id() as i32);
    rustix::process::prlimit(process, rustix::process::Resource::Nofile, limit).unwrap();
    let waiting: Vec<Client> = (0..40).map(|_| Client::connect(daemon.address)).collect();
    until("no more are let in", || descriptors() + 33 >= most);
    for line in ["PASV", "MLST f", "STAT /", "SIZE f"] {
        let reply = client.cmd(line);
        assert!(reply.code < 400, "{line}: {:?}", reply.lines);
    }
    assert_eq!(client.fetch("RETR f"), b"contents");
    assert_eq!(client.store("STOR g", b"more").code, 226);
    client.expect("NOOP", 200);
    drop(waiting);
    until("they are free again", || descriptors() + 40 < most);
    assert_eq!(client.fetch("RETR f"), b"contents");
    assert_eq!(daemon.ann().fetch("RETR f"), b"contents");
}

/// SIGKILL in the middle of uploads, again and again. What was answered 226
/// is whole, no name has half a file, and the rest is swept up a day later.
#[test]
fn killed_uploads() {
    let place = TempDir::new("killed");
    let root = place.join("root");
    std::fs::create_dir(&root).unwrap();
    let mut rng = Rng::new();
    let mut leftovers = 0;
    for round in 0..12 {
        let switches = ["--atomic-uploads", "--fsync-uploads"];
        let mut daemon = Daemon::start(&place, &root, "", &switches);
        let address = daemon.address;
        let uploads: Vec<_> = (0..3u8)
            .map(|client| std::thread::spawn(move || upload_until_it_ends(address, round, client)))
            .collect();
        std::thread::sleep(Duration::from_millis(30 + rng.below(120) as u64));
        daemon.kill();
        for upload in uploads {
            for (name, size) in upload.join().unwrap() {
                let content = std::fs::read(root.join(&name)).unwrap();
                assert_eq!(content.len(), size, "{name} was answered 226");
            }
        }
        for name in names(&root) {
            let content = std::fs::read(root.join(&name)).unwrap();
            if name.starts_with(".wharf-upload-") {
                leftovers += 1;
                continue;
            }
            let first = content.first().copied().unwrap_or_default();
            assert!(content.iter().all(|byte| *byte == first), "{name}");
            let size: usize = name.rsplit('-').next().unwrap().parse().unwrap();
            assert_eq!(content.len(), size, "{name} has half a file");
            std::fs::remove_file(root.join(name)).unwrap();
        }
    }
    assert!(leftovers > 0, "no upload was ever cut off");
    // Fresh ones stay, old ones go, and nothing else does.
    let old = SystemTime::now() - Duration::from_secs(2 * 86_400);
    let mut rest = names(&root);
    std::fs::write(root.join(".wharf-uploads"), "another's").unwrap();
    std::fs::write(root.join(".wharf-upload-1-1-0-0000"), "fresh").unwrap();
    rest.push(".wharf-uploads".into());
    for name in rest {
        let file = std::fs::File::options().write(true).open(root.join(name));
        file.unwrap().set_modified(old).unwrap();
    }
    let daemon = Daemon::start(&place, &root, "", &["--atomic-uploads"]);
    let mut client = daemon.ann();
    assert_eq!(client.store("STOR new", b"x").code, 226);
    assert_eq!(
        names(&root),
        [".wharf-upload-1-1-0-0000", ".wharf-uploads", "new"]
    );
}

/// Without atomic uploads, what a killed server had of an upload is there, and
/// REST or APPE goes on behind it.
#[test]
fn killed_uploads_are_continued() {
    let place = TempDir::new("continued");
    let root = place.join("root");
    std::fs::create_dir(&root).unwrap();
    let content: Vec<u8> = (0..3_000_000u32)
        .map(|number| (number >> 8) as u8)
        .collect();
    for verb in ["STOR", "APPE"] {
        let mut daemon = Daemon::start(&place, &root, "", &[]);
        let mut client = daemon.ann();
        let mut data = client.data();
        client.expect("STOR file", 150);
        data.send(&content[..1_000_000]);
        let size = || std::fs::metadata(root.join("file")).map_or(0, |found| found.len());
        until("some of it is on the disk", || size() > 100_000);
        daemon.kill();
        let daemon = Daemon::start(&place, &root, "", &[]);
        let mut client = daemon.ann();
        let reply = client.expect("SIZE file", 213);
        let there: usize = reply.text().parse().unwrap();
        assert!(there > 100_000 && there <= 1_000_000, "{there}");
        if verb == "STOR" {
            client.expect(&format!("REST {there}"), 350);
        }
        let rest = &content[there..];
        assert_eq!(client.store(&format!("{verb} file"), rest).code, 226);
        assert!(std::fs::read(root.join("file")).unwrap() == content);
        client.expect("DELE file", 250);
    }
}

/// Uploads files whose name ends with their size; yields those answered 226.
pub fn upload_until_it_ends(address: SocketAddr, round: u32, client: u8) -> Vec<(String, usize)> {
    let mut done = Vec::new();
    // Whatever breaks is the server's end.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut connection = Client::greeted(address);
        connection.login("ann", "secret");
        connection.expect("TYPE I", 200);
        for number in 0u32.. {
            let size = [1, 70_000, 3_000_000][number as usize % 3];
            let name = format!("{round}-{client}-{number}-{size}");
            let reply = connection.store(&format!("STOR {name}"), &vec![client + 1; size]);
            if reply.code == 226 {
                done.push((name, size));
            }
        }
    }));
    done
}
