//! The command table: one row a command. HELP, SITE HELP, FEAT, the checks
//! before a command runs and the man page's test read it.

use super::arguments::split;
use super::cmd::{dir, file, info, list, login, params, security, site, sum};
use super::command::{Access, Arity, Command, Feat, Secure};
use super::reply::Reply;
use super::state::Interpreter;
use crate::auth::Right;
use crate::config::Symlinks;
use crate::digest::Algorithm;
use crate::error::Result;

use Access::{Anyone, User, With};
use Arity::{None as No, Optional, Required};

#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    Command::new("USER", Required, Anyone, login::user, "<name>"),
    Command::new("PASS", Optional, Anyone, login::pass, "<password>").secret(),
    Command::new("ACCT", Optional, Anyone, login::acct, "<account>: not needed").secret(),
    Command::new("AUTH", Required, Anyone, security::auth, "TLS").feat_made(|state| when_tls(state, "AUTH TLS")),
    Command::new("PBSZ", Required, Anyone, security::pbsz, "0").feat_made(|state| when_tls(state, "PBSZ")),
    Command::new("PROT", Required, Anyone, security::prot, "C | P").feat_made(|state| when_tls(state, "PROT")),
    Command::new("CCC", No, Anyone, security::ccc, "the control connection goes back to plain text").feat_made(|state| when_tls(state, "CCC").filter(|_| state.session.config().ccc)),
    Command::new("REIN", No, Anyone, login::rein, "log out"),
    Command::new("QUIT", No, Anyone, login::quit, "end the session"),
    Command::new("FEAT", No, Anyone, feat, "list extensions"),
    Command::new("OPTS", Required, Anyone, params::opts, "UTF8 ON | MLST <facts> | HASH <name> | MODE Z LEVEL <0-9>").feat("UTF8"),
    Command::new("CLNT", Optional, Anyone, info::clnt, "<name of the client>").feat("CLNT"),
    Command::new("CSID", Optional, Anyone, info::csid, "Name=<client>; Version=<version>;").feat("CSID"),
    Command::new("HOST", Required, Anyone, login::host, "<name of this server>").feat("HOST"),
    Command::new("LANG", Optional, Anyone, info::lang, "[EN]").feat("LANG EN*"),
    Command::new("SYST", No, Anyone, info::syst, "kind of system"),
    Command::new("NOOP", Optional, Anyone, info::noop, "do nothing"),
    Command::new("HELP", Optional, Anyone, command_help, "[<command>]"),
    Command::new("ABOR", No, Anyone, info::abor, "end the transfer"),
    Command::new("STAT", Optional, Anyone, list::stat, "[<path>]: the session, or a listing"),
    Command::new("TYPE", Required, User, params::transfer_type, "A | A N | I | L 8"),
    Command::new("STRU", Required, User, params::stru, "F"),
    Command::new("MODE", Required, User, params::mode, "S | Z").feat_made(|_| cfg!(feature = "deflate").then(|| "MODE Z".into())),
    Command::new("PORT", Required, User, params::port, "<h,h,h,h,p,p>"),
    Command::new("EPRT", Required, User, params::eprt, "<|1 or 2|address|port|>").feat("EPRT"),
    Command::new("PASV", No, User, params::pasv, "open a passive port (IPv4)"),
    Command::new("EPSV", Optional, User, params::epsv, "[1 | 2 | ALL]").feat("EPSV"),
    Command::new("ALLO", Required, User, params::allo, "<bytes>: is there room?"),
    Command::new("REST", Required, User, params::rest, "<offset>").feat("REST STREAM"),
    Command::new("RANG", Required, User, params::rang, "<first> <last>").feat("RANG STREAM"),
    Command::new("PWD", No, User, dir::pwd, "name the working directory").aliases(&["XPWD"]),
    Command::new("CWD", Required, With(Right::Enter), dir::cwd, "<directory>").aliases(&["XCWD"]),
    Command::new("CDUP", No, With(Right::Enter), dir::cdup, "to the directory above").aliases(&["XCUP"]),
    Command::new("MKD", Required, With(Right::MakeDir), dir::mkd, "<directory>").aliases(&["XMKD"]),
    Command::new("RMD", Required, With(Right::Delete), dir::rmd, "<directory>").aliases(&["XRMD"]),
    Command::new("RMDA", Required, With(Right::Delete), dir::rmda, "<directory>, with all in it").feat("RMDA <path>"),
    Command::new("LIST", Optional, With(Right::List), list::list, "[<path>]").secure(Secure::Data),
    Command::new("NLST", Optional, With(Right::List), list::nlst, "[<path>]").secure(Secure::Data),
    Command::new("MLSD", Optional, With(Right::List), list::mlsd, "[<directory>]").secure(Secure::Data),
    Command::new("MLST", Optional, With(Right::List), list::mlst, "[<path>]").feat_made(|state| Some(state.parameters.facts.feat())),
    Command::new("DSIZ", Optional, With(Right::List), dir::dsiz, "[<directory>]: bytes in it").feat("DSIZ"),
    Command::new("AVBL", Optional, With(Right::List), dir::avbl, "[<directory>]: bytes free").feat("AVBL"),
    Command::new("RETR", Required, With(Right::Read), file::retr, "<file>").secure(Secure::Data),
    Command::new("STOR", Required, User, file::stor, "<file>").secure(Secure::Data),
    Command::new("STOU", Optional, With(Right::Write), file::stou, "[<name>]: store under a new name").secure(Secure::Data),
    Command::new("APPE", Required, User, file::appe, "<file>").secure(Secure::Data),
    Command::new("DELE", Required, With(Right::Delete), file::dele, "<file>"),
    Command::new("RNFR", Required, With(Right::Rename), file::rnfr, "<old name>"),
    Command::new("RNTO", Required, With(Right::Rename), file::rnto, "<new name>"),
    Command::new("SIZE", Required, With(Right::List), file::size, "<file>").feat("SIZE"),
    Command::new("MDTM", Required, With(Right::List), file::mdtm, "[<time>] <file>").feat("MDTM"),
    Command::new("MFMT", Required, With(Right::Time), file::mfmt, "<time> <file>").feat("MFMT"),
    Command::new("MFF", Required, User, file::mff, "Modify=<time>;UNIX.mode=<mode>; <file>").feat("MFF Modify;UNIX.mode;UNIX.group;"),
    Command::new("COMB", Required, With(Right::Append), file::comb, "\"<target>\" \"<part>\" ...").feat("COMB target;source_list"),
    Command::new("HASH", Required, With(Right::Read), sum::hash, "<file>").feat_made(hash_feat),
    Command::new("XCRC", Required, With(Right::Read), sum::xcrc, "<file> [<begin> <end>]").feat("XCRC"),
    Command::new("XMD5", Required, With(Right::Read), sum::xmd5, "<file> [<begin> <end>]").aliases(&["MD5"]).feat_made(|_| has(Algorithm::Md5, "XMD5")),
    Command::new("XSHA1", Required, With(Right::Read), sum::xsha1, "<file> [<begin> <end>]").aliases(&["XSHA"]).feat_made(|_| has(Algorithm::Sha1, "XSHA1")),
    Command::new("XSHA256", Required, With(Right::Read), sum::xsha256, "<file> [<begin> <end>]").feat("XSHA256"),
    Command::new("XSHA512", Required, With(Right::Read), sum::xsha512, "<file> [<begin> <end>]").feat("XSHA512"),
    Command::new("SITE", Required, User, site, "<command>: see SITE HELP"),
];

