//! Three nodes, one service (`make test-cluster`): network namespaces on one
//! machine with links, addresses and a real HAProxy between them, and clients
//! that people have. Needs root; where namespaces can't be made it says SKIP.
//!
//! Ignored by `cargo test`, because it takes a minute or two.
#![cfg(all(feature = "cli", feature = "ftps", feature = "sftp"))]

#[path = "../common/mod.rs"]
mod common;

mod net;
mod site;
mod work;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::Client;
use common::client::{Data, connect_from};
use common::process::has;
use net::Machine;
use site::{FTP, NODES, Number, Site};
use work::{Seen, Worker};

/// Clients at the same time.
const WORKERS: usize = 200;
/// Files of each before the nodes fail, and at least of each afterwards.
const ROUNDS: usize = 2;
/// The longest that all of it may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Whether machines can be made here; a machine that says no is told apart
/// from a test that fails.
fn may_build() -> bool {
    for program in [
        "ip", "tc", "haproxy", "curl", "lftp", "rclone", "sftp", "openssl",
    ] {
        if !has(program) {
            return false;
        }
    }
    net::sweep();
    let tried = Machine::new("try").and_then(|machine| {
        net::try_run(
            "ip",
            &format!(
                "-n {} link add probe type veth peer name other",
                machine.name()
            ),
        )?;
        let rate = "root tbf rate 20mbit burst 64kb latency 300ms";
        net::try_run(
            "tc",
            &format!("-n {} qdisc add dev probe {rate}", machine.name()),
        )
    });
    if let Err(what) = tried {
        eprintln!("SKIP the cluster's test: this machine makes no network namespaces: {what}");
        return false;
    }
    true
}

/// The three parts share their machines: building them takes seconds.
#[test]
#[ignore = "make test-cluster"]
fn three_nodes_are_one_service() {
    if !may_build() {
        return;
    }
    let started = Instant::now();
    let step = |what: &str| {
        println!(
            "cluster: {:>5.1} s  {what}",
            started.elapsed().as_secs_f64()
        )
    };
    let mut site = Site::build().unwrap();
    for number in 1..=NODES {
        site.start(number);
    }
    site.balance();
    step("three nodes behind HAProxy");
    work::prepare(&site);
    one_ban_for_all(&mut site);
    step("a ban on one node holds on all");
    users_are_one_file(&site);
    step("users replaced by rename are in force on every node");
    nodes_fail(&mut site, &step);
    step("every acknowledged file is whole");
    throughput(&mut site, &step);
}

/// A client that HAProxy names, straight at a node: from the balancer's
/// machine with a header of our own.
fn at_node(site: &Site, number: Number, client: IpAddr) -> Client {
    let server = (site::address(number), FTP).into();
    site.balancer.inside(|| {
        let mut stream = TcpStream::connect(server).unwrap();
        write!(stream, "PROXY TCP4 {client} 10.77.0.1 4000 21\r\n").unwrap();
        Client::over(stream, server)
    })
}

fn through_balancer(site: &Site, from: IpAddr) -> Client {
    let service = Site::service(FTP);
    let connect = || Client::over(connect_from(from, service).unwrap(), service);
    site.clients.inside(connect)
}

fn one_ban_for_all(site: &mut Site) {
    let (bad, good) = (site::client(1), site::client(2));
    let mut client = at_node(site, 1, bad);
    client.wait_for(220);
    for _ in 0..5 {
        client.expect("USER ann", 331);
        let code = client.cmd("PASS wrong").code;
        assert!(code == 530 || code == 421, "{code}");
    }
    for number in 1..=NODES {
        common::until("the ban holds", || {
            at_node(site, number, bad).reply().code == 421
        });
    }
    // Whichever node the balancer takes.
    for _ in 0..6 {
        through_balancer(site, bad).wait_for(421);
        through_balancer(site, good).wait_for(220);
    }
    std::fs::remove_file(site.shared.join("state/bans").join(bad.to_string())).unwrap();
    for number in 1..=NODES {
        common::until("it is lifted with its file", || {
            at_node(site, number, bad).reply().code == 220
        });
    }
    // Each line of a log names its node and its session.
    let log = site.node(1).log.text();
    let of_sessions = log.lines().filter(|line| line.contains("login refused"));
    assert!(of_sessions.clone().count() >= 5, "{log}");
    for line in log.lines() {
        assert!(line.contains(" node1 "), "{line}");
    }
    for line in of_sessions {
        assert!(
            line.contains(" session ") && line.contains(&bad.to_string()),
            "{line}"
        );
    }
}

