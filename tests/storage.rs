//! The same cases on every file system of ours: they must mean the same.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use wharf::storage::{
    Create, FileSystem, Follow, LocalFs, MemoryFs, OpenOptions, Resolver, VirtualPath, Write,
};

/// A directory that goes away with the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wharf-storage-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Temporary(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a case on each file system, fresh each time.
fn on_each(case: impl Fn(&dyn FileSystem, &str)) {
    for resolver in [Resolver::OpenAt2, Resolver::Walk] {
        let outer = Temporary::new();
        let root: &Path = &outer.0.join("root");
        std::fs::create_dir(root).unwrap();
        let files = LocalFs::with_resolver(root, resolver).unwrap();
        case(&files, &format!("{resolver:?}"));
    }
    case(&MemoryFs::new(), "memory");
}

fn path(text: &[u8]) -> VirtualPath {
    VirtualPath::root().join(text).unwrap()
}

#[test]
fn what_is_written_is_read() {
    on_each(|files, which| {
        let options = OpenOptions::write(Write::At, Create::New, 0o640);
        let file = files.open(&path(b"a"), &options).unwrap();
        file.write_all_at(b"hello", 0).unwrap();
        file.sync().unwrap();
        file.close().unwrap();
        let metadata = files.metadata(&path(b"a"), Follow::Yes).unwrap();
        assert_eq!((metadata.size, metadata.mode), (5, 0o640), "{which}");
        let file = files.open(&path(b"a"), &OpenOptions::read()).unwrap();
        assert_eq!(file.metadata_at_open().unwrap(), metadata, "{which}");
        let mut buffer = [0; 9];
        assert_eq!(file.read_at(&mut buffer, 1).unwrap(), 4, "{which}");
        assert_eq!(&buffer[..4], b"ello", "{which}");
        let mut directory = files.read_dir(&path(b"/")).unwrap();
        let mut name = Vec::new();
        assert!(directory.next(&mut name).unwrap().is_some(), "{which}");
        assert_eq!(name, b"a", "{which}");
        assert!(directory.next(&mut name).unwrap().is_none(), "{which}");
    });
}
