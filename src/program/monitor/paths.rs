//! Paths that root may follow for somebody else.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether nobody with these numbers can make `path` lead elsewhere: SECURITY:
/// what root opens by a name and hands over must not be chosen by whoever gets
/// it. What does not exist yet is judged by the directories above it.
pub fn out_of_reach(path: &Path, uid: u32, groups: &[u32]) -> bool {
    let Ok(named) = std::path::absolute(path) else {
        return false;
    };
    let fixed = |path: &Path| {
        // The owner of what lies in a directory where everybody may write, but
        // remove only what is their own.
        let mut below = std::fs::symlink_metadata(path)
            .ok()
            .map(|found| found.uid());
        path.ancestors().skip(1).all(|directory| {
            let Ok(found) = std::fs::symlink_metadata(directory) else {
                return false;
            };
            let writable = found.uid() == uid
                || found.mode() & 0o020 != 0 && groups.contains(&found.gid())
                || found.mode() & 0o002 != 0;
            let sticky = found.mode() & 0o1000 != 0 && found.uid() != uid;
            let ours = below.is_none_or(|owner| owner == uid);
            below = Some(found.uid());
            // A link is judged by where it leads; see below.
            !writable || found.is_symlink() || sticky && !ours
        })
    };
    // The names as they are, and where they lead.
    let real = std::fs::canonicalize(&named).or_else(|_| {
        let parent = named.parent().unwrap_or(&named);
        std::fs::canonicalize(parent)
            .map(|parent| parent.join(named.file_name().unwrap_or_default()))
    });
    fixed(&named) && real.is_ok_and(|real| fixed(&real))
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
        for (name, want) in [
            ("safe/file", true),
            ("safe/sub/file", true),
            ("safe/link", false),
            ("safe/link/file", false),
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
            assert_eq!(out_of_reach(&top.join(name), 4711, &[4712]), want, "{name}");
        }
        std::fs::remove_dir_all(top).unwrap();
    }
}
