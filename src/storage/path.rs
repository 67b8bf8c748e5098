//! [`VirtualPath`]: the one form of a path inside a user's file system.
//!
//! Bytes, absolute, normal: `/`, or `/a/b` without empty, `.` or `..`
//! components. Going up from the root stays at the root (RFC 959 leaves it
//! open; every server does so). What links mean is the back-end's business.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use crate::error::{Error, ErrorKind, Result};

/// Longest path in bytes, as PATH_MAX of Linux.
const PATH_MAX: usize = 4096;
/// Longest path that a walk through a tree may come to: what is deeper than
/// PATH_MAX can still be listed, counted and removed.
const DEEP_MAX: usize = 64 * 1024;
/// Most levels of such a path. What is deep is reached from the root each time,
/// so a walk takes time by the square of its depth.
const LEVELS_MAX: usize = 4096;
/// Longest component in bytes, as NAME_MAX of Linux.
const NAME_MAX: usize = 255;

/// An absolute, normal path of bytes inside a user's file system.
///
/// ```
/// use wharf::storage::VirtualPath;
/// let home = VirtualPath::root().join(b"home/ann").unwrap();
/// assert_eq!(home.join(b"../bob//x").unwrap().as_bytes(), b"/home/bob/x");
/// assert_eq!(home.join(b"/../../etc").unwrap().as_bytes(), b"/etc");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualPath(Vec<u8>);

/// The root.
impl Default for VirtualPath {
    fn default() -> Self {
        VirtualPath::root()
    }
}

impl VirtualPath {
    /// The root, `/`.
    pub fn root() -> Self {
        VirtualPath(b"/".to_vec())
    }

    /// The path that `text` means when one stands here: absolute if it begins
    /// with `/`, else below this path.
    ///
    /// # Errors
    /// [`ErrorKind::NameInvalid`] for a NUL byte, a component past 255 bytes or
    /// a path past 4096 bytes.
    pub fn join(&self, text: &[u8]) -> Result<Self> {
        let path = self.join_deep(text)?;
        if path.0.len() < PATH_MAX {
            Ok(path)
        } else {
            Err(Error::new(ErrorKind::NameInvalid, "a path past 4096 bytes"))
        }
    }

    /// The path of an entry of this directory, which may be longer than a
    /// client's paths.
    pub(crate) fn below(&self, name: &[u8]) -> Result<Self> {
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        if !self.is_root() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let levels = || path.iter().filter(|&&byte| byte == b'/').count();
        if path.len() < PATH_MAX || path.len() < DEEP_MAX && levels() <= LEVELS_MAX {
            Ok(VirtualPath(path))
        } else {
            let why = "a path past 64 KiB or 4096 levels";
            Err(Error::new(ErrorKind::NameInvalid, why))
        }
    }

    /// As [`VirtualPath::join`], for paths that a walk has come to.
    pub(super) fn join_deep(&self, text: &[u8]) -> Result<Self> {
        if text.contains(&0) {
            return Err(Error::new(ErrorKind::NameInvalid, "a name with a NUL byte"));
        }
        let mut path = if text.first() == Some(&b'/') || self.is_root() {
            Vec::with_capacity(text.len() + 1)
        } else {
            let mut path = Vec::with_capacity(self.0.len() + 1 + text.len());
            path.extend_from_slice(&self.0);
            path
        };
        for component in text.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => {
                    let parent = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                    path.truncate(parent);
                }
                name if name.len() > NAME_MAX => {
                    return Err(Error::new(ErrorKind::NameInvalid, "a name past 255 bytes"));
                }
                name => {
                    path.push(b'/');
                    path.extend_from_slice(name);
                }
            }
        }
        if path.len() >= DEEP_MAX {
            return Err(Error::new(ErrorKind::NameInvalid, "a path past 64 KiB"));
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(VirtualPath(path))
    }

    /// All bytes, beginning with `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path without the leading `/`; `.` for the root: what `*at` calls want.
    pub fn relative(&self) -> &OsStr {
        OsStr::from_bytes(if self.is_root() { b"." } else { &self.0[1..] })
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The directory that holds this; the root holds itself.
    pub fn parent(&self) -> VirtualPath {
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(at) if at > 0 => VirtualPath(self.0[..at].to_vec()),
            _ => VirtualPath::root(),
        }
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        let at = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        &self.0[at + 1..]
    }

    /// The components from the root on.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty())
    }

    /// Whether a symbolic link at this path that says `target` leads to
    /// something below the root, also for who takes the root for an ordinary
    /// directory. What `..` means behind a name depends on that name.
    pub fn link_stays_inside(&self, target: &[u8]) -> bool {
        let mut parts = target
            .split(|&byte| byte == b'/')
            .skip_while(|part| matches!(*part, b"." | b".."));
        let ups = target.split(|&byte| byte == b'/');
        let ups = ups.take_while(|part| matches!(*part, b"." | b".."));
        let ups = ups.filter(|part| *part == b"..").count();
        target.first() != Some(&b'/')
            && ups < self.components().count()
            && parts.all(|part| part != b"..")
    }

    /// Whether this is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &VirtualPath) -> bool {
        ancestor.is_root()
            || self
                .0
                .strip_prefix(ancestor.as_bytes())
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