/// Commands behind SITE.
#[rustfmt::skip]
pub const SITE: &[Command] = &[
    Command::new("HELP", Optional, User, site_help, "[<command>]"),
    Command::new("CHMOD", Required, With(Right::Mode), site::chmod, "<mode> <path>"),
    Command::new("UTIME", Required, With(Right::Time), site::utime, "<time> <path> | <path> <atime> <mtime> <ctime> UTC"),
    Command::new("UMASK", Optional, User, site::umask, "[<mask>]"),
    Command::new("IDLE", Optional, User, site::idle, "[<seconds>]"),
    Command::new("MKDIR", Required, With(Right::MakeDir), site::mkdir, "<directory>, with those above").feat("SITE MKDIR"),
    Command::new("RMDIR", Required, With(Right::Delete), dir::rmda, "<directory>, with all in it").feat("SITE RMDIR"),
    Command::new("CPFR", Required, With(Right::Read), site::cpfr, "<file to copy>"),
    Command::new("CPTO", Required, User, site::cpto, "<its copy>"),
    Command::new("QUOTA", Optional, User, site::quota, "shows what is used and allowed"),
    Command::new("COPY", Required, With(Right::Read), site::copy, "<file> <copy>").feat_made(|_| Some("SITE COPY".into())),
    Command::new("SYMLINK", Required, With(Right::Write), site::symlink, "<target> <link>").feat_made(|state| { (state.session.config().site_symlink != Symlinks::No).then(|| "SITE SYMLINK".into()) }),
];

