//! From settings to a server that is not bound yet: its users and who is told
//! what happens.

use std::sync::Arc;

use wharf::TransferLog;
use wharf::auth::{Anonymous, Authenticator, Chain, UserDefaults, UserFile};
use wharf::daemon::Settings;
use wharf::daemon::{Helper, SystemPaths, SystemUsers};
use wharf::events::Events;
use wharf::storage::LocalFs;
use wharf::{Error, ErrorKind, Server};

use super::failure::{Failure, what_to_do};

/// The server that the settings describe, before anything is bound.
///
/// # Errors
/// Users or files that can't be read, with what to do.
pub fn server(settings: &Settings) -> Result<(Server, Option<Arc<TransferLog>>), Failure> {
    let users = authenticator(settings).map_err(Failure::usage)?;
    let transfer_log = match settings.transfer_log.as_deref().map(TransferLog::open) {
        None => None,
        Some(Ok(log)) => Some(Arc::new(log)),
        Some(Err(error)) => {
            let hint = hint(&error);
            return Err(Failure::usage(format!("{error}{hint}")));
        }
    };
    let mut server = Server::new(settings.server.clone(), users);
    if let Some(log) = &transfer_log {
        server = server.with_events(Arc::clone(log) as Arc<dyn Events>);
    }
    Ok((server, transfer_log))
}

/// The users that the settings name.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn authenticator(settings: &Settings) -> Result<Arc<dyn Authenticator>, String> {
    let mut chain = Chain::new();
    if let Some(directory) = &settings.anonymous {
        let file_system = LocalFs::open(directory)
            .map_err(|error| format!("{}: {error}{}", directory.display(), hint(&error)))?;
        chain = chain.with(Anonymous::new(
            Arc::new(file_system),
            settings.anonymous_rights,
        ));
    }
    if let Some(path) = &settings.users {
        chain = chain.with(
            UserFile::open(path, UserDefaults::default()).map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    let path = path.display();
                    format!("{error}; make it with: wharfd passwd -c {path} NAME")
                }
                _ => format!("{error}{}", hint(&error)),
            })?,
        );
    }
    if settings.system_users {
        let defaults = UserDefaults::default().with_perms(settings.system_rights);
        chain = chain.with(
            SystemUsers::open(SystemPaths::default(), defaults)
                .map_err(|error| error.to_string())?,
        );
    }
    if let Some((program, arguments)) = settings.auth_helper.split_first() {
        let defaults = UserDefaults::default().with_perms(settings.auth_helper_rights);
        let helper = Helper::new(program, defaults);
        let helper = arguments.iter().fold(helper, Helper::with_argument);
        chain = chain.with(match std::env::current_exe() {
            Ok(own) => helper.with_printer(vec![own.into(), "--print-environment".into()]),
            Err(_) => helper,
        });
    }
    match chain.is_empty() {
        true => Err(
            "nobody could log in: give a DIR to serve, --users FILE, --system-users or --auth-helper PROGRAM. See wharfd --help.".into(),
        ),
        false => Ok(Arc::new(chain)),
    }
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
