//! What the server does to its own process before anything else: nothing that
//! its launcher has left open stays, and nobody looks into its memory.

use std::os::fd::RawFd;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::systemd;

/// Switches core dumps and ptrace(2) by other processes of the user off:
/// passwords and keys are in this memory.
pub fn shut_others_out() {
    // A kernel without it has no memory to show either.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Closes inherited descriptors that nobody has named.
pub fn protect(arguments: &[String]) {
    let mut kept: Vec<RawFd> = systemd::numbers().collect();
    // A shell hands files over so: --config <(command).
    let environment = std::env::vars_os().map(|(_, value)| value);
    let environment = environment.filter_map(|value| value.into_string().ok());
    let texts = arguments.iter().cloned().chain(environment);
    kept.extend(texts.filter_map(|text| named(&text)));
    wharf::daemon::os::close_inherited(&kept);
}

/// The number in `/dev/fd/N` and `/proc/self/fd/N`, wherever it stands.
fn named(text: &str) -> Option<RawFd> {
    let (_, rest) = text
        .split_once("/dev/fd/")
        .or_else(|| text.split_once("/proc/self/fd/"))?;
    let end = rest.find(|digit: char| !digit.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_that_are_named_are_found() {
        for (text, want) in [
            ("/dev/fd/63", Some(63)),
            ("--config=/dev/fd/63", Some(63)),
            ("/proc/self/fd/4", Some(4)),
            ("/dev/fd/4/x", Some(4)),
            ("/dev/fd/", None),
            ("/etc/wharf", None),
        ] {
            assert_eq!(named(text), want, "{text}");
        }
    }
}
