//! Thousands of logged-in idle sessions: what the others notice of them.

use super::{Metric, Row, Sample};
use crate::client::Client;
use crate::servers::{Kind, Running};
use crate::{Result, measure};
use std::time::Instant;

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
const MEMORY: Metric = Metric::less("5,000 sessions", "MiB PSS");
/// wharfd asks for three descriptors a thread, which the usual hard limit of 20,000 allows.
const IDLE: [usize; 3] = [0, 1000, 5000];

pub fn rows() -> Vec<Row> {
    // Only the servers that hold 5,000 sessions without 5,000 forks.
    let mut row = Row::plain("scale", "5,000 idle sessions", scale);
    row.kinds = vec![Kind::Wharf, Kind::Bare];
    row.threads = 5030;
    vec![row]
}

fn scale(server: &Running) -> Result<Sample> {
    let mut sample = Sample::new();
    let mut held: Vec<Client> = Vec::new();
    for (step, count) in IDLE.into_iter().enumerate() {
        while held.len() < count {
            let mut client = Client::connect(server.port)?;
            client.login("anonymous", "guest@")?;
            held.push(client);
        }
        // One slow moment of the machine is not the server's: the middle of several.
        let mut rates = Vec::new();
        for _ in 0..7 {
            let parallel = super::bulk::retrieve(server, Client::session, 4, 128)?;
            rates.push(parallel[0].1);
        }
        let mut times = Vec::new();
        for _ in 0..200 {
            let start = Instant::now();
            let mut client = Client::connect(server.port)?;
            client.login("anonymous", "guest@")?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
            client.quit()?;
        }
        sample.push((THROUGHPUT[step], measure::median(&rates)));
        sample.push((LATENCY[step], measure::median(&times)));
    }
    sample.push((MEMORY, measure::pss(server.root()) / 1024.0));
    Ok(sample)
}
