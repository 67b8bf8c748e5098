//! A build without the feature `ftps` says that it has no TLS.
#![cfg(not(feature = "ftps"))]

use crate::common;

use common::server;

#[test]
fn auth_is_not_implemented() {
    let server = server().start();
    let mut client = server.connect();
    client.expect("AUTH TLS", 502);
    client.expect("AUTH SSL", 502);
    client.expect("PBSZ 0", 503);
    client.expect("PROT P", 503);
    let features = client.expect("FEAT", 211).lines.join("\n");
    for word in ["AUTH", "PBSZ", "PROT", "CCC"] {
        assert!(!features.contains(word), "{features}");
    }
    client.login("ann", "secret");
    client.expect("PROT P", 503);
}

#[cfg(feature = "cli")]
#[test]
fn every_option_of_tls_is_refused_at_start() {
    for arguments in [
        &["--tls-cert", "/nowhere", "--tls-key", "/nowhere"][..],
        &["--tls-key", "/nowhere"],
        &["--self-signed"],
        &["--listen-ftps", "127.0.0.1:0"],
        &["--tls-required", "login"],
        &["--tls-required-anonymous", "data"],
        &["--tls-reuse", "require"],
        &["--tls-client-ca", "/nowhere"],
        &["--tls-client-certificate", "optional"],
        &["--tls-key-password-file", "/nowhere"],
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_wharfd"))
            .env_clear()
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .arg("/")
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(100), "{arguments:?}: {words}");
        assert!(words.contains("no TLS"), "{arguments:?}: {words}");
    }
}
