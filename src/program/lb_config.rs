//! `wharfd lb-config`: the configuration of a balancer for many nodes, from
//! the same options that the nodes have.

mod haproxy;
mod keepalived;
mod nftables;

use std::fmt::Write;

use wharf::config::{Config, Endpoint, ExternalAddress, Node, PortRange, ProxyData};

use super::cli::{self, Action};
use super::failure::{Failure, USAGE, complain};

const BRIEF: &str = "wharfd lb-config haproxy|nftables|ipvs --nodes ADDR,ADDR,... [options]";

const HELP: &str = "Prints the configuration of a balancer in front of several wharfd, explained by\n\
comments. The options, or -c FILE, are those of any node: its ports, node,\n\
passive-ports, passive-address, proxy-from, listen-health. ipvs is for keepalived.\n\n\
    --nodes ADDR,...    the nodes' addresses, in the order of their numbers\n\
    -h, --help          show this";

/// Most nodes that are written down.
const NODES_MAX: usize = 1000;

/// Runs `wharfd lb-config` with the arguments after that word; the exit code.
pub fn run(arguments: &[String]) -> i32 {
    if matches!(arguments, [word] if word == "-h" || word == "--help") {
        println!("usage: {BRIEF}\n\n{HELP}");
        return 0;
    }
    match text(arguments) {
        Ok(text) => {
            print!("{text}");
            0
        }
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| complain(mistake));
            USAGE
        }
    }
}

fn text(arguments: &[String]) -> Result<String, Vec<String>> {
    let usage = |what: &str| vec![format!("wharfd lb-config: {what}; usage: {BRIEF}")];
    let (kind, rest) = arguments
        .split_first()
        .ok_or_else(|| usage("for which balancer?"))?;
    let write = match kind.as_str() {
        "haproxy" => haproxy::write,
        "nftables" => nftables::write,
        "ipvs" => keepalived::write,
        _ => return Err(usage(&format!("no balancer '{}'", kind.escape_debug()))),
    };
    let (nodes, options) = take_nodes(rest).map_err(|what| usage(&what))?;
    let invocation = match cli::read(&options, cli::environment()) {
        Ok(Action::Serve(invocation)) => invocation,
        Ok(Action::Print(text)) => return Ok(text),
        Err(mistakes) => return Err(mistakes.iter().map(ToString::to_string).collect()),
    };
    if invocation.default_listen {
        return Err(usage("--listen, --listen-ftps or --listen-sftp is missing"));
    }
    let site =
        Site::new(&invocation.settings.server, nodes).map_err(|failure| vec![failure.what])?;
    Ok(write(&site))
}

/// Takes `--nodes` out of the options.
fn take_nodes(words: &[String]) -> Result<(Vec<String>, Vec<String>), String> {
    let (mut nodes, mut rest) = (Vec::new(), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let list = match word.strip_prefix("--nodes") {
            Some("") => words.next().ok_or("--nodes takes addresses")?,
            Some(value) if value.starts_with('=') => &value[1..],
            _ => {
                rest.push(word.clone());
                continue;
            }
        };
        nodes.extend(list.split(',').map(str::to_owned));
    }
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ".:-".contains(letter);
    match nodes
        .iter()
        .find(|node| node.is_empty() || !node.chars().all(plain))
    {
        Some(node) => Err(format!("'{}' is no address of a node", node.escape_debug())),
        None if nodes.len() > NODES_MAX => Err(format!("at most {NODES_MAX} nodes")),
        None => Ok((nodes, rest)),
    }
}

/// What the balancer must know.
struct Site<'a> {
    config: &'a Config,
    nodes: Vec<Backend>,
    services: Vec<Service>,
    /// The service's address, if it is one.
    address: Option<String>,
    health: Option<u16>,
}

/// A node.
struct Backend {
    name: String,
    address: String,
    /// Its part of `passive-ports`.
    ports: PortRange,
}

/// A port that clients connect to first.
struct Service {
    name: &'static str,
    port: u16,
}

