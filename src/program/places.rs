//! Where each value in force was given, so that a mistake names its place.

use std::collections::HashMap;

use wharf::daemon::{KEYS, Key, Mistake, Settings};

/// `FILE:LINE`, a flag or an environment variable, by option; options with
/// their defaults are not in it.
#[derive(Default)]
pub struct Places(HashMap<&'static str, String>);

impl Places {
    /// `key` was given at `place`, which is stronger than what was known.
    pub fn put(&mut self, key: &'static str, place: &str) {
        self.0.insert(key, place.to_owned());
    }

    /// Where `key` was given.
    pub fn of(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// A mistake of `key`. A flag says its name by itself.
    pub fn mistake(&self, key: &str, what: String) -> Mistake {
        let place = self.of(key).unwrap_or("wharfd").to_owned();
        let what = if place == format!("--{key}") {
            what
        } else {
            format!("{key}: {what}")
        };
        Mistake { place, what }
    }

    /// The mistake behind what the library says of all settings together: it
    /// is of the first option whose name the text has, or whose value.
    pub fn blame(&self, what: String, settings: &Settings) -> Mistake {
        let given = || KEYS.iter().filter(|key| self.of(key.name).is_some());
        let words = what.split(|c: char| !c.is_alphanumeric() && c != '-');
        let mut words = words.filter_map(|word| given().find(|key| key.name == word));
        let by_value = || {
            let in_text = |key: &Key| {
                let values = key.shown(settings);
                let named = values
                    .into_iter()
                    .filter(|value| what.contains(value.as_str()));
                named.map(|value| value.len()).max()
            };
            let longest = given().max_by_key(|key| in_text(key));
            longest.filter(|key| in_text(key) > Some(2))
        };
        match words.next().or_else(by_value) {
            Some(key) => self.mistake(key.name, what),
            None => Mistake {
                place: "wharfd".into(),
                what,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_behind_a_text_is_found() {
        let (mut settings, mut places) = (Settings::default(), Places::default());
        for (key, value, line) in [
            ("tls-cert", "/etc/wharf/cert.pem", 3),
            ("tls-required", "data", 4),
            ("host-key", "/etc/wharf/key", 5),
            ("ssh-kex", "nonsense", 6),
        ] {
            Key::find(key).unwrap().set(&mut settings, value).unwrap();
            places.put(key, &format!("conf:{line}"));
        }
        for (what, place) in [
            ("tls-key must be given once for each tls-cert", "conf:3"),
            ("tls-required needs a certificate", "conf:4"),
            ("reading the host key /etc/wharf/key: not found", "conf:5"),
            ("unknown key exchange 'nonsense'", "conf:6"),
            ("the disk is full", "wharfd"),
        ] {
            let mistake = places.blame(what.into(), &settings);
            assert_eq!(mistake.place, place, "{what}");
        }
    }
}
