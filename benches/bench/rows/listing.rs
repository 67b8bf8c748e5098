//! Directories of 10,000 and 100,000 entries: time, first byte, memory.

use super::{Metric, Row, Sample};
use crate::client::Client;
use crate::servers::{Kind, Running};
use crate::{Result, isolate, measure};
use std::io::Read;
use std::time::Instant;

const TIME: Metric = Metric::less("time", "ms");
const FIRST: Metric = Metric::less("first byte", "ms");
const CPU: Metric = Metric::less("CPU", "us/entry");
const MEMORY: Metric = Metric::less("memory added", "KiB");

const SIZES: [usize; 2] = [10_000, 100_000];

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for verb in ["LIST", "NLST", "MLSD"] {
        for size in SIZES {
            let name = format!("{verb} {size} entries");
            let mut row = Row::plain("list", name, move |server| list(server, verb, size));
            if verb == "MLSD" {
                // vsftpd has no MLSD.
                row.kinds.retain(|kind| *kind != Kind::Vsftpd);
            }
            rows.push(row);
        }
    }
    rows
}

pub fn prepare() -> Result<()> {
    for size in SIZES {
        let directory = isolate::home().join(format!("dir-{size}"));
        std::fs::create_dir_all(&directory)?;
        for number in 0..size {
            std::fs::File::create(directory.join(format!("entry-number-{number:06}.txt")))?;
        }
    }
    Ok(())
}

fn list(server: &Running, verb: &str, size: usize) -> Result<Sample> {
    let repeats = 200_000 / size;
    let mut client = Client::session(server.port)?;
    client.command(&format!("CWD dir-{size}"), 250)?;
    // The bare loop has no current directory.
    let line = match server.kind {
        Kind::Bare => format!("{verb} dir-{size}"),
        _ => verb.to_owned(),
    };
    one(&mut client, &line, size)?;
    let before = measure::cpu(server.root()).as_secs_f64();
    let mut times = Vec::new();
    let mut firsts = Vec::new();
    for _ in 0..repeats.min(10) {
        let (first, total) = one(&mut client, &line, size)?;
        firsts.push(first);
        times.push(total);
    }
    let entries = (times.len() * size) as f64;
    let spent = measure::cpu(server.root()).as_secs_f64() - before;
    // Memory in a session of its own: an earlier listing may have left its buffers behind.
    drop(client);
    let mut client = Client::session(server.port)?;
    client.command(&format!("CWD dir-{size}"), 250)?;
    let idle = measure::pss(server.root());
    let (_, peak) = measure::peak_pss(server.root(), || one(&mut client, &line, size))?;
    Ok(vec![
        (TIME, measure::median(&times)),
        (FIRST, measure::median(&firsts)),
        (CPU, spent * 1e6 / entries),
        (MEMORY, (peak - idle).max(0.0)),
    ])
}

/// First byte and total time of one listing, in milliseconds; the entries must all be there.
fn one(client: &mut Client, line: &str, size: usize) -> Result<(f64, f64)> {
    let start = Instant::now();
    let data = client.passive()?;
    let mut data = client.protect(data)?;
    client.send(&format!("{line}\r\n"))?;
    let mut byte = [0];
    if data.read(&mut byte)? == 0 {
        return Err("an empty listing".into());
    }
    let first = start.elapsed();
    let length = 1 + data.discard()?;
    drop(data);
    client.preliminary(line)?;
    client.expect(226)?;
    let total = start.elapsed();
    // "entry-number-000000.txt" and CR LF.
    if length < 25 * size as u64 {
        return Err(format!("{line} gave {length} bytes only").into());
    }
    Ok((first.as_secs_f64() * 1e3, total.as_secs_f64() * 1e3))
}
