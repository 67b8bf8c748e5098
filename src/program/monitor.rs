//! The monitor: a process that keeps the privileges that the server gives up.
//!
//! It is the same program, started anew, so that it shares no memory with the
//! server. It reads the settings itself. The server asks it, in messages of a
//! fixed format, for what needs another user's privileges or another program:
//! whether a user of the system may log in, a user's home, an auth helper, a
//! hook. Homes of others are served by workers, a process for each user and
//! home, which the server talks to directly.

mod paths;
mod serve;
mod worker;

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use wharf::auth::{Authenticator, Credentials, Secret, User, UserDefaults};
use wharf::daemon::remote::{MESSAGE_MAX, Message, MessageSocket, Parts, RemoteFs};
use wharf::daemon::{Homes, Unopened};
use wharf::storage::{FileSystem, LocalFs};
use wharf::{Error, ErrorKind, Result};

use super::identity;

pub use serve::run;
pub use worker::run as run_worker;

/// The hidden words of the command line.
pub const MONITOR: &str = "--monitor";
/// See [`MONITOR`].
pub const WORKER: &str = "--worker";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Question {
    /// Are these credentials of a user of the system? And their home.
    System = 1,
    /// The home of a user of the users file, or the directory of one of their
    /// `mount=`, by its number from 1.
    Home,
    /// What the auth helper says, and the home.
    Helper,
    /// Run the program of a hook.
    Hook,
    /// Read the settings again.
    Reload,
    /// Open a file that the settings name.
    File,
}

/// How a home is handed over.
const NONE: u8 = 0;
/// As the descriptor of its directory.
const DIRECTORY: u8 = 1;
/// As a channel to the worker that serves it.
const CHANNEL: u8 = 2;
/// As a path, which the server may open as far as it can.
const PATH: u8 = 3;

/// The server's end of the monitor. The monitor ends when the server does.
#[derive(Debug)]
pub struct Monitor {
    channel: MessageSocket,
    privileged: bool,
    _process: Child,
}

impl Monitor {
    /// Starts the monitor with the server's own command line.
    ///
    /// # Errors
    /// No process can be started.
    pub fn start(arguments: &[String]) -> Result<Arc<Monitor>> {
        let (near, far) = MessageSocket::pair()?;
        let process = ourselves(MONITOR, far).args(arguments).spawn()?;
        // It answers when it is ready, so that it is heard of when it can't start.
        let monitor = Monitor {
            channel: near,
            privileged: identity::is_privileged(),
            _process: process,
        };
        let mut buffer = [0; 64];
        match monitor.channel.receive(&mut buffer)? {
            Some(_) => Ok(Arc::new(monitor)),
            None => Err(ended()),
        }
    }

    /// Whether it can act as others.
    pub fn is_privileged(&self) -> bool {
        self.privileged
    }

    /// Asks, and takes the answer apart. Each question has a channel of its
    /// own for the answer.
    fn ask<T>(
        &self,
        request: Message,
        take: impl FnOnce(&mut Parts<'_>, Option<OwnedFd>) -> Result<T>,
    ) -> Result<T> {
        let (near, far) = MessageSocket::pair()?;
        let gone = |error: Error| match error.kind() {
            ErrorKind::Disconnected => ended(),
            _ => error,
        };
        self.channel
            .send(request.as_bytes(), Some(far.as_fd()))
            .map_err(gone)?;
        drop(far);
        let mut buffer = [0; MESSAGE_MAX];
        let (length, descriptor) = near.receive(&mut buffer).map_err(gone)?.ok_or_else(ended)?;
        let mut parts = Parts::of(&buffer[..length]);
        match parts.u8()? {
            0 => Err(parts.error()?),
            _ => take(&mut parts, descriptor),
        }
    }

    /// Has it read the settings again.
    ///
    /// # Errors
    /// The monitor has ended.
    pub fn reload(&self) -> Result<()> {
        self.ask(message(Question::Reload), |_, _| Ok(()))
    }

    /// Has it run the program of a hook; how that has ended.
    ///
    /// # Errors
    /// The program can't be started.
    pub fn hook(&self, job: Message) -> Result<Option<String>> {
        let request = message(Question::Hook).bytes(job.as_bytes());
        self.ask(request, |parts, _| {
            let words = parts.text()?;
            Ok((!words.is_empty()).then(|| words.to_owned()))
        })
    }

    /// Has it open a file that the settings name, to be read.
    ///
    /// # Errors
    /// There is none, or the settings name no such file.
    pub fn open(&self, path: &std::path::Path) -> Result<std::fs::File> {
        let request = message(Question::File).bytes(path.as_os_str().as_encoded_bytes());
        self.ask(request, |_, descriptor| {
            let descriptor =
                descriptor.ok_or_else(|| Error::new(ErrorKind::Busy, "no descriptor is free"))?;
            Ok(descriptor.into())
        })
    }

    /// Has it ask the auth helper.
    ///
    /// # Errors
    /// What the helper says.
    pub fn helper(
        &self,
        name: &str,
        password: &[u8],
        peer: IpAddr,
    ) -> Result<(Vec<u8>, Arc<dyn Homes>)> {
        let request = message(Question::Helper)
            .bytes(name.as_bytes())
            .bytes(password)
            .bytes(peer.to_string().as_bytes());
        if request.as_bytes().len() > MESSAGE_MAX {
            return Err(wharf::daemon::refused("no user has so long a secret"));
        }
        self.ask(request, |parts, descriptor| {
            let environment = parts.bytes()?.to_vec();
            let home = home(parts, descriptor)?;
            Ok((environment, Arc::new(Given(home)) as Arc<dyn Homes>))
        })
    }
}

fn unusable(home: &std::path::Path, error: Error) -> Error {
    if error.kind() == ErrorKind::NotFound {
        return wharf::daemon::missing_home(home);
    }
    let what = format!("opening the home '{}'", home.display());
    Error::with_source(ErrorKind::Internal, what, error)
}

fn message(request: Question) -> Message {
    Message::default().u8(request as u8)
}

fn ended() -> Error {
    Error::new(
        ErrorKind::Internal,
        "the monitor process has ended; start wharfd again",
    )
}

/// This program, with a channel as its standard input.
fn ourselves(word: &str, channel: MessageSocket) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("wharfd")
        .arg(word)
        .stdin(Stdio::from(OwnedFd::from(channel)));
    command
}

