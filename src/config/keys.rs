//! The one table of options: a row says everything about one. It is a flag
//! (`--idle-timeout`), an environment variable (`WHARFD_IDLE_TIMEOUT`), a line
//! of the file (`idle-timeout 300`) and an entry of wharfd.conf(5); what
//! `--check`, a reload, Landlock and `wharfd --sftp-server` make of an option
//! follows from its row. Defaults are those of the field.

use std::path::PathBuf;

use super::settings::Settings;
use super::value::ConfigField;
use super::{Config, Mode};

/// One row.
pub struct Key {
    /// The name, in words with hyphens.
    pub name: &'static str,
    /// What it takes, for the help; empty for yes or no.
    pub takes: &'static str,
    /// Its group in `--help`.
    pub section: Section,
    /// What it does, in one line.
    pub help: &'static str,
    /// What its values name.
    pub names: Names,
    /// Whether the file that it names must be hidden from other users.
    pub is_secret: bool,
    /// Whether `wharfd --sftp-server` has it, too.
    pub of_subsystem: bool,
    /// Whether it may be given several times.
    pub repeats: bool,
    /// Whether 0 is a mistake. Otherwise 0 is no limit, or no time.
    is_positive: bool,
    reload: Reload,
    /// Whether it is fixed at the start where all sessions share data ports.
    of_shared_ports: bool,
    field: fn(&mut Settings) -> &mut dyn ConfigField,
}

/// When a changed value is in force after a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// At once, for everybody.
    AtOnce,
    /// For sessions that begin afterwards.
    NewSessions,
    /// Not before the next start.
    AtStart,
}

/// What the values of an option name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// No file.
    Nothing,
    /// A file that is read, again at a reload or when it changes.
    FileRead,
    /// A file that is written.
    FileWritten,
    /// A directory for files of the server's own.
    DirectoryWritten,
    /// A directory that clients see.
    DirectoryServed,
    /// A program that is run.
    Program,
    /// A port that is bound.
    Port,
}

/// Groups of `--help`, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Ports and greeting.
    Serving,
    /// Users and logins.
    Users,
    /// TLS and SSH.
    Encryption,
    /// Passive and active data connections.
    Data,
    /// Files and uploads.
    Files,
    /// Limits and timeouts.
    Limits,
    /// One node of many.
    Cluster,
    /// Logs.
    Logging,
    /// How the program runs.
    Running,
}

impl Key {
    /// Sets the field from text.
    ///
    /// # Errors
    /// What was expected.
    pub fn set(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        if !self.is_positive {
            return (self.field)(settings).accept(text);
        }
        // A value that is refused is not in force.
        let mut tried = settings.clone();
        (self.field)(&mut tried).accept(text)?;
        if self.shown(&tried).iter().any(|value| is_zero(value)) {
            return Err("expected more than 0".into());
        }
        self.copy(&tried, settings);
        Ok(())
    }

    /// The values in force, as text.
    pub fn shown(&self, settings: &Settings) -> Vec<String> {
        (self.field)(&mut settings.clone()).shown()
    }

    /// Empties a list, or what may be unset.
    pub fn clear(&self, settings: &mut Settings) {
        (self.field)(settings).clear();
    }

    /// Gives `to` the values that `from` has.
    pub fn copy(&self, from: &Settings, to: &mut Settings) {
        (self.field)(to).assign((self.field)(&mut from.clone()));
    }

    /// The paths that the values are.
    pub fn paths(&self, settings: &Settings) -> Vec<PathBuf> {
        match self.names {
            Names::Nothing | Names::Port => Vec::new(),
            _ => self
                .shown(settings)
                .into_iter()
                .map(PathBuf::from)
                .collect(),
        }
    }

    /// When a changed value is in force after a reload of a server that runs
    /// with `settings`.
    pub fn reload(&self, settings: &Settings) -> Reload {
        if self.of_shared_ports && settings.server.shared_data_ports {
            Reload::AtStart
        } else {
            self.reload
        }
    }

