//! Connections that break, half-close or stand still at each step of a
//! dialogue. The server notices, and keeps nothing.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::common::client::{Client, Data};
use super::common::{TestServer, server, until};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Reset,
    Close,
    HalfClose,
    Stall,
}

fn apply(fault: Fault, stream: TcpStream, held: &mut Vec<TcpStream>) {
    match fault {
        Fault::Reset => {
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
        Fault::Close => {}
        Fault::HalfClose => {
            // The server may have closed already.
            let _ = stream.shutdown(Shutdown::Write);
            held.push(stream);
        }
        Fault::Stall => held.push(stream),
    }
}

fn start() -> TestServer {
    let server = server()
        .set("atomic-uploads", "yes")
        .set("strict-end", "yes")
        .with(|config| {
            config.idle_timeout = Duration::from_millis(300);
            config.stall_timeout = Duration::from_millis(300);
            config.data_connect_timeout = Duration::from_millis(300);
            config.login_timeout = Duration::from_millis(600);
        })
        .start();
    server.file("f", &vec![b'x'; 8 << 20]);
    server.file("d/g", b"x");
    server
}

/// Steps of the dialogue; true is a command, false a piece of a line.
const STEPS: [&str; 9] = [
    "",
    "US",
    "USER ann\r\n",
    "USER ann\r\nPASS secret\r\n",
    "TYPE I\r\n",
    "EPSV\r\n",
    "RETR",
    "RNFR f\r\n",
    "REST 5\r\n",
];

#[test]
fn the_control_connection_breaks() {
    let server = start();
    for fault in [Fault::Reset, Fault::Close, Fault::HalfClose, Fault::Stall] {
        let mut held = Vec::new();
        for (step, said) in STEPS.iter().enumerate() {
            let mut client = Client::connect(server.v4);
            if step > 0 {
                client.wait_for(220);
            }
            if step > 3 {
                client.login("ann", "secret");
            }
            client.raw(said.as_bytes());
            apply(fault, client.stream, &mut held);
        }
        server.until("sessions have ended", |server| server.sessions() == 0);
        server.ann().expect("NOOP", 200);
    }
}

/// Both connections of a transfer, each fault on either, before and within.
#[test]
fn transfers_break() {
    // Most of the time is waiting for timeouts: side by side.
    std::thread::scope(|scope| {
        for command in ["RETR f", "STOR new", "STOR f", "APPE d/g", "LIST", "STOU"] {
            for on_data in [true, false] {
                scope.spawn(move || transfer_breaks(command, on_data));
            }
        }
    });
}

fn transfer_breaks(command: &str, on_data: bool) {
    let server = start();
    for early in [true, false] {
        for fault in [Fault::Reset, Fault::Close, Fault::HalfClose, Fault::Stall] {
            // An upload that is closed is a whole one.
            let upload = matches!(&command[..4], "STOR" | "APPE" | "STOU");
            if on_data && upload && matches!(fault, Fault::Close | Fault::HalfClose) {
                continue;
            }
            one(&server, command, on_data, early, fault);
            assert_eq!(server.names("/"), ["d", "f"], "{command} {fault:?}");
            assert_eq!(server.content("f").unwrap().len(), 8 << 20);
        }
    }
}

fn one(server: &TestServer, command: &str, on_data: bool, early: bool, fault: Fault) {
    let what = format!("{command}, on data {on_data}, early {early}, {fault:?}");
    let mut client = server.ann();
    let Data(mut data) = client.data();
    client.send(command);
    if !early {
        client.wait_for(150);
        if !command.starts_with('R') && command != "LIST" {
            // It may be stopped already where the fault is quick.
            let _ = data.write_all(b"half of it");
        }
    }
    let mut held = Vec::new();
    if on_data {
        apply(fault, data, &mut held);
        let mut last = client.reply();
        if last.code == 150 {
            last = client.reply();
        }
        let download = command.starts_with("RETR") || command == "LIST";
        // A short listing is in the kernel's hands before anything breaks, and
        // a half-closed reader may still read.
        let done = download && last.code == 226;
        assert!(
            matches!(last.code, 425 | 426) || done,
            "{what}: {:?}",
            last.lines
        );
        client.expect("NOOP", 200);
    } else {
        apply(fault, client.stream, &mut held);
        if fault == Fault::HalfClose || fault == Fault::Stall {
            // Without the client's data nothing goes on.
            held.push(data);
        } else {
            drop(data);
        }
    }
    drop_after(server, held, &what);
}

fn drop_after(server: &TestServer, held: Vec<TcpStream>, what: &str) {
    until(what, || server.sessions() == 0 || held.is_empty());
    drop(held);
    server.until(what, |server| server.sessions() == 0);
}
