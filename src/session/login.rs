//! Logging in: in one step, or in several where more than one proof is
//! required.

use std::sync::Arc;

use super::events::Event;
use super::{Encrypted, Files, Phase, Session, home, identity};
use crate::auth::{Credentials, Proofs, Secret};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Sided;
use crate::text::{Escaped, Quoted};

impl Session {
    /// Logs in. A failure is remembered, told to the log in one stable line,
    /// and answered only after the login delay.
    ///
    /// # Errors
    /// [`ErrorKind::LoginRefused`]; [`ErrorKind::TooMany`] when the tries are
    /// used up or a limit of sessions is reached: the session must end then.
    pub fn login(&mut self, name: &str, secret: Secret<'_>, secure: Encrypted) -> Result<()> {
        self.login_with(self.credentials(name, secret, secure))
            .map(drop)
    }

    /// Logs in on an encrypted connection on which more can be shown; yields
    /// what is still missing. Nobody is logged in before nothing is.
    ///
    /// # Errors
    /// As for [`Session::login`].
    pub fn login_step(&mut self, name: &str, secret: Secret<'_>) -> Result<Proofs> {
        let mut credentials = self.credentials(name, secret, Encrypted::Yes);
        credentials.goes_on = true;
        self.login_with(credentials)
    }

    /// Whether a code goes with the user's password.
    pub fn wants_code(&self, name: &str) -> bool {
        self.services.authenticator().wants_code(name)
    }

    fn login_with(&mut self, credentials: Credentials<'_>) -> Result<Proofs> {
        self.logout();
        let name = credentials.name;
        let outcome = self.services.authenticator().authenticate(&credentials);
        let user = match outcome {
            Ok(user) => user,
            Err(error) => return Err(self.refuse(name, error)),
        };
        if !user.missing.is_empty() {
            let shown = credentials.shown.and(credentials.secret.proof());
            self.shown = Some((name.to_owned(), shown));
            return Ok(user.missing);
        }
        if let Err(error) = self.take_place(&user) {
            log::warn!(
                "{} from {}: {error}",
                Escaped(name.as_bytes()),
                self.peer().ip()
            );
            return Err(error);
        }
        if !user.anonymous {
            self.services.limits.succeeded(self.peer().ip());
        }
        if let Some(identity) = &user.identity
            && let Err(error) = identity::act_as(identity, self.services.identity_scope)
        {
            self.ticket.log_out();
            log::error!("{error}");
            return Err(error);
        }
        let mut user = user;
        user.file_system = Arc::new(Sided::new(user.file_system));
        let services = &self.services;
        services
            .homes
            .meter(&mut user, &self.config, services, &self.live);
        if let Err(error) = home::mount(&mut user) {
            self.ticket.log_out();
            log::error!("{error}");
            return Err(error);
        }
        self.live.user.set(&user.name);
        log::info!(
            encrypted = credentials.secure;
            "{} from {} logged in ({})",
            Escaped(user.name.as_bytes()),
            self.peer().ip(),
            self.live.protocol
        );
        let files = Files::new(
            Arc::clone(&self.services),
            Arc::clone(&self.config),
            Arc::clone(&self.live),
            user,
        );
        files.emit(&Event::LoggedIn);
        self.files = Some(files);
        Ok(Proofs::NONE)
    }

    /// Whether this login over an encrypted connection would succeed. Nothing
    /// is made, counted or told to anybody.
    ///
    /// # Errors
    /// As for [`Session::login`], without its limits.
    pub fn would_admit(&self, name: &str, secret: Secret<'_>) -> Result<()> {
        let mut credentials = self.credentials(name, secret, Encrypted::Yes);
        credentials.dry_run = true;
        credentials.goes_on = secret.proof() == Proofs::PUBLIC_KEY;
        let authenticator = self.services.authenticator();
        authenticator.authenticate(&credentials).map(drop)
    }

    fn credentials<'a>(
        &self,
        name: &'a str,
        secret: Secret<'a>,
        secure: Encrypted,
    ) -> Credentials<'a> {
        let mut credentials = Credentials::new(name, secret, self.peer().ip());
        credentials.secure = secure == Encrypted::Yes;
        if let Some((_, shown)) = self.shown.as_ref().filter(|(of, _)| of == name) {
            credentials.shown = *shown;
        }
        credentials
    }

    /// Counts public keys that were offered in vain, more than any agent holds,
    /// as a failed login.
    pub fn refuse_offers(&mut self, name: &str) -> Error {
        let why = "too many public keys that may not log in";
        self.refuse(name, Error::new(ErrorKind::LoginRefused, why))
    }

    /// Guesses take their time.
    fn pause(&self) {
        if self.services.phase() == Phase::Running {
            std::thread::sleep(self.config.login_delay);
        }
    }

    fn refuse(&mut self, name: &str, error: Error) -> Error {
        let peer = self.peer().ip();
        if let Some(words) = error.words() {
            // The password was right: no failure that counts. It takes as long
            // as a wrong one all the same.
            log::warn!("{} can't log in: {error}", Escaped(name.as_bytes()));
            self.pause();
            return Error::with_source(ErrorKind::LoginRefused, "", error).telling(words);
        }
        if error.kind() != ErrorKind::LoginRefused {
            log::error!("logins can't be checked: {error}");
            return error;
        }
        self.tries += 1;
        self.services.limits.failed(peer, &self.config);
        // One stable line with the numeric address, for fail2ban.
        log::warn!(
            user = name;
            "login refused: user {} from {peer} ({}): {error}",
            Quoted(name.as_bytes()),
            self.live.protocol
        );
        self.services
            .emit(&self.live.who(None), &Event::LoginRefused(name));
        let last = self.tries >= self.config.login_tries && self.config.login_tries != 0;
        self.pause();
        if last {
            Error::with_source(ErrorKind::TooMany, "login tries are used up", error)
                .telling("Too many failed logins.")
        } else {
            error
        }
    }
}
