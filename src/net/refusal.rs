//! Connections that are not served, in the log: one line a minute for each
//! address, however often it tries.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use crate::sync::unpoisoned;
use crate::time::Told;

const AGAIN: Duration = Duration::from_secs(60);

static TOLD: Mutex<Told<(IpAddr, &str)>> = Mutex::new(Told::new(AGAIN));

/// Tells what was done with a connection from an address, and why.
pub(crate) fn tell(done: &'static str, from: IpAddr, why: &dyn Display) {
    let from = from.to_canonical();
    let level = if unpoisoned(TOLD.lock()).is_news((from, done)) {
        log::Level::Warn
    } else {
        log::Level::Debug
    };
    log::log!(level, "{done} {from}: {why}");
}
