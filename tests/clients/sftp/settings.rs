//! The settings of SSH, as a client meets them.

use super::daemons::Daemon;
use super::tools::*;

/// Whether OpenSSH's sftp gets in with these options, and what it says.
fn comes_in(place: &Place, daemon: &Daemon, options: &[&str]) -> (bool, String) {
    let all = daemon.options();
    let mut words: Vec<&str> = all.iter().map(String::as_str).collect();
    for option in options {
        words.extend(["-o", option]);
    }
    words.extend(["-v", "-b", "/dev/null", "ann@127.0.0.1"]);
    try_run("sftp".as_ref(), &words, place.top())
}

#[test]
fn only_allowed_algorithms_are_spoken() {
    let place = Place::new("allowed");
    if !have(&["sftp"]) {
        return;
    }
    let flags = "--ssh-kex ecdh-sha2-nistp256 --ssh-cipher aes256-ctr --ssh-cipher aes128-ctr \
                 --ssh-mac hmac-sha2-512 --ssh-host-key-algorithm ssh-ed25519 \
                 --ssh-public-key-algorithm ssh-ed25519 --ssh-keepalive 5 --ssh-rekey-time 60";
    let Some(daemon) = Daemon::wharfd(&place, flags) else {
        return;
    };
    let (worked, said) = comes_in(&place, &daemon, &[]);
    assert!(worked, "{said}");
    for part in [
        "kex: algorithm: ecdh-sha2-nistp256",
        "kex: host key algorithm: ssh-ed25519",
        "cipher: aes128-ctr MAC: hmac-sha2-512 ",
        "server-sig-algs=<ssh-ed25519>",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for (option, words) in [
        ("KexAlgorithms=curve25519-sha256", "key exchange method"),
        ("Ciphers=aes128-gcm@openssh.com", "cipher"),
        ("MACs=hmac-sha2-256", "MAC"),
        ("HostKeyAlgorithms=rsa-sha2-512", "host key type"),
    ] {
        let (worked, said) = comes_in(&place, &daemon, &[option]);
        assert!(!worked && said.contains("no matching"), "{option}: {said}");
        assert!(said.contains(words), "{option}: {said}");
    }
    // A key whose signatures are not allowed is not asked for.
    let rsa = place.top().join("rsa");
    let arguments = ["-q", "-t", "ecdsa", "-N", "", "-f", rsa.to_str().unwrap()];
    run("ssh-keygen", &arguments, place.top());
    let mut keys = std::fs::read_to_string(place.top().join("key.pub")).unwrap();
    keys += &std::fs::read_to_string(rsa.with_extension("pub")).unwrap();
    std::fs::write(place.top().join("key.pub"), keys).unwrap();
    std::fs::copy(&rsa, place.top().join("key")).unwrap();
    let (worked, said) = comes_in(&place, &daemon, &[]);
    assert!(!worked && said.contains("Permission denied"), "{said}");
}

/// A client that knows one host key learns the others, with a proof of each, and
/// can go on with one of them.
#[test]
fn clients_learn_all_host_keys() {
    let place = Place::new("rotation");
    if !have(&["sftp"]) {
        return;
    }
    let key = |kind: &str| {
        place
            .top()
            .join(format!("second_{kind}"))
            .display()
            .to_string()
    };
    let flags = format!("--host-key {} --host-key {}", key("rsa"), key("ecdsa"));
    let Some(daemon) = Daemon::wharfd(&place, &flags) else {
        return;
    };
    let update = "UpdateHostKeys=yes";
    let (worked, said) = comes_in(&place, &daemon, &[update]);
    assert!(worked, "{said}");
    let known = std::fs::read_to_string(&daemon.known_hosts).unwrap();
    for kind in ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"] {
        assert_eq!(known.matches(kind).count(), 1, "{known}");
    }
    // The proof of an RSA key is made as the key exchange was.
    std::fs::write(
        &daemon.known_hosts,
        known.replace("ecdsa-sha2", "forgotten"),
    )
    .unwrap();
    for algorithm in ["rsa-sha2-256", "rsa-sha2-512"] {
        let wanted = format!("HostKeyAlgorithms={algorithm}");
        let (worked, said) = comes_in(&place, &daemon, &[&wanted, update]);
        assert!(worked, "{said}");
    }
}

#[test]
fn login_methods_and_banner_are_settings() {
    let place = Place::new("methods");
    if !have(&["sftp"]) {
        return;
    }
    let file = place.top().join("banner");
    std::fs::write(&file, "From a\nfile.\n").unwrap();
    let from_file = format!("--ssh-banner-file {}", file.display());
    for (banner, lines) in [
        ("--ssh-banner Two\\nlines.", ["Two", "lines."]),
        (&from_file, ["From a", "file."]),
    ] {
        let place = Place::new("methods-banner");
        let flags = format!("--ssh-auth-methods keyboard-interactive {banner}");
        let Some(daemon) = Daemon::wharfd(&place, &flags) else {
            return;
        };
        let (worked, said) = comes_in(&place, &daemon, &[]);
        assert!(!worked, "{said}");
        assert!(
            said.contains("can continue: keyboard-interactive"),
            "{said}"
        );
        for line in lines {
            assert!(said.lines().any(|said| said.trim_end() == line), "{said}");
        }
    }
}

/// A wrong word stops the start, and the right ones are named.
#[test]
fn unknown_algorithms_are_named_with_the_known_ones() {
    let place = Place::new("unknown");
    let top = place.top();
    let host_key = top.join("host_key");
    for (key, name, known) in [
        ("kex", "diffie-hellman-group1-sha1", "curve25519-sha256"),
        ("host-key-algorithm", "ssh-rsa", "rsa-sha2-512"),
        ("cipher", "aes128-cbc", "aes128-gcm@openssh.com"),
        ("mac", "hmac-sha1", "hmac-sha2-256"),
        (
            "public-key-algorithm",
            "ssh-dss",
            "sk-ssh-ed25519@openssh.com",
        ),
    ] {
        let flag = format!("--ssh-{key}");
        let arguments = [
            "--listen-sftp",
            "127.0.0.1:0",
            "--host-key",
            host_key.to_str().unwrap(),
            &flag,
            name,
            top.to_str().unwrap(),
        ];
        for check in [&["--check"][..], &[]] {
            let (worked, said) = try_run(wharfd().as_ref(), &[check, &arguments].concat(), top);
            assert!(!worked, "{said}");
            let line = said.lines().find(|line| line.contains("there is no SSH"));
            let line = line.unwrap_or_else(|| panic!("{said}"));
            assert!(line.contains(name) && line.contains(known), "{line}");
        }
        assert!(!host_key.exists(), "a start that failed has made a key");
    }
}
