//! Time zones by name, from the files of tzdata (RFC 8536).

use std::path::Path;
use std::sync::Arc;

use tz::TimeZone;

use super::ListTime;
use super::value::{ConfigWord, expected};

/// Where systems keep them.
const PLACE: &str = "/usr/share/zoneinfo";

/// A time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
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

    /// Seconds that its clocks are ahead of UTC at a moment; 0 at moments whose
    /// year has no number.
    pub fn offset(&self, moment: i64) -> i64 {
        let there = self.zone.find_local_time_type(moment);
        there.map_or(0, |there| i64::from(there.ut_offset()))
    }

    fn parse(name: &str, file: &[u8]) -> Option<Zone> {
        // A file that was cut may still be read, without its rule for times to come,
        // which is a line of text at its end.
        let rule = file
            .strip_suffix(b"\n")?
            .rsplit(|byte| *byte == b'\n')
            .next()?;
        let zone = TimeZone::from_tz_data(file).ok()?;
        rule.iter().all(u8::is_ascii_graphic).then_some(Zone {
            name: name.into(),
            zone,
        })
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
