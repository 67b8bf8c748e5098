//! The benchmark of wharf: wharfd beside vsftpd, Pure-FTPd, ProFTPD, OpenSSH and a bare loop, in one run.
//!
//! `make bench` runs everything, `BENCH=retr,list make bench` some groups, `ROUNDS=5` more rounds than three. Servers are
//! measured in turn, round by round, so that whatever else the machine does meets all of them; the table has
//! medians, and ratios that are above 1 where wharfd is ahead. Never a test: no number here can fail a build.

mod bare;
#[cfg(feature = "ftps")]
mod bare_tls;
#[cfg(not(feature = "ftps"))]
#[path = "bare_no_tls.rs"]
mod bare_tls;
mod client;
mod compare;
mod isolate;
mod machine;
mod measure;
mod packages;
mod plot;
mod report;
mod rows;
mod servers;
mod sftp;
#[cfg(feature = "ftps")]
mod tls;
mod wire;

use rows::{Body, Row};
use servers::{Kind, Running, Setup};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wire::Wire;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A peer whose sample takes longer than this, and much longer than those of others, is measured once only.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where a run leaves its table, below the project.
const RESULTS: &str = "target/bench-results";

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("--reap") => servers::reap(&arguments[1..]),
        Some("--bare") if arguments.len() >= 3 => bare::serve(
            arguments[1].parse().unwrap_or(0),
            Path::new(&arguments[2]),
            arguments.get(3).map(Path::new),
        ),
        Some("--compare") => compare::compare(
            &project().join(RESULTS).join("baseline.txt"),
            &project().join(RESULTS).join("ratios.txt"),
        )
        .and_then(|worse| {
            if worse == 0 {
                Ok(())
            } else {
                Err("some rows became worse".into())
            }
        }),
        _ if arguments.iter().any(|argument| argument == "--bench") => whole(),
        // `cargo test --all-targets` starts benchmarks too, without this argument: that is no time to measure.
        _ => {
            println!("not measured: use make bench");
            Ok(())
        }
    };
    if let Err(error) = outcome {
        eprintln!("bench: {error}");
        std::process::exit(1);
    }
}

fn whole() -> Result<()> {
    let project = project();
    let packages = packages::Packages::unpack(&project.join("target/peers"))?;
    if let Some(code) = isolate::enter()? {
        std::process::exit(code);
    }
    let wharfd = std::env::var_os("WHARFD")
        .map_or_else(|| project.join("target/release/wharfd"), PathBuf::from);
    let setup = Setup {
        packages,
        wharfd,
        certificate: certificate()?,
        threads: 64,
        address: std::net::Ipv4Addr::LOCALHOST,
        sftp: false,
        system: false,
        one_core: false,
    };
    // Thousands of sessions and their data connections.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let limit = rustix::process::Rlimit {
        current: limit,
        maximum: limit,
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?;
    let wanted = std::env::var("BENCH").unwrap_or_default();
    let rounds = std::env::var("ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3);
    if std::env::args().any(|argument| argument == "--wire") {
        return wire::run(&setup, rounds);
    }
    let only = std::env::var("SERVERS").unwrap_or_default();
    let mut results = report::Results::default();
    let mut prepared = Vec::new();
    for row in rows::all() {
        if !wanted.is_empty() && !wanted.split(',').any(|group| group == row.group) {
            continue;
        }
        if !prepared.contains(&row.group) {
            rows::prepare(row.group)?;
            prepared.push(row.group);
        }
        run_row(&row, &setup, rounds, &only, &mut results)?;
        // After each row: a run that is cut short leaves what it has.
        results.write(&project.join(RESULTS), rounds)?;
    }
    Ok(())
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
        sftp: row.sftp,
        system: row.system,
        one_core: row.one_core,
        ..setup.clone()
    };
    servers::pin(row.one_core)?;
    let kinds = row.kinds.iter().copied().filter(|kind| {
        only.is_empty()
            || only
                .split(',')
                .any(|name| name.eq_ignore_ascii_case(kind.name()))
    });
    // Which have shown that they need much longer than the others.
    let mut slow = Vec::new();
    let mut able: Vec<(Kind, Option<Running>)> = Vec::new();
    for kind in kinds {
        match row.body {
            Body::Program(_) => able.push((kind, None)),
            Body::Server(_) => match Running::start(kind, &setup) {
                Ok(server) => able.push((kind, Some(server))),
                Err(error) => results.failed(row, kind, &error.to_string()),
            },
        }
    }
    for _ in 0..rounds {
        let mut fastest = Duration::MAX;
        let mut times = Vec::new();
        able.retain(|(kind, server)| {
            if slow.contains(kind) {
                return true;
            }
            let start = Instant::now();
            let sample = rows::fastest(row.tries, || match (&row.body, server.as_ref()) {
                (Body::Server(measure), Some(server)) => measure(server),
                (Body::Program(measure), _) => measure(*kind, &setup),
                (Body::Server(_), None) => Err("it has not started".into()),
            });
            match sample {
                Ok(sample) => results.add(row, *kind, sample),
                Err(error) => {
                    results.failed(row, *kind, &error.to_string());
                    return false;
                }
            }
            fastest = fastest.min(start.elapsed());
            times.push((*kind, start.elapsed()));
            true
        });
        // One number says enough about a peer that is far behind; more would take most of a run.
        let behind = |time: Duration| time > PATIENCE && time > 4 * fastest;
        slow.extend(
            times
                .into_iter()
                .filter(|(kind, time)| kind.is_peer() && behind(*time))
                .map(|(kind, _)| kind),
        );
    }
    drop(able);
    results.print_row(row);
    Ok(())
}

#[cfg(feature = "ftps")]
fn certificate() -> Result<Option<PathBuf>> {
    tls::certificate().map(Some)
}

#[cfg(not(feature = "ftps"))]
fn certificate() -> Result<Option<PathBuf>> {
    Ok(None)
}
