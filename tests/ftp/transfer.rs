//! Bytes arrive as they were sent: every size at the edges of our buffers, by
//! every command, type, way to a data connection and version of IP.

use crate::common;

use common::client::Data;
use common::rng::Rng;
use common::{Client, TempDir, TestServer, server};

const SIZES: [usize; 8] = [0, 1, 2, 1023, 65535, 65536, 65537, 3 << 20];

/// How a data connection comes about.
#[derive(Debug, Clone, Copy)]
enum Way {
    Pasv,
    Epsv,
    Port,
    Eprt,
}

const WAYS: [Way; 4] = [Way::Pasv, Way::Epsv, Way::Port, Way::Eprt];

impl Way {
    fn works_over(self, client: &Client) -> bool {
        client.server().is_ipv4() || matches!(self, Way::Epsv | Way::Eprt)
    }

    /// Sends `line` and makes the data connection; 150 has been read.
    fn open(self, client: &mut Client, line: &str) -> Data {
        match self {
            Way::Pasv | Way::Epsv => {
                let address = match self {
                    Way::Pasv => client.pasv(),
                    _ => client.epsv(),
                };
                let data = Data::connect(address);
                client.expect(line, 150);
                data
            }
            Way::Port | Way::Eprt => {
                let verb = if matches!(self, Way::Port) {
                    "PORT"
                } else {
                    "EPRT"
                };
                let listener = client.active(verb);
                client.expect(line, 150);
                Data::accept(&listener)
            }
        }
    }

    fn fetch(self, client: &mut Client, line: &str) -> Vec<u8> {
        let content = self.open(client, line).rest();
        client.wait_for(226);
        content
    }

    fn store(self, client: &mut Client, line: &str, content: &[u8]) {
        self.open(client, line).send(content);
        client.wait_for(226);
    }
}

/// Text of about `size` bytes whose lines end with LF, as files have it.
fn text(size: usize) -> Vec<u8> {
    let line = b"the quick brown fox\n\n\tjumps over\n";
    line.iter().copied().cycle().take(size).collect()
}

fn on_the_wire(text: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(text.len() * 2);
    for &byte in text {
        if byte == b'\n' {
            wire.push(b'\r');
        }
        wire.push(byte);
    }
    wire
}

/// Every command with one size by one way.
fn commands(server: &TestServer, client: &mut Client, way: Way, size: usize) {
    let what = format!("{way:?} {size} {}", client.server());
    let bytes = Rng::fixed(size as u64).bytes(size);
    client.expect("TYPE I", 200);
    way.store(client, "STOR f", &bytes);
    assert!(
        server.content("f").as_deref() == Some(&bytes[..]),
        "STOR {what}"
    );
    assert!(way.fetch(client, "RETR f") == bytes, "RETR {what}");
    let half = size / 2;
    client.expect(&format!("REST {half}"), 350);
    assert!(
        way.fetch(client, "RETR f") == bytes[half..],
        "REST RETR {what}"
    );
    client.expect(&format!("REST {half}"), 350);
    way.store(client, "STOR f", &bytes[half..]);
    assert!(
        server.content("f").as_deref() == Some(&bytes[..]),
        "REST STOR {what}"
    );
    way.store(client, "APPE f", &bytes);
    let twice = [&bytes[..], &bytes[..]].concat();
    assert!(
        server.content("f").as_deref() == Some(&twice[..]),
        "APPE {what}"
    );

    let text = text(size);
    let wire = on_the_wire(&text);
    client.expect("TYPE A", 200);
    way.store(client, "STOR t", &wire);
    assert!(
        server.content("t").as_deref() == Some(&text[..]),
        "STOR A {what}"
    );
    assert!(way.fetch(client, "RETR t") == wire, "RETR A {what}");
    way.store(client, "APPE t", &wire);
    let twice = [&text[..], &text[..]].concat();
    assert!(
        server.content("t").as_deref() == Some(&twice[..]),
        "APPE A {what}"
    );
    client.expect("DELE f", 250);
    client.expect("DELE t", 250);
}

fn everything(server: &TestServer) {
    for address in [server.v4, server.v6] {
        let mut client = Client::greeted(address);
        client.login("ann", "secret");
        for way in WAYS {
            if way.works_over(&client) {
                for size in SIZES {
                    commands(server, &mut client, way, size);
                }
            }
        }
        client.expect("QUIT", 221);
    }
}

#[test]
fn every_size_command_type_and_way_in_memory() {
    everything(&server().start());
}

#[test]
fn every_size_command_type_and_way_on_disk() {
    let directory = TempDir::new("transfer");
    everything(&server().directory(directory.path()).start());
}

#[test]
fn every_size_command_type_and_way_with_atomic_uploads() {
    let directory = TempDir::new("atomic");
    let server = server()
        .directory(directory.path())
        .set("atomic-uploads", "yes")
        .start();
    everything(&server);
    assert!(server.names("/").is_empty(), "{:?}", server.names("/"));
}

#[test]
fn a_thousand_small_files_in_one_session() {
    // Ports in TIME_WAIT must not run out, nor may a place be lost a file.
    let directory = TempDir::new("small");
    let server = server()
        .directory(directory.path())
        .set("passive-ports", "51000-51063")
        .start();
    let mut client = server.ann();
    for number in 0..1000 {
        let content = format!("file {number}");
        let reply = client.store(&format!("STOR {number}"), content.as_bytes());
        assert_eq!(reply.code, 226);
        assert_eq!(client.fetch(&format!("RETR {number}")), content.as_bytes());
    }
    assert_eq!(server.names("/").len(), 1000);
}

#[test]
fn sessions_work_side_by_side() {
    // rclone's eight parallel transfers, and more.
    let directory = TempDir::new("parallel");
    let server = server().directory(directory.path()).start();
    std::thread::scope(|scope| {
        for number in 0..16u64 {
            let server = &server;
            scope.spawn(move || {
                let bytes = Rng::fixed(number).bytes(300_000 + number as usize);
                let mut client = server.ann();
                for round in 0..5 {
                    let name = format!("f{number}-{round}");
                    assert_eq!(client.store(&format!("STOR {name}"), &bytes).code, 226);
                    assert!(client.fetch(&format!("RETR {name}")) == bytes);
                }
            });
        }
    });
    assert_eq!(server.names("/").len(), 80);
}

#[test]
fn a_rate_holds() {
    let server = server().set("session-rate-down", "1M").start();
    server.file("f", &vec![7; 1 << 20]);
    let mut client = server.ann();
    let started = std::time::Instant::now();
    assert_eq!(client.fetch("RETR f").len(), 1 << 20);
    let took = started.elapsed().as_secs_f64();
    assert!(took > 0.7, "1 MiB at 1 MiB a second took {took} s");
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_in_time() {
    let directory = TempDir::new("shrinks");
    let path = directory.join("f");
    std::fs::write(&path, vec![1; 32 << 20]).unwrap();
    let server = server().directory(directory.path()).start();
    let mut client = server.ann();
    let mut data = client.data();
    client.expect("RETR f", 150);
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1000)
        .unwrap();
    let got = data.rest().len();
    let reply = client.reply();
    // All that was promised, or an error: never a short file that looks whole.
    assert!(
        (got == 32 << 20 && reply.code == 226) || matches!(reply.code, 426 | 451),
        "{got} bytes, {reply:?}"
    );
    client.expect("NOOP", 200);
}
