//! pure-ftpd.conf: `Key value`. (Its passwd is in `accounts`.)

use super::Rule::{Anyway, LoginRestriction, Missing, Part, Restriction, Same, Switch};
use super::{Found, Line, RuleTable, is_yes, modes, value};

const DATABASE: &str = "users stand in a users file: wharfd import pure-ftpd pureftpd.passwd";

pub(super) const TABLE: RuleTable = &[
    (
        "AllowAnonymousFXP",
        Missing("data connections go to the client alone; data-peer-allow names others"),
    ),
    ("AllowDotFiles", Anyway),
    (
        "AllowUserFXP",
        Missing("data connections go to the client alone; data-peer-allow names others"),
    ),
    ("AltLog", Part),
    (
        "AnonymousBandwidth",
        Restriction("session-rate-down and session-rate-up are for all users"),
    ),
    ("AnonymousCanCreateDirs", Part),
    ("AnonymousCantUpload", Part),
    ("AnonymousOnly", Part),
    ("AnonymousRatio", Missing("ratios are not supported")),
    (
        "AntiWarez",
        Restriction(
            "what anonymous users upload can be downloaded; anonymous-rights drop takes files and shows none",
        ),
    ),
    (
        "AutoRename",
        Missing("rights without d keep what is there; STOU makes names"),
    ),
    ("Bind", Part),
    ("BrokenClientsCompatibility", Anyway),
    (
        "CallUploadScript",
        Missing("on-upload PROGRAM, which is run with other arguments"),
    ),
    ("CertFile", Same("tls-cert")),
    ("CertFileAndKey", Part),
    ("ChrootEveryone", Anyway),
    ("ClientCharset", Missing("names are bytes")),
    (
        "CreateHomeDir",
        Missing("create-home=yes in the users file"),
    ),
    ("CustomerProof", Anyway),
    ("Daemonize", Switch("daemon")),
    ("DisplayDotFiles", Anyway),
    ("DontResolve", Anyway),
    ("ExtCert", Missing("tls-cert may stand several times")),
    ("ExtAuth", Missing("auth-helper asks a program for users")),
    ("FileSystemCharset", Missing("names are bytes")),
    ("FSCharset", Missing("names are bytes")),
    ("ForcePassiveIP", Same("passive-address")),
    (
        "FortunesFile",
        Missing("the greeting is one line: banner TEXT"),
    ),
    ("IPV4Only", Part),
    (
        "IPV6Only",
        Missing("listen [ADDRESS]:PORT with addresses of IPv6"),
    ),
    ("KeepAllFiles", Part),
    ("LDAPConfigFile", Missing(DATABASE)),
    ("LimitRecursion", Part),
    ("LogPID", Anyway),
    ("MaxClientsNumber", Same("threads")),
    ("MaxClientsPerIP", Same("max-per-address")),
    (
        "MaxDiskUsage",
        Restriction("there is no limit by the fullness of a disk"),
    ),
    ("MaxIdleTime", Part),
    ("MaxLoad", Missing("there is no limit by load")),
    ("MinUID", Part),
    ("MySQLConfigFile", Missing(DATABASE)),
    ("NATmode", Anyway),
    ("NoAnonymous", Part),
    ("NoChmod", Part),
    ("NoRename", Part),
    ("NoTruncate", Part),
    (
        "PAMAuthentication",
        Missing("auth-helper asks a checkpassword program for PAM"),
    ),
    ("PassivePortRange", Part),
    ("PerUserLimits", Part),
    ("PGSQLConfigFile", Missing(DATABASE)),
    ("PIDFile", Same("pid-file")),
    ("ProhibitDotFilesRead", Part),
    ("ProhibitDotFilesWrite", Part),
    ("PureDB", Missing(DATABASE)),
    (
        "Quota",
        Restriction("quota-bytes= and quota-files= in the users file"),
    ),
    ("SyslogFacility", Part),
    ("TLS", Part),
    (
        "TLSCipherSuite",
        Restriction("the ciphers are the strong ones of TLS 1.2 and later"),
    ),
    ("TrustedGID", Anyway),
    (
        "TrustedIP",
        LoginRestriction(
            "users could log in from this network only: give them allow= in a users file",
        ),
    ),
    ("Umask", Part),
    ("UnixAuthentication", Part),
    ("UserBandwidth", Part),
    ("UserRatio", Missing("ratios are not supported")),
    ("VerboseLog", Part),
];

pub(super) fn read(text: &str) -> Found {
    let lines = super::lines(text, |line| {
        line.split_once(char::is_whitespace)
            .unwrap_or((line, "yes"))
    });
    let mut found = Found::default();
    found.apply(&lines, TABLE);
    listen(&mut found, &lines);
    if !on(&lines, "NoAnonymous") {
        anonymous(&mut found, &lines);
    }
    accounts(&mut found, &lines);
    dot_files(&mut found, &lines);
    if on(&lines, "VerboseLog") {
        found.set("log-level", "debug");
    }
    if value(&lines, "SyslogFacility").is_some_and(|facility| facility != "none") {
        found.set("syslog", "yes");
    }
    for line in &lines {
        part(&mut found, line);
    }
    let has = |found: &Found, key: &str| found.settings.iter().any(|(other, _)| *other == key);
    if has(&found, "tls-required") && !has(&found, "tls-cert") {
        // Pure-FTPd's own place for both.
        found.set("tls-cert", "/etc/ssl/private/pure-ftpd.pem");
    }
    found
}

