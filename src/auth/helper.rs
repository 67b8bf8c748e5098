//! Users of another database, through a program with the checkpassword
//! interface (D. J. Bernstein, <https://cr.yp.to/checkpwd/interface.html>),
//! which exists for PAM, LDAP, SQL and more.
//!
//! For each login the program is started as `PROGRAM ARGUMENTS PRINTER`. On
//! descriptor 3 it reads `name NUL password NUL timestamp NUL`. It ends with 1
//! when the login is refused and with 111 when it can't tell now; when it
//! accepts, it changes to the user, sets the environment and *runs the
//! program given as its last arguments*. There stands a printer that writes
//! its environment to standard output, each variable with a NUL behind it:
//! `env -0`, or `wharfd --print-environment`, which adds whom it runs as.
//! Of the variables these count:
//!
//! | variable | what |
//! |---|---|
//! | `HOME` | the home, absolute; needed |
//! | `USER` | the name from now on, if not the one given |
//! | `UID`, `GID`, `WHARF_GROUPS` | whom the session acts as; groups with `+` between |
//! | `WHARF_RIGHTS` | as in the users' file |
//! | `WHARF_OPTIONS` | as in the users' file: `max-sessions=3,rate-down=1M` |
//!
//! The program sees nothing of our environment but `PATH`, and `TCPREMOTEIP`,
//! the client's address; otherwise our own `HOME` could pass for the user's.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::grant::UserDefaults;
use super::user_file::{Entry, parse_options};
use super::{Authenticator, Credentials, Homes, Perms, Secret, User, grant, refused};
use crate::child_group::ChildGroup;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::sync::Turns;
use crate::text::Escaped;

/// Where the program reads, by the interface.
const DESCRIPTOR: i32 = 3;
/// Most bytes there, by the interface.
const GIVEN_MAX: usize = 512;
/// Most bytes of the environment, and of complaints, that are read.
const ANSWER_MAX: usize = 64 * 1024;
/// How long one login may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Programs at the same time.
const AT_ONCE: usize = 16;

/// Asks a program with the checkpassword interface.
pub struct Helper {
    program: PathBuf,
    arguments: Vec<OsString>,
    printer: Vec<OsString>,
    defaults: UserDefaults,
    timeout: Duration,
    turns: Turns,
    at_once: usize,
    starter: Option<Box<Starter>>,
}

/// Has the helper started elsewhere: name, password and client's address to
/// what its printer wrote, and the home that goes with it.
pub type Starter = dyn Fn(&str, &[u8], IpAddr) -> Result<(Vec<u8>, Arc<dyn Homes>)> + Send + Sync;

impl Helper {
    /// Asks `program`, with `env -0` as its last arguments.
    pub fn new(program: impl AsRef<Path>, defaults: UserDefaults) -> Self {
        Helper {
            program: program.as_ref().to_path_buf(),
            arguments: Vec::new(),
            printer: ["/usr/bin/env", "-0"].map(OsString::from).to_vec(),
            defaults,
            timeout: TIMEOUT,
            turns: Turns::new(),
            at_once: AT_ONCE,
            starter: None,
        }
    }

    /// Adds an argument for the helper, before those of the printer.
    pub fn with_argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets the printer: a program and its arguments.
    pub fn with_printer(mut self, printer: Vec<OsString>) -> Self {
        self.printer = printer;
        self
    }

    /// Bounds the time of one login, and how many programs run at once.
    pub fn with_bounds(mut self, timeout: Duration, at_once: usize) -> Self {
        self.timeout = timeout;
        self.at_once = at_once.max(1);
        self
    }

    /// Has `starter` start the program, where this process must not.
    pub fn with_starter(mut self, starter: Option<Box<Starter>>) -> Self {
        self.starter = starter;
        self
    }

