//! Times as file systems keep them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970, rounded down, and the nanoseconds after them.
pub(super) fn since_1970(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (seconds(after), after.subsec_nanos()),
        Err(error) => {
            let before = error.duration();
            match before.subsec_nanos() {
                0 => (-seconds(before), 0),
                nanos => (-seconds(before) - 1, 1_000_000_000 - nanos),
            }
        }
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_down_on_both_sides_of_1970() {
        let half = Duration::from_millis(500);
        for (time, want) in [
            (UNIX_EPOCH, (0, 0)),
            (UNIX_EPOCH + half, (0, 500_000_000)),
            (UNIX_EPOCH - half, (-1, 500_000_000)),
            (UNIX_EPOCH - Duration::from_secs(2), (-2, 0)),
            // Past 2038.
            (UNIX_EPOCH + Duration::from_secs(1 << 33), (1 << 33, 0)),
        ] {
            assert_eq!(since_1970(time), want, "{time:?}");
        }
    }
}
