//! Fifty clients at once in little memory: what the program itself holds, and
//! the addresses that it takes, which are scarce on 32 bits.
#![cfg(feature = "cli")]

use crate::common;

use std::any::Any;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use common::process::{Process, WHARFD, add_user, soon, wharfd};
use common::{Client, TempDir};

const CLIENTS: usize = 50;
const TRANSFERS: usize = 8;
/// What all of it may take.
const MOST: u64 = 16 << 10;
/// Stacks of a debug build are larger; their addresses count here.
const DATA: u64 = if cfg!(debug_assertions) {
    128 << 10
} else {
    MOST
};

/// What stands on a line of /proc/PID/status.
fn word(pid: u32, line: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|text| text.starts_with(line)).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

/// KiB of such a line.
fn status(pid: u32, line: &str) -> u64 {
    word(pid, line).parse().unwrap()
}

#[test]
fn fifty_clients_list_and_transfer_in_sixteen_mebibytes() {
    let directory = TempDir::new("memory");
    let content: Vec<u8> = (0..3 << 20).map(|number: u32| number as u8).collect();
    std::fs::write(directory.join("file"), &content).unwrap();
    std::fs::create_dir(directory.join("up")).unwrap();
    for number in 0..500 {
        std::fs::write(directory.join(format!("up/name-{number}")), b"").unwrap();
    }
    let limited = format!("ulimit -d {DATA} && exec \"$0\" \"$@\"");
    let mut server = Process::start(
        Command::new("sh")
            .args(["-c", &limited, WHARFD, "--listen", "127.0.0.1:0"])
            .args(["--print-port", "--threads", "60", "--max-per-address", "60"])
            .args(["--anonymous-rights", "read-write"])
            .arg(directory.path()),
    );
    let address = server.address();
    let mut most = 0;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Client::greeted(address);
        client.login("anonymous", "guest@");
        client.expect("TYPE I", 200);
        let names = client.fetch("NLST up");
        assert_eq!(names.iter().filter(|byte| **byte == b'\n').count(), 500);
        clients.push(client);
        most = most.max(status(server.pid(), "RssAnon:"));
    }
    // Uploads and downloads that are in their middle at the same time.
    let mut transfers = Vec::new();
    for (number, client) in clients.iter_mut().enumerate().take(TRANSFERS) {
        let data = client.data();
        match number % 2 {
            0 => client.expect("RETR file", 150),
            _ => client.expect(&format!("STOR up/new-{number}"), 150),
        };
        if number % 2 == 1 {
            std::io::Write::write_all(&mut &data.0, &content[..1 << 20]).unwrap();
        }
        transfers.push(data);
    }
    most = most.max(status(server.pid(), "RssAnon:"));
    for (number, (client, mut data)) in clients.iter_mut().zip(transfers).enumerate() {
        match number % 2 {
            0 => assert!(data.rest() == content, "transfer {number}"),
            _ => drop(data),
        }
        client.wait_for(226);
        most = most.max(status(server.pid(), "RssAnon:"));
    }
    for client in &mut clients {
        client.expect("NOOP", 200);
    }
    assert!(most <= MOST, "{most} KiB of memory of its own");
    // Four arenas at the most and the stacks; without a bound it were a GiB.
    let addresses = status(server.pid(), "VmSize:");
    assert!(addresses < 600 << 10, "{addresses} KiB of addresses");
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0), "{}", server.log.all());
}

/// Settings, users and certificates that are read again push the old ones out:
/// a thousand times more take no more memory. What the first times reach, the
/// heap's highest mark, is no measure.
#[test]
fn settings_read_again_take_no_memory() {
    let place = TempDir::new("again");
    std::fs::create_dir(place.join("state")).unwrap();
    let users = place.join("users");
    for name in ["ann", "bob", "eve"] {
        add_user(&users, name, place.path(), &[]);
    }
    let mut text = format!(
        "listen 127.0.0.1:0\nusers {}\nstate-dir {}\nlog-level warn\n",
        users.display(),
        place.join("state").display()
    );
    if cfg!(feature = "ftps") {
        text += "self-signed yes\n";
    }
    let config = place.join("wharfd.conf");
    std::fs::write(&config, text).unwrap();
    let server = Process::start(wharfd().args(["--print-port", "--config"]).arg(&config));
    server.address();
    let process = rustix::process::Pid::from_raw(server.pid() as i32).unwrap();
    let reload = |times: usize| {
        for _ in 0..times {
            rustix::process::kill_process(process, rustix::process::Signal::HUP).unwrap();
            // It is taken, so that the next is another one.
            let taken =
                || u64::from_str_radix(&word(server.pid(), "ShdPnd:"), 16).unwrap() & 1 == 0;
            assert!(soon(taken), "nobody takes the signal");
        }
        status(server.pid(), "RssAnon:")
    };
    let (before, after) = (reload(500), reload(1000));
    assert!(
        after <= before + 128,
        "{before} KiB after 500 times, {after} KiB after 1500"
    );
    assert_eq!(server.log.text(), "", "nothing was refused");
}

/// OpenSSL takes 2 MB as soon as it is asked anything: a server that speaks
/// plain FTP leaves it alone. It begins by reading its configuration, which
/// nobody writes here, so it would wait for ever.
#[test]
#[cfg(feature = "ftps")]
fn plain_ftp_does_not_start_openssl() {
    let place = TempDir::new("plain");
    let never = place.join("openssl.cnf");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &never, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let server = Process::start(
        wharfd()
            .env("OPENSSL_CONF", &never)
            .args(["--listen", "127.0.0.1:0", "--print-port"])
            .arg(place.path()),
    );
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "guest@");
    assert_eq!(client.fetch("NLST"), b"openssl.cnf\r\n");
}

