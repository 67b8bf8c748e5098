//! Other servers, to compare with. Their only user is `ftp`, whose password is
//! `secret`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::TempDir;
use super::process::located;

/// How a server is started that serves a directory: on an address, or for the
/// connection that is its standard input. `None` where it is not installed.
pub type Peer = fn(&TempDir, &Path, Option<SocketAddr>) -> Option<Command>;

/// Who acts on files: root may not log in to either.
pub const USER: u32 = 60_001;

/// A program that is there; `None` with a word, or a failure where the tests
/// must be complete.
fn find(program: &str) -> Option<PathBuf> {
    let found = located(program);
    if found.is_none() {
        missing(&format!("{program} (tests/install-clients.sh installs it)"));
    }
    found
}

pub fn missing(what: &str) {
    let needed = std::env::var_os("WHARF_NEED_CLIENTS").is_some();
    assert!(!needed, "missing: {what}");
    eprintln!("SKIP {what}");
}

pub fn vsftpd(place: &TempDir, home: &Path, address: Option<SocketAddr>) -> Option<Command> {
    let config = place.join("vsftpd.conf");
    let empty = place.join("empty");
    std::fs::create_dir(&empty).unwrap();
    let listen = match address {
        None => "listen=NO\n".into(),
        Some(address) => format!(
            "listen=YES\nlisten_address={}\nlisten_port={}\nbackground=NO\n",
            address.ip(),
            address.port()
        ),
    };
    let text = format!(
        "{listen}anonymous_enable=YES\nanon_root={}\nwrite_enable=YES\nanon_upload_enable=YES\n\
         anon_mkdir_write_enable=YES\nanon_other_write_enable=YES\nanon_umask=022\n\
         anon_world_readable_only=NO\nallow_writeable_chroot=YES\nno_anon_password=NO\n\
         secure_chroot_dir={}\nxferlog_enable=NO\nseccomp_sandbox=NO\nftp_username=daemon\n\
         ascii_upload_enable=YES\nascii_download_enable=YES\nmax_login_fails=3\n",
        home.display(),
        empty.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(find("vsftpd")?);
    command.arg(config);
    Some(command)
}

pub fn pure_ftpd(place: &TempDir, home: &Path, address: Option<SocketAddr>) -> Option<Command> {
    let (users, database) = (place.join("pure.passwd"), place.join("pure.pdb"));
    let mut made = Command::new(find("pure-pw")?)
        .args(["useradd", "ftp", "-u", &USER.to_string()])
        .args(["-g", &USER.to_string(), "-m", "-d"])
        .arg(home)
        .arg("-f")
        .arg(&users)
        .arg("-F")
        .arg(&database)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = made.stdin.take().unwrap();
    let _ = std::io::Write::write_all(&mut input, b"secret\nsecret\n");
    drop(input);
    assert!(made.wait().unwrap().success(), "pure-pw useradd");
    let mut command = Command::new(find("pure-ftpd")?);
    command.args(["-A", "-H", "-E", "-f", "none", "-L", "10000:20", "-l"]);
    command.arg(format!("puredb:{}", database.display()));
    if let Some(address) = address {
        command.args(["-S", &format!("{},{}", address.ip(), address.port())]);
    }
    Some(command)
}
