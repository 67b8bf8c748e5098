//! HAProxy (2.2 and later): both kinds of connections through one machine,
//! each with a PROXY header.

use std::fmt::Write;

use super::{Site, patience, range};

/// The whole haproxy.cfg.
pub fn write(site: &Site<'_>) -> String {
    let mut text = site.head("haproxy", true);
    let places = u64::from(site.config.threads) * site.nodes.len() as u64;
    let _ = write!(
        text,
        "\
global
    # Each session is a control connection, and a data connection at times.
    maxconn {maxconn}

defaults
    mode tcp
    timeout connect 5s
    # wharfd ends silent sessions itself, and says so to the client.
    timeout client {patience}s
    timeout server {patience}s
    # A client that went away, and a node whose link is down, are noticed.
    option clitcpka
    option srvtcpka
    srvtcpka-idle 10s
    srvtcpka-intvl 5s
    srvtcpka-cnt 3
    # Another node is tried where one does not answer.
    retries 3
    option redispatch 1

",
        maxconn = 2 * places,
        patience = patience(site.config),
    );
    sessions(site, &mut text);
    if site.has_data_ports() {
        data_connections(site, &mut text);
    }
    text
}

fn sessions(site: &Site<'_>, text: &mut String) {
    let header = if site.config.proxy_from.is_empty() {
        ""
    } else {
        " send-proxy-v2"
    };
    for service in &site.services {
        let port = service.port;
        let _ = writeln!(
            text,
            "# Sessions. A node whose health check fails gets no new ones; those it has\n\
             # go on, so that it can drain.\n\
             listen {}-{port}",
            service.name
        );
        text.push_str(&bind(site, &port.to_string()));
        text.push_str("    balance leastconn\n");
        let check = match site.health {
            Some(health) => {
                text.push_str("    option httpchk GET /\n");
                format!("check port {health} inter 1s fall 2 rise 1")
            }
            None if header.is_empty() => "check inter 1s fall 2 rise 1".into(),
            None => "check check-send-proxy inter 1s fall 2 rise 1".into(),
        };
        for node in &site.nodes {
            let _ = writeln!(
                text,
                "    server {} {} {check}{header} tcp-ut 20s",
                node.name,
                at(&node.address, port)
            );
        }
        text.push('\n');
    }
}

fn data_connections(site: &Site<'_>, text: &mut String) {
    text.push_str(
        "# Data connections: the port says which node waits for it, so no memory of\n\
         # clients is needed. No health check here: a node that drains still has\n\
         # transfers that begin. A server without a port gets the one asked for.\n",
    );
    let header = if site.writes_header_on_data() {
        " send-proxy-v2"
    } else {
        ""
    };
    for node in &site.nodes {
        let _ = writeln!(text, "listen data-{}", node.name);
        text.push_str(&bind(site, &range(node.ports, "-")));
        let _ = writeln!(
            text,
            "    server {} {}{header} tcp-ut 20s\n",
            node.name,
            bracketed(&node.address)
        );
    }
}

fn bind(site: &Site<'_>, ports: &str) -> String {
    match &site.address {
        Some(address) => format!("    bind {address}:{ports}\n"),
        None => format!("    bind :::{ports} v4v6\n"),
    }
}

fn bracketed(address: &str) -> String {
    if address.contains(':') {
        format!("[{address}]")
    } else {
        address.into()
    }
}

fn at(address: &str, port: u16) -> String {
    format!("{}:{port}", bracketed(address))
}
