//! Random numbers for properties. A failure prints the seed, and
//! `WHARF_SEED=…` repeats the run.

/// SplitMix64: small, and good enough to choose test cases.
pub struct Rng {
    state: u64,
    seed: u64,
}

impl Rng {
    /// Seeded by `WHARF_SEED`, or by the clock.
    pub fn new() -> Self {
        let seed = match std::env::var("WHARF_SEED") {
            Ok(seed) => seed.parse().expect("WHARF_SEED is a number"),
            Err(_) => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1, |since| since.as_nanos() as u64),
        };
        Rng { state: seed, seed }
    }

    /// A generator whose numbers are always the same.
    pub fn fixed(seed: u64) -> Self {
        Rng { state: seed, seed }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

impl Drop for Rng {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat: WHARF_SEED={}", self.seed);
        }
    }
}
