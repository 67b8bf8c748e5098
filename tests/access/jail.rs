//! The jail while links change under it (attack 9 of the list in
//! wharf-security.7: CVE-2017-7418, CVE-2023-24042 and their like).
//!
//! One thread swaps directories and files with links to the outside as fast
//! as it can, another moves directories up and down, while workers do all
//! that a client may do. Nothing outside may be read, made or changed.

use crate::common as temp;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use temp::TempDir;
use wharf::Result;
use wharf::daemon::Resolver;
use wharf::storage::{
    Attributes, Create, Existing, FileSystem, Follow, LocalFs, OpenOptions, VirtualPath, Write,
};

/// Operations of each worker and resolver.
const ROUNDS: usize = 12_000;
const WORKERS: usize = 2;
const MARK: &[u8] = b"OUTSIDE";

/// A root, and beside it what must stay as it is.
struct Place {
    outer: TempDir,
    before: Vec<String>,
    inodes: Vec<(u64, u64)>,
}

impl Place {
    fn new() -> Self {
        let outer = TempDir::new("jail");
        let make = |name: &str| std::fs::create_dir(outer.join(name)).unwrap();
        // Outside there is a twin of everything, so that a path that got out
        // would find what it looks for.
        for name in ["outside", "outside/empty", "outside/sub", "root"] {
            make(name);
        }
        for name in ["f", "g", "file", "sub/f", "victim"] {
            let path = outer.join("outside").join(name);
            std::fs::write(&path, MARK).unwrap();
            let mode = std::fs::Permissions::from_mode(0o640);
            std::fs::set_permissions(&path, mode).unwrap();
        }
        for name in [
            "d",
            "d/empty",
            "d/sub",
            "a",
            "a/b",
            "a/b/c",
            "outside",
            "outside/sub",
        ] {
            make(&format!("root/{name}"));
        }
        for name in ["d/f", "d/g", "d/sub/f", "file", "outside/f", "a/b/c/f"] {
            std::fs::write(outer.join("root").join(name), "inside").unwrap();
        }
        let host = outer.join("outside");
        let link = |target: &Path, name: &str| {
            symlink(target, outer.join("root").join(name)).unwrap();
        };
        link(&host, "d-link");
        link(&host.join("file"), "file-link");
        link("../../../../outside".as_ref(), "a/b/c/up");
        link("../outside".as_ref(), "relative");
        link("d/../d/./../d/f".as_ref(), "winding");
        link(&host.join("new"), "dangling");
        let mut place = Place {
            outer,
            before: Vec::new(),
            inodes: Vec::new(),
        };
        place.before = place.outside();
        place.inodes = inodes(&place.outer.join("outside"));
        place
    }

    fn root(&self) -> PathBuf {
        self.outer.join("root")
    }

    /// Everything about the outside that an escape would change.
    fn outside(&self) -> Vec<String> {
        let mut lines = Vec::new();
        describe(&self.outer.join("outside"), &mut lines);
        for entry in std::fs::read_dir(&self.outer).unwrap() {
            lines.push(format!("{:?}", entry.unwrap().file_name()));
        }
        lines.sort();
        lines
    }
}

fn describe(path: &Path, lines: &mut Vec<String>) {
    let seen = std::fs::symlink_metadata(path).unwrap();
    let content = if seen.is_file() {
        std::fs::read(path).unwrap()
    } else {
        Vec::new()
    };
    lines.push(format!(
        "{path:?} {} {:o} {} {} {} {}.{} {content:?}",
        seen.ino(),
        seen.mode(),
        seen.nlink(),
        seen.uid(),
        seen.size(),
        seen.mtime(),
        seen.mtime_nsec(),
    ));
    if seen.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            describe(&entry.unwrap().path(), lines);
        }
    }
}

fn inodes(path: &Path) -> Vec<(u64, u64)> {
    let seen = std::fs::symlink_metadata(path).unwrap();
    let mut all = vec![(seen.dev(), seen.ino())];
    if seen.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            all.extend(inodes(&entry.unwrap().path()));
        }
    }
    all
}

