//! Guests: `anonymous` and `ftp` with any password (RFC 1635).

use std::sync::Arc;

use super::{Authenticator, Credentials, Perms, Secret, Standing, User, refused};
use crate::error::Result;
use crate::storage::FileSystem;
use crate::text::Escaped;

/// The names that guests use, in any case of letters.
const NAMES: [&str; 2] = ["anonymous", "ftp"];

/// Bytes of the guest's word for themselves that are kept.
const CONTACT_MAX: usize = 64;

/// Lets everybody in as a guest.
pub struct Anonymous {
    file_system: Arc<dyn FileSystem>,
    perms: Perms,
}

impl Anonymous {
    /// Guests see `file_system` and have the rights `perms`.
    pub fn new(file_system: Arc<dyn FileSystem>, perms: Perms) -> Self {
        Anonymous { file_system, perms }
    }

    /// Whether `name` is one that guests use.
    pub fn is_guest(name: &str) -> bool {
        NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

impl Authenticator for Anonymous {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Result<User> {
        if !Self::is_guest(credentials.name) {
            return Err(refused("not the name of a guest"));
        }
        // Guests by public key or certificate would be users without a line:
        // nothing says who vouches for the key.
        let Secret::Password(password) = credentials.secret else {
            return Err(refused("guests show a password"));
        };
        let mut user = User::new("anonymous", Arc::clone(&self.file_system)).with_perms(self.perms);
        user.anonymous = true;
        if !password.is_empty() {
            let kept = &password[..password.len().min(CONTACT_MAX)];
            user.contact = Some(Escaped(kept).to_string());
        }
        Ok(user)
    }

    fn standing(&self, name: &str) -> Option<Standing> {
        Some(if Self::is_guest(name) {
            Standing::Good
        } else {
            Standing::Absent
        })
    }

    fn serves_guests(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::PublicKey;
    use crate::error::ErrorKind;
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn guests_need_a_name_and_any_password() {
        let guests = Anonymous::new(crate::auth::test_file_system(), Perms::READ_ONLY);
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let login = |name, password: &'static [u8]| {
            guests.authenticate(&Credentials::new(name, Secret::Password(password), peer))
        };
        for name in ["anonymous", "ftp", "FTP", "Anonymous"] {
            let user = login(name, b"a@b\n").unwrap();
            assert!(user.anonymous);
            assert_eq!(user.name, "anonymous");
            assert_eq!(user.perms, Perms::READ_ONLY);
            assert_eq!(user.contact.as_deref(), Some("a@b\\n"));
        }
        assert_eq!(login("ftp", b"").unwrap().contact, None);
        for name in ["", "anon", "root", "ftp "] {
            let error = login(name, b"x").err().unwrap();
            assert_eq!(error.kind(), ErrorKind::LoginRefused);
        }
        let key = PublicKey::new("ssh-ed25519", "x");
        let shown = Credentials::new("ftp", Secret::PublicKey(&key), peer);
        assert!(guests.authenticate(&shown).is_err());
    }
}