impl<'a> Site<'a> {
    fn new(config: &'a Config, addresses: Vec<String>) -> Result<Self, Failure> {
        let told = config.node.map(|node| usize::from(node.count));
        let count = match (told, addresses.len()) {
            (None, 0) => {
                return Err(Failure::usage("how many nodes? Say --nodes or --node 1/N"));
            }
            (Some(count), 0) => count,
            (None, given) => given,
            (Some(count), given) if count == given => count,
            (Some(count), given) => {
                let what = format!("node says {count} nodes, --nodes has {given}");
                return Err(Failure::usage(what));
            }
        };
        let count = u16::try_from(count).map_err(Failure::usage)?;
        let mut nodes = Vec::new();
        for number in 1..=count {
            let ports = Node { number, count }.slice(config.passive_ports);
            let ports = ports.ok_or_else(|| {
                Failure::usage("passive-ports has fewer ports than there are nodes")
            })?;
            // Without addresses, those of RFC 5737 that are nobody's.
            let address = addresses.get(usize::from(number) - 1).cloned();
            nodes.push(Backend {
                name: format!("node{number}"),
                address: address.unwrap_or_else(|| format!("198.51.100.{}", number % 255)),
                ports,
            });
        }
        let mut services = Vec::new();
        for (name, endpoints) in [
            ("ftp", &config.listen),
            ("ftps", &config.listen_ftps),
            ("sftp", &config.listen_sftp),
        ] {
            let port = |endpoint: &Endpoint| Service {
                name,
                port: endpoint.port,
            };
            services.extend(endpoints.iter().map(port));
        }
        if services.iter().any(|service| service.port == 0) {
            return Err(Failure::usage("a balancer needs ports that are not 0"));
        }
        let address = match &config.passive_address {
            Some(ExternalAddress::Fixed(address)) => Some(address.to_string()),
            _ => None,
        };
        let health = config.listen_health.first().map(|endpoint| endpoint.port);
        Ok(Site {
            config,
            nodes,
            services,
            address,
            health,
        })
    }

    /// Whether clients need data ports at all: SFTP has none.
    fn has_data_ports(&self) -> bool {
        self.services.iter().any(|service| service.name != "sftp")
    }

    /// The head of every kind: what it was made from, and what is missing.
    fn head(&self, kind: &str, sends_headers: bool) -> String {
        let config = self.config;
        let mut text = format!(
            "# Made by wharfd lb-config {kind} for {} nodes. Node I runs with\n#   --node I/{} --passive-ports {}-{}\n",
            self.nodes.len(),
            self.nodes.len(),
            config.passive_ports.first,
            config.passive_ports.last,
        );
        let mut warn = |what: &str| {
            let _ = writeln!(text, "# WARNING: {what}");
        };
        if sends_headers && config.proxy_from.is_empty() {
            warn("without proxy-from the nodes take the balancer for every client.");
        }
        if !sends_headers && !config.proxy_from.is_empty() {
            warn("this balancer keeps clients' addresses; take proxy-from away.");
        }
        if self.health.is_none() {
            warn("without listen-health a draining node gets new sessions.");
        }
        if self.has_data_ports() && config.passive_address.is_none() {
            warn("without passive-address PASV tells the node's own address.");
        }
        if config.active_mode && sends_headers {
            warn("PORT and EPRT connect from the node, not from here; say active-mode no.");
        }
        if config.shared_data_ports {
            warn("with shared-data-ports each node still needs ports of its own here.");
        }
        text.push('\n');
        text
    }

    fn writes_header_on_data(&self) -> bool {
        !self.config.proxy_from.is_empty() && self.config.proxy_data == ProxyData::Header
    }
}

/// `50000-50099`, or one port.
fn range(ports: PortRange, between: &str) -> String {
    if ports.first == ports.last {
        ports.first.to_string()
    } else {
        format!("{}{between}{}", ports.first, ports.last)
    }
}

/// `n` seconds after the server has ended a session by itself.
fn patience(config: &Config) -> u64 {
    let longest = config.idle_timeout.max(config.stall_timeout);
    if config.idle_timeout.is_zero() || config.stall_timeout.is_zero() {
        7 * 86_400
    } else {
        longest.as_secs() + 60
    }
}
