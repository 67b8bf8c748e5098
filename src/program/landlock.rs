//! What no bug in wharfd can reach: files and ports (Landlock), and system
//! calls (seccomp). Soft: a kernel without them, or settings that need more,
//! leave them off, and the log says so.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use wharf::config::Endpoint;
use wharf::daemon::os::Landlock;
use wharf::daemon::{self, KEYS, Names, Sandbox, Settings, paths_of, user_file};

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
/// Users of a users' directory whose homes are looked for at the start.
const USERS_MAX: usize = 1000;
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
    pub fn warn_about(&self, settings: &Settings) {
        let Some((paths, ports)) = &self.reach else {
            return;
        };
        let reached = |path: &PathBuf| {
            let real = std::fs::canonicalize(path);
            let path = real.as_ref().unwrap_or(path);
            paths.iter().any(|allowed| path.starts_with(allowed))
        };
        let wanted = [served(settings), read_only(settings), written(settings)].concat();
        let mut missing: Vec<String> = (wanted.iter())
            .filter(|path| !reached(path))
            .map(|path| path.display().to_string())
            .collect();
        missing.sort();
        missing.dedup();
        if !ports.is_empty() {
            let new: Vec<u16> = bound(settings).difference(ports).copied().collect();
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
pub fn apply(settings: &Settings, programs: Programs) -> Result<Domain, Failure> {
    let wanted = settings.landlock;
    let off = |why: &str| match wanted {
        Sandbox::Yes => Err(Failure::usage(format!("landlock yes: {why}"))),
        _ => {
            log::debug!("landlock is off: {why}");
            Ok(Domain::default())
        }
    };
    if wanted == Sandbox::No {
        return Ok(Domain::default());
    }
    if wanted == Sandbox::Auto {
        if starts_programs(settings) && programs == Programs::Here {
            return off("helper and hooks would be restricted, too");
        }
        if settings.users.is_some() {
            match entries(settings).len() {
                0 => return off("there are no users yet, and their homes are not known"),
                USERS_MAX.. if settings.users.as_ref().is_some_and(|path| path.is_dir()) => {
                    return off("there are too many users to look for their homes");
                }
                _ => {}
            }
        }
        // A rule holds for an inode, and such a file system may get new ones
        // while it is mounted, as GlusterFS does when its volume is changed.
        if let Some(tree) = served(settings).iter().find(|tree| is_fuse(tree)) {
            return off(&format!("{} is on FUSE", tree.display()));
        }
    }
    let version = match Landlock::version() {
        Some(version) if version >= 2 => version,
        _ => return off("this kernel has no Landlock, or its first version"),
    };
    match restrict(settings, version) {
        Ok(domain) => {
            log::debug!("landlock version {version} is in force");
            Ok(domain)
        }
        Err(error) => off(&error.to_string()),
    }
}

/// Who starts the programs of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// The monitor.
    Elsewhere,
    /// This process.
    Here,
}

/// Refuses system calls that no file server needs, in all threads.
///
/// # Errors
/// It can't be done although the settings insist.
pub fn refuse_system_calls(settings: &Settings, programs: Programs) -> Result<(), Failure> {
    let wanted = settings.sandbox;
    let off = |why: &str| match wanted {
        Sandbox::Yes => Err(Failure::usage(format!("sandbox yes: {why}"))),
        _ => {
            log::debug!("the filter of system calls is off: {why}");
            Ok(())
        }
    };
    if wanted == Sandbox::No {
        return Ok(());
    }
    if starts_programs(settings) && programs == Programs::Here {
        return off("helper and hooks are programs that must be started");
    }
    match wharf::daemon::os::refuse_system_calls() {
        Ok(()) => Ok(()),
        Err(error) => off(&error.to_string()),
    }
}

/// Whether the settings name programs that are to be started.
pub fn starts_programs(settings: &Settings) -> bool {
    !settings.auth_helper.is_empty() || settings.starts_programs()
}

/// Shuts this process in to one directory, where the kernel can. What stands
/// on FUSE is left open: see [`apply`].
pub fn only(directory: BorrowedFd<'_>) {
    let version = Landlock::version().unwrap_or(0);
    if version < 2 || rustix::fs::fstatfs(directory).is_ok_and(|fs| on_fuse(&fs)) {
        return;
    }
    let handled = ALL_2 | if version >= 3 { TRUNCATE } else { 0 };
    let network = if version >= 4 { BIND | CONNECT } else { 0 };
    let restrict = || {
        let rules = Landlock::new(handled, network)?;
        rules.allow(directory, handled & !EXECUTE)?;
        rules.enforce()
    };
    if let Err(error) = restrict() {
        log::debug!("landlock is off: {error}");
    }
}

fn is_fuse(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|fs| on_fuse(&fs))
}

