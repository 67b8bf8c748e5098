//! Several authenticators, asked in turn.

use super::{Authenticator, Credentials, Standing, User, refused};
use crate::error::{Error, ErrorKind, Result};

/// Asks each authenticator in turn; the first that lets the user in decides.
///
/// A name that several know belongs to the first whose secret fits, so the
/// order matters: guests first (they cost nothing and their names are fixed),
/// then files, then slower sources.
///
/// Time: each member that refuses takes the time of a wrong password, so an
/// unknown name and a wrong password cost the sum of all members.
#[derive(Default)]
pub struct Chain(Vec<Box<dyn Authenticator>>);

impl Chain {
    /// A chain without members, which refuses everybody.
    pub fn new() -> Self {
        Self::default()
    }

    /// The chain with one more at its end.
    pub fn with(mut self, next: impl Authenticator + 'static) -> Self {
        self.0.push(Box::new(next));
        self
    }

    /// Whether nobody can log in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Authenticator for Chain {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Result<User> {
        let mut trouble: Option<Error> = None;
        let mut reason: Option<Error> = None;
        for member in &self.0 {
            match member.authenticate(credentials) {
                Ok(user) => return Ok(user),
                // The last refusal names the cause best: the first members
                // mostly do not know the name at all.
                Err(error) if error.kind() == ErrorKind::LoginRefused => reason = Some(error),
                // One source that is out of order must not keep out the users
                // of the others.
                Err(error) => {
                    trouble.get_or_insert(error);
                }
            }
        }
        // "Nobody can be checked now" is the truth for a name that the broken
        // source might have known; a plain refusal would count towards a ban.
        Err(trouble
            .or(reason)
            .unwrap_or_else(|| refused("nobody can log in here")))
    }

    /// The first member that knows the name tells. Guests alone never change.
    fn standing(&self, name: &str) -> Option<Standing> {
        let (mut asked, mut sure) = (false, true);
        for member in &self.0 {
            match member.standing(name) {
                Some(Standing::Absent) => asked |= !member.serves_guests(),
                None => sure = false,
                known => return known,
            }
        }
        (asked && sure).then_some(Standing::Absent)
    }

    fn wants_code(&self, name: &str) -> bool {
        self.0.iter().any(|member| member.wants_code(name))
    }

    fn serves_guests(&self) -> bool {
        self.0.iter().any(|member| member.serves_guests())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Secret, test_file_system};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Knows one name, counts its work.
    struct Knows(&'static str, ErrorKind, Arc<AtomicU32>);

    impl Authenticator for Knows {
        fn authenticate(&self, credentials: &Credentials<'_>) -> Result<User> {
            self.2.fetch_add(1, Ordering::Relaxed);
            if credentials.name == self.0 {
                return Ok(User::new(self.0, test_file_system()));
            }
            Err(self.1.into())
        }
    }

    fn login(chain: &Chain, name: &str) -> Result<String, ErrorKind> {
        let peer = [127, 0, 0, 1].into();
        chain
            .authenticate(&Credentials::new(name, Secret::Password(b"x"), peer))
            .map(|user| user.name)
            .map_err(|error| error.kind())
    }

    #[test]
    fn the_first_that_lets_in_decides_and_all_are_asked_before_a_refusal() {
        let work = Arc::new(AtomicU32::new(0));
        let refuses = ErrorKind::LoginRefused;
        let chain = Chain::new()
            .with(Knows("a", refuses, Arc::clone(&work)))
            .with(Knows("b", refuses, Arc::clone(&work)));
        assert_eq!(login(&chain, "a").unwrap(), "a");
        assert_eq!(login(&chain, "b").unwrap(), "b");
        work.store(0, Ordering::Relaxed);
        assert_eq!(login(&chain, "c"), Err(ErrorKind::LoginRefused));
        assert_eq!(work.load(Ordering::Relaxed), 2);
        assert_eq!(login(&Chain::new(), "a"), Err(ErrorKind::LoginRefused));
    }

    #[test]
    fn a_user_is_absent_where_every_member_says_so() {
        struct Says(Option<Standing>);
        impl Authenticator for Says {
            fn authenticate(&self, _: &Credentials<'_>) -> Result<User> {
                Err(ErrorKind::LoginRefused.into())
            }
            fn standing(&self, _: &str) -> Option<Standing> {
                self.0
            }
        }
        let [good, barred, absent] = [Standing::Good, Standing::Barred, Standing::Absent].map(Some);
        for (members, want) in [
            (&[absent, absent][..], absent),
            (&[absent, None], None),
            (&[None, barred, good], barred),
            (&[absent, good, barred], good),
        ] {
            let chain = Chain(
                members
                    .iter()
                    .map(|says| Box::new(Says(*says)) as Box<_>)
                    .collect(),
            );
            assert_eq!(chain.standing("ann"), want);
        }
    }

    #[test]
    fn a_broken_source_keeps_out_its_own_users_only() {
        let work = Arc::new(AtomicU32::new(0));
        let chain = Chain::new()
            .with(Knows("a", ErrorKind::Busy, Arc::clone(&work)))
            .with(Knows("b", ErrorKind::LoginRefused, Arc::clone(&work)));
        assert_eq!(login(&chain, "b").unwrap(), "b");
        assert_eq!(login(&chain, "c"), Err(ErrorKind::Busy));
    }
}
