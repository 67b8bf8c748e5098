//! Why the program ends before its work is done: a sentence for the
//! administrator and an exit code for the launcher.

use std::fmt;
use std::io::{ErrorKind, Write};

use rustix::fd::AsFd;

/// Exit code for wrong usage or a wrong configuration.
pub const USAGE: i32 = 100;
/// Exit code for what may work another time.
pub const TEMPORARY: i32 = 111;

/// What went wrong, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// 100 or 111.
    pub code: i32,
    /// The sentence.
    pub what: String,
}

impl Failure {
    /// What stays wrong until somebody changes it.
    pub fn usage(what: impl fmt::Display) -> Self {
        Failure {
            code: USAGE,
            what: what.to_string(),
        }
    }

    /// What may be right another time.
    pub fn temporary(what: impl fmt::Display) -> Self {
        Failure {
            code: TEMPORARY,
            what: what.to_string(),
        }
    }

    /// Tells the administrator; yields the exit code.
    pub fn tell(&self) -> i32 {
        complain(&format!("wharfd: {}", self.what));
        self.code
    }
}

/// What to do about a file that can't be made or opened, or a port that can't
/// be bound: to be put behind the error.
pub fn what_to_do(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "; create it, or its directory, or name another",
        ErrorKind::PermissionDenied => {
            "; this user may not do that: name another, or start as another user"
        }
        ErrorKind::ReadOnlyFilesystem => "; nothing can be written there: name another place",
        ErrorKind::NotADirectory => "; name a directory",
        ErrorKind::IsADirectory => "; name a file, not a directory",
        ErrorKind::AddrInUse => "; another program listens there",
        ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    }
}

/// Says what is wrong on standard error, or, when that is the connection with
/// a client, in syslog.
pub fn complain(sentence: &str) {
    if is_guarded() {
        super::logging::once(sentence);
    } else {
        // Standard error may be closed; then nobody is told.
        let _ = writeln!(std::io::stderr(), "{sentence}");
    }
}

static GUARDED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Whether standard error was the connection with a client.
pub fn is_guarded() -> bool {
    GUARDED.load(std::sync::atomic::Ordering::Relaxed)
}

/// Call this first. inetd hands the connection over as descriptors 0, 1 and
/// 2: whatever is written to standard error, a panic's message too, would
/// reach the client as a reply.
pub fn guard_connection() {
    let same = |one: rustix::fs::Stat, two: rustix::fs::Stat| {
        one.st_dev == two.st_dev && one.st_ino == two.st_ino
    };
    let Ok(input) = rustix::fs::fstat(std::io::stdin().as_fd()) else {
        return;
    };
    if rustix::fs::FileType::from_raw_mode(input.st_mode) != rustix::fs::FileType::Socket {
        return;
    }
    if rustix::fs::fstat(std::io::stderr().as_fd()).is_ok_and(|error| same(error, input)) {
        if silence(|to| rustix::stdio::dup2_stderr(to)).is_err() {
            std::process::exit(TEMPORARY);
        }
        GUARDED.store(true, std::sync::atomic::Ordering::Relaxed);
    }
    if rustix::fs::fstat(std::io::stdout().as_fd()).is_ok_and(|output| same(output, input))
        && silence(|to| rustix::stdio::dup2_stdout(to)).is_err()
    {
        std::process::exit(TEMPORARY);
    }
}

/// Puts something that swallows everything in the place of a standard
/// descriptor: /dev/null, or, in a chroot without one, a socket whose other
/// end is closed.
pub fn silence(
    place: impl FnOnce(rustix::fd::BorrowedFd<'_>) -> rustix::io::Result<()>,
) -> std::io::Result<()> {
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null");
    match null {
        Ok(null) => place(null.as_fd())?,
        Err(_) => place(std::os::unix::net::UnixStream::pair()?.0.as_fd())?,
    }
    Ok(())
}
