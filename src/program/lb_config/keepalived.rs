//! IPVS, which the kernel does and keepalived looks after: packets come
//! through the balancer, answers go straight to the clients.

use std::fmt::Write;

use super::{Site, range};

/// keepalived.conf, with the marks for nft in comments.
pub fn write(site: &Site<'_>) -> String {
    let mut text = site.head("ipvs", false);
    let service = site.address.as_deref().unwrap_or("192.0.2.21");
    text.push_str(
        "# Direct routing: every node has the service's address, too, and does not\n\
         # answer ARP for it:\n",
    );
    let _ = writeln!(
        text,
        "#   ip address add {service}/32 dev lo\n\
         #   sysctl net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2\n"
    );
    for one in &site.services {
        let _ = writeln!(
            text,
            "# Sessions ({}). A node whose check fails has weight 0: no new ones come, and\n\
             # those it has go on (inhibit_on_failure).\n\
             virtual_server {service} {} {{\n    delay_loop 1\n    lb_algo wlc\n    lb_kind DR\n    protocol TCP\n",
            one.name, one.port
        );
        for node in &site.nodes {
            let check = match site.health {
                Some(port) => format!(
                    "        HTTP_GET {{\n            connect_port {port}\n            connect_timeout 2\n            \
                     retry 1\n            delay_before_retry 1\n            url {{\n                path /\n                \
                     status_code 200\n            }}\n        }}\n"
                ),
                None => "        TCP_CHECK {\n            connect_timeout 2\n        }\n".into(),
            };
            let _ = writeln!(
                text,
                "    real_server {} {} {{\n        weight 100\n        inhibit_on_failure\n{check}    }}",
                node.address, one.port
            );
        }
        text.push_str("}\n\n");
    }
    if !site.has_data_ports() {
        return text;
    }
    text.push_str(
        "# Data connections: a range of ports is a mark, and each mark has one node,\n\
         # without a check: a node that drains still has transfers that begin. The\n\
         # marks are set by\n#   sed -n 's/^#nft //p' THIS-FILE | nft -f -\n\
         #nft table inet wharf-marks {\n\
         #nft     chain prerouting {\n\
         #nft         type filter hook prerouting priority mangle; policy accept;\n",
    );
    for (at, node) in site.nodes.iter().enumerate() {
        let ports = range(node.ports, "-");
        let _ = writeln!(
            text,
            "#nft         ip daddr {service} tcp dport {ports} meta mark set {}",
            at + 1
        );
    }
    text.push_str("#nft     }\n#nft }\n\n");
    for (at, node) in site.nodes.iter().enumerate() {
        let _ = writeln!(
            text,
            "virtual_server fwmark {} {{\n    lb_algo rr\n    lb_kind DR\n    real_server {} 0 {{\n        weight 1\n    }}\n}}\n",
            at + 1,
            node.address
        );
    }
    text
}
