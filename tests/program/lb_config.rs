//! `wharfd lb-config`: the balancers themselves read what comes out.
//! tests/cluster drives HAProxy with it.
#![cfg(feature = "cli")]

use crate::common;

use std::path::PathBuf;
use std::process::Command;

use common::TempDir;
use common::process::{attempt, has, located, program, run, wharfd};

/// A site of three nodes with everything.
const SITE: &[&str] = &[
    "--listen=21",
    "--listen-ftps=990",
    "--listen-sftp=22",
    "--passive-ports=50000-50099",
    "--passive-address=192.0.2.1",
    "--proxy-from=10.0.0.1/32",
    "--listen-health=8021",
    "--active-mode=no",
    "--node=2/3",
    "--nodes=10.0.1.1,10.0.1.2,10.0.1.3",
];

fn made(kind: &str, options: &[&str]) -> String {
    run(wharfd().args(["lb-config", kind]).args(options), "")
}

fn written(directory: &TempDir, text: &str) -> PathBuf {
    let path = directory.join("made");
    std::fs::write(&path, text).unwrap();
    path
}

/// Sites that differ in what is written.
fn sites() -> Vec<Vec<&'static str>> {
    let without = |name: &str| {
        let rest = SITE.iter().filter(|option| !option.starts_with(name));
        rest.copied().collect::<Vec<_>>()
    };
    vec![
        SITE.to_vec(),
        without("--listen-health"),
        without("--proxy-from"),
        without("--passive-address"),
        without("--nodes"),
        without("--node="),
        vec!["--listen-sftp=22", "--node=1/2"],
        vec!["--listen=2121", "--nodes=one.example"],
    ]
}

