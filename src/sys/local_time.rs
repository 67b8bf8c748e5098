//! The time zone of the machine, which the C library knows.

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
