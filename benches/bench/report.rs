//! Medians, ratios and the files a run leaves behind.

use crate::measure::{median, spread};
use crate::plot;
use crate::rows::{Better, Metric, Row, Sample};
use crate::servers::Kind;
use crate::{Result, machine};
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

/// The rows that README shows.
const FIRST: [&str; 12] = [
    "RETR 1024 MiB x 1: throughput",
    "STOR 1024 MiB x 1: throughput",
    "RETR 10,000 x 4 KiB: rate",
    "STOR 10,000 x 4 KiB: rate",
    "LIST 10000 entries: time",
    "anonymous logins: rate",
    "200 idle sessions: a further session",
    "RETR 1024 MiB x 1 PROT P: throughput",
    "RETR 1,000 x 4 KiB PROT P: rate",
    "ssh get 1 GiB: throughput",
    "ssh put 1 GiB: throughput",
    "ssh logins, ed25519: rate",
];

impl Line {
    fn values(&self, kind: Kind) -> Option<&[f64]> {
        let (_, values) = self.servers.iter().find(|(known, _)| *known == kind)?;
        Some(values)
    }

    fn median(&self, kind: Kind) -> Option<f64> {
        self.values(kind).map(median)
    }

    fn best_peer(&self) -> Option<(Kind, f64)> {
        let peers = self.servers.iter().filter(|(kind, _)| kind.is_peer());
        let values = peers.map(|(kind, values)| (*kind, median(values)));
        let goodness = |value: f64| self.metric.goodness(value);
        values.max_by(|a, b| goodness(a.1).total_cmp(&goodness(b.1)))
    }

    /// How far wharfd is ahead of `other`: above 1 is better, whichever way the metric counts.
    fn ratio(&self, other: f64) -> Option<f64> {
        let ours = self.median(Kind::Wharf)?;
        let ratio = match self.metric.better {
            Better::More => ours / other,
            Better::Less => other / ours,
        };
        ratio.is_finite().then_some(ratio)
    }

    fn to_peer(&self) -> Option<f64> {
        self.best_peer().and_then(|(_, best)| self.ratio(best))
    }

    fn to_bare(&self) -> Option<f64> {
        self.median(Kind::Bare).and_then(|bare| self.ratio(bare))
    }

    /// The noise of a ratio: that of both its sides.
    fn noise(&self, other: Kind) -> f64 {
        let of = |kind| self.values(kind).map_or(0.0, spread);
        of(Kind::Wharf) + of(other)
    }
}

