//! `<Limit COMMANDS>`: who may do what.

use super::super::Line;
use super::is;

/// Commands, and the rights that are gone with all of them.
const COMMANDS: &[(&str, &str)] = &[
    ("ALL", "elradfmwMT"),
    ("APPE", "a"),
    ("CDUP", "e"),
    ("CWD", "e"),
    ("DELE", "d"),
    ("DIRS", "l"),
    ("LIST", "l"),
    ("MDTM", ""),
    ("MFF", "MT"),
    ("MFMT", "T"),
    ("MKD", "m"),
    ("MLSD", "l"),
    ("MLST", "l"),
    ("NLST", "l"),
    ("READ", "r"),
    ("RETR", "r"),
    ("RMD", "d"),
    ("RNFR", "f"),
    ("RNTO", "f"),
    ("SITE", "MT"),
    ("SITE_CHGRP", ""),
    ("SITE_CHMOD", "M"),
    ("SITE_UTIME", "T"),
    ("SIZE", ""),
    ("STAT", "l"),
    ("STOR", "aw"),
    ("STOU", "w"),
    ("WRITE", "adfmwMT"),
    ("XCUP", "e"),
    ("XCWD", "e"),
    ("XMKD", "m"),
    ("XRMD", "d"),
];

/// One block.
pub(super) struct Limit {
    /// Where it begins.
    pub(super) line: Line,
    commands: Vec<String>,
    pub(super) directives: Vec<Line>,
}

impl Limit {
    /// A block that begins in `line` and is about `commands`.
    pub(super) fn new(line: Line, commands: &str) -> Self {
        let commands = commands.split_whitespace().map(str::to_ascii_uppercase);
        Limit {
            line,
            commands: commands.collect(),
            directives: Vec::new(),
        }
    }

    /// Whether it withholds anything from anybody.
    pub(super) fn denies(&self) -> bool {
        let open = |line: &Line| is(&line.name, "AllowAll") || is(&line.name, "Order");
        !self.directives.iter().all(open)
    }

    /// Whether it says who may log in.
    pub(super) fn restricts_logins(&self) -> bool {
        let logins = |command: &String| ["LOGIN", "ALL"].contains(&command.as_str());
        self.denies() && self.commands.iter().any(logins) && self.denied_to_all().is_none()
    }

    /// The rights that nobody has, if it denies known commands to everybody
    /// and lets users log in.
    pub(super) fn denied_to_all(&self) -> Option<String> {
        let only = |line: &Line| is(&line.name, "DenyAll") || is(&line.name, "Order");
        let denies = |line: &Line| is(&line.name, "DenyAll");
        if !self.directives.iter().all(only) || !self.directives.iter().any(denies) {
            return None;
        }
        let rights = self.commands.iter().map(|command| {
            let row = COMMANDS.iter().find(|(name, _)| name == command);
            row.map(|(_, rights)| *rights)
        });
        rights.collect()
    }
}
