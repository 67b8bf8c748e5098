//! What no bug in wharfd can reach: files and ports (Landlock), and system
//! calls (seccomp). Soft: a kernel without them, or settings that need more,
//! leave them off, and the log says so.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use wharf::auth::user_file;
use wharf::config::{Config, Sandbox};
use wharf::os::Landlock;

use super::failure::Failure;

/// LANDLOCK_ACCESS_FS_EXECUTE.
const EXECUTE: u64 = 1;
/// READ_FILE and READ_DIR.
const READ: u64 = 1 << 2 | 1 << 3;
/// Everything that Landlock 2 knows: the first that allows renames between
/// directories at all.
const ALL_2: u64 = (1 << 14) - 1;
/// TRUNCATE, since Landlock 3.
const TRUNCATE: u64 = 1 << 14;
/// LANDLOCK_ACCESS_NET_BIND_TCP and CONNECT_TCP, since Landlock 4.
const BIND: u64 = 1;
const CONNECT: u64 = 1 << 1;
/// More ports than these would take too long to be told to the kernel.
const PORTS_MAX: usize = 16 * 1024;
/// Rights that a rule for a file may have.
const OF_FILES: u64 = 1 << 1 | 1 << 2 | EXECUTE | TRUNCATE;

/// Where programs find what they always need: names, time zones, libraries
/// for resolving names, randomness.
const SYSTEM: &[&str] = &[
    "/etc",
    "/usr/share/zoneinfo",
    "/usr/lib",
    "/lib",
    "/lib64",
    "/dev",
    "/proc",
    "/run/systemd/resolve",
    "/run/resolvconf",
];

/// Links on the way to a file that are followed, as in the kernel.
const LINKS_MAX: usize = 40;

/// Names in /etc that a process that stays root must not reach even when the
/// jail has failed: passwords, and who may become whom.
const SECRETS: &[&str] = &[
    "shadow",
    "shadow-",
    "gshadow",
    "gshadow-",
    "sudoers",
    "sudoers.d",
    "security",
    "ssh",
];

/// What Landlock lets the process reach, for good.
#[derive(Debug, Default)]
pub struct Domain {
    /// `None`: Landlock is off.
    reach: Option<(Vec<PathBuf>, BTreeSet<u16>)>,
}

impl Domain {
    /// Says what other settings need and the rules in force do not allow:
    /// rules can't be taken back.
    pub fn warn_about(&self, config: &Config) {
        let Some((paths, ports)) = &self.reach else {
            return;
        };
        let reached = |path: &PathBuf| {
            let real = std::fs::canonicalize(path);
            let path = real.as_ref().unwrap_or(path);
            paths.iter().any(|allowed| path.starts_with(allowed))
        };
        let wanted = [served(config), read_only(config), written(config)].concat();
        let mut missing: Vec<String> = (wanted.iter())
            .filter(|path| !reached(path))
            .map(|path| path.display().to_string())
            .collect();
        missing.sort();
        missing.dedup();
        if !ports.is_empty() {
            let new: Vec<u16> = bound(config).difference(ports).copied().collect();
            if let [first, .., last] | [first @ last] = &new[..] {
                missing.push(format!("ports {first}-{last}"));
            }
        }
        if !missing.is_empty() {
            log::warn!(
                "landlock keeps wharfd from {} until a restart",
                missing.join(", ")
            );
        }
    }
}

