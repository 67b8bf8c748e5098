//! Open files and memory maps: as many as the threads need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wharf::config::Config;
use wharf::daemon::sftp::{HANDLES_OWN, share_descriptors};

use super::failure::Failure;

/// A busy session: control and data connection, passive port, file, and
/// directories and pipes on the way.
const COMFORT: u64 = 8;
/// What a session that transfers can't do without: control and data
/// connection, and the file. (An idle one holds the first alone.)
const NEED: u64 = 3;
/// Ports, logs, users, and everything that is there once.
const ONCE: u64 = 64;
/// The memory maps of a session: its stack with the guard below, and two large
/// buffers.
const MAPS: u64 = 4;
/// Those of the program and of its libraries.
const MAPS_ONCE: u64 = 1000;

/// Raises the limit of open files to what the sessions use, and sees that there
/// are as many memory maps. What is left over sessions of SFTP share.
///
/// # Errors
/// It stays below what they can't do without.
pub fn raise(config: &Config) -> Result<(), Failure> {
    let threads = u64::from(config.threads);
    let handles = if config.listen_sftp.is_empty() {
        0
    } else {
        HANDLES_OWN as u64
    };
    let current = raised(threads * (COMFORT + handles) + ONCE);
    let need = threads * NEED + ONCE;
    if current < need {
        return Err(Failure::usage(format!(
            "threads {threads} need {need} open files and the limit is {current}; raise it \
             (ulimit -n, LimitNOFILE=) or set threads to {}",
            current.saturating_sub(ONCE) / NEED
        )));
    }
    share_descriptors(current - need, config.threads);
    enough_maps(threads)
}

/// The limit of open files, once it is raised to `wanted` as far as may be.
fn raised(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return current;
    }
    let most = limit.maximum.unwrap_or(u64::MAX);
    let with = |current, maximum| Rlimit {
        current: Some(current),
        maximum,
    };
    // Only root may raise the hard limit; everybody may go up to it.
    let raised = (most < wanted && setrlimit(Resource::Nofile, with(wanted, Some(wanted))).is_ok())
        || setrlimit(Resource::Nofile, with(wanted.min(most), limit.maximum)).is_ok();
    if raised {
        getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
    } else {
        current
    }
}

fn enough_maps(threads: u64) -> Result<(), Failure> {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    // Without /proc nothing is known, and threads are refused one by one.
    let most = text.trim().parse().unwrap_or(u64::MAX);
    match too_few_maps(threads, most) {
        Some(text) => Err(Failure::usage(text)),
        None => Ok(()),
    }
}

fn too_few_maps(threads: u64, most: u64) -> Option<String> {
    let need = threads * MAPS + MAPS_ONCE;
    (most < need).then(|| {
        format!(
            "threads {threads} need {need} memory maps and vm.max_map_count is {most}; raise it \
             (sysctl) or set threads to {}",
            most.saturating_sub(MAPS_ONCE) / MAPS
        )
    })
}

#[cfg(test)]
mod tests {
    use super::too_few_maps;

    #[test]
    fn threads_are_held_against_the_memory_maps_that_there_are() {
        assert_eq!(too_few_maps(16_000, 65_530), None);
        let text = too_few_maps(20_000, 65_530).unwrap();
        assert!(text.contains("need 81000 memory maps"), "{text}");
        assert!(text.ends_with("set threads to 16132"), "{text}");
        assert_eq!(too_few_maps(16_132, 65_530), None);
    }
}