fn listen(found: &mut Found, lines: &[Line]) {
    let bind = value(lines, "Bind").unwrap_or("21");
    // "127.0.0.1,21", ",21" or an address alone.
    let (address, port) = bind.rsplit_once(',').unwrap_or(match bind.parse::<u16>() {
        Ok(_) => ("", bind),
        Err(_) => (bind, "21"),
    });
    let port = if port == "ftp" { "21" } else { port };
    found.set(
        "listen",
        match address {
            "" if on(lines, "IPV4Only") => format!("0.0.0.0:{port}"),
            "" => port.into(),
            address if address.contains(':') => format!("[{address}]:{port}"),
            address => format!("{address}:{port}"),
        },
    );
}

fn on(lines: &[Line], name: &str) -> bool {
    value(lines, name).is_some_and(is_yes)
}

fn anonymous(found: &mut Found, lines: &[Line]) {
    // The home of the user ftp.
    found.set("anonymous", "/srv/ftp");
    let mut rights = String::from("elr");
    if !on(lines, "AnonymousCantUpload") {
        rights.push('w');
    }
    if on(lines, "AnonymousCanCreateDirs") {
        rights.push('m');
    }
    found.set("anonymous-rights", rights);
}

/// The system's users: the default where no other database is named.
fn accounts(found: &mut Found, lines: &[Line]) {
    let others = [
        "PureDB",
        "LDAPConfigFile",
        "MySQLConfigFile",
        "PGSQLConfigFile",
        "PAMAuthentication",
        "ExtAuth",
    ];
    let unix = match value(lines, "UnixAuthentication") {
        Some(unix) => is_yes(unix),
        None => !others.iter().any(|name| value(lines, name).is_some()),
    };
    if !unix || on(lines, "AnonymousOnly") {
        return;
    }
    // What nobody may do, whoever they are.
    let denied: String = [
        ("NoChmod", "M"),
        ("NoRename", "f"),
        ("KeepAllFiles", "adf"),
        ("NoTruncate", "d"),
    ]
    .into_iter()
    .filter_map(|(name, rights)| on(lines, name).then_some(rights))
    .collect();
    found.set("system-users", "yes");
    let rights = "elradfmwMT".replace(|right| denied.contains(right), "");
    found.set("system-rights", rights);
    // Accounts of services are below 100 on most systems; their shells keep
    // them out here.
    if let Some(line) = lines.iter().rev().find(|line| line.name == "MinUID") {
        found.restriction(line, "add users with smaller numbers to /etc/ftpusers");
    }
}

fn dot_files(found: &mut Found, lines: &[Line]) {
    let names = ["ProhibitDotFilesRead", "ProhibitDotFilesWrite"];
    let mut last_first = lines.iter().rev();
    let said = last_first.find(|line| names.contains(&&*line.name) && is_yes(&line.value));
    if let Some(line) = said {
        found.set("dot-files", "deny");
        if !names.iter().all(|name| on(lines, name)) {
            found.note(line, "dot-files deny is for reading and writing");
        }
    }
}

/// Lines whose value has a form of its own.
fn part(found: &mut Found, line: &Line) {
    let words: Vec<&str> = line
        .value
        .split([' ', '\t', ':'])
        .filter(|word| !word.is_empty())
        .collect();
    match (line.name.to_ascii_lowercase().as_str(), &words[..]) {
        ("passiveportrange", [first, last]) => {
            found.set("passive-ports", format!("{first}-{last}"));
        }
        ("certfileandkey", _) => match line.value.split_once(',') {
            Some((certificate, key)) => {
                found.set("tls-cert", certificate.trim().trim_matches('"'));
                found.set("tls-key", key.trim().trim_matches('"'));
            }
            None => found.note(line, "expected two files"),
        },
        ("tls", [level]) => match *level {
            "0" => {}
            "1" | "2" | "3" => {
                let required = ["no", "login", "data"][usize::from(level.as_bytes()[0] - b'1')];
                found.set("tls-required", required);
                found.set("tls-required-anonymous", required);
            }
            _ => found.note(line, "expected 0 to 3"),
        },
        ("umask", [files, rest @ ..]) => match modes(files) {
            Some((file, dir)) => {
                let dir = rest
                    .first()
                    .and_then(|umask| modes(umask))
                    .map_or(dir, |(_, dir)| dir);
                found.set("file-mode", file);
                found.set("dir-mode", dir);
            }
            None => found.note(line, "not octal"),
        },
        // Minutes.
        ("maxidletime", [minutes]) => found.set("idle-timeout", format!("{minutes}m")),
        ("limitrecursion", [entries, ..]) => found.set("max-recursion", *entries),
        ("peruserlimits", [user, anonymous]) => {
            found.set("max-per-user", *user);
            if user != anonymous {
                found.note(line, "max-per-user counts anonymous users like one user");
            }
        }
        // Kilobytes a second, upload:download or one for both.
        ("userbandwidth", [both]) => {
            found.set("session-rate-up", format!("{both}K"));
            found.set("session-rate-down", format!("{both}K"));
        }
        ("userbandwidth", [up, down]) => {
            found.set("session-rate-up", format!("{up}K"));
            found.set("session-rate-down", format!("{down}K"));
        }
        ("altlog", [format, file]) => match *format {
            "xferlog" => found.set("transfer-log", *file),
            _ => found.note(line, "transfer-log writes the format xferlog alone"),
        },
        ("anonymousonly", [value]) if is_yes(value) => {
            found.note(line, "name no users file");
        }
        _ => {}
    }
}
