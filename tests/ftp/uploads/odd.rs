//! Odd file systems: files that hide their size, disks that do not know how
//! much room they have, and times that they can't hold.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::common::server;
use wharf::Result;
use wharf::storage::{
    Attributes, Directory, File, FileSystem, Follow, MemoryFs, Metadata, OpenOptions, Space,
    VirtualPath,
};

/// Memory that holds even seconds and knows nothing of its room, as FAT and
/// FUSE do.
struct Odd(MemoryFs);

impl FileSystem for Odd {
    fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata> {
        let mut metadata = self.0.metadata(path, follow)?;
        let since = metadata.modified.duration_since(UNIX_EPOCH).unwrap();
        metadata.modified = UNIX_EPOCH + Duration::from_secs(since.as_secs() & !1);
        Ok(metadata)
    }
    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        self.0.open(path, options)
    }
    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        self.0.read_dir(path)
    }
    fn set_attributes(&self, path: &VirtualPath, to: &Attributes, follow: Follow) -> Result<()> {
        self.0.set_attributes(path, to, follow)
    }
    fn space(&self, _: &VirtualPath) -> Result<Space> {
        Ok(Space::default())
    }
}

#[test]
fn files_that_hide_their_size_are_sent_to_their_end() {
    let server = server().directory(Path::new("/proc")).start();
    let mut client = server.ann();
    let version = std::fs::read("/proc/version").unwrap();
    client.expect("SIZE version", 213);
    assert_eq!(client.fetch("RETR version"), version);
    client.expect("REST 0", 350);
    assert_eq!(client.fetch("RETR version"), version);
    let crc = client.expect("XCRC version", 250).text().to_owned();
    assert_ne!(crc, "00000000");
    let hash = client.expect("HASH version", 213).text().to_owned();
    assert!(hash.contains(&format!(" 0-{} ", version.len())), "{hash}");
    client.expect("TYPE A", 200);
    let lines = client.fetch("RETR version");
    assert_eq!(lines, [&version[..version.len() - 1], b"\r\n"].concat());
}

/// A failed read is told, also where the size says that there is nothing.
#[test]
fn what_can_not_be_read_is_not_empty() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("SKIP: a file of size 0 that can't be read needs root");
    }
    let server = server().directory(Path::new("/proc")).start();
    let mut client = server.ann();
    // Nothing is mapped at the beginning of a process's memory.
    client.epsv();
    client.expect("RETR self/mem", 451);
    client.expect("HASH self/mem", 451);
    client.expect("NOOP", 200);
}

#[test]
fn a_disk_that_does_not_know_its_room_is_not_full() {
    for quota in [0, 1000] {
        let server = server()
            .files(Arc::new(Odd(MemoryFs::new())))
            .user("ann", "secret", "read-write")
            .limits(|limits| limits.quota_bytes = Some(quota))
            .start();
        let mut client = server.ann();
        client.expect("ALLO 1000", 200);
        let left = client.expect("AVBL", 213).text().to_owned();
        let most = if quota == 0 { i64::MAX } else { 1000 };
        assert_eq!(left, most.to_string());
        client.expect("ALLO 1001", if quota == 0 { 200 } else { 452 });
    }
}

#[test]
fn mfmt_answers_the_time_that_the_disk_holds() {
    let server = server().files(Arc::new(Odd(MemoryFs::new()))).start();
    let mut client = server.ann();
    assert_eq!(client.store("STOR f", b"x").code, 226);
    for (wished, held) in [
        ("20260101000000", "20260101000000"),
        ("20260101000001", "20260101000000"),
        ("20260101000002.5", "20260101000002.5"),
    ] {
        let reply = client.expect(&format!("MFMT {wished} f"), 213);
        assert_eq!(reply.text(), format!("Modify={held}; f"));
    }
}
