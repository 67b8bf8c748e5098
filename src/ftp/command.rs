//! What a row of the command table is.

use super::reply::Reply;
use super::state::Interpreter;
use crate::auth::Right;
use crate::error::Result;

/// One command: everything that is checked, shown and run for a verb.
pub struct Command {
    /// The verb, in capitals.
    pub verb: &'static str,
    /// Other verbs with the same meaning.
    pub aliases: &'static [&'static str],
    /// Whether it takes an argument.
    pub arity: Arity,
    /// Who may use it.
    pub access: Access,
    /// What the connection must be for it, where the server demands TLS.
    pub secure: Secure,
    /// What FEAT says of it.
    pub feat: Feat,
    /// What a log may show of it.
    pub log: Log,
    /// Argument and meaning, for HELP and the man page.
    pub help: &'static str,
    /// The handler: everything the columns say is checked already. The final
    /// reply is its result.
    pub run: CommandHandler,
}

/// A command's handler.
pub type CommandHandler = fn(&mut Interpreter, &[u8]) -> Result<Reply>;

/// Whether a command takes an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// None; one that is given is ignored, as servers always have.
    None,
    /// One, or none.
    Optional,
    /// One.
    Required,
}

/// Who may use a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, before login too: all that a stranger can reach.
    Anyone,
    /// Anybody who has logged in.
    User,
    /// Users who have the right somewhere; `Files` checks it for the path.
    With(Right),
}

/// What the connection must be, where the server demands TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secure {
    /// Whatever it is.
    Clear,
    /// The control connection must be encrypted.
    Control,
    /// The data connection must be encrypted, too.
    Data,
}

/// What FEAT says of a command.
#[derive(Clone, Copy)]
pub enum Feat {
    /// Nothing.
    No,
    /// Always this line.
    Line(&'static str),
    /// A line that depends on the session, or none.
    Made(fn(&Interpreter) -> Option<String>),
}

/// What a log may show of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// All of it.
    Whole,
    /// Not the argument, which may be a secret.
    Verb,
}

impl Command {
    /// A row with the usual columns: for users who have logged in, under
    /// whatever protection of the data, whole in logs, not in FEAT.
    pub const fn new(
        verb: &'static str,
        arity: Arity,
        access: Access,
        run: CommandHandler,
        help: &'static str,
    ) -> Self {
        Command {
            verb,
            aliases: &[],
            arity,
            access,
            secure: match access {
                Access::Anyone => Secure::Clear,
                _ => Secure::Control,
            },
            feat: Feat::No,
            log: Log::Whole,
            help,
            run,
        }
    }

    /// With other verbs of the same meaning.
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// With a line in FEAT.
    pub const fn feat(mut self, line: &'static str) -> Self {
        self.feat = Feat::Line(line);
        self
    }

    /// With a line in FEAT that depends on the session.
    pub const fn feat_made(mut self, make: fn(&Interpreter) -> Option<String>) -> Self {
        self.feat = Feat::Made(make);
        self
    }

    /// With other demands on the connection.
    pub const fn secure(mut self, secure: Secure) -> Self {
        self.secure = secure;
        self
    }

    /// With an argument that no log may show.
    pub const fn secret(mut self) -> Self {
        self.log = Log::Verb;
        self
    }

    /// Whether `verb`, in capitals, means this row.
    pub fn is(&self, verb: &str) -> bool {
        self.verb == verb || self.aliases.contains(&verb)
    }
}
