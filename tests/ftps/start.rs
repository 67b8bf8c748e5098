//! What the daemon says of keys at its start, and of renewed ones later.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use openssl::hash::MessageDigest;
use openssl::symm::Cipher;
use openssl::x509::X509;

use super::daemon::{Daemon, refused, text};
use crate::common::TempDir;
use crate::common::client::Client;
use crate::common::process::wharfd;
use crate::common::tls::{Certificates, SecureClient, VALID, certificate, context};

#[test]
fn bad_keys_are_refused_with_what_to_do() {
    let certificates = Certificates::new();
    let authority = certificate("Authority", None, VALID);
    let good = certificate("ftp.test", Some(&authority), VALID);
    let (chain, chain_key) = certificates.write("chain", &[&good, &authority]);
    let (turned, _) = certificates.write("turned", &[&authority, &good]);
    let (other, other_key) = certificates.write("other", &[&certificate("b.test", None, VALID)]);
    let encrypted = certificates.0.join("encrypted.key");
    let pem = good
        .key
        .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"open sesame")
        .unwrap();
    certificates.put(&encrypted, &pem);
    let (right, wrong) = (certificates.0.join("right"), certificates.0.join("wrong"));
    certificates.put(&right, b"open sesame\n");
    certificates.put(&wrong, b"close sesame\n");
    let noise = certificates.0.join("noise.pem");
    certificates.put(
        &noise,
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let missing = certificates.0.join("missing.pem");
    let cases = [
        ("order", &turned, &chain_key, None, "order"),
        ("mismatch", &other, &chain_key, None, "key"),
        ("mismatch", &chain, &other_key, None, "key"),
        (
            "missing certificate",
            &missing,
            &chain_key,
            None,
            "missing.pem",
        ),
        ("missing key", &chain, &missing, None, "missing.pem"),
        ("noise", &noise, &chain_key, None, "noise.pem"),
        ("no key", &chain, &chain, None, "key"),
        ("swapped", &chain_key, &chain, None, "is it the other file?"),
        (
            "encrypted",
            &chain,
            &encrypted,
            None,
            "tls-key-password-file",
        ),
        (
            "wrong password",
            &chain,
            &encrypted,
            Some(&wrong),
            "password",
        ),
        (
            "missing password",
            &chain,
            &encrypted,
            Some(&missing),
            "missing.pem",
        ),
    ];
    for (what, certificate, key, password, word) in cases {
        let mut arguments = vec!["--tls-cert", text(certificate), "--tls-key", text(key)];
        if let Some(path) = password {
            arguments.extend(["--tls-key-password-file", text(path)]);
        }
        let (code, words) = refused(&arguments, certificates.0.path());
        assert_eq!(code, Some(100), "{what}: {words}");
        assert!(words.contains(word), "{what}: {words}");
        assert_eq!(words.lines().count(), 1, "{what}: {words}");
    }
    // Settings that contradict each other.
    for (arguments, word) in [
        (&["--listen-ftps", "127.0.0.1:0"][..], "tls-cert"),
        (&["--tls-required", "data"], "tls-cert"),
        (&["--tls-required-anonymous", "login"], "tls-cert"),
        (&["--tls-key", "/nowhere"], "tls-cert"),
        (&["--tls-client-certificate", "required"], "tls-cert"),
    ] {
        let (code, words) = refused(arguments, certificates.0.path());
        assert_eq!(code, Some(100), "{arguments:?}: {words}");
        assert!(words.contains(word), "{arguments:?}: {words}");
    }
    // And what is right serves.
    let place = TempDir::new("start");
    let home = place.path().to_owned();
    let daemon = Daemon::with_certificate(
        place,
        &(chain, encrypted),
        &["--tls-key-password-file", text(&right), text(&home)],
    );
    SecureClient::explicit(daemon.ports[0]).expect("NOOP", 200);
    let mut client = SecureClient::implicit(daemon.ports[1]);
    let shown = client.stream.ssl().peer_cert_chain().unwrap().len();
    assert_eq!(shown, 2, "the issuer is sent, too");
    client.expect("NOOP", 200);
}