#[test]
fn every_part_of_the_service_is_there() {
    let text = made("haproxy", SITE);
    for part in [
        "listen ftp-21\n",
        "listen ftps-990\n",
        "listen sftp-22\n",
        "bind 192.0.2.1:50000-50032\n    server node1 10.0.1.1 send-proxy-v2",
        "bind 192.0.2.1:50033-50065\n    server node2 10.0.1.2 send-proxy-v2",
        "bind 192.0.2.1:50066-50099\n    server node3 10.0.1.3 send-proxy-v2",
        "server node3 10.0.1.3:22 check port 8021 inter 1s fall 2 rise 1 send-proxy-v2",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("WARNING"), "{text}");
    let text = made("nftables", SITE);
    for part in [
        "50000-50032 : 10.0.1.1",
        "50066-50099 : 10.0.1.3",
        "dport { 21, 990, 22 }",
        "WARNING: this balancer keeps clients' addresses",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = made("ipvs", SITE);
    for part in [
        "virtual_server 192.0.2.1 990 {",
        "real_server 10.0.1.2 21 {",
        "connect_port 8021",
        "tcp dport 50033-50065 meta mark set 2",
        "virtual_server fwmark 3 {",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // No header on data ports where the nodes expect none.
    let tls: Vec<&str> = SITE.iter().copied().chain(["--proxy-data=tls"]).collect();
    let text = made("haproxy", &tls);
    assert!(text.contains("server node1 10.0.1.1 tcp-ut"), "{text}");
    assert!(text.contains("rise 1 send-proxy-v2"), "{text}");
}

#[test]
fn haproxy_takes_it() {
    if !has("haproxy") {
        return;
    }
    let directory = TempDir::new("haproxy");
    for site in sites() {
        // A name would have to resolve.
        let text = made("haproxy", &site).replace("one.example", "127.0.0.1");
        let file = written(&directory, &text);
        let mut check = program("haproxy");
        let (ok, said) = attempt(check.arg("-c").arg("-f").arg(file), "");
        assert!(ok && !said.contains("WARNING"), "{said}\n{text}");
    }
}

#[test]
fn nft_takes_it() {
    // Even a check wants to speak to the kernel about a namespace of its own.
    if !has("nft") || !may_unshare() {
        return;
    }
    let directory = TempDir::new("nft");
    for site in sites() {
        let text = made("nftables", &site).replace("one.example", "127.0.0.1");
        let file = written(&directory, &text);
        run(
            Command::new("unshare")
                .args(["-n", "nft", "-c", "-f"])
                .arg(file),
            "",
        );
    }
    let six = ["--listen=21", "--nodes=2001:db8::1,2001:db8::2"];
    let file = written(&directory, &made("nftables", &six));
    run(
        Command::new("unshare")
            .args(["-n", "nft", "-c", "-f"])
            .arg(file),
        "",
    );
    // The marks for IPVS are in comments of keepalived's file.
    let marks: String = made("ipvs", SITE)
        .lines()
        .filter_map(|line| line.strip_prefix("#nft "))
        .map(|line| format!("{line}\n"))
        .collect();
    let file = written(&directory, &marks);
    run(
        Command::new("unshare")
            .args(["-n", "nft", "-c", "-f"])
            .arg(file),
        "",
    );
}

fn may_unshare() -> bool {
    let may = attempt(Command::new("unshare").args(["-n", "true"]), "").0;
    if !may {
        eprintln!("SKIP network namespaces can't be made here");
    }
    may
}

#[test]
fn keepalived_takes_it() {
    if !has("keepalived") {
        return;
    }
    let directory = TempDir::new("keepalived");
    for site in sites() {
        let text = made("ipvs", &site).replace("one.example", "127.0.0.1");
        let file = written(&directory, &text);
        let mut check = program("keepalived");
        let (ok, said) = attempt(check.arg("--config-test").arg("-f").arg(file), "");
        assert!(ok, "{said}\n{text}");
    }
}

/// The literal text of wharf-cluster(7) that has `word` in it.
fn snippet(word: &str) -> &'static str {
    let page = include_str!("../../man/wharf-cluster.7");
    page.split(".Bd -literal -offset indent\n")
        .filter_map(|part| Some(part.split_once("\n.Ed")?.0))
        .find(|text| text.contains(word))
        .unwrap_or_else(|| panic!("no example has {word}"))
}

#[test]
fn the_examples_of_the_manual_are_taken() {
    if !has("keepalived") || !has("named-checkzone") || !has("ip") || !may_unshare() {
        return;
    }
    let directory = TempDir::new("examples");
    // Its network interface is looked for, and is made in a namespace.
    let vrrp = snippet("vrrp_instance");
    let mut check = Command::new("unshare");
    check
        .args(["-n", "sh", "-c"])
        .arg("ip link add eth0 type veth peer name eth1 && exec \"$1\" --config-test -f \"$0\"");
    check.arg(written(&directory, vrrp));
    check.arg(located("keepalived").unwrap());
    let (ok, said) = attempt(&mut check, "");
    assert!(ok, "{said}\n{vrrp}");

    let zone = format!(
        "$TTL 60\n@ IN SOA ns admin 1 60 60 60 60\n@ IN NS ns\nns IN A 192.0.2.1\n{}\n",
        snippet("IN  AAAA")
    );
    let mut check = Command::new("named-checkzone");
    let (ok, said) = attempt(check.arg("example.org").arg(written(&directory, &zone)), "");
    assert!(ok, "{said}\n{zone}");
}

#[test]
fn mistakes_are_named() {
    for (options, what) in [
        (&["lb-config"][..], "for which balancer?"),
        (&["lb-config", "nginx"], "no balancer 'nginx'"),
        (
            &["lb-config", "haproxy", "--nodes=a,b"],
            "--listen-sftp is missing",
        ),
        (&["lb-config", "haproxy", "--listen=21"], "how many nodes?"),
        (
            &[
                "lb-config",
                "haproxy",
                "--listen=21",
                "--node=1/3",
                "--nodes=a,b",
            ],
            "node says 3 nodes, --nodes has 2",
        ),
        (
            &["lb-config", "haproxy", "--listen=21", "--nodes=a b"],
            "'a b' is no address of a node",
        ),
        (
            &["lb-config", "haproxy", "--listen=0", "--nodes=a"],
            "ports that are not 0",
        ),
        (
            &[
                "lb-config",
                "haproxy",
                "--listen=21",
                "--nodes=a,b",
                "--passive-ports=5-5",
            ],
            "fewer ports than there are nodes",
        ),
        (&["lb-config", "haproxy", "--nonsense"], "unknown option"),
    ] {
        let output = wharfd().args(options).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(100), "{options:?}");
        assert!(said.contains(what), "{options:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

/// A file in a ConfigMap of the manifest.
fn in_manifest(name: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/kubernetes/wharf.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let head = format!("  {name}: |\n");
    let (_, text) = text
        .split_once(&head)
        .unwrap_or_else(|| panic!("no {name}"));
    let lines = text.lines().map_while(|line| line.strip_prefix("    "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_manifest_for_kubernetes_has_files_that_are_understood() {
    let ours = in_manifest("wharfd.conf");
    let mut settings = wharf::daemon::Settings::default();
    let mut mistakes = Vec::new();
    wharf::daemon::Source::from_lines(&ours, "wharfd.conf").apply(&mut settings, &mut mistakes);
    assert_eq!(mistakes, []);
    let config = &settings.server;
    // One data port for each of three nodes, and all of it where HAProxy is.
    let balancer = in_manifest("haproxy.cfg");
    for number in 1..=3 {
        let node = wharf::config::Node { number, count: 3 };
        let ports = node.slice(config.passive_ports).unwrap();
        assert_eq!(ports.count(), 1);
        let port = ports.first;
        let server = format!("server node{number} wharf-{number}.wharf:{port} send-proxy-v2");
        assert!(balancer.contains(&server), "{server}");
    }
    let checks = format!("check port {} ", config.listen_health[0].port);
    assert_eq!(balancer.matches(&checks).count(), 6);
    assert!(settings.drain + config.drain_delay < std::time::Duration::from_secs(330));
    if has("haproxy") {
        let directory = TempDir::new("manifest");
        let file = written(&directory, &balancer);
        let mut check = program("haproxy");
        run(check.arg("-c").arg("-f").arg(file), "");
    }
}
