//! A private /etc with accounts, and homes for them.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::TempDir;
use crate::common::process::{Process, WHARFD, descendants, has, wait};

/// The number of ann, of her group, and of a group she is in besides.
pub const ANN: u32 = 4711;
pub const ANNS: u32 = 4712;
pub const STAFF: u32 = 4713;

/// A directory with `etc`, `homes`, and a copy of wharfd that every user may
/// run: the one that cargo has built may lie where others can't reach it.
pub struct Etc(pub TempDir);

impl Etc {
    /// `None`, with SKIP, where this can't be had.
    pub fn new(name: &str) -> Option<Self> {
        if !std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
            eprintln!("SKIP: needs root");
            return None;
        }
        if !has("unshare") {
            return None;
        }
        let directory = TempDir::new(name);
        open_to_all(directory.path(), 0o755);
        std::fs::copy(WHARFD, directory.join("wharfd")).unwrap();
        std::fs::create_dir_all(directory.join("etc/pam.d")).unwrap();
        let etc = Etc(directory);
        let mut passwd = String::new();
        let mut shadow = String::new();
        let hash = etc.hash("secret");
        for (name, uid, shell, password) in [
            ("root", 0, "/bin/sh", hash.clone()),
            ("ann", ANN, "/bin/sh", hash.clone()),
            ("daemon", 4714, "/usr/sbin/nologin", hash.clone()),
            ("listed", 4715, "/bin/sh", hash.clone()),
            ("locked", 4716, "/bin/sh", format!("!{hash}")),
        ] {
            let home = etc.home(name);
            std::fs::create_dir_all(&home).unwrap();
            chown(&home, Some(uid), Some(uid)).unwrap();
            open_to_all(&home, 0o700);
            let home = home.display();
            let gid = if name == "ann" { ANNS } else { uid };
            passwd += &format!("{name}:x:{uid}:{gid}::{home}:{shell}\n");
            shadow += &format!("{name}:{password}:19000:0:99999:7:::\n");
        }
        etc.write("passwd", &passwd);
        etc.write("shadow", &shadow);
        etc.write(
            "group",
            &format!("root:x:0:\nanns:x:{ANNS}:\nstaff:x:{STAFF}:ann\n"),
        );
        etc.write("shells", "/bin/sh\n");
        etc.write("ftpusers", "listed\n");
        let home = etc.home("ann");
        for (name, group, mode) in [("roots", 0, 0o600), ("staffs", STAFF, 0o040)] {
            std::fs::write(home.join(name), name).unwrap();
            chown(home.join(name), Some(0), Some(group)).unwrap();
            open_to_all(&home.join(name), mode);
        }
        Some(etc)
    }

    pub fn home(&self, name: &str) -> PathBuf {
        self.0.join("homes").join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join("etc").join(name), text).unwrap();
    }

    /// The copy of wharfd, where the private /etc is in force.
    pub fn wharfd(&self, arguments: &[&str]) -> Command {
        let script = "mount --bind \"$1\" /etc && shift && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, "sh"]);
        command.arg(self.0.join("etc"));
        command.arg(self.0.join("wharfd")).args(arguments);
        command
    }

    /// It serves on a free port, with one more argument or several.
    pub fn serve(&self, arguments: &[&str]) -> Process {
        let mut command = self.wharfd(&["--listen", "127.0.0.1:0", "--print-port"]);
        command.args(["--login-delay", "0", "--login-tries", "0"]);
        Process::start(command.args(arguments))
    }

    /// A `$6$` hash, which all of wharfd, PAM and crypt(3) know.
    fn hash(&self, password: &str) -> String {
        let file = self.0.join("users");
        let mut child = Command::new(WHARFD)
            .args(["passwd", "-c", "--rounds", "1000"])
            .arg(&file)
            .arg("ann")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let line = format!("{password}\n");
        let mut input = child.stdin.take().unwrap();
        input.write_all(line.as_bytes()).unwrap();
        drop(input);
        assert!(wait(&mut child).success());
        let text = std::fs::read_to_string(file).unwrap();
        text.split(':').nth(1).unwrap().to_owned()
    }
}

pub fn open_to_all(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// A field of the status of each thread of a process; of none, where the
/// process has ended meanwhile.
pub fn threads(pid: u32, name: &str) -> Vec<Vec<String>> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let texts = tasks.into_iter().flatten().filter_map(|task| {
        let status = task.ok()?.path().join("status");
        std::fs::read_to_string(status).ok()
    });
    let fields = texts.map(|text| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect()
    });
    fields.collect()
}

/// The worker of a user: the process of that number that the server has had
/// started.
pub fn worker(server: u32, uid: u32) -> Option<u32> {
    let uid = uid.to_string();
    descendants(server)
        .into_iter()
        .find(|pid| threads(*pid, "Uid:").iter().all(|uids| uids[1] == uid))
}
