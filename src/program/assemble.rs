//! From settings to a server that is not bound yet: its users and who is told
//! what happens.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use wharf::TransferLog;
use wharf::auth::{Anonymous, Authenticator, AuthorizedKeys, Chain, UserDefaults, UserFile};
use wharf::daemon::{
    Helper, Homes, Settings, Starter, SystemPaths, SystemUsers, os, unpoisoned, with_homes,
};
use wharf::events::Events;
use wharf::storage::{FileSystem, LocalFs, VirtualPath};
use wharf::{Error, ErrorKind, Server};

use super::failure::{Failure, what_to_do};
use super::logging::changes::Changes;
use super::monitor::{self, Monitor};
use super::{identity, landlock};

/// Homes that are looked at when the server starts.
const HOMES_MAX: usize = 1000;

/// Where users and their files come from, besides the settings.
#[derive(Default)]
pub struct Sources {
    pub monitor: Option<Arc<Monitor>>,
    /// The tree of anonymous users, opened while we may.
    anonymous: Mutex<Option<(PathBuf, LocalFs)>>,
}

impl Sources {
    pub fn with(monitor: Option<Arc<Monitor>>) -> Self {
        Sources {
            monitor,
            anonymous: Mutex::default(),
        }
    }

    fn anonymous(&self, directory: &Path) -> wharf::Result<LocalFs> {
        let mut known = unpoisoned(self.anonymous.lock());
        match (LocalFs::open(directory), &*known) {
            // Below a directory that we may not enter any more.
            (Err(error), Some((path, files)))
                if error.kind() == ErrorKind::Denied && path == directory =>
            {
                Ok(files.clone())
            }
            (opened, _) => {
                let files = opened?;
                *known = Some((directory.to_path_buf(), files.clone()));
                Ok(files)
            }
        }
    }

    /// Says which trees can't be read as the user that the server has become:
    /// better now than at the first download.
    pub fn tell_what_is_closed(&self, settings: &Settings) {
        let known = unpoisoned(self.anonymous.lock());
        if let Some((directory, files)) = &*known
            && let Err(error) = files.read_dir(&VirtualPath::root())
        {
            let directory = directory.display();
            log::error!("{directory} can't be listed as the user that the server is: {error}");
        }
        if rustix::process::geteuid().is_root() || self.homes().is_none() {
            return;
        }
        let closed = |home: &PathBuf| {
            std::fs::metadata(home)
                .is_ok_and(|found| found.uid() == 0 && found.mode() & 0o005 != 0o005)
        };
        let entries = landlock::entries(settings).into_iter().take(HOMES_MAX);
        let homes = entries.filter(|entry| entry.options.uid.is_none());
        for home in homes.map(|entry| entry.home).filter(closed).take(5) {
            log::error!(
                "the home {} is root's and closed to the user that the server is: give it to its user",
                home.display()
            );
        }
    }

    /// Who opens the homes of others.
    fn homes(&self) -> Option<Arc<dyn Homes>> {
        let monitor = self.monitor.as_ref();
        let privileged = monitor.filter(|monitor| monitor.is_privileged());
        privileged.map(|monitor| Arc::clone(monitor) as Arc<dyn Homes>)
    }
}

/// The server that the settings describe, before anything is bound.
///
/// # Errors
/// Users or files that can't be read, with what to do.
pub fn server(
    settings: &Settings,
    sources: &Sources,
) -> Result<(Server, Option<Arc<TransferLog>>), Failure> {
    let users = authenticator(settings, sources).map_err(Failure::usage)?;
    let transfer_log = match settings.transfer_log.as_deref().map(TransferLog::open) {
        None => None,
        Some(Ok(log)) => Some(Arc::new(log)),
        Some(Err(error)) => {
            let hint = hint(&error);
            return Err(Failure::usage(format!("{error}{hint}")));
        }
    };
    let server = Server::new(settings.server.clone(), users);
    let mut server = server.with_events(Arc::new(Changes));
    if let Some(log) = &transfer_log {
        server = server.with_events(Arc::clone(log) as Arc<dyn Events>);
    }
    Ok((server, transfer_log))
}

