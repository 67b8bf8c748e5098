//! Landlock (landlock(7)): rules for what the process may still reach.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A Landlock ruleset in the making (landlock(7)): what the calling thread
/// and all that it starts may still reach. The numbers are the kernel's.
pub struct Landlock(OwnedFd);

impl Landlock {
    /// The version of Landlock in this kernel; `None` where there is none.
    pub fn version() -> Option<u32> {
        const CREATE_RULESET_VERSION: libc::c_ulong = 1;
        // SAFETY: with this flag the kernel reads nothing and answers a number.
        let version = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                std::ptr::null::<u8>(),
                0usize,
                CREATE_RULESET_VERSION,
            )
        };
        u32::try_from(version).ok().filter(|version| *version > 0)
    }

    /// A ruleset that forbids `files` and `network` wherever no rule allows
    /// it. Kernels before Landlock 4 know no network: pass 0 there.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(files: u64, network: u64) -> io::Result<Self> {
        let handled = [files, network];
        let size = match network {
            0 => size_of::<u64>(),
            _ => size_of_val(&handled),
        };
        // SAFETY: the first fields of the structure are all that is passed, by
        // their size; newer kernels take the rest for zero.
        let ruleset =
            unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, handled.as_ptr(), size, 0) };
        match RawFd::try_from(ruleset) {
            // SAFETY: the kernel has just made it for us.
            Ok(ruleset) if ruleset >= 0 => Ok(Landlock(unsafe { OwnedFd::from_raw_fd(ruleset) })),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Allows `access` to what an open descriptor stands for, and below it.
    ///
    /// # Errors
    /// What the system says.
    pub fn allow(&self, what: impl AsFd, access: u64) -> io::Result<()> {
        // The structure is packed: a number of 8 bytes and one of 4.
        let mut rule = [0u8; 12];
        rule[..8].copy_from_slice(&access.to_ne_bytes());
        rule[8..].copy_from_slice(&what.as_fd().as_raw_fd().to_ne_bytes());
        self.add(1, &rule)
    }

    /// Allows `access` to a TCP port; 0 stands for any that the kernel chooses.
    ///
    /// # Errors
    /// What the system says.
    pub fn allow_port(&self, port: u16, access: u64) -> io::Result<()> {
        let mut rule = [0u8; 16];
        rule[..8].copy_from_slice(&access.to_ne_bytes());
        rule[8..].copy_from_slice(&u64::from(port).to_ne_bytes());
        self.add(2, &rule)
    }

    /// Adds a rule of a type, which tells the kernel its size.
    fn add(&self, kind: libc::c_long, rule: &[u8]) -> io::Result<()> {
        // SAFETY: the kernel reads the bytes of the rule: 12 for paths, which
        // is type 1, and 16 for ports, which is type 2.
        let result = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.0.as_raw_fd(),
                kind,
                rule.as_ptr(),
                0,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Puts the rules in force, for good. Needs no_new_privs.
    ///
    /// # Errors
    /// What the system says.
    pub fn enforce(self) -> io::Result<()> {
        // SAFETY: numbers only.
        match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.0.as_raw_fd(), 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
