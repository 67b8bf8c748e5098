//! `make bench-compare`: what became worse than the noise since the kept file of ratios.

use crate::Result;
use std::collections::BTreeMap;
use std::path::Path;

/// A ratio has to fall by more than this, and by more than its noise, to be named.
const LEAST: f64 = 0.05;

type Ratios = BTreeMap<String, (f64, f64)>;

/// Prints every ratio that fell or rose beyond the noise; the number of those that fell.
pub fn compare(baseline: &Path, latest: &Path) -> Result<usize> {
    let (old, new) = (read(baseline)?, read(latest)?);
    let mut worse = 0;
    let mut better = 0;
    let mut same = 0;
    for (name, (ratio, noise)) in &new {
        let Some((before, before_noise)) = old.get(name) else {
            println!("new     {name}: {ratio:.2}");
            continue;
        };
        let tolerance = LEAST + noise.max(*before_noise);
        let change = ratio / before - 1.0;
        let word = if change < -tolerance {
            worse += 1;
            "worse"
        } else if change > tolerance {
            better += 1;
            "better"
        } else {
            same += 1;
            continue;
        };
        println!(
            "{word:7} {name}: {before:.2} -> {ratio:.2} ({:+.0} %, noise {:.0} %)",
            change * 100.0,
            tolerance * 100.0
        );
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        println!("missing {name}");
    }
    println!("{worse} worse, {better} better, {same} within the noise");
    Ok(worse)
}

fn read(path: &Path) -> Result<Ratios> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut ratios = Ratios::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [row, metric, beside, ratio, noise] = fields[..] else {
            return Err(format!("{}: cannot read: {line}", path.display()).into());
        };
        ratios.insert(
            format!("{row}, {metric}, beside {beside}"),
            (ratio.parse()?, noise.parse()?),
        );
    }
    Ok(ratios)
}