/// Swaps names until told to stop; says how often.
fn swap(root: &Path, stop: &AtomicBool) -> usize {
    let swap = |a: &str, b: &str| {
        let _ = renameat_with(CWD, root.join(a), CWD, root.join(b), RenameFlags::EXCHANGE);
    };
    let mut swaps = 0;
    while !stop.load(Ordering::Relaxed) {
        swap("d", "d-link");
        swap("file", "file-link");
        swaps += 1;
    }
    swaps
}

/// Moves a directory out of and back into another one: `..` in it changes.
fn shift(root: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let _ = std::fs::rename(root.join("a/b/c"), root.join("c"));
        let _ = std::fs::rename(root.join("c"), root.join("a/b/c"));
    }
}

struct Worker<'a> {
    files: &'a LocalFs,
    inodes: &'a [(u64, u64)],
    number: usize,
    /// A new owner, where the test may give files away.
    owner: Option<u32>,
    done: usize,
    refused: usize,
}

impl Worker<'_> {
    fn count<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.done += 1;
                Some(value)
            }
            Err(_) => {
                self.refused += 1;
                None
            }
        }
    }

    fn read(&mut self, name: &str) {
        let file = self.files.open(&path(name), &OpenOptions::read());
        let Some(file) = self.count(file) else { return };
        let mut buffer = [0; 64];
        let count = file.read_at(&mut buffer, 0).unwrap_or(0);
        let content = &buffer[..count];
        assert!(
            !content.windows(MARK.len()).any(|part| part == MARK),
            "{name}"
        );
        let id = file.metadata().unwrap().id;
        assert!(!self.inodes.contains(&id), "opened outside: {name}");
    }

    fn write(&mut self, name: &str, write: Write, create: Create) {
        let options = OpenOptions::write(write, create, 0o666);
        let file = self.files.open(&path(name), &options);
        let Some(file) = self.count(file) else { return };
        let id = file.metadata().unwrap().id;
        assert!(!self.inodes.contains(&id), "opened outside: {name}");
        // The check on the outside would see this.
        let _ = file.write_all_at(b"written", 0);
        let mut wanted = Attributes::default();
        wanted.mode = Some(0o777);
        let _ = file.set_attributes(&wanted);
        let _ = file.sync();
    }

    fn list(&mut self, name: &str) {
        let directory = self.files.read_dir(&path(name));
        let Some(mut directory) = self.count(directory) else {
            return;
        };
        let mut entry = Vec::new();
        while let Ok(Some(_)) = directory.next(&mut entry) {
            assert_ne!(entry, b"victim", "listed outside: {name}");
            for follow in [Follow::Yes, Follow::No] {
                if let Ok(seen) = directory.metadata(&entry, follow) {
                    assert!(!self.inodes.contains(&seen.id), "saw outside: {name}");
                }
            }
            let _ = directory.read_link(&entry);
        }
    }

    fn set(&mut self, name: &str, follow: Follow) {
        let mut wanted = Attributes::default();
        wanted.mode = Some(0o777);
        wanted.modified = Some(UNIX_EPOCH + Duration::from_secs(1));
        wanted.accessed = Some(UNIX_EPOCH);
        wanted.uid = self.owner;
        wanted.gid = self.owner;
        let result = self.files.set_attributes(&path(name), &wanted, follow);
        self.count(result);
        let mut size = Attributes::default();
        size.size = Some(3);
        let result = self.files.set_attributes(&path(name), &size, follow);
        self.count(result);
    }

    fn look(&mut self, name: &str) {
        for follow in [Follow::Yes, Follow::No] {
            let seen = self.files.metadata(&path(name), follow);
            if let Some(seen) = self.count(seen) {
                assert!(!self.inodes.contains(&seen.id), "saw outside: {name}");
            }
        }
    }

    fn round(&mut self, round: usize) {
        let mine = format!("w{}", self.number);
        let name = |text: &str| text.replace('@', &mine);
        let files = self.files;
        let rename = |from: &str, to: &str, existing| {
            files.rename(&path(&name(from)), &path(&name(to)), existing)
        };
        let result = match round % 36 {
            0 => return self.read("d/f"),
            1 => return self.read("file"),
            2 => return self.read("winding"),
            3 => return self.read("a/b/c/up/f"),
            4 => return self.read("c/up/f"),
            5 => return self.read("relative/f"),
            6 => return self.write(&name("d/@"), Write::At, Create::IfMissing),
            7 => return self.write("file", Write::Truncate, Create::IfMissing),
            8 => return self.write("d/f", Write::Append, Create::IfMissing),
            9 => return self.write(&name("d/sub/@"), Write::At, Create::New),
            10 => return self.write("dangling", Write::At, Create::IfMissing),
            11 => return self.write("file", Write::At, Create::Never),
            12 => return self.write(&name("a/b/c/up/@"), Write::At, Create::IfMissing),
            13 => return self.list("d"),
            14 => return self.list("d/sub"),
            15 => return self.list("/"),
            16 => return self.list("c/up"),
            17 => return self.set("d/g", Follow::Yes),
            18 => return self.set("file", Follow::Yes),
            19 => return self.set("file", Follow::No),
            20 => return self.set("d", Follow::Yes),
            21 => return self.set("d/sub/f", Follow::No),
            22 => return self.look("d/f"),
            23 => return self.look("file"),
            24 => return self.look("d"),
            25 => return self.look("a/b/c/up/victim"),
            26 => files.make_dir(&path(&name("d/@-made")), 0o777),
            27 => rename("d/@-made", "d/sub/@-made", Existing::Keep),
            28 => files.remove_dir(&path(&name("d/sub/@-made"))),
            29 => files.remove_dir(&path("d/empty")),
            30 => files.make_dir(&path("d/empty"), 0o777),
            31 => files.symlink(b"victim", &path(&name("d/@-link"))),
            32 => files.hard_link(&path("d/g"), &path(&name("d/@-hard"))),
            33 => rename("d/@", "d/g", Existing::Replace),
            34 => {
                rename("d/g", "@-g", Existing::Replace).and(rename("@-g", "d/g", Existing::Replace))
            }
            _ => files
                .remove_file(&path(&name("d/@-link")))
                .and(files.remove_file(&path(&name("d/@-hard"))))
                .and(files.remove_file(&path(&name("d/sub/@")))),
        };
        self.count(result);
    }
}

