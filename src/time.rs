//! Calendar time in UTC, for listings, facts and logs; no time zones, no
//! files to read, no allocation.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::sys::local_offset;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// What the log was told lately: what a client does a thousand times makes one
/// line, also after some time of silence.
#[derive(Debug)]
pub(crate) struct Told<K> {
    every: Duration,
    last: Vec<(K, Instant)>,
}

impl<K: PartialEq> Told<K> {
    /// As many are told of at once; more names and addresses than these come
    /// from somebody who makes them up.
    const MOST: usize = 128;

    /// The same is told again after so long.
    pub(crate) const fn new(every: Duration) -> Self {
        Told {
            every,
            last: Vec::new(),
        }
    }

    /// Whether the log should be told of this.
    pub(crate) fn is_news(&mut self, what: K) -> bool {
        let now = Instant::now();
        self.last
            .retain(|(_, at)| now.duration_since(*at) < self.every);
        let is_news =
            self.last.len() < Self::MOST && self.last.iter().all(|(known, _)| *known != what);
        if is_news {
            self.last.push((what, now));
        }
        is_news
    }
}

/// A moment as calendar fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Utc {
    /// Year; years before 0 and after 9999 are clamped, as no format has room.
    pub year: u32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
    /// 0 is Sunday.
    pub weekday: u32,
}

impl Utc {
    /// The moment that many seconds after 1970 began.
    pub fn from_seconds(seconds: i64) -> Self {
        // 0000-01-01 to 9999-12-31T23:59:59, counted from the former.
        const FIRST: i64 = -62_167_219_200;
        let seconds = (seconds.clamp(FIRST, 253_402_300_799) - FIRST) as u64;
        let days = (seconds / 86400) as u32;
        let rest = (seconds % 86400) as u32;
        // Civil date from days, with the year beginning in March so that the
        // leap day is its last (Howard Hinnant's derivation). An era, 400
        // years, is added so that all is positive from January on.
        let shifted = days + 146_097 - 60;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        Utc {
            year: year_of_era + era * 400 + u32::from(month <= 2) - 400,
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            // The first day was a Saturday.
            weekday: (days + 6) % 7,
        }
    }

    /// Seconds after 1970 began.
    pub fn seconds(&self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = i64::from((self.month + 9) % 12);
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        days * 86400 + i64::from(self.hour * 3600 + self.minute * 60 + self.second)
    }

    /// Reads `YYYYMMDDHHMMSS` with an optional fraction of a second
    /// (RFC 3659, section 2.3).
    pub fn parse(text: &[u8]) -> Option<SystemTime> {
        let (digits, fraction) = match text.iter().position(|byte| *byte == b'.') {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, &b"0"[..]),
        };
        let number = |text: &[u8]| -> Option<u32> {
            text.iter().try_fold(0u32, |number, byte| {
                byte.is_ascii_digit()
                    .then(|| number * 10 + u32::from(byte - b'0'))
            })
        };
        if digits.len() != 14 || fraction.is_empty() || fraction.len() > 9 {
            return None;
        }
        let moment = Utc {
            year: number(&digits[..4])?,
            month: number(&digits[4..6])?,
            day: number(&digits[6..8])?,
            hour: number(&digits[8..10])?,
            minute: number(&digits[10..12])?,
            second: number(&digits[12..])?,
            weekday: 0,
        };
        let nanos = number(fraction)? * 10u32.pow(9 - fraction.len() as u32);
        // A leap second is written 60 and becomes the next second.
        if !(1..=12).contains(&moment.month)
            || moment.hour > 23
            || moment.minute > 59
            || moment.second > 60
        {
            return None;
        }
        let back = Utc::from_seconds(
            Utc {
                hour: 0,
                minute: 0,
                second: 0,
                ..moment
            }
            .seconds(),
        );
        if (back.month, back.day) != (moment.month, moment.day) {
            return None;
        }
        let seconds = moment.seconds();
        let whole = match u64::try_from(seconds) {
            Ok(after) => UNIX_EPOCH.checked_add(Duration::from_secs(after)),
            Err(_) => UNIX_EPOCH.checked_sub(Duration::from_secs(seconds.unsigned_abs())),
        };
        whole?.checked_add(Duration::from_nanos(u64::from(nanos)))
    }

    /// Three letters of the month.
    pub fn month_name(&self) -> &'static str {
        MONTHS[(self.month as usize + 11) % 12]
    }

    /// `Sun Sep  9 01:46:40 2001`, as ctime(3) writes.
    pub fn ctime(&self) -> String {
        format!(
            "{} {} {:2} {:02}:{:02}:{:02} {:04}",
            DAYS[self.weekday as usize % 7],
            self.month_name(),
            self.day,
            self.hour,
            self.minute,
            self.second,
            self.year
        )
    }

    /// `2001-09-09T01:46:40Z`, as RFC 3339 writes.
    pub fn rfc3339(&self) -> String {
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            self.year, self.month, self.day, self.hour, self.minute, self.second
        )
    }

    /// A moment on the machine's own clock.
    pub fn local(moment: SystemTime) -> Self {
        let seconds = seconds_of(moment);
        Utc::from_seconds(seconds.saturating_add(local_offset(seconds)))
    }

    /// `Sep  9 01:46:40`, as RFC 3164, section 4.1.2, writes.
    pub fn syslog(&self) -> String {
        let (month, day) = (self.month_name(), self.day);
        let (hour, minute, second) = (self.hour, self.minute, self.second);
        format!("{month} {day:2} {hour:02}:{minute:02}:{second:02}")
    }

    /// `20010909014640`: the digits of MDTM and the `modify` fact.
    pub fn digits(&self) -> [u8; 14] {
        let mut text = [b'0'; 14];
        let pairs = [
            self.year / 100,
            self.year % 100,
            self.month,
            self.day,
            self.hour,
            self.minute,
            self.second,
        ];
        for (place, number) in text.chunks_exact_mut(2).zip(pairs) {
            place[0] += (number / 10) as u8;
            place[1] += (number % 10) as u8;
        }
        text
    }
}

