//! Everything that `wharfd` can be told: what the server is told, and the
//! daemon's own part, for which an embedding program has its own ways.

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::profile::Profile;
use super::value::{ConfigWord, expected, words};
use super::{Config, Endpoint};
use crate::auth::Perms;

/// The settings of `wharfd`, a row of [`KEYS`](super::keys::KEYS) each.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the server is told; it never sees the others.
    pub server: Config,
    /// The set of settings that was applied before all others.
    pub profile: Option<&'static Profile>,
    /// The directory that anonymous users see; `None`: no anonymous users.
    pub anonymous: Option<PathBuf>,
    /// What anonymous users may do there.
    pub anonymous_rights: Perms,
    /// The users file; `None`: no named users.
    pub users: Option<PathBuf>,
    /// The users of the system may log in.
    pub system_users: bool,
    /// What they may do in their homes, as far as the operating system lets
    /// them.
    pub system_rights: Perms,
    /// Groups of which users of the system must be members; empty: none.
    pub system_groups: Vec<String>,
    /// Homes of users of the system, `%u` for the name; `None`: their own.
    pub system_home: Option<PathBuf>,
    /// Authorities of users' certificates, for SFTP.
    pub ssh_user_ca: Option<PathBuf>,
    /// The program that is asked about users, with its arguments
    /// (checkpassword interface); empty: none.
    pub auth_helper: Vec<String>,
    /// What users of that program may do where it does not say.
    pub auth_helper_rights: Perms,
    /// The least important kind of line that is logged.
    pub log_level: LevelFilter,
    /// How a line of the log looks.
    pub log_format: LogFormat,
    /// The log goes to this file instead of standard error; it is opened
    /// again on SIGHUP.
    pub log_file: Option<PathBuf>,
    /// The transfer log in xferlog format.
    pub transfer_log: Option<PathBuf>,
    /// The log goes to syslogd instead of standard error.
    pub syslog: bool,
    /// Go to the background when the ports are bound.
    pub daemon: bool,
    /// How long SIGTERM lets transfers finish.
    pub drain: Duration,
    /// The process number is written to this file.
    pub pid_file: Option<PathBuf>,
    /// Whom root becomes when the ports are bound: `NAME`, `UID`,
    /// `NAME:GROUP` or `UID:GID`.
    pub user: Option<String>,
    /// Whether the process shuts itself in with Landlock.
    pub landlock: Sandbox,
    /// Whether system calls that no file server needs are refused.
    pub sandbox: Sandbox,
    /// Where `wharfd who` and its kin ask; only the owner may.
    pub control_socket: Option<PathBuf>,
    /// Counts for Prometheus are written to this file every 15 seconds.
    pub metrics_file: Option<PathBuf>,
    /// Prometheus may read counts there, over HTTP.
    pub listen_metrics: Vec<Endpoint>,
    /// Who asks there must know the token in this file.
    pub metrics_token_file: Option<PathBuf>,
    /// What `wharfd acme` is told, beside the server.
    pub acme: Option<String>,
    /// Run after each whole upload, with `upload` and the path as arguments.
    pub on_upload: Option<PathBuf>,
    /// Run after each login, with `login` as argument.
    pub on_login: Option<PathBuf>,
    /// Run after each deletion of a file, with `delete` and the path.
    pub on_delete: Option<PathBuf>,
    /// Run after each whole download, with `download` and the path.
    pub on_download: Option<PathBuf>,
    /// Run after each rename, with `rename`, the old path and the new one.
    pub on_rename: Option<PathBuf>,
    /// How long such a program may take.
    pub hook_timeout: Duration,
    /// The file these settings were read from.
    pub config_file: Option<PathBuf>,
}

impl Settings {
    /// Whether programs of the administrator are started.
    pub fn starts_programs(&self) -> bool {
        let hooks = [
            &self.on_upload,
            &self.on_login,
            &self.on_delete,
            &self.on_download,
            &self.on_rename,
        ];
        hooks.iter().any(|hook| hook.is_some())
    }
}

/// Whether the process shuts itself in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// Where the kernel can and the settings let it.
    Auto,
    /// It must.
    Yes,
    /// It does not.
    No,
}

words!(Sandbox: "auto" => Sandbox::Auto, "yes" => Sandbox::Yes, "no" => Sandbox::No);

impl Default for Settings {
    fn default() -> Self {
        Settings {
            server: Config::default(),
            profile: None,
            anonymous: None,
            anonymous_rights: Perms::READ_ONLY,
            users: None,
            system_users: false,
            // Whoever has an account writes to their home already.
            system_rights: Perms::ALL,
            system_groups: Vec::new(),
            system_home: None,
            ssh_user_ca: None,
            auth_helper: Vec::new(),
            auth_helper_rights: Perms::READ_ONLY,
            drain: Duration::from_secs(30),
            transfer_log: None,
            log_level: LevelFilter::Info,
            log_format: LogFormat::Text,
            log_file: None,
            syslog: false,
            daemon: false,
            pid_file: None,
            user: None,
            landlock: Sandbox::Auto,
            sandbox: Sandbox::Auto,
            control_socket: None,
            metrics_file: None,
            listen_metrics: Vec::new(),
            metrics_token_file: None,
            acme: None,
            on_upload: None,
            on_login: None,
            on_delete: None,
            on_download: None,
            on_rename: None,
            hook_timeout: Duration::from_secs(60),
            config_file: None,
        }
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level and sentence.
    Text,
    /// One JSON object a line.
    Json,
}

words!(LogFormat: "text" => LogFormat::Text, "json" => LogFormat::Json);
words!(LevelFilter:
    "off" => LevelFilter::Off,
    "error" => LevelFilter::Error,
    "warn" => LevelFilter::Warn,
    "info" => LevelFilter::Info,
    "debug" => LevelFilter::Debug,
    "trace" => LevelFilter::Trace,
);
