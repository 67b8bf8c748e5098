//! Memory, descriptors and threads of the daemon while it is used.

use std::time::Duration;

use super::common;

/// One look.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    /// Bytes that are the process's own (RssAnon).
    memory: u64,
    descriptors: usize,
    threads: u64,
}

/// All looks at one process.
pub struct Watch {
    process: u32,
    quiet: Sample,
    samples: Vec<Sample>,
}

impl Watch {
    /// Begins with a process that nobody uses.
    pub fn new(process: u32) -> Self {
        Watch {
            process,
            quiet: sample(process, Duration::ZERO),
            samples: Vec::new(),
        }
    }

    /// Looks, and says what there is to see once a minute.
    pub fn look(&mut self, at: Duration) {
        let seen = sample(self.process, at);
        let minute = |sample: &Sample| sample.at.as_secs() / 60;
        if self
            .samples
            .last()
            .is_none_or(|last| minute(last) != minute(&seen))
        {
            eprintln!(
                "{:5} s: {:6} KiB, {:4} descriptors, {:4} threads",
                at.as_secs(),
                seen.memory / 1024,
                seen.descriptors,
                seen.threads
            );
        }
        self.samples.push(seen);
    }

    /// Descriptors are what they were before, and memory does not grow with
    /// time: of a long run, the last quarter is held against the second.
    pub fn check(&self, time: Duration) {
        let quiet = self.quiet;
        common::until("the descriptors of sessions", || {
            sample(self.process, time).descriptors <= quiet.descriptors
        });
        let last = sample(self.process, time);
        let most = self.samples.iter().map(|sample| sample.descriptors).max();
        eprintln!(
            "descriptors {} before, {} at most, {} after",
            quiet.descriptors,
            most.unwrap_or(0),
            last.descriptors
        );
        let peak = |from: usize, to: usize| {
            let (from, to) = (time * from as u32 / 4, time * to as u32 / 4);
            let within = self
                .samples
                .iter()
                .filter(|sample| sample.at >= from && sample.at < to);
            within.map(|sample| sample.memory).max().unwrap_or(0)
        };
        let quarters = [peak(0, 1), peak(1, 2), peak(2, 3), peak(3, 4)];
        eprintln!(
            "memory in KiB: {} before, at most {:?} in the quarters, {} after",
            quiet.memory / 1024,
            quarters.map(|bytes| bytes / 1024),
            last.memory / 1024
        );
        if time >= Duration::from_secs(300) {
            let slack = 4 << 20;
            assert!(
                quarters[3] <= quarters[1] + quarters[1] / 10 + slack,
                "memory grows: {quarters:?}"
            );
        }
    }
}

fn sample(process: u32, at: Duration) -> Sample {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    let status = status.expect("the daemon runs");
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name));
        let word = line.and_then(|line| line.split_whitespace().nth(1));
        word.and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    Sample {
        at,
        memory: field("RssAnon:") * 1024,
        descriptors: std::fs::read_dir(format!("/proc/{process}/fd"))
            .unwrap()
            .count(),
        threads: field("Threads:"),
    }
}