    /// Whether it is yes or no, and so needs no value on the command line.
    pub fn is_switch(&self) -> bool {
        self.takes.is_empty()
    }

    /// The row called `name`.
    pub fn find(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name)
    }
}

/// Of a range it is the first value that counts.
fn is_zero(value: &str) -> bool {
    value == "0" || value.starts_with("0..")
}

/// All paths that options of a kind name, each with its row.
pub fn paths_of(names: Names, settings: &Settings) -> Vec<(&'static Key, PathBuf)> {
    let rows = KEYS.iter().filter(|key| key.names == names);
    rows.flat_map(|key| key.paths(settings).into_iter().map(move |path| (key, path)))
        .collect()
}

impl Config {
    /// These settings with what can only change at the start as `before` has
    /// it: what a server that runs with `before` can take on.
    pub(crate) fn keeping_what_is_fixed(self, before: &Config) -> Config {
        let settings = |server| Settings {
            server,
            ..Settings::default()
        };
        let (before, mut new) = (settings(before.clone()), settings(self));
        for key in KEYS {
            if key.reload(&before) == Reload::AtStart {
                key.copy(&before, &mut new);
            }
        }
        new.server
    }
}

/// What else a row may say of its option.
impl Key {
    const fn repeats(mut self) -> Self {
        self.repeats = true;
        self
    }

    const fn reads(mut self) -> Self {
        self.names = Names::FileRead;
        self
    }

    const fn writes(mut self) -> Self {
        self.names = Names::FileWritten;
        self
    }

    const fn keeps(mut self) -> Self {
        self.names = Names::DirectoryWritten;
        self
    }

    const fn serves(mut self) -> Self {
        self.names = Names::DirectoryServed;
        self
    }

    const fn runs(mut self) -> Self {
        self.names = Names::Program;
        self
    }

    const fn binds(mut self) -> Self {
        self.names = Names::Port;
        self
    }

    const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    const fn subsystem(mut self) -> Self {
        self.of_subsystem = true;
        self
    }

    const fn positive(mut self) -> Self {
        self.is_positive = true;
        self
    }

    const fn of_shared_ports(mut self) -> Self {
        self.of_shared_ports = true;
        self
    }
}

macro_rules! keys {
    ($($section:ident { $($name:literal $takes:literal $($field:ident).+: $reload:ident $($mark:ident)*, $help:literal;)+ })+) => {
        /// Every option.
        pub const KEYS: &[Key] = &[$($(
            Key {
                name: $name,
                takes: $takes,
                section: Section::$section,
                help: $help,
                names: Names::Nothing,
                is_secret: false,
                of_subsystem: false,
                repeats: false,
                is_positive: false,
                reload: Reload::$reload,
                of_shared_ports: false,
                field: |settings| &mut settings.$($field).+,
            }$(.$mark())*,
        )+)+];
    };
}

