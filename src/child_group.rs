//! A program of the administrator's that is run for one login or one event, and
//! does not outlast it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// The longest pause between two looks at whether it has ended.
const PAUSE: Duration = Duration::from_millis(50);

/// A program with all it starts, which are killed when this is dropped before
/// the program has ended.
pub struct ChildGroup {
    child: Child,
    ended: bool,
}

impl ChildGroup {
    /// Starts it, in a group of its own.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        Ok(ChildGroup {
            child: command.process_group(0).spawn()?,
            ended: false,
        })
    }

    /// What it reads and writes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How it ended; `None`: it did not until then.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&mut self, until: Instant) -> io::Result<Option<ExitStatus>> {
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.ended = true;
                return Ok(Some(status));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE);
        }
    }
}

impl Drop for ChildGroup {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Not yet waited for, so the number is still its own.
        if let Ok(Some(group)) = i32::try_from(self.child.id()).map(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
