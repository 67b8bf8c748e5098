//! vsftpd.conf(5): `key=value`, no blanks around the sign.

use super::Rule::{Anyway, Each, LoginRestriction, Missing, Part, Restriction, Same, Switch};
use super::{Found, Line, NoteKind, RuleTable, is_yes, modes, value};

const USERS: &str = "name users in a users file: wharfd passwd makes the lines";

pub(super) const TABLE: RuleTable = &[
    ("accept_timeout", Part),
    ("allow_anon_ssl", Anyway),
    ("allow_writeable_chroot", Anyway),
    (
        "anon_max_rate",
        Restriction(
            "session-rate-down and session-rate-up are for all users; give each user rate-down= and rate-up=",
        ),
    ),
    ("anon_mkdir_write_enable", Part),
    ("anon_other_write_enable", Part),
    ("anon_root", Part),
    (
        "anon_umask",
        Missing("file-mode and dir-mode are for all users; users' own stand in the users file"),
    ),
    ("anon_upload_enable", Part),
    ("anon_world_readable_only", Part),
    ("anonymous_enable", Part),
    ("ascii_download_enable", Anyway),
    ("ascii_upload_enable", Part),
    ("async_abor_enable", Anyway),
    ("background", Switch("daemon")),
    (
        "banned_email_file",
        Missing("passwords of anonymous users are not looked at"),
    ),
    (
        "banner_file",
        Missing("the greeting is one line: banner TEXT"),
    ),
    ("ca_certs_file", Same("tls-client-ca")),
    (
        "check_shell",
        Missing("system-users always need a login shell"),
    ),
    ("chmod_enable", Part),
    (
        "chown_uploads",
        Restriction(
            "files belong to the server's user, so anonymous users can read what they have uploaded; rights drop keep it from them",
        ),
    ),
    ("chown_upload_mode", Missing("file-mode is for all users")),
    (
        "chown_username",
        Missing("files belong to the server's user"),
    ),
    (
        "chroot_list_enable",
        Missing("every user is kept inside the home"),
    ),
    (
        "chroot_list_file",
        Missing("every user is kept inside the home"),
    ),
    ("chroot_local_user", Anyway),
    ("cmds_allowed", Part),
    ("cmds_denied", Each("deny-commands")),
    (
        "connect_from_port_20",
        Missing("active data connections come from any port"),
    ),
    ("connect_timeout", Part),
    ("data_connection_timeout", Same("stall-timeout")),
    ("debug_ssl", Missing("log-level trace")),
    ("delay_failed_login", Same("login-delay")),
    (
        "delay_successful_login",
        Missing("logins that succeed are not slowed"),
    ),
    ("delete_failed_uploads", Switch("delete-broken-uploads")),
    (
        "deny_email_enable",
        Restriction("passwords of anonymous users are not looked at; allow and deny name networks"),
    ),
    ("deny_file", Part),
    ("dirlist_enable", Part),
    (
        "dirmessage_enable",
        Missing("there are no messages of directories"),
    ),
    ("download_enable", Part),
    (
        "dsa_cert_file",
        Missing("DSA certificates are not supported; tls-cert takes RSA and ECDSA"),
    ),
    (
        "dsa_private_key_file",
        Missing("DSA certificates are not supported; tls-key takes RSA and ECDSA"),
    ),
    ("dual_log_enable", Anyway),
    ("email_password_file", Part),
    ("file_open_mode", Part),
    ("force_anon_data_ssl", Part),
    ("force_anon_logins_ssl", Part),
    ("force_dot_files", Anyway),
    ("force_local_data_ssl", Part),
    ("force_local_logins_ssl", Part),
    (
        "ftp_data_port",
        Missing("active data connections come from any port"),
    ),
    ("ftp_enable", Part),
    (
        "ftp_username",
        Missing("anonymous needs no user; give anon_root's directory"),
    ),
    ("ftpd_banner", Same("banner")),
    (
        "guest_enable",
        LoginRestriction(
            "local users are entries of a database of the PAM service: name them in a users file",
        ),
    ),
    ("guest_username", Missing(USERS)),
    (
        "hide_file",
        Restriction("hidden names are shown; deny-names hides and denies"),
    ),
    (
        "hide_ids",
        Missing("anonymous users see no owners; others see numbers"),
    ),
    ("http_enable", Missing("HTTP is not supported")),
    ("idle_session_timeout", Same("idle-timeout")),
    ("implicit_ssl", Part),
    ("isolate", Anyway),
    ("isolate_network", Anyway),
    ("listen", Part),
    ("listen_address", Part),
    ("listen_address6", Part),
    ("listen_ipv6", Part),
    ("listen_port", Part),
    ("local_enable", Part),
    ("local_max_rate", Part),
    (
        "local_root",
        Missing("each user's home stands in the users file"),
    ),
    ("local_umask", Part),
    (
        "lock_upload_files",
        Missing("uploads lock nothing; atomic-uploads keeps them apart"),
    ),
    ("log_ftp_protocol", Part),
    (
        "ls_recurse_enable",
        Missing("LIST -R is allowed, up to max-recursion entries"),
    ),
    ("max_clients", Part),
    ("max_login_fails", Same("login-tries")),
    ("max_per_ip", Same("max-per-address")),
    ("mdtm_write", Part),
    (
        "message_file",
        Missing("there are no messages of directories"),
    ),
    ("no_anon_password", Anyway),
    ("no_log_lock", Anyway),
    ("nopriv_user", Anyway),
    ("one_process_model", Anyway),
    ("pam_service_name", Part),
    ("pasv_addr_resolve", Anyway),
    ("pasv_address", Same("passive-address")),
    ("pasv_enable", Part),
    ("pasv_max_port", Part),
    ("pasv_min_port", Part),
    ("pasv_promiscuous", Part),
    (
        "passwd_chroot_enable",
        Missing("each user's home stands in the users file"),
    ),
    ("port_enable", Switch("active-mode")),
    ("port_promiscuous", Part),
    ("ptrace_sandbox", Anyway),
    ("require_cert", Part),
    ("require_ssl_reuse", Part),
    ("reverse_lookup_enable", Anyway),
    ("rsa_cert_file", Same("tls-cert")),
    ("rsa_private_key_file", Same("tls-key")),
    ("run_as_launching_user", Anyway),
    ("seccomp_sandbox", Anyway),
    ("secure_chroot_dir", Anyway),
    ("secure_email_list_enable", Part),
    ("session_support", Anyway),
    ("setproctitle_enable", Anyway),
    (
        "ssl_ciphers",
        Restriction("the ciphers are the strong ones of TLS 1.2 and later"),
    ),
    ("ssl_enable", Part),
    ("ssl_request_cert", Part),
    ("ssl_sslv2", Anyway),
    ("ssl_sslv3", Anyway),
    ("ssl_tlsv1", Anyway),
    ("ssl_tlsv1_1", Anyway),
    ("ssl_tlsv1_2", Anyway),
    ("ssl_tlsv1_3", Anyway),
    ("strict_ssl_read_eof", Part),
    ("strict_ssl_write_shutdown", Anyway),
    ("syslog_enable", Switch("syslog")),
    ("tcp_wrappers", Restriction("allow and deny name networks")),
    (
        "text_userdb_names",
        Missing("listings show numbers of owners"),
    ),
    (
        "tilde_user_enable",
        Missing("a tilde is a letter of a name"),
    ),
    ("trans_chunk_size", Anyway),
    ("use_localtime", Part),
    ("use_sendfile", Anyway),
    (
        "user_config_dir",
        Restriction("options of each user are options in the users file"),
    ),
    (
        "user_sub_token",
        Missing("each user's home stands in the users file"),
    ),
    ("userlist_deny", Part),
    ("userlist_enable", Part),
    ("userlist_file", Part),
    ("userlist_log", Anyway),
    ("utf8_filesystem", Anyway),
    ("validate_cert", Part),
    (
        "virtual_use_local_privs",
        Missing("rights stand in the users file"),
    ),
    ("vsftpd_log_file", Same("log-file")),
    ("write_enable", Part),
    ("xferlog_enable", Part),
    ("xferlog_file", Part),
    ("xferlog_std_format", Anyway),
];

