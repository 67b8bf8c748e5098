//! Ten thousand files of 4 KiB each way: the cost of a file rather than of its bytes.

use super::bulk::Login;
use super::{Metric, Row, Sample};
use crate::client::{Client, Source};
use crate::servers::Running;
use crate::{Result, isolate};
use std::sync::Arc;
use std::time::Instant;

const FILES: usize = 10_000;
const SESSIONS: usize = 4;
const SIZE: u64 = 4096;
const RATE: Metric = Metric::more("rate", "files/s");
const CPU: Metric = Metric::less("CPU", "us/file");

pub fn rows() -> Vec<Row> {
    vec![
        Row::plain("small", "RETR 10,000 x 4 KiB", |server| {
            retrieve(server, Client::session, FILES)
        }),
        Row::plain("small", "STOR 10,000 x 4 KiB", |server| {
            store(server, Client::session, FILES)
        }),
    ]
}

/// Fetches `files` files.
pub fn retrieve(server: &Running, login: Login, files: usize) -> Result<Sample> {
    each_file(server, login, files, |client, number| {
        match client.fetch(&format!("RETR small/{number:05}"))? {
            SIZE => Ok(()),
            got => Err(format!("RETR gave {got} bytes").into()),
        }
    })
}

/// Uploads `files` files, and removes them afterwards.
pub fn store(server: &Running, login: Login, files: usize) -> Result<Sample> {
    let source = Arc::new(Source::new(SIZE as usize)?);
    let sample = each_file(server, login, files, move |client, number| {
        client.store(&format!("STOR up/{number:05}"), &source, SIZE)
    });
    for number in 0..files {
        let removed = std::fs::remove_file(isolate::home().join(format!("up/{number:05}")));
        if sample.is_ok() {
            removed?;
        }
    }
    sample
}

pub fn prepare() -> Result<()> {
    let directory = isolate::home().join("small");
    std::fs::create_dir_all(&directory)?;
    for number in 0..FILES {
        std::fs::write(
            directory.join(format!("{number:05}")),
            [b'x'; SIZE as usize],
        )?;
    }
    Ok(())
}

fn each_file(
    server: &Running,
    login: Login,
    files: usize,
    work: impl Fn(&mut Client, usize) -> Result<()> + Send + Sync,
) -> Result<Sample> {
    let mut clients = (0..SESSIONS)
        .map(|_| login(server.port))
        .collect::<Result<Vec<_>>>()?;
    let before = crate::measure::cpu(server.root()).as_secs_f64();
    let start = Instant::now();
    let outcome: Vec<std::result::Result<(), String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter_mut()
            .enumerate()
            .map(|(session, client)| {
                let work = &work;
                scope.spawn(move || {
                    (session..files)
                        .step_by(SESSIONS)
                        .try_for_each(|number| work(client, number))
                        .map_err(|error| error.to_string())
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
    outcome
        .into_iter()
        .collect::<std::result::Result<(), String>>()?;
    drop(clients);
    let spent = server.cpu() - before;
    Ok(vec![
        (RATE, files as f64 / elapsed),
        (CPU, spent * 1e6 / files as f64),
    ])
}
