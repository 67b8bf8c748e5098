//! `wharfd acme` against a real authority, pebble, and against one that says
//! what pebble does not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};

use crate::common::client::Client;
use crate::common::process::{Process, descendants, has, program, wharfd};
use crate::common::tls::{Certificates, VALID, certificate, context, handshake};
use crate::common::{TempDir, until};

/// An address that no other test uses, so that ports found free stay free.
const HOST: &str = "127.93.18.1";
const NAMES: [&str; 2] = ["ftp.wharf.test", "files.wharf.test"];

fn free_port(host: &str) -> u16 {
    let listener = TcpListener::bind((host, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Ends a program of the test's when it is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An authority, and what our side needs to know of it.
struct Authority {
    _running: Vec<Running>,
    directory: String,
    trusted: PathBuf,
    port: u16,
    certificates: Certificates,
}

fn pebble() -> Authority {
    let certificates = Certificates::new();
    let own = certificates.write("pebble", &[&certificate("localhost", None, VALID)]);
    let (port, listen) = (free_port(HOST), free_port("127.0.0.1"));
    let (dns, management) = (free_port(HOST), free_port(HOST));
    let config = format!(
        "{{\"pebble\":{{\"listenAddress\":\"127.0.0.1:{listen}\",\"managementListenAddress\":\"{HOST}:{}\",\
         \"certificate\":\"{}\",\"privateKey\":\"{}\",\"httpPort\":{port},\"tlsPort\":1,\
         \"ocspResponderURL\":\"\",\"externalAccountBindingRequired\":false}}}}",
        free_port(HOST),
        own.0.display(),
        own.1.display()
    );
    let path = certificates.0.join("pebble.json");
    std::fs::write(&path, config).unwrap();
    let start = |mut command: std::process::Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().unwrap())
    };
    let mut names = program("pebble-challtestsrv");
    names.args(["-defaultIPv6", "", "-defaultIPv4", HOST]);
    names.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
    names.args(["-dns01", &format!("{HOST}:{dns}")]);
    names.args(["-management", &format!("{HOST}:{management}")]);
    let mut pebble = program("pebble");
    pebble.arg("-config").arg(&path);
    pebble.args(["-dnsserver", &format!("{HOST}:{dns}")]);
    pebble.envs([
        ("PEBBLE_VA_NOSLEEP", "1"),
        ("PEBBLE_WFE_NONCEREJECT", "30"),
        ("PEBBLE_AUTHZREUSE", "0"),
    ]);
    let running = vec![start(names), start(pebble)];
    until("pebble", || {
        std::net::TcpStream::connect(("127.0.0.1", listen)).is_ok()
    });
    Authority {
        _running: running,
        directory: format!("https://localhost:{listen}/dir"),
        trusted: own.0,
        port,
        certificates,
    }
}

/// A machine that wants a certificate.
struct Site {
    place: TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

impl Site {
    fn new() -> Site {
        let place = TempDir::new("acme");
        Site {
            certificate: place.join("ftp.crt"),
            key: place.join("ftp.key"),
            place,
        }
    }

    /// Runs `wharfd acme`; exit code and words.
    fn acme(&self, authority: &Authority, words: &[&str]) -> (i32, String) {
        let output = wharfd()
            .env("WHARFD_STATE_DIR", self.place.join("state"))
            .env("SSL_CERT_FILE", &authority.trusted)
            .env("SSL_CERT_DIR", "/nonexistent")
            .arg("acme")
            .arg("--tls-cert")
            .arg(&self.certificate)
            .arg("--tls-key")
            .arg(&self.key)
            .args(words)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = said + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), said)
    }

    fn pair(&self) -> (Vec<u8>, Vec<u8>) {
        (
            std::fs::read(&self.certificate).unwrap(),
            std::fs::read(&self.key).unwrap(),
        )
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A web server for one directory, which keeps the port to the end.
fn web_server(address: &str, root: PathBuf) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head = BufReader::new(&stream).lines().map(Result::unwrap);
            let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
            let path = head[0].split(' ').nth(1).unwrap().trim_start_matches('/');
            let body = std::fs::read_to_string(root.join(path)).unwrap();
            write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}").unwrap();
        }
    });
}