/// The home in an answer.
fn home(parts: &mut Parts<'_>, descriptor: Option<OwnedFd>) -> Result<Arc<dyn FileSystem>> {
    let kind = parts.u8()?;
    match kind {
        NONE => return Ok(Arc::new(Unopened)),
        PATH => {
            let path = std::path::Path::new(std::ffi::OsStr::from_bytes(parts.bytes()?));
            let files = LocalFs::open(path).map_err(|error| unusable(path, error))?;
            return Ok(Arc::new(files));
        }
        _ => {}
    }
    let descriptor =
        descriptor.ok_or_else(|| Error::new(ErrorKind::Busy, "no descriptor is free"))?;
    Ok(match kind {
        DIRECTORY => Arc::new(wharf::daemon::local_at(descriptor)),
        _ => Arc::new(RemoteFs::new(MessageSocket::from(descriptor))),
    })
}

impl Homes for Monitor {
    fn open(&self, name: &str) -> Result<Arc<dyn FileSystem>> {
        let request = message(Question::Home).bytes(name.as_bytes()).u8(0);
        self.ask(request, home).map_err(told)
    }

    fn open_mount(&self, name: &str, number: usize) -> Result<Arc<dyn FileSystem>> {
        // A line has no room for more.
        let number = u8::try_from(number + 1).map_err(|_| ErrorKind::TooMany)?;
        let request = message(Question::Home).bytes(name.as_bytes()).u8(number);
        self.ask(request, home)
    }
}

/// Adds the words for the user, which the channel does not carry.
fn told(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => error.telling(wharf::daemon::MISSING_HOME),
        _ => error,
    }
}

/// A home that has been handed over already.
struct Given(Arc<dyn FileSystem>);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given")
    }
}

impl Homes for Given {
    fn open(&self, _: &str) -> Result<Arc<dyn FileSystem>> {
        Ok(Arc::clone(&self.0))
    }
}

/// The users of the system, whom the monitor judges.
pub struct SystemUsers {
    pub monitor: Arc<Monitor>,
    pub defaults: UserDefaults,
}

impl Authenticator for SystemUsers {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Result<User> {
        let request = message(Question::System)
            .bytes(credentials.name.as_bytes())
            .bytes(credentials.peer.to_string().as_bytes())
            .u8(credentials.secure.into())
            .u8(credentials.dry_run.into());
        let request = match credentials.secret {
            Secret::Password(password) => request.u8(0).bytes(password),
            Secret::PublicKey(key) => request
                .u8(1)
                .bytes(key.algorithm.as_bytes())
                .bytes(&key.blob)
                .u8(key.user_verified.map_or(2, u8::from)),
            _ => {
                return Err(wharf::daemon::refused(
                    "users of the system have no certificates",
                ));
            }
        };
        if request.as_bytes().len() > MESSAGE_MAX {
            return Err(wharf::daemon::refused("no user has so long a secret"));
        }
        let files = self.monitor.ask(request, home).map_err(told)?;
        let mut user = User::new(credentials.name, files).with_perms(self.defaults.perms);
        user.limits = self.defaults.limits;
        Ok(user)
    }
}
