//! The command line: OpenSSH's letters, wharf's words.

use std::path::PathBuf;

use getopts::{Matches, Options};
use log::LevelFilter;
use wharf::auth::Perms;
use wharf::config::Symlinks;
use wharf::daemon::sftp::{RequestSet, SymlinkOrder};
use wharf::daemon::{KEYS, Key, Settings, Source};

/// What the command line says.
pub(super) struct Flags {
    pub(super) settings: Settings,
    pub(super) root: Option<PathBuf>,
    pub(super) rights: Perms,
    pub(super) start: Option<String>,
    pub(super) allow: RequestSet,
    pub(super) deny: RequestSet,
    pub(super) read_only: bool,
    pub(super) umask: Option<u32>,
    pub(super) symlink: SymlinkOrder,
    pub(super) level: LevelFilter,
    /// Number of RFC 5424, table 1.
    pub(super) facility: u8,
    pub(super) to_stderr: bool,
}

/// What is to be done.
pub(super) enum SubsystemAction {
    Serve(Box<Flags>),
    /// Print this.
    Help(String),
    /// Print the names of the requests.
    Names,
}

/// OpenSSH's levels and ours.
const LEVELS: [(&str, LevelFilter); 9] = [
    ("QUIET", LevelFilter::Off),
    ("FATAL", LevelFilter::Error),
    ("ERROR", LevelFilter::Error),
    ("INFO", LevelFilter::Info),
    ("VERBOSE", LevelFilter::Info),
    ("DEBUG", LevelFilter::Debug),
    ("DEBUG1", LevelFilter::Debug),
    ("DEBUG2", LevelFilter::Debug),
    ("DEBUG3", LevelFilter::Trace),
];

/// OpenSSH's facilities with the numbers of RFC 5424, table 1.
const FACILITIES: [(&str, u8); 11] = [
    ("USER", 1),
    ("DAEMON", 3),
    ("AUTH", 4),
    ("LOCAL0", 16),
    ("LOCAL1", 17),
    ("LOCAL2", 18),
    ("LOCAL3", 19),
    ("LOCAL4", 20),
    ("LOCAL5", 21),
    ("LOCAL6", 22),
    ("LOCAL7", 23),
];

/// The options that mean something for one user's session.
fn keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(|key| key.of_subsystem)
}

fn options() -> Options {
    let mut options = Options::new();
    options
        .optopt("d", "", "start there; %d is the home, %u the user", "DIR")
        .optflag("e", "", "log to standard error, not to syslog")
        .optopt(
            "f",
            "",
            "syslog facility: DAEMON, USER, AUTH, LOCAL0 to LOCAL7",
            "FACILITY",
        )
        .optopt(
            "l",
            "",
            "QUIET, FATAL, ERROR, INFO, VERBOSE, DEBUG to DEBUG3",
            "LEVEL",
        )
        .optmulti("P", "", "refuse these requests", "NAMES")
        .optmulti("p", "", "allow only these requests", "NAMES")
        .optopt("Q", "", "list what there is: requests", "WHAT")
        .optflag("R", "", "read-only")
        .optopt("u", "", "umask, octal", "UMASK")
        .optopt("", "root", "the directory that the client sees as /", "DIR")
        .optopt(
            "",
            "rights",
            "letters of elradfmwMT, or read-only, read-write, upload-only, drop",
            "RIGHTS",
        )
        .optopt(
            "",
            "symlink-order",
            "which path comes first in SYMLINK: target, as OpenSSH, or link, as the draft",
            "ORDER",
        );
    for key in keys() {
        match (key.is_switch(), key.repeats) {
            (true, _) => options.optflag("", key.name, key.help),
            (false, true) => options.optmulti("", key.name, key.help, key.takes),
            (false, false) => options.optopt("", key.name, key.help, key.takes),
        };
    }
    options.optflag("h", "help", "show this");
    options
}

/// Reads the arguments.
pub(super) fn parse(arguments: &[String]) -> Result<SubsystemAction, String> {
    let options = options();
    let matches = options
        .parse(arguments)
        .map_err(|error| format!("{error} (-h tells more)"))?;
    if matches.opt_present("h") {
        return Ok(SubsystemAction::Help(options.usage(
            "usage: wharfd --sftp-server [options]\n\n\
             SFTP on standard input and output, as a subsystem of sshd or dropbear.",
        )));
    }
    if let Some(what) = matches.opt_str("Q") {
        return match what.as_str() {
            "requests" => Ok(SubsystemAction::Names),
            _ => Err(format!("-Q '{}': expected requests", what.escape_debug())),
        };
    }
    // Operands mean nothing, as with OpenSSH's: `scp -D PROGRAM` passes the
    // name of a host.
    flags(&matches).map(|flags| SubsystemAction::Serve(Box::new(flags)))
}

