//! What is in a directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Paths and contents below a directory; `None` is a directory, and the
/// content of a link is its target.
pub type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// What is below a directory.
pub fn tree(top: &Path) -> Tree {
    let mut found = Tree::new();
    let mut waiting = vec![top.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let name = path.strip_prefix(top).unwrap().to_path_buf();
            if entry.file_type().unwrap().is_symlink() {
                use std::os::unix::ffi::OsStringExt;
                let target = std::fs::read_link(path).unwrap();
                found.insert(name, Some(target.into_os_string().into_vec()));
            } else if path.is_dir() {
                waiting.push(path);
                found.insert(name, None);
            } else {
                found.insert(name, Some(std::fs::read(path).unwrap()));
            }
        }
    }
    found
}

/// # Panics
/// The trees differ. Names are shown, contents are not.
#[track_caller]
pub fn assert_same_trees(one: &Tree, two: &Tree) {
    let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(one), names(two));
    for (name, content) in one {
        assert!(two[name] == *content, "{name:?} differs");
    }
}

/// # Panics
/// The directories differ.
#[track_caller]
pub fn assert_same(one: &Path, two: &Path) {
    assert_same_trees(&tree(one), &tree(two));
}