fn path(text: &str) -> VirtualPath {
    VirtualPath::root().join(text.as_bytes()).unwrap()
}

fn swap_links(resolver: Resolver) {
    let place = Place::new();
    let root = place.root();
    let files = LocalFs::with_resolver(&root, resolver).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let swapper = scope.spawn(|| swap(&root, &stop));
        scope.spawn(|| shift(&root, &stop));
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| {
                let (files, place) = (&files, &place);
                scope.spawn(move || {
                    let mut worker = Worker {
                        files,
                        inodes: &place.inodes,
                        number,
                        owner: rustix::process::geteuid().is_root().then_some(12345),
                        done: 0,
                        refused: 0,
                    };
                    for round in 0..ROUNDS {
                        worker.round(round);
                        if round % 1000 == 0 {
                            assert_eq!(place.outside(), place.before, "{resolver:?} {round}");
                        }
                    }
                    (worker.done, worker.refused)
                })
            })
            .collect();
        let counts: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        stop.store(true, Ordering::Relaxed);
        let swaps = swapper.join().unwrap();
        for count in counts {
            let (done, refused) = count.expect("a worker found a way out");
            // Otherwise the test has shown nothing.
            assert!(
                done > ROUNDS / 20,
                "{resolver:?}: {done} done, {refused} refused"
            );
            assert!(
                refused > ROUNDS / 20,
                "{resolver:?}: {done} done, {refused} refused"
            );
        }
        assert!(swaps > 1000, "{resolver:?}: only {swaps} swaps");
    });
    assert_eq!(place.outside(), place.before, "{resolver:?}");
}

