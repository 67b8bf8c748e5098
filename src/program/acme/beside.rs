//! `wharfd acme --stay` beside a server, for containers without a timer: a
//! process of its own, for as long as the server runs.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, PipeReader, pipe};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use wharf::daemon::{self, Settings, environment_name};

use super::super::failure::Failure;

/// The process, and where its words come from.
pub struct Beside {
    process: Child,
    said: PipeReader,
}

impl Beside {
    /// Starts it, if the settings ask for it: while we may still do all that
    /// it must.
    ///
    /// # Errors
    /// The words of `acme` are wrong, or it can't be started.
    pub fn start(settings: &Settings) -> Result<Option<Beside>, Failure> {
        let words = arguments(settings).map_err(|what| Failure::usage(format!("acme: {what}")))?;
        let Some(words) = words else {
            return Ok(None);
        };
        let trouble = |error| Failure::temporary(format!("starting wharfd acme: {error}"));
        let (said, out) = pipe().map_err(trouble)?;
        let mut command = Command::new("/proc/self/exe");
        command.args(words).stdin(Stdio::piped());
        let state_dir = daemon::state_dir(&settings.server);
        let user = settings.user.as_ref().map(OsString::from);
        for (option, value) in [("state-dir", state_dir.map(OsString::from)), ("user", user)] {
            if let Some(value) = value {
                command.env(environment_name(option), value);
            }
        }
        command
            .stdout(out.try_clone().map_err(trouble)?)
            .stderr(out);
        let process = command.spawn().map_err(trouble)?;
        Ok(Some(Beside { process, said }))
    }

    /// Writes what it says to the log, in a thread.
    ///
    /// # Errors
    /// There is no thread.
    pub fn hear(self) -> Result<(), Failure> {
        let thread = std::thread::Builder::new()
            .name("acme".into())
            .stack_size(128 * 1024);
        let hear = move || {
            let Beside { mut process, said } = self;
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                match line.strip_prefix("wharfd: ") {
                    Some(failure) => log::error!("acme: {failure}"),
                    None => log::info!("acme: {line}"),
                }
            }
            // `process` holds the other end of its standard input until here.
            match process.wait() {
                Ok(status) => {
                    log::error!("acme has ended ({status}): nothing renews the certificate")
                }
                Err(error) => log::error!("acme has ended: {error}"),
            }
        };
        thread.spawn(hear).map(drop).map_err(Failure::temporary)
    }
}

/// Looks at the words of `acme`.
///
/// # Errors
/// They are wrong.
pub fn check(settings: &Settings) -> Result<(), String> {
    arguments(settings).map(drop)
}

/// What the program is started with.
fn arguments(settings: &Settings) -> Result<Option<Vec<String>>, String> {
    let Some(given) = &settings.acme else {
        return Ok(None);
    };
    let words: Vec<String> = given.split_whitespace().map(str::to_owned).collect();
    let matches = super::options()
        .parse(&words)
        .map_err(|fail| fail.to_string())?;
    for option in ["config", "tls-cert", "tls-key", "force", "stay", "help"] {
        if matches.opt_present(option) {
            return Err(format!("--{option} has no meaning beside a server"));
        }
    }
    let server = &settings.server;
    let (certificate, key) = match (server.tls_cert.first(), server.tls_key.first()) {
        (Some(certificate), key) => (certificate.clone(), key.unwrap_or(certificate).clone()),
        (None, _) => {
            let directory = daemon::state_dir(server)
                .ok_or("there is no place for the certificate: set state-dir")?;
            daemon::own_pair(&directory)
        }
    };
    super::names(&matches, &certificate).map_err(|failure| failure.what)?;
    let mut all = vec!["acme".to_owned(), "--stay".to_owned()];
    for (option, path) in [("tls-cert", certificate), ("tls-key", key)] {
        all.push(format!("--{option}={}", path.display()));
    }
    all.extend(words);
    Ok(Some(all))
}

/// Whether the server beside us ends within `time`: it holds the other end of
/// our standard input. What a terminal or a file is at never does.
pub fn is_alone(time: Duration) -> bool {
    let input = std::io::stdin();
    let mut ends = [PollFd::from_borrowed_fd(input.as_fd(), PollFlags::empty())];
    let until = std::time::Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        let wait = Timespec::try_from(left).ok();
        match poll(&mut ends, wait.as_ref()) {
            Ok(0) if left.is_zero() => return false,
            Ok(0) | Err(_) => {}
            Ok(_) => return true,
        }
    }
}