fn users_are_one_file(site: &Site) {
    site.put_users(&["ann", "bob"]);
    for number in 1..=NODES {
        common::until("bob may log in", || {
            let mut client = at_node(site, number, site::client(3));
            client.wait_for(220);
            client.expect("USER bob", 331);
            client.cmd("PASS secret").code == 230
        });
    }
    // What those who asked too early have left.
    site.put_users(&["ann"]);
}

/// Clients at work while one node is killed, one drained and replaced, and
/// one cut off.
fn nodes_fail(site: &mut Site, step: &dyn Fn(&str)) {
    let until = Instant::now() + PATIENCE;
    let calm = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let seen: Mutex<BTreeMap<work::Tool, Seen>> = Mutex::default();
    let workers: Vec<Worker> = (0..WORKERS)
        .map(|number| Worker::new(number, site))
        .collect();
    let clients = site.clients.name().to_owned();
    std::thread::scope(|scope| {
        for mut worker in workers {
            let (calm, over, seen, clients) = (&calm, &over, &seen, &clients);
            scope.spawn(move || {
                net::enter(clients);
                let mut own = Seen::default();
                for round in 0.. {
                    worker.round(round, until, &mut own);
                    if round + 1 == ROUNDS {
                        calm.fetch_add(1, SeqCst);
                    }
                    if round + 1 >= ROUNDS && over.load(SeqCst) {
                        break;
                    }
                }
                let mut all = seen.lock().unwrap();
                let all = all.entry(worker.tool).or_default();
                all.stored.append(&mut own.stored);
                all.retries += own.retries;
                all.fetched += own.fetched;
            });
        }
        // Everybody is at it; then trouble, one after the other.
        let wait_for = |what: &str, done: &dyn Fn() -> bool| {
            while !done() {
                assert!(Instant::now() < until, "never: {what}");
                std::thread::sleep(Duration::from_millis(50));
            }
            step(what);
        };
        let busy =
            |share: usize| move |calm: &AtomicUsize| calm.load(SeqCst) * 10 >= WORKERS * share;
        let trouble = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("a tenth of the clients has done two rounds", &|| {
                busy(1)(&calm)
            });
            site.node(1).signal("KILL");
            site.node(1).wait();
            step("node 1 is killed");
            site.wait_for_health([false, true, true]);
            wait_for("four tenths have done two rounds", &|| busy(4)(&calm));
            site.start(1);
            site.wait_for_health([true, true, true]);
            step("node 1 is back");
            // Drained by the file, then ended by SIGTERM, then replaced.
            std::fs::write(site.drain_file(2), b"").unwrap();
            site.wait_for_health([true, false, true]);
            site.node(2).signal("TERM");
            let ended = site.node(2);
            let drained = Instant::now() + Duration::from_secs(90);
            let status = loop {
                if let Some(status) = ended.child.try_wait().unwrap() {
                    break status;
                }
                assert!(Instant::now() < drained, "node 2 does not end");
                std::thread::sleep(Duration::from_millis(50));
            };
            assert!(status.success(), "{status}");
            step("node 2 has drained");
            std::fs::remove_file(site.drain_file(2)).unwrap();
            site.start(2);
            site.wait_for_health([true, true, true]);
            step("node 2 is replaced");
            site.balancer.ip("link set node3 down");
            site.wait_for_health([true, true, false]);
            step("node 3 is cut off");
            wait_for("all have done two rounds", &|| busy(10)(&calm));
        }));
        over.store(true, SeqCst);
        if let Err(panic) = trouble {
            std::panic::resume_unwind(panic);
        }
    });
    let all = seen.into_inner().unwrap();
    let tree = site.shared.join("tree");
    let (mut files, mut retries, mut fetched) = (0, 0, 0);
    for (tool, seen) in &all {
        println!(
            "cluster:          {tool:?}: {} uploads acknowledged, {} downloads compared, {} tries failed",
            seen.stored.len(),
            seen.fetched,
            seen.retries
        );
        for (name, content) in &seen.stored {
            let found = std::fs::read(tree.join(name));
            let whole = found.is_ok_and(|found| found == *content);
            assert!(whole, "{tool:?}: {name} was acknowledged and is not whole");
        }
        files += seen.stored.len();
        retries += seen.retries;
        fetched += seen.fetched;
    }
    assert!(all.len() == 6 && files >= WORKERS * ROUNDS && fetched as usize >= WORKERS * ROUNDS);
    assert!(retries > 0, "nobody has noticed that nodes failed");
    site.balancer.ip("link set node3 up");
    site.wait_for_health([true; NODES as usize]);
}