/// Restricts this thread, and all that are started from now on, to what the
/// settings name.
///
/// # Errors
/// It can't be done although the settings insist.
pub fn apply(config: &Config) -> Result<Domain, Failure> {
    let wish = config.program.landlock;
    let off = |why: &str| match wish {
        Sandbox::Yes => Err(Failure::usage(format!("landlock yes: {why}"))),
        _ => {
            log::debug!("landlock is off: {why}");
            Ok(Domain::default())
        }
    };
    if wish == Sandbox::No {
        return Ok(Domain::default());
    }
    if wish == Sandbox::Auto {
        // Programs that we start would be shut in with us.
        if !config.program.auth_helper.is_empty() || config.program.starts_programs() {
            return off("helper and hooks would be restricted, too");
        }
        if config.program.system_users {
            return off("homes of system users are not known beforehand");
        }
        if config.program.users.is_some() && entries(config).is_empty() {
            return off("there are no users yet, and their homes are not known");
        }
        // A rule holds for an inode, and such a file system may get new ones
        // while it is mounted, as GlusterFS does when its volume is changed.
        if let Some(tree) = served(config).iter().find(|tree| is_fuse(tree)) {
            return off(&format!("{} is on FUSE", tree.display()));
        }
    }
    let version = match Landlock::version() {
        Some(version) if version >= 2 => version,
        _ => return off("this kernel has no Landlock, or its first version"),
    };
    match restrict(config, version) {
        Ok(domain) => {
            log::debug!("landlock version {version} is in force");
            Ok(domain)
        }
        Err(error) => off(&error.to_string()),
    }
}

/// Refuses system calls that no file server needs, in all threads.
///
/// # Errors
/// It can't be done although the settings insist.
pub fn refuse_system_calls(config: &Config) -> Result<(), Failure> {
    let wish = config.program.sandbox;
    let off = |why: &str| match wish {
        Sandbox::Yes => Err(Failure::usage(format!("sandbox yes: {why}"))),
        _ => {
            log::debug!("the filter of system calls is off: {why}");
            Ok(())
        }
    };
    if wish == Sandbox::No {
        return Ok(());
    }
    if !config.program.auth_helper.is_empty() || config.program.starts_programs() {
        return off("helper and hooks are programs that must be started");
    }
    match wharf::os::refuse_system_calls() {
        Ok(()) => Ok(()),
        Err(error) => off(&error.to_string()),
    }
}

/// FUSE_SUPER_MAGIC.
fn is_fuse(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|fs| fs.f_type as u32 == 0x6573_5546)
}

fn restrict(config: &Config, version: u32) -> std::io::Result<Domain> {
    let handled = ALL_2 | if version >= 3 { TRUNCATE } else { 0 };
    let ports = match bound(config) {
        ports if version >= 4 && ports.len() <= PORTS_MAX => ports,
        _ => BTreeSet::new(),
    };
    // Clients choose the ports of active data connections; where there are
    // none, nothing is connected to but a name server.
    let network = match (ports.is_empty(), config.active_mode) {
        (true, _) => 0,
        (false, true) => BIND,
        (false, false) => BIND | CONNECT,
    };
    let rules = Landlock::new(handled, network)?;
    for port in &ports {
        rules.allow_port(*port, BIND)?;
    }
    if network & CONNECT != 0 {
        rules.allow_port(53, CONNECT)?;
    }
    let mut reach = Vec::new();
    let mut allow = |path: &Path, access: u64| {
        // What is not there needs no rule.
        let Ok(opened) = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        else {
            return Ok(());
        };
        let directory = rustix::fs::fstat(&opened)
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir());
        let possible = if directory {
            handled
        } else {
            handled & OF_FILES
        };
        reach.push(std::fs::canonicalize(path).unwrap_or_else(|_| path.into()));
        rules.allow(&opened, access & possible)
    };
    for path in system(config).into_iter().chain(read_only(config)) {
        allow(&path, READ | EXECUTE)?;
    }
    allow(Path::new("/dev/null"), handled)?;
    for path in served(config).into_iter().chain(written(config)) {
        allow(&path, handled & !EXECUTE)?;
    }
    rules.enforce()?;
    Ok(Domain {
        reach: Some((reach, ports)),
    })
}