pub(super) fn read(text: &str) -> Found {
    let lines = super::lines(text, |line| line.split_once('=').unwrap_or((line, "")));
    let mut found = Found::default();
    listen(&mut found, &lines);
    anonymous(&mut found, &lines);
    found.apply(&lines, TABLE);
    users(&mut found, &lines);
    tls(&mut found, &lines);
    rest(&mut found, &lines);
    found
}

/// A switch of vsftpd with its default.
fn on(lines: &[Line], name: &str, default: bool) -> bool {
    value(lines, name).map_or(default, is_yes)
}

fn listen(found: &mut Found, lines: &[Line]) {
    if !on(lines, "listen", false) && !on(lines, "listen_ipv6", false) {
        let why = "vsftpd is started by inetd; wharfd --inetd is, too: see contrib/inetd";
        found.note_on_file(NoteKind::Other, "listen NO, listen_ipv6 NO", why);
        return;
    }
    let implicit = on(lines, "implicit_ssl", false);
    let port = value(lines, "listen_port").unwrap_or("21");
    let key = if implicit { "listen-ftps" } else { "listen" };
    let address = value(lines, "listen_address6")
        .map(|address| format!("[{address}]"))
        .or_else(|| value(lines, "listen_address").map(String::from));
    match address {
        Some(address) => found.set(key, format!("{address}:{port}")),
        None if !on(lines, "listen_ipv6", false) => {
            found.set(key, format!("0.0.0.0:{port}"));
        }
        None => found.set(key, port),
    }
}

