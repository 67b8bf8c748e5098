//! Host key files, beside what `ssh-keygen` makes and shows.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ssh::HostKeys;
use crate::temp::TempDir;

#[test]
fn host_keys_are_private_and_stay() {
    let scratch = TempDir::new("ssh");
    let path = scratch.join("host_key");
    let paths = [path.clone()];
    let first = HostKeys::load_or_create(&paths).unwrap().fingerprints();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = HostKeys::load_or_create(&paths).unwrap().fingerprints();
    assert_eq!(first, second);
    assert_eq!(first, shown_by_ssh_keygen(&path));
}

/// Keys of other tools: OpenSSH's format, PKCS#1 or SEC1 (PEM), PKCS#8.
#[test]
fn host_keys_of_each_format_are_read() {
    let scratch = TempDir::new("ssh");
    for (algorithm, bits) in [
        ("ed25519", ""),
        ("ecdsa", "256"),
        ("ecdsa", "384"),
        ("ecdsa", "521"),
        ("rsa", "2048"),
    ] {
        for format in ["RFC4716", "PEM", "PKCS8"] {
            let path = scratch.join(format!("{algorithm}{bits}_{format}"));
            keygen(&path, &["-t", algorithm, "-m", format], bits, "");
            let keys = HostKeys::load_or_create(std::slice::from_ref(&path)).unwrap();
            assert_eq!(keys.fingerprints(), shown_by_ssh_keygen(&path));
        }
    }
    // What can't be used must say so, and never ask a terminal.
    for (name, arguments, bits, passphrase, words) in [
        (
            "locked",
            ["-t", "ed25519", "-m", "RFC4716"],
            "",
            "secret",
            "passphrase",
        ),
        (
            "locked_pem",
            ["-t", "rsa", "-m", "PEM"],
            "2048",
            "secret",
            "ssh-keygen -p",
        ),
        (
            "short",
            ["-t", "rsa", "-m", "PEM"],
            "1024",
            "",
            "2048 bits or more",
        ),
    ] {
        let path = scratch.join(name);
        keygen(&path, &arguments, bits, passphrase);
        let error = HostKeys::load_or_create(&[path]).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
    let path = scratch.join("ed25519_PEM");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
    let error = HostKeys::load_or_create(&[path]).err().unwrap().to_string();
    assert!(error.contains("others may write"), "{error}");
    let text = scratch.join("text");
    fs::write(&text, "no key\n").unwrap();
    let error = HostKeys::load_or_create(&[text]).err().unwrap().to_string();
    assert!(
        error.ends_with("not a private key in PEM or OpenSSH's format"),
        "{error}"
    );
    assert!(HostKeys::load_or_create(&[]).is_err());
}

fn keygen(path: &Path, arguments: &[&str], bits: &str, passphrase: &str) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-N", passphrase]).args(arguments);
    if !bits.is_empty() {
        command.args(["-b", bits]);
    }
    assert!(command.arg("-f").arg(path).status().unwrap().success());
}

fn shown_by_ssh_keygen(path: &Path) -> Vec<(PathBuf, String, String)> {
    let shown = Command::new("ssh-keygen").arg("-lf").arg(path).output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    let words: Vec<&str> = shown.split_whitespace().collect();
    let key_type = match *words.last().unwrap() {
        "(ED25519)" => "ssh-ed25519",
        "(ECDSA)" if words[0] == "384" => "ecdsa-sha2-nistp384",
        "(ECDSA)" if words[0] == "521" => "ecdsa-sha2-nistp521",
        "(ECDSA)" => "ecdsa-sha2-nistp256",
        _ => "ssh-rsa",
    };
    vec![(path.into(), key_type.into(), words[1].into())]
}
