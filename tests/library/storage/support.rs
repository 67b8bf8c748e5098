//! A small language for trees and operations, and the three file systems.
//!
//! A tree is a list of words: `d/` a directory, `f=text` a file, `l>target` a
//! link, `h~f` another name of a file. A character below 256 is one byte.

use std::path::{Path, PathBuf};

use super::temp::TempDir;
use wharf::daemon::Resolver;
use wharf::daemon::remote::{MessageSocket, RemoteFs, serve};
use wharf::storage::{
    Attributes, Create, Existing, File, FileKind, FileSystem, Follow, LocalFs, MemoryFs,
    OpenOptions, VirtualPath, Write,
};
use wharf::{Error, Result};

/// A directory of the test's own.
pub struct Temporary(pub TempDir);

impl Temporary {
    pub fn new() -> Self {
        Temporary(TempDir::new("storage"))
    }

    /// The root of a jail, beside which there is `outside`.
    pub fn with_outside() -> Self {
        let outer = Temporary::new();
        std::fs::create_dir(outer.0.join("root")).unwrap();
        std::fs::create_dir(outer.0.join("outside")).unwrap();
        std::fs::write(outer.0.join("outside/secret"), "secret").unwrap();
        outer
    }

    pub fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    /// Nothing outside the root may have changed.
    pub fn check_outside(&self, what: &str) {
        assert_eq!(names(&self.0), ["outside", "root"], "{what}");
        assert_eq!(names(&self.0.join("outside")), ["secret"], "{what}");
        let secret = std::fs::read(self.0.join("outside/secret")).unwrap();
        assert_eq!(secret, b"secret", "{what}");
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Runs a case on each file system, fresh each time. The second argument
/// names it; the third is where a real one lies.
pub fn on_each(case: impl Fn(&dyn FileSystem, &str, Option<&Path>)) {
    for resolver in [Resolver::OpenAt2, Resolver::Walk] {
        let outer = Temporary::with_outside();
        let files = LocalFs::with_resolver(outer.root(), resolver).unwrap();
        let which = format!("{resolver:?}");
        case(&files, &which, Some(&outer.root()));
        outer.check_outside(&which);
    }
    // What another process serves, in a thread.
    let outer = Temporary::with_outside();
    let local = LocalFs::open(outer.root()).unwrap();
    let (near, far) = MessageSocket::pair().unwrap();
    let served = std::thread::spawn(move || serve(&far, &local));
    case(&RemoteFs::new(near), "remote", Some(&outer.root()));
    outer.check_outside("remote");
    served.join().unwrap();
    case(&MemoryFs::new(), "memory", None);
}

pub fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|byte| byte as u8).collect()
}

fn shown(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| byte as char).collect()
}

pub fn path(text: &str) -> VirtualPath {
    VirtualPath::root().join(&bytes(text)).unwrap()
}

/// Writes `text` as a new file.
pub fn write(files: &dyn FileSystem, name: &str, text: &str) -> Result<()> {
    let options = OpenOptions::write(Write::At, Create::New, 0o644);
    put(files, name, &options, text)
}

fn put(files: &dyn FileSystem, name: &str, options: &OpenOptions, text: &str) -> Result<()> {
    let file = files.open(&path(name), options)?;
    file.write_all_at(&bytes(text), 0)?;
    file.close()
}

pub fn read_all(file: &dyn File) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match file.read_at(&mut buffer, all.len() as u64)? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

pub fn build(files: &dyn FileSystem, tree: &str) {
    for word in tree.split_whitespace() {
        if let Some((name, text)) = word.split_once('=') {
            write(files, name, text).unwrap();
        } else if let Some((name, target)) = word.split_once('>') {
            files.symlink(&bytes(target), &path(name)).unwrap();
        } else if let Some((name, old)) = word.split_once('~') {
            files.hard_link(&path(old), &path(name)).unwrap();
        } else {
            files.make_dir(&path(word), 0o755).unwrap();
        }
    }
}

/// The names in a directory, sorted.
pub fn list(files: &dyn FileSystem, directory: &VirtualPath) -> Result<Vec<Vec<u8>>> {
    let mut directory = files.read_dir(directory)?;
    let mut names = Vec::new();
    let mut name = Vec::new();
    while let Some(entry) = directory.next(&mut name)? {
        if let Some(kind) = entry.kind {
            assert_eq!(directory.metadata(&name, Follow::No)?.kind, kind);
        }
        names.push(name.clone());
    }
    names.sort();
    Ok(names)
}

/// The whole tree in words, as [`build`] takes them (other names as files).
pub fn dump(files: &dyn FileSystem) -> String {
    let mut words = Vec::new();
    dump_below(files, &VirtualPath::root(), &mut words);
    words.join(" ")
}

