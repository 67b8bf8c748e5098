//! What the numbers were measured on.

/// One line: processor, cores, kernel, rounds.
pub fn describe(rounds: usize) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let virtual_machine = if cpu.contains("hypervisor") {
        ", virtual machine"
    } else {
        ""
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{model}, {cores} cores{virtual_machine}, Linux {}, files on tmpfs, client on the same machine, \
         medians of {rounds} rounds, servers in turn, large uploads the fastest of three in each",
        kernel.trim()
    )
}
