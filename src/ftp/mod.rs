//! FTP: greet, read a line, find its row, check, run, answer once
//! (RFC 959, 1123 section 4, 2228, 2389, 2428, 2640, 3659, 4217).

mod arguments;
mod ascii;
mod cmd;
mod columns;
mod command;
mod control;
mod data;
mod data_end;
mod data_peer;
mod data_port;
#[cfg(feature = "deflate")]
mod deflate;
#[cfg(not(feature = "deflate"))]
#[path = "deflate_none.rs"]
mod deflate;
mod dtp;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/harness/ftp.rs"]
pub(crate) mod fuzz;
#[cfg(feature = "deflate")]
mod inflate;
mod line;
mod lister;
mod listing;
mod names;
mod outcome;
mod poll;
mod protect;
mod receive;
mod reply;
mod splice;
mod state;
mod table;

use std::time::{Duration, Instant};

use crate::config::TlsRequired;
use crate::error::{ErrorKind, Result};
use crate::net::stream::Stream;
use crate::session::log_context::{tell_error, tell_once};
use crate::session::{Phase, Session, deadline};
use crate::text::Escaped;
use arguments::split;
use command::{Access, Arity, Command, Log, Secure};
use control::{ControlConnection, InputEnd};
use line::ControlLine;
use reply::Reply;
use state::{Interpreter, Protection};
pub use table::{NOT_DONE, rows};

/// Lines in a row that are no commands, after which the client is no FTP
/// client (ALPACA sends HTTP headers; wharf-security(7), attack 7).
const UNKNOWN_MAX: u32 = 10;

/// How a control connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// In the clear, until AUTH TLS.
    None,
    /// Under TLS (implicit FTPS).
    Tls,
}

/// Serves one client until it goes.
///
/// # Errors
/// What ended the session other than QUIT or the client's going; for the log.
#[inline(never)]
pub fn run(stream: Stream, session: Session, security_from_start: Security) -> Result<()> {
    session.info().set_control(Some(stream.socket().clone()));
    let mut interpreter = begin(stream, session)?;
    if security_from_start == Security::Tls {
        interpreter.begin_tls()?;
        interpreter.protection = Protection::Private;
        interpreter.buffer_size_said = true;
    }
    let banner = interpreter.session.config().banner.clone();
    interpreter.control.send(&Reply::new(220, banner))?;
    let outcome = interpreter.serve();
    interpreter.session.info().set_control(None);
    end(interpreter);
    outcome
}

/// The state of a session lies on the heap, and frames that are needed only
/// at its begin and its end are their own: a session that waits for hours
/// holds two pages of stack instead of three.
#[inline(never)]
fn begin(stream: Stream, session: Session) -> Result<Box<Interpreter>> {
    Ok(Box::new(Interpreter::new(
        ControlConnection::new(stream)?,
        session,
    )))
}

#[inline(never)]
fn end(interpreter: Box<Interpreter>) {
    let Interpreter {
        control,
        session,
        closing,
        ..
    } = *interpreter;
    // A client that sees the end may come again at once, and finds its place.
    drop(session);
    control.close();
    data_end::await_last_close(closing);
}

/// Says to a client that can't be served why, without waiting for it.
pub fn refuse(stream: Stream, text: &'static str) {
    let mut out = Vec::new();
    Reply::new(421, text).write(&mut out);
    let socket = stream.socket();
    let _ = socket.set_blocking(crate::net::socket::Blocking::No);
    let _ = std::io::Write::write(&mut &*socket, &out);
}

impl Interpreter {
    fn serve(&mut self) -> Result<()> {
        let mut pace = Pace::default();
        while !self.ending {
            if self.session.services().phase() != Phase::Running {
                return self.control.send(&going_down());
            }
            let patience = match self.session.user() {
                Some(_) => self.session.config().stall_timeout,
                None => control::PATIENCE,
            };
            self.control.set_patience(patience)?;
            let (until, reason) = self.command_deadline();
            self.await_command_or_handshake(until)?;
            let line = match self.next_line(until) {
                Ok(Some(line)) => line,
                Ok(None) if self.session.services().phase() != Phase::Running => continue,
                Ok(None) => {
                    return match self.session.info().ends() {
                        Some(end) => self.control.send(&Reply::new(421, end.words())),
                        None => Ok(()),
                    };
                }
                Err(error) if error.kind() == ErrorKind::Timeout => {
                    log::info!("{reason}");
                    return self.control.send(&Reply::new(421, reason));
                }
                Err(_) if self.session.services().phase() == Phase::Draining => continue,
                Err(error) => return Err(error),
            };
            self.session.info().touch();
            let pause = pace.pause(self.session.config().max_commands_per_second);
            self.sit_out(pause);
            let reply = match line {
                ControlLine::TooLong => {
                    tell_once(log::Level::Info, "a line was refused", &"it is too long");
                    Reply::new(500, "The line is too long.")
                }
                ControlLine::Command(line) => self.execute(&line),
            };
            self.control.reply(&reply);
        }
        self.control.flush()
    }

