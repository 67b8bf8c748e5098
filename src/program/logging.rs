//! The daemon's log: one line an event, on standard error, UTC.

use std::io::Write;
use std::time::SystemTime;

/// Starts the log at `level`.
pub fn start(level: log::LevelFilter) {
    env_logger::Builder::new()
        .filter_level(level)
        .format(|out, record| {
            let now = wharf::time::Utc::from(SystemTime::now()).rfc3339();
            writeln!(out, "{now} {:<5} {}", record.level(), record.args())
        })
        .init();
}
