//! What a server uses, seen from outside: CPU time and memory of its whole process tree.

use crate::Result;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The process `root` and everything below it, as process ids.
pub fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if let Some(fields) = stat(pid) {
            children.entry(fields[1] as u32).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        if let Some(below) = children.get(&found[next]) {
            found.extend(below);
        }
        next += 1;
    }
    found
}

/// The numbers of `/proc/PID/stat` from field 3 (state, read as 0) on: `[1]` is the parent.
fn stat(pid: u32) -> Option<Vec<i64>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = text.rsplit_once(')')?.1;
    Some(
        rest.split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect(),
    )
}

/// User and system time of the tree below `root`, with that of children already reaped.
///
/// `root` is the reaper of [`crate::servers`], which inherits orphans: nothing a forking server spends is lost.
pub fn cpu(root: u32) -> Duration {
    let ticks: i64 = tree(root)
        .into_iter()
        .filter_map(stat)
        .map(|fields| fields[11..=14].iter().sum::<i64>())
        .sum();
    // USER_HZ, the unit of /proc/PID/stat, is 100 on Linux whatever the kernel's own tick is.
    Duration::from_millis(ticks as u64 * 10)
}

/// The proportional set size of the tree below `root`, `root` itself left out, in KiB.
pub fn pss(root: u32) -> f64 {
    sum(root, "Pss:")
}

/// The part of it that is nobody's file: a client that maps the server's libraries, as ssh does, takes over a share
/// of their pages and would make the server look smaller.
pub fn pss_anonymous(root: u32) -> f64 {
    sum(root, "Pss_Anon:")
}

fn sum(root: u32, field: &str) -> f64 {
    let one = |pid: &u32| pss_of(*pid, field);
    tree(root)[1..].iter().filter_map(one).sum()
}

fn pss_of(pid: u32, field: &str) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Waits until the tree below `root` has at most `count` processes: forked sessions have ended and been counted.
pub fn settle(root: u32, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while tree(root).len() > count && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs `work` while a thread samples the memory of the tree below `root`; the result and the peak in KiB.
pub fn peak_pss<T>(root: u32, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut peak = pss(root);
            while !stop.load(Ordering::Relaxed) {
                peak = peak.max(pss(root));
                std::thread::sleep(Duration::from_millis(2));
            }
            peak
        });
        let result = work();
        stop.store(true, Ordering::Relaxed);
        let peak = sampler.join().map_err(|_| "the memory sampler failed")?;
        Ok((result?, peak))
    })
}

/// The middle of `values`; `NaN` when there is none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The relative distance of the outer values from the median, as a fraction: the noise of a series.
pub fn spread(values: &[f64]) -> f64 {
    let middle = median(values);
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.len() < 2 || middle == 0.0 {
        0.0
    } else {
        (high - low) / 2.0 / middle
    }
}
