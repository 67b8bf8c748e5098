//! SIGHUP: settings, users, certificates and host keys are read again and put
//! in force together, or none of them; the logs are opened again. Sessions keep
//! what they began with.

use wharf::daemon::{KEYS, Key, Mistake, Reload, Settings};

use super::super::assemble::authenticator;
use super::super::cli::{self, Action};
use super::Daemon;

/// The options that wait for the next start and whose values differ from
/// those of this start, with both.
fn differences(given: &Settings, new: &Settings) -> Vec<(&'static str, String, String)> {
    let shown = |key: &Key, settings: &Settings| match key.shown(settings) {
        values if values.is_empty() => "nothing".to_owned(),
        values => values.join(" "),
    };
    let waiting = KEYS
        .iter()
        .filter(|key| key.reload(given) == Reload::AtStart);
    waiting
        .map(|key| (key.name, shown(key, given), shown(key, new)))
        .filter(|(_, given, new)| given != new)
        .collect()
}

impl Daemon {
    /// Reads again what may change while we run. After one mistake everything
    /// stays as it was; what has to wait for the next start is named.
    pub(super) fn reload(&mut self) {
        self.notify.reloading();
        log::info!("reading settings, users and keys again");
        self.logs.reopen();
        if let Some(log) = &self.transfer_log {
            log.reopen();
        }
        if let Err(mistakes) = self.read_again() {
            let more = match mistakes.len() {
                0 | 1 => String::new(),
                count => format!(" (and {} more; wharfd --check shows them)", count - 1),
            };
            if let Some(first) = mistakes.first() {
                log::error!("{first}{more}; settings, users and keys stay in force as they were");
            }
        }
        self.notify.ready();
    }

    fn read_again(&mut self) -> Result<(), Vec<Mistake>> {
        let mut new = match cli::read(&self.invocation.arguments, cli::environment())? {
            Action::Serve(new) => new,
            Action::Print(_) => return Ok(()),
        };
        let waiting = differences(&self.given, &new.settings);
        let in_force = &self.invocation.settings;
        for key in KEYS {
            if key.reload(in_force) == Reload::AtStart {
                key.copy(in_force, &mut new.settings);
            }
        }
        let blame = |what| vec![new.places.blame(what, &new.settings)];
        let users = authenticator(&new.settings, &self.sources).map_err(blame)?;
        let prepared = self.running.prepare(new.settings.server.clone(), users);
        let prepared = prepared.map_err(|error| blame(error.to_string()))?;

        if let Some(monitor) = &self.sources.monitor {
            monitor.reload().map_err(|error| blame(error.to_string()))?;
        }
        // Nothing fails from here on.
        prepared.apply();
        self.logs.change(&new.settings);
        match &self.hooks {
            Some(hooks) => hooks.change(&new.settings),
            None if new.settings.starts_programs() => {
                log::warn!("on-upload and the other hooks: the first one needs a new start");
            }
            None => {}
        }
        self.domain.warn_about(&new.settings);
        for (key, given, new) in waiting {
            log::warn!("{key}: still {given}; {new} needs a new start");
        }
        self.invocation.settings = new.settings;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_the_next_start_is_named() {
        let mut given = Settings::default();
        let mut new = given.clone();
        new.server.idle_timeout = std::time::Duration::from_secs(1);
        new.server.banner = "other".into();
        new.server.passive_ports.first = 50000;
        assert_eq!(differences(&given, &new), []);
        new.server.threads = 5;
        new.server.listen = vec!["2121".parse().unwrap(), "21".parse().unwrap()];
        given.syslog = true;
        given.server.shared_data_ports = true;
        new.server.shared_data_ports = true;
        let found: Vec<String> = differences(&given, &new)
            .into_iter()
            .map(|(key, given, new)| format!("{key}: {given} {new}"))
            .collect();
        assert_eq!(
            found,
            [
                "listen: nothing 2121 21",
                "threads: 200 5",
                "passive-ports: 49152-65535 50000-65535",
                "syslog: yes no"
            ]
        );
    }
}
