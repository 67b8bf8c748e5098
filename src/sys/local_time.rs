//! The time zone of the machine, which the C library knows.

/// The time of day where the machine stands: what syslogd expects.
pub struct LocalTime(libc::tm);

impl LocalTime {
    /// Now.
    pub fn now() -> Self {
        // SAFETY: all fields of tm are numbers, or a pointer that may be null;
        // both calls write into live values of ours and keep nothing.
        unsafe {
            let mut fields = std::mem::zeroed();
            let now = libc::time(std::ptr::null_mut());
            libc::localtime_r(&now, &mut fields);
            LocalTime(fields)
        }
    }

    /// As in RFC 3164, section 4.1.2.
    pub fn syslog(&self) -> String {
        const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let fields = &self.0;
        let month = usize::try_from(fields.tm_mon).unwrap_or(0).min(11) * 3;
        let name = String::from_utf8_lossy(&MONTHS[month..month + 3]).into_owned();
        format!(
            "{name} {:2} {:02}:{:02}:{:02}",
            fields.tm_mday, fields.tm_hour, fields.tm_min, fields.tm_sec
        )
    }
}

/// Seconds that the machine's time zone is ahead of UTC at a moment.
pub(crate) fn local_offset(moment: i64) -> i64 {
    // Some machines count seconds in 32 bits; what they can't is shown in UTC.
    let moment = libc::time_t::try_from(moment).unwrap_or(0);
    // SAFETY: all fields of tm are numbers, or a pointer that may be null; the
    // call writes into a live value of ours and keeps nothing.
    unsafe {
        let mut fields: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&moment, &mut fields).is_null() {
            return 0;
        }
        #[allow(clippy::useless_conversion, reason = "32 bits on some processors")]
        fields.tm_gmtoff.into()
    }
}
