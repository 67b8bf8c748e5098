//! Certificates of users and hosts, made by ssh-keygen and used by OpenSSH's sftp.
#![cfg(feature = "sftp")]

use std::path::Path;

use super::daemons::Daemon;
use super::tools::*;

/// Makes keys of these names in `top`.
fn make_keys(top: &Path, kind: &str, names: &[&str]) {
    for name in names {
        let bits: &[&str] = if kind == "rsa" { &["-b", "2048"] } else { &[] };
        let words = ["-q", "-t", kind, "-N", "", "-f", name];
        run("ssh-keygen", &[&words[..], bits].concat(), top);
    }
}

/// Has `authority` sign `key.pub`, as the words say.
fn sign(top: &Path, authority: &str, words: &[&str], key: &str) {
    let certificate = top.join(format!("{key}-cert.pub"));
    let _ = std::fs::remove_file(certificate);
    let key = format!("{key}.pub");
    let all = [&["-q", "-s", authority, "-I", "the id"], words, &[&key]].concat();
    run("ssh-keygen", &all, top);
}

/// Whether sftp gets in with this key and its certificate, and what it says.
fn comes_in(place: &Place, daemon: &Daemon, key: &str, options: &[&str]) -> (bool, String) {
    let top = place.top();
    let port = daemon.port();
    let known_hosts = format!("UserKnownHostsFile={}", daemon.known_hosts.display());
    let mut words = vec!["-F", "/dev/null", "-P", &port, "-i", key, "-v"];
    for option in [&known_hosts, "BatchMode=yes", "IdentitiesOnly=yes"]
        .into_iter()
        .chain(options.iter().copied())
    {
        words.extend(["-o", option]);
    }
    words.extend(["-b", "/dev/null", "ann@127.0.0.1"]);
    try_run("sftp".as_ref(), &words, top)
}

fn log_of(place: &Place) -> String {
    std::fs::read_to_string(place.top().join("daemon.log")).unwrap()
}

const ALL: &str = "elradfmwMT";

#[test]
fn users_log_in_by_their_authority() {
    let place = Place::new("user-ca");
    if !have(&["sftp", "ssh-keygen"]) {
        return;
    }
    let top = place.top();
    make_keys(top, "ed25519", &["ca", "other", "mine"]);
    let flags = format!("--ssh-user-ca {}", top.join("ca.pub").display());
    let Some(daemon) = Daemon::wharfd_with(&place, &flags, ALL) else {
        return;
    };
    let cases: &[(&str, &[&str], bool)] = &[
        ("ca", &["-n", "bob,ann", "-z", "42"], true),
        (
            "ca",
            &["-n", "ann", "-O", "force-command=internal-sftp"],
            true,
        ),
        (
            "ca",
            &["-n", "ann", "-O", "source-address=127.0.0.0/8"],
            true,
        ),
        ("ca", &["-n", "bob"], false),
        ("ca", &[], false),
        ("other", &["-n", "ann"], false),
        ("ca", &["-n", "ann", "-V", "20200101:20210101"], false),
        ("ca", &["-n", "ann", "-V", "20900101:20910101"], false),
        (
            "ca",
            &["-n", "ann", "-O", "source-address=10.0.0.0/8"],
            false,
        ),
        ("ca", &["-n", "ann", "-O", "force-command=/bin/sh"], false),
        (
            "ca",
            &["-n", "ann", "-O", "critical:new@example.org=x"],
            false,
        ),
        ("ca", &["-h", "-n", "ann"], false),
    ];
    for (authority, words, want) in cases {
        sign(top, authority, words, "mine");
        let (worked, said) = comes_in(&place, &daemon, "mine", &[]);
        assert_eq!(worked, *want, "{authority} {words:?}: {said}");
    }
    let log = log_of(&place);
    let shown = "ann has shown certificate \"the id\", serial 42, of authority SHA256:";
    assert!(log.contains(shown), "{log}");
    assert!(
        log.contains("does not let ann in: it is not valid now"),
        "{log}"
    );
    // A bit of the authority's signature is wrong.
    sign(top, "ca", &["-n", "ann"], "mine");
    let file = top.join("mine-cert.pub");
    let text = std::fs::read_to_string(&file).unwrap();
    let blob = text.split(' ').nth(1).unwrap();
    let at = blob.len() - 20;
    let other = if &blob[at..=at] == "A" { "B" } else { "A" };
    let forged = format!("{}{other}{}", &blob[..at], &blob[at + 1..]);
    std::fs::write(&file, text.replace(blob, &forged)).unwrap();
    assert!(!comes_in(&place, &daemon, "mine", &[]).0);
}

