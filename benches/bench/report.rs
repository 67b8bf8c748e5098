//! Medians, ratios and the files a run leaves behind.

use crate::Result;
use crate::measure::{median, spread};
use crate::rows::{Better, Metric, Row, Sample};
use crate::servers::Kind;
use std::fmt::Write;
use std::path::Path;

/// All that was measured.
#[derive(Default)]
pub struct Results {
    lines: Vec<Line>,
    failures: Vec<(String, Kind, String)>,
}

/// One number of one row, for all servers.
struct Line {
    group: &'static str,
    row: String,
    metric: Metric,
    servers: Vec<(Kind, Vec<f64>)>,
}

impl Line {
    fn median(&self, kind: Kind) -> Option<f64> {
        let (_, values) = self.servers.iter().find(|(known, _)| *known == kind)?;
        Some(median(values))
    }

    fn best_peer(&self) -> Option<(Kind, f64)> {
        let peers = self.servers.iter().filter(|(kind, _)| kind.is_peer());
        let values = peers.map(|(kind, values)| (*kind, median(values)));
        match self.metric.better {
            Better::More => values.max_by(|a, b| a.1.total_cmp(&b.1)),
            Better::Less => values.min_by(|a, b| a.1.total_cmp(&b.1)),
        }
    }

    /// How far wharfd is ahead of `other`: above 1 is better, whichever way the metric counts.
    fn ratio(&self, other: f64) -> Option<f64> {
        let ours = self.median(Kind::Wharf)?;
        Some(match self.metric.better {
            Better::More => ours / other,
            Better::Less => other / ours,
        })
    }
}

impl Results {
    /// Adds one measurement.
    pub fn add(&mut self, row: &Row, kind: Kind, sample: Sample) {
        for (metric, value) in sample {
            let at = self
                .lines
                .iter()
                .position(|line| line.row == row.name && line.metric == metric)
                .unwrap_or_else(|| {
                    self.lines.push(Line {
                        group: row.group,
                        row: row.name.clone(),
                        metric,
                        servers: Vec::new(),
                    });
                    self.lines.len() - 1
                });
            let servers = &mut self.lines[at].servers;
            match servers.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, values)) => values.push(value),
                None => servers.push((kind, vec![value])),
            }
        }
    }

    /// Notes that a server could not do a row.
    pub fn failed(&mut self, row: &Row, kind: Kind, error: &str) {
        eprintln!("{}: {}: {error}", row.name, kind.name());
        self.failures
            .push((row.name.clone(), kind, error.to_owned()));
    }

    /// Prints what a row gave, at once.
    pub fn print_row(&self, row: &Row) {
        for line in self.lines.iter().filter(|line| line.row == row.name) {
            let mut text = format!("{:24} {:17}", line.row, line.metric.name);
            for (kind, values) in &line.servers {
                let _ = write!(text, "  {} {}", kind.name(), number(median(values)));
            }
            let _ = write!(text, "  {}", line.metric.unit);
            if let Some(ratio) = line.best_peer().and_then(|(_, best)| line.ratio(best)) {
                let _ = write!(text, "  | to peer {ratio:.2}");
            }
            if let Some(ratio) = line.median(Kind::Bare).and_then(|bare| line.ratio(bare)) {
                let _ = write!(text, "  to bare {ratio:.2}");
            }
            println!("{text}");
        }
    }

    /// Writes `latest.txt`: tab separated, a line a number and server.
    pub fn write(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory)?;
        let mut text = String::from("# group\trow\tmetric\tunit\tserver\tmedian\tspread\n");
        for line in &self.lines {
            for (kind, values) in &line.servers {
                writeln!(
                    text,
                    "{}\t{}\t{}\t{}\t{}\t{:.4}\t{:.3}",
                    line.group,
                    line.row,
                    line.metric.name,
                    line.metric.unit,
                    kind.name(),
                    median(values),
                    spread(values)
                )?;
            }
        }
        std::fs::write(directory.join("latest.txt"), text)?;
        Ok(())
    }
}

/// Three significant digits or so.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
