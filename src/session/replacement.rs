//! A user's place among the sessions, and who gives it back.

use std::time::Duration;

use super::Session;
use super::limits::MostSessions;
use super::registry::End;
use crate::auth::User;
use crate::error::Result;

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
        let registry = &self.services.registry;
        // A client that lives answers what it is asked, soon.
        let silence = match self.config.ssh.keepalive {
            Duration::ZERO => Duration::from_secs(90),
            keepalive => keepalive * 3 / 2,
        };
        let silent = registry.silent(&user.name, address, silence);
        let Some(lost) = silent.filter(|_| !user.anonymous) else {
            return Err(error);
        };
        log::info!("takes the place of session {}", lost.id);
        lost.end(End::Replaced);
        drop(lost);
        self.services.limits.wait_for_place(&user.name);
        self.ticket.log_in(&user.name, limit)
    }
}
