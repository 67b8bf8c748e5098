//! One connection on descriptor 0.
#![cfg(feature = "cli")]

use crate::common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use common::client::DEADLINE;
use common::process::{wait, wharfd};
use common::{Client, TempDir};

/// As inetd starts it: the connection is all three standard descriptors.
fn start(command: &mut Command, connection: OwnedFd) -> Child {
    let copy = || Stdio::from(connection.try_clone().unwrap());
    command
        .stdin(copy())
        .stdout(copy())
        .stderr(copy())
        .spawn()
        .unwrap()
}

fn connection() -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    (client, listener.accept().unwrap().0.into())
}

fn rest(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_whole_session_and_nothing_but_the_protocol() {
    let directory = TempDir::new("inetd");
    std::fs::write(directory.path().join("file"), "content").unwrap();
    let (client, server) = connection();
    let mut child = start(
        wharfd()
            .args(["--inetd", "--log-level", "trace"])
            .arg(directory.path()),
        server,
    );
    let address = client.peer_addr().unwrap();
    let mut client = Client::over(client, address);
    client.wait_for(220);
    client.login("anonymous", "x@");
    assert_eq!(client.fetch("RETR file"), b"content");
    client.expect("QUIT", 221);
    client.closed();
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn whatever_is_wrong_the_client_sees_only_a_reply() {
    let directory = TempDir::new("inetd");
    for (arguments, code, want) in [
        (&["--inetd", "--bogus"][..], 100, ""),
        (
            &["--inetd", "--log-file", "/nonexistent/log", "/"],
            100,
            "421 ",
        ),
        (&["--inetd", "/nonexistent"], 100, "421 "),
    ] {
        let (client, server) = connection();
        let mut child = start(
            wharfd().args(arguments).current_dir(directory.path()),
            server,
        );
        let said = rest(client);
        assert_eq!(wait(&mut child).code(), Some(code), "{arguments:?}");
        assert!(said.starts_with(want), "{arguments:?}: {said}");
        assert!(said.lines().count() <= 1, "{arguments:?}: {said}");
    }
}

#[test]
fn what_is_no_connection_is_refused_with_a_word() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let datagrams = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for (input, word) in [
        (Stdio::null(), "standard input is no connection"),
        (Stdio::piped(), "standard input is no connection"),
        (Stdio::from(OwnedFd::from(listener)), "nowait"),
        (
            Stdio::from(OwnedFd::from(datagrams)),
            "standard input is no connection",
        ),
    ] {
        let output = wharfd()
            .args(["--inetd", "/"])
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        assert_eq!(output.status.code(), Some(100));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(word), "{text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_launcher_tells_the_address_of_a_client_behind_it() {
    let directory = TempDir::new("inetd");
    let (mut client, server) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    // As tcpserver does it: standard error is the launcher's.
    let copy = || Stdio::from(OwnedFd::from(server.try_clone().unwrap()));
    let child = wharfd()
        .args(["--inetd", "--login-delay", "0"])
        .arg(directory.path())
        .env("TCPREMOTEIP", "192.0.2.7")
        .env("TCPREMOTEPORT", "4711")
        .stdin(copy())
        .stdout(copy())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(server);
    client
        .write_all(b"USER root\r\nPASS x\r\nQUIT\r\n")
        .unwrap();
    let said = rest(client);
    assert!(
        said.starts_with("220 ") && said.contains("\r\n530 "),
        "{said}"
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(
        log.contains("login refused: user \"root\" from 192.0.2.7 (ftp): "),
        "{log}"
    );
}

#[test]
fn hup_does_not_end_a_session() {
    let directory = TempDir::new("inetd");
    let (client, server) = connection();
    let mut child = start(wharfd().arg("--inetd").arg(directory.path()), server);
    let address = client.peer_addr().unwrap();
    let mut client = Client::over(client, address);
    client.wait_for(220);
    common::process::signal_to(child.id(), "HUP");
    client.login("anonymous", "x@");
    client.expect("QUIT", 221);
    assert_eq!(wait(&mut child).code(), Some(0));
}