/// Lines of FEAT that belong to no command.
const FEATURES: &[&str] = &["TVFS"];

/// Verbs of RFCs that are known and not done, with the answer they get: a
/// client may go on, as it may not after 500.
pub const NOT_DONE: &[(&str, u16, &str)] = &[
    ("SMNT", 502, "There is nothing to mount."),
    ("MFCT", 502, "Creation times can't be set."),
    ("SPSV", 502, "Use EPSV."),
    ("PRET", 502, "Say PASV or EPSV, then the command."),
    ("SSCN", 502, "No transfers between servers under TLS."),
    ("LPRT", 502, "Use EPRT."),
    ("LPSV", 502, "Use EPSV."),
    ("ADAT", 503, "Use AUTH TLS."),
    ("CONF", 502, "Use AUTH TLS."),
    ("ENC", 502, "Use AUTH TLS."),
    ("MIC", 502, "Use AUTH TLS."),
    ("THMB", 502, "No thumbnails."),
];

/// Methods and headers of HTTP, and the first words of SMTP: the peer is a
/// browser that somebody misuses (ALPACA, CVE-2021-3618).
const HTTP: &[&str] = &[
    "GET",
    "POST",
    "PUT",
    "HEAD",
    "OPTIONS",
    "DELETE",
    "CONNECT",
    "TRACE",
    "PATCH",
    "HOST:",
    "USER-AGENT:",
    "ACCEPT:",
    "CONTENT-TYPE:",
    "CONTENT-LENGTH:",
    "COOKIE:",
    "ORIGIN:",
    "EHLO",
    "HELO",
];

/// The row of a verb in capitals.
pub fn find(verb: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.is(verb))
}

/// Whether an argument of SITE names one of its commands.
pub fn is_site(argument: &[u8]) -> bool {
    site_row(&split(argument).0).is_some()
}

fn site_row(verb: &str) -> Option<&'static Command> {
    SITE.iter().find(|command| command.is(verb))
}

/// The answer to a verb that is known and not done.
pub fn not_done(verb: &str) -> Option<Reply> {
    NOT_DONE
        .iter()
        .find(|(known, ..)| *known == verb)
        .map(|(_, code, text)| Reply::new(*code, *text))
}

/// Whether the verb is HTTP's.
pub fn is_http(verb: &str) -> bool {
    HTTP.contains(&verb)
}

/// Verb, argument and meaning of every row, SITE's behind `SITE `: for the
/// man page and its test.
pub fn rows() -> Vec<(String, &'static [&'static str], &'static str)> {
    let row = |prefix: &str, command: &'static Command| {
        (
            format!("{prefix}{}", command.verb),
            command.aliases,
            command.help,
        )
    };
    COMMANDS
        .iter()
        .map(|command| row("", command))
        .chain(SITE.iter().map(|command| row("SITE ", command)))
        .collect()
}

