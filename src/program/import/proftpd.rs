//! proftpd.conf: directives, and blocks in angle brackets. (AuthUserFile is
//! in `accounts`.)

use super::Rule::{Anyway, Missing, Part, Same};
use super::{Found, Line, Table, is_yes, modes, value};

const USERS: &str = "users stand in a users file: wharfd import proftpd AUTHUSERFILE";
const BLOCK: &str = "a block of its own: rights of users and directories stand in the users file";

pub(super) const TABLE: Table = &[
    ("AccessDenyMsg", Missing("the words of replies are fixed")),
    ("AccessGrantMsg", Missing("the words of replies are fixed")),
    ("AllowForeignAddress", Part),
    ("AllowOverwrite", Part),
    ("AllowRetrieveRestart", Anyway),
    ("AllowStoreRestart", Anyway),
    ("AuthGroupFile", Missing(USERS)),
    ("AuthOrder", Missing(USERS)),
    ("AuthPAM", Missing(USERS)),
    ("AuthPAMConfig", Missing(USERS)),
    ("AuthUserFile", Missing(USERS)),
    ("CommandBufferSize", Anyway),
    ("ControlsEngine", Anyway),
    ("CreateHome", Missing("create-home=yes in the users file")),
    ("DebugLevel", Anyway),
    ("DefaultAddress", Part),
    ("DefaultRoot", Anyway),
    ("DefaultServer", Anyway),
    ("DefaultTransferMode", Anyway),
    ("DeferWelcome", Anyway),
    ("DelayEngine", Anyway),
    ("DeleteAbortedStores", Part),
    ("DenyFilter", Missing("deny-names has patterns of * and ?")),
    (
        "DirFakeGroup",
        Missing("anonymous users see no owners; others see numbers"),
    ),
    (
        "DirFakeUser",
        Missing("anonymous users see no owners; others see numbers"),
    ),
    (
        "DisplayChdir",
        Missing("there are no messages of directories"),
    ),
    (
        "DisplayConnect",
        Missing("the greeting is one line: banner TEXT"),
    ),
    (
        "DisplayLogin",
        Missing("the greeting is one line: banner TEXT"),
    ),
    ("ExtendedLog", Missing("log-format json has what happens")),
    ("FactsOptions", Anyway),
    (
        "Group",
        Missing("user NAME[:GROUP], where there are no system-users"),
    ),
    ("HiddenStores", Part),
    ("HideFiles", Missing("deny-names hides and denies")),
    ("IdentLookups", Anyway),
    ("Include", Missing("import the file, too")),
    ("ListOptions", Anyway),
    ("LoadModule", Anyway),
    ("LogFormat", Missing("log-format is text or json")),
    ("MasqueradeAddress", Same("passive-address")),
    ("MaxClients", Part),
    ("MaxClientsPerHost", Part),
    ("MaxClientsPerUser", Part),
    ("MaxInstances", Same("threads")),
    ("MaxLoginAttempts", Same("login-tries")),
    ("ModulePath", Anyway),
    ("MultilineRFC2228", Anyway),
    ("PassivePorts", Part),
    (
        "PathDenyFilter",
        Missing("deny-names has patterns of * and ?"),
    ),
    ("PersistentPasswd", Anyway),
    ("PidFile", Same("pid-file")),
    ("Port", Part),
    (
        "QuotaEngine",
        Missing("quota-bytes= and quota-files= in the users file"),
    ),
    ("RequireValidShell", Missing(USERS)),
    ("RootLogin", Anyway),
    ("ServerAdmin", Anyway),
    ("ServerIdent", Part),
    ("ServerName", Anyway),
    ("ServerType", Part),
    ("ShowSymlinks", Anyway),
    ("SocketBindTight", Anyway),
    ("SQLAuthTypes", Missing(USERS)),
    ("SyslogFacility", Anyway),
    ("SystemLog", Same("log-file")),
    ("TCPBacklog", Anyway),
    ("TimeoutIdle", Same("idle-timeout")),
    ("TimeoutLogin", Same("login-timeout")),
    (
        "TimeoutNoTransfer",
        Missing("idle-timeout counts what is silent"),
    ),
    ("TimeoutSession", Part),
    ("TimeoutStalled", Same("stall-timeout")),
    ("TimesGMT", Part),
    ("TLSCACertificateFile", Same("tls-client-ca")),
    (
        "TLSCertificateChainFile",
        Missing("put the chain behind the certificate in its file"),
    ),
    (
        "TLSCipherSuite",
        Missing("the ciphers are those of TLS 1.2 and later that are good"),
    ),
    ("TLSEngine", Part),
    ("TLSLog", Anyway),
    ("TLSOptions", Part),
    ("TLSProtocol", Anyway),
    ("TLSRenegotiate", Anyway),
    ("TLSRequired", Part),
    ("TLSRSACertificateFile", Same("tls-cert")),
    ("TLSRSACertificateKeyFile", Same("tls-key")),
    ("TLSECCertificateFile", Same("tls-cert")),
    ("TLSECCertificateKeyFile", Same("tls-key")),
    ("TLSVerifyClient", Part),
    ("TransferLog", Part),
    (
        "TransferRate",
        Missing("session-rate-down and session-rate-up"),
    ),
    ("Umask", Part),
    ("UseEncoding", Anyway),
    ("UseFtpUsers", Anyway),
    ("UseIPv6", Anyway),
    ("UseLastlog", Anyway),
    ("UseReverseDNS", Anyway),
    (
        "User",
        Missing("user NAME[:GROUP], where there are no system-users"),
    ),
    ("UserAlias", Part),
    ("WtmpLog", Anyway),
];