#[test]
fn each_kind_of_key_and_authority_does() {
    let place = Place::new("ca-kinds");
    if !have(&["sftp", "ssh-keygen"]) {
        return;
    }
    let top = place.top();
    let mut authorities = String::new();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        make_keys(top, kind, &[&format!("ca-{kind}"), kind]);
        let public = top.join(format!("ca-{kind}.pub"));
        authorities += &std::fs::read_to_string(public).unwrap();
    }
    let file = top.join("authorities");
    std::fs::write(&file, authorities).unwrap();
    let flags = format!("--ssh-user-ca {}", file.display());
    let Some(daemon) = Daemon::wharfd_with(&place, &flags, ALL) else {
        return;
    };
    for (authority, kind) in [("ecdsa", "rsa"), ("rsa", "ed25519"), ("ed25519", "ecdsa")] {
        sign(top, &format!("ca-{authority}"), &["-n", "ann"], kind);
        let (worked, said) = comes_in(&place, &daemon, kind, &[]);
        assert!(worked, "{authority} {kind}: {said}");
    }
    // Signed over SHA-1, as ssh-keygen before 8.2 did.
    sign(top, "ca-rsa", &["-t", "ssh-rsa", "-n", "ann"], "ed25519");
    assert!(!comes_in(&place, &daemon, "ed25519", &[]).0);
    let log = log_of(&place);
    assert!(log.contains("that its authority has not signed"), "{log}");
}

#[test]
fn lines_of_authorities_say_whom_they_vouch_for() {
    let place = Place::new("cert-authority");
    if !have(&["sftp", "ssh-keygen"]) {
        return;
    }
    let top = place.top();
    make_keys(top, "ed25519", &["ca", "mine"]);
    let Some(daemon) = Daemon::wharfd(&place, "") else {
        return;
    };
    let authority = std::fs::read_to_string(top.join("ca.pub")).unwrap();
    for (options, principal, want) in [
        ("cert-authority", "ann", true),
        ("cert-authority", "bob", false),
        ("cert-authority,principals=\"ops,deploy\"", "deploy", true),
        ("cert-authority,principals=\"ops,deploy\"", "ann", false),
        ("cert-authority,from=\"10.0.0.0/8\"", "ann", false),
        ("cert-authority,command=\"/bin/sh\"", "ann", false),
        ("principals=\"ann\"", "ann", false),
        ("restrict", "ann", false),
    ] {
        std::fs::write(top.join("key.pub"), format!("{options} {authority}")).unwrap();
        sign(top, "ca", &["-n", principal], "mine");
        let (worked, said) = comes_in(&place, &daemon, "mine", &[]);
        assert_eq!(worked, want, "{options} {principal}: {said}");
    }
    // The authority's own key is no user's.
    std::fs::write(top.join("key.pub"), format!("cert-authority {authority}")).unwrap();
    assert!(!comes_in(&place, &daemon, "ca", &[]).0);
}

#[test]
fn revoked_keys_count_no_more() {
    let place = Place::new("revoked");
    if !have(&["sftp", "ssh-keygen"]) {
        return;
    }
    let top = place.top();
    make_keys(top, "ed25519", &["ca", "mine"]);
    sign(top, "ca", &["-n", "ann"], "mine");
    let revoked = top.join("revoked");
    std::fs::write(&revoked, "# none yet\n").unwrap();
    let flags = format!(
        "--ssh-user-ca {} --revoked-keys {}",
        top.join("ca.pub").display(),
        revoked.display()
    );
    let Some(daemon) = Daemon::wharfd(&place, &flags) else {
        return;
    };
    let read = |name: &str| std::fs::read_to_string(top.join(name)).unwrap();
    let fingerprint = run("ssh-keygen", &["-l", "-f", "mine.pub"], top);
    let word = fingerprint.split(' ').nth(1).unwrap().to_owned();
    // What the file says; whether the certificate, and ann's other key, come in.
    for (text, mine, other) in [
        ("\n# nothing\n".to_owned(), true, true),
        (read("ca.pub"), false, true),
        (read("mine.pub"), false, true),
        (read("mine-cert.pub"), false, true),
        (fingerprint, false, true),
        (word.clone(), false, true),
        (read("key.pub"), true, false),
        // A line that can't be read may be the one that counts.
        ("SHA256:short\n".to_owned(), false, false),
        ("SSHKRL\n\0".to_owned(), false, false),
    ] {
        std::fs::write(&revoked, &text).unwrap();
        let (worked, said) = comes_in(&place, &daemon, "mine", &[]);
        assert_eq!(worked, mine, "{text}: {said}");
        let (worked, said) = comes_in(&place, &daemon, "key", &[]);
        assert_eq!(worked, other, "{text}: {said}");
    }
    std::fs::remove_file(&revoked).unwrap();
    assert!(!comes_in(&place, &daemon, "key", &[]).0);
    let log = log_of(&place);
    assert!(log.contains("ann shows a revoked key"), "{log}");
    assert!(log.contains("a KRL is not read here"), "{log}");
}