fn site(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let (verb, argument) = split(argument);
    match site_row(&verb) {
        Some(command) => Ok(state.dispatch(command, argument)),
        None => Ok(Reply::new(500, "Unknown SITE command.")),
    }
}

fn command_help(_: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    // "HELP SITE" is what ncftp asks for SITE HELP.
    if argument.trim_ascii().eq_ignore_ascii_case(b"SITE") {
        return Ok(help(SITE, b""));
    }
    Ok(help(COMMANDS, argument))
}

fn site_help(_: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    Ok(help(SITE, argument))
}

/// The reply to HELP and SITE HELP.
fn help(table: &'static [Command], verb: &[u8]) -> Reply {
    let verb = String::from_utf8_lossy(verb).trim().to_ascii_uppercase();
    if !verb.is_empty() {
        return match table.iter().find(|command| command.is(&verb)) {
            Some(command) => Reply::new(214, format!("Syntax: {} {}", command.verb, command.help)),
            None => Reply::new(502, "Unknown command."),
        };
    }
    let verbs: Vec<&str> = table
        .iter()
        .flat_map(|command| std::iter::once(command.verb).chain(command.aliases.iter().copied()))
        .collect();
    let mut lines = vec![b"The following commands are recognized:".to_vec()];
    lines.extend(verbs.chunks(8).map(|verbs| {
        verbs.iter().fold(Vec::new(), |mut line, verb| {
            line.extend_from_slice(format!("{verb:<9}").as_bytes());
            line
        })
    }));
    lines.push(b"Help OK.".to_vec());
    Reply::many(214, lines)
}

/// The reply to FEAT: what is on, and nothing else.
fn feat(state: &mut Interpreter, _: &[u8]) -> Result<Reply> {
    let denied = &state.session.config().deny_commands;
    let mut lines = vec![b"Features:".to_vec()];
    let allowed = |command: &&Command| {
        !denied
            .iter()
            .any(|verb| command.is(&verb.to_ascii_uppercase()))
    };
    for command in COMMANDS.iter().chain(SITE).filter(allowed) {
        match command.feat {
            Feat::No => {}
            Feat::Line(line) => lines.push(line.into()),
            Feat::Made(make) => lines.extend(make(state).map(String::into_bytes)),
        }
    }
    lines.extend(FEATURES.iter().map(|line| line.as_bytes().to_vec()));
    lines.push(b"End".to_vec());
    Ok(Reply::many(211, lines))
}

fn when_tls(state: &Interpreter, line: &str) -> Option<String> {
    state.session.services().tls().map(|_| line.into())
}

fn hash_feat(state: &Interpreter) -> Option<String> {
    Some(
        Algorithm::ALL
            .iter()
            .fold("HASH ".to_string(), |line, algorithm| {
                line + algorithm.name()
                    + if *algorithm == state.parameters.hash {
                        "*;"
                    } else {
                        ";"
                    }
            }),
    )
}

fn has(algorithm: Algorithm, line: &str) -> Option<String> {
    Algorithm::ALL.contains(&algorithm).then(|| line.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_reaches_only_this() {
        let open: Vec<&str> = COMMANDS
            .iter()
            .filter(|command| command.access == Anyone)
            .map(|command| command.verb)
            .collect();
        assert_eq!(
            open,
            [
                "USER", "PASS", "ACCT", "AUTH", "PBSZ", "PROT", "CCC", "REIN", "QUIT", "FEAT",
                "OPTS", "CLNT", "CSID", "HOST", "LANG", "SYST", "NOOP", "HELP", "ABOR", "STAT"
            ]
        );
        assert!(SITE.iter().all(|command| command.access != Anyone));
    }

    #[test]
    fn verbs_are_unique() {
        for table in [COMMANDS, SITE] {
            let mut verbs: Vec<&str> = table
                .iter()
                .flat_map(|command| {
                    std::iter::once(command.verb).chain(command.aliases.iter().copied())
                })
                .collect();
            let count = verbs.len();
            verbs.sort_unstable();
            verbs.dedup();
            assert_eq!(verbs.len(), count);
        }
    }
}
