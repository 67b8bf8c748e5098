//! Profiles: sets of settings for the usual purposes, by name. They are
//! weaker than whatever somebody sets, and `--check` shows what they set.

use super::value::{ConfigWord, expected};

/// One set of settings: a row of [`PROFILES`].
#[derive(Debug)]
pub struct Profile {
    /// The name.
    pub name: &'static str,
    /// What it is for, in one line.
    pub help: &'static str,
    /// Keys of the configuration and their values.
    pub settings: &'static [(&'static str, &'static str)],
}

/// All profiles, in the order of the man page.
pub const PROFILES: &[Profile] = &[
    Profile {
        name: "mirror",
        help: "a tree for everybody to read",
        settings: &[
            ("anonymous-rights", "read-only"),
            ("dot-files", "hide"),
            ("threads", "500"),
            ("max-per-address", "10"),
            ("max-recursion", "100000"),
            ("max-commands-per-second", "50"),
            ("idle-timeout", "120"),
        ],
    },
    Profile {
        name: "home",
        help: "homes of people, on a NAS or a router",
        settings: &[
            ("atomic-uploads", "yes"),
            ("file-mode", "640"),
            ("dir-mode", "750"),
            ("max-per-user", "20"),
            ("idle-timeout", "900"),
        ],
    },
    Profile {
        name: "upload",
        help: "a box that strangers and partners drop files into",
        settings: &[
            ("ascii", "no"),
            ("anonymous-rights", "drop"),
            ("atomic-uploads", "yes"),
            ("fsync-uploads", "yes"),
            ("upload-receipt", "log"),
            ("dot-files", "deny"),
            ("file-mode", "640"),
            ("dir-mode", "750"),
            ("session-timeout", "86400"),
        ],
    },
    Profile {
        name: "camera",
        help: "cameras that store pictures for ever; give quota-bytes or retention, too",
        settings: &[
            ("ascii", "no"),
            ("anonymous-rights", "upload-only"),
            ("atomic-uploads", "yes"),
            ("quota-full", "delete-oldest"),
            ("tls-relaxed-close", "yes"),
            ("dot-files", "hide"),
            ("max-per-user", "10"),
            ("idle-timeout", "900"),
            ("stall-timeout", "120"),
        ],
    },
    Profile {
        name: "scanner",
        help: "scanners and printers that deliver to a folder of a group",
        settings: &[
            ("ascii", "no"),
            ("anonymous-rights", "upload-only"),
            ("atomic-uploads", "yes"),
            ("tls-relaxed-close", "yes"),
            ("dot-files", "hide"),
            ("file-mode", "664"),
            ("dir-mode", "775"),
            ("idle-timeout", "900"),
            ("stall-timeout", "120"),
        ],
    },
];

impl Profile {
    /// The profile called `name`.
    pub fn find(name: &str) -> Option<&'static Profile> {
        PROFILES.iter().find(|profile| profile.name == name)
    }
}

/// In the configuration a profile is only its name.
impl ConfigWord for &'static Profile {
    fn read(text: &str) -> Result<Self, String> {
        let names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
        match Profile::find(text) {
            Some(profile) => Ok(profile),
            None => expected(&format!("one of {}", names.join(" ")), text),
        }
    }

    fn show(&self) -> String {
        self.name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Key;
    use crate::config::settings::Settings;
    use crate::config::source::Source;

    #[test]
    fn every_row_can_be_read_and_means_something() {
        for profile in PROFILES {
            let mut settings = Settings::default();
            let mut mistakes = Vec::new();
            Source::from(profile).apply(&mut settings, &mut mistakes);
            assert_eq!(mistakes, [], "{}", profile.name);
            for (key, value) in profile.settings {
                let key = Key::find(key).unwrap();
                let mut alone = Settings::default();
                assert_eq!(key.set(&mut alone, value), Ok(()));
                assert_eq!(key.shown(&settings), key.shown(&alone), "{}", profile.name);
                assert!(!key.repeats, "{}: lists would be replaced", key.name);
            }
        }
    }
}
