//! `wharfd --sftp-server`, also called as `sftp-server`: SFTP on standard
//! input and output, for sshd and dropbear, with OpenSSH's flags.
//!
//! It runs as the user who logged in and needs nothing: no configuration, no
//! users file, no `/etc/passwd`, no cryptography.

mod flags;
mod log;
mod pipes;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wharf::TransferLog;
use wharf::auth::{Authenticator, Credentials, Perms, Secret, User};
use wharf::daemon::sftp::{self, Options, Owners, REQUESTS, RequestSet};
use wharf::daemon::{Encrypted, Services, Session};
use wharf::events::Events;
use wharf::storage::{FileSystem, Follow, LocalFs, VirtualPath};
use wharf::{ErrorKind, Result};

use flags::{Flags, SubsystemAction};
use pipes::Pipes;

const SUCCESS: i32 = 0;
/// What was asked for is wrong.
const USAGE: i32 = 100;
/// The system would not do it, or the client broke the rules.
const FAILED: i32 = 1;

/// Descriptors that are not for handles: the standard three, the root, the
/// log, and what a listing or a copy opens for a moment.
const DESCRIPTORS_KEPT: u64 = 16;

/// Runs the subsystem with the arguments after `--sftp-server`; returns the
/// exit code: 0 the client has ended it, 1 trouble, 100 bad usage.
pub fn run(arguments: &[String]) -> i32 {
    let flags = match flags::parse(arguments) {
        Ok(SubsystemAction::Serve(flags)) => flags,
        Ok(SubsystemAction::Help(text)) => {
            println!("{text}");
            return SUCCESS;
        }
        Ok(SubsystemAction::Names) => {
            REQUESTS.iter().for_each(|row| println!("{}", row.name));
            return SUCCESS;
        }
        Err(text) => {
            eprintln!("sftp-server: {text}");
            return USAGE;
        }
    };
    let logs = log::start(&flags);
    let code = match serve(&flags) {
        Ok(()) => SUCCESS,
        Err(error) if error.kind() == ErrorKind::Disconnected => {
            ::log::info!("{error}");
            SUCCESS
        }
        Err(error) => {
            ::log::error!("{error}");
            FAILED
        }
    };
    if let Some(logs) = logs {
        logs.wait();
    }
    code
}

fn serve(flags: &Flags) -> Result<()> {
    let mut config = flags.settings.server.clone();
    // As open(2) would: everything but what the umask takes away.
    let umask = flags.umask.unwrap_or_else(current_umask);
    config.file_mode.0 = 0o666 & !umask;
    config.dir_mode.0 = 0o777 & !umask;
    // The mode says it all; what the process would take away on top of it
    // would only cost calls to put it back.
    rustix::process::umask(rustix::fs::Mode::empty());

    let owners = Owners::parse(&read("/etc/passwd"), &read("/etc/group"));
    let name = user_name(&owners);
    let files = LocalFs::open(flags.root.as_deref().unwrap_or(Path::new("/")))?;
    let start = start(flags, &owners, &name, &files)?;

    let perms = if flags.read_only {
        flags.rights.both(Perms::READ_ONLY)
    } else {
        flags.rights
    };
    let user = User::new(name.as_str(), Arc::new(files)).with_perms(perms);
    let mut events: Vec<Arc<dyn Events>> = vec![Arc::new(log::Lines)];
    if let Some(path) = &flags.settings.transfer_log {
        events.push(Arc::new(TransferLog::open(path)?));
    }
    let services = Arc::new(Services::new(config, Arc::new(AlreadyIn(user)), events));
    let (peer, local) = addresses();
    let ticket = services.limits.admit(peer.ip(), &services.config())?;
    let mut session = Session::new(&services, ticket, peer, local, "sftp");
    session.login(&name, Secret::Password(b""), Encrypted::Yes)?;

    let mut options = Options::default();
    options.start = start;
    options.allow = flags.allow;
    options.deny = if flags.read_only {
        flags.deny.union(RequestSet::writing())
    } else {
        flags.deny
    };
    options.max_handles = max_handles();
    options.symlink = flags.symlink;
    options.owners = Some(Arc::new(owners));
    sftp::serve(&mut Pipes::standard()?, session.files()?, &options)
}

/// sshd or dropbear has checked who it is.
struct AlreadyIn(User);

impl Authenticator for AlreadyIn {
    fn authenticate(&self, _: &Credentials<'_>) -> Result<User> {
        Ok(self.0.clone())
    }
}

/// Reading it is only possible by setting it.
fn current_umask() -> u32 {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077)).as_raw_mode()
}

/// A missing or broken file is an empty one: nothing depends on it.
fn read(path: &str) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn user_name(owners: &Owners) -> String {
    let uid = rustix::process::getuid().as_raw();
    let from_environment = || {
        ["USER", "LOGNAME"]
            .iter()
            .find_map(|name| std::env::var(name).ok())
            .filter(|name| !name.is_empty())
    };
    match owners.user(uid) {
        Some(name) => name.into(),
        None => from_environment().unwrap_or_else(|| uid.to_string()),
    }
}

/// Where relative paths begin. Without a jail this is the directory that sshd
/// has put us in, the home; in a jail it is the jail's root. `-d` says
/// otherwise, with `%d` for the home and `%u` for the user.
fn start(flags: &Flags, owners: &Owners, name: &str, files: &LocalFs) -> Result<VirtualPath> {
    use std::os::unix::ffi::OsStrExt;
    let here = match flags.root {
        Some(_) => VirtualPath::root(),
        None => match std::env::current_dir() {
            Ok(here) => VirtualPath::root().join(here.as_os_str().as_bytes())?,
            Err(_) => VirtualPath::root(),
        },
    };
    let Some(wished) = &flags.start else {
        return Ok(here);
    };
    let home = match flags.root {
        Some(_) => "/".into(),
        None => owners
            .home(name)
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(PathBuf::from))
            .unwrap_or_else(|| "/".into()),
    };
    let home = home.to_string_lossy();
    let start = here.join(flags::expand(wished, &home, name).as_bytes())?;
    match files.metadata(&start, Follow::Yes) {
        Ok(metadata) if metadata.is_dir() => Ok(start),
        // OpenSSH goes on where it is, and so do the clients of those who
        // have a -d that is not there for everybody.
        outcome => {
            let why = outcome.map_or_else(|error| error.to_string(), |_| "not a directory".into());
            ::log::error!("start directory {start}: {why}");
            Ok(here)
        }
    }
}

/// Client and server, as sshd and dropbear tell them.
fn addresses() -> (SocketAddr, SocketAddr) {
    let unknown = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let variable = |name| std::env::var(name).unwrap_or_default();
    let words = variable("SSH_CONNECTION");
    let mut words = words.split_ascii_whitespace();
    let mut address = || {
        let ip = words.next()?.parse().ok()?;
        let port = words.next()?.parse().ok()?;
        Some(SocketAddr::new(ip, port))
    };
    let (peer, local) = (address(), address());
    let client = || {
        variable("SSH_CLIENT")
            .split_ascii_whitespace()
            .next()?
            .parse()
            .ok()
    };
    let peer = peer.or_else(|| client().map(|ip| SocketAddr::new(ip, 0)));
    (peer.unwrap_or(unknown), local.unwrap_or(unknown))
}

fn max_handles() -> usize {
    use rustix::process::{Resource, getrlimit};
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    most.saturating_sub(DESCRIPTORS_KEPT).clamp(1, 256) as usize
}
