//! RETR and STOR of large files, with 1, 4 and 16 sessions at once.

use super::{Metric, Row, Sample};
use crate::client::{Client, Source};
use crate::servers::Running;
use crate::{Result, isolate};
use std::io::Write;
use std::sync::{Arc, Barrier};
use std::time::Instant;

const MIB: u64 = 1 << 20;
const THROUGHPUT: Metric = Metric::more("throughput", "MiB/s");
const CPU: Metric = Metric::less("CPU", "s/GiB");

/// Sessions and the MiB each of them moves: a row's total stays within 2 GiB.
const SHAPES: [(usize, u64); 3] = [(1, 1024), (4, 512), (16, 128)];

/// How a session is made: [`Client::session`] or `Client::secure_session`.
pub type Login = fn(u16) -> Result<Client>;

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (sessions, size) in SHAPES {
        let name = format!("RETR {size} MiB x {sessions}");
        rows.push(Row::plain("retr", name, move |server| {
            retrieve(server, Client::session, sessions, size)
        }));
    }
    for (sessions, size) in SHAPES {
        let name = format!("STOR {size} MiB x {sessions}");
        rows.push(
            Row::plain("stor", name, move |server| {
                store(server, Client::session, sessions, size)
            })
            .upload(),
        );
    }
    for row in &mut rows {
        row.one_core = row.name.ends_with("x 1");
    }
    rows
}

/// One file for each size.
pub fn prepare() -> Result<()> {
    let block: Vec<u8> = (0..MIB).map(|n| (n ^ (n >> 9)) as u8).collect();
    for (_, size) in SHAPES {
        let path = isolate::home().join(format!("big-{size}"));
        if path.exists() {
            continue;
        }
        let mut file = std::fs::File::create(path)?;
        for _ in 0..size {
            file.write_all(&block)?;
        }
    }
    Ok(())
}

/// Every session fetches the file of `size` MiB.
pub fn retrieve(server: &Running, login: Login, sessions: usize, size: u64) -> Result<Sample> {
    together(server, login, sessions, size, move |client, _| match client
        .fetch(&format!("RETR big-{size}"))?
    {
        got if got == size * MIB => Ok(()),
        got => Err(format!("RETR gave {got} bytes").into()),
    })
}

/// Every session uploads `size` MiB under a name of its own.
pub fn store(server: &Running, login: Login, sessions: usize, size: u64) -> Result<Sample> {
    let source = Arc::new(Source::new(8 << 20)?);
    let sample = together(server, login, sessions, size, move |client, number| {
        client.store(&format!("STOR up/big-{number}"), &source, size * MIB)
    });
    for number in 0..sessions {
        let path = isolate::home().join(format!("up/big-{number}"));
        let length = std::fs::metadata(&path).map(|data| data.len()).unwrap_or(0);
        let _ = std::fs::remove_file(path);
        if sample.is_ok() && length != size * MIB {
            return Err(format!("STOR left {length} bytes").into());
        }
    }
    sample
}

/// Logs all sessions in, lets them start at once, and measures until the last final reply.
fn together(
    server: &Running,
    login: Login,
    sessions: usize,
    size: u64,
    work: impl Fn(&mut Client, usize) -> Result<()> + Send + Sync,
) -> Result<Sample> {
    let mut clients = (0..sessions)
        .map(|_| login(server.port))
        .collect::<Result<Vec<_>>>()?;
    let before = crate::measure::cpu(server.root()).as_secs_f64();
    let barrier = Barrier::new(sessions + 1);
    let (elapsed, outcome) = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter_mut()
            .enumerate()
            .map(|(number, client)| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(client, number).map_err(|error| error.to_string())
                })
            })
            .collect();
        barrier.wait();
        let start = Instant::now();
        let outcome: Vec<std::result::Result<(), String>> = threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err("a client thread failed".into()))
            })
            .collect();
        (start.elapsed(), outcome)
    });
    outcome
        .into_iter()
        .collect::<std::result::Result<(), String>>()?;
    drop(clients);
    let spent = server.cpu() - before;
    let total = (sessions as u64 * size) as f64;
    Ok(vec![
        (THROUGHPUT, total / elapsed.as_secs_f64()),
        (CPU, spent / (total / 1024.0)),
    ])
}