impl Results {
    /// Adds one measurement.
    pub fn add(&mut self, row: &Row, kind: Kind, sample: Sample) {
        for (metric, value) in sample {
            let known = |line: &Line| line.row == row.name && line.metric == metric;
            let at = self.lines.iter().position(known).unwrap_or_else(|| {
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
        let failure = (row.name.clone(), kind, error.to_owned());
        self.failures.push(failure);
    }

    /// Prints what a row gave, at once.
    pub fn print_row(&self, row: &Row) {
        for line in self.lines.iter().filter(|line| line.row == row.name) {
            let mut text = format!("{:26} {:17}", line.row, line.metric.name);
            for (kind, values) in &line.servers {
                let _ = write!(text, "  {} {}", kind.name(), number(median(values)));
            }
            let _ = write!(text, "  {}", line.metric.unit);
            if let Some(ratio) = line.to_peer() {
                let _ = write!(text, "  | to peer {ratio:.2}");
            }
            if let Some(ratio) = line.to_bare() {
                let _ = write!(text, "  to bare {ratio:.2}");
            }
            println!("{text}");
        }
    }

    /// Writes `latest.txt` (every number), `ratios.txt` (for comparisons), `latest.md`, `summary.md`
    /// (what docs/benchmarks.md shows), `latest.svg`, and `first.svg` (what README shows).
    pub fn write(&self, directory: &Path, rounds: usize) -> Result<()> {
        std::fs::create_dir_all(directory)?;
        let about = machine::describe(rounds);
        std::fs::write(directory.join("latest.txt"), self.numbers(&about)?)?;
        std::fs::write(directory.join("ratios.txt"), self.ratios(&about)?)?;
        std::fs::write(directory.join("latest.md"), self.markdown(&about)?)?;
        std::fs::write(directory.join("summary.md"), self.summary(&about)?)?;
        let bars: Vec<plot::Bar> = self
            .lines
            .iter()
            .filter_map(|line| {
                Some(plot::Bar {
                    label: format!("{}: {}", line.row, line.metric.name),
                    ratio: line.to_peer()?,
                })
            })
            .collect();
        const TITLE: &str = "wharfd beside its fastest peer (1 = equal, right is better)";
        std::fs::write(directory.join("latest.svg"), plot::ratios(TITLE, &bars))?;
        let first: Vec<plot::Bar> = bars
            .into_iter()
            .filter(|bar| FIRST.contains(&bar.label.as_str()))
            .collect();
        std::fs::write(directory.join("first.svg"), plot::ratios(TITLE, &first))?;
        Ok(())
    }

    fn numbers(&self, about: &str) -> Result<String> {
        let mut text = format!("# {about}\n# group\trow\tmetric\tunit\tserver\tmedian\tspread\n");
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
        for (row, kind, error) in &self.failures {
            writeln!(text, "# {row}: {}: {error}", kind.name())?;
        }
        Ok(text)
    }

    fn ratios(&self, about: &str) -> Result<String> {
        let mut text = format!("# {about}\n# row\tmetric\tbeside\tratio\tnoise\n");
        for line in &self.lines {
            let peer = line.best_peer().map(|(kind, _)| kind);
            let pairs = [
                ("peer", line.to_peer(), peer),
                ("bare", line.to_bare(), Some(Kind::Bare)),
            ];
            for (beside, ratio, kind) in pairs {
                if let (Some(ratio), Some(kind)) = (ratio, kind) {
                    let noise = line.noise(kind);
                    writeln!(
                        text,
                        "{}\t{}\t{beside}\t{ratio:.4}\t{noise:.3}",
                        line.row, line.metric.name
                    )?;
                }
            }
        }
        Ok(text)
    }

    /// Ours beside the fastest peer alone.
    fn summary(&self, about: &str) -> Result<String> {
        let mut text = format!(
            "{about}. A ratio above 1 says that wharfd is ahead.\n\n\
             | row | number | wharfd | fastest peer | ratio | to bare loop |\n|---|---|--:|--:|--:|--:|\n"
        );
        let mut last = "";
        for line in &self.lines {
            let Some(ours) = line.median(Kind::Wharf) else {
                continue;
            };
            let name = if last == line.row { "" } else { &line.row };
            last = &line.row;
            let peer = line.best_peer().map_or("-".to_owned(), |(kind, value)| {
                format!("{} {}", kind.name(), number(value))
            });
            let ratio =
                |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
            writeln!(
                text,
                "| {name} | {}, {} | {} | {peer} | {} | {} |",
                line.metric.name,
                line.metric.unit,
                number(ours),
                ratio(line.to_peer()),
                ratio(line.to_bare())
            )?;
        }
        Ok(text)
    }

    fn markdown(&self, about: &str) -> Result<String> {
        const KINDS: [Kind; 6] = [
            Kind::Wharf,
            Kind::Vsftpd,
            Kind::PureFtpd,
            Kind::ProFtpd,
            Kind::Sshd,
            Kind::Bare,
        ];
        let mut text = format!("{about}\n\n| row | number |");
        for kind in KINDS {
            write!(text, " {} |", kind.name())?;
        }
        text.push_str(" to fastest peer | to bare |\n|---|---|");
        text.push_str(&"--:|".repeat(KINDS.len() + 2));
        text.push('\n');
        let cell = |value: Option<f64>| value.map_or("-".to_owned(), number);
        let mut last = "";
        for line in &self.lines {
            let name = if last == line.row { "" } else { &line.row };
            last = &line.row;
            write!(
                text,
                "| {name} | {}, {} |",
                line.metric.name, line.metric.unit
            )?;
            for kind in KINDS {
                write!(text, " {} |", cell(line.median(kind)))?;
            }
            let ratio =
                |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
            writeln!(
                text,
                " {} | {} |",
                ratio(line.to_peer()),
                ratio(line.to_bare())
            )?;
        }
        Ok(text)
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