#[test]
fn a_certificate_is_obtained_and_renewed() {
    if !has("pebble") || !has("pebble-challtestsrv") {
        return;
    }
    let authority = pebble();
    let site = Site::new();
    let here = format!("{HOST}:{}", authority.port);
    let basic = ["--directory", &authority.directory, "--port", &here];
    let with = |more: &[&str]| site.acme(&authority, &[&basic[..], more].concat());

    let (code, said) = with(&NAMES);
    assert!(code == 111 && said.contains("--agree-terms"), "{said}");
    assert!(!site.certificate.exists() && !site.key.exists());
    let first = [
        "--agree-terms",
        "--email",
        "ann@example.org",
        NAMES[0],
        NAMES[1],
    ];
    let (code, said) = with(&first);
    assert_eq!(code, 0, "{said}");
    assert_eq!((mode(&site.certificate), mode(&site.key)), (0o644, 0o600));
    assert_eq!(mode(&site.place.join("state/acme-account.key")), 0o600);

    // The server takes it, and the renewed one without a restart.
    let root = site.place.join("root");
    std::fs::create_dir(&root).unwrap();
    let [certificate, key] = [&site.certificate, &site.key].map(|path| path.to_str().unwrap());
    let server = Process::serve(&root, &["--tls-cert", certificate, "--tls-key", key]);
    let served = || {
        let mut client = Client::greeted(server.address());
        client.expect("AUTH TLS", 234);
        let stream = handshake(&context(|_| {}), client.stream, None).unwrap();
        let shown = stream.ssl().peer_certificate().unwrap().to_pem().unwrap();
        site.pair().0.starts_with(&shown)
    };
    assert!(served());
    let before = site.pair();
    let (code, said) = site.acme(&authority, &basic);
    assert!(code == 0 && said.contains("nothing to do"), "{said}");
    assert_eq!(site.pair(), before);
    // The account knows its authority, and the certificate its names.
    let (code, said) = site.acme(&authority, &["--port", &here, "--force"]);
    assert_eq!(code, 0, "{said}");
    assert!(NAMES.iter().all(|name| said.contains(name)), "{said}");
    assert_ne!(site.pair(), before);
    until("the new one is served", served);

    // Through a web server's directory.
    let web = site.place.join("web");
    web_server(&here, web.clone());
    let (code, said) = site.acme(&authority, &["--webroot", web.to_str().unwrap(), "--force"]);
    assert_eq!(code, 0, "{said}");
    let left = std::fs::read_dir(web.join(".well-known/acme-challenge")).unwrap();
    assert_eq!(left.count(), 0);

    // A half of a new pair never comes in its place.
    let before = site.pair();
    std::fs::create_dir(site.place.join("ftp.crt.new")).unwrap();
    let (code, said) = site.acme(&authority, &["--webroot", web.to_str().unwrap(), "--force"]);
    assert!(code == 111 && said.contains("ftp.crt.new"), "{code} {said}");
    assert_eq!(site.pair(), before);
    assert!(!site.place.join("ftp.key.new").exists());
    std::fs::remove_dir(site.place.join("ftp.crt.new")).unwrap();

    // Through every failure the old one stays.
    let before = site.pair();
    let elsewhere = format!("127.93.18.9:{}", authority.port);
    let gone = format!("https://localhost:{}/dir", free_port("127.0.0.1"));
    let untrusting = Authority {
        _running: Vec::new(),
        directory: String::new(),
        trusted: "/dev/null".into(),
        port: 0,
        certificates: Certificates::new(),
    };
    for (authority, words, told) in [
        (&authority, vec!["--port", &here, "--force"], "--webroot"),
        (
            &authority,
            vec!["--port", &elsewhere, "--force"],
            "can't verify",
        ),
        (
            &untrusting,
            vec!["--port", &elsewhere, "--force"],
            "does not know who signed",
        ),
        (
            &authority,
            vec!["--port", &elsewhere, "--force", "--directory", &gone],
            "can't be reached",
        ),
    ] {
        let (code, said) = site.acme(authority, &words);
        assert!(code == 111 && said.contains(told), "{told}: {code} {said}");
        assert!(
            said.contains("the certificate that is there stays"),
            "{said}"
        );
        assert_eq!(site.pair(), before, "{told}");
    }
    for wrong in ["*.wharf.test", "192.0.2.1x y", "localhost", "a.test/../b"] {
        let (code, said) = site.acme(&authority, &[wrong]);
        assert!(code == 100 && said.contains("no name"), "{wrong}: {said}");
    }
    assert_eq!(site.pair(), before);
}

