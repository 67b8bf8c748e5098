//! nftables: the kernel forwards packets and keeps clients' addresses, so
//! that there are no headers. It knows nothing of health.

use std::fmt::Write;
use std::net::IpAddr;

use super::{Site, range};

/// A ruleset for `nft -f`.
pub fn write(site: &Site<'_>) -> String {
    let mut text = site.head("nftables", false);
    let v6 = site.nodes.iter().all(|node| {
        let address: Result<IpAddr, _> = node.address.parse();
        address.is_ok_and(|address| address.is_ipv6())
    });
    let (family, kind) = if v6 {
        ("ip6", "ipv6_addr")
    } else {
        ("ip", "ipv4_addr")
    };
    let service = match &site.address {
        // passive-address is IPv4; over IPv6 clients use EPSV.
        Some(address) if !v6 => address.clone(),
        _ if v6 => "2001:db8::21".into(),
        _ => "192.0.2.21".into(),
    };
    let ports: Vec<String> = site
        .services
        .iter()
        .map(|one| one.port.to_string())
        .collect();
    let list = |rows: Vec<String>| rows.join(",\n            ");
    let nodes = site.nodes.iter().enumerate();
    let nodes = nodes.map(|(at, node)| format!("{at} : {}", node.address));
    let slices = site.nodes.iter();
    let slices = slices.map(|node| format!("{} : {}", range(node.ports, "-"), node.address));
    let all = range(site.config.passive_ports, "-");
    let _ = write!(
        text,
        "\
# The nodes' way back must lead through this machine (their default route),
# because they answer to the clients' addresses. It must forward:
#   sysctl net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
#
# The kernel does not ask whether a node lives. Whatever watches the nodes'
# health ports{health} puts another address into the row of a dead or draining
# one and loads this file again. Sessions that are there go on: the rules see
# only their first packets.

define service = {service}

table inet wharf
delete table inet wharf
table inet wharf {{
    # Data connections: the port says which node waits for it.
    map slices {{
        type inet_service : {kind}
        flags interval
        elements = {{
            {slices}
        }}
    }}

    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        # Sessions: a client's address always leads to the same node.
        {family} daddr $service tcp dport {{ {ports} }} dnat {family} to jhash {family} saddr mod {count} map {{
            {nodes}
        }}
",
        health = match site.health {
            Some(port) => format!(" ({port})"),
            None => String::new(),
        },
        nodes = list(nodes.collect()),
        slices = list(slices.collect()),
        ports = ports.join(", "),
        count = site.nodes.len(),
    );
    if site.has_data_ports() {
        let _ = writeln!(
            text,
            "        {family} daddr $service tcp dport {all} dnat {family} to tcp dport map @slices"
        );
    }
    text.push_str("    }\n}\n");
    text
}