keys! {
    Serving {
        "profile" "NAME" profile: AtOnce, "begin with a set of settings: mirror, home, upload, camera, scanner";
        "listen" "[ADDR:]PORT" server.listen: AtStart repeats binds, "serve FTP there; a port alone is every address, IPv4 and IPv6";
        "listen-ftps" "[ADDR:]PORT" server.listen_ftps: AtStart repeats binds, "serve FTPS there from the first byte (implicit)";
        "listen-sftp" "[ADDR:]PORT" server.listen_sftp: AtStart repeats binds, "serve SFTP there";
        "banner" "TEXT" server.banner: NewSessions, "text of the 220 greeting, one line";
        "threads" "N" server.threads: AtStart positive, "threads, and so sessions, at the same time";
        "drain-seconds" "N" drain: AtOnce, "how long SIGTERM lets transfers finish";
    }
    Users {
        "users" "FILE" users: AtOnce reads secret, "the users file, see wharfd-users(5)";
        "system-users" "" system_users: AtOnce, "let users of the system log in; needs root";
        "system-rights" "RIGHTS" system_rights: AtOnce, "what users of the system may do in their homes";
        "system-group" "NAME" system_groups: AtOnce repeats, "only members of these groups of the system may log in";
        "system-home" "DIR" system_home: AtOnce, "homes of users of the system, with %u for the name, instead of their own";
        "auth-helper" "WORD" auth_helper: AtOnce repeats runs, "ask this program (checkpassword); once for each argument";
        "auth-helper-rights" "RIGHTS" auth_helper_rights: AtOnce, "what its users may do where it does not say";
        "anonymous" "DIR" anonymous: AtOnce serves, "serve DIR to anonymous users";
        "anonymous-rights" "RIGHTS" anonymous_rights: AtOnce, "what anonymous users may do";
        "anonymous-world-readable" "" server.anonymous_world_readable: NewSessions, "anonymous users read only what every user of the system may";
        "login-tries" "N" server.login_tries: NewSessions, "failed logins that close the connection";
        "login-delay" "SECONDS" server.login_delay: NewSessions, "wait after a failed login";
        "login-timeout" "SECONDS" server.login_timeout: NewSessions, "how long a login may take";
        "ban-after" "N" server.ban_after: NewSessions, "failed logins from one address that ban it";
        "ban-seconds" "N[..N]" server.ban_time: NewSessions positive, "how long a ban holds; a second value lets bans grow up to it";
        "ban-exempt" "NETWORK" server.ban_exempt: NewSessions repeats, "networks that are never banned";
        "allow" "NETWORK" server.allow: NewSessions repeats, "only these networks may connect";
        "deny" "NETWORK" server.deny: NewSessions repeats, "these networks may not connect";
    }
    Encryption {
        "tls-cert" "FILE" server.tls_cert: AtOnce repeats reads secret, "certificate and chain in PEM; switches FTPS on";
        "tls-key" "FILE" server.tls_key: AtOnce repeats reads secret, "its key in PEM, if not in the same file";
        "tls-key-password-file" "FILE" server.tls_key_password_file: AtOnce reads secret, "password of an encrypted key";
        "self-signed" "" server.self_signed: AtOnce, "make a key and certificate on first start";
        "self-signed-name" "NAME" server.self_signed_names: AtOnce repeats, "name or address in that certificate";
        "acme" "WORDS" acme: AtStart, "keep the certificate up to date as wharfd acme WORDS does";
        "tls-required" "no|login|data" server.tls_required: NewSessions, "what named users need TLS for";
        "tls-required-anonymous" "no|login|data" server.tls_required_anonymous: NewSessions, "what anonymous users need TLS for";
        "tls-reuse" "off|prefer|require" server.tls_reuse: NewSessions, "data connections resume the control connection's session";
        "tls-relaxed-close" "" server.tls_relaxed_close: AtOnce, "accept uploads that end without close_notify";
        "tls-min" "default|1.2|1.3" server.tls_min: AtOnce, "oldest version of TLS";
        "tls-ciphers" "NAMES" server.tls_ciphers: AtOnce, "cipher suites in OpenSSL's names, best first, with colons between";
        "tls-curves" "NAMES" server.tls_curves: AtOnce, "groups of the key exchange, best first, with colons between";
        "tls-old-clients" "NETWORK" server.tls_old_clients: AtOnce repeats, "clients there may use TLS 1.0 and 1.1, which are broken";
        "tls-client-ca" "FILE" server.tls_client_ca: AtOnce reads, "authorities of client certificates";
        "tls-client-crl" "FILE" server.tls_client_crl: AtOnce reads, "revoked client certificates";
        "tls-client-certificate" "no|optional|required" server.tls_client_certificate: AtOnce, "whether clients show one";
        "ccc" "" server.ccc: NewSessions, "allow CCC, back to plain text";
        "host-key" "FILE" server.host_key: NewSessions repeats reads secret, "key of the SFTP server; made if missing";
        "host-certificate" "FILE" server.ssh.host_certificates: NewSessions repeats reads, "certificate of a host key, by ssh-keygen -h -s";
        "ssh-user-ca" "FILE" ssh_user_ca: AtOnce reads, "authorities of users' certificates, one key per line";
        "revoked-keys" "FILE" server.ssh.revoked_keys: NewSessions reads, "users' keys and authorities that count no more";
        "ssh-banner" "TEXT" server.ssh.banner: NewSessions, "text that SFTP clients show before the login";
        "ssh-banner-file" "FILE" server.ssh.banner_file: NewSessions reads, "the same from a file";
        "ssh-auth-methods" "NAME" server.ssh.auth_methods: NewSessions repeats, "allow only these ways to log in";
        "max-channels" "N" server.ssh.max_channels: NewSessions, "SFTP sessions over one connection at the same time";
        "ssh-kex" "NAME" server.ssh.kex: NewSessions repeats, "allow only these key exchanges";
        "ssh-host-key-algorithm" "NAME" server.ssh.host_key_algorithms: NewSessions repeats, "allow only these signatures of host keys";
        "ssh-cipher" "NAME" server.ssh.ciphers: NewSessions repeats, "allow only these ciphers";
        "ssh-mac" "NAME" server.ssh.macs: NewSessions repeats, "allow only these MACs, for ciphers that need one";
        "ssh-public-key-algorithm" "NAME" server.ssh.public_key_algorithms: NewSessions repeats, "allow only these signatures of users' keys";
        "ssh-rekey-bytes" "BYTES" server.ssh.rekey_bytes: NewSessions, "new keys after so many bytes";
        "ssh-rekey-time" "SECONDS" server.ssh.rekey_time: NewSessions, "new keys after so long";
        "ssh-keepalive" "SECONDS" server.ssh.keepalive: NewSessions, "ask a silent client for a sign of life";
        "state-dir" "DIR" server.state_dir: NewSessions keeps, "where keys are kept that the server makes";
    }
    Data {
        "passive-ports" "A-B" server.passive_ports: NewSessions of_shared_ports, "ports of passive data connections";
        "passive-address" "ADDR|NAME" server.passive_address: NewSessions, "address told to clients outside";
        "passive-local-networks" "NETWORK" server.passive_local_networks: NewSessions repeats, "clients told the address they connected to";
        "shared-data-ports" "" server.shared_data_ports: AtStart, "all sessions share the few passive-ports";
        "active-mode" "" server.active_mode: NewSessions, "allow PORT and EPRT";
        "data-peer" "WHO" server.data_peer: NewSessions, "data connections from same-address, same-network or any";
        "data-peer-allow" "NETWORK" server.data_peer_allow: NewSessions repeats, "data connections also from there";
        "data-connect-timeout" "SECONDS" server.data_connect_timeout: NewSessions, "wait for a data connection";
        "strict-end" "" server.strict_end: NewSessions, "an upload is cut off when its client hangs up at its end";
        "ascii" "" server.ascii: NewSessions, "TYPE A converts line ends; otherwise files travel as they are";
        "list-time" "utc|local|ZONE" server.list_time: NewSessions, "in what time LIST shows when files were changed";
        "host-names" "NAME" server.host_names: NewSessions repeats, "names that HOST accepts, besides those of certificates";
    }
    Files {
        "atomic-uploads" "" server.atomic_uploads: NewSessions subsystem, "uploads appear when they are whole";
        "fsync-uploads" "" server.fsync_uploads: NewSessions subsystem, "acknowledge an upload when the disk has it";
        "delete-broken-uploads" "" server.delete_broken_uploads: NewSessions subsystem, "delete uploads that were cut off";
        "cross-device-rename" "" server.cross_device_rename: NewSessions subsystem, "rename files between two file systems by copying them";
        "quota-bytes" "BYTES" server.quota_bytes: NewSessions, "bytes that the files of a user's home may take";
        "quota-files" "N" server.quota_files: NewSessions, "files that a user's home may hold";
        "quota-full" "refuse|delete-oldest" server.quota_full: NewSessions, "what happens when a quota is full";
        "retention" "SECONDS" server.retention: NewSessions, "delete files of who may store that are older; 30d is thirty days";
        "own-for" "SECONDS" server.own_for: NewSessions, "a device may finish what it has made so long after its session";
        "upload-receipt" "no|log|sidecar" server.upload_receipt: NewSessions subsystem, "SHA-256 of uploads: in the log, and in FILE.sha256";
        "file-mode" "OCTAL" server.file_mode: NewSessions, "permission bits of uploaded files";
        "dir-mode" "OCTAL" server.dir_mode: NewSessions, "permission bits of new directories";
        "dot-files" "show|hide|deny" server.dot_files: NewSessions subsystem, "names that begin with a dot";
        "deny-names" "PATTERN" server.deny_names: NewSessions repeats subsystem, "names nobody may see or use";
        "deny-commands" "VERB" server.deny_commands: NewSessions repeats, "commands that are refused";
        "site-symlink" "no|yes|anywhere" server.site_symlink: NewSessions, "symbolic links that clients may make";
        "max-recursion" "N" server.max_recursion: NewSessions positive, "entries one recursive command may visit";
    }
    Limits {
        "max-per-address" "N" server.max_per_address: NewSessions, "sessions of one address";
        "max-per-user" "N" server.max_per_user: NewSessions, "sessions of one user";
        "max-unauthenticated" "N" server.max_unauthenticated: NewSessions, "sessions that have not logged in";
        "max-unauthenticated-per-address" "N" server.max_unauthenticated_per_address: NewSessions, "the same, of one address";
        "max-commands-per-second" "N" server.max_commands_per_second: NewSessions, "commands a second of one session";
        "idle-timeout" "SECONDS" server.idle_timeout: NewSessions, "end a session that is silent";
        "stall-timeout" "SECONDS" server.stall_timeout: NewSessions, "end a transfer that stands still";
        "tcp-congestion" "auto|NAME|system" server.tcp_congestion: NewSessions, "congestion control of downloads";
        "session-timeout" "SECONDS" server.session_timeout: NewSessions, "end a session that lasts";
        "rate-down" "BYTES" server.rate_down: AtOnce, "bytes a second to all clients together";
        "rate-up" "BYTES" server.rate_up: AtOnce, "bytes a second from all clients together";
        "session-rate-down" "BYTES" server.session_rate_down: NewSessions subsystem, "bytes a second to one session";
        "session-rate-up" "BYTES" server.session_rate_up: NewSessions subsystem, "bytes a second from one session";
    }
    Cluster {
        "node" "I/N" server.node: NewSessions of_shared_ports, "number of this node; it takes its slice of passive-ports";
        "proxy-from" "NETWORK" server.proxy_from: NewSessions repeats of_shared_ports, "believe the PROXY header of these balancers";
        "proxy-data" "header|tls" server.proxy_data: NewSessions of_shared_ports, "what tells whose a balancer's data connection is";
        "listen-health" "[ADDR:]PORT" server.listen_health: AtStart repeats binds, "answer a balancer's health check there";
        "drain-file" "FILE" server.drain_file: AtStart reads, "fail the health check while FILE exists";
        "drain-delay" "SECONDS" server.drain_delay: AtStart, "fail the health check so long before the ports close";
        "shared-dir" "DIR" server.shared_dir: AtStart keeps, "share bans and users' sessions with other nodes there";
    }
    Logging {
        "log-level" "LEVEL" log_level: AtOnce, "off, error, warn, info, debug or trace";
        "log-format" "text|json" log_format: AtOnce, "a line is a sentence or a JSON object";
        "log-file" "FILE" log_file: AtStart writes, "log there instead of standard error";
        "syslog" "" syslog: AtStart, "log to syslogd instead of standard error";
        "node-name" "NAME" server.node_name: NewSessions, "name of this machine in every line of the log";
        "transfer-log" "FILE" transfer_log: AtStart writes subsystem, "write transfers there in xferlog format";
    }
    Running {
        "daemon" "" daemon: AtStart, "go to the background when the ports are bound";
        "pid-file" "FILE" pid_file: AtStart writes, "write the process number there";
        "user" "NAME[:GROUP]" user: AtStart, "give up root for this user when the ports are bound";
        "control-socket" "FILE" control_socket: AtStart writes, "answer wharfd who, status and unban there";
        "metrics-file" "FILE" metrics_file: AtStart writes, "write counts for Prometheus there";
        "listen-metrics" "[ADDR:]PORT" listen_metrics: AtStart repeats binds, "serve counts for Prometheus, and a status page, there over HTTP";
        "metrics-token-file" "FILE" metrics_token_file: AtStart reads secret, "who asks there must know the token in FILE";
        "on-upload" "PROGRAM" on_upload: AtOnce runs, "run after each whole upload";
        "on-login" "PROGRAM" on_login: AtOnce runs, "run after each login";
        "on-delete" "PROGRAM" on_delete: AtOnce runs, "run after each deletion of a file";
        "on-download" "PROGRAM" on_download: AtOnce runs, "run after each whole download";
        "on-rename" "PROGRAM" on_rename: AtOnce runs, "run after each rename";
        "hook-timeout" "SECONDS" hook_timeout: AtOnce positive, "end a program of a hook after this time";
        "landlock" "auto|yes|no" landlock: AtStart, "let the kernel shut us in to what is served";
        "sandbox" "auto|yes|no" sandbox: AtStart, "let the kernel refuse calls that no file server needs";
    }
}