/// Megabits a second that a node's link carries.
const RATE: u32 = 24;
/// Sessions that download: as many for each node.
const READERS: usize = 12;

fn throughput(site: &mut Site, step: &dyn Fn(&str)) {
    std::fs::write(site.shared.join("tree/large"), vec![7; 256 << 20]).unwrap();
    for machine in &site.machines {
        machine.limit("uplink", RATE);
    }
    for number in [2, 3] {
        std::fs::write(site.drain_file(number), b"").unwrap();
    }
    site.wait_for_health([true, false, false]);
    let one = download(site);
    step(&format!("one node: {:.1} Mbit/s", one));
    for number in [2, 3] {
        std::fs::remove_file(site.drain_file(number)).unwrap();
    }
    site.wait_for_health([true; NODES as usize]);
    let three = download(site);
    step(&format!(
        "three nodes: {three:.1} Mbit/s, {:.2} times one",
        three / one
    ));
    assert!(three / one >= 2.7, "{three} / {one}");
}

/// What all readers together get through the balancer, in megabits a second.
fn download(site: &Site) -> f64 {
    let bytes = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let running = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..READERS)
        .map(|number| {
            let from = site::client(number as u8);
            // One after the other: the balancer spreads them evenly.
            let mut client = through_balancer(site, from);
            client.wait_for(220);
            client.login("ann", "secret");
            client.expect("TYPE I", 200);
            let data = client.epsv();
            let data = site.clients.inside(|| connect_from(from, data).unwrap());
            client.send("RETR large");
            let (bytes, over, running) =
                (Arc::clone(&bytes), Arc::clone(&over), Arc::clone(&running));
            std::thread::spawn(move || {
                client.wait_for(150);
                running.fetch_add(1, SeqCst);
                let mut data = Data::from(data).0;
                let mut buffer = vec![0; 64 * 1024];
                while !over.load(SeqCst) {
                    match data.read(&mut buffer).unwrap() {
                        0 => panic!("the file is too short for this network"),
                        length => bytes.fetch_add(length as u64, SeqCst),
                    };
                }
            })
        })
        .collect();
    common::until("all downloads run", || running.load(SeqCst) == READERS);
    // Queues fill before they are the measure.
    std::thread::sleep(Duration::from_secs(2));
    let (before, started) = (bytes.load(SeqCst), Instant::now());
    std::thread::sleep(Duration::from_secs(8));
    let moved = bytes.load(SeqCst) - before;
    let rate = moved as f64 * 8.0 / 1e6 / started.elapsed().as_secs_f64();
    over.store(true, SeqCst);
    for reader in readers {
        reader.join().unwrap();
    }
    rate
}
