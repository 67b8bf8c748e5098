//! A site: three nodes, a balancer and a machine of clients, each with
//! addresses of its own, and a tree that all nodes share.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use super::common::TempDir;
use super::common::process::{Process, program, run, wharfd};
use super::net::Machine;

pub const NODES: u8 = 3;
/// The service's address, which is the balancer's.
pub const SERVICE: &str = "10.77.0.1";
pub const FTP: u16 = 21;
pub const FTPS: u16 = 990;
pub const SFTP: u16 = 22;
pub const HEALTH: u16 = 8021;
/// Of `ann`: "secret".
const HASH: &str = "$5$rounds=1000$wharf$GHOYWvDF/1MJFeDqPkjlDy6PwXYC8TB8cvlmbYSD2N9";
/// Addresses that clients have: 10.77.0.10 and those after it.
pub const CLIENTS: u8 = 40;

/// A node's number, 1 to 3.
pub type Number = u8;

pub struct Site {
    nodes: [Option<Process>; NODES as usize],
    haproxy: Option<Process>,
    pub machines: [Machine; NODES as usize],
    pub balancer: Machine,
    pub clients: Machine,
    pub shared: TempDir,
}

/// Of a node.
pub fn address(number: Number) -> IpAddr {
    [10, 77, number, 2].into()
}

/// Of a client.
pub fn client(number: u8) -> IpAddr {
    [10, 77, 0, 10 + number % CLIENTS].into()
}

impl Site {
    /// Builds the machines and cables, without programs.
    pub fn build() -> Result<Self, String> {
        let balancer = Machine::new("lb")?;
        let clients = Machine::new("clients")?;
        balancer.cable(
            "inside",
            "10.77.0.1/24",
            &clients,
            "service",
            "10.77.0.2/24",
        );
        for number in 0..CLIENTS {
            clients.ip(&format!("addr add {}/24 dev service", client(number)));
        }
        let mut machines = Vec::new();
        for number in 1..=NODES {
            let machine = Machine::new(&format!("node{number}"))?;
            let near = format!("10.77.{number}.1/24");
            let far = format!("{}/24", address(number));
            balancer.cable(&format!("node{number}"), &near, &machine, "uplink", &far);
            machine.ip(&format!("route add default via 10.77.{number}.1"));
            machines.push(machine);
        }
        let Ok(machines) = machines.try_into() else {
            unreachable!("as many as were made");
        };
        let shared = TempDir::new("cluster");
        for directory in ["tree", "state", "drain"] {
            std::fs::create_dir(shared.join(directory)).unwrap();
        }
        let site = Site {
            nodes: [const { None }; NODES as usize],
            haproxy: None,
            machines,
            balancer,
            clients,
            shared,
        };
        site.put_users(&["ann"]);
        site.make_keys();
        Ok(site)
    }

    /// Replaces the users file by rename.
    pub fn put_users(&self, names: &[&str]) {
        let new = self.shared.join("users.new");
        let home = self.shared.join("tree");
        let line = |name: &&str| format!("{name}:{HASH}:{}:read-write:\n", home.display());
        std::fs::write(&new, names.iter().map(line).collect::<String>()).unwrap();
        std::fs::rename(&new, self.shared.join("users")).unwrap();
    }