fn flags(matches: &Matches) -> Result<Flags, String> {
    let union = |letter: &str| {
        let given = matches.opt_strs(letter);
        let sets = given
            .iter()
            .map(|names| RequestSet::parse(names).map_err(|error| format!("-{letter}: {error}")));
        let set = sets.reduce(|one, two| Ok(one?.union(two?)));
        set.transpose()
    };
    let rights = match matches.opt_str("rights") {
        Some(text) => text
            .parse::<Perms>()
            .map_err(|error| format!("--rights: {error}"))?,
        None => Perms::ALL,
    };
    Ok(Flags {
        settings: settings(matches)?,
        root: matches.opt_str("root").map(PathBuf::from),
        rights,
        start: matches.opt_str("d"),
        allow: union("p")?.unwrap_or(RequestSet::ALL),
        deny: union("P")?.unwrap_or(RequestSet::NONE),
        read_only: matches.opt_present("R"),
        symlink: match matches.opt_str("symlink-order").as_deref() {
            None | Some("target") => SymlinkOrder::TargetFirst,
            Some("link") => SymlinkOrder::LinkFirst,
            Some(other) => {
                let other = other.escape_debug();
                return Err(format!(
                    "--symlink-order '{other}': expected target or link"
                ));
            }
        },
        umask: matches.opt_str("u").map(|text| umask(&text)).transpose()?,
        level: named(
            'l',
            &LEVELS,
            matches.opt_str("l").as_deref().unwrap_or("ERROR"),
        )?,
        facility: named(
            'f',
            &FACILITIES,
            matches.opt_str("f").as_deref().unwrap_or("AUTH"),
        )?,
        to_stderr: matches.opt_present("e"),
    })
}

fn settings(matches: &Matches) -> Result<Settings, String> {
    let mut source = Source::new();
    for key in keys() {
        let place = || format!("--{}", key.name);
        if key.is_switch() && matches.opt_present(key.name) {
            source.add(key.name, "yes", place());
        } else {
            for value in matches.opt_strs(key.name) {
                source.add(key.name, &value, place());
            }
        }
    }
    let (mut settings, mut mistakes) = (Settings::default(), Vec::new());
    // The user could make them with ln(1) as well, and the home is all there is.
    settings.server.site_symlink = Symlinks::Anywhere;
    source.apply(&mut settings, &mut mistakes);
    match mistakes.first() {
        Some(mistake) => Err(mistake.to_string()),
        None => Ok(settings),
    }
}

fn umask(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|umask| *umask <= 0o777)
        .ok_or_else(|| format!("-u '{}': expected an octal umask", text.escape_debug()))
}

fn named<T: Copy>(letter: char, table: &[(&str, T)], text: &str) -> Result<T, String> {
    table
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let names: Vec<_> = table.iter().map(|(name, _)| *name).collect();
            let names = names.join(", ");
            format!("-{letter} '{}': expected {names}", text.escape_debug())
        })
}

/// Fills `%d`, `%u` and `%%`.
pub(super) fn expand(text: &str, home: &str, user: &str) -> String {
    let mut expanded = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            expanded.push(letter);
            continue;
        }
        match letters.next() {
            Some('d') => expanded.push_str(home),
            Some('u') => expanded.push_str(user),
            Some('%') => expanded.push('%'),
            Some(other) => expanded.extend(['%', other]),
            None => expanded.push('%'),
        }
    }
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(line: &str) -> Result<Box<Flags>, String> {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        match parse(&words)? {
            SubsystemAction::Serve(flags) => Ok(flags),
            _ => Err("no session".into()),
        }
    }

    #[test]
    fn flags_of_openssh_are_read() {
        let flags =
            served("-e -l VERBOSE -R -u 027 -d /srv/%u -P rename,symlink -f LOCAL3").unwrap();
        assert!(flags.to_stderr && flags.read_only);
        assert_eq!(flags.level, LevelFilter::Info);
        assert_eq!((flags.umask, flags.facility), (Some(0o027), 19));
        assert_eq!(flags.deny, RequestSet::parse("symlink,rename").unwrap());
        assert_eq!(flags.allow, RequestSet::ALL);
        assert_eq!(flags.symlink, SymlinkOrder::TargetFirst);
        let flags = served("--symlink-order link").unwrap();
        assert_eq!(flags.symlink, SymlinkOrder::LinkFirst);
        let flags = served("--root /srv --rights upload-only --atomic-uploads").unwrap();
        assert_eq!(flags.rights.to_string(), "elamwT");
        assert!(flags.settings.server.atomic_uploads);
        // `scp -D PROGRAM` passes the host's name; OpenSSH's ignores it, too.
        assert!(served("example.org").is_ok());
    }

    #[test]
    fn wrong_flags_are_refused() {
        for line in [
            "-P nothing",
            "-u 888",
            "-u 7777",
            "-l LOUD",
            "-f PRINTER",
            "-Q ciphers",
            "--rights x",
            "--listen 21",
            "--session-rate-up many",
            "--symlink-order both",
        ] {
            assert!(served(line).is_err(), "{line}");
        }
    }

    #[test]
    fn tokens_are_filled() {
        assert_eq!(expand("%d/%u%%%x%", "/home/a", "a"), "/home/a/a%%x%");
    }
}
