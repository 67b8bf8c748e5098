//! Beside other servers: what their clients get through, ours do too.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;

use crate::common::client::{Client, Data, extended_port};
use crate::common::peers::{Peer, pure_ftpd, vsftpd};
use crate::common::process::soon;
use crate::sites::{self, SERVER, Site};

const SIZE: usize = 16 << 20;

/// A server with a port of its own on the server's machine.
struct Server {
    name: &'static str,
    address: SocketAddr,
    /// ours is the site's.
    child: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// wharf, and those of its peers that are here. All serve the same directory.
fn servers(site: &Site) -> Vec<Server> {
    let mut all = vec![Server {
        name: "wharfd",
        address: site.ftp,
        child: None,
    }];
    let peers: [(_, Peer, u16); 2] = [("vsftpd", vsftpd, 2131), ("Pure-FTPd", pure_ftpd, 2132)];
    for (name, peer, port) in peers {
        let address = SocketAddr::from((SERVER, port));
        let Some(mut command) = peer(&site.directory, &site.path(""), Some(address)) else {
            continue;
        };
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = site.server.inside(|| command.spawn().unwrap());
        let answers = || std::net::TcpStream::connect(address).is_ok();
        assert!(soon(|| site.client.inside(answers)), "{name}");
        all.push(Server {
            name,
            address,
            child: Some(child),
        });
    }
    all
}

impl Server {
    fn session(&self) -> Client {
        let mut client = Client::connect(self.address);
        // Pure-FTPd greets in many lines.
        client.wait_for(220);
        match self.name {
            "wharfd" => client.login("ann", "secret"),
            _ => client.login("ftp", "secret"),
        }
        client.expect("TYPE I", 200);
        client
    }
}

fn data(client: &mut Client) -> Data {
    let reply = client.expect("EPSV", 229);
    let port = extended_port(reply.text()).unwrap();
    Data::connect((SERVER, port).into())
}

fn site(name: &str, options: &[&str]) -> Option<Site> {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new(name, options)?;
    let open = std::fs::Permissions::from_mode(0o755);
    // Peers read as other users.
    for path in [site.directory.path(), &site.path("")] {
        std::fs::set_permissions(path, open.clone()).unwrap();
    }
    Some(site)
}

/// An outage in the middle of a download ends it nowhere: with the defaults of
/// each, three seconds instead of a minute.
#[test]
#[ignore = "make test-network"]
fn an_outage_ends_no_download() {
    let Some(site) = site("outage", &[]) else {
        return;
    };
    site.file("big", SIZE);
    for server in servers(&site) {
        site.client.inside(|| {
            let mut client = server.session();
            let mut data = data(&mut client);
            client.expect("RETR big", 150);
            data.0.read_exact(&mut [0; 1000]).unwrap();
            site.cut_for(Duration::from_secs(3));
            assert_eq!(data.rest().len(), SIZE - 1000, "{}", server.name);
            client.wait_for(226);
        });
    }
}

/// A music player takes 64 KB a second from full buffers, so that for longer
/// than `stall-timeout` there is no room for more.
#[test]
#[ignore = "make test-network"]
fn a_slow_reader_is_no_stall() {
    let Some(site) = site("slow", &["--stall-timeout=3"]) else {
        return;
    };
    site.file("big", SIZE);
    let all = servers(&site);
    let listen = |server: &Server| {
        site.client.inside(|| {
            let mut client = server.session();
            let mut data = data(&mut client);
            set_socket_recv_buffer_size(&data.0, 32 << 10).unwrap();
            client.expect("RETR big", 150);
            let begin = Instant::now();
            let mut received = 0;
            while begin.elapsed() < Duration::from_secs(7) {
                received += data.0.read(&mut [0; 16 << 10]).unwrap();
                std::thread::sleep(Duration::from_millis(250));
            }
            received += data.rest().len();
            assert_eq!(received, SIZE, "{}", server.name);
            client.wait_for(226);
        });
    };
    std::thread::scope(|scope| {
        for server in &all {
            scope.spawn(|| listen(server));
        }
    });
}

/// Data connections of active mode take no port that others need: with a
/// hundred ports in all, three hundred files in a row to one client. A port
/// that was reserved would be gone for a minute, as vsftpd's are.
#[test]
#[ignore = "make test-network"]
fn active_mode_keeps_its_ports() {
    let Some(site) = site("ports", &[]) else {
        return;
    };
    site.file("small", 10);
    site.server.inside(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40099").unwrap();
    });
    let all = servers(&site);
    for server in all.iter().filter(|server| server.name != "vsftpd") {
        site.client.inside(|| {
            let mut client = server.session();
            for number in 0..300 {
                let listener = sites::active(&mut client);
                client.expect("RETR small", 150);
                let mut data = Data::accept(&listener);
                assert_eq!(data.rest().len(), 10, "{} {number}", server.name);
                client.wait_for(226);
            }
        });
    }
}