impl Default for Mode {
    fn default() -> Self {
        Mode(0o644)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_read_again() {
        let settings = Settings::default();
        for key in KEYS {
            for value in key.shown(&settings) {
                let mut other = Settings::default();
                key.clear(&mut other);
                assert_eq!(key.set(&mut other, &value), Ok(()), "{} {value}", key.name);
            }
        }
    }

    #[test]
    fn names_are_unique() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(
                KEYS[at + 1..].iter().all(|other| other.name != key.name),
                "{}",
                key.name
            );
        }
    }

    #[test]
    fn what_shared_ports_are_made_of_waits_for_the_next_start() {
        let (mut shared, own) = (Settings::default(), Settings::default());
        shared.server.shared_data_ports = true;
        for name in ["passive-ports", "node", "proxy-from", "proxy-data"] {
            let key = Key::find(name).unwrap();
            assert_eq!(key.reload(&own), Reload::NewSessions, "{name}");
            assert_eq!(key.reload(&shared), Reload::AtStart, "{name}");
        }
    }

    #[test]
    fn what_is_fixed_stays_whatever_a_reload_says() {
        let (mut before, mut new) = (Config::default(), Config::default());
        before.threads = 7;
        before.drain_file = Some("/drain".into());
        new.listen.push("2121".parse().unwrap());
        new.banner = "new".into();
        let kept = new.keeping_what_is_fixed(&before);
        assert_eq!((kept.threads, kept.listen.len()), (7, 0));
        assert_eq!(kept.drain_file, before.drain_file);
        assert_eq!(kept.banner, "new");
    }

    #[test]
    fn zero_is_a_mistake_where_it_is_no_limit() {
        let refused = KEYS.iter().filter(|key| {
            let takes_number = matches!(key.takes, "N" | "SECONDS" | "BYTES" | "N[..N]");
            takes_number && key.set(&mut Settings::default(), "0").is_err()
        });
        let names: Vec<_> = refused.map(|key| key.name).collect();
        let want = ["threads", "ban-seconds", "max-recursion", "hook-timeout"];
        assert_eq!(names, want);
        let find = |name| Key::find(name).unwrap();
        for (name, value, is_well) in [
            ("ban-seconds", "0..600", false),
            ("ban-seconds", "0.5", true),
            ("threads", "10", true),
        ] {
            let mut settings = Settings::default();
            let before = find(name).shown(&settings);
            let set = find(name).set(&mut settings, value);
            assert_eq!(set.is_ok(), is_well, "{name} {value}: {set:?}");
            let is_as_before = find(name).shown(&settings) == before;
            assert_eq!(is_as_before, !is_well, "{name} {value}");
        }
    }
}