    /// Waits, but not for the end of the server.
    fn sit_out(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while self.session.services().phase() == Phase::Running {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    /// When the client must have logged in.
    fn login_deadline(&self) -> Option<Instant> {
        let end = self.session.login_deadline();
        end.map(|end| end + self.control.late())
    }

    /// When the next command must have come, and what is said if it has not.
    fn command_deadline(&self) -> (Option<Instant>, &'static str) {
        let config = self.session.config();
        let idle = deadline(
            Instant::now(),
            self.parameters.idle.unwrap_or(config.idle_timeout),
        );
        let login = match self.session.user() {
            Some(_) => None,
            None => self.login_deadline(),
        };
        [
            (idle, "Timeout: no command came."),
            (login, "Timeout: no login came."),
            (
                self.session.end_deadline(),
                "The session has lasted its time.",
            ),
        ]
        .into_iter()
        .filter(|(until, _)| until.is_some())
        .min_by_key(|(until, _)| *until)
        .unwrap_or((None, ""))
    }

    /// Runs one line; the result is its final reply.
    fn execute(&mut self, line: &[u8]) -> Reply {
        let (verb, argument) = split(line);
        let Some(command) = table::find(&verb) else {
            return self.no_command(&verb);
        };
        self.unknown = 0;
        self.control.set_input_end(InputEnd::Stops);
        self.polled = Instant::now();
        if log::log_enabled!(log::Level::Debug) {
            match command.log {
                Log::Whole if !may_hold_password(command, line) => {
                    log::debug!("{}", Escaped(line))
                }
                _ => log::debug!("{} ***", command.verb),
            }
        }
        let _busy = match self.session.info().begin() {
            Ok(busy) => busy,
            Err(error) => return self.answer(command, &error),
        };
        self.session.info().activity().command.clear();
        self.session
            .info()
            .activity()
            .command
            .push_str(command.verb);
        // From here on nobody wakes the session; whoever wanted to before has
        // changed the phase first.
        let reply = match self.session.services().phase() {
            Phase::Running => self.dispatch(command, argument),
            _ => {
                self.ending = true;
                going_down()
            }
        };
        self.session.info().activity().command.clear();
        reply
    }

    /// The checks in their fixed order, then the handler.
    pub(crate) fn dispatch(&mut self, command: &'static Command, argument: &[u8]) -> Reply {
        if let Err(reply) = self.check(command, argument) {
            let what = format_args!("{} {}", command.verb, Escaped(reply.text()));
            tell_once(log::Level::Info, "a command was refused", &what);
            return reply;
        }
        let outcome = (command.run)(self, argument);
        // One that was broken off has left it.
        self.deflater = None;
        match outcome {
            Ok(reply) => reply,
            Err(error) => self.answer(command, &error),
        }
    }

    fn check(&self, command: &Command, argument: &[u8]) -> Result<(), Reply> {
        let denied = &self.session.config().deny_commands;
        if denied
            .iter()
            .any(|verb| command.is(&verb.to_ascii_uppercase()))
        {
            return Err(Reply::new(502, "This command is switched off."));
        }
        if argument.contains(&0) {
            return Err(Reply::new(501, "An argument can't have a NUL byte."));
        }
        if argument.is_empty() && command.arity == Arity::Required {
            return Err(Reply::new(
                501,
                format!("{} needs an argument.", command.verb),
            ));
        }
        let files = match (command.access, self.session.files()) {
            (Access::Anyone, _) => return Ok(()),
            (_, Err(_)) => return Err(Reply::new(530, "Please log in with USER and PASS.")),
            (_, Ok(files)) => files,
        };
        let required = self.tls_required(files.user().anonymous);
        if command.secure != Secure::Clear && required >= TlsRequired::Login && self.tls.is_none() {
            return Err(Reply::new(530, "This needs TLS: say AUTH TLS first."));
        }
        if command.secure == Secure::Data
            && required == TlsRequired::Data
            && self.protection != Protection::Private
        {
            return Err(Reply::new(
                521,
                "Data connections must be protected: say PROT P.",
            ));
        }
        match command.access {
            Access::With(right) if !files.has_somewhere(right) => {
                Err(Reply::new(550, "Permission denied."))
            }
            _ => Ok(()),
        }
    }

    /// Turns a handler's error into its reply and tells the log what the
    /// client is not told, once for each command.
    fn answer(&mut self, command: &Command, error: &crate::Error) -> Reply {
        tell_error(command.verb, error);
        let reply = Reply::from(error);
        self.ending |= reply.code() == 421;
        reply
    }

    fn no_command(&mut self, verb: &str) -> Reply {
        let not_done = table::not_done(verb);
        let is_http = table::is_http(verb);
        // SECURITY: a mistyped PASS is an unknown command, too: only verbs that
        // a table holds are shown.
        let shown = if not_done.is_some() || is_http {
            verb
        } else {
            "***"
        };
        tell_once(log::Level::Info, "an unknown command", &shown);
        self.unknown += 1;
        if is_http || (self.unknown >= UNKNOWN_MAX && self.session.user().is_none()) {
            log::warn!("{} does not speak FTP", self.session.peer().ip());
            self.ending = true;
            return Reply::new(421, "This is an FTP server.");
        }
        not_done.unwrap_or_else(|| Reply::new(500, "Unknown command."))
    }
}

/// Whether a line may hold a password although its command takes none.
fn may_hold_password(command: &Command, line: &[u8]) -> bool {
    let says_pass = line
        .windows(4)
        .any(|word| word.eq_ignore_ascii_case(b"PASS"));
    says_pass || (command.is("SITE") && !table::is_site(split(line).1))
}

fn going_down() -> Reply {
    Reply::new(421, "The server is going down.")
}

/// Commands a second, over ten seconds.
#[derive(Default)]
struct Pace {
    count: u32,
    since: Option<Instant>,
}

impl Pace {
    /// Counts a command and says how long it must wait.
    fn pause(&mut self, limit: u32) -> Duration {
        if limit == 0 {
            return Duration::ZERO;
        }
        let window = Duration::from_secs(10);
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) >= window {
            *self = Pace {
                count: 1,
                since: Some(now),
            };
            return Duration::ZERO;
        }
        self.count += 1;
        if self.count > limit.saturating_mul(10) {
            window - now.duration_since(since)
        } else {
            Duration::ZERO
        }
    }
}