#[test]
fn swapped_links_never_lead_outside_with_openat2() {
    swap_links(Resolver::OpenAt2);
}

#[test]
fn swapped_links_never_lead_outside_with_the_walk() {
    swap_links(Resolver::Walk);
}

/// The trap of the two tests above snaps: a program that joins path and root,
/// as servers did, reads the outside.
#[test]
fn without_a_jail_the_same_links_lead_outside() {
    let place = Place::new();
    let root = place.root();
    let stop = AtomicBool::new(false);
    let escaped = thread::scope(|scope| {
        scope.spawn(|| swap(&root, &stop));
        let escaped = (0..1_000_000).any(|_| {
            let content = std::fs::read(root.join("d/f"));
            content.is_ok_and(|content| content == MARK)
        });
        stop.store(true, Ordering::Relaxed);
        escaped
    });
    assert!(escaped);
}

/// Links in /proc lead where their text does not say.
#[test]
fn magic_links_lead_nowhere() {
    let place = Place::new();
    let victim = place.outer.join("outside/victim");
    let open = std::fs::File::open(&victim).unwrap();
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&open);
    let process = PathBuf::from(format!("/proc/{}", std::process::id()));
    for resolver in [Resolver::OpenAt2, Resolver::Walk] {
        let files = LocalFs::with_resolver(&process, resolver).unwrap();
        for name in [
            format!("fd/{descriptor}"),
            format!("root{}", victim.display()),
            "root/etc/passwd".into(),
            "cwd/Cargo.toml".into(),
            "exe".into(),
            format!("task/{}/root/etc/passwd", std::process::id()),
        ] {
            let path = path(&name);
            let read = files.open(&path, &OpenOptions::read());
            assert!(read.is_err(), "{resolver:?} {name}");
            let options = OpenOptions::write(Write::At, Create::IfMissing, 0o644);
            assert!(files.open(&path, &options).is_err(), "{resolver:?} {name}");
            assert!(
                files.metadata(&path, Follow::Yes).is_err(),
                "{resolver:?} {name}"
            );
            let mut wanted = Attributes::default();
            wanted.mode = Some(0o777);
            let result = files.set_attributes(&path, &wanted, Follow::Yes);
            assert!(result.is_err(), "{resolver:?} {name}");
        }
        // As entries of a listing, too.
        let directory = files.read_dir(&path("fd")).unwrap();
        let name = descriptor.to_string();
        let link = directory.metadata(name.as_bytes(), Follow::No).unwrap();
        assert_eq!(link.kind, wharf::storage::FileKind::Link);
        assert!(directory.metadata(name.as_bytes(), Follow::Yes).is_err());
    }
    assert_eq!(place.outside(), place.before);
}

/// The root is a descriptor: renaming it, or putting a link in its place,
/// changes nothing for a session that is under way.
#[test]
fn the_root_stays_the_root_when_its_name_is_taken() {
    let place = Place::new();
    let root = place.root();
    for resolver in [Resolver::OpenAt2, Resolver::Walk] {
        let files = LocalFs::with_resolver(&root, resolver).unwrap();
        std::fs::rename(&root, place.outer.join("moved")).unwrap();
        symlink("outside", &root).unwrap();
        let file = files.open(&path("d/f"), &OpenOptions::read()).unwrap();
        let mut buffer = [0; 64];
        let count = file.read_at(&mut buffer, 0).unwrap();
        assert_eq!(&buffer[..count], b"inside", "{resolver:?}");
        assert!(files.metadata(&path("victim"), Follow::No).is_err());
        std::fs::remove_file(&root).unwrap();
        std::fs::rename(place.outer.join("moved"), &root).unwrap();
    }
    assert_eq!(place.outside(), place.before);
}

#[test]
fn a_root_that_is_none_is_refused() {
    let place = Place::new();
    for name in ["none", "root/file", "root/d/f/x"] {
        assert!(LocalFs::open(place.outer.join(name)).is_err(), "{name}");
    }
    assert!(LocalFs::open(place.root()).is_ok());
}
