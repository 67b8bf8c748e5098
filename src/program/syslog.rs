//! The way to syslogd, for the daemon and for the subsystem.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, SystemTime};

use log::Level;
use wharf::daemon::Utc;

/// Where syslogd listens.
pub const SYSLOG: &str = "/dev/log";
/// A datagram that every syslogd takes (RFC 3164, section 4.1, says 1024; all
/// of today's take 8 KiB). A longer line is cut, not lost.
const SYSLOG_MAX: usize = 8000;

/// A connection to syslogd. One that was started again is found again.
pub struct Syslog(UnixDatagram);

impl Syslog {
    /// Connects.
    ///
    /// # Errors
    /// No syslogd listens.
    pub fn connect() -> io::Result<Self> {
        connected().map(Syslog)
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// syslogd does not take it.
    pub fn send(&mut self, line: &[u8]) -> io::Result<()> {
        match self.0.send(line) {
            Ok(_) => Ok(()),
            // It hangs: another socket would not help.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(_) => {
                self.0 = connected()?;
                self.0.send(line).map(drop)
            }
        }
    }
}

fn connected() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SYSLOG)?;
    // Before the log has its thread, a syslogd that hangs must not hold us.
    socket.set_write_timeout(Some(Duration::from_secs(1)))?;
    Ok(socket)
}

/// What syslogd takes (RFC 3164, section 4.1).
pub fn datagram(facility: u8, level: Level, tag: &str, text: &str) -> Vec<u8> {
    let line = format!(
        "<{}>{} {tag}: {text}",
        u32::from(facility) << 3 | u32::from(severity(level)),
        Utc::local(SystemTime::now()).syslog()
    );
    let mut line = line.into_bytes();
    line.truncate(SYSLOG_MAX);
    line
}

/// The numbers of RFC 3164, table 2.
pub fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
