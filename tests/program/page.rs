//! The status page, and who may ask for it.
#![cfg(feature = "page")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::common;
use common::process::{Process, has, program, run_within, wharfd};
use common::{Client, TempDir};

const TOKEN: &str = "0123456789abcdef0123";

/// What the port says to these lines.
fn ask(address: SocketAddr, lines: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    write!(stream, "{lines}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A server whose metrics are at the second port.
fn serve(place: &TempDir, more: &[&str]) -> (Process, SocketAddr, SocketAddr) {
    // On an address of our own, where nobody else binds in between.
    let metrics = std::net::TcpListener::bind("127.93.19.1:0").unwrap();
    let port = metrics.local_addr().unwrap();
    drop(metrics);
    let server = Process::start(
        wharfd()
            .args(["--listen", "127.0.0.1:0", "--print-port"])
            .args(["--anonymous-rights", "read-write", "--listen-metrics"])
            .arg(port.to_string())
            .args(more)
            .arg(place.path()),
    );
    let address = server.address();
    (server, address, port)
}

#[test]
fn the_page_shows_who_is_there_and_runs_nothing_else() {
    let place = TempDir::new("page");
    let (_server, address, metrics) = serve(&place, &[]);
    let mut client = Client::greeted(address);
    client.login("anonymous", "guest@");
    let mut data = client.data();
    client.expect("STOR <img src=x onerror=alert(1)>\"\\", 150);
    data.send(&[7; 5000]);

    let page = ask(metrics, "GET / HTTP/1.1\r\nHost: localhost:1");
    assert!(page.starts_with("HTTP/1.0 200 OK\r\n"), "{page}");
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    let nonce = head.split("script-src 'nonce-").nth(1).unwrap();
    let nonce = &nonce[..nonce.find('\'').unwrap()];
    assert_eq!(nonce.len(), 32, "{head}");
    assert!(head.contains("default-src 'none'"), "{head}");
    // Everything that runs has the nonce, and nothing is of another place.
    for word in ["<script", "<style"] {
        let with = format!("{word} nonce=\"{nonce}\">");
        let count = body.matches(word).count();
        assert_eq!((count, body.matches(&with).count()), (1, 1), "{word}");
    }
    for word in ["http:", "https:", "//", " style=", " onclick=", "innerHTML"] {
        let of_script = word == "//" && body.matches(word).count() == 1;
        assert!(of_script || !body.contains(word), "{word}");
    }
    assert!(
        !ask(metrics, "GET /").contains(nonce),
        "one answer, one nonce"
    );

    let mut json = String::new();
    common::until("the upload is shown", || {
        json = ask(metrics, "GET /status.json HTTP/1.0");
        json.contains("\"bytes\":5000,")
    });
    for part in [
        "\"phase\":\"running\"",
        "\"user\":\"anonymous\"",
        "\"address\":\"127.0.0.1\"",
        "\"command\":\"STOR\"",
        r#""file":"/<img src=x onerror=alert(1)>\"\\\\""#,
        "\"received\":5000,\"sent\":0,",
        "\"free\":",
        "\"certificates\":[]",
    ] {
        assert!(json.contains(part), "no {part} in {json}");
    }
}

#[test]
fn the_page_is_for_this_machine_or_for_who_knows_the_token() {
    let place = TempDir::new("page");
    let status = |answer: &str| answer.split(' ').nth(1).unwrap().to_owned();
    let (_server, _, metrics) = serve(&place, &[]);
    for (request, want) in [
        ("GET / HTTP/1.1\r\nHost: 127.93.19.1:8080", "200"),
        ("GET / HTTP/1.1\r\nhost: [::1]:80", "200"),
        ("GET / HTTP/1.1\r\nHOST: localhost", "200"),
        ("GET / HTTP/1.1\r\nHost: evil.example", "403"),
        (
            "GET /status.json HTTP/1.1\r\nHost: localhost.evil.example:80",
            "403",
        ),
        ("GET /metrics HTTP/1.1\r\nHost: files.example", "200"),
        ("POST / HTTP/1.1\r\nHost: localhost", "405"),
        ("GET /other HTTP/1.1\r\nHost: localhost", "404"),
    ] {
        assert_eq!(status(&ask(metrics, request)), want, "{request}");
    }

    let file = place.join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let (_server, _, metrics) = serve(&place, &["--metrics-token-file", file.to_str().unwrap()]);
    for path in ["/", "/status.json", "/metrics"] {
        for (header, want) in [
            ("", "401"),
            ("Authorization: Bearer 0123456789abcdef0124", "401"),
            ("Authorization: Bearer", "401"),
            ("Authorization: Basic !", "401"),
            // "any:wrong" and "any:" with the token.
            ("Authorization: Basic YW55Ondyb25n", "401"),
            (
                "Authorization: Basic YW55OjAxMjM0NTY3ODlhYmNkZWYwMTIz",
                "200",
            ),
            ("authorization: bearer 0123456789abcdef0123", "200"),
        ] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: files.example\r\n{header}");
            let answer = ask(metrics, request.trim_end());
            assert_eq!(status(&answer), want, "{path} {header}");
            assert_eq!(answer.contains("WWW-Authenticate"), want == "401");
        }
    }

    // On an address that others reach there are counts alone.
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap();
    drop(listener);
    let server = Process::serve(place.path(), &["--listen-metrics", &port.to_string()]);
    server.address();
    let here = SocketAddr::from(([127, 0, 0, 1], port.port()));
    assert_eq!(status(&ask(here, "GET /metrics HTTP/1.0")), "200");
    assert_eq!(status(&ask(here, "GET / HTTP/1.0")), "404");
    assert_eq!(status(&ask(here, "GET /status.json HTTP/1.0")), "404");

    std::fs::write(&file, "short").unwrap();
    let mut server = Process::serve(
        place.path(),
        &[
            "--listen-metrics",
            "127.0.0.1:0",
            "--metrics-token-file",
            file.to_str().unwrap(),
        ],
    );
    assert_eq!(server.wait().code(), Some(100));
    assert!(server.log.all().contains("at least 16 characters"));
}

/// In a real browser. `WHARF_SCREENSHOT=FILE` keeps the picture.
#[test]
fn a_browser_shows_the_page() {
    if !has("chromium") {
        return;
    }
    let place = TempDir::new("page");
    std::fs::write(place.join("file"), vec![7; 64 << 20]).unwrap();
    let (_server, address, metrics) = serve(&place, &["--session-rate-down", "4000000"]);
    let mut client = Client::greeted(address);
    client.login("anonymous", "guest@");
    let data = client.data();
    client.expect("RETR file", 150);
    let end = data.0.try_clone().unwrap();
    let reading = std::thread::spawn(move || {
        let mut piece = vec![0; 1 << 16];
        while matches!((&data.0).read(&mut piece), Ok(1..)) {}
    });
    let mut second = Client::greeted(address);
    second.login("anonymous", "guest@");
    let mut upload = second.data();
    second.expect("STOR <b>bold", 150);
    upload.send(b"some");
    let profile = format!("--user-data-dir={}", place.join("profile").display());
    let browse = |what: &str| {
        let mut browser = program("chromium");
        browser.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=900,760",
            "--virtual-time-budget=9000",
            &profile,
            what,
        ]);
        browser.arg(format!("http://{metrics}/"));
        run_within(Duration::from_secs(60), &mut browser, "")
    };
    let shown = browse("--dump-dom");
    for part in [
        "running, up",
        "anonymous",
        "RETR /file",
        "STOR /&lt;b&gt;bold",
        "<progress max=\"67108864\"",
        "class=\"down\" points=\"",
        "MB/s",
    ] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
    if let Some(picture) = std::env::var_os("WHARF_SCREENSHOT") {
        browse(&format!("--screenshot={}", picture.display()));
    }
    end.shutdown(std::net::Shutdown::Both).unwrap();
    reading.join().unwrap();
}
