//! The rows of the table: each starts its servers, measures them in turn, and names its numbers.

use crate::Result;
use crate::servers::{Kind, Running, Setup};

mod bulk;
mod control;
mod listing;
mod small;

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
}

/// One measurement of one server.
pub type Sample = Vec<(Metric, f64)>;

type Measure = Box<dyn Fn(&Running) -> Result<Sample>>;

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
    /// Threads for wharfd.
    pub threads: usize,
    /// The measurement.
    pub measure: Measure,
}

const PLAIN: [Kind; 5] = [
    Kind::Wharf,
    Kind::Vsftpd,
    Kind::PureFtpd,
    Kind::ProFtpd,
    Kind::Bare,
];

impl Row {
    fn plain(
        group: &'static str,
        name: impl Into<String>,
        measure: impl Fn(&Running) -> Result<Sample> + 'static,
    ) -> Row {
        Row {
            group,
            name: name.into(),
            kinds: PLAIN.to_vec(),
            tls: false,
            threads: 64,
            measure: Box::new(measure),
        }
    }
}

/// All rows, in the order of the table.
pub fn all(_setup: &Setup) -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(bulk::rows());
    rows.extend(small::rows());
    rows.extend(listing::rows());
    rows.extend(control::rows());
    rows
}

/// Makes the files a group's rows need.
pub fn prepare(group: &str) -> Result<()> {
    match group {
        "retr" => bulk::prepare(),
        "small" => small::prepare(),
        "list" => listing::prepare(),
        _ => Ok(()),
    }
}
