//! Random sequences of operations: the three file systems never differ.

use crate::storage::support::{Temporary, dump, run};
use wharf::daemon::Resolver;
use wharf::storage::{FileSystem, LocalFs, MemoryFs};

/// A small generator (xorshift64*); `WHARF_SEED` repeats a run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// A path of one to four components out of few, so that they meet.
    fn path(&mut self) -> String {
        let count = 1 + self.below(4);
        let names: Vec<_> = (0..count)
            .map(|_| self.pick(&["a", "b", "c", "l", "..", "\u{ff}"]))
            .collect();
        names.join("/")
    }

    fn operation(&mut self) -> String {
        let (a, b) = (self.path(), self.path());
        match self.below(24) {
            0 => format!("stat {a}"),
            1 => format!("lstat {a}"),
            2 => format!("read {a}"),
            3 => format!("list {a}"),
            4..8 => format!("mkdir {a}"),
            8 => format!("rm {a}"),
            9 => format!("rmdir {a}"),
            10 | 11 => format!("store {a}"),
            12 => format!(
                "{} {a}",
                self.pick(&["unique", "restart", "append", "update"])
            ),
            13..16 => format!("mv {a} {b}"),
            16 => format!("mvkeep {a} {b}"),
            17 => format!("hard {a} {b}"),
            18..21 => {
                let slash = self.pick(&["", "/", "../", "../../"]);
                let end = self.pick(&["", "", "/", "/."]);
                format!("symlink {slash}{b}{end} {a}")
            }
            21 => format!("readlink {a}"),
            22 => format!("{} {a}", self.pick(&["chmod", "lchmod"])),
            _ => format!("size {a} {}", self.below(6)),
        }
    }
}

#[test]
fn random_operations_never_tell_the_file_systems_apart() {
    let seed = std::env::var("WHARF_SEED").ok();
    let seeds = match seed.and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 1..301,
    };
    for seed in seeds {
        sequence(seed);
    }
}

fn sequence(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let outer = [Temporary::with_outside(), Temporary::with_outside()];
    let kernel = LocalFs::with_resolver(outer[0].root(), Resolver::OpenAt2).unwrap();
    let walk = LocalFs::with_resolver(outer[1].root(), Resolver::Walk).unwrap();
    let memory = MemoryFs::new();
    let files: [&dyn FileSystem; 3] = [&kernel, &walk, &memory];
    for step in 0..60 {
        let operation = random.operation();
        let answers = files.map(|files| run(files, &operation));
        let what = format!("seed {seed}, step {step}: {operation}");
        assert_eq!(answers[0], answers[1], "openat2 and walk, {what}");
        assert_eq!(answers[0], answers[2], "openat2 and memory, {what}");
    }
    let trees = files.map(dump);
    assert_eq!(trees[0], trees[1], "openat2 and walk, seed {seed}");
    assert_eq!(trees[0], trees[2], "openat2 and memory, seed {seed}");
    for outer in &outer {
        outer.check_outside(&format!("seed {seed}"));
    }
}