#[test]
fn hosts_show_their_certificate() {
    let place = Place::new("host-certificate");
    if !have(&["sftp", "ssh-keygen"]) {
        return;
    }
    let top = place.top();
    make_keys(top, "ed25519", &["ca", "host_key"]);
    sign(top, "ca", &["-h", "-n", "files.example.org"], "host_key");
    let certificate = top.join("host_key-cert.pub");
    let flags = format!("--host-certificate {}", certificate.display());
    let Some(daemon) = Daemon::wharfd(&place, &flags) else {
        return;
    };
    let authority = std::fs::read_to_string(top.join("ca.pub")).unwrap();
    let known = std::fs::read_to_string(&daemon.known_hosts).unwrap();
    let by_authority = format!("@cert-authority *.example.org {authority}");
    std::fs::write(&daemon.known_hosts, by_authority).unwrap();
    for (host, want) in [("files.example.org", true), ("other.example.org", false)] {
        let alias = format!("HostKeyAlias={host}");
        let (worked, said) = comes_in(&place, &daemon, "key", &[&alias]);
        assert_eq!(worked, want, "{host}: {said}");
        let algorithm = "kex: host key algorithm: ssh-ed25519-cert-v01@openssh.com";
        assert!(said.contains(algorithm), "{said}");
    }
    // Who knows no authority goes on with the key.
    std::fs::write(&daemon.known_hosts, known).unwrap();
    let (worked, said) = comes_in(&place, &daemon, "key", &[]);
    assert!(worked, "{said}");
}

/// Settings that can't be used stop the start, and say which file it is.
#[test]
fn files_of_no_use_stop_the_start() {
    let place = Place::new("no-certificates");
    if !have(&["ssh-keygen"]) {
        return;
    }
    let top = place.top();
    make_keys(top, "ed25519", &["ca", "host_key", "mine"]);
    sign(top, "ca", &["-n", "ann"], "mine");
    sign(top, "ca", &["-h", "-n", "here"], "ca");
    std::fs::write(top.join("krl"), b"SSHKRL\n\0\0").unwrap();
    std::fs::write(top.join("empty"), "# nothing\n").unwrap();
    for (option, file, words) in [
        (
            "--host-certificate",
            "mine-cert.pub",
            "no certificate of a host",
        ),
        ("--host-certificate", "ca-cert.pub", "none of the host keys"),
        ("--host-certificate", "mine.pub", "no certificate of a host"),
        ("--host-certificate", "empty", "empty: it is not"),
        ("--ssh-user-ca", "empty", "there is no key in it"),
        ("--ssh-user-ca", "missing", "missing"),
        ("--revoked-keys", "krl", "a KRL is not read here"),
        ("--revoked-keys", "missing", "missing"),
    ] {
        let file = top.join(file);
        let key = top.join("host_key");
        let mut arguments = vec!["--listen-sftp", "127.0.0.1:0", "--anonymous", "."];
        arguments.extend(["--user", "root"].iter().filter(|_| is_root()));
        arguments.extend(["--host-key", key.to_str().unwrap(), option]);
        arguments.push(file.to_str().unwrap());
        let (worked, said) = try_run(wharfd().as_ref(), &arguments, top);
        assert!(!worked && said.contains(words), "{option} {words}: {said}");
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}
