//! The same while another process swaps directories for links, and on a file
//! system that does not know cases apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use wharf::storage::{
    Attributes, Directory, Existing, File, FileSystem, Follow, MemoryFs, Metadata, OpenOptions,
    VirtualPath,
};

use crate::common::rng::Rng;
use crate::common::{put_file, server};
use crate::oracle::tree::Tree;
use crate::oracle::{ftp, sftp};

/// Names that lead now here, now there.
const SWAPPED: &[&str] = &[
    "/open/d",
    "/open/d/f",
    "/open/d/new",
    "/open/e",
    "/open/e/f",
    "/open/e/new",
    "/open/f",
    "/open/up",
    "/open/up/f",
    "/open/abs/f",
    "/to-secret/f",
    "/to-secret",
];

/// How long each protocol is tried.
const TIME: Duration = Duration::from_secs(4);

fn swap(top: &std::path::Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for (one, two) in [
            ("open/d", "open/up"),
            ("open/e", "open/abs"),
            ("open/f", "open/file"),
            ("to-secret", "pub/fixed/d"),
        ] {
            let _ = renameat_with(
                CWD,
                top.join(one),
                CWD,
                top.join(two),
                RenameFlags::EXCHANGE,
            );
        }
    }
}

#[test]
fn attack_31_swapped_links_get_around_no_rule() {
    let tree = Tree::new("read-write");
    let server = ftp::server(&tree, "no");
    let mut client = server.ann();
    let mut packets = sftp::start(&tree, false);
    let stop = AtomicBool::new(false);
    let mut rng = Rng::new();
    // What takes names away would end the test soon.
    let takes = [
        "DELE",
        "RMD",
        "RNFR",
        "RNTO",
        "COMB",
        "SYMLINK",
        "SITE RMDIR",
        "RMDA",
        "CDUP",
    ];
    let dialogues: Vec<_> = ftp::COMMANDS
        .iter()
        .filter(|row| !takes.contains(&row.0))
        .flat_map(|row| row.1)
        .filter(|lines| {
            !lines
                .iter()
                .any(|line| line.contains("DELE") || line.contains("SYMLINK"))
        })
        .collect();
    let takes = [
        "remove",
        "rmdir",
        "rename",
        "posix-rename",
        "symlink",
        "hardlink",
    ];
    let deeds: Vec<_> = sftp::REQUESTS
        .iter()
        .filter(|row| !takes.contains(&row.0))
        .flat_map(|row| row.1)
        .collect();
    thread::scope(|scope| {
        scope.spawn(|| swap(&tree.top, &stop));
        let started = Instant::now();
        while started.elapsed() < TIME * 2 {
            let path = rng.pick(SWAPPED);
            let (what, heard) = match rng.below(2) {
                0 => {
                    let lines = rng.pick(&dialogues);
                    (format!("{lines:?}"), ftp::run(&mut client, lines, path))
                }
                _ => {
                    let at = rng.below(deeds.len());
                    (format!("deed {at}"), deeds[at](&mut packets, path))
                }
            };
            tree.check_heard(&format!("{what} {path}"), &heard);
            tree.check_unchanged("secret", &format!("{what} {path}"));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Files whose names are known in every case, as on FAT or a casefolded ext4.
struct Caseless(MemoryFs);

impl Caseless {
    fn fold(path: &VirtualPath) -> VirtualPath {
        let folded = path.as_bytes().to_ascii_lowercase();
        VirtualPath::root().join(&folded).unwrap()
    }
}

impl FileSystem for Caseless {
    fn metadata(&self, path: &VirtualPath, follow: Follow) -> wharf::Result<Metadata> {
        self.0.metadata(&Self::fold(path), follow)
    }

    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> wharf::Result<Box<dyn File>> {
        self.0.open(&Self::fold(path), options)
    }

    fn read_dir(&self, path: &VirtualPath) -> wharf::Result<Box<dyn Directory>> {
        self.0.read_dir(&Self::fold(path))
    }

    fn make_dir(&self, path: &VirtualPath, mode: u32) -> wharf::Result<()> {
        self.0.make_dir(&Self::fold(path), mode)
    }

    fn remove_file(&self, path: &VirtualPath) -> wharf::Result<()> {
        self.0.remove_file(&Self::fold(path))
    }

    fn remove_dir(&self, path: &VirtualPath) -> wharf::Result<()> {
        self.0.remove_dir(&Self::fold(path))
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, how: Existing) -> wharf::Result<()> {
        self.0.rename(&Self::fold(from), &Self::fold(to), how)
    }

    fn set_attributes(
        &self,
        path: &VirtualPath,
        wanted: &Attributes,
        follow: Follow,
    ) -> wharf::Result<()> {
        self.0.set_attributes(&Self::fold(path), wanted, follow)
    }
}

#[test]
fn another_case_is_the_same_place() {
    let memory = MemoryFs::new();
    for path in ["secret/f", "pub/fixed/f", "open/f"] {
        put_file(&memory, path.as_bytes(), b"content");
    }
    let server = server()
        .files(Arc::new(Caseless(memory.clone())))
        .user("ann", "secret", "read-write")
        .at("secret", "none")
        .at("pub/fixed", "read-only")
        .start();
    let mut client = server.ann();
    for (line, code) in [
        ("SIZE /SECRET/f", 550),
        ("MLST /Secret/F", 550),
        ("DELE /SECRET/f", 550),
        ("CWD /SECRET", 550),
        ("RNFR /SECRET", 550),
        ("RMD /SECRET", 550),
        ("RNFR /PUB", 550),
        ("DELE /PUB/Fixed/f", 550),
        ("MKD /pub/FIXED/new", 550),
        ("SITE CHMOD 777 /pub/FIXED", 550),
        ("SIZE /PUB/Fixed/f", 213),
        ("MKD /PUB/new", 257),
        ("DELE /OPEN/F", 250),
    ] {
        client.expect(line, code);
    }
}
