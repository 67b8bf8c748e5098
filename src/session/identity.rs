//! Whom a session acts as on the operating system's files.

use std::marker::PhantomData;

use crate::auth::Identity;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::sys;

/// For how long a session takes on its user's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdentityScope {
    /// Until logout, on its own thread; the process stays who it is.
    #[default]
    Thread,
    /// For good, the whole process: for one that serves one client.
    Process,
}

/// The thread acts as a user as long as this lives. It belongs to its thread
/// and can't leave it.
pub struct Acting {
    restore: bool,
    _of_this_thread: PhantomData<*const ()>,
}

impl Acting {
    /// Takes on `identity`.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when the process may not: it must run as root.
    pub fn start(identity: &Identity, identity_scope: IdentityScope) -> Result<Self> {
        let acting = |restore| Acting {
            restore,
            _of_this_thread: PhantomData,
        };
        let own = rustix::process::geteuid().as_raw();
        if own != 0 {
            // Without privileges there is nothing to take on but what is there.
            return match own == identity.uid {
                true => Ok(acting(false)),
                false => Err(Error::new(
                    ErrorKind::Internal,
                    format!(
                        "acting as uid {} needs a wharfd that runs as root, without --user",
                        identity.uid
                    ),
                )),
            };
        }
        let mut groups = identity.groups.clone();
        if !groups.contains(&identity.gid) {
            groups.push(identity.gid);
        }
        let doing = || format!("acting as uid {}", identity.uid);
        match identity_scope {
            IdentityScope::Process => {
                sys::become_user(identity.uid, identity.gid, &groups).doing(doing())?;
                Ok(acting(false))
            }
            IdentityScope::Thread => {
                // Made first: whatever fails below is put back.
                let acting = acting(true);
                sys::act_as(identity.uid, identity.gid, &groups).doing(doing())?;
                Ok(acting)
            }
        }
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        if self.restore && sys::act_as(0, 0, &[]).is_err() {
            // SECURITY: the thread would serve its next client as this user.
            log::error!("a thread can't act as root again; the server ends");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs wherever the tests run as root, as in the containers of CI.
    #[test]
    fn a_thread_acts_as_a_user_and_comes_back_also_from_a_panic() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let status = || {
            let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let field = |name: &str| {
                let line = text.lines().find(|line| line.starts_with(name)).unwrap();
                line.split_whitespace()
                    .skip(1)
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            (field("Uid:"), field("Gid:"), field("Groups:"))
        };
        std::thread::spawn(move || {
            let before = status();
            let identity = Identity {
                uid: 4711,
                gid: 4712,
                groups: vec![4713],
            };
            let panic = std::panic::catch_unwind(|| {
                let _acting = Acting::start(&identity, IdentityScope::Thread).unwrap();
                let (uids, gids, groups) = status();
                assert_eq!(uids, ["0", "0", "0", "4711"]);
                assert_eq!(gids, ["0", "0", "0", "4712"]);
                assert_eq!(groups, ["4712", "4713"]);
                std::panic::resume_unwind(Box::new(()));
            });
            assert!(panic.is_err());
            let after = status();
            assert_eq!((before.0, before.1), (after.0, after.1));
            assert!(after.2.is_empty());
        })
        .join()
        .unwrap();
    }
}
