//! The control connection: logins and round trips.

use super::{Metric, Row, Sample};
use crate::client::Client;
use crate::servers::Running;
use crate::{Result, isolate, measure};
use std::time::{Duration, Instant};

const LOGINS: Metric = Metric::more("rate", "logins/s");
const LOGIN_CPU: Metric = Metric::less("CPU", "us/login");
const TRIPS: Metric = Metric::more("rate", "replies/s");
const TRIP_CPU: Metric = Metric::less("CPU", "us/reply");

pub fn rows() -> Vec<Row> {
    vec![
        Row::plain("login", "anonymous logins", |server| {
            logins(server, "anonymous", "guest@")
        }),
        Row::plain("login", "password logins ($6$)", |server| {
            logins(server, isolate::USER, isolate::PASSWORD)
        }),
        Row::plain("control", "NOOP one by one", |server| {
            trips(server, "NOOP", 1)
        })
        .one_core(),
        Row::plain("control", "PWD one by one", |server| {
            trips(server, "PWD", 1)
        })
        .one_core(),
        Row::plain("control", "NOOP pipelined by 64", |server| {
            trips(server, "NOOP", 64)
        })
        .one_core(),
        Row::plain("control", "PWD pipelined by 64", |server| {
            trips(server, "PWD", 64)
        })
        .one_core(),
    ]
}

/// Two clients log in again and again for a second and a half.
pub fn logins(server: &Running, user: &str, password: &str) -> Result<Sample> {
    let before = server.cpu();
    let start = Instant::now();
    let until = start + Duration::from_millis(1500);
    let counts: Vec<std::result::Result<usize, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while Instant::now() < until {
                        let mut client =
                            Client::connect(server.port).map_err(|error| error.to_string())?;
                        client
                            .login(user, password)
                            .map_err(|error| error.to_string())?;
                        client.quit().map_err(|error| error.to_string())?;
                        count += 1;
                    }
                    Ok(count)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err("a client thread failed".into()))
            })
            .collect()
    });
    let elapsed = start.elapsed().as_secs_f64();
    let count: usize = counts
        .into_iter()
        .sum::<std::result::Result<usize, String>>()?;
    let spent = server.cpu() - before;
    Ok(vec![
        (LOGINS, count as f64 / elapsed),
        (LOGIN_CPU, spent * 1e6 / count as f64),
    ])
}

/// One session sends `batch` commands at a time and waits for all their replies.
fn trips(server: &Running, verb: &str, batch: usize) -> Result<Sample> {
    let mut client = Client::session(server.port)?;
    let lines = format!("{verb}\r\n").repeat(batch);
    let before = measure::cpu(server.root()).as_secs_f64();
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_millis(700) {
        client.send(&lines)?;
        for _ in 0..batch {
            client.reply()?;
        }
        count += batch;
    }
    let elapsed = start.elapsed().as_secs_f64();
    let spent = measure::cpu(server.root()).as_secs_f64() - before;
    Ok(vec![
        (TRIPS, count as f64 / elapsed),
        (TRIP_CPU, spent * 1e6 / count as f64),
    ])
}
