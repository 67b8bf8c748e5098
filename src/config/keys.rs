//! The one table of names: a row is a flag (`--idle-timeout`), an environment
//! variable (`WHARFD_IDLE_TIMEOUT`), a line of the file (`idle-timeout 300`)
//! and an entry of wharfd.conf(5).

use super::value::Setting;
use super::{Config, Mode};

/// One row.
pub struct Key {
    /// The name, in words with hyphens.
    pub name: &'static str,
    /// What it takes, for the help; empty for yes or no.
    pub takes: &'static str,
    /// Where it stands in help and man page.
    pub section: Section,
    /// What it does, in one line.
    pub help: &'static str,
    field: fn(&mut Config) -> &mut dyn Setting,
    repeats: Repeats,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeats {
    No,
    Yes,
}

/// Groups of the help and the man page, in their order.
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
    pub fn set(&self, config: &mut Config, text: &str) -> Result<(), String> {
        (self.field)(config).accept(text)
    }

    /// The values in force, as text.
    pub fn shown(&self, config: &Config) -> Vec<String> {
        (self.field)(&mut config.clone()).shown()
    }

    /// Empties a list.
    pub fn clear(&self, config: &mut Config) {
        (self.field)(config).clear();
    }

    /// Gives `to` the values that `from` has.
    pub fn copy(&self, from: &Config, to: &mut Config) {
        self.clear(to);
        for value in self.shown(from) {
            let read = self.set(to, &value);
            debug_assert_eq!(read, Ok(()), "{}: a test reads what is shown", self.name);
        }
    }

    /// Whether it is yes or no, and so needs no value on the command line.
    pub fn is_switch(&self) -> bool {
        self.takes.is_empty()
    }

    /// Whether it may be given several times.
    pub fn repeats(&self) -> bool {
        self.repeats == Repeats::Yes
    }

    /// The row called `name`.
    pub fn find(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name)
    }
}

macro_rules! keys {
    ($($section:ident { $($name:literal $takes:literal $($field:ident).+ $($repeats:ident)?, $help:literal;)+ })+) => {
        /// Every setting.
        pub const KEYS: &[Key] = &[$($(
            Key {
                name: $name,
                takes: $takes,
                section: Section::$section,
                help: $help,
                field: |config| &mut config.$($field).+,
                repeats: keys!(@ $($repeats)?),
            },
        )+)+];
    };
    (@) => { Repeats::No };
    (@ repeats) => { Repeats::Yes };
}