/// The users that the settings name.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn authenticator(
    settings: &Settings,
    sources: &Sources,
) -> Result<Arc<dyn Authenticator>, String> {
    let mut chain = Chain::new();
    if let Some(path) = &settings.ssh_user_ca {
        let keys =
            AuthorizedKeys::read(path).map_err(|error| format!("{error}{}", hint(&error)))?;
        if keys.is_empty() {
            return Err(format!(
                "ssh-user-ca {}: there is no key in it",
                path.display()
            ));
        }
    }
    if let Some(directory) = &settings.anonymous {
        let file_system = (sources.anonymous(directory))
            .map_err(|error| format!("{}: {error}{}", directory.display(), hint(&error)))?;
        chain = chain.with(Anonymous::new(
            Arc::new(file_system),
            settings.anonymous_rights,
        ));
    }
    if let Some(path) = &settings.users {
        let defaults = UserDefaults::default().with_user_ca(settings.ssh_user_ca.clone());
        let defaults = with_homes(defaults, sources.homes());
        chain = chain.with(
            UserFile::open(path, defaults).map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    let path = path.display();
                    format!("{error}; make it with: wharfd passwd -c {path} NAME")
                }
                _ => format!("{error}{}", hint(&error)),
            })?,
        );
    }
    let monitor = sources.monitor.as_ref();
    if settings.system_users {
        let defaults = UserDefaults::default().with_perms(settings.system_rights);
        chain = match monitor.filter(|monitor| monitor.is_privileged()) {
            Some(monitor) => chain.with(monitor::SystemUsers {
                monitor: Arc::clone(monitor),
                defaults,
            }),
            None => {
                chain.with(system_users(settings, defaults).map_err(|error| error.to_string())?)
            }
        };
    }
    if let Some(helper) = helper(settings) {
        let starter = monitor.cloned().map(|monitor| -> Box<Starter> {
            Box::new(move |name, password, peer| monitor.helper(name, password, peer))
        });
        chain = chain.with(helper.with_starter(starter));
    }
    if chain.is_empty() {
        Err(
            "nobody could log in: give a DIR to serve, --users FILE, --system-users or --auth-helper PROGRAM. See wharfd --help.".into(),
        )
    } else {
        Ok(Arc::new(chain))
    }
}

/// The users of the system that may log in.
///
/// # Errors
/// Their files can't be read.
pub fn system_users(settings: &Settings, defaults: UserDefaults) -> Result<SystemUsers, Error> {
    let defaults = defaults.with_user_ca(settings.ssh_user_ca.clone());
    let users = SystemUsers::open(SystemPaths::default(), defaults)?;
    Ok(users
        .with_groups(settings.system_groups.clone())
        .with_home(settings.system_home.clone()))
}

/// The auth helper that the settings name.
pub fn helper(settings: &Settings) -> Option<Helper> {
    let (program, arguments) = settings.auth_helper.split_first()?;
    let defaults = UserDefaults::default().with_perms(settings.auth_helper_rights);
    let helper = Helper::new(program, defaults);
    let helper = arguments.iter().fold(helper, Helper::with_argument);
    Some(match std::env::current_exe() {
        Ok(own) => helper.with_printer(vec![own.into(), "--print-environment".into()]),
        Err(_) => helper,
    })
}

/// What to do about an error of the library that has come from a file.
fn hint(error: &Error) -> &'static str {
    what_to_do(match error.kind() {
        ErrorKind::NotFound => std::io::ErrorKind::NotFound,
        ErrorKind::Denied => std::io::ErrorKind::PermissionDenied,
        ErrorKind::ReadOnly => std::io::ErrorKind::ReadOnlyFilesystem,
        ErrorKind::NotDirectory => std::io::ErrorKind::NotADirectory,
        _ => std::io::ErrorKind::Other,
    })
}

/// A wrong setting stays wrong; a port in use may be free another time.
pub fn failure(error: Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => Failure::usage(format!("{error}{}", hint(&error))),
        ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::Denied => Failure::usage(error),
        _ => Failure::temporary(error),
    }
}

/// Starts the monitor where it is needed: by root, who gives that up, and for
/// programs, which a process with a filter of system calls can't start.
pub fn start_monitor(
    settings: &Settings,
    arguments: &[String],
) -> Result<Option<Arc<Monitor>>, Failure> {
    let program = &settings;
    let programs = landlock::starts_programs(settings);
    let root = identity::is_privileged();
    if !root && !programs {
        return Ok(None);
    }
    match Monitor::start(arguments) {
        Ok(monitor) => {
            let opener = Arc::clone(&monitor);
            os::set_opener(Box::new(move |path| {
                let kind = |error: &Error| match error.kind() {
                    ErrorKind::NotFound => std::io::ErrorKind::NotFound,
                    ErrorKind::Denied => std::io::ErrorKind::PermissionDenied,
                    _ => std::io::ErrorKind::Other,
                };
                let opened = opener.open(path);
                opened.map_err(|error| std::io::Error::new(kind(&error), error))
            }));
            Ok(Some(monitor))
        }
        // Whoever serves a directory to everybody needs none.
        Err(error) if !programs && !program.system_users && program.users.is_none() => {
            log::debug!("there is no monitor: {error}");
            Ok(None)
        }
        Err(error) => match &settings.config_file {
            // A pipe of the shell's, or a descriptor that is closed by now.
            Some(path) if path.starts_with("/dev") || !path.is_file() => {
                Err(Failure::usage(format!(
                    "config {}: the process that starts programs and opens homes reads the settings again: give a file that stays",
                    path.display()
                )))
            }
            _ => Err(Failure::temporary(format!("starting the monitor: {error}"))),
        },
    }
}
