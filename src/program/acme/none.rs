//! A build without the feature `acme`.

use wharf::daemon::Settings;

use super::failure::Failure;

const NONE: &str = "this build has no acme: it lacks the feature";

/// Answers that this build has no acme.
pub fn run(_arguments: &[String]) -> i32 {
    Failure::usage(NONE).tell()
}

/// Answers that this build has no acme, where it is asked for.
pub fn check(settings: &Settings) -> Result<(), String> {
    match settings.acme {
        Some(_) => Err(NONE.into()),
        None => Ok(()),
    }
}

/// What no build without it can start.
pub enum Beside {}

impl Beside {
    /// Answers that this build has no acme, where it is asked for.
    pub fn start(settings: &Settings) -> Result<Option<Beside>, Failure> {
        check(settings).map_err(|what| Failure::usage(format!("acme: {what}")))?;
        Ok(None)
    }

    pub fn hear(self) -> Result<(), Failure> {
        match self {}
    }
}