keys! {
    Serving {
        "profile" "NAME" program.profile, "begin with a set of settings: mirror, home, upload, camera, scanner";
        "listen" "[ADDR:]PORT" listen repeats, "serve FTP there; a port alone is every address, IPv4 and IPv6";
        "listen-ftps" "[ADDR:]PORT" listen_ftps repeats, "serve FTPS there from the first byte (implicit)";
        "listen-sftp" "[ADDR:]PORT" listen_sftp repeats, "serve SFTP there";
        "banner" "TEXT" banner, "text of the 220 greeting, one line";
        "threads" "N" threads, "threads, and so sessions, at the same time";
        "drain-seconds" "N" program.drain, "how long SIGTERM lets transfers finish";
    }
    Users {
        "users" "FILE" program.users, "the users file, see wharfd-users(5)";
        "system-users" "" program.system_users, "let users of the system log in; needs root";
        "system-rights" "RIGHTS" program.system_rights, "what users of the system may do in their homes";
        "auth-helper" "WORD" program.auth_helper repeats, "ask this program (checkpassword); once for each argument";
        "auth-helper-rights" "RIGHTS" program.auth_helper_rights, "what its users may do where it does not say";
        "anonymous" "DIR" program.anonymous, "serve DIR to anonymous users";
        "anonymous-rights" "RIGHTS" program.anonymous_rights, "what anonymous users may do";
        "login-tries" "N" login_tries, "failed logins that close the connection";
        "login-delay" "SECONDS" login_delay, "wait after a failed login";
        "login-timeout" "SECONDS" login_timeout, "how long a login may take";
        "ban-after" "N" ban_after, "failed logins from one address that ban it";
        "ban-seconds" "N" ban_time, "how long a ban holds";
        "allow" "NETWORK" allow repeats, "only these networks may connect";
        "deny" "NETWORK" deny repeats, "these networks may not connect";
    }
    Encryption {
        "tls-cert" "FILE" tls_cert repeats, "certificate and chain in PEM; switches FTPS on";
        "tls-key" "FILE" tls_key repeats, "its key in PEM, if not in the same file";
        "tls-key-password-file" "FILE" tls_key_password_file, "password of an encrypted key";
        "self-signed" "" self_signed, "make a key and certificate on first start";
        "self-signed-name" "NAME" self_signed_names repeats, "name or address in that certificate";
        "tls-required" "no|login|data" tls_required, "what named users need TLS for";
        "tls-required-anonymous" "no|login|data" tls_required_anonymous, "what anonymous users need TLS for";
        "tls-reuse" "off|prefer|require" tls_reuse, "data connections resume the control connection's session";
        "tls-relaxed-close" "" tls_relaxed_close, "accept uploads that end without close_notify";
        "tls-client-ca" "FILE" tls_client_ca, "authorities of client certificates";
        "tls-client-certificate" "no|optional|required" tls_client_certificate, "whether clients show one";
        "ccc" "" ccc, "allow CCC, back to plain text";
        "host-key" "FILE" host_key repeats, "key of the SFTP server; made if missing";
        "ssh-banner" "TEXT" ssh.banner, "text that SFTP clients show before the login";
        "ssh-kex" "NAME" ssh.kex repeats, "allow only these key exchanges";
        "ssh-host-key-algorithm" "NAME" ssh.host_key_algorithms repeats, "allow only these signatures of host keys";
        "ssh-cipher" "NAME" ssh.ciphers repeats, "allow only these ciphers";
        "ssh-mac" "NAME" ssh.macs repeats, "allow only these MACs, for ciphers that need one";
        "ssh-public-key-algorithm" "NAME" ssh.public_key_algorithms repeats, "allow only these signatures of users' keys";
        "ssh-rekey-bytes" "BYTES" ssh.rekey_bytes, "new keys after so many bytes";
        "ssh-rekey-time" "SECONDS" ssh.rekey_time, "new keys after so long";
        "ssh-keepalive" "SECONDS" ssh.keepalive, "ask a silent client for a sign of life";
        "state-dir" "DIR" state_dir, "where keys are kept that the server makes";
    }
    Data {
        "passive-ports" "A-B" passive_ports, "ports of passive data connections";
        "passive-address" "ADDR|NAME" passive_address, "address told to clients outside";
        "passive-local-networks" "NETWORK" passive_local_networks repeats, "clients told the address they connected to";
        "shared-data-ports" "" shared_data_ports, "all sessions share the few passive-ports";
        "active-mode" "" active_mode, "allow PORT and EPRT";
        "data-peer" "WHO" data_peer, "data connections from same-address, same-network or any";
        "data-peer-allow" "NETWORK" data_peer_allow repeats, "data connections also from there";
        "data-connect-timeout" "SECONDS" data_connect_timeout, "wait for a data connection";
    }
    Files {
        "atomic-uploads" "" atomic_uploads, "uploads appear when they are whole";
        "fsync-uploads" "" fsync_uploads, "acknowledge an upload when the disk has it";
        "delete-broken-uploads" "" delete_broken_uploads, "delete uploads that were cut off";
        "quota-bytes" "BYTES" quota_bytes, "bytes that the files of a user's home may take";
        "quota-files" "N" quota_files, "files that a user's home may hold";
        "quota-full" "refuse|delete-oldest" quota_full, "what happens when a quota is full";
        "retention" "SECONDS" retention, "delete files of who may store that are older; 30d is thirty days";
        "upload-receipt" "no|log|sidecar" upload_receipt, "SHA-256 of uploads: in the log, and in FILE.sha256";
        "file-mode" "OCTAL" file_mode, "permission bits of uploaded files";
        "dir-mode" "OCTAL" dir_mode, "permission bits of new directories";
        "dot-files" "show|hide|deny" dot_files, "names that begin with a dot";
        "deny-names" "PATTERN" deny_names repeats, "names nobody may see or use";
        "deny-commands" "VERB" deny_commands repeats, "commands that are refused";
        "site-symlink" "" site_symlink, "allow SITE SYMLINK";
        "max-recursion" "N" max_recursion, "entries one recursive command may visit";
    }
    Limits {
        "max-per-address" "N" max_per_address, "sessions of one address";
        "max-per-user" "N" max_per_user, "sessions of one user";
        "max-unauthenticated" "N" max_unauthenticated, "sessions that have not logged in";
        "max-unauthenticated-per-address" "N" max_unauthenticated_per_address, "the same, of one address";
        "max-commands-per-second" "N" max_commands_per_second, "commands a second of one session";
        "idle-timeout" "SECONDS" idle_timeout, "end a session that is silent";
        "stall-timeout" "SECONDS" stall_timeout, "end a transfer that stands still";
        "session-timeout" "SECONDS" session_timeout, "end a session that lasts";
        "rate-down" "BYTES" rate_down, "bytes a second to all clients together";
        "rate-up" "BYTES" rate_up, "bytes a second from all clients together";
        "session-rate-down" "BYTES" session_rate_down, "bytes a second to one session";
        "session-rate-up" "BYTES" session_rate_up, "bytes a second from one session";
    }
    Cluster {
        "node" "I/N" node, "number of this node; it takes its slice of passive-ports";
        "proxy-from" "NETWORK" proxy_from repeats, "believe the PROXY header of these balancers";
        "proxy-data" "header|tls" proxy_data, "what tells whose a balancer's data connection is";
        "listen-health" "[ADDR:]PORT" listen_health repeats, "answer a balancer's health check there";
        "drain-file" "FILE" drain_file, "fail the health check while FILE exists";
        "drain-delay" "SECONDS" drain_delay, "fail the health check so long before the ports close";
        "shared-dir" "DIR" shared_dir, "share bans and users' sessions with other nodes there";
    }
    Logging {
        "log-level" "LEVEL" program.log_level, "off, error, warn, info, debug or trace";
        "log-format" "text|json" program.log_format, "a line is a sentence or a JSON object";
        "log-file" "FILE" program.log_file, "log there instead of standard error";
        "syslog" "" program.syslog, "log to syslogd instead of standard error";
        "node-name" "NAME" node_name, "name of this machine in every line of the log";
        "transfer-log" "FILE" program.transfer_log, "write transfers there in xferlog format";
    }
    Running {
        "daemon" "" program.daemon, "go to the background when the ports are bound";
        "pid-file" "FILE" program.pid_file, "write the process number there";
        "user" "NAME[:GROUP]" program.user, "give up root for this user when the ports are bound";
        "control-socket" "FILE" program.control_socket, "answer wharfd who, status and unban there";
        "metrics-file" "FILE" program.metrics_file, "write counts for Prometheus there";
        "listen-metrics" "[ADDR:]PORT" program.listen_metrics repeats, "serve counts for Prometheus there, over HTTP";
        "on-upload" "PROGRAM" program.on_upload, "run after each whole upload";
        "on-login" "PROGRAM" program.on_login, "run after each login";
        "on-delete" "PROGRAM" program.on_delete, "run after each deletion of a file";
        "hook-timeout" "SECONDS" program.hook_timeout, "end a program of a hook after this time";
        "landlock" "auto|yes|no" program.landlock, "let the kernel shut us in to what is served";
        "sandbox" "auto|yes|no" program.sandbox, "let the kernel refuse calls that no file server needs";
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
        let config = Config::default();
        for key in KEYS {
            for value in key.shown(&config) {
                let mut other = Config::default();
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
}
