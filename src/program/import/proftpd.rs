//! proftpd.conf: directives, and blocks in angle brackets. (AuthUserFile is
//! in `accounts`.)

mod directives;
mod limit;

pub(super) use directives::TABLE;

use super::{Found, Line, NoteKind, is_yes, modes, value};
use limit::Limit;

const BLOCK: &str = "rights of users and directories stand in the users file";

const VIRTUAL_HOST: &str = "a second host is a second wharfd";

/// What has been read so far.
#[derive(Default)]
struct Reading {
    found: Found,
    /// Directives of the server.
    lines: Vec<Line>,
    /// Names of the open blocks; those that only group are not in it.
    blocks: Vec<String>,
    /// The `<Limit>` that is open.
    limit: Option<Limit>,
    /// Those of the server that ended.
    limits: Vec<Limit>,
    guests: Option<Guests>,
}

/// `<Anonymous>`: its line, its directory, and what it keeps people out by.
struct Guests {
    line: Line,
    root: String,
    restriction: Option<Line>,
}

pub(super) fn read(text: &str) -> Found {
    let mut reading = Reading::default();
    for (number, text) in (1..).zip(text.lines().map(str::trim)) {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(tag) = text.strip_prefix('<').and_then(|tag| tag.strip_suffix('>')) {
            reading.block(tag.trim(), number);
            continue;
        }
        let (name, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        reading.directive(Line {
            number,
            name: name.into(),
            value: value.trim().trim_matches('"').into(),
        });
    }
    let Reading {
        mut found,
        lines,
        limits,
        guests,
        ..
    } = reading;
    found.apply(&lines, TABLE);
    if let Some(guests) = guests {
        anonymous(&mut found, guests);
    }
    listen(&mut found, &lines);
    system_users(&mut found, &lines, &limits);
    tls(&mut found, &lines);
    for line in &lines {
        part(&mut found, line);
    }
    found
}

impl Reading {
    fn directive(&mut self, line: Line) {
        let guests = |blocks: &[String]| blocks.first().is_some_and(|block| is(block, "Anonymous"));
        if let Some(limit) = &mut self.limit {
            limit.directives.push(line);
        } else if self.blocks.is_empty() {
            self.lines.push(line);
        } else if guests(&self.blocks)
            && is(&line.name, "AnonRequirePassword")
            && is_yes(&line.value)
            && let Some(guests) = &mut self.guests
        {
            guests.restriction = Some(line);
        }
        // What else a block says is told with the block.
    }

    fn block(&mut self, tag: &str, number: usize) {
        let (name, value) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        let groups = |name: &str| {
            ["IfModule", "Global", "IfDefine", "IfVersion"]
                .iter()
                .any(|known| is(known, name))
        };
        if let Some(name) = name.strip_prefix('/') {
            if is(name, "Limit") {
                self.end_of_limit();
            } else if !groups(name) {
                self.blocks.pop();
            }
            return;
        }
        if groups(name) {
            return;
        }
        let value = value.trim();
        let line = Line {
            number,
            name: format!("<{name}"),
            value: format!("{value}>"),
        };
        if is(name, "Limit") {
            self.limit = Some(Limit::new(line, value));
            return;
        }
        if is(name, "Anonymous") && self.blocks.is_empty() {
            self.guests = Some(Guests {
                root: if value.starts_with('~') {
                    "/srv/ftp".into()
                } else {
                    value.into()
                },
                line,
                restriction: None,
            });
        } else if self.blocks.is_empty() {
            let host = is(name, "VirtualHost");
            let why = if host { VIRTUAL_HOST } else { BLOCK };
            self.found.note(&line, why);
        }
        self.blocks.push(name.into());
    }

    fn end_of_limit(&mut self) {
        let Some(limit) = self.limit.take() else {
            return;
        };
        match (self.blocks.first(), &mut self.guests) {
            (None, _) => self.limits.push(limit),
            (Some(block), Some(guests)) if is(block, "Anonymous") && limit.restricts_logins() => {
                guests.restriction = Some(limit.line);
            }
            // What else <Anonymous> denies is denied here: it is read-only.
            (Some(block), _) if limit.denies() && !is(block, "Anonymous") => {
                let why = format!("in <{block}>: {BLOCK}");
                self.found.restriction(&limit.line, why);
            }
            _ => {}
        }
    }
}

/// Whether two names of directives are the same.
fn is(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

fn anonymous(found: &mut Found, guests: Guests) {
    if let Some(restriction) = guests.restriction {
        let why = "not everybody was let in: anonymous is left out";
        return found.restriction(&restriction, why);
    }
    let why = if guests.line.value.starts_with('~') {
        "served from /srv/ftp, read-only: check anonymous and anonymous-rights"
    } else {
        "served read-only: check anonymous-rights"
    };
    found.note(&guests.line, why);
    found.set("anonymous", guests.root);
    found.set("anonymous-rights", "read-only");
}

/// The users of the machine, unless AuthOrder leaves them out.
fn system_users(found: &mut Found, lines: &[Line], limits: &[Limit]) {
    let order = value(lines, "AuthOrder").unwrap_or("mod_auth_unix.c");
    if !["mod_auth_unix", "mod_auth_pam"]
        .iter()
        .any(|module| order.contains(module))
    {
        return;
    }
    found.set("system-users", "yes");
    let mut rights = String::from("elradfmwMT");
    if !value(lines, "AllowOverwrite").is_some_and(is_yes) {
        let why = "users keep what is there: they have no right to delete or append, either";
        found.note_on_file(NoteKind::Other, "AllowOverwrite off", why);
        rights.retain(|right| !"ad".contains(right));
    }
    for limit in limits {
        if limit.restricts_logins() {
            let why = "who may log in and from where has no equivalent";
            found.login_restriction(&limit.line, why);
        } else if let Some(denied) = limit.denied_to_all() {
            rights.retain(|right| !denied.contains(right));
        } else if limit.denies() {
            found.restriction(&limit.line, BLOCK);
        }
    }
    let rights = if rights.is_empty() { "none" } else { &rights };
    found.set("system-rights", rights);
}

fn listen(found: &mut Found, lines: &[Line]) {
    if value(lines, "ServerType").is_some_and(|kind| kind.eq_ignore_ascii_case("inetd")) {
        let why = "inetd starts the server; wharfd --inetd is started so, too: see contrib/inetd";
        return found.note_on_file(NoteKind::Other, "ServerType inetd", why);
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
        "off" | "!data" => "no",
        "ctrl" | "auth" | "ctrl+!data" | "auth+!data" => "login",
        // on, data, ctrl+data, auth+data; a word that is unknown here asks for all.
        _ => "data",
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
        "deleteabortedstores" if is_yes(first) => found.set("delete-broken-uploads", "yes"),
        "ignoreascii" if is_yes(first) => found.set("ascii", "no"),
        "hiddenstores" if !first.eq_ignore_ascii_case("off") => found.set("atomic-uploads", "yes"),
        "maxclients" if first != "none" => found.set("threads", first),
        "maxconnectionsperhost" if first != "none" => found.set("max-per-address", first),
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
        "timesgmt" if !is_yes(first) => found.set("list-time", "local"),
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
        "authpamconfig" if first != "proftpd" => {
            let why = "this PAM service decides who may log in: see auth-helper";
            found.login_restriction(line, why);
        }
        "useralias" if words != ["anonymous", "ftp"] => {
            found.note(line, "users have one name");
        }
        _ => {}
    }
}
