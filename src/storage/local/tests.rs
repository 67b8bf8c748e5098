//! What newer kernels never do: the ways for old ones, called directly.

use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::temp::TempDir;

struct Temporary(TempDir);

impl Temporary {
    /// A directory with a file `f`, a link `l` to it, a full directory `d`
    /// and an empty one `e`.
    fn new(name: &str) -> Self {
        let path = TempDir::new(name);
        for directory in ["d", "d/sub", "e"] {
            std::fs::create_dir(path.join(directory)).unwrap();
        }
        std::fs::write(path.join("f"), "f").unwrap();
        symlink("f", path.join("l")).unwrap();
        Temporary(path)
    }

    fn directory(&self) -> std::fs::File {
        std::fs::File::open(&self.0).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.0.join(name)).unwrap().mode() & 0o7777
    }

    fn exists(&self, name: &str) -> bool {
        self.0.join(name).symlink_metadata().is_ok()
    }
}

fn place<'a>(directory: &'a std::fs::File, name: &'a str) -> NameAt<'a> {
    NameAt::new(Base::Borrowed(directory.as_fd()), name.as_bytes())
}

#[test]
fn modes_change_without_fchmodat2() {
    let files = Temporary::new("modes");
    let root = files.directory();
    type Way = fn(&NameAt<'_>, rustix::fs::Mode) -> rustix::io::Result<()>;
    for (number, way) in [
        attributes::change_mode as Way,
        attributes::change_mode_old,
        attributes::change_mode_by_opening,
    ]
    .into_iter()
    .enumerate()
    {
        for name in ["f", "d"] {
            // The last way needs a file that may be opened.
            let least = [0o000, 0o000, if name == "f" { 0o200 } else { 0o400 }];
            for bits in [least[number], 0o700, 0o640 + number as u32] {
                way(&place(&root, name), attributes::mode(bits)).unwrap();
                assert_eq!(files.mode(name), bits, "way {number}, {name}");
            }
        }
        std::fs::set_permissions(files.0.join("d"), PermissionsExt::from_mode(0o755)).unwrap();
        // Never what a link points to.
        way(&place(&root, "l"), attributes::mode(0o777)).unwrap_err();
        assert_eq!(files.mode("f"), 0o640 + number as u32);
    }
}

#[test]
fn renames_keep_what_is_there_without_renameat2() {
    for (from, to, want) in [
        ("f", "n", Ok(())),
        ("f", "d", Err(Errno::EXIST)),
        ("f", "l", Err(Errno::EXIST)),
        ("f", "f", Err(Errno::EXIST)),
        ("l", "n", Ok(())),
        ("d", "n", Ok(())),
        ("d", "e", Err(Errno::EXIST)),
        ("d", "f", Err(Errno::EXIST)),
        ("d", "d/n", Err(Errno::INVAL)),
        ("none", "n", Err(Errno::NOENT)),
        ("f", "none/n", Err(Errno::NOENT)),
    ] {
        let files = Temporary::new("renames");
        let root = files.directory();
        let answer = rename_keeping_old(&place(&root, from), &place(&root, to));
        assert_eq!(answer, want, "{from} {to}");
        if want.is_ok() {
            assert!(files.exists(to) && !files.exists(from), "{from} {to}");
        } else {
            assert_eq!(files.exists(from), from != "none", "{from} {to}");
            assert!(!files.exists("d/n") && !files.exists("n"), "{from} {to}");
        }
        assert!(files.exists("d/sub") || files.exists("n/sub"));
    }
}

#[test]
fn a_forgotten_handle_is_looked_up_again_but_not_for_ever() {
    for (failures, errno, want) in [
        (0, Errno::STALE, Ok(())),
        (3, Errno::STALE, Ok(())),
        (4, Errno::STALE, Err(Errno::STALE)),
        (50, Errno::INTR, Ok(())),
        (1, Errno::IO, Err(Errno::IO)),
    ] {
        let mut left = failures;
        let answer = retry(|| match left {
            0 => Ok(()),
            _ => {
                left -= 1;
                Err(errno)
            }
        });
        assert_eq!(answer, want, "{failures} times {errno:?}");
    }
}

#[test]
fn closing_reports_what_the_kernel_says() {
    let files = Temporary::new("close");
    crate::sys::close(files.directory().into()).unwrap();
}