fn dump_below(files: &dyn FileSystem, directory: &VirtualPath, words: &mut Vec<String>) {
    for name in list(files, directory).unwrap() {
        let path = directory.join(&name).unwrap();
        let text = shown(&path.as_bytes()[1..]);
        match files.metadata(&path, Follow::No).unwrap().kind {
            FileKind::Directory => {
                words.push(format!("{text}/"));
                dump_below(files, &path, words);
            }
            FileKind::Link => {
                words.push(format!(
                    "{text}>{}",
                    shown(&files.read_link(&path).unwrap())
                ));
            }
            FileKind::File => {
                let file = files.open(&path, &OpenOptions::read()).unwrap();
                words.push(format!("{text}={}", shown(&read_all(&*file).unwrap())));
            }
            FileKind::Other => words.push(format!("{text}?")),
        }
    }
}

/// Runs one operation, given as words, and tells what came of it: `ok`, what
/// was seen, or the kind of the error.
pub fn run(files: &dyn FileSystem, operation: &str) -> String {
    let words: Vec<&str> = operation.split(' ').collect();
    match try_run(files, &words) {
        Ok(seen) => seen,
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn try_run(files: &dyn FileSystem, words: &[&str]) -> Result<String, Error> {
    let ok = |()| "ok".to_string();
    let write = |how, create| OpenOptions::write(how, create, 0o644);
    match *words {
        ["stat", at] => files.metadata(&path(at), Follow::Yes).map(seen),
        ["lstat", at] => files.metadata(&path(at), Follow::No).map(seen),
        ["read", at] => {
            let file = files.open(&path(at), &OpenOptions::read())?;
            Ok(format!("={}", shown(&read_all(&*file)?)))
        }
        ["list", at] => {
            let names = list(files, &path(at))?;
            let names: Vec<_> = names.iter().map(|name| shown(name)).collect();
            Ok(format!("[{}]", names.join(" ")))
        }
        ["entry", at, name] => {
            let directory = files.read_dir(&path(at))?;
            directory.metadata(&bytes(name), Follow::Yes).map(seen)
        }
        ["lentry", at, name] => {
            let directory = files.read_dir(&path(at))?;
            directory.metadata(&bytes(name), Follow::No).map(seen)
        }
        ["linkentry", at, name] => {
            let directory = files.read_dir(&path(at))?;
            let target = directory.read_link(&bytes(name))?;
            Ok(format!(">{}", shown(&target)))
        }
        ["mkdir", at] => files.make_dir(&path(at), 0o755).map(ok),
        ["rm", at] => files.remove_file(&path(at)).map(ok),
        ["rmdir", at] => files.remove_dir(&path(at)).map(ok),
        ["mv", from, to] => files
            .rename(&path(from), &path(to), Existing::Replace)
            .map(ok),
        ["mvkeep", from, to] => files.rename(&path(from), &path(to), Existing::Keep).map(ok),
        ["hard", old, new] => files.hard_link(&path(old), &path(new)).map(ok),
        ["symlink", target, at] => files.symlink(&bytes(target), &path(at)).map(ok),
        ["readlink", at] => {
            let target = files.read_link(&path(at))?;
            Ok(format!(">{}", shown(&target)))
        }
        // As STOR, STOU, REST and STOR, APPE, and an SFTP open without CREAT.
        ["store", at] => put(files, at, &write(Write::Truncate, Create::IfMissing), "new").map(ok),
        ["unique", at] => put(files, at, &write(Write::At, Create::New), "new").map(ok),
        ["restart", at] => put(files, at, &write(Write::At, Create::IfMissing), "N").map(ok),
        ["append", at] => put(files, at, &write(Write::Append, Create::IfMissing), "+").map(ok),
        ["update", at] => put(files, at, &write(Write::At, Create::Never), "U").map(ok),
        ["chmod", at] => set(files, at, mode(0o700), Follow::Yes),
        ["lchmod", at] => set(files, at, mode(0o700), Follow::No),
        ["size", at, size] => {
            let mut wanted = Attributes::default();
            wanted.size = Some(size.parse().unwrap());
            set(files, at, wanted, Follow::Yes)
        }
        ["space", at] => files.space(&path(at)).map(|_| "ok".into()),
        _ => panic!("no such operation: {words:?}"),
    }
}

fn mode(mode: u32) -> Attributes {
    let mut wanted = Attributes::default();
    wanted.mode = Some(mode);
    wanted
}

fn set(files: &dyn FileSystem, at: &str, wanted: Attributes, follow: Follow) -> Result<String> {
    files.set_attributes(&path(at), &wanted, follow)?;
    let seen = files.metadata(&path(at), follow)?;
    Ok(match wanted.mode {
        Some(_) => format!("{:o}", seen.mode),
        None => "ok".into(),
    })
}

fn seen(metadata: wharf::storage::Metadata) -> String {
    match metadata.kind {
        FileKind::File => format!("file {} {}", metadata.size, metadata.links),
        FileKind::Directory => "directory".into(),
        FileKind::Link => format!("link {}", metadata.size),
        FileKind::Other => "other".into(),
    }
}
