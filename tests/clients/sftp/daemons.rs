//! sshd and dropbear as inetd would start them: one process a connection,
//! from a port that the system chooses; and wharfd with its own SSH. Settings,
//! keys and the user's home are in the directory of the test.

use std::fmt::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::tools::*;

/// The password of wharfd's user.
#[cfg(feature = "sftp")]
pub const PASSWORD: &str = "open sesame";
/// The same, hashed with little work, because a debug build checks it.
#[cfg(feature = "sftp")]
const HASH: &str = "$5$rounds=1000$wharf$1RfuW6n/Us8eMNckFbThxBOqCT1yO9Y/WcluGJjqeW.";

/// A daemon that waits for clients.
pub struct Daemon {
    pub address: SocketAddr,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// wharfd, which takes its connections itself.
    pub process: Option<Child>,
    /// The directory that is the root for clients.
    jail: Option<PathBuf>,
    /// The private key that lets a client in.
    pub key: PathBuf,
    /// What clients know about the daemon's key.
    pub known_hosts: PathBuf,
    pub user: String,
}

impl Daemon {
    /// sshd with wharfd and these flags as its subsystem.
    pub fn sshd(place: &Place, flags: &str) -> Option<Daemon> {
        if !have(&["sshd", "ssh-keygen", "ssh"]) {
            return None;
        }
        let top = place.top();
        let (host_key, key) = (top.join("host_key"), top.join("key"));
        for key in [&host_key, &key] {
            let arguments = ["-q", "-t", "ed25519", "-N", "", "-f", key.to_str()?];
            run("ssh-keygen", &arguments, top);
        }
        let root = user_number() == 0;
        if root {
            // The one thing that sshd can't be told to do without.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let mut config = String::new();
        for (word, value) in [
            ("HostKey", host_key.to_str()?),
            ("AuthorizedKeysFile", top.join("key.pub").to_str()?),
            (
                "Subsystem",
                &format!("sftp {} --sftp-server {flags}", wharfd()),
            ),
            ("PermitRootLogin", "yes"),
            ("PasswordAuthentication", "no"),
            ("UsePAM", "no"),
            ("StrictModes", "no"),
            ("LogLevel", "ERROR"),
        ] {
            writeln!(config, "{word} {value}").unwrap();
        }
        let file = top.join("sshd_config");
        std::fs::write(&file, config).unwrap();
        let command = vec![
            find("sshd")?.to_str()?.into(),
            "-i".into(),
            "-e".into(),
            "-f".into(),
            file.to_str()?.into(),
        ];
        let public = std::fs::read_to_string(top.join("host_key.pub")).unwrap();
        Some(Daemon::start(place, command, &public))
    }

    /// wharfd with its own SSH and these flags. Its user has a password and a
    /// key, and the place's `remote` as `/`.
    #[cfg(feature = "sftp")]
    pub fn wharfd(place: &Place, flags: &str) -> Option<Daemon> {
        Daemon::wharfd_with(place, flags, "elradfmwMT:keys=key.pub")
    }

    /// The same with the end of the user's line.
    #[cfg(feature = "sftp")]
    pub fn wharfd_with(place: &Place, flags: &str, user: &str) -> Option<Daemon> {
        use std::io::{BufRead, BufReader};
        use std::os::unix::fs::PermissionsExt;
        if !have(&["ssh-keygen", "ssh"]) {
            return None;
        }
        let top = place.top();
        let key = top.join("key");
        let arguments = ["-q", "-t", "ed25519", "-N", "", "-f", key.to_str()?];
        run("ssh-keygen", &arguments, top);
        let (users, remote) = (top.join("users"), place.remote());
        let line = format!("ann:{HASH}:{}:{user}\n", remote.to_str()?);
        std::fs::write(&users, line).unwrap();
        for secret in [&users, &top.join("key.pub")] {
            std::fs::set_permissions(secret, PermissionsExt::from_mode(0o600)).unwrap();
        }
        let host_key = top.join("host_key");
        let public = |key: &Path| run("ssh-keygen", &["-y", "-f", key.to_str().unwrap()], top);
        let mut command = Command::new(wharfd());
        if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0 {
            // The tree is root's.
            command.args(["--user", "root"]);
        }
        let mut child = command
            .args(["--listen-sftp", "127.0.0.1:0", "--print-port"])
            .args(["--site-symlink", "anywhere"])
            .arg("--users")
            .arg(&users)
            .arg("--host-key")
            .arg(&host_key)
            .args(["--login-delay", "0", "--log-file"])
            .arg(top.join("daemon.log"))
            .args(flags.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut port).unwrap();
        let address: SocketAddr = port.trim().parse().expect("the port of wharfd");
        let mut daemon = Daemon::at(place, address, &public(&host_key));
        daemon.process = Some(child);
        daemon.jail = Some(remote);
        daemon.user = "ann".into();
        Some(daemon)
    }

    /// dropbear with wharfd at the path where dropbear looks, which a mount
    /// namespace of its own makes possible, and with a home of the test's.
    pub fn dropbear(place: &Place) -> Option<Daemon> {
        const LOOKS_FOR: &str = "/usr/lib/sftp-server";
        if !have(&[
            "dropbear",
            "dropbearkey",
            "ssh-keygen",
            "unshare",
            "mount",
            "ssh",
        ]) {
            return None;
        }
        let Ok(target) = std::fs::canonicalize(LOOKS_FOR) else {
            skip(&format!("no {LOOKS_FOR} to mount over"));
            return None;
        };
        if user_number() != 0 || !try_run("unshare".as_ref(), &["-m", "true"], place.top()).0 {
            skip("only root can mount wharfd where dropbear looks for it");
            return None;
        }
        let top = place.top();
        let (host_key, key) = (top.join("host_key"), top.join("key"));
        let made = ["-t", "ed25519", "-f", host_key.to_str()?];
        let public = run("dropbearkey", &made, top);
        let public = public
            .lines()
            .find(|line| line.starts_with("ssh-"))?
            .to_owned();
        let arguments = ["-q", "-t", "ed25519", "-N", "", "-f", key.to_str()?];
        run("ssh-keygen", &arguments, top);
        let home = home_of(0)?;
        std::fs::create_dir(place.remote().join(".ssh")).unwrap();
        let keys = place.remote().join(".ssh/authorized_keys");
        std::fs::copy(top.join("key.pub"), keys).unwrap();
        let script = format!(
            "mount --bind '{}' '{}' && mount --bind '{}' '{home}' && exec dropbear -i -s -r '{}'",
            wharfd(),
            target.display(),
            place.remote().display(),
            host_key.display(),
        );
        let command = ["unshare", "-m", "sh", "-c", &script]
            .map(String::from)
            .to_vec();
        Some(Daemon::start(place, command, &public))
    }

    fn start(place: &Place, command: Vec<String>, public: &str) -> Daemon {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ending = Arc::new(AtomicBool::new(false));
        let log = place.top().join("daemon.log");
        let thread = std::thread::spawn({
            let ending = Arc::clone(&ending);
            move || accept(&listener, &command, &ending, &log)
        });
        let mut daemon = Daemon::at(place, address, public);
        daemon.ending = ending;
        daemon.thread = Some(thread);
        daemon
    }

    fn at(place: &Place, address: SocketAddr, public: &str) -> Daemon {
        let known_hosts = place.top().join("known_hosts");
        let words: Vec<_> = public.split_whitespace().take(2).collect();
        let line = format!("[127.0.0.1]:{} {}\n", address.port(), words.join(" "));
        std::fs::write(&known_hosts, line).unwrap();
        Daemon {
            address,
            ending: Arc::default(),
            thread: None,
            process: None,
            jail: None,
            key: place.top().join("key"),
            known_hosts,
            user: user_name(),
        }
    }

    pub fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// What clients call a file or directory of this machine.
    pub fn path(&self, path: &Path) -> String {
        match &self.jail {
            Some(jail) => format!("/{}", path.strip_prefix(jail).unwrap().display()),
            None => path.display().to_string(),
        }
    }

    /// Whether a password is a way in: to wharfd it is.
    pub fn takes_passwords(&self) -> bool {
        self.process.is_some()
    }

    /// Options that OpenSSH's clients share.
    pub fn options(&self) -> Vec<String> {
        let mut options = vec!["-F".to_owned(), "none".to_owned()];
        for option in [
            format!("Port={}", self.port()),
            format!("IdentityFile={}", self.key.display()),
            "IdentitiesOnly=yes".into(),
            format!("UserKnownHostsFile={}", self.known_hosts.display()),
            "StrictHostKeyChecking=yes".into(),
            "BatchMode=yes".into(),
        ] {
            options.extend(["-o".to_owned(), option]);
        }
        options
    }
}

/// Starts one process a connection, and waits for all at the end.
fn accept(listener: &TcpListener, command: &[String], ending: &AtomicBool, log: &Path) {
    let mut children = Vec::new();
    while let Ok((socket, _)) = listener.accept() {
        if ending.load(Ordering::SeqCst) {
            break;
        }
        let log = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)
            .unwrap();
        let other = socket.try_clone().unwrap();
        let child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stdout(Stdio::from(OwnedFd::from(other)))
            .stderr(log)
            .spawn()
            .unwrap();
        children.push(child);
    }
    for mut child in children {
        // Its client is gone; a child that is still there hangs.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
            return;
        }
        self.ending.store(true, Ordering::SeqCst);
        // One more connection makes accept return.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn user_number() -> u32 {
    run("id", &["-u"], Path::new("/")).trim().parse().unwrap()
}

fn user_name() -> String {
    run("id", &["-un"], Path::new("/")).trim().to_owned()
}

fn home_of(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&uid.to_string().as_str()))
        .and_then(|fields| fields.get(5).map(|home| home.to_string()))
}
