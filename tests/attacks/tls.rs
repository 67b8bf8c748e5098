//! Attacks on TLS, with OpenSSL as the client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode, SslVersion};

use super::common::client::{Client, DEADLINE, Data, extended_port};
use super::common::{Builder, TempDir, server};

fn with_tls(state: &TempDir) -> Builder {
    server()
        .set("self-signed", "yes")
        .set("state-dir", state.path().to_str().unwrap())
}

fn connector(change: impl FnOnce(&mut openssl::ssl::SslConnectorBuilder)) -> SslConnector {
    let mut builder = SslConnector::builder(SslMethod::tls()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    change(&mut builder);
    builder.build()
}

type Handshake = Result<SslStream<TcpStream>, String>;

fn secure(stream: TcpStream, connector: &SslConnector) -> Handshake {
    let mut configuration = connector.configure().unwrap();
    configuration.set_verify_hostname(false);
    configuration
        .connect("wharf.test", stream)
        .map_err(|error| error.to_string())
}

/// A control connection under TLS.
struct Secure(SslStream<TcpStream>);

impl Secure {
    fn reply(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("a reply");
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    #[track_caller]
    fn expect(&mut self, line: &str, code: &str) -> String {
        self.0.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let reply = self.reply();
        assert!(reply.starts_with(code), "{line}: {reply}");
        reply
    }
}

fn auth(server: SocketAddr, connector: &SslConnector) -> Handshake {
    let mut client = Client::greeted(server);
    client.expect("AUTH TLS", 234);
    secure(client.stream, connector)
}

/// CVE-2011-0411, CVE-2011-1575, CVE-2014-3556: what came in the clear behind
/// AUTH TLS must not be answered under TLS, where it looks like the client's.
#[test]
fn attack_04_injection_before_tls() {
    let state = TempDir::new("injection-tls");
    let server = with_tls(&state).start();
    let mut client = Client::greeted(server.v4);
    client.raw(b"AUTH TLS\r\nUSER ann\r\nPASS secret\r\nMKD forged\r\n");
    client.wait_for(234);
    let mut secure = Secure(secure(client.stream, &connector(|_| {})).unwrap());
    // The first answer under TLS is that to the first command under TLS, and
    // nobody is logged in.
    secure.expect("PBSZ 0", "200");
    secure.expect("PWD", "530");
    secure.expect("PASS secret", "503");
    assert_eq!(server.names("/"), [""; 0]);
}

/// vsftpd's strict_ssl_read_eof: who cuts the connection cuts the file.
#[test]
fn attack_05_truncation() {
    let state = TempDir::new("truncation");
    for atomic in ["no", "yes"] {
        let server = with_tls(&state).set("atomic-uploads", atomic).start();
        server.file("f", b"the old contents");
        let connector = connector(|_| {});
        let mut control = Secure(auth(server.v4, &connector).unwrap());
        control.expect("USER ann", "331");
        control.expect("PASS secret", "230");
        control.expect("TYPE I", "200");
        control.expect("PBSZ 0", "200");
        control.expect("PROT P", "200");
        for proper in [false, true] {
            let port = extended_port(&control.expect("EPSV", "229")).unwrap();
            let data = Data::connect(SocketAddr::new(server.v4.ip(), port)).0;
            control.0.write_all(b"STOR f\r\n").unwrap();
            let mut data = secure(data, &connector).unwrap();
            assert!(control.reply().starts_with("150"));
            data.write_all(b"half").unwrap();
            if proper {
                // The answer to it may or may not be waited for.
                let _ = data.shutdown();
            }
            data.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
            let reply = control.reply();
            if proper {
                assert!(reply.starts_with("226"), "{reply}");
                assert_eq!(server.content("f").unwrap(), b"half");
            } else {
                assert!(reply.starts_with("426"), "{reply}");
                if atomic == "yes" {
                    assert_eq!(server.content("f").unwrap(), b"the old contents");
                }
            }
            assert_eq!(server.names("/"), ["f"]);
        }
    }
}

/// CVE-2021-3618: a browser is made to talk to us.
#[test]
fn attack_07_alpaca() {
    let state = TempDir::new("alpaca");
    let server = with_tls(&state).set("listen-ftps", "127.0.0.1:0").start();
    let implicit = server.running().addresses().last().unwrap().0;
    // ALPN of HTTP alone: the handshake fails.
    let http = connector(|builder| {
        builder.set_alpn_protos(b"\x02h2\x08http/1.1").unwrap();
    });
    assert!(auth(server.v4, &http).is_err());
    let stream = TcpStream::connect_timeout(&implicit, DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(secure(stream, &http).is_err());
    // With FTP among them, or without ALPN, it goes on.
    let both = connector(|builder| {
        builder.set_alpn_protos(b"\x02h2\x03ftp").unwrap();
    });
    Secure(auth(server.v4, &both).unwrap()).expect("NOOP", "200");
    // Words of HTTP end the session at once, others after ten.
    for request in ["GET / HTTP/1.1", "POST /x HTTP/1.0", "Host: x", "EHLO x"] {
        let mut client = server.connect();
        client.expect(request, 421);
        client.closed();
    }
    let mut client = server.connect();
    for _ in 0..9 {
        client.expect("X-Header: <script>", 500);
    }
    client.expect("X-Header: <script>", 421);
    client.closed();
}

/// CVE-2009-3555 needs a renegotiation, BEAST and POODLE an old protocol.
#[test]
fn attack_25_old_protocols() {
    let state = TempDir::new("old");
    let server = with_tls(&state).start();
    for version in [SslVersion::SSL3, SslVersion::TLS1, SslVersion::TLS1_1] {
        let old = connector(|builder| {
            // Our own OpenSSL would refuse by itself at its usual level.
            let _ = builder.set_cipher_list("ALL:@SECLEVEL=0");
            builder.set_min_proto_version(Some(version)).unwrap();
            builder.set_max_proto_version(Some(version)).unwrap();
        });
        assert!(auth(server.v4, &old).is_err(), "{version:?}");
    }
    let plain = connector(|builder| {
        builder
            .set_min_proto_version(Some(SslVersion::TLS1_2))
            .unwrap()
    });
    let stream = auth(server.v4, &plain).unwrap();
    assert!(matches!(stream.ssl().version_str(), "TLSv1.2" | "TLSv1.3"));
}

/// CVE-2009-3555, CVE-2011-1473: `openssl s_client` renegotiates at a line
/// with an R; we don't.
#[test]
fn attack_25_renegotiation() {
    let state = TempDir::new("renegotiation");
    let server = with_tls(&state).start();
    let child = std::process::Command::new("openssl")
        .args(["s_client", "-starttls", "ftp", "-tls1_2", "-connect"])
        .arg(server.v4.to_string())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        assert!(std::env::var_os("WHARF_NEED_CLIENTS").is_none());
        eprintln!("SKIP openssl");
        return;
    };
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    // An R counts only as the first byte of what it reads at once.
    input.write_all(b"NOOP\r\n").unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n") || !said.windows(5).any(|part| part == b"\n200 ") {
        let mut byte = [0];
        output.read_exact(&mut byte).expect("the answer to NOOP");
        said.push(byte[0]);
    }
    input.write_all(b"R\n").unwrap();
    drop(input);
    output.read_to_end(&mut said).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&said);
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(
        said.contains("no renegotiation") || said.contains("alert") || said.contains("error"),
        "{said}"
    );
}