fn anonymous(found: &mut Found, lines: &[Line]) {
    // The default of the program; distributions write it down.
    if !on(lines, "anonymous_enable", true) {
        return;
    }
    if let Some(line) = line(lines, "secure_email_list_enable").filter(|line| is_yes(&line.value)) {
        let why = "anonymous users had passwords: name them in a users file; anonymous is left out";
        return found.restriction(line, why);
    }
    // Where Debian and others have the home of the user ftp.
    let root = value(lines, "anon_root").unwrap_or("/srv/ftp");
    found.set("anonymous", root);
    let writes = |name: &str| on(lines, "write_enable", false) && on(lines, name, false);
    let rights = rights(&[
        (true, "e"),
        (on(lines, "dirlist_enable", true), "l"),
        (on(lines, "download_enable", true), "r"),
        (writes("anon_upload_enable"), "w"),
        (writes("anon_mkdir_write_enable"), "m"),
        (writes("anon_other_write_enable"), "df"),
    ]);
    found.set("anonymous-rights", rights);
    if on(lines, "anon_world_readable_only", true) && on(lines, "download_enable", true) {
        found.set("anonymous-world-readable", "yes");
    }
}

/// The last line called `name`.
fn line<'a>(lines: &'a [Line], name: &str) -> Option<&'a Line> {
    lines.iter().rev().find(|line| line.name == name)
}

/// The letters of what is allowed.
fn rights(rows: &[(bool, &str)]) -> String {
    let allowed = rows.iter().filter(|(allowed, _)| *allowed);
    allowed.map(|(_, letters)| *letters).collect()
}

fn users(found: &mut Found, lines: &[Line]) {
    if on(lines, "local_enable", false) {
        found.set("system-users", "yes");
        let writes = on(lines, "write_enable", false);
        let rights = rights(&[
            (true, "e"),
            (on(lines, "dirlist_enable", true), "l"),
            (on(lines, "download_enable", true), "r"),
            (writes, "adfmw"),
            (writes && on(lines, "chmod_enable", true), "M"),
            (writes && on(lines, "mdtm_write", true), "T"),
        ]);
        found.set("system-rights", rights);
        restrict_logins(found, lines);
    }
    let umask = value(lines, "local_umask").unwrap_or("077");
    match modes(umask) {
        Some((file, dir)) => {
            // Without the bits that file_open_mode has not.
            let most = value(lines, "file_open_mode").unwrap_or("0666");
            let bits = |text: &str| u32::from_str_radix(text, 8).unwrap_or(0o666);
            found.set("file-mode", format!("{:03o}", bits(&file) & bits(most)));
            found.set("dir-mode", dir);
        }
        None => found.note_on_file(
            NoteKind::Restriction,
            &format!("local_umask {umask}"),
            "not octal",
        ),
    }
    if let Some(rate) = value(lines, "local_max_rate") {
        found.set("session-rate-down", rate);
        found.set("session-rate-up", rate);
    }
}

/// Who of the system's users may log in, beyond what ftpusers(5) says.
fn restrict_logins(found: &mut Found, lines: &[Line]) {
    if let Some(list) = line(lines, "userlist_enable").filter(|line| is_yes(&line.value)) {
        let file = value(lines, "userlist_file").unwrap_or("/etc/vsftpd.user_list");
        if !on(lines, "userlist_deny", true) {
            let why = format!("only the users in {file} may log in: name them in a users file");
            found.login_restriction(list, why);
        } else if file != "/etc/ftpusers" {
            let why = format!("the users in {file} may not log in: add them to /etc/ftpusers");
            found.login_restriction(list, why);
        }
    }
    let service = line(lines, "pam_service_name");
    if let Some(line) = service.filter(|line| !["", "ftp", "vsftpd"].contains(&&*line.value)) {
        let why = "this PAM service decides who may log in: see auth-helper, or name the users in a users file";
        found.login_restriction(line, why);
    }
}