    /// Runs the program for one login; what its printer has written.
    ///
    /// # Errors
    /// [`ErrorKind::LoginRefused`], or any other kind when it can't tell.
    pub fn ask(&self, name: &str, password: &[u8], peer: IpAddr) -> Result<Vec<u8>> {
        let deadline = Instant::now() + self.timeout;
        let turn = self.turns.take_until(self.at_once, deadline);
        let _turn =
            turn.ok_or_else(|| self.trouble(ErrorKind::Busy, "too many logins wait for it"))?;
        let given = given(name, password)?;
        let mut running = self.start(peer, &given)?;
        let (answer, complaints) = read(running.child(), deadline)?;
        // It has closed its output, so it is about to end.
        let status = running
            .wait(deadline)
            .doing("waiting for the auth helper")?;
        let status = status.ok_or_else(late)?;
        if !complaints.is_empty() {
            log::warn!("{}: {}", self.program.display(), Escaped(&complaints));
        }
        match verdict(status) {
            Verdict::Accepted => Ok(answer),
            Verdict::Refused => Err(refused("the helper refuses the login")),
            Verdict::Later => Err(self.trouble(ErrorKind::Busy, "can't tell now")),
            Verdict::Broken => {
                Err(self.trouble(ErrorKind::Internal, &format!("ended with {status}")))
            }
        }
    }

    fn trouble(&self, kind: ErrorKind, what: &str) -> Error {
        Error::new(
            kind,
            format!("the auth helper '{}' {what}", self.program.display()),
        )
    }

    /// What the environment says about the user.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn entry(&self, name: &str, environment: &[u8]) -> Result<Entry> {
        let variable = |key: &str| variable(environment, key);
        let broken = |what: String| self.trouble(ErrorKind::Internal, &what);
        let home = variable("HOME").map(|home| Path::new(OsStr::from_bytes(home)));
        let home = home.filter(|home| home.is_absolute()).ok_or_else(|| {
            broken("gave no absolute HOME, or did not run its last arguments".into())
        })?;
        let text = |key: &str| -> Result<Option<&str>> {
            let value = variable(key).filter(|value| !value.is_empty());
            let text = value.map(std::str::from_utf8).transpose();
            text.map_err(|_| broken(format!("gave a {key} that is not UTF-8")))
        };
        let perms = match text("WHARF_RIGHTS")? {
            Some(rights) => Some(Perms::read(rights).map_err(|why| broken(format!("gave {why}")))?),
            None => None,
        };
        // The numbers go through the table of options as well: one parser, and
        // root is refused there.
        let mut list = variable("WHARF_OPTIONS").unwrap_or_default().to_vec();
        for (key, option) in [("UID", "uid"), ("GID", "gid"), ("WHARF_GROUPS", "groups")] {
            if let Some(value) = text(key)? {
                list.extend_from_slice(format!(",{option}={value}").as_bytes());
            }
        }
        let mut wrong = None;
        let mut options = parse_options(&list, |_, message| {
            wrong.get_or_insert(message);
        });
        if let Some(message) = wrong {
            return Err(broken(format!("gave a wrong option: {message}")));
        }
        if options.totp.is_some() || !options.require.is_empty() {
            // The program has judged the secret, as a whole.
            return Err(broken(
                "gave totp= or require=, which it must see to".into(),
            ));
        }
        // Whom we are already: nothing to change, and no right to change needed.
        if options.uid == Some(rustix::process::geteuid().as_raw()) {
            options.uid = None;
            options.gid = None;
            options.groups.clear();
        }
        let name = text("USER")?.unwrap_or(name).to_owned();
        Ok(Entry::new(name, home.to_path_buf(), perms, options))
    }
}

impl Authenticator for Helper {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Result<User> {
        let Secret::Password(password) = credentials.secret else {
            return Err(refused("the helper knows passwords only"));
        };
        let Credentials { name, peer, .. } = *credentials;
        let mut defaults = self.defaults.clone();
        let environment = match &self.starter {
            None => self.ask(name, password, peer)?,
            Some(start) => {
                let (environment, homes) = start(name, password, peer)?;
                defaults.homes = Some(homes);
                environment
            }
        };
        let entry = self.entry(name, &environment)?;
        grant::conditions(&entry, credentials, SystemTime::now())?;
        grant::user(entry, &defaults, credentials)
    }
}

/// What goes to descriptor 3.
fn given(name: &str, password: &[u8]) -> Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let mut given = Vec::with_capacity(GIVEN_MAX);
    for part in [name.as_bytes(), password, now.to_string().as_bytes()] {
        // SECURITY: a NUL inside would let a client choose where the password
        // begins.
        if part.contains(&0) {
            return Err(refused("a NUL byte in the name or the password"));
        }
        given.extend_from_slice(part);
        given.push(0);
    }
    match given.len() {
        ..=GIVEN_MAX => Ok(given),
        _ => Err(refused(
            "name and password are longer than the helper can read",
        )),
    }
}