/// The ports that may be bound: those of listeners and of passive data
/// connections, and 0 for active ones.
fn bound(config: &Config) -> BTreeSet<u16> {
    let listeners = [
        &config.listen,
        &config.listen_ftps,
        &config.listen_sftp,
        &config.listen_health,
        &config.program.listen_metrics,
    ];
    let own = listeners
        .into_iter()
        .flatten()
        .map(|endpoint| endpoint.port);
    let passive = config.own_passive_ports();
    own.chain(passive.first..=passive.last).chain([0]).collect()
}

/// The places of [`SYSTEM`]. Whoever stays root without having to read the
/// passwords of the system gets the entries of /etc without its secrets; one
/// that is replaced later is out of reach then. From all others the modes of
/// those files keep them.
fn system(config: &Config) -> Vec<PathBuf> {
    let stays_root = rustix::process::geteuid().is_root() && config.program.user.is_none();
    let whole = !stays_root || config.program.system_users;
    let mut found = Vec::new();
    for place in SYSTEM.iter().map(Path::new) {
        match std::fs::read_dir(place) {
            Ok(entries) if place == Path::new("/etc") && !whole => {
                let names = entries.flatten().map(|entry| entry.file_name());
                let open = names.filter(|name| SECRETS.iter().all(|secret| name != secret));
                found.extend(open.map(|name| place.join(name)));
            }
            _ => found.push(place.to_path_buf()),
        }
    }
    found
}

/// Files that are read again: by their directories, because they are replaced
/// by renaming.
fn read_only(config: &Config) -> Vec<PathBuf> {
    let program = &config.program;
    let files = program
        .users
        .iter()
        .chain(&program.config_file)
        .chain(&config.tls_cert)
        .chain(&config.tls_key)
        .chain(&config.tls_key_password_file)
        .chain(&config.tls_client_ca)
        .chain(&config.host_key)
        .chain(&config.drain_file);
    let mut found: Vec<PathBuf> = files.flat_map(|path| directories_to(path)).collect();
    for entry in entries(config) {
        found.extend(
            entry
                .options
                .keys
                .iter()
                .flat_map(|path| directories_to(path)),
        );
    }
    found
}

/// The directory of a file, and those of the links on the way to it: certbot
/// and Kubernetes renew a file by changing a link to another directory.
fn directories_to(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory_of(path)];
    let mut file = path.to_path_buf();
    for _ in 0..LINKS_MAX {
        let is_link = |path: &&Path| path.is_symlink();
        let Some(link) = file.ancestors().find(is_link) else {
            break;
        };
        let Ok(target) = std::fs::read_link(link) else {
            break;
        };
        found.push(directory_of(link));
        let rest = file.strip_prefix(link).unwrap_or(Path::new(""));
        file = directory_of(link).join(target).join(rest);
        found.push(directory_of(&file));
    }
    found
}

/// Files that are written, or made again: by their directories.
fn written(config: &Config) -> Vec<PathBuf> {
    let program = &config.program;
    let files = program
        .log_file
        .iter()
        .chain(&config.program.transfer_log)
        .chain(&program.pid_file)
        .chain(&program.control_socket)
        .chain(&program.metrics_file);
    let mut found: Vec<PathBuf> = files.map(|path| directory_of(path)).collect();
    found.extend(config.shared_dir.clone());
    found.extend(config.state_dir.clone());
    found
}

/// The trees. A user who is added later mostly has a home beside those of the
/// others, so it is the directories that hold homes; `/` never counts as one.
fn served(config: &Config) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = config.program.anonymous.iter().cloned().collect();
    for entry in entries(config) {
        match entry.home.parent() {
            Some(parent) if parent != Path::new("/") => found.push(parent.into()),
            _ => found.push(entry.home.clone()),
        }
        found.push(entry.home);
    }
    found
}

fn entries(config: &Config) -> Vec<user_file::Entry> {
    let read = |path: &PathBuf| std::fs::read(path).ok();
    let text = config
        .program
        .users
        .as_ref()
        .and_then(read)
        .unwrap_or_default();
    user_file::parse(&text).unwrap_or_default()
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.into(),
        _ => PathBuf::from("."),
    }
}
