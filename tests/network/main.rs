//! Networks that fail (`make test-network`): two machines made of network
//! namespaces, a cable between them that is cut without a word, firewalls, a
//! resolver that hangs, addresses that change. Needs root; where namespaces
//! can't be made it says SKIP. A frozen process needs neither.
//!
//! Logs that hang are in `clients/logs.rs`, clocks in `storage::clock`.
#![cfg(all(feature = "cli", feature = "ftps", feature = "sftp"))]

mod beside;
#[path = "../common/mod.rs"]
mod common;
mod far;
mod frozen;
// The benchmark counts flights, too.
#[allow(dead_code)]
#[path = "../../benches/bench/wire/link.rs"]
mod link;
#[path = "../cluster/net.rs"]
mod net;
mod sftp;
mod sites;

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::client::{Data, connect_from};
use common::process::soon;
use far::Wire;
use sites::{CLIENT, OTHER, Site};

/// Of the wire.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What stands still for longer is given up, in these tests.
const STALL: &str = "--stall-timeout=3";
const SIZE: usize = 64 << 20;

/// A download whose client is cut off goes on if that lasts less than
/// `stall-timeout`, and is reset if it lasts longer.
#[test]
#[ignore = "make test-network"]
fn a_cable_that_is_pulled() {
    let Some(site) = Site::new("cable", &[STALL]) else {
        return;
    };
    site.file("big", SIZE);
    site.client.inside(|| {
        let mut client = site.ann();
        let mut data = client.data();
        client.expect("RETR big", 150);
        data.0.read_exact(&mut [0; 1000]).unwrap();
        site.cut_for(Duration::from_millis(1500));
        assert_eq!(data.rest().len(), SIZE - 1000);
        client.wait_for(226);
        drop(data);

        // The kernel's buffers take a part of it, and then nothing moves.
        let mut data = client.data();
        client.expect("RETR big", 150);
        data.0.read_exact(&mut [0; 1000]).unwrap();
        site.cut();
    });
    let cut = Instant::now();
    site.server().log.wait_for("stands still");
    assert!(
        cut.elapsed() < Duration::from_secs(10),
        "{:?}",
        cut.elapsed()
    );
    // The control connection goes the same way: nothing acknowledges 426.
    assert!(
        soon(|| site.connections() == 0),
        "sockets are left: {}",
        site.sockets()
    );
    site.mend();
}

/// From the cut to the next login, where a user may have one session.
#[test]
#[ignore = "make test-network"]
fn the_place_of_a_lost_client_is_free_for_its_next_login() {
    let options = ["--max-per-user=1", "--ssh-keepalive=2"];
    let Some(site) = Site::new("place", &options) else {
        return;
    };
    let ftp = site.client.inside(|| site.ann());
    site.cut_flow(&ftp.stream);
    let took = site.until_login(|| site.try_ann());
    assert!(took < Duration::from_secs(6), "FTP: {took:?}");
    drop(ftp);

    let Some(site) = Site::new("place", &options) else {
        return;
    };
    let lost = site.client.inside(|| site.sftp());
    lost.works();
    site.cut_flows_to(2222);
    let took = site.until_login(|| site.try_sftp());
    assert!(took < Duration::from_secs(6), "SFTP: {took:?}");
    drop(lost);
    let replaced = site.server().log.text().matches("takes the place").count();
    assert_eq!(
        replaced, 1,
        "by its silence, not by the end of the lost one"
    );
}

/// The client is told why in time, the log says it, and `status` counts it.
#[test]
#[ignore = "make test-network"]
fn firewalls_are_named() {
    let Some(site) = Site::new("wall", &["--data-connect-timeout=2"]) else {
        return;
    };
    site.file("small", 10);
    site.client.inside(|| {
        let mut client = site.ann();
        // Passive: what goes to any port but 2121 vanishes.
        site.nft("out", "tcp dport != { 2121, 2222 } drop");
        client.expect("EPSV", 229);
        let begin = Instant::now();
        client.send("RETR small");
        client.wait_for(425);
        assert!(begin.elapsed() < Duration::from_secs(6));
        site.mend();
        // Active: nobody answers, then a reset.
        let listener = sites::active(&mut client);
        let port = listener.local_addr().unwrap().port();
        site.nft("in", &format!("tcp dport {port} drop"));
        let reply = client.cmd("RETR small");
        assert_eq!(reply.code, 425, "{reply:?}");
        site.mend();
        drop(listener);
        client.expect(&format!("EPRT |1|{CLIENT}|{port}|"), 200);
        assert_eq!(client.cmd("RETR small").code, 425);
        client.expect("NOOP", 200);
    });
    let status = site.ask("status");
    for count in [
        "data-refused\t1\n",
        "data-timed-out\t1\n",
        "data-never-came\t1\n",
    ] {
        assert!(status.contains(count), "{count} in {status}");
    }
}

