//! Time zones by name, from the files of tzdata (RFC 8536): times of the past
//! from their table, later ones from the rule at their end.

use std::path::Path;
use std::sync::Arc;

use super::ListTime;
use super::value::{ConfigWord, expected};
use crate::time::Utc;

/// Where systems keep them.
const PLACE: &str = "/usr/share/zoneinfo";

/// A time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    /// Seconds ahead of UTC before the first change.
    first: i64,
    /// When each offset begins, and the offset.
    changes: Vec<(i64, i64)>,
    rule: Option<Rule>,
}

/// What holds behind the last change, as POSIX writes it in TZ.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    standard: i64,
    summer: Option<Summer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Summer {
    offset: i64,
    /// When it begins and ends: a day, and seconds of that day.
    begin: (Day, i64),
    end: (Day, i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Day {
    /// From 1 on, without the 29th of February.
    Julian(i64),
    /// From 0 on, with it.
    OfYear(i64),
    /// Month, week (5 is the last) and day of the week.
    OfMonth(u32, i64, i64),
}

impl Zone {
    /// The zone of that name, such as `Europe/Berlin`.
    pub fn find(name: &str) -> Option<Zone> {
        let is_plain = name.split('/').all(|part| {
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+".contains(&byte);
            !part.is_empty() && part.bytes().all(letter)
        });
        is_plain.then_some(())?;
        Zone::parse(name, &std::fs::read(Path::new(PLACE).join(name)).ok()?)
    }

    /// The name that it was found by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Seconds that its clocks are ahead of UTC at a moment.
    pub fn offset(&self, moment: i64) -> i64 {
        let after = self.changes.partition_point(|(begin, _)| *begin <= moment);
        let last = self.changes.get(after.wrapping_sub(1));
        match &self.rule {
            Some(rule) if after == self.changes.len() => rule.offset(moment),
            _ => last.map_or(self.first, |(_, offset)| *offset),
        }
    }

    fn parse(name: &str, file: &[u8]) -> Option<Zone> {
        // The first part has 32 bits a time and is for old programs.
        let [is_utc, is_standard, leaps, times, types, letters] = counts(file)?;
        let old = times * 5 + types * 6 + letters + leaps * 8 + is_standard + is_utc;
        let file = file.get(HEADER + old..)?;
        let [is_utc, is_standard, leaps, times, types, letters] = counts(file)?;
        let (moments, rest) = file.get(HEADER..)?.split_at_checked(times * 8)?;
        let (kinds, rest) = rest.split_at_checked(times)?;
        let (table, rest) = rest.split_at_checked(types * 6)?;
        let footer = rest.get(letters + leaps * 12 + is_standard + is_utc..)?;
        let offset = |kind: usize| {
            let bytes = table.get(kind * 6..)?.first_chunk()?;
            Some(i64::from(i32::from_be_bytes(*bytes)))
        };
        let changes = moments.chunks_exact(8).zip(kinds).map(|(moment, kind)| {
            let moment = i64::from_be_bytes(*moment.first_chunk()?);
            Some((moment, offset(usize::from(*kind))?))
        });
        let footer = footer.strip_prefix(b"\n")?.strip_suffix(b"\n")?;
        let rule = match footer {
            b"" => None,
            footer => Some(Text(footer).rule()?),
        };
        Some(Zone {
            name: name.into(),
            first: offset(0)?,
            changes: changes.collect::<Option<_>>()?,
            rule,
        })
    }
}

/// Bytes before the counted ones.
const HEADER: usize = 44;

/// The six numbers of a header of version 2 or later.
fn counts(file: &[u8]) -> Option<[usize; 6]> {
    let is_one = file.starts_with(b"TZif") && *file.get(4)? >= b'2';
    let mut counts = [0; 6];
    for (count, bytes) in counts.iter_mut().zip(file.get(20..HEADER)?.chunks(4)) {
        *count = usize::try_from(u32::from_be_bytes(*bytes.first_chunk()?)).ok()?;
    }
    // No zone has as many; and sums of them stay small.
    (is_one && counts.iter().all(|count| *count < 1 << 16)).then_some(counts)
}

impl Rule {
    fn offset(&self, moment: i64) -> i64 {
        let Some(summer) = &self.summer else {
            return self.standard;
        };
        let year = Utc::from_seconds(moment.saturating_add(self.standard)).year;
        let at = |(day, time): (Day, i64)| day.seconds(year) + time;
        let begin = at(summer.begin) - self.standard;
        let end = at(summer.end) - summer.offset;
        let is_summer = if begin < end {
            (begin..end).contains(&moment)
        } else {
            !(end..begin).contains(&moment)
        };
        if is_summer {
            summer.offset
        } else {
            self.standard
        }
    }
}

impl Day {
    /// When it begins in a year, in seconds after 1970 began.
    fn seconds(self, year: u32) -> i64 {
        let first = |month| {
            let mut day = Utc::from_seconds(0);
            (day.year, day.month, day.day) = (year, month, 1);
            day.seconds() / 86_400
        };
        let days = match self {
            Day::OfYear(day) => first(1) + day,
            Day::Julian(day) => {
                let has_leap_day = first(3) - first(1) == 60;
                first(1) + day - 1 + i64::from(has_leap_day && day >= 60)
            }
            Day::OfMonth(month, week, weekday) => {
                let begin = first(month);
                // 1970 began on a Thursday.
                let ahead = (weekday - (begin + 4)).rem_euclid(7);
                let day = begin + ahead + (week - 1) * 7;
                let next = if month == 12 {
                    begin + 31
                } else {
                    first(month + 1)
                };
                if day >= next { day - 7 } else { day }
            }
        };
        days * 86_400
    }
}

/// What is left to be read of a rule.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn rule(mut self) -> Option<Rule> {
        self.skip_name()?;
        let standard = -self.time()?;
        if self.0.is_empty() {
            return Some(Rule {
                standard,
                summer: None,
            });
        }
        self.skip_name()?;
        let offset = match self.0.first()? {
            b',' => standard + 3600,
            _ => -self.time()?,
        };
        let (begin, end) = (self.date()?, self.date()?);
        let summer = Some(Summer { offset, begin, end });
        self.0.is_empty().then_some(Rule { standard, summer })
    }

    fn take(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn skip_name(&mut self) -> Option<()> {
        let length = match self.0.first()? {
            b'<' => self.0.iter().position(|byte| *byte == b'>')? + 1,
            _ => self
                .0
                .iter()
                .take_while(|byte| byte.is_ascii_alphabetic())
                .count(),
        };
        self.0 = self.0.get(length..)?;
        (length > 0).then_some(())
    }

    fn number(&mut self) -> Option<i64> {
        let length = self
            .0
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (digits, rest) = self.0.split_at(length.min(4));
        self.0 = rest;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// `-h:mm:ss`, with a sign and the rest if wanted.
    fn time(&mut self) -> Option<i64> {
        let sign = if self.take(b'-') { -1 } else { 1 };
        self.take(b'+');
        let mut seconds = self.number()? * 3600;
        for unit in [60, 1] {
            if self.take(b':') {
                seconds += self.number()? * unit;
            }
        }
        Some(sign * seconds)
    }

    /// `,M3.5.0/2`
    fn date(&mut self) -> Option<(Day, i64)> {
        self.take(b',').then_some(())?;
        let day = if self.take(b'M') {
            let month = u32::try_from(self.number()?)
                .ok()
                .filter(|month| (1..=12).contains(month))?;
            self.take(b'.').then_some(())?;
            let week = self.number()?;
            self.take(b'.').then_some(())?;
            Day::OfMonth(month, week, self.number()?)
        } else if self.take(b'J') {
            Day::Julian(self.number()?)
        } else {
            Day::OfYear(self.number()?)
        };
        let time = if self.take(b'/') { self.time()? } else { 7200 };
        Some((day, time))
    }
}

impl ConfigWord for ListTime {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "utc" => Ok(ListTime::Utc),
            "local" => Ok(ListTime::Local),
            name => match Zone::find(name) {
                Some(zone) => Ok(ListTime::Zone(Arc::new(zone))),
                None => expected("utc, local, or a time zone of this machine", text),
            },
        }
    }

    fn show(&self) -> String {
        match self {
            ListTime::Utc => "utc".into(),
            ListTime::Local => "local".into(),
            ListTime::Zone(zone) => zone.name().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against another reader of the same files, until after their tables.
    #[test]
    fn zones_are_read_as_python_reads_them() {
        let script = "import sys, zoneinfo, datetime
for line in sys.stdin.read().split():
    name, moment = line.split(',')
    if int(moment) == 0: zone = zoneinfo.ZoneInfo(name)
    at = datetime.datetime.fromtimestamp(int(moment), zone)
    print(int(at.utcoffset().total_seconds()))";
        // Halves of hours, the south, negative summer time, other days, none.
        let names = [
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
            "America/St_Johns",
            "Asia/Kolkata",
            "Africa/Casablanca",
            "America/Santiago",
            "Europe/Dublin",
            "Pacific/Chatham",
            "Asia/Gaza",
            "Asia/Jerusalem",
            "America/Nuuk",
            "Etc/UTC",
            "Etc/GMT-14",
            "Africa/Cairo",
        ];
        let zones: Vec<Zone> = names.into_iter().filter_map(Zone::find).collect();
        if zones.is_empty() {
            return eprintln!("SKIP tzdata");
        }
        let moments = || (0..3000).map(|step| step * 1_000_003);
        let asked: Vec<String> = zones
            .iter()
            .flat_map(|zone| moments().map(|moment| format!("{},{moment}\n", zone.name())))
            .collect();
        let path = crate::temp::TempDir::new("zones");
        std::fs::write(path.join("asked"), asked.concat()).unwrap();
        let python = std::process::Command::new("/usr/bin/python3")
            .args(["-c", script])
            .stdin(std::fs::File::open(path.join("asked")).unwrap())
            .output();
        let Some(said) = python.ok().filter(|output| output.status.success()) else {
            return eprintln!("SKIP python3 with zoneinfo");
        };
        let said = String::from_utf8(said.stdout).unwrap();
        let mut said = said.lines();
        for zone in &zones {
            for moment in moments() {
                let want: i64 = said.next().unwrap().parse().unwrap();
                assert_eq!(zone.offset(moment), want, "{} at {moment}", zone.name());
            }
        }
    }

    #[test]
    fn what_is_no_zone_is_none() {
        for name in [
            "",
            "Nowhere/Town",
            "../../../etc/passwd",
            "/etc/localtime",
            "tzdata.zi",
            "Europe",
            ".",
        ] {
            assert_eq!(Zone::find(name), None, "{name}");
        }
        let Ok(file) = std::fs::read(Path::new(PLACE).join("Europe/Berlin")) else {
            return eprintln!("SKIP tzdata");
        };
        assert!(Zone::parse("", &file).is_some());
        for length in 0..file.len() {
            assert_eq!(Zone::parse("", &file[..length]), None, "{length}");
        }
        // No noise makes it panic.
        for at in 0..file.len() {
            let mut noise = file.clone();
            noise[at] = noise[at].wrapping_mul(31).wrapping_add(0x9b);
            if let Some(zone) = Zone::parse("", &noise) {
                for moment in [i64::MIN, -1, 0, 4_000_000_000, i64::MAX] {
                    zone.offset(moment);
                }
            }
        }
    }
}