pub(super) fn read(text: &str) -> Found {
    let mut found = Found::default();
    let mut lines = Vec::new();
    let mut guests: Option<String> = None;
    // Names of the open blocks; those that only group are not in it.
    let mut blocks: Vec<String> = Vec::new();
    for (at, text) in text.lines().enumerate() {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(tag) = text.strip_prefix('<').and_then(|tag| tag.strip_suffix('>')) {
            block(&mut found, tag.trim(), at + 1, &mut blocks, &mut guests);
            continue;
        }
        let (name, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let line = Line {
            number: at + 1,
            name: name.into(),
            value: value.trim().trim_matches('"').into(),
        };
        // What a block says is told with the block.
        if blocks.is_empty() {
            lines.push(line);
        }
    }
    found.apply(&lines, TABLE);
    if let Some(root) = guests {
        found.set("anonymous", root);
        found.set("anonymous-rights", "read-only");
    }
    listen(&mut found, &lines);
    tls(&mut found, &lines);
    for line in &lines {
        part(&mut found, line);
    }
    found
}

fn block(
    found: &mut Found,
    tag: &str,
    number: usize,
    blocks: &mut Vec<String>,
    guests: &mut Option<String>,
) {
    let (name, value) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
    let value = value.trim();
    let groups = |name: &str| {
        ["IfModule", "Global", "IfDefine", "IfVersion"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
    };
    if let Some(name) = name.strip_prefix('/') {
        if !groups(name) {
            blocks.pop();
        }
        return;
    }
    if groups(name) {
        return;
    }
    let line = Line {
        number,
        name: format!("<{name}"),
        value: format!("{value}>"),
    };
    if name.eq_ignore_ascii_case("Anonymous") && blocks.is_empty() {
        let home = value.starts_with('~');
        *guests = Some(if home {
            "/srv/ftp".into()
        } else {
            value.to_string()
        });
        found.note(
            &line,
            match home {
                true => "served from /srv/ftp, read-only; look at both",
                false => "served read-only; look at anonymous-rights",
            },
        );
    } else if blocks.is_empty() {
        found.note(&line, BLOCK);
    }
    blocks.push(name.into());
}

fn listen(found: &mut Found, lines: &[Line]) {
    if value(lines, "ServerType").is_some_and(|kind| kind.eq_ignore_ascii_case("inetd")) {
        return;
    }
    let port = value(lines, "Port").unwrap_or("21");
    if port == "0" {
        return;
    }
    found.set(
        "listen",
        match value(lines, "DefaultAddress") {
            Some(address) if address.contains(':') => format!("[{address}]:{port}"),
            Some(address) => format!("{address}:{port}"),
            None => port.into(),
        },
    );
}

fn tls(found: &mut Found, lines: &[Line]) {
    if !value(lines, "TLSEngine").is_some_and(is_yes) {
        found.settings.retain(|(key, _)| !key.starts_with("tls-"));
        return;
    }
    let required = match value(lines, "TLSRequired")
        .unwrap_or("off")
        .to_ascii_lowercase()
        .as_str()
    {
        "on" | "auth+data" => "data",
        "ctrl" | "auth" => "login",
        _ => "no",
    };
    found.set("tls-required", required);
    found.set("tls-required-anonymous", required);
    let options = value(lines, "TLSOptions").unwrap_or("");
    let reuse = if options.contains("NoSessionReuseRequired") {
        "prefer"
    } else {
        "require"
    };
    found.set("tls-reuse", reuse);
    match value(lines, "TLSVerifyClient")
        .unwrap_or("off")
        .to_ascii_lowercase()
        .as_str()
    {
        "on" => found.set("tls-client-certificate", "required"),
        "optional" => found.set("tls-client-certificate", "optional"),
        _ => {}
    }
}

/// Lines whose value has a form of its own.
fn part(found: &mut Found, line: &Line) {
    let words: Vec<&str> = line.value.split_whitespace().collect();
    let first = words.first().copied().unwrap_or("");
    match line.name.to_ascii_lowercase().as_str() {
        "allowforeignaddress" if is_yes(first) => found.set("data-peer", "any"),
        "allowoverwrite" if !is_yes(first) => found.note(line, "give users rights without d"),
        "deleteabortedstores" if is_yes(first) => found.set("delete-broken-uploads", "yes"),
        "hiddenstores" if !first.eq_ignore_ascii_case("off") => found.set("atomic-uploads", "yes"),
        "maxclients" if first != "none" => found.set("threads", first),
        "maxclientsperhost" if first != "none" => found.set("max-per-address", first),
        "maxclientsperuser" if first != "none" => found.set("max-per-user", first),
        "passiveports" => match words[..] {
            [first, last, ..] => found.set("passive-ports", format!("{first}-{last}")),
            _ => found.note(line, "expected two ports"),
        },
        "serverident" => match line.value.split_once(char::is_whitespace) {
            Some((on, text)) if is_yes(on) => found.set("banner", text.trim().trim_matches('"')),
            _ => {}
        },
        "timeoutsession" => found.set("session-timeout", first),
        "timesgmt" if !is_yes(first) => found.note(line, "times are UTC"),
        "transferlog" if !first.eq_ignore_ascii_case("none") => found.set("transfer-log", first),
        "umask" => match modes(first) {
            Some((file, dir)) => {
                let dir = words
                    .get(1)
                    .and_then(|umask| modes(umask))
                    .map_or(dir, |(_, dir)| dir);
                found.set("file-mode", file);
                found.set("dir-mode", dir);
            }
            None => found.note(line, "not octal"),
        },
        "useralias" if words != ["anonymous", "ftp"] => {
            found.note(line, "users have one name");
        }
        _ => {}
    }
}
