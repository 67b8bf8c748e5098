//! Names that nobody may see or use, and the matcher of patterns.

use std::sync::Arc;

use crate::config::{Config, DotFiles};
use crate::error::Result;
use crate::storage::{Directory, Entry, Follow, Metadata};
use crate::text;

/// Names of uploads that are not whole yet begin so.
pub const TEMPORARY_PREFIX: &[u8] = b".wharf-upload-";
/// Names under which uploads of guests lie whose own names begin with a dot.
pub const GUEST_PREFIX: &[u8] = b".wharf-guest-";

/// Whether the configuration denies a name.
pub fn is_denied(name: &[u8], config: &Config) -> bool {
    (config.dot_files == DotFiles::Deny && name.first() == Some(&b'.'))
        // Without regard to case and to blanks and dots at the end, which some
        // clients and file systems drop.
        || config.deny_names.iter().any(|pattern| {
            let kept = name.iter().rposition(|byte| !matches!(byte, b' ' | b'.')).map_or(0, |at| at + 1);
            matches(pattern.to_ascii_lowercase().as_bytes(), &name[..kept].to_ascii_lowercase())
                || matches(pattern.to_ascii_lowercase().as_bytes(), &name.to_ascii_lowercase())
        })
}

/// Whether `name` fits a pattern of `*`, `?` and plain bytes.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let takes = |part: &u8, byte| *part == b'?' || *part == byte;
    text::fits(pattern, name, |part| *part == b'*', takes)
}

/// A directory without the names that nobody may see.
pub struct Visible {
    directory: Box<dyn Directory>,
    config: Arc<Config>,
}

impl Visible {
    /// `directory` as `config` lets it be seen.
    pub fn new(directory: Box<dyn Directory>, config: Arc<Config>) -> Self {
        Visible { directory, config }
    }

    fn shows(&self, name: &[u8]) -> bool {
        let hidden = name.first() == Some(&b'.')
            && (self.config.dot_files != DotFiles::Show || name.starts_with(TEMPORARY_PREFIX));
        !hidden && (self.config.deny_names.is_empty() || !is_denied(name, &self.config))
    }
}

impl Directory for Visible {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Entry>> {
        loop {
            match self.directory.next(name)? {
                Some(_) if !self.shows(name) => continue,
                entry => return Ok(entry),
            }
        }
    }

    fn metadata(&self, name: &[u8], follow: Follow) -> Result<Metadata> {
        self.directory.metadata(name, follow)
    }

    fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.directory.read_link(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match() {
        for (pattern, name, want) in [
            ("*", "", true),
            ("*", "x", true),
            ("*.key", "a.key", true),
            ("*.key", "a.keys", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("", "", true),
            ("", "x", false),
            ("**a**", "bab", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                want,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn no_pattern_takes_exponential_time() {
        let pattern = b"a*".repeat(200);
        let name = b"a".repeat(255);
        let started = std::time::Instant::now();
        assert!(!matches(&[&pattern[..], b"b"].concat(), &name));
        assert!(started.elapsed() < std::time::Duration::from_millis(50));
    }

    #[test]
    fn denied_names_are_denied_in_every_spelling() {
        let config = Config {
            deny_names: vec!["*.key".into()],
            ..Config::default()
        };
        for name in ["a.key", "A.KEY", "a.key ", "a.key."] {
            assert!(is_denied(name.as_bytes(), &config), "{name}");
        }
        assert!(!is_denied(b"a.keys", &config));
    }
}
