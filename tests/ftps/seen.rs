//! What administrators see of TLS: log, transfer log, who, STAT, metrics.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::daemon::{Daemon, text};
use crate::common::TempDir;
use crate::common::client::{Client, DEADLINE};
use crate::common::process::wharfd;
use crate::common::tls::{Certificates, SecureClient, VALID, certificate, context};

const VERSION: &str = if cfg!(feature = "tls13") {
    "TLSv1.3"
} else {
    "TLSv1.2"
};

/// One session under TLS, with a client certificate where the build can ask
/// for it, and one in the clear.
#[test]
fn administrators_see_what_is_encrypted_and_how() {
    let certificates = Certificates::new();
    let place = TempDir::new("seen");
    std::fs::write(place.join("file"), b"content").unwrap();
    let own = certificates.write("ftp.test", &[&certificate("ftp.test", None, VALID)]);
    let authority = certificate("authority", None, VALID);
    let (authority_file, _) = certificates.write("authority", &[&authority]);
    let ann = certificate("ann", Some(&authority), VALID);
    let socket = certificates.0.join("socket");
    let transfers = certificates.0.join("transfers");
    // An address of our own, so that nobody else binds the port in between.
    let probe = TcpListener::bind("127.93.17.5:0").unwrap();
    let metrics = probe.local_addr().unwrap();
    drop(probe);
    let (metrics_address, root) = (metrics.to_string(), place.path().to_owned());
    let mut arguments = vec!["--log-format", "json", "--control-socket", text(&socket)];
    arguments.extend(["--transfer-log", text(&transfers)]);
    arguments.extend(["--listen-metrics", &metrics_address]);
    if cfg!(feature = "tls13") {
        arguments.extend(["--tls-client-ca", text(&authority_file)]);
    }
    arguments.push(text(&root));
    let daemon = Daemon::with_certificate(place, &own, &arguments);
    let rules = context(|builder| {
        builder.set_certificate(&ann.certificate).unwrap();
        builder.set_private_key(&ann.key).unwrap();
    });
    let mut client = SecureClient::explicit_with(daemon.ports[0], rules);
    client.expect("PBSZ 0", 200);
    client.expect("PROT P", 200);
    client.keep_session();
    client.login("anonymous", "x@");
    client.expect("TYPE I", 200);
    let fetched = client.fetch_secure("RETR file");
    assert_eq!(fetched, (b"content".to_vec(), true));
    let cipher = client.stream.ssl().current_cipher().unwrap().name();
    let certificate = if cfg!(feature = "tls13") {
        ",\"certificate\":\"CN=ann\""
    } else {
        ""
    };

    let status = client.expect("STAT", 211).lines.join("\n");
    for part in [VERSION, cipher, "resumed the TLS session"] {
        assert!(status.contains(part), "{part}: {status}");
    }
    assert_eq!(status.contains("CN=ann"), cfg!(feature = "tls13"));

    let mut plain = Client::greeted(daemon.ports[0]);
    plain.login("anonymous", "x@");
    plain.expect("TYPE I", 200);
    assert_eq!(plain.fetch("RETR file"), b"content");

    let who = |words: &[&str]| {
        let mut command = wharfd();
        command.args(["who", "--control-socket", text(&socket)]);
        String::from_utf8(command.args(words).output().unwrap().stdout).unwrap()
    };
    let table = who(&[]);
    let short = format!(" ftp   {}  ", VERSION.trim_start_matches("TLSv"));
    assert!(table.lines().nth(1).unwrap().contains(&short), "{table}");
    assert!(
        table.lines().nth(2).unwrap().contains(" ftp   no   "),
        "{table}"
    );
    let objects = who(&["--json"]);
    let facts = format!(
        "\"tls\":\"{VERSION}\",\"cipher\":\"{cipher}\"{certificate},\"data_tls\":\"resumed\"}}"
    );
    let (under_tls, clear) = objects.trim_end().split_once('\n').unwrap();
    assert!(under_tls.ends_with(&facts), "{objects}");
    assert!(clear.ends_with(",\"data_tls\":\"none\"}"), "{objects}");

    // In the log: a line for the session, and fields of each transfer.
    let tls = format!("\"tls\":\"{VERSION}\",\"cipher\":\"{cipher}\",");
    daemon.logs(&format!("{tls}\"resumed\":false{certificate},"), 1);
    daemon.logs(
        &format!("\"complete\":true,{tls}\"data_tls\":\"resumed\","),
        1,
    );
    daemon.logs("\"complete\":true,\"data_tls\":\"none\",", 1);
    let lines = std::fs::read_to_string(&transfers).unwrap();
    for service in ["ftps", "ftp"] {
        let end = format!(" {service} 0 * c\n");
        assert!(lines.contains(&end), "{end}{lines}");
    }

    let mut page = String::new();
    let mut stream = TcpStream::connect(metrics).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    stream.read_to_string(&mut page).unwrap();
    for line in [
        format!("wharf_tls_sessions{{encryption=\"{VERSION}\"}} 1\n"),
        format!("wharf_logins_by_encryption_total{{encryption=\"{VERSION}\"}} 1\n"),
        "wharf_logins_by_encryption_total{encryption=\"none\"} 1\n".into(),
    ] {
        assert!(page.contains(&line), "{line}{page}");
    }
}

/// An upload that ends as one ends that was cut names the option for clients
/// that end all of theirs so, once for each of them.
#[test]
fn the_log_names_tls_relaxed_close_once_a_client() {
    let certificates = Certificates::new();
    let place = TempDir::new("seen");
    let own = certificates.write("ftp.test", &[&certificate("ftp.test", None, VALID)]);
    let root = place.path().to_owned();
    let rights = ["--anonymous-rights", "read-write", text(&root)];
    let daemon = Daemon::with_certificate(place, &own, &rights);
    for _ in 0..2 {
        let mut client = SecureClient::explicit(daemon.ports[0]);
        client.expect("PBSZ 0", 200);
        client.expect("PROT P", 200);
        client.keep_session();
        client.login("anonymous", "x@");
        client.expect("TYPE I", 200);
        for _ in 0..2 {
            let data = client.data();
            client.send("STOR file");
            let mut data = client.protect(data.0).unwrap();
            client.wait_for(150);
            data.send(b"content");
            data.cut();
            client.wait_for(426);
        }
    }
    daemon.logs("a transfer broke off", 4);
    assert_eq!(daemon.log().matches("tls-relaxed-close").count(), 1);
}
