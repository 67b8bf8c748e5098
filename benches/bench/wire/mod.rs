//! The wire (`make bench-wire`): a client in a network namespace of its own, a TUN device at each end, and threads
//! that carry packets between them, later, slower, and not all of them.

mod link;
mod rows;

use crate::servers::{Kind, Running, Setup};
use crate::{RESULTS, Result, project};
use link::{Link, SERVER};
use std::fmt::Write;
use std::time::Duration;

/// What a wire does to packets, and what is measured over it.
pub struct Wire {
    pub name: &'static str,
    /// One way.
    pub delay: Duration,
    pub megabits: u64,
    /// Of a thousand packets.
    pub loss: u32,
    /// The congestion control of both ends, unless a program chooses its own.
    pub congestion: &'static str,
    /// Bytes of a large file.
    pub large: u64,
}

const fn wire(
    name: &'static str,
    delay: u64,
    megabits: u64,
    loss: u32,
    congestion: &'static str,
    large: u64,
) -> Wire {
    Wire {
        name,
        delay: Duration::from_millis(delay),
        megabits,
        loss,
        congestion,
        large: large << 20,
    }
}

/// Round trips are told; half of one is the delay.
const WIRES: &[Wire] = &[
    wire("10 ms, 1 Gbit/s", 5, 1000, 0, "cubic", 128),
    wire("100 ms, 800 Mbit/s", 50, 800, 0, "cubic", 128),
    wire("50 ms, 100 Mbit/s, 1 % loss", 25, 100, 10, "cubic", 8),
    wire(
        "50 ms, 100 Mbit/s, 1 % loss, system with bbr",
        25,
        100,
        10,
        "bbr",
        8,
    ),
];

const KINDS: [Kind; 5] = [
    Kind::Wharf,
    Kind::Vsftpd,
    Kind::PureFtpd,
    Kind::ProFtpd,
    Kind::Sshd,
];

/// Measures all rows over all wires; `WIRE=0,2` chooses some, `ROWS='RETR;STOR'` some rows.
pub fn run(setup: &Setup, rounds: usize) -> Result<()> {
    rows::prepare()?;
    let chosen = std::env::var("WIRE").unwrap_or_default();
    let mut table = String::new();
    let machine = crate::machine::describe(rounds);
    let machine = machine.split(", files").next().unwrap_or_default();
    writeln!(
        table,
        "{machine}, clients behind a wire, queue of 50 ms, MTU 1500, the best of {rounds} rounds. MB/s are more is better, \
         s and round trips less is better."
    )?;
    for (number, wire) in WIRES.iter().enumerate() {
        if !chosen.is_empty() && !chosen.split(',').any(|one| one == number.to_string()) {
            continue;
        }
        measure(wire, setup, rounds, &mut table)?;
        let file = project().join(RESULTS).join("wire.md");
        std::fs::create_dir_all(project().join(RESULTS))?;
        std::fs::write(file, &table)?;
    }
    print!("{table}");
    Ok(())
}

fn measure(wire: &'static Wire, setup: &Setup, rounds: usize, table: &mut String) -> Result<()> {
    let link = Link::new(wire)?;
    let rows = std::env::var("ROWS").unwrap_or_default();
    writeln!(table, "\n{} ({})\n", wire.name, wire.congestion)?;
    write!(table, "| row | unit |")?;
    KINDS
        .iter()
        .try_for_each(|kind| write!(table, " {} |", kind.name()))?;
    writeln!(table, "\n|---|---|--:|--:|--:|--:|--:|")?;
    for row in rows::ROWS.iter().filter(|row| row.fits(wire)) {
        if !rows.is_empty() && !rows.split(';').any(|name| name == row.name) {
            continue;
        }
        write!(table, "| {} | {} |", row.name, row.unit.name())?;
        for kind in KINDS {
            let cell = if row.is_of(kind) {
                match sample(row, kind, wire, setup, rounds, &link) {
                    Ok(best) => row.unit.show(best),
                    Err(error) => {
                        eprintln!("{} {}: {error}", row.name, kind.name());
                        "failed".into()
                    }
                }
            } else {
                "-".into()
            };
            write!(table, " {cell} |")?;
            eprintln!("{}: {} {}: {cell}", wire.name, row.name, kind.name());
        }
        writeln!(table)?;
    }
    Ok(())
}

fn sample(
    row: &'static rows::Row,
    kind: Kind,
    wire: &'static Wire,
    setup: &Setup,
    rounds: usize,
    link: &Link,
) -> Result<f64> {
    let setup = Setup {
        address: SERVER,
        certificate: setup.certificate.clone().filter(|_| row.tls()),
        sftp: row.sftp(),
        ..setup.clone()
    };
    let server = Running::start(kind, &setup)?;
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let port = server.port;
        link.flights.clear();
        let seconds =
            link.at_client(move || row.run(port, wire).map_err(|error| error.to_string()))??;
        best = best.min(if row.unit == rows::Unit::Trips {
            link.flights.round_trips()
        } else {
            seconds
        });
    }
    Ok(row.value(best, wire))
}
