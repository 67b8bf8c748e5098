//! `--system-users` over SFTP.

use std::os::unix::fs::{MetadataExt, chown};
use std::process::Command;

use super::common::process::{Process, has, run};
use super::etc::{ANN, ANNS, Etc, open_to_all};

#[test]
fn over_sftp_their_own_keys_let_them_in() {
    let Some(etc) = Etc::new("system-sftp") else {
        return;
    };
    if !has("sftp") || !has("ssh-keygen") {
        return;
    }
    let key = etc.0.join("key");
    run(
        Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key),
        "",
    );
    let ssh = etc.home("ann").join(".ssh");
    std::fs::create_dir(&ssh).unwrap();
    std::fs::copy(etc.0.join("key.pub"), ssh.join("authorized_keys")).unwrap();
    for path in [ssh.clone(), ssh.join("authorized_keys")] {
        chown(path, Some(ANN), Some(ANNS)).unwrap();
    }
    open_to_all(&ssh, 0o700);
    let host_key = etc.0.join("host-key");
    let mut command = etc.wharfd(&["--listen-sftp", "127.0.0.1:0", "--print-port"]);
    command
        .args(["--system-users", "--host-key"])
        .arg(&host_key);
    let server = Process::start(&mut command);
    let port = server.address().port().to_string();
    let mut sftp = Command::new("sftp");
    sftp.args(["-F", "/dev/null", "-b", "-", "-P", &port, "-i"])
        .arg(&key);
    sftp.args([
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ]);
    sftp.arg("ann@127.0.0.1").current_dir(etc.0.path());
    run(&mut sftp, "put key.pub mine\nget staffs\n-get roots\n");
    let metadata = std::fs::metadata(etc.home("ann").join("mine")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (ANN, ANNS));
    assert_eq!(std::fs::read(etc.0.join("staffs")).unwrap(), b"staffs");
    assert!(!etc.0.join("roots").exists());
}

/// The monitor judges certificates as the server does: by the authorities of the
/// settings, which it reads itself, and those in the user's own file.
#[test]
fn over_sftp_certificates_let_them_in() {
    let Some(etc) = Etc::new("system-certificates") else {
        return;
    };
    if !has("sftp") || !has("ssh-keygen") {
        return;
    }
    let top = etc.0.path();
    let keygen = |words: &[&str]| {
        run(Command::new("ssh-keygen").args(words).current_dir(top), "");
    };
    for key in ["ca", "anns-ca", "host-key", "key"] {
        keygen(&["-q", "-t", "ed25519", "-N", "", "-f", key]);
    }
    let ssh = etc.home("ann").join(".ssh");
    std::fs::create_dir(&ssh).unwrap();
    let public = std::fs::read_to_string(top.join("anns-ca.pub")).unwrap();
    let line = format!("cert-authority,principals=\"deploy\" {public}");
    std::fs::write(ssh.join("authorized_keys"), line).unwrap();
    for path in [ssh.clone(), ssh.join("authorized_keys")] {
        chown(path, Some(ANN), Some(ANNS)).unwrap();
    }
    open_to_all(&ssh, 0o700);
    let mut command = etc.wharfd(&["--listen-sftp", "127.0.0.1:0", "--print-port"]);
    command.args(["--system-users", "--host-key"]);
    command.arg(top.join("host-key"));
    command.arg("--ssh-user-ca").arg(top.join("ca.pub"));
    let server = Process::start(&mut command);
    let port = server.address().port().to_string();
    for (authority, principal, want) in [
        ("ca", "ann", true),
        ("ca", "root", false),
        ("anns-ca", "deploy", true),
        ("anns-ca", "ann", false),
    ] {
        keygen(&[
            "-q", "-s", authority, "-I", "id", "-n", principal, "key.pub",
        ]);
        let mut sftp = Command::new("sftp");
        sftp.args([
            "-F",
            "/dev/null",
            "-b",
            "/dev/null",
            "-P",
            &port,
            "-i",
            "key",
        ]);
        for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"] {
            sftp.args(["-o", option]);
        }
        let status = sftp.arg("ann@127.0.0.1").current_dir(top).status();
        assert_eq!(status.unwrap().success(), want, "{authority} {principal}");
    }
}