/// A laptop goes from one network to another in the middle of an upload. The
/// file is the lost session's until that has been silent for one and a half
/// times `ssh-keepalive`; what the new one then uploads stays.
#[test]
#[ignore = "make test-network"]
fn an_address_that_changes_in_the_middle_of_an_upload() {
    for deletes in ["no", "yes"] {
        let deleted = format!("--delete-broken-uploads={deletes}");
        let options = ["--ssh-keepalive=2", "--stall-timeout=300", &deleted];
        let Some(site) = Site::new("moved", &options) else {
            return;
        };
        let content: Vec<u8> = (0..SIZE / 8).map(|number| (number / 7) as u8).collect();
        site.client
            .inside(|| move_to_another_address(&site, &content));
        assert_eq!(std::fs::read(site.path("f")).unwrap(), content, "{deletes}");
    }
}

fn move_to_another_address(site: &Site, content: &[u8]) {
    let half = content.len() / 2;
    let mut first = site.ann();
    let mut data = first.data();
    first.expect("STOR f", 150);
    data.send(&content[..half]);
    assert!(soon(|| site.size("f") == half as u64));
    site.cut_flow(&first.stream);
    site.cut_flow(&data.0);
    let moved = Instant::now();
    let mut second = site.session_from(OTHER);
    let done = loop {
        // From where the file ends, as clients do.
        let size = second.cmd("SIZE f");
        let from = match size.code {
            213 => size.text().parse().unwrap(),
            _ => 0,
        };
        second.expect(&format!("REST {from}"), 350);
        let address = second.epsv();
        let mut data = Data(connect_from(OTHER.into(), address).unwrap());
        let reply = second.cmd("STOR f");
        if reply.code == 150 {
            data.send(&content[from..]);
            drop(data);
            break second.reply();
        }
        // 550: it has just been deleted.
        assert!([450, 550].contains(&reply.code), "{reply:?}");
        assert!(moved.elapsed() < Duration::from_secs(8), "{reply:?}");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(done.code, 226, "{done:?}");
    assert!(soon(|| site.sessions() == 1), "the first session stays");
}

/// PASV costs nothing while the resolver hangs, and never names the address
/// inside.
#[test]
#[ignore = "make test-network"]
fn a_resolver_that_hangs() {
    let options = [
        "--passive-address=ftp.example.org",
        "--passive-local-networks=192.0.2.0/24",
    ];
    let Some(site) = Site::with_resolver("dns", &options) else {
        return;
    };
    site.file("small", 10);
    site.client.inside(|| {
        let mut client = site.ann();
        // Who comes in the first two seconds waits for the first answer.
        for longest in [3, 1, 1] {
            let begin = Instant::now();
            assert_eq!(client.cmd("PASV").code, 425);
            let took = begin.elapsed();
            assert!(took < Duration::from_secs(longest), "{took:?}");
        }
        assert_eq!(client.fetch("RETR small").len(), 10);
    });
}

/// A client that has closed its sending direction and reads nothing.
#[test]
#[ignore = "make test-network"]
fn a_half_closed_control_connection_gives_its_place_back() {
    let options = [STALL, "--idle-timeout=300"];
    let Some(site) = Site::new("half", &options) else {
        return;
    };
    let client = site.client.inside(|| site.ann());
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(soon(|| site.connections() == 0), "it stays");
    // With replies that it does not read: for no longer than a stall.
    let mut client = site.client.inside(|| site.ann());
    let many = "STAT /\r\n".repeat(200_000);
    let stream: TcpStream = client.stream.try_clone().unwrap();
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let _ = std::io::Write::write_all(&mut &stream, many.as_bytes());
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    client.unread(b"");
    let begin = Instant::now();
    assert!(soon(|| site.sessions() == 0), "it stays");
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
}