/// A server alone keeps its certificate up to date: it begins with its own.
#[test]
fn a_server_obtains_its_certificate_by_itself() {
    if !has("pebble") || !has("pebble-challtestsrv") {
        return;
    }
    let authority = pebble();
    let site = Site::new();
    let state = site.place.join("state");
    let words = format!(
        "--directory {} --port {HOST}:{} --agree-terms {}",
        authority.directory, authority.port, NAMES[0]
    );
    let root = site.place.join("root");
    std::fs::create_dir(&root).unwrap();
    let mut command = wharfd();
    command.env("SSL_CERT_FILE", &authority.trusted);
    command.env("SSL_CERT_DIR", "/nonexistent");
    command.env("WHARFD_STATE_DIR", &state);
    command.env("WHARFD_ACME", words);
    command
        .args(["--listen", "127.0.0.1:0", "--print-port"])
        .arg(&root);
    let mut server = Process::start(&mut command);
    let shown = || {
        let mut client = Client::greeted(server.address());
        client.expect("AUTH TLS", 234);
        let stream = handshake(&context(|_| {}), client.stream, None).unwrap();
        let certificate = stream.ssl().peer_certificate().unwrap();
        let issuer = certificate.issuer_name().entries().next().unwrap();
        String::from_utf8_lossy(issuer.data().as_slice()).into_owned()
    };
    until("the authority's certificate is served", || {
        shown().starts_with("Pebble")
    });
    // It ends with its server.
    let beside = |process: &u32| {
        let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("\0acme\0--stay\0")
    };
    let mut processes = descendants(server.pid());
    processes.retain(beside);
    assert_eq!(processes.len(), 1);
    server.signal("KILL");
    server.wait();
    until("acme has ended", || !beside(&processes[0]));
}

/// An authority that makes an account, and limits orders.
fn limiting(days: (i64, i64)) -> Authority {
    let certificates = Certificates::new();
    let own = certificates.write("double", &[&certificate("localhost", None, days)]);
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_certificate_chain_file(&own.0).unwrap();
    acceptor
        .set_private_key_file(&own.1, SslFiletype::PEM)
        .unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let base = url.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = acceptor.accept(stream.unwrap()) else {
                continue;
            };
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap();
            let line = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = line.split(' ').nth(1).unwrap_or_default();
            let (status, body) = match path {
                "/dir" => ("200 OK", format!("{{\"newNonce\":\"{base}/n\",\"newAccount\":\"{base}/a\",\"newOrder\":\"{base}/o\"}}")),
                "/a" => ("201 Created", "{}".into()),
                "/o" => ("429 Too Many Requests", "{\"type\":\"urn:ietf:params:acme:error:rateLimited\",\"detail\":\"too many certificates\"}".into()),
                _ => ("200 OK", String::new()),
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nReplay-Nonce: n\r\nLocation: {base}/acct\r\nRetry-After: 3600\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.shutdown();
            // Until the client has gone: what is unread would reset it.
            let _ = std::io::copy(stream.get_mut(), &mut std::io::sink());
        }
    });
    Authority {
        _running: Vec::new(),
        directory: format!("{url}/dir"),
        trusted: own.0,
        port: free_port(HOST),
        certificates,
    }
}

#[test]
fn limits_and_wrong_clocks_leave_the_certificate_alone() {
    let authority = limiting(VALID);
    // To it our clock is ten days behind, and to us its certificate.
    let early = limiting((10, 20));
    let site = Site::new();
    let there = authority
        .certificates
        .write("old", &[&certificate(NAMES[0], None, (-80, 10))]);
    let future = authority
        .certificates
        .write("future", &[&certificate(NAMES[0], None, (5, 90))]);
    let install = |pair: &(PathBuf, PathBuf)| {
        std::fs::copy(&pair.0, &site.certificate).unwrap();
        std::fs::copy(&pair.1, &site.key).unwrap();
    };
    for (authority, pair, told) in [
        (
            &authority,
            &there,
            "too many certificates (urn:ietf:params:acme:error:rateLimited); wait 3600",
        ),
        (&early, &there, "is this machine's clock right?"),
        (&authority, &future, "is the clock right?"),
    ] {
        install(pair);
        let before = site.pair();
        let here = format!("{HOST}:{}", authority.port);
        let words = [
            "--directory",
            &authority.directory,
            "--port",
            &here,
            "--agree-terms",
        ];
        let (code, said) = site.acme(authority, &words);
        assert!(code == 111 && said.contains(told), "{told}: {code} {said}");
        assert_eq!(site.pair(), before, "{told}");
    }
}
