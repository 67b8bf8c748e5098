//! `--daemon` and `--pid-file`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use rustix::process::{Pid, WaitOptions};
use wharf::daemon::os::Fork;

use super::failure::{Failure, TEMPORARY, silence, what_to_do};

/// What the child writes to the parent when it serves.
const READY: u8 = b'!';

/// The end of the pipe to the parent, which waits on the terminal.
pub struct Parent(OwnedFd);

/// Goes on in a child of its own session. The parent ends when the child says
/// that it serves, with 0, or when the child ends, with its code; until then
/// the child's errors appear on the terminal.
///
/// # Errors
/// No pipe or no process can be made.
pub fn detach() -> Result<Parent, Failure> {
    let trouble =
        |error: io::Error| Failure::temporary(format!("going to the background: {error}"));
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| trouble(errno.into()))?;
    match wharf::daemon::os::fork().map_err(trouble)? {
        Fork::Child => {
            // A session of its own has no terminal whose end would end it.
            rustix::process::setsid().map_err(|errno| trouble(errno.into()))?;
            Ok(Parent(write))
        }
        Fork::Parent(child) => {
            drop(write);
            let mut word = [0];
            if matches!(File::from(read).read(&mut word), Ok(1)) && word == [READY] {
                std::process::exit(0);
            }
            let status = rustix::process::waitpid(Pid::from_raw(child), WaitOptions::empty());
            let code = status
                .ok()
                .flatten()
                .and_then(|(_, status)| status.exit_status());
            std::process::exit(code.unwrap_or(TEMPORARY));
        }
    }
}

impl Parent {
    /// Says that the sockets are bound, and lets go of the terminal.
    pub fn ready(self) {
        let quiet = silence(|null| {
            rustix::stdio::dup2_stdin(null)?;
            rustix::stdio::dup2_stdout(null)?;
            rustix::stdio::dup2_stderr(null)
        });
        if let Err(error) = quiet {
            log::warn!("detaching from the terminal: {error}");
        }
        // The parent may have been killed; we serve all the same.
        let _ = File::from(self.0).write_all(&[READY]);
    }
}

/// The file with our process number, locked as long as we live.
pub struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Writes it.
    ///
    /// # Errors
    /// It can't be written, or another wharfd that lives has written it.
    pub fn write(path: &Path) -> Result<Self, Failure> {
        use std::os::unix::fs::OpenOptionsExt;
        let trouble = |error: io::Error| {
            let hint = what_to_do(error.kind());
            Failure::temporary(format!("pid-file {}: {error}{hint}", path.display()))
        };
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(path)
            .map_err(trouble)?;
        if rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Failure::temporary(format!(
                "pid-file {}: another wharfd runs with this file",
                path.display()
            )));
        }
        file.set_len(0).map_err(trouble)?;
        writeln!(file, "{}", std::process::id()).map_err(trouble)?;
        Ok(PidFile {
            path: path.into(),
            file,
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // In /run only root may remove it; an empty file names nobody.
        if std::fs::remove_file(&self.path).is_err() {
            let _ = self.file.set_len(0);
        }
    }
}
