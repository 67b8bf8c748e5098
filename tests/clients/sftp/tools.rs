//! Finding and running other people's programs, and trees of files with the
//! names that go wrong.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::common::TempDir;
pub use super::common::process::located as find;

/// Longest run of one client, in seconds.
const PATIENCE: &str = "120";

/// Whether all programs are here. If not, the test says so and ends, or
/// fails where everything must be there.
pub fn have(programs: &[&str]) -> bool {
    match programs.iter().find(|name| find(name).is_none()) {
        Some(missing) => {
            missed(&format!("{missing} is missing (tests/install-clients.sh)"));
            false
        }
        None => true,
    }
}

/// Says that a test does nothing for want of a program.
///
/// # Panics
/// Everything must be there.
pub fn missed(why: &str) {
    assert!(
        std::env::var_os("WHARF_NEED_CLIENTS").is_none_or(|value| value != "1"),
        "{why}"
    );
    skip(why);
}

/// Says that a test does nothing because this machine does not allow it.
pub fn skip(why: &str) {
    eprintln!("SKIP: {why}");
}

/// Runs a command to its end and returns what it printed.
///
/// # Panics
/// It failed or took too long.
pub fn run(program: impl AsRef<OsStr>, arguments: &[&str], directory: &Path) -> String {
    let (ok, output) = try_run(program.as_ref(), arguments, directory);
    assert!(ok, "{:?} {arguments:?}:\n{output}", program.as_ref());
    output
}

/// The same; says whether it succeeded.
pub fn try_run(program: &OsStr, arguments: &[&str], directory: &Path) -> (bool, String) {
    let output = Command::new("timeout")
        .arg("-k5")
        .arg(PATIENCE)
        .arg(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// The server under test: `WHARF_SFTP_SERVER` names the subsystem that was built
/// alone, which takes the same flags.
pub fn wharfd() -> &'static str {
    static OTHER: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("WHARF_SFTP_SERVER").ok());
    OTHER.as_deref().unwrap_or(env!("CARGO_BIN_EXE_wharfd"))
}

/// A directory of a test, with `local` and `remote` in it.
pub struct Place(TempDir);

impl Place {
    pub fn new(name: &str) -> Self {
        // sshd and dropbear want every directory above a key to be nobody
        // else's, which /tmp itself may be.
        let path = TempDir::new(name);
        for part in ["local", "remote"] {
            std::fs::create_dir(path.join(part)).unwrap();
        }
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&path, mode).unwrap();
        Place(path)
    }

    pub fn top(&self) -> &Path {
        &self.0
    }

    pub fn local(&self) -> PathBuf {
        self.0.join("local")
    }

    pub fn remote(&self) -> PathBuf {
        self.0.join("remote")
    }
}

/// Bytes that are not all alike.
pub fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Names that every client can carry.
pub const PLAIN_NAMES: [&str; 4] = ["plain", "with space", "größe-日本", "quote's"];

/// Makes a tree: names that go wrong, empty, small and large.
pub fn make_tree(top: &Path, names: &[&str]) {
    std::fs::create_dir_all(top.join("sub/deep")).unwrap();
    for (at, name) in names.iter().enumerate() {
        std::fs::write(top.join(name), bytes(at * 1000)).unwrap();
        std::fs::write(top.join("sub/deep").join(name), bytes(7)).unwrap();
    }
    std::fs::write(top.join("sub/large"), bytes(3 << 20)).unwrap();
}

/// A name that is not text.
pub fn odd_name() -> OsString {
    OsString::from_vec(b"bell\x07 new\nline \xff".to_vec())
}

/// Whether a listing shows no control character but line ends.
pub fn is_harmless(listing: &str) -> bool {
    let bytes = OsStr::new(listing).as_bytes();
    !bytes
        .iter()
        .any(|byte| *byte < b' ' && *byte != b'\n' && *byte != b'\r')
}