impl From<SystemTime> for Utc {
    fn from(time: SystemTime) -> Self {
        Utc::from_seconds(seconds_of(time))
    }
}

/// Whole seconds after 1970 began, rounded down; negative before.
pub fn seconds_of(time: SystemTime) -> i64 {
    since_1970(time).0
}

/// Seconds since 1970, rounded down, and the nanoseconds after them.
pub(crate) fn since_1970(time: SystemTime) -> (i64, u32) {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX - 1);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (seconds(after), after.subsec_nanos()),
        Err(error) => {
            let before = error.duration();
            match before.subsec_nanos() {
                0 => (-seconds(before), 0),
                nanos => (-seconds(before) - 1, 1_000_000_000 - nanos),
            }
        }
    }
}

/// The time that many seconds and nanoseconds after 1970 began; 1970 for what
/// no clock shows.
pub(crate) fn after_1970(seconds: i64, nanos: u32) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    time.and_then(|time| time.checked_add(Duration::from_nanos(nanos.into())))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_right_and_come_back() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_000_000_000, "2001-09-09T01:46:40Z"),
            (2_147_483_648, "2038-01-19T03:14:08Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            let moment = Utc::from_seconds(seconds);
            assert_eq!(moment.rfc3339(), want);
            assert_eq!(moment.seconds(), seconds);
            let parsed = Utc::parse(&moment.digits()).unwrap();
            assert_eq!(seconds_of(parsed), seconds);
        }
        assert_eq!(Utc::from_seconds(i64::MAX).year, 9999);
        assert_eq!(Utc::from_seconds(i64::MIN).year, 0);
        assert_eq!(Utc::from_seconds(0).weekday, 4);
    }

    #[test]
    fn seconds_are_rounded_down_on_both_sides_of_1970() {
        let half = Duration::from_millis(500);
        for (time, want) in [
            (UNIX_EPOCH, (0, 0)),
            (UNIX_EPOCH + half, (0, 500_000_000)),
            (UNIX_EPOCH - half, (-1, 500_000_000)),
            (UNIX_EPOCH - Duration::from_secs(2), (-2, 0)),
            // Past 2038.
            (UNIX_EPOCH + Duration::from_secs(1 << 33), (1 << 33, 0)),
        ] {
            assert_eq!(since_1970(time), want, "{time:?}");
            assert_eq!(after_1970(want.0, want.1), time);
        }
        assert_eq!(after_1970(i64::MAX, u32::MAX), UNIX_EPOCH);
    }

    #[test]
    fn each_day_follows_the_one_before() {
        // Miri sees leap years of all kinds in fewer.
        let step = if cfg!(miri) { 14_609 } else { 7 };
        let first = Utc::from_seconds(i64::MIN).seconds();
        for days in (0..3_652_425).step_by(step) {
            let moment = Utc::from_seconds(first + days * 86400);
            assert_eq!(moment.seconds(), first + days * 86400);
            assert_eq!(i64::from(moment.weekday), (days + 6) % 7);
        }
    }

    #[test]
    fn wrong_times_are_refused() {
        for text in [
            "",
            "2001",
            "20011301000000",
            "20010230000000",
            "20010101240000",
            "2001010100000x",
            "20010101000000.",
            "20010101000000.1234567890",
            "-0010101000000",
        ] {
            assert!(Utc::parse(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Utc::parse(b"20010101000000.5").is_some());
    }

    #[test]
    fn syslog_and_ctime_pad_days_with_blanks() {
        let moment = Utc::from_seconds(1_000_000_000);
        assert_eq!(moment.syslog(), "Sep  9 01:46:40");
        assert_eq!(moment.ctime(), "Sun Sep  9 01:46:40 2001");
    }
}
