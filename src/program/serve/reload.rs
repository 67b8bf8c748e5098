//! SIGHUP: settings, users and certificates are read again, and the logs are
//! opened again. Sessions keep what they began with.

use wharf::config::{Config, Key};

use super::super::assemble::authenticator;
use super::super::cli::{self, Wish};
use super::Daemon;

/// Settings that are looked at once, at the start.
const AT_START: &[&str] = &[
    "listen",
    "listen-ftps",
    "listen-sftp",
    "threads",
    "shared-data-ports",
    "listen-health",
    "drain-file",
    "drain-delay",
    "shared-dir",
    "log-file",
    "syslog",
    "transfer-log",
    "daemon",
    "pid-file",
    "user",
    "control-socket",
    "metrics-file",
    "listen-metrics",
    "landlock",
    "sandbox",
];

/// The keys of `AT_START` whose values differ, with both.
fn differences(given: &Config, new: &Config) -> Vec<(&'static str, String, String)> {
    let shown = |key: &Key, config: &Config| match key.shown(config) {
        values if values.is_empty() => "nothing".to_owned(),
        values => values.join(" "),
    };
    AT_START
        .iter()
        .filter_map(|name| Key::find(name))
        .map(|key| (key.name, shown(key, given), shown(key, new)))
        .filter(|(_, given, new)| given != new)
        .collect()
}

impl Daemon {
    /// Reads again what may change while we run; whatever can't be read leaves
    /// the old in force, and what has to wait for the next start is named.
    pub(super) fn reload(&self) {
        self.notify.reloading();
        log::info!("reading settings and users again");
        self.logs.reopen();
        if let Some(log) = &self.transfer_log
            && let Err(error) = log.reopen()
        {
            log::error!("{error}; transfers go on in the old file");
        }
        match cli::read(&self.invocation.arguments, cli::environment()) {
            Ok(Wish::Serve(new)) => self.take_on(new.config),
            Ok(Wish::Print(_)) => {}
            Err(mistakes) => {
                for mistake in mistakes {
                    log::error!("{mistake}; the old settings stay in force");
                }
            }
        }
        self.notify.ready();
    }

    fn take_on(&self, mut new: Config) {
        let waiting = differences(&self.given, &new);
        let in_force = self.running.services().config();
        for key in AT_START.iter().filter_map(|name| Key::find(name)) {
            key.copy(&in_force, &mut new);
        }
        let prepared = authenticator(&new).and_then(|users| {
            self.running
                .prepare(new.clone(), users)
                .map_err(|error| error.to_string())
        });
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(what) => {
                log::error!("{what}; the old settings and users stay in force");
                return;
            }
        };
        prepared.apply();
        self.logs.change(&new);
        match &self.hooks {
            Some(hooks) => hooks.change(&new.program),
            None if new.program.starts_programs() => {
                log::warn!("on-upload, on-login, on-delete: the first hook needs a new start");
            }
            None => {}
        }
        self.domain.warn_about(&new);
        for (key, given, new) in waiting {
            log::warn!("{key}: still {given}; {new} needs a new start");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_the_next_start_is_named() {
        let mut given = Config::default();
        for name in AT_START {
            assert!(Key::find(name).is_some(), "{name} is no key");
        }
        let mut new = given.clone();
        new.idle_timeout = std::time::Duration::from_secs(1);
        new.banner = "other".into();
        assert_eq!(differences(&given, &new), []);
        new.threads = 5;
        new.listen = vec!["2121".parse().unwrap(), "21".parse().unwrap()];
        given.program.syslog = true;
        let found: Vec<String> = differences(&given, &new)
            .into_iter()
            .map(|(key, given, new)| format!("{key}: {given} {new}"))
            .collect();
        assert_eq!(
            found,
            [
                "listen: nothing 2121 21",
                "threads: 200 5",
                "syslog: yes no"
            ]
        );
    }
}