#[cfg(not(feature = "tls13"))]
#[test]
fn client_certificates_are_refused_without_tls13() {
    let certificates = Certificates::new();
    let (chain, key) = certificates.write("ftp", &[&certificate("ftp.test", None, VALID)]);
    let (chain, key) = (chain.to_str().unwrap(), key.to_str().unwrap());
    let arguments = [
        "--tls-cert",
        chain,
        "--tls-key",
        key,
        "--tls-client-ca",
        chain,
    ];
    let (code, words) = refused(&arguments, certificates.0.path());
    assert_eq!(code, Some(100), "{words}");
    assert!(words.contains("tls13"), "{words}");
}

fn fingerprint(client: &SecureClient) -> Vec<u8> {
    let shown = client.stream.ssl().peer_certificate().unwrap();
    shown.digest(MessageDigest::sha256()).unwrap().to_vec()
}

/// Who connects for the first time compares it.
#[test]
fn the_fingerprint_of_a_new_certificate_is_printed() {
    let place = TempDir::new("fingerprint");
    let state = place.join("state");
    let mut child = wharfd()
        .args(["--self-signed", "--listen", "127.0.0.1:0", "--state-dir"])
        .args([&state, place.path()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines();
    let printed = said
        .map_while(Result::ok)
        .find_map(|line| Some(line.strip_prefix("SHA-256 of certificate ")?.to_owned()));
    child.kill().unwrap();
    child.wait().unwrap();
    let pem = std::fs::read(state.join("wharf.crt")).unwrap();
    let digest = X509::from_pem(&pem)
        .unwrap()
        .digest(MessageDigest::sha256());
    let bytes: Vec<String> = digest
        .unwrap()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let printed = printed.expect("no fingerprint is printed");
    assert!(printed.ends_with(&bytes.join(":")), "{printed}");
}

fn digest(made: &crate::common::tls::Made) -> Vec<u8> {
    made.certificate
        .digest(MessageDigest::sha256())
        .unwrap()
        .to_vec()
}

/// Waits until new connections are shown a certificate.
fn until_shown(daemon: &Daemon, wanted: &[u8]) {
    crate::common::until("the new certificate", || {
        fingerprint(&SecureClient::explicit(daemon.ports[0])) == wanted
    });
}

#[test]
fn renewed_certificates_are_taken_up_under_load() {
    let place = TempDir::new("renewal");
    std::fs::create_dir(place.join("files")).unwrap();
    std::fs::write(place.join("files/file"), vec![5; 20_000]).unwrap();
    let files = place.join("files");
    let certificates = Certificates::new();
    let first = certificate("ftp.test", None, VALID);
    let pair = certificates.write("ftp", &[&first]);
    let daemon = Daemon::with_certificate(place, &pair, &["--tls-reuse", "require", text(&files)]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let stopped = || stop.load(std::sync::atomic::Ordering::Relaxed);
    let served = std::thread::scope(|scope| {
        // Two clients that come and go, one that stays.
        let load: Vec<_> = (0..3)
            .map(|number| {
                let port = daemon.ports[0];
                scope.spawn(move || {
                    let mut served = 0;
                    let mut client = anonymous(port);
                    while !stopped() {
                        if number > 0 {
                            client = anonymous(port);
                        }
                        let (content, resumed) = client.fetch_secure("RETR file");
                        assert!(resumed && content.len() == 20_000);
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        // Half a renewal: a new certificate beside the old key.
        let second = certificate("ftp.test", None, VALID);
        certificates.put(&pair.0, &second.certificate.to_pem().unwrap());
        daemon.logs("the old ones stay", 1);
        let looks = Instant::now() + Duration::from_millis(2500);
        while Instant::now() < looks {
            let shown = fingerprint(&SecureClient::explicit(daemon.ports[0]));
            assert_eq!(shown, digest(&first), "the old pair serves");
        }
        assert_eq!(daemon.log().matches("the old ones stay").count(), 1);
        // The other half.
        certificates.put(&pair.1, &second.key.private_key_to_pem_pkcs8().unwrap());
        until_shown(&daemon, &digest(&second));
        daemon.logs("changed certificates are in force", 1);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let served = load.into_iter().map(|thread| thread.join().unwrap());
        served.sum::<u32>()
    });
    assert!(served > 10, "{served} files under load");
}

/// An anonymous client with protected data connections, in TYPE I.
pub fn anonymous(port: std::net::SocketAddr) -> SecureClient {
    let mut client = SecureClient::explicit(port);
    client.expect("PBSZ 0", 200);
    client.expect("PROT P", 200);
    client.keep_session();
    client.login("anonymous", "me@here");
    client.expect("TYPE I", 200);
    client
}

#[test]
fn sighup_reads_certificates_again() {
    let place = TempDir::new("sighup");
    let home = place.path().to_owned();
    let certificates = Certificates::new();
    let first = certificate("ftp.test", None, VALID);
    let pair = certificates.write("ftp", &[&first]);
    let daemon = Daemon::with_certificate(place, &pair, &[text(&home)]);
    certificates.put(&pair.0, b"nonsense");
    daemon.reload();
    daemon.logs("stay in force", 1);
    assert_eq!(
        fingerprint(&SecureClient::explicit(daemon.ports[0])),
        digest(&first)
    );
    let second = certificate("ftp.test", None, VALID);
    certificates.write("ftp", &[&second]);
    daemon.reload();
    until_shown(&daemon, &digest(&second));
}

/// A renewal by another tool, into another directory, and TLS that is new.
#[test]
fn sighup_takes_certificates_from_new_paths() {
    let place = TempDir::new("sighup");
    let (home, file) = (place.path().to_owned(), place.join("conf"));
    let certificates = Certificates::new();
    let set = |pair: Option<&(std::path::PathBuf, std::path::PathBuf)>| {
        let lines = pair.map(|(chain, key)| {
            format!("tls-cert {}\ntls-key {}\n", chain.display(), key.display())
        });
        std::fs::write(&file, lines.unwrap_or_default()).unwrap();
    };
    let (first, second) = (
        certificate("ftp.test", None, VALID),
        certificate("ftp.test", None, VALID),
    );
    let one = certificates.write("one", &[&first]);
    let two = certificates.write("two", &[&second]);
    set(Some(&one));
    let (conf, root) = (file.display().to_string(), home.display().to_string());
    let daemon = Daemon::start(place, &["-c", &conf, &root]);
    let mut old = anonymous(daemon.ports[0]);
    set(Some(&two));
    daemon.reload();
    until_shown(&daemon, &digest(&second));
    // The session of before goes on with what it began with.
    std::fs::write(home.join("file"), "content").unwrap();
    assert_eq!(old.fetch_secure("RETR file"), (b"content".to_vec(), true));
    // There is a port of implicit FTPS, which must not be left without.
    set(None);
    daemon.reload();
    daemon.logs("stay in force", 1);
    assert_eq!(
        fingerprint(&SecureClient::explicit(daemon.ports[0])),
        digest(&second)
    );
}

/// native-tls has Diffie-Hellman parameters that this level refuses, and no
/// way to give it others.
#[test]
fn at_security_level_3_it_serves_or_says_what_to_do() {
    let certificates = Certificates::new();
    let own = certificates.write("ftp.test", &[&certificate("ftp.test", None, VALID)]);
    let system = certificates.0.join("openssl.cnf");
    let says = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n\
                CipherString = DEFAULT:@SECLEVEL=3\n";
    std::fs::write(&system, says).unwrap();
    let output = wharfd()
        .env("OPENSSL_CONF", &system)
        .args(["--check", "--listen", "127.0.0.1:0"])
        .args(["--tls-cert", text(&own.0), "--tls-key", text(&own.1), "/"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if cfg!(feature = "tls13") {
        assert_eq!(output.status.code(), Some(0), "{said}");
    } else {
        assert_eq!(output.status.code(), Some(100), "{said}");
        assert!(said.contains("CipherString = DEFAULT@SECLEVEL=2"), "{said}");
    }
}

#[test]
fn one_option_gives_ftps() {
    let place = TempDir::new("self-signed");
    let (home, state) = (place.path().to_owned(), place.join("state"));
    std::fs::write(place.join("file"), "content").unwrap();
    let arguments = [
        "--self-signed",
        "--state-dir",
        state.to_str().unwrap(),
        home.to_str().unwrap(),
    ];
    let daemon = Daemon::start(place, &arguments);
    let key = std::fs::metadata(state.join("wharf.key")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&key.permissions());
    assert_eq!(mode & 0o7777, 0o600);
    let mut client = anonymous(daemon.ports[0]);
    let first = fingerprint(&client);
    assert_eq!(client.fetch_secure("RETR file").0, b"content");
    drop(client);
    // The second start keeps the first one's key.
    let place = TempDir::new("self-signed");
    let again = Daemon::start(place, &arguments);
    assert_eq!(fingerprint(&anonymous(again.ports[1 - 1])), first);
}

#[test]
fn refused_handshakes_are_logged_with_address_and_reason() {
    let place = TempDir::new("log");
    let home = place.path().to_owned();
    let certificates = Certificates::new();
    let pair = certificates.write("ftp", &[&certificate("ftp.test", None, VALID)]);
    let daemon = Daemon::with_certificate(place, &pair, &[text(&home)]);
    let mut client = Client::connect(daemon.ports[1]);
    client.raw(b"USER ann\r\n");
    daemon.logs("plain text where TLS must begin", 1);
    let rules = context(|builder| builder.set_alpn_protos(b"\x02h2").unwrap());
    let stream = Client::connect(daemon.ports[1]).stream;
    assert!(crate::common::tls::handshake(&rules, stream, None).is_err());
    daemon.logs("ALPN", 1);
    let mut client = anonymous(daemon.ports[0]);
    let mut data = client.data();
    client.expect("NLST", 150);
    data.send(b"plain");
    client.wait_for(522);
    daemon.logs("127.0.0.1: refused a data connection", 1);
    // A client of implicit FTPS on the port of AUTH TLS is not left waiting.
    let mut client = Client::greeted(daemon.ports[0]);
    client.raw(&super::stalls::client_hello());
    client.closed();
    daemon.logs("a TLS handshake without AUTH TLS before it", 1);
    let old = context(|builder| {
        builder.set_security_level(0);
        builder.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
        let version = Some(openssl::ssl::SslVersion::TLS1_1);
        builder.set_max_proto_version(version).unwrap();
    });
    let stream = Client::connect(daemon.ports[1]).stream;
    assert!(crate::common::tls::handshake(&old, stream, None).is_err());
    daemon.logs("unsupported protocol", 1);
    // Under TLS: noise, and what could only be a second handshake.
    for (record, reason) in [
        ([23, 3, 3, 0, 32], "bad record mac"),
        ([22, 3, 3, 0, 32], "TLS renegotiation refused"),
    ] {
        let mut client = SecureClient::implicit(daemon.ports[1]);
        let socket = client.stream.get_mut();
        std::io::Write::write_all(socket, &[&record[..], &[9; 32]].concat()).unwrap();
        let _ = std::io::Read::read_to_end(socket, &mut Vec::new());
        daemon.logs(reason, 1);
    }
    for line in daemon.log().lines() {
        if line.contains("no TLS") || line.contains(" ended: ") {
            assert!(line.contains("127.0.0.1"), "{line}");
        }
    }
}
