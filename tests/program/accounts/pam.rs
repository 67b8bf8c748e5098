//! `--auth-helper` on PAM, with a service and an account of the test's own.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::common::Client;
use super::common::process::has;
use super::etc::{ANN, ANNS, Etc, STAFF, open_to_all, threads, worker};

/// A service with an account rule of its own besides the usual password.
const SERVICE: &str = "auth required pam_unix.so nodelay\n\
                       account required pam_unix.so\n\
                       account required pam_access.so accessfile=/etc/access.conf\n\
                       session required pam_permit.so\n";

fn helper(etc: &Etc, words: &[&str]) {
    etc.write("pam.d/wharf", SERVICE);
    etc.write("access.conf", "-:listed:ALL\n");
    let mut arguments: Vec<String> = Vec::new();
    for word in words {
        arguments.extend(["--auth-helper".to_owned(), (*word).to_owned()]);
    }
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--auth-helper-rights", "read-write", "--threads", "2"]);
    let server = etc.serve(&arguments);
    let mut client = Client::greeted(server.address());
    for (name, password) in [
        ("ann", "wrong"),
        ("ann", ""),
        ("nobody", "secret"),
        ("locked", "secret"),
        ("-h", "secret"),
        ("--help", "secret"),
        // By PAM's account rules alone.
        ("listed", "secret"),
    ] {
        client.expect(&format!("USER {name}"), 331);
        let reply = client.cmd(&format!("PASS {password}"));
        assert!(reply.code == 530 || reply.code == 421, "{name}: {reply:?}");
    }
    client.login("ann", "secret");
    let worker = worker(server.pid(), ANN).unwrap();
    let hers = vec![ANNS.to_string(), STAFF.to_string()];
    assert!(
        threads(worker, "Groups:")
            .iter()
            .all(|groups| *groups == hers)
    );
    assert_eq!(client.store("STOR mine", b"x").code, 226);
    let metadata = std::fs::metadata(etc.home("ann").join("mine")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (ANN, ANNS));
    assert_eq!(client.fetch("RETR staffs"), b"staffs");
    client.data();
    client.expect("RETR roots", 550);
    assert!(!server.log.text().contains("secret"));
}

/// What wharfd.conf(5) says of this program is tried where it is installed;
/// Debian 12 has no package of it.
#[test]
fn checkpassword_pam() {
    if !has_optional("checkpassword-pam") {
        return;
    }
    let Some(etc) = Etc::new("checkpassword-pam") else {
        return;
    };
    helper(&etc, &["checkpassword-pam", "-s", "wharf", "--"]);
}

/// The script of contrib, on pamtester.
#[test]
fn pamtester() {
    if !has("pamtester") {
        return;
    }
    let Some(etc) = Etc::new("pamtester") else {
        return;
    };
    let script = etc.0.join("pam");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/auth-helper/pam");
    std::fs::copy(own, &script).unwrap();
    open_to_all(&script, 0o755);
    helper(&etc, &[script.to_str().unwrap(), "wharf"]);
}

/// Whether a program is there that may be missing everywhere.
fn has_optional(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).exists());
    if !found {
        eprintln!("SKIP {program}");
    }
    found
}