fn tls(found: &mut Found, lines: &[Line]) {
    if !on(lines, "ssl_enable", false) {
        found.settings.retain(|(key, _)| !key.starts_with("tls-"));
        return;
    }
    if value(lines, "rsa_cert_file").is_none() {
        found.set("tls-cert", "/usr/share/ssl/certs/vsftpd.pem");
    }
    let level = |logins: &str, data: &str, default: bool| match (
        on(lines, logins, default),
        on(lines, data, default),
    ) {
        (_, true) => "data",
        (true, false) => "login",
        (false, false) => "no",
    };
    let required = level("force_local_logins_ssl", "force_local_data_ssl", true);
    found.set("tls-required", required);
    let required = level("force_anon_logins_ssl", "force_anon_data_ssl", false);
    found.set("tls-required-anonymous", required);
    let reuse = if on(lines, "require_ssl_reuse", true) {
        "require"
    } else {
        "prefer"
    };
    found.set("tls-reuse", reuse);
    if on(lines, "require_cert", false) {
        found.set("tls-client-certificate", "required");
    } else if on(lines, "ssl_request_cert", false) && value(lines, "ca_certs_file").is_some() {
        found.set("tls-client-certificate", "optional");
    }
    if !on(lines, "strict_ssl_read_eof", true) {
        found.set("tls-relaxed-close", "yes");
    }
}

fn rest(found: &mut Found, lines: &[Line]) {
    if let Some(line) = line(lines, "max_clients") {
        match line.value.as_str() {
            "0" => found.note(line, "the number of threads is fixed: set threads"),
            most => found.set("threads", most),
        }
    }
    if let Some(allowed) = value(lines, "cmds_allowed") {
        let allowed: Vec<&str> = allowed.split(',').map(str::trim).collect();
        let verbs = wharf::daemon::tables::rows()
            .into_iter()
            .map(|(verb, ..)| verb);
        for verb in verbs.filter(|verb| !verb.starts_with("SITE ")) {
            if !allowed
                .iter()
                .any(|other| other.eq_ignore_ascii_case(&verb))
            {
                found.set("deny-commands", verb);
            }
        }
    }
    let port = |name: &str| value(lines, name).filter(|port| *port != "0");
    match (port("pasv_min_port"), port("pasv_max_port")) {
        (None, None) => {}
        (first, last) => found.set(
            "passive-ports",
            format!("{}-{}", first.unwrap_or("1024"), last.unwrap_or("65535")),
        ),
    }
    let waits = ["accept_timeout", "connect_timeout"].map(|name| value(lines, name));
    let longest = waits
        .iter()
        .flatten()
        .max_by_key(|wait| wait.parse::<u64>().unwrap_or(0));
    if let Some(longest) = longest {
        found.set("data-connect-timeout", *longest);
    }
    if on(lines, "pasv_promiscuous", false) || on(lines, "port_promiscuous", false) {
        found.set("data-peer", "any");
    }
    if !on(lines, "pasv_enable", true) {
        found.set("deny-commands", "PASV");
        found.set("deny-commands", "EPSV");
    }
    // Both are off where no line says otherwise.
    if !on(lines, "ascii_upload_enable", false) {
        found.set("ascii", "no");
    }
    if on(lines, "use_localtime", false) {
        found.set("list-time", "local");
    }
    if on(lines, "log_ftp_protocol", false) {
        found.set("log-level", "debug");
    }
    if on(lines, "xferlog_enable", false) {
        let file = value(lines, "xferlog_file").unwrap_or("/var/log/xferlog");
        found.set("transfer-log", file);
    }
    deny_files(found, lines);
}

fn deny_files(found: &mut Found, lines: &[Line]) {
    for line in lines.iter().filter(|line| line.name == "deny_file") {
        match line
            .value
            .strip_prefix('{')
            .and_then(|value| value.strip_suffix('}'))
        {
            Some(list) if !list.contains(['{', '/']) => {
                list.split(',')
                    .for_each(|name| found.set("deny-names", name));
            }
            None if !line.value.contains(['{', '/']) => found.set("deny-names", &line.value),
            _ => found.note(line, "deny-names are names with * and ?, one a line"),
        }
    }
}
