//! Thousands of logged-in idle sessions: what the others notice of them.

use super::bulk::retrieve;
use super::{Body, Metric, Row, Sample};
use crate::client::Client;
use crate::servers::{Kind, Running, Setup};
use crate::{Result, measure};
use std::time::Instant;

/// wharfd asks for three descriptors a thread, which the usual hard limit of 20,000 allows.
const IDLE: [usize; 3] = [0, 1000, 5000];
const THROUGHPUT: [Metric; 3] = [
    Metric::more("RETR, 0 idle", "MiB/s"),
    Metric::more("RETR, 1,000 idle", "MiB/s"),
    Metric::more("RETR, 5,000 idle", "MiB/s"),
];
const LATENCY: [Metric; 3] = [
    Metric::less("login, 0 idle", "us"),
    Metric::less("login, 1,000 idle", "us"),
    Metric::less("login, 5,000 idle", "us"),
];
/// The numbers with 5,000 idle sessions as parts of those with none.
const RATE_KEPT: Metric = Metric::more("RETR, 5,000 to 0 idle", "ratio");
const TIME_KEPT: Metric = Metric::less("login, 5,000 to 0 idle", "ratio");
const MEMORY: Metric = Metric::less("5,000 sessions", "MiB PSS");

/// How often each server is asked, in turn with the others.
const TURNS: usize = 11;
const LOGINS: usize = 40;

pub fn rows() -> Vec<Row> {
    // Only the servers that hold 5,000 sessions without 5,000 forks.
    let kinds = [Kind::Wharf, Kind::Bare];
    let body = Body::Program(Box::new(scale));
    let row = Row::new("scale", "5,000 idle sessions", &kinds, body);
    vec![row.threads(5030).one_core()]
}

/// A server for each number of idle sessions, all at once and asked in turn: a slow second of the machine meets all
/// of them, and a difference between them is the idle sessions'.
fn scale(kind: Kind, setup: &Setup) -> Result<Sample> {
    let mut servers = Vec::new();
    for (port, count) in (2200..).zip(IDLE) {
        let server = Running::start_on(port, kind, setup)?;
        let mut held = Vec::new();
        for _ in 0..count {
            let mut client = Client::connect(port)?;
            client.login("anonymous", "guest@")?;
            held.push(client);
        }
        servers.push((server, held));
    }
    let mut rates = [const { Vec::new() }; IDLE.len()];
    let mut times = [const { Vec::new() }; IDLE.len()];
    for _ in 0..TURNS {
        for (step, (server, _)) in servers.iter().enumerate() {
            rates[step].push(retrieve(server, Client::session, 4, 128)?[0].1);
            for _ in 0..LOGINS {
                let start = Instant::now();
                let mut client = Client::connect(server.port)?;
                client.login("anonymous", "guest@")?;
                times[step].push(start.elapsed().as_secs_f64() * 1e6);
                client.quit()?;
            }
        }
    }
    let rates = rates.map(|rates| measure::median(&rates));
    let times = times.map(|times| measure::median(&times));
    let mut sample = Sample::new();
    sample.extend(THROUGHPUT.into_iter().zip(rates));
    sample.extend(LATENCY.into_iter().zip(times));
    sample.push((RATE_KEPT, rates[2] / rates[0]));
    sample.push((TIME_KEPT, times[2] / times[0]));
    sample.push((MEMORY, measure::pss(servers[2].0.root()) / 1024.0));
    Ok(sample)
}
