//! `wharfd import`: what comes out for whole files of other servers.
//! `WHARF_BLESS=1` writes the expected output; the change is then reviewed.
#![cfg(feature = "import")]

use std::path::Path;
use std::process::{Command, Output};

fn import(server: &str, file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wharfd"))
        .args(["import", server])
        .arg(file)
        .output()
        .unwrap()
}

#[test]
fn files_of_other_servers_become_ours() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    for (server, file) in [
        ("vsftpd", "vsftpd.conf"),
        ("vsftpd", "vsftpd-debian.conf"),
        ("vsftpd", "vsftpd-redhat.conf"),
        ("vsftpd", "vsftpd-virtual-users.conf"),
        ("vsftpd", "vsftpd-allow-list.conf"),
        ("pure-ftpd", "pure-ftpd.conf"),
        ("pure-ftpd", "pure-ftpd-accounts.conf"),
        ("pure-ftpd", "pureftpd.passwd"),
        ("proftpd", "proftpd.conf"),
        ("proftpd", "proftpd-redhat.conf"),
        ("proftpd", "proftpd-sql-panel.conf"),
        ("proftpd", "proftpd-groups.conf"),
        ("proftpd", "ftpd.passwd"),
    ] {
        let output = import(server, &directory.join(file));
        assert_eq!(output.status.code(), Some(0), "{file}: {output:?}");
        let got = String::from_utf8(output.stdout).unwrap();
        let want = directory.join(format!("{file}.wharf"));
        if std::env::var_os("WHARF_BLESS").is_some_and(|value| value == "1") {
            std::fs::write(&want, &got).unwrap();
        }
        let want = std::fs::read_to_string(&want).unwrap();
        assert_eq!(got, want, "{file}");
        // What came out is a file of ours.
        if file.ends_with(".passwd") {
            assert!(
                wharf::daemon::user_file::parse(got.as_bytes()).is_ok(),
                "{got}"
            )
        } else {
            let source = wharf::daemon::Source::from_lines(&got, file);
            let mut mistakes = Vec::new();
            source.apply(&mut wharf::daemon::Settings::default(), &mut mistakes);
            assert_eq!(mistakes, [], "{file}");
        }
    }
}

#[test]
fn what_is_asked_wrongly_is_explained() {
    let file = Path::new("/nowhere/vsftpd.conf");
    for (server, words) in [("vsftpd", "No such file"), ("wu-ftpd", "unknown server")] {
        let output = import(server, file);
        assert_eq!(output.status.code(), Some(100));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(words), "{said}");
    }
}
