//! Settings from text: a file's lines, environment variables, flags; each
//! source is stronger than the one before, and a mistake says where it is
//! and which key may have been meant.

use std::fmt;
use std::io::Read;
use std::path::Path;

use super::keys::{KEYS, Key};
use super::profile::Profile;
use super::settings::Settings;
use crate::sys::open_setting;

/// Largest configuration file.
const FILE_MAX: u64 = 1 << 20;

/// What was wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// `FILE:LINE`, the flag, or the environment variable.
    pub place: String,
    /// What is wrong and what was expected.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Settings of one source, applied together: its values replace those of
/// weaker sources, lists too.
#[derive(Debug, Default)]
pub struct Source {
    settings: Vec<(&'static Key, String, String)>,
    mistakes: Vec<Mistake>,
    /// Keys that there are none of; they are among the mistakes.
    unknown: usize,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Whether Kubernetes makes this variable for a Service called `wharfd`
/// (`WHARFD_SERVICE_HOST`, `WHARFD_PORT_21_TCP_ADDR`). No option is called so.
fn is_of_kubernetes(name: &str) -> bool {
    let rest = name.trim_start_matches("WHARFD_");
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
}

impl Source {
    /// A source without settings.
    pub fn new() -> Self {
        Source::default()
    }

    /// Adds a setting that was found at `place`.
    pub fn add(&mut self, name: &str, value: &str, place: String) {
        match Key::find(name) {
            None => {
                self.unknown += 1;
                let mut what = format!("unknown key '{}'", name.escape_debug());
                if let Some(nearest) = nearest(name, &mut KEYS.iter().map(|key| key.name)) {
                    what.push_str(&format!("; did you mean '{nearest}'?"));
                }
                self.mistakes.push(Mistake { place, what });
            }
            Some(key)
                if !key.repeats
                    && self
                        .settings
                        .iter()
                        .any(|(other, ..)| other.name == key.name) =>
            {
                self.mistakes.push(Mistake {
                    place,
                    what: format!("'{name}' is given twice"),
                });
            }
            Some(key) => self.settings.push((key, value.into(), place)),
        }
    }

    /// The lines of a configuration file, called `name` in messages.
    pub fn from_lines(text: &str, name: &str) -> Self {
        let mut source = Source::new();
        // Editors on Windows write a byte order mark.
        let text = text.trim_start_matches('\u{feff}');
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let value = match value.trim() {
                "" if Key::find(key).is_some_and(Key::is_switch) => "yes",
                value => value,
            };
            source.add(key, value, format!("{name}:{}", number + 1));
        }
        // Another server's file would be a page of mistakes.
        if source.unknown > 4 && source.unknown > source.settings.len() {
            let place = name.to_owned();
            let what = "not a configuration of wharfd: most of its keys are unknown. Those of \
                 vsftpd, pure-ftpd and proftpd are translated by: wharfd import SERVER FILE";
            source.mistakes.truncate(1);
            let what = what.to_owned();
            source.mistakes.insert(0, Mistake { place, what });
        }
        source
    }

    /// Variables called `WHARFD_` and a key; lists are separated by blanks. An
    /// empty one is none.
    pub fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Self {
        let mut source = Source::new();
        let mut ours: Vec<(String, String)> = Vec::new();
        let is_ours = |(name, value): &(String, String)| {
            name.starts_with("WHARFD_") && !value.is_empty() && !is_of_kubernetes(name)
        };
        for variable in variables.filter(is_ours) {
            let place = ours.partition_point(|known| *known < variable);
            ours.insert(place, variable);
        }
        for (variable, value) in ours {
            let name = variable["WHARFD_".len()..]
                .to_ascii_lowercase()
                .replace('_', "-");
            let known = Key::find(&name);
            if known.is_some_and(|key| key.repeats) {
                for value in value.split_whitespace() {
                    source.add(&name, value, variable.clone());
                }
            } else {
                source.add(&name, &value, variable);
            }
        }
        source
    }

    /// The keys that are set here, each with the place of its first value.
    pub fn places(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.settings
            .iter()
            .rev()
            .map(|(key, _, place)| (key.name, place.as_str()))
    }

    /// The first value of a key, if it is set here.
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut settings = self.settings.iter();
        settings
            .find(|(key, ..)| key.name == name)
            .map(|(_, value, _)| value.as_str())
    }

    /// Puts them into `settings`; collects every mistake.
    pub fn apply(self, settings: &mut Settings, mistakes: &mut Vec<Mistake>) {
        mistakes.extend(self.mistakes);
        let mut cleared: Vec<&str> = Vec::new();
        for (key, value, place) in self.settings {
            if key.repeats && !cleared.contains(&key.name) {
                key.clear(settings);
                cleared.push(key.name);
            }
            if let Err(what) = key.set(settings, &value) {
                // A flag says its name by itself.
                let what = if place == format!("--{}", key.name) {
                    what
                } else {
                    format!("{}: {what}", key.name)
                };
                mistakes.push(Mistake { place, what });
            }
        }
    }
}

/// What a profile sets, to be applied before all other sources.
impl From<&Profile> for Source {
    fn from(profile: &Profile) -> Self {
        let mut source = Source::new();
        for (key, value) in profile.settings {
            source.add(key, value, format!("profile {}", profile.name));
        }
        source
    }
}