/// Shows the path with everything escaped that could forge a line.
impl fmt::Display for VirtualPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", crate::text::Escaped(&self.0))
    }
}

impl fmt::Debug for VirtualPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn join_never_leaves_the_root() {
        let base = VirtualPath::root().join(b"a/b").unwrap();
        for (text, want) in [
            (&b"c"[..], &b"/a/b/c"[..]),
            (b"", b"/a/b"),
            (b".", b"/a/b"),
            (b"..", b"/a"),
            (b"../..", b"/"),
            (b"../../../..", b"/"),
            (b"/", b"/"),
            (b"//x///y/", b"/x/y"),
            (b"../b2", b"/a/b2"),
            (b"...", b"/a/b/..."),
            (b"/..", b"/"),
            (b"\xff\xfe", b"/a/b/\xff\xfe"),
        ] {
            assert_eq!(base.join(text).unwrap().as_bytes(), want, "{text:?}");
        }
        assert!(base.join(b"a\0b").is_err());
        assert!(base.join(&[b'x'; 256]).is_err());
        assert!(base.join(&b"x/".repeat(2100)).is_err());
    }

    #[test]
    fn a_walk_goes_past_a_clients_paths_and_not_without_end() {
        for (name, levels) in [(&b"d"[..], LEVELS_MAX), (&[b'd'; 255], 255)] {
            let mut path = VirtualPath::root();
            for _ in 0..levels {
                path = path.below(name).unwrap();
            }
            assert!(path.as_bytes().len() > PATH_MAX);
            assert!(path.below(name).and_then(|path| path.below(name)).is_err());
        }
    }

    #[test]
    fn a_sibling_with_the_same_prefix_is_outside() {
        let root = VirtualPath::root();
        let ftp = root.join(b"/srv/ftp").unwrap();
        assert!(root.join(b"/srv/ftp/x").unwrap().starts_with(&ftp));
        assert!(ftp.starts_with(&ftp));
        assert!(!root.join(b"/srv/ftp-private").unwrap().starts_with(&ftp));
        assert!(ftp.starts_with(&root));
    }

    #[test]
    fn links_stay_inside_or_not() {
        let link = VirtualPath::root().join(b"a/b/link").unwrap();
        for (target, want) in [
            ("x", true),
            ("./x/y", true),
            ("..", true),
            ("../../x", true),
            ("../.././x", true),
            ("../../..", false),
            ("x/../y", false),
            (".//../../../x", false),
            ("/", false),
            ("/x", false),
        ] {
            assert_eq!(link.link_stays_inside(target.as_bytes()), want, "{target}");
        }
    }

    #[test]
    fn parent_and_name() {
        let path = VirtualPath::root().join(b"a/b").unwrap();
        assert_eq!(path.parent().as_bytes(), b"/a");
        assert_eq!(path.parent().parent().as_bytes(), b"/");
        assert_eq!(path.name(), b"b");
        assert_eq!(VirtualPath::root().name(), b"");
        assert_eq!(VirtualPath::root().relative(), ".");
    }
}