    /// The certificate and the host key of the whole service.
    fn make_keys(&self) {
        let (certificate, key) = (self.shared.join("cert.pem"), self.shared.join("key.pem"));
        let mut openssl = Command::new("openssl");
        openssl
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split(' '))
            .args("-days 2 -subj /CN=cluster.test -out".split(' '))
            .arg(&certificate)
            .arg("-keyout")
            .arg(&key);
        run(&mut openssl, "");
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
        run(keygen.arg(self.shared.join("host_key")), "");
    }

    /// What all nodes have in common, as they and `lb-config` are told it.
    fn options(&self) -> Vec<String> {
        let path = |name: &str| self.shared.join(name).display().to_string();
        [
            ("listen", FTP.to_string()),
            ("listen-ftps", FTPS.to_string()),
            ("listen-sftp", SFTP.to_string()),
            ("listen-health", HEALTH.to_string()),
            ("passive-ports", "50000-51499".into()),
            ("passive-address", SERVICE.into()),
            ("proxy-from", "10.77.0.0/16".into()),
            ("active-mode", "no".into()),
            ("users", path("users")),
            ("tls-cert", path("cert.pem")),
            ("tls-key", path("key.pem")),
            ("host-key", path("host_key")),
            ("shared-dir", path("state")),
            ("atomic-uploads", "yes".into()),
            ("login-delay", "0".into()),
            ("ban-after", "5".into()),
            ("max-per-address", "0".into()),
            ("max-per-user", "0".into()),
            ("max-unauthenticated", "0".into()),
            ("max-unauthenticated-per-address", "0".into()),
            ("threads", "400".into()),
            ("stall-timeout", "20".into()),
            ("idle-timeout", "60".into()),
            ("drain-delay", "3".into()),
            ("drain-seconds", "60".into()),
        ]
        .map(|(name, value)| format!("--{name}={value}"))
        .to_vec()
    }

    /// Starts a node, and waits until it serves.
    pub fn start(&mut self, number: Number) {
        let machine = &self.machines[usize::from(number) - 1];
        let drain = self.drain_file(number);
        let mut command = wharfd();
        command
            .arg("--print-port")
            .arg(format!("--node={number}/{NODES}"))
            .arg("--drain-file")
            .arg(drain)
            .args(self.options());
        let node = machine.inside(|| Process::start(&mut command));
        node.address();
        self.nodes[usize::from(number) - 1] = Some(node);
    }

    /// The process of a node.
    pub fn node(&mut self, number: Number) -> &mut Process {
        self.nodes[usize::from(number) - 1]
            .as_mut()
            .expect("it was started")
    }

    /// While it exists, the balancer sends nobody new to the node.
    pub fn drain_file(&self, number: Number) -> std::path::PathBuf {
        self.shared.join("drain").join(format!("node{number}"))
    }

    /// Starts HAProxy with what `wharfd lb-config` says.
    pub fn balance(&mut self) {
        let nodes: Vec<String> = (1..=NODES)
            .map(|number| address(number).to_string())
            .collect();
        let mut made = wharfd();
        made.args(["lb-config", "haproxy", "--nodes", &nodes.join(",")])
            .args(self.options());
        let text = run(&mut made, "");
        assert!(!text.contains("WARNING"), "{text}");
        let file = self.shared.join("haproxy.cfg");
        // Whether a node is up can be asked there.
        let socket = self.shared.join("haproxy.sock");
        let stats = format!("global\n    stats socket {}\n", socket.display());
        std::fs::write(&file, text.replacen("global\n", &stats, 1)).unwrap();
        let mut command = program("haproxy");
        command.arg("-db").arg("-f").arg(file);
        self.haproxy = Some(self.balancer.inside(|| Process::start(&mut command)));
        let up = [true; NODES as usize];
        self.wait_for_health(up);
    }

    /// Waits until the balancer sees these nodes up, and the others down.
    pub fn wait_for_health(&self, want: [bool; NODES as usize]) {
        let mut seen = String::new();
        let until = std::time::Instant::now() + Duration::from_secs(60);
        while std::time::Instant::now() < until {
            seen = self.ask_haproxy("show stat").unwrap_or_default();
            let is = |number: usize| {
                let row = format!("ftp-{FTP},node{},", number + 1);
                let mut rows = seen.lines().filter(|line| line.starts_with(&row));
                rows.next()
                    .and_then(|row| row.split(',').nth(17).map(|state| state.starts_with("UP")))
            };
            if (0..want.len()).all(|number| is(number) == Some(want[number])) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the balancer does not see {want:?}:\n{seen}");
    }

    fn ask_haproxy(&self, question: &str) -> std::io::Result<String> {
        use std::io::{Read, Write};
        let path = self.shared.join("haproxy.sock");
        let mut socket = std::os::unix::net::UnixStream::connect(path)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        writeln!(socket, "{question}")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// The service, as clients see it.
    pub fn service(port: u16) -> SocketAddr {
        SocketAddr::new(SERVICE.parse().unwrap(), port)
    }
}
