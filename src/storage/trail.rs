//! What is left of a path while its links are followed one by one.
//!
//! The component walk of [`super::LocalFs`] and [`super::MemoryFs`] share this
//! reading of `.`, `..`, links and trailing slashes, so that both mean the
//! same by a path. It holds text only; what exists is the caller's business.

use std::ops::Range;

/// Links that one path may go through, as in Linux (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// The text still to be resolved, and how many links led to it.
pub(super) struct Trail {
    text: Vec<u8>,
    at: usize,
    links: usize,
}

/// What comes next on a [`Trail`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TrailStep {
    /// Nothing is left: where one stands is what was meant, a directory.
    End,
    /// `..`
    Up,
    /// A name that something follows, if only a slash: it must be a directory.
    Through(Range<usize>),
    /// The last name: what it means is up to the operation.
    Last(Range<usize>),
}

/// More links than [`LINKS_MAX`]: a loop.
#[derive(Debug)]
pub(super) struct TooManyLinks;

impl Trail {
    pub(super) fn new(path: &[u8]) -> Self {
        Trail {
            text: path.to_vec(),
            at: 0,
            links: 0,
        }
    }

    /// Takes the next component.
    pub(super) fn step(&mut self) -> TrailStep {
        loop {
            while self.text.get(self.at) == Some(&b'/') {
                self.at += 1;
            }
            let start = self.at;
            let rest = self.text.get(start..).unwrap_or_default();
            let length = rest.iter().position(|&byte| byte == b'/');
            let end = start + length.unwrap_or(rest.len());
            self.at = end;
            return match self.bytes(&(start..end)) {
                b"" => TrailStep::End,
                b"." => continue,
                b".." => TrailStep::Up,
                _ if length.is_some() => TrailStep::Through(start..end),
                _ => TrailStep::Last(start..end),
            };
        }
    }

    /// The bytes of a component that [`Trail::step`] gave.
    pub(super) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.text.get(range.clone()).unwrap_or_default()
    }

    /// What has not been taken yet.
    pub(super) fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes the same component again.
    pub(super) fn again(&mut self, range: &Range<usize>) {
        self.at = range.start;
    }

    /// Puts the text of a link in the place of the component just taken.
    pub(super) fn follow(&mut self, target: &[u8]) -> Result<(), TooManyLinks> {
        if self.links >= LINKS_MAX {
            return Err(TooManyLinks);
        }
        self.links += 1;
        self.replace(target);
        Ok(())
    }

    /// Goes on from the root: through the directories `above`, then the rest.
    pub(super) fn restart(&mut self, above: &[u8]) {
        let mut directories = above.to_vec();
        directories.push(b'/');
        self.replace(&directories);
    }

    fn replace(&mut self, head: &[u8]) {
        let mut text = head.to_vec();
        text.extend_from_slice(self.text.get(self.at..).unwrap_or_default());
        self.text = text;
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(trail: &mut Trail) -> Vec<String> {
        let mut steps = Vec::new();
        loop {
            let step = trail.step();
            steps.push(match &step {
                TrailStep::End => return steps,
                TrailStep::Up => "..".into(),
                TrailStep::Through(range) => {
                    format!("{}/", String::from_utf8_lossy(trail.bytes(range)))
                }
                TrailStep::Last(range) => String::from_utf8_lossy(trail.bytes(range)).into_owned(),
            });
        }
    }

    #[test]
    fn steps_are_names_ups_and_an_end() {
        for (text, want) in [
            ("", &[][..]),
            (".", &[]),
            ("/", &[]),
            ("a", &["a"]),
            ("a/", &["a/"]),
            ("a/.", &["a/"]),
            ("./a//b", &["a/", "b"]),
            ("../a/..", &["..", "a/", ".."]),
            ("...", &["..."]),
        ] {
            assert_eq!(steps(&mut Trail::new(text.as_bytes())), want, "{text}");
        }
    }

    #[test]
    fn a_link_takes_the_place_of_its_name() {
        let mut trail = Trail::new(b"a/link/b");
        assert_eq!(trail.step(), TrailStep::Through(0..1));
        assert_eq!(trail.step(), TrailStep::Through(2..6));
        trail.follow(b"../x").unwrap();
        assert_eq!(steps(&mut trail), ["..", "x/", "b"]);
    }

    #[test]
    fn the_forty_first_link_is_a_loop() {
        let mut trail = Trail::new(b"l");
        for _ in 0..40 {
            trail.step();
            trail.follow(b"l").unwrap();
        }
        trail.step();
        assert!(trail.follow(b"l").is_err());
    }
}
