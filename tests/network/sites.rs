//! A server and a client on two machines with a cable between them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::TempDir;
use crate::common::client::{Client, DEADLINE, active_line, connect_from};
use crate::common::process::{Process, WHARFD, add_user, has};
use crate::net::{Machine, run, sweep, try_run};
use crate::sftp::Sftp;

pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);
/// The client's second address.
pub const OTHER: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 3);
/// Nothing answers there.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 99);

pub struct Site {
    pub server: Machine,
    pub client: Machine,
    pub ftp: SocketAddr,
    pub directory: TempDir,
    process: Option<Process>,
    /// What `ip netns exec` shows its program as /etc/resolv.conf.
    resolver: Option<PathBuf>,
}

impl Site {
    /// Two machines, and wharfd with `options` on one; `None` where machines
    /// can't be made.
    pub fn new(name: &str, options: &[&str]) -> Option<Site> {
        let mut site = Site::empty(name)?;
        site.start(options);
        Some(site)
    }

    /// The same with a resolver that never answers.
    pub fn with_resolver(name: &str, options: &[&str]) -> Option<Site> {
        let mut site = Site::empty(name)?;
        let directory = PathBuf::from("/etc/netns").join(site.server.name());
        std::fs::create_dir_all(&directory).unwrap();
        let text = format!("nameserver {NOWHERE}\n");
        std::fs::write(directory.join("resolv.conf"), text).unwrap();
        site.resolver = Some(directory);
        site.start(options);
        Some(site)
    }

    /// Two machines alone.
    pub fn empty(name: &str) -> Option<Site> {
        if !["ip", "nft"].iter().all(|name| has(name)) {
            return None;
        }
        sweep();
        let made = Machine::new(&format!("{name}-s")).and_then(|server| {
            let client = Machine::new(&format!("{name}-c"))?;
            let probe = format!(
                "-n {} link add probe type veth peer name other",
                server.name()
            );
            try_run("ip", &probe)?;
            let table = format!("netns exec {} nft add table inet probe", server.name());
            try_run("ip", &table)?;
            Ok((server, client))
        });
        let (server, client) = match made {
            Ok(made) => made,
            Err(what) => {
                eprintln!("SKIP: this machine makes no network namespaces: {what}");
                return None;
            }
        };
        server.cable(
            "lan",
            &format!("{SERVER}/24"),
            &client,
            "lan",
            &format!("{CLIENT}/24"),
        );
        client.ip(&format!("addr add {OTHER}/24 dev lan"));
        let directory = TempDir::new("network");
        std::fs::create_dir(directory.join("home")).unwrap();
        let site = Site {
            server,
            client,
            ftp: SocketAddr::from((SERVER, 2121)),
            directory,
            process: None,
            resolver: None,
        };
        site.mend();
        Some(site)
    }

