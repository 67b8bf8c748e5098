//! The benchmark of wharf: wharfd beside vsftpd, Pure-FTPd, ProFTPD, OpenSSH and a bare loop, in one run.
//!
//! `make bench` runs everything, `BENCH=retr,list make bench` some groups, `ROUNDS=5` more rounds. Servers are
//! measured in turn, round by round, so that whatever else the machine does meets all of them; the table has
//! medians, and ratios that are above 1 where wharfd is ahead. Never a test: no number here can fail a build.

mod bare;
mod client;
mod isolate;
mod measure;
mod packages;
mod report;
mod rows;
mod servers;

use rows::Row;
use servers::{Kind, Running, Setup};
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("--reap") => servers::reap(&arguments[1..]),
        Some("--bare") if arguments.len() == 3 => {
            bare::serve(arguments[1].parse().unwrap_or(0), Path::new(&arguments[2]))
        }
        _ => whole(),
    };
    if let Err(error) = outcome {
        eprintln!("bench: {error}");
        std::process::exit(1);
    }
}

fn whole() -> Result<()> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = packages::Packages::unpack(&project.join("target/peers"))?;
    if let Some(code) = isolate::enter()? {
        std::process::exit(code);
    }
    let wharfd = std::env::var_os("WHARFD")
        .map_or_else(|| project.join("target/release/wharfd"), PathBuf::from);
    let setup = Setup {
        packages,
        wharfd,
        certificate: None,
        threads: 64,
    };
    let wanted = std::env::var("BENCH").unwrap_or_default();
    let rounds = std::env::var("ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3);
    let only = std::env::var("SERVERS").unwrap_or_default();
    let mut results = report::Results::default();
    let mut prepared = Vec::new();
    for row in rows::all(&setup) {
        if !wanted.is_empty() && !wanted.split(',').any(|group| group == row.group) {
            continue;
        }
        if !prepared.contains(&row.group) {
            rows::prepare(row.group)?;
            prepared.push(row.group);
        }
        run_row(&row, &setup, rounds, &only, &mut results)?;
    }
    results.write(&project.join("benches/results"))
}

fn run_row(
    row: &Row,
    setup: &Setup,
    rounds: usize,
    only: &str,
    results: &mut report::Results,
) -> Result<()> {
    let setup = Setup {
        threads: row.threads,
        certificate: setup.certificate.clone().filter(|_| row.tls),
        ..setup.clone()
    };
    let mut servers: Vec<Running> = Vec::new();
    for kind in &row.kinds {
        let asked = only.is_empty()
            || only
                .split(',')
                .any(|name| name.eq_ignore_ascii_case(kind.name()));
        if !asked {
            continue;
        }
        match Running::start(*kind, &setup) {
            Ok(server) => servers.push(server),
            Err(error) => results.failed(row, *kind, &error.to_string()),
        }
    }
    let mut broken: Vec<Kind> = Vec::new();
    for _ in 0..rounds {
        for server in &servers {
            if broken.contains(&server.kind) {
                continue;
            }
            match (row.measure)(server) {
                Ok(sample) => results.add(row, server.kind, sample),
                Err(error) => {
                    results.failed(row, server.kind, &error.to_string());
                    broken.push(server.kind);
                }
            }
        }
    }
    drop(servers);
    results.print_row(row);
    Ok(())
}
