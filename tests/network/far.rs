//! Clients that are far away: a wire with a delay.

use std::io::Read;
use std::process::Command;
use std::time::Duration;

use crate::common::TempDir;
use crate::common::client::Client;
use crate::common::process::{Process, has};
use crate::link::{Link, SERVER, apart};

/// What the wire does, as the benchmark describes it.
pub struct Wire {
    pub delay: Duration,
    pub megabits: u64,
    pub loss: u32,
    pub congestion: &'static str,
}

const FAR: Wire = Wire {
    delay: Duration::from_millis(20),
    megabits: 100,
    loss: 0,
    congestion: "reno",
};

/// The system has reno for them, and the server chooses.
#[test]
#[ignore = "make test-network"]
fn far_clients_download_by_bbr() {
    let allowed = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control");
    if !has("ss") || !allowed.is_ok_and(|names| names.contains("bbr")) {
        eprintln!("SKIP: this machine does not allow bbr");
        return;
    }
    let server = std::thread::spawn(|| {
        if let Err(what) = apart() {
            eprintln!("SKIP: this machine makes no network namespaces: {what}");
            return;
        }
        let link = Link::new(&FAR).unwrap();
        for (setting, want) in [("auto", "bbr"), ("system", "reno")] {
            assert!(
                used(&link, setting).contains(&format!(" {want} ")),
                "{setting}"
            );
        }
    });
    server.join().unwrap();
}

/// What the kernel says of the connections during a download.
fn used(link: &Link, setting: &str) -> String {
    let directory = TempDir::new("far");
    let file = std::fs::File::create(directory.join("big")).unwrap();
    file.set_len(64 << 20).unwrap();
    let mut command = crate::common::process::wharfd();
    command.args(["--print-port", "--listen", &format!("{SERVER}:0")]);
    command.args(["--tcp-congestion", setting]);
    let server = Process::start(command.arg(directory.path()));
    let address = server.address();
    let data = link.at_client(move || {
        let mut client = Client::greeted(address);
        client.login("anonymous", "x@");
        client.expect("TYPE I", 200);
        let mut data = client.data();
        client.expect("RETR big", 150);
        data.0.read_exact(&mut [0; 1000]).unwrap();
        (client, data)
    });
    let (_client, data) = data.unwrap();
    let port = data.0.peer_addr().unwrap().port();
    let mut ss = Command::new("ss");
    ss.args([
        "-Htin",
        "state",
        "established",
        "sport",
        "=",
        &format!(":{port}"),
    ]);
    String::from_utf8(ss.output().unwrap().stdout).unwrap()
}