/// FUSE_SUPER_MAGIC.
fn on_fuse(fs: &rustix::fs::StatFs) -> bool {
    fs.f_type as u32 == 0x6573_5546
}

fn restrict(settings: &Settings, version: u32) -> std::io::Result<Domain> {
    let handled = ALL_2 | if version >= 3 { TRUNCATE } else { 0 };
    let ports = match bound(settings) {
        ports if version >= 4 && ports.len() <= PORTS_MAX => ports,
        _ => BTreeSet::new(),
    };
    // Clients choose the ports of active data connections; where there are
    // none, nothing is connected to but a name server.
    let network = match (ports.is_empty(), settings.server.active_mode) {
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
    for path in system().into_iter().chain(read_only(settings)) {
        allow(&path, READ | EXECUTE)?;
    }
    allow(Path::new("/dev/null"), handled)?;
    for path in served(settings).into_iter().chain(written(settings)) {
        allow(&path, handled & !EXECUTE)?;
    }
    rules.enforce()?;
    Ok(Domain {
        reach: Some((reach, ports)),
    })
}

/// The ports that may be bound: those of listeners and of passive data
/// connections, and 0 for active ones.
fn bound(settings: &Settings) -> BTreeSet<u16> {
    let rows = KEYS.iter().filter(|key| key.names == Names::Port);
    let listeners = rows.flat_map(|key| key.shown(settings));
    let own = listeners.filter_map(|text| Some(text.parse::<Endpoint>().ok()?.port));
    let passive = daemon::own_passive_ports(&settings.server);
    own.chain(passive.first..=passive.last).chain([0]).collect()
}

/// The places of [`SYSTEM`]. Whoever stays root gets the entries of /etc without its secrets; one
/// that is replaced later is out of reach then. From all others the modes of
/// those files keep them.
fn system() -> Vec<PathBuf> {
    let whole = !rustix::process::geteuid().is_root();
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
fn read_only(settings: &Settings) -> Vec<PathBuf> {
    let files = paths_of(Names::FileRead, settings).into_iter();
    let files = files
        .map(|(_, path)| path)
        .chain(settings.config_file.clone());
    let mut found: Vec<PathBuf> = files.flat_map(|path| directories_to(&path)).collect();
    for entry in entries(settings) {
        let keys = entry.options.keys.iter();
        found.extend(keys.flat_map(|path| directories_to(path)));
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
fn written(settings: &Settings) -> Vec<PathBuf> {
    let files = paths_of(Names::FileWritten, settings).into_iter();
    let mut found: Vec<PathBuf> = files.map(|(_, path)| directory_of(&path)).collect();
    let directories = paths_of(Names::DirectoryWritten, settings);
    found.extend(directories.into_iter().map(|(_, path)| path));
    // What was made there is read again, wherever it is by default.
    found.extend(daemon::state_dir(&settings.server));
    found
}

/// The trees. A user who is added later mostly has a home beside those of the
/// others, so it is the directories that hold homes; `/` never counts as one.
pub fn served(settings: &Settings) -> Vec<PathBuf> {
    let trees = paths_of(Names::DirectoryServed, settings).into_iter();
    let mut found: Vec<PathBuf> = trees.map(|(_, path)| path).collect();
    for entry in entries(settings) {
        match entry.home.parent() {
            Some(parent) if parent != Path::new("/") => found.push(parent.into()),
            _ => found.push(entry.home.clone()),
        }
        found.push(entry.home);
        let mounts = entry.options.mounts.into_iter();
        found.extend(mounts.map(|mount| mount.directory));
    }
    found
}

/// The users that the settings name; those of a directory up to [`USERS_MAX`].
pub fn entries(settings: &Settings) -> Vec<user_file::Entry> {
    let Some(path) = &settings.users else {
        return Vec::new();
    };
    let most = if path.is_dir() { USERS_MAX } else { usize::MAX };
    user_file::entries(path, most).0
}

/// Whether the users file names `path` as keys of a user.
pub fn is_key_file(settings: &Settings, path: &Path) -> bool {
    let beside = |file: &Path| {
        settings
            .users
            .as_ref()
            .map(|users| users.with_file_name("").join(file))
    };
    let files = entries(settings)
        .into_iter()
        .filter_map(|entry| entry.options.keys);
    files
        .into_iter()
        .any(|file| beside(&file).is_some_and(|file| file == path))
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.into(),
        _ => PathBuf::from("."),
    }
}