    fn start(&mut self, options: &[&str]) {
        let users = self.directory.join("users");
        add_user(&users, "ann", &self.path(""), &[]);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.server.name(), WHARFD, "--users"]);
        command.arg(&users);
        command.arg("--host-key").arg(self.directory.join("key"));
        command
            .arg("--control-socket")
            .arg(self.directory.join("control"));
        let more = ["--print-port", "--login-delay=0", "--ban-after=0"];
        command.args(more);
        command.args([
            format!("--listen={}", self.ftp),
            format!("--listen-sftp={SERVER}:2222"),
        ]);
        let process = Process::start(command.args(options));
        process.addresses(2);
        self.process = Some(process);
    }

    pub fn server(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join("home").join(name)
    }

    pub fn file(&self, name: &str, size: usize) {
        std::fs::write(self.path(name), vec![b'x'; size]).unwrap();
    }

    pub fn size(&self, name: &str) -> u64 {
        std::fs::metadata(self.path(name)).map_or(0, |file| file.len())
    }

    /// A session of the user; on the client's machine.
    pub fn ann(&self) -> Client {
        self.try_ann().expect("a session")
    }

    /// The same from another address.
    pub fn session_from(&self, address: Ipv4Addr) -> Client {
        let stream = connect_from(address.into(), self.ftp).unwrap();
        self.log_in(stream).expect("a session")
    }

    pub fn try_ann(&self) -> Option<Client> {
        self.log_in(TcpStream::connect_timeout(&self.ftp, DEADLINE).ok()?)
    }

    fn log_in(&self, stream: TcpStream) -> Option<Client> {
        let mut client = Client::over(stream, self.ftp);
        client.wait_for(220);
        client.expect("USER ann", 331);
        match client.cmd("PASS secret").code {
            230 => {
                client.expect("TYPE I", 200);
                Some(client)
            }
            code => {
                assert_eq!(code, 421);
                None
            }
        }
    }

    pub fn sftp(&self) -> Sftp {
        self.try_sftp().expect("a session")
    }

    pub fn try_sftp(&self) -> Option<Sftp> {
        Sftp::connect(
            &self.directory,
            (SERVER, 2222).into(),
            Some(self.client.name()),
        )
    }

    /// How long it takes until a login succeeds.
    pub fn until_login<T: Send>(&self, login: impl Fn() -> Option<T> + Sync + Send) -> Duration {
        let begin = Instant::now();
        while self.client.inside(|| login().is_none()) {
            assert!(begin.elapsed() < DEADLINE, "it never succeeds");
            std::thread::sleep(Duration::from_millis(100));
        }
        begin.elapsed()
    }

    /// Everything vanishes, in both directions, and nobody is told.
    pub fn cut(&self) {
        self.nft("in", "drop");
        self.nft("out", "drop");
    }

    /// The same for a while.
    pub fn cut_for(&self, time: Duration) {
        self.cut();
        std::thread::sleep(time);
        self.mend();
    }

    /// The same for one connection of the client, for good.
    pub fn cut_flow(&self, stream: &TcpStream) {
        self.cut_port(stream.local_addr().unwrap().port());
    }

    /// The same for the client's connections to a port of the server.
    pub fn cut_flows_to(&self, port: u16) {
        for line in sockets(&self.client).lines() {
            let mut words = line.split_whitespace().skip(3);
            let [Some(ours), Some(theirs)] = [words.next(), words.next()] else {
                continue;
            };
            if theirs.ends_with(&format!(":{port}")) {
                let (_, ours) = ours.rsplit_once(':').unwrap();
                self.cut_port(ours.parse().unwrap());
            }
        }
    }

    fn cut_port(&self, port: u16) {
        self.nft("in", &format!("tcp dport {port} drop"));
        self.nft("out", &format!("tcp sport {port} drop"));
    }

    /// Nothing is filtered any more.
    pub fn mend(&self) {
        let text = "table inet cut\ndelete table inet cut\ntable inet cut {\n\
            chain in { type filter hook prerouting priority -300; }\n\
            chain out { type filter hook postrouting priority 300; }\n}\n";
        let file = self.directory.join("ruleset");
        std::fs::write(&file, text).unwrap();
        let name = self.client.name();
        run(
            "ip",
            &format!("netns exec {name} nft -f {}", file.display()),
        );
    }

    /// A rule of the filter on the client's machine.
    pub fn nft(&self, chain: &str, rule: &str) {
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            self.client.name(),
            "nft",
            "add",
            "rule",
            "inet",
            "cut",
        ]);
        let said = command
            .arg(chain)
            .args(rule.split_whitespace())
            .output()
            .unwrap();
        assert!(said.status.success(), "{said:?}");
    }

    /// Connections that the server's machine still has.
    pub fn connections(&self) -> usize {
        self.sockets().lines().count()
    }

    /// The same, a line each.
    pub fn sockets(&self) -> String {
        sockets(&self.server)
    }

    /// What the control socket answers.
    pub fn ask(&self, question: &str) -> String {
        use std::io::{Read, Write};
        let path = self.directory.join("control");
        let mut socket = std::os::unix::net::UnixStream::connect(path).unwrap();
        socket
            .write_all(format!("{question}\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn sessions(&self) -> usize {
        self.ask("who").lines().count()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(directory) = &self.resolver {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// A machine's connections, a line each.
fn sockets(machine: &Machine) -> String {
    let mut command = Command::new("ip");
    command.args([
        "netns",
        "exec",
        machine.name(),
        "ss",
        "-Htn",
        "state",
        "connected",
    ]);
    command.args(["exclude", "time-wait"]);
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// A port of the client that the server has been told to connect to.
pub fn active(client: &mut Client) -> TcpListener {
    let listener = TcpListener::bind((CLIENT, 0)).unwrap();
    client.expect(&active_line("PORT", listener.local_addr().unwrap()), 200);
    listener
}
