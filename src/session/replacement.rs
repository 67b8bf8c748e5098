//! A user's place among the sessions, and who gives it back.

use std::time::Duration;

use super::limits::MostSessions;
use super::registry::{End, SessionInfo};
use super::{Services, Session};
use crate::auth::User;
use crate::config::Config;
use crate::error::Result;

/// Ends one of these sessions of a user for a new one of the same user, if
/// its client seems lost: it has been silent for longer than one that lives
/// takes to answer. Nobody knows who is who among the anonymous.
pub(super) fn replace(
    services: &Services,
    config: &Config,
    user: &User,
    which: impl Fn(&SessionInfo) -> bool,
) -> bool {
    let silence = match config.ssh.keepalive {
        Duration::ZERO => Duration::from_secs(90),
        keepalive => keepalive * 3 / 2,
    };
    let silent = services.registry.silent(&user.name, silence, which);
    let Some(lost) = silent.filter(|_| !user.anonymous) else {
        return false;
    };
    log::info!("takes the place of session {}", lost.id);
    lost.end(End::Replaced);
    true
}

impl Session {
    /// Counts the session as the user's. Where the user has all the sessions
    /// that are allowed, one of the same address that has been silent for
    /// long gives its place: its client is gone, by a pulled cable or a lost
    /// line, and has come again.
    pub(super) fn take_place(&mut self, user: &User) -> Result<()> {
        let limit = match user.limits.max_sessions {
            0 => MostSessions {
                most: self.config.max_per_user,
                named: "max-per-user",
            },
            most => MostSessions {
                most,
                named: "max-sessions",
            },
        };
        let Err(error) = self.ticket.log_in(&user.name, limit) else {
            return Ok(());
        };
        let address = self.peer().ip();
        let from_here = |live: &SessionInfo| live.peer.ip() == address;
        if !replace(&self.services, &self.config, user, from_here) {
            return Err(error);
        }
        self.services.limits.wait_for_place(&user.name);
        self.ticket.log_in(&user.name, limit)
    }
}
