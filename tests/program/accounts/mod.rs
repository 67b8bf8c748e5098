//! Users of other databases: those of the system, of PAM and of LDAP, end to
//! end. The account files are the test's own: each daemon has a private /etc,
//! which needs root; without, the tests say SKIP.
#![cfg(feature = "cli")]

use crate::common;

mod etc;
mod ldap;
mod pam;
#[cfg(feature = "sftp")]
mod sftp;
mod system;
mod taken_over;