/// Sessions that send and read nothing, or a byte a second.
const UNREAD: usize = 32;
/// Commands of one pipeline.
const PIPELINE: usize = 2000;
/// What the process may take with all of them, in KiB.
const BUDGET: u64 = 96 << 10;

/// Every command with arguments that make it do something; those that change
/// the tree work on what is not there.
fn every_command(port: &str) -> Vec<String> {
    let changes = ["DELE", "RMD", "RMDA", "SITE RMDIR", "RNFR", "COMB"];
    let mut lines = Vec::new();
    for (verb, _, _) in wharf::daemon::tables::rows() {
        if verb == "QUIT" {
            continue;
        }
        let arguments: &[&str] = if changes.contains(&verb.as_str()) {
            &["", " none"]
        } else {
            &["", " d", " f"]
        };
        lines.extend(arguments.iter().map(|argument| format!("{verb}{argument}")));
    }
    for data in [
        "LIST big",
        "NLST big",
        "MLSD big",
        "LIST -R",
        "RETR file",
        "STOR up",
    ] {
        lines.push(format!("{port}\r\n{data}"));
    }
    lines
}

/// Sends as much of a pipeline as the server takes.
fn flood<S: Read + Write>(mut client: Client<S>, socket: &TcpStream, line: &str) -> Client<S> {
    // Or loopback takes megabytes of replies before anything must wait.
    rustix::net::sockopt::set_socket_recv_buffer_size(socket, 8 << 10).unwrap();
    let text = format!("{line}\r\n").repeat(PIPELINE);
    let mut rest = text.as_bytes();
    socket
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    while let Ok(length @ 1..) = client.stream.write(rest) {
        rest = &rest[length..];
    }
    client
}

/// A client that has logged in and sent a pipeline, and what is below its TLS.
fn unread(address: SocketAddr, line: &str, secure: bool) -> (Box<dyn Any + Send>, TcpStream) {
    let mut client = Client::greeted(address);
    let socket = client.stream.try_clone().unwrap();
    #[cfg(feature = "ftps")]
    if secure {
        let mut client = common::tls::SecureClient::upgrade(client, common::tls::context(|_| {}));
        client.login("anonymous", "guest@");
        let client = flood(client.into_control(), &socket, line);
        return (Box::new(client.stream), socket);
    }
    let _ = secure;
    client.login("anonymous", "guest@");
    let client = flood(client, &socket, line);
    (Box::new(client.stream), socket)
}

#[test]
fn pipelines_that_nobody_reads_stay_within_the_budget() {
    let directory = TempDir::new("unread");
    let home = directory.join("home");
    std::fs::create_dir_all(home.join("big")).unwrap();
    std::fs::create_dir(home.join("d")).unwrap();
    for (name, count) in [("big", 1500), ("d", 100)] {
        for number in 0..count {
            std::fs::write(home.join(format!("{name}/{number:0>200}")), b"").unwrap();
        }
    }
    std::fs::write(home.join("f"), b"content").unwrap();
    let content = vec![b'x'; 1 << 20];
    std::fs::write(home.join("file"), &content).unwrap();
    let mut command = wharfd();
    command
        .args(["--listen", "127.0.0.1:0", "--print-port"])
        .args(["--threads", "200", "--max-per-address", "200"])
        .args(["--max-unauthenticated-per-address", "200"])
        .args(["--anonymous-rights", "read-write"]);
    if cfg!(feature = "ftps") {
        let state = directory.join("state");
        std::fs::create_dir(&state).unwrap();
        command.arg("--self-signed").arg("--state-dir").arg(state);
    }
    let mut server = Process::start(command.arg(home));
    let address = server.address();
    // Accepts by its backlog and never reads.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&deaf, 8 << 10).unwrap();
    let port = common::client::active_line("PORT", deaf.local_addr().unwrap());
    let mut lines = every_command(&port);
    // The worst of all by all of them at once, in the clear and under TLS.
    lines.resize(lines.len().next_multiple_of(UNREAD), "STAT big".into());
    for line in ["STAT big".to_owned(), format!("{port}\r\nLIST -t big")] {
        lines.extend(vec![line; UNREAD]);
    }
    for round in lines.chunks(UNREAD) {
        let clients: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = round
                .iter()
                .enumerate()
                .map(|(at, line)| scope.spawn(move || unread(address, line, at % 2 == 1)))
                .collect();
            threads.into_iter().map(|one| one.join().unwrap()).collect()
        });
        // A third reads a byte now and then, of replies or of records.
        for (_, socket) in clients.iter().step_by(3) {
            let mut byte = [0];
            let _ = Read::read(&mut &*socket, &mut byte);
        }
        // Somebody else is served meanwhile.
        let mut bystander = Client::greeted(address);
        bystander.login("anonymous", "guest@");
        bystander.expect("TYPE I", 200);
        assert!(bystander.fetch("RETR file") == content, "{round:?}");
        let taken = status(server.pid(), "VmRSS:");
        println!("{taken} KiB");
        assert!(taken <= BUDGET, "{taken} KiB after {round:?}");
    }
    assert!(status(server.pid(), "VmHWM:") <= BUDGET);
    server.signal("KILL");
    server.wait();
}
