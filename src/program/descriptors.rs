//! Open files: as many as the threads need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::failure::Failure;

/// A busy session: control and data connection, passive port, file, and
/// directories and pipes on the way.
const COMFORT: u64 = 8;
/// What a session that transfers can't do without: control and data
/// connection, and the file. (An idle one holds the first alone.)
const NEED: u64 = 3;
/// Ports, logs, users, and everything that is there once.
const ONCE: u64 = 64;

/// Raises the limit of open files to what `threads` sessions use.
///
/// # Errors
/// It stays below what they can't do without.
pub fn raise(threads: u32) -> Result<(), Failure> {
    let wanted = u64::from(threads) * COMFORT + ONCE;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return Ok(());
    }
    let most = limit.maximum.unwrap_or(u64::MAX);
    let with = |current, maximum| Rlimit {
        current: Some(current),
        maximum,
    };
    // Only root may raise the hard limit; everybody may go up to it.
    let raised = (most < wanted && setrlimit(Resource::Nofile, with(wanted, Some(wanted))).is_ok())
        || setrlimit(Resource::Nofile, with(wanted.min(most), limit.maximum)).is_ok();
    let current = if raised {
        getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
    } else {
        current
    };
    let need = u64::from(threads) * NEED + ONCE;
    if current < need {
        return Err(Failure::usage(format!(
            "threads {threads} need {need} open files and the limit is {current}; raise it \
             (ulimit -n, LimitNOFILE=) or set threads to {}",
            current.saturating_sub(ONCE) / NEED
        )));
    }
    Ok(())
}