/// The value of a variable; the last one counts, as with putenv.
fn variable<'a>(environment: &'a [u8], key: &str) -> Option<&'a [u8]> {
    environment
        .split(|&byte| byte == 0)
        .filter_map(|variable| variable.strip_prefix(key.as_bytes())?.strip_prefix(b"="))
        .next_back()
}

enum Verdict {
    Accepted,
    Refused,
    Later,
    Broken,
}

fn verdict(status: ExitStatus) -> Verdict {
    match status.code() {
        Some(0) => Verdict::Accepted,
        Some(1) => Verdict::Refused,
        Some(111) => Verdict::Later,
        _ => Verdict::Broken,
    }
}

impl Helper {
    fn start(&self, peer: IpAddr, given: &[u8]) -> Result<ChildGroup> {
        let doing = || format!("starting the auth helper '{}'", self.program.display());
        let (input, output) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(doing())?;
        // At most 512 bytes, which a pipe always holds: no reader is needed yet.
        std::fs::File::from(output)
            .write_all(given)
            .doing(doing())?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .args(&self.printer)
            .env_clear()
            .env("TCPREMOTEIP", peer.to_canonical().to_string())
            .env("PROTO", "TCP")
            // Under inetd, our own are the client's connection.
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        crate::sys::pass_descriptor(&mut command, input, DESCRIPTOR);
        ChildGroup::start(&mut command).doing(doing())
    }
}

/// What a program writes to standard output and standard error, to their ends.
fn read(child: &mut Child, deadline: Instant) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut streams = [
        child.stdout.take().map(OwnedFd::from),
        child.stderr.take().map(OwnedFd::from),
    ];
    let mut texts = [Vec::new(), Vec::new()];
    let mut buffer = [0; 4096];
    while streams.iter().any(Option::is_some) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        let open: Vec<usize> = (0..2).filter(|at| streams[*at].is_some()).collect();
        let mut waits: Vec<_> = streams
            .iter()
            .flatten()
            .map(|stream| PollFd::new(stream, PollFlags::IN))
            .collect();
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut waits, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = waits
            .iter()
            .map(|wait| !wait.revents().is_empty())
            .collect();
        for (at, _) in open.into_iter().zip(ready).filter(|(_, ready)| *ready) {
            let Some(stream) = &streams[at] else { continue };
            let count = match rustix::io::read(stream.as_fd(), &mut buffer) {
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if count == 0 {
                streams[at] = None;
            }
            texts[at].extend_from_slice(&buffer[..count]);
            if texts[at].len() > ANSWER_MAX {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "the auth helper writes more than 64 KiB",
                ));
            }
        }
    }
    let [answer, complaints] = texts;
    Ok((answer, complaints))
}

fn late() -> Error {
    Error::new(
        ErrorKind::Busy,
        "the auth helper took too long and was killed",
    )
}

/// Writes the environment of this process to `output` as [`Helper`] wants to
/// read it, with the process's own numbers where the variables say nothing:
/// what a checkpassword program runs in the end.
///
/// # Errors
/// When writing fails.
pub fn print_environment(output: &mut impl Write) -> std::io::Result<()> {
    let mut text = Vec::new();
    for (name, value) in std::env::vars_os() {
        text.extend_from_slice(&name.into_vec());
        text.push(b'=');
        text.extend_from_slice(&value.into_vec());
        text.push(0);
    }
    // A program that has not changed to another user says nothing by that.
    let uid = rustix::process::geteuid();
    if !uid.is_root() && variable(&text, "UID").is_none() && variable(&text, "GID").is_none() {
        let gid = rustix::process::getegid();
        let groups: Vec<_> = rustix::process::getgroups()?
            .iter()
            .map(|group| group.as_raw().to_string())
            .collect();
        text.extend_from_slice(format!("UID={}\0GID={}\0", uid.as_raw(), gid.as_raw()).as_bytes());
        if !groups.is_empty() {
            text.extend_from_slice(format!("WHARF_GROUPS={}\0", groups.join("+")).as_bytes());
        }
    }
    output.write_all(&text)?;
    output.flush()
}

#[cfg(test)]
mod tests;
