//! What clients do: upload a file, fetch it again and compare, with programs
//! that people have.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::common::rng::Rng;
use super::site::{self, FTP, FTPS, SERVICE, SFTP, Site};

/// How long one program may take: longer than a balancer and a client need to
/// notice that a link is down.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that moves files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    Curl,
    CurlTls,
    CurlImplicit,
    Lftp,
    Rclone,
    Sftp,
}

impl Tool {
    /// Of so many clients; rclone, which needs most memory, is the rarest.
    pub fn of(number: usize) -> Tool {
        match number % 20 {
            0..=5 => Tool::Curl,
            6..=7 => Tool::CurlTls,
            8 => Tool::CurlImplicit,
            9..=13 => Tool::Lftp,
            14 => Tool::Rclone,
            _ => Tool::Sftp,
        }
    }
}

/// One of many clients.
pub struct Worker {
    pub number: usize,
    pub tool: Tool,
    directory: PathBuf,
    home: PathBuf,
    random: Rng,
}

/// What a worker has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Names and contents that were acknowledged.
    pub stored: Vec<(String, Vec<u8>)>,
    /// Tries that failed and were made again.
    pub retries: u32,
    /// Downloads that were compared.
    pub fetched: u32,
}

impl Worker {
    pub fn new(number: usize, site: &Site) -> Self {
        let directory = site.shared.join("clients").join(number.to_string());
        std::fs::create_dir_all(&directory).unwrap();
        Worker {
            number,
            tool: Tool::of(number),
            home: site.shared.join("clients"),
            directory,
            random: Rng::fixed(number as u64 + 1),
        }
    }

    /// Stores and fetches one file, however often it takes; what `seen` gets
    /// has been acknowledged.
    pub fn round(&mut self, round: usize, until: Instant, seen: &mut Seen) {
        let name = format!("c{}-r{round}", self.number);
        let size = 1 + self.random.below(120_000);
        let content = self.random.bytes(size);
        let (out, back) = (self.directory.join(&name), self.directory.join("back"));
        std::fs::write(&out, &content).unwrap();
        self.insist(until, seen, |worker, seen| {
            let (ok, acknowledged) = worker.store(&out, &name);
            if ok || acknowledged {
                seen.stored.push((name.clone(), content.clone()));
            }
            ok
        });
        self.insist(until, seen, |worker, _| {
            let _ = std::fs::remove_file(&back);
            worker.fetch(&name, &back)
        });
        let got = std::fs::read(&back).unwrap();
        assert!(
            got == content,
            "{:?}: {name} came back different",
            self.tool
        );
        seen.fetched += 1;
        let _ = std::fs::remove_file(out);
    }