/// Reads a configuration file.
///
/// # Errors
/// The file can't be read, is too large or is not UTF-8.
pub fn read_file(path: &Path) -> Result<Source, Mistake> {
    let name = path.display().to_string();
    let mistake = |what: String| Mistake {
        place: name.clone(),
        what,
    };
    // What root alone may read is opened by whoever may.
    let denied = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    let looked = match std::fs::metadata(path) {
        Err(error) if denied(&error) => open_setting(path).and_then(|file| file.metadata()),
        looked => looked,
    };
    let size = looked
        .map_err(|error| {
            mistake(format!(
                "the configuration file can't be read: {error}; every setting can be an option instead"
            ))
        })?
        .len();
    if size > FILE_MAX {
        return Err(mistake(format!("larger than {FILE_MAX} bytes")));
    }
    let read = match std::fs::read(path) {
        Err(error) if denied(&error) => open_setting(path).and_then(|mut file| {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map(|_| bytes)
        }),
        read => read,
    };
    let bytes = read.map_err(|error| mistake(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Mistake {
            place: format!("{name}:{line}"),
            what: "not UTF-8".into(),
        }
    })?;
    Ok(Source::from_lines(&text, &name))
}

/// The environment variable of a key.
pub fn environment_name(key: &str) -> String {
    format!("WHARFD_{}", key.to_ascii_uppercase().replace('-', "_"))
}

/// The candidate that is nearest to `text` by edits, if it is near enough to be
/// what was meant. Other programs have `_` where our names have `-`, and `=` behind
/// a name.
pub fn nearest<'a>(text: &str, candidates: &mut dyn Iterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.split('=').next().unwrap_or(text);
    let text = text.to_ascii_lowercase().replace('_', "-");
    let (edits, nearest) = candidates
        .map(|candidate| (distance(&text, candidate), candidate))
        .min()?;
    (edits * 3 <= text.len()).then_some(nearest)
}

/// Edits (insert, delete, replace) between two words, bounded in length.
fn distance(one: &str, two: &str) -> usize {
    let one: Vec<u8> = one.bytes().take(64).collect();
    let two: Vec<u8> = two.bytes().take(64).collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in two.iter().enumerate() {
            let replace = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Settings, Vec<String>) {
        let mut settings = Settings::default();
        let mut mistakes = Vec::new();
        Source::from_lines(text, "f").apply(&mut settings, &mut mistakes);
        (settings, mistakes.iter().map(Mistake::to_string).collect())
    }

    #[test]
    fn lines_set_fields() {
        let (settings, mistakes) =
            read("# c\n\nlisten 21\nlisten [::1]:2121\natomic-uploads\n idle-timeout \t 5m \n");
        assert_eq!(mistakes, Vec::<String>::new());
        assert_eq!(settings.server.listen.len(), 2);
        assert!(settings.server.atomic_uploads);
        assert_eq!(settings.server.idle_timeout.as_secs(), 300);
    }

    #[test]
    fn mistakes_say_where_and_what() {
        let (_, mistakes) = read("idle-timout 5\nthreads many\nthreads 5\nthreads 6\nlisten\n");
        assert_eq!(
            mistakes,
            [
                "f:1: unknown key 'idle-timout'; did you mean 'idle-timeout'?",
                "f:3: 'threads' is given twice",
                "f:4: 'threads' is given twice",
                "f:2: threads: expected a whole number from 0 to 4294967295, not 'many'",
                "f:5: listen: expected [ADDRESS:]PORT, such as 2121, 127.0.0.1:2121 or [::]:2121, not ''",
            ]
        );
    }

    #[test]
    fn only_near_names_are_suggested() {
        let (settings, mistakes) = read("\u{feff}idle_timeout 5\nwrite_enable YES\n");
        assert_eq!(
            mistakes,
            [
                "f:1: unknown key 'idle_timeout'; did you mean 'idle-timeout'?",
                "f:2: unknown key 'write_enable'",
            ]
        );
        assert_eq!(settings.server.idle_timeout.as_secs(), 300);
        let (settings, mistakes) = read("\u{feff}idle-timeout 5\n");
        assert_eq!(mistakes, Vec::<String>::new());
        assert_eq!(settings.server.idle_timeout.as_secs(), 5);
    }

    #[test]
    fn the_file_of_another_server_is_named_as_such() {
        let keys = [
            "anonymous_enable=NO",
            "local_enable=YES",
            "write_enable=YES",
        ];
        let keys = [&keys[..], &["xferlog_enable=YES", "listen_ipv6=YES"]].concat();
        let (_, mistakes) = read(&keys.join("\n"));
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
        assert!(mistakes[0].contains("wharfd import"), "{mistakes:?}");
        assert_eq!(mistakes[1], "f:1: unknown key 'anonymous_enable=NO'");
    }

    #[test]
    fn a_stronger_source_replaces_lists() {
        let mut settings = Settings::default();
        let mut mistakes = Vec::new();
        Source::from_lines("deny 10.0.0.0/8\ndeny 11.0.0.0/8", "f")
            .apply(&mut settings, &mut mistakes);
        let variables = [
            ("WHARFD_DENY", "12.0.0.0/8 13.0.0.0/8 14.0.0.0/8"),
            ("PATH", "x"),
            // Empty ones are none; the rest is made by Kubernetes.
            ("WHARFD_USERS", ""),
            ("WHARFD_SERVICE_HOST", "10.0.0.1"),
            ("WHARFD_SERVICE_PORT_FTP", "21"),
            ("WHARFD_PORT", "tcp://10.0.0.1:21"),
            ("WHARFD_PORT_21_TCP_ADDR", "10.0.0.1"),
        ];
        let variables = variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        Source::from_environment(variables).apply(&mut settings, &mut mistakes);
        assert_eq!(mistakes, []);
        assert_eq!(settings.server.deny.len(), 3);
        assert_eq!(settings.users, None);
        let options = super::super::keys::KEYS.iter();
        let clash = |name: &str| {
            name == "port" || name.starts_with("port-") || name.starts_with("service-")
        };
        assert!(!options.map(|key| key.name).any(clash));
    }
}
