//! The rows of the table: each starts its servers, measures them in turn, and names its numbers.

use crate::Result;
use crate::servers::{Kind, Running, Setup};

mod bulk;
mod control;
mod listing;
mod memory;
mod scale;
mod secure;
pub mod sftp;
mod small;
mod start;
mod syscalls;
mod system;

/// Which way a number is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Throughput, rates.
    More,
    /// Times, memory, CPU.
    Less,
}

/// A kind of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// What it is, such as `throughput`.
    pub name: &'static str,
    /// Its unit, such as `MiB/s`.
    pub unit: &'static str,
    /// Which way it is good.
    pub better: Better,
}

impl Metric {
    /// More is better.
    pub const fn more(name: &'static str, unit: &'static str) -> Metric {
        Metric {
            name,
            unit,
            better: Better::More,
        }
    }

    /// Less is better.
    pub const fn less(name: &'static str, unit: &'static str) -> Metric {
        Metric {
            name,
            unit,
            better: Better::Less,
        }
    }

    /// Larger for a better number.
    pub fn goodness(&self, number: f64) -> f64 {
        match self.better {
            Better::More => number,
            Better::Less => -number,
        }
    }
}

/// One measurement of one server.
pub type Sample = Vec<(Metric, f64)>;

type OnServer = Box<dyn Fn(&Running) -> Result<Sample>>;
type OnProgram = Box<dyn Fn(Kind, &Setup) -> Result<Sample>>;

/// How a row measures.
pub enum Body {
    /// A server that stays up for the whole row.
    Server(OnServer),
    /// A program started anew for each sample.
    Program(OnProgram),
}

/// A row: what is measured on which servers.
pub struct Row {
    /// The group's name, for `BENCH=`.
    pub group: &'static str,
    /// The row's own name.
    pub name: String,
    /// The servers, in the order of a round.
    pub kinds: Vec<Kind>,
    /// Whether the servers get a certificate.
    pub tls: bool,
    /// Whether the servers speak SFTP on their port.
    pub sftp: bool,
    /// Whether wharfd serves users of the system.
    pub system: bool,
    /// Threads for wharfd.
    pub threads: usize,
    /// Server and client share one CPU: one conversation in lock step measures the work of the server then,
    /// and not what it costs to wake the other CPU (30 us and luck on a virtual machine).
    pub one_core: bool,
    /// The measurement.
    pub body: Body,
    /// How often it is made for one sample, of which the fastest counts.
    pub tries: usize,
}

const PLAIN: [Kind; 5] = [
    Kind::Wharf,
    Kind::Vsftpd,
    Kind::PureFtpd,
    Kind::ProFtpd,
    Kind::Bare,
];

impl Row {
    fn new(group: &'static str, name: impl Into<String>, kinds: &[Kind], body: Body) -> Row {
        Row {
            group,
            name: name.into(),
            kinds: kinds.to_vec(),
            tls: false,
            sftp: false,
            system: false,
            threads: 64,
            one_core: false,
            body,
            tries: 1,
        }
    }

    fn plain(
        group: &'static str,
        name: impl Into<String>,
        measure: impl Fn(&Running) -> Result<Sample> + 'static,
    ) -> Row {
        Row::new(group, name, &PLAIN, Body::Server(Box::new(measure)))
    }

    fn threads(mut self, threads: usize) -> Row {
        self.threads = threads;
        self
    }

    fn one_core(mut self) -> Row {
        self.one_core = true;
        self
    }

    /// Large files are written: on a virtual machine the kernel now and then takes three times as long to find memory
    /// for them, whoever writes. It only ever adds.
    fn upload(mut self) -> Row {
        self.tries = 3;
        self
    }

    fn without(mut self, kind: Kind) -> Row {
        self.kinds.retain(|known| *known != kind);
        self
    }
}

/// The sample whose first number is best.
pub fn fastest(tries: usize, measure: impl Fn() -> Result<Sample>) -> Result<Sample> {
    let samples = (0..tries)
        .map(|_| measure())
        .collect::<Result<Vec<Sample>>>()?;
    let goodness = |sample: &Sample| {
        sample
            .first()
            .map_or(0.0, |(metric, number)| metric.goodness(*number))
    };
    let best = samples
        .into_iter()
        .max_by(|a, b| goodness(a).total_cmp(&goodness(b)));
    Ok(best.ok_or("no tries")?)
}

/// All rows, in the order of the table.
pub fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(bulk::rows());
    rows.extend(small::rows());
    rows.extend(listing::rows());
    rows.extend(control::rows());
    rows.extend(memory::rows());
    rows.extend(scale::rows());
    rows.extend(start::rows());
    rows.extend(syscalls::rows());
    rows.extend(system::rows());
    rows.extend(secure::rows());
    rows.extend(sftp::rows());
    rows
}

/// Makes the files a group's rows need.
pub fn prepare(group: &str) -> Result<()> {
    match group {
        "retr" | "memory" | "scale" => bulk::prepare(),
        "small" | "syscalls" => small::prepare(),
        "system" => bulk::prepare().and_then(|()| small::prepare()),
        "tls" => bulk::prepare().and_then(|()| small::prepare()),
        "sftp" => bulk::prepare()
            .and_then(|()| small::prepare())
            .and_then(|()| sftp::prepare()),
        "list" => listing::prepare(),
        _ => Ok(()),
    }
}