    fn insist(
        &mut self,
        until: Instant,
        seen: &mut Seen,
        mut work: impl FnMut(&mut Self, &mut Seen) -> bool,
    ) {
        while !work(self, seen) {
            seen.retries += 1;
            let late = Instant::now() >= until;
            assert!(
                !late,
                "{:?} {} gets nowhere: {}",
                self.tool,
                self.number,
                self.said()
            );
            // As people do before they try again; it is no wait for luck.
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Whether the program was content, and whether the server had said 226.
    fn store(&mut self, file: &Path, name: &str) -> (bool, bool) {
        let file = file.display();
        match self.tool {
            Tool::Curl | Tool::CurlTls | Tool::CurlImplicit => {
                let (ok, said) = self.curl(&["-v", "-T", &file.to_string(), &self.url(name)]);
                // Of the upload: the login's replies are other numbers.
                (ok, said.lines().any(|line| line.starts_with("< 226")))
            }
            Tool::Lftp => self.lftp(&format!("put {file} -o {name}")),
            Tool::Rclone => self.rclone(&["copyto", &file.to_string(), &format!(":ftp:{name}")]),
            Tool::Sftp => self.sftp(&format!("put {file} {name}")),
        }
    }

    fn fetch(&mut self, name: &str, to: &Path) -> bool {
        let to = to.display();
        match self.tool {
            Tool::Curl | Tool::CurlTls | Tool::CurlImplicit => {
                self.curl(&["-o", &to.to_string(), &self.url(name)]).0
            }
            Tool::Lftp => self.lftp(&format!("get {name} -o {to}")).0,
            Tool::Rclone => {
                self.rclone(&["copyto", &format!(":ftp:{name}"), &to.to_string()])
                    .0
            }
            Tool::Sftp => self.sftp(&format!("get {name} {to}")).0,
        }
    }

    fn url(&self, name: &str) -> String {
        match self.tool {
            Tool::CurlImplicit => format!("ftps://{SERVICE}:{FTPS}/{name}"),
            _ => format!("ftp://{SERVICE}:{FTP}/{name}"),
        }
    }

    /// The client's own address: the site has many.
    fn from(&self) -> String {
        site::client((self.number % 256) as u8).to_string()
    }

    fn curl(&self, words: &[&str]) -> (bool, String) {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-k", "-u", "ann:secret", "--interface", &self.from()]);
        curl.args([
            "--connect-timeout",
            "10",
            "--speed-time",
            "15",
            "--speed-limit",
            "1",
        ]);
        if self.tool == Tool::CurlTls {
            curl.arg("--ssl-reqd");
        }
        self.run(curl.args(words), "")
    }

    fn lftp(&self, line: &str) -> (bool, bool) {
        let script = format!(
            "set cmd:fail-exit yes; set net:timeout 15; set net:max-retries 1; \
             set net:socket-bind-ipv4 {}; set ssl:verify-certificate no; set xfer:clobber yes; \
             open -u ann,secret ftp://{SERVICE}:{FTP}; {line}",
            self.from()
        );
        let mut lftp = Command::new("lftp");
        let ok = self.run(lftp.args(["--norc", "-c", &script]), "").0;
        (ok, false)
    }

    fn rclone(&self, words: &[&str]) -> (bool, bool) {
        let mut rclone = Command::new("rclone");
        rclone.args(["--config", "", "--retries", "1", "--low-level-retries", "1"]);
        rclone.args(["--ftp-host", SERVICE, "--ftp-user", "ann", "--ftp-pass"]);
        // "secret" as rclone obscures it.
        rclone.arg(rclone_password());
        rclone.args([
            "--bind",
            &self.from(),
            "--timeout",
            "15s",
            "--contimeout",
            "10s",
        ]);
        rclone.env("GOMAXPROCS", "1");
        let ok = self.run(rclone.args(words), "").0;
        (ok, false)
    }

    fn sftp(&self, line: &str) -> (bool, bool) {
        let mut sftp = Command::new("sftp");
        for option in [
            "StrictHostKeyChecking=yes",
            "ConnectTimeout=10",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
            "PreferredAuthentications=password",
            "NumberOfPasswordPrompts=1",
            "BatchMode=no",
        ] {
            sftp.args(["-o", option]);
        }
        // All nodes have the same host key.
        sftp.arg("-o").arg(format!(
            "UserKnownHostsFile={}",
            self.home.join("known").display()
        ));
        sftp.args(["-o", &format!("BindAddress={}", self.from())]);
        sftp.args(["-P", &SFTP.to_string(), "-q", "-b", "-"]);
        sftp.arg(format!("ann@{SERVICE}"));
        sftp.env("SSH_ASKPASS", self.home.join("askpass"))
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("DISPLAY", ":0");
        let ok = self.run(&mut sftp, &format!("{line}\n")).0;
        (ok, false)
    }

    /// Runs a program; one that takes too long has failed.
    fn run(&self, command: &mut Command, input: &str) -> (bool, String) {
        let log = self.directory.join("said");
        let said = std::fs::File::create(&log).unwrap();
        let mut child = command
            .env("HOME", &self.directory)
            .env("XDG_CACHE_HOME", &self.directory)
            .current_dir(&self.directory)
            .stdin(Stdio::piped())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
        drop(stdin);
        let until = Instant::now() + PATIENCE;
        let ok = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status.success(),
                None if Instant::now() > until => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break false;
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        (
            ok,
            String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned(),
        )
    }

    /// What the last program said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.directory.join("said")).unwrap_or_default()
    }
}

/// What all clients need.
pub fn prepare(site: &Site) {
    use std::os::unix::fs::PermissionsExt;
    let home = site.shared.join("clients");
    std::fs::create_dir_all(&home).unwrap();
    let askpass = home.join("askpass");
    std::fs::write(&askpass, "#!/bin/sh\necho secret\n").unwrap();
    std::fs::set_permissions(&askpass, std::fs::Permissions::from_mode(0o755)).unwrap();
    let key = std::fs::read_to_string(site.shared.join("host_key.pub")).unwrap();
    std::fs::write(home.join("known"), format!("{SERVICE} {key}")).unwrap();
    rclone_password();
}

fn rclone_password() -> &'static str {
    use std::sync::OnceLock;
    static OBSCURED: OnceLock<String> = OnceLock::new();
    OBSCURED.get_or_init(|| {
        let output = Command::new("rclone")
            .args(["obscure", "secret"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    })
}
