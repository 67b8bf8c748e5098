//! Landlock: what no bug in wharfd can reach. Soft: a kernel without it, or
//! settings that need more, leave it off, and the log says so.

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

/// Restricts this thread, and all that are started from now on, to what the
/// settings name.
///
/// # Errors
/// It can't be done although the settings insist.
pub fn apply(config: &Config) -> Result<(), Failure> {
    let wish = config.program.landlock;
    let off = |why: &str| match wish {
        Sandbox::Yes => Err(Failure::usage(format!("landlock yes: {why}"))),
        _ => {
            log::debug!("landlock is off: {why}");
            Ok(())
        }
    };
    if wish == Sandbox::No {
        return Ok(());
    }
    if wish == Sandbox::Auto {
        // Programs that we start would be shut in with us.
        if !config.program.auth_helper.is_empty() || config.program.starts_programs() {
            return off("helper and hooks would be restricted, too");
        }
        if config.program.system_users {
            return off("homes of system users are not known beforehand");
        }
    }
    let version = match Landlock::version() {
        Some(version) if version >= 2 => version,
        _ => return off("this kernel has no Landlock, or its first version"),
    };
    let handled = ALL_2 | if version >= 3 { TRUNCATE } else { 0 };
    match restrict(config, handled) {
        Ok(()) => {
            log::debug!("landlock version {version} is in force");
            Ok(())
        }
        Err(error) => off(&error.to_string()),
    }
}

fn restrict(config: &Config, handled: u64) -> std::io::Result<()> {
    let rules = Landlock::new(handled)?;
    let allow = |path: &Path, access: u64| {
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
        rules.allow(&opened, access & possible)
    };
    for path in system(config).into_iter().chain(read_only(config)) {
        allow(&path, READ | EXECUTE)?;
    }
    allow(Path::new("/dev/null"), handled)?;
    for path in served(config).into_iter().chain(written(config)) {
        allow(&path, handled & !EXECUTE)?;
    }
    rules.enforce()
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
    let mut found: Vec<PathBuf> = files.map(|path| directory_of(path)).collect();
    for entry in entries(config) {
        found.extend(entry.options.keys.iter().map(|path| directory_of(path)));
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
