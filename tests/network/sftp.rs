//! OpenSSH's sftp, which is told what to do while it runs.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::TempDir;
use crate::common::process::Lines;

pub struct Sftp {
    child: std::process::Child,
    input: ChildStdin,
    out: Lines,
}

impl Sftp {
    /// A session of ann, on `machine` if there is one; `None` if it is refused.
    pub fn connect(scratch: &TempDir, server: SocketAddr, machine: Option<&str>) -> Option<Self> {
        let ask = scratch.join("ask");
        if !ask.exists() {
            std::fs::write(&ask, "#!/bin/sh\necho secret\n").unwrap();
            std::fs::set_permissions(&ask, PermissionsExt::from_mode(0o700)).unwrap();
        }
        let mut command = match machine {
            None => Command::new("sftp"),
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name, "sftp"]);
                command
            }
        };
        command.current_dir(scratch.path());
        command
            .env("SSH_ASKPASS", &ask)
            .env("SSH_ASKPASS_REQUIRE", "force");
        command.args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]);
        command.args([
            "-o",
            "LogLevel=ERROR",
            "-o",
            "PreferredAuthentications=password",
        ]);
        command.args(["-o", "NumberOfPasswordPrompts=1", "-F", "none"]);
        command.args([
            "-P",
            &server.port().to_string(),
            &format!("ann@{}", server.ip()),
        ]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let session = Sftp {
            input: child.stdin.take().unwrap(),
            out: Lines::of(child.stdout.take().unwrap()),
            child,
        };
        session.says("pwd", "working directory").then_some(session)
    }

    fn send(&self, line: &str) {
        let _ = (&self.input).write_all(format!("{line}\n").as_bytes());
    }

    /// Whether the answer to a command has `word` in it once more than before;
    /// no if the session ends.
    fn says(&self, line: &str, word: &str) -> bool {
        let count = |text: &str| text.matches(word).count();
        let before = count(&self.out.text());
        self.send(line);
        let until = Instant::now() + Duration::from_secs(20);
        while count(&self.out.text()) == before {
            if self.has_ended() || Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    fn has_ended(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        stat.is_ok_and(|stat| stat.contains(") Z "))
    }

    /// The session answers.
    #[track_caller]
    pub fn works(&self) {
        assert!(self.says("pwd", "working directory"), "{}", self.out.text());
    }
}

impl Drop for Sftp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
