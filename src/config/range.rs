//! Settings that are a time, or one that grows up to another.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::value::{ConfigWord, expected};

/// A time, or a shorter and a longer one.
impl ConfigWord for RangeInclusive<Duration> {
    fn read(text: &str) -> Result<Self, String> {
        let (first, longest) = text.split_once("..").unwrap_or((text, text));
        match (Duration::read(first)?, Duration::read(longest)?) {
            (first, longest) if first <= longest => Ok(first..=longest),
            _ => expected(
                "a time, or a shorter and a longer one such as 10m..1d",
                text,
            ),
        }
    }

    fn show(&self) -> String {
        let (first, longest) = (self.start().show(), self.end().show());
        if first == longest {
            first
        } else {
            format!("{first}..{longest}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_shown() {
        for (text, shown) in [
            ("600", Some("600")),
            ("10m..1d", Some("600..86400")),
            ("5..5", Some("5")),
            ("1d..10m", None),
            ("..5", None),
            ("5..", None),
        ] {
            let read = RangeInclusive::<Duration>::read(text).ok();
            assert_eq!(read.map(|range| range.show()).as_deref(), shown, "{text}");
        }
    }
}
