//! Paths that root may follow for somebody else.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use wharf::{Error, ErrorKind, Result};

/// Links on the way to a file that are followed, as in the kernel.
const LINKS_MAX: usize = 40;

/// Who, besides root, can make a path lead elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Nobody,
    One(u32),
    Many,
}

impl Reach {
    fn or(self, other: Reach) -> Reach {
        match (self, other) {
            (Reach::Nobody, one) | (one, Reach::Nobody) => one,
            (one, other) if one == other => one,
            _ => Reach::Many,
        }
    }

    fn of_owner(uid: u32) -> Reach {
        match uid {
            0 => Reach::Nobody,
            uid => Reach::One(uid),
        }
    }
}

/// Whether nobody but root can make `path` lead elsewhere: SECURITY: what root
/// opens by a name and hands over must not be chosen by whoever gets it, and a
/// server that has been taken over acts as every user it has a worker for.
/// What does not exist yet is judged by the directories above it.
pub fn out_of_reach(path: &Path) -> bool {
    reach(path) == Reach::Nobody
}

/// Opens a regular file that somebody else is to read. It is looked at first:
/// opening a device may do something. A path within the reach of one user may
/// lead to that user's files only.
///
/// # Errors
/// It is no such file.
pub fn open(path: &Path) -> Result<File> {
    let reach = reach(path);
    let options = |flags| {
        let mut options = File::options();
        options.read(true).custom_flags(flags);
        options
    };
    let place = options(libc::O_PATH).open(path)?;
    let found = place.metadata()?;
    let trouble = match reach {
        _ if !found.is_file() => "it is not a regular file",
        Reach::Many => "others can change where the path leads",
        Reach::One(uid) if uid != found.uid() => "its path is another user's than the file",
        _ => {
            let same = format!("/proc/self/fd/{}", place.as_raw_fd());
            return Ok(options(libc::O_NONBLOCK).open(same)?);
        }
    };
    Err(Error::new(ErrorKind::Denied, trouble))
}

/// Link by link, as the kernel follows them: who can change one on the way?
fn reach(path: &Path) -> Reach {
    let Ok(mut path) = std::path::absolute(path) else {
        return Reach::Many;
    };
    let mut reach = Reach::Nobody;
    for _ in 0..LINKS_MAX {
        reach = reach.or(of_names(&path));
        let Some(link) = path.ancestors().filter(|path| path.is_symlink()).last() else {
            return reach;
        };
        let (Ok(target), Some(directory)) = (std::fs::read_link(link), link.parent()) else {
            return Reach::Many;
        };
        let rest = path.strip_prefix(link).unwrap_or(Path::new(""));
        path = if rest == Path::new("") {
            directory.join(target)
        } else {
            directory.join(target).join(rest)
        };
    }
    Reach::Many
}

/// Who can change the names of a path, whatever the links among them are.
fn of_names(path: &Path) -> Reach {
    let owner = |path: &Path| {
        let found = std::fs::symlink_metadata(path);
        found.ok().map(|found| found.uid())
    };
    let mut below = owner(path);
    path.ancestors()
        .skip(1)
        .map(|directory| {
            let Ok(found) = std::fs::symlink_metadata(directory) else {
                return Reach::Many;
            };
            let entry = below.replace(found.uid());
            // A link is judged by the directory that it is in.
            if found.is_symlink() {
                return Reach::Nobody;
            }
            let others = match (found.mode() & 0o022, found.mode() & 0o1000, entry) {
                (0, _, _) => Reach::Nobody,
                // Everybody may write there, and remove what is their own.
                (_, 0o1000, Some(owner)) => Reach::of_owner(owner),
                _ => Reach::Many,
            };
            Reach::of_owner(found.uid()).or(others)
        })
        .fold(Reach::Nobody, Reach::or)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    #[test]
    fn a_path_that_others_can_bend_is_within_their_reach() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let top = std::env::temp_dir().join(format!("wharf-paths-{}", std::process::id()));
        for name in ["safe/sub", "theirs/sub", "group", "all", "sticky"] {
            std::fs::create_dir_all(top.join(name)).unwrap();
        }
        chown(top.join("theirs"), Some(4711), None).unwrap();
        chown(top.join("group"), None, Some(4712)).unwrap();
        for (name, mode) in [("group", 0o775), ("all", 0o777), ("sticky", 0o1777)] {
            std::fs::set_permissions(top.join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        std::fs::write(top.join("sticky/roots"), "").unwrap();
        std::fs::write(top.join("sticky/hers"), "").unwrap();
        chown(top.join("sticky/hers"), Some(4711), None).unwrap();
        symlink(top.join("theirs/sub"), top.join("safe/link")).unwrap();
        symlink(top.join("safe/sub"), top.join("theirs/link")).unwrap();
        // Both ends are root's, and the link between them is not.
        symlink(top.join("theirs/link"), top.join("safe/far")).unwrap();
        symlink("../safe/sub", top.join("safe/near")).unwrap();
        for (name, want) in [
            ("safe/file", true),
            ("safe/sub/file", true),
            ("safe/link", false),
            ("safe/link/file", false),
            ("safe/far", false),
            ("safe/far/file", false),
            ("safe/near", true),
            ("safe/near/../sub/file", true),
            ("theirs", true),
            ("theirs/file", false),
            ("theirs/sub/file", false),
            ("theirs/link", false),
            ("theirs/link/file", false),
            ("group/file", false),
            ("all/file", false),
            ("sticky/roots", true),
            ("sticky/hers", false),
            ("sticky/new", false),
            ("missing/file", false),
        ] {
            assert_eq!(out_of_reach(&top.join(name)), want, "{name}");
        }
        // Who can change the path gets what is theirs, and nothing of root's.
        std::fs::write(top.join("safe/secret"), "").unwrap();
        symlink(top.join("safe/secret"), top.join("theirs/secret")).unwrap();
        std::fs::write(top.join("theirs/own"), "").unwrap();
        chown(top.join("theirs/own"), Some(4711), None).unwrap();
        symlink("/dev/zero", top.join("safe/device")).unwrap();
        for (name, want) in [
            ("safe/secret", true),
            ("theirs/secret", false),
            ("theirs/own", true),
            ("safe/device", false),
            ("safe/sub", false),
            ("all/file", false),
        ] {
            assert_eq!(open(&top.join(name)).is_ok(), want, "{name}");
        }
        std::fs::remove_dir_all(top).unwrap();
    }
}
