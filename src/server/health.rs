//! The health check of a balancer: a port that is open, and answers HTTP with
//! 200, as long as the node takes new sessions. Where the node drains (it is
//! stopping, or the drain file exists) the port is closed, which a check of
//! TCP alone sees, too.

use std::path::Path;
use std::time::Duration;

use crate::net::http::{HttpPort, Response};

/// How often the drain file and the end of the server are looked for.
const TICK: Duration = Duration::from_millis(500);

/// Answers until `is_over`; the port is closed while the drain file exists.
pub fn serve(mut port: HttpPort, drain_file: Option<&Path>, is_over: impl Fn() -> bool) {
    while !is_over() {
        let drains = drain_file.is_some_and(Path::exists);
        if drains && port.is_open() {
            log::info!("draining: the drain file is there");
            port.close();
        } else if !drains && !port.is_open() {
            match port.open() {
                Ok(()) => log::info!("taking sessions again: the drain file is gone"),
                Err(error) => log::error!("the health check: {error}"),
            }
        }
        port.serve_for(TICK, &|_| Response::text("200 OK", "ok\n"));
    }
}
