//! The only `unsafe`: what rustix can't do.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::Mode;
use rustix::io::Errno;

/// Closes a descriptor and says what the last write-back said, which dropping
/// it does not. Whatever is said, the descriptor is gone (Linux, close(2)).
pub(crate) fn close(fd: OwnedFd) -> io::Result<()> {
    // SAFETY: `into_raw_fd` gives up ownership, so it is closed exactly once.
    match unsafe { libc::close(fd.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the program that `command` starts find `descriptor` as `number`. Where
/// the standard library keeps its own descriptor for telling about a failed
/// start there, such a start shows as a death by signal instead of an error.
pub(crate) fn pass_descriptor(command: &mut Command, descriptor: OwnedFd, number: RawFd) {
    let place = move || {
        let from = descriptor.as_raw_fd();
        let result = if from == number {
            // SAFETY: a system call on an open descriptor, without pointers.
            unsafe { libc::fcntl(number, libc::F_SETFD, 0) }
        } else {
            // SAFETY: as above; in the child, nothing else uses `number` now.
            unsafe { libc::dup2(from, number) }
        };
        match result {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // SAFETY: between fork and exec `place` makes one system call and neither
    // allocates nor takes a lock.
    unsafe { command.pre_exec(place) };
}

/// fchmodat2(2) with AT_SYMLINK_NOFOLLOW, Linux 6.6 and later.
pub(crate) fn change_mode_no_follow(
    directory: impl AsFd,
    name: &[u8],
    mode: Mode,
) -> Result<(), Errno> {
    const FCHMODAT2: libc::c_long = if cfg!(target_arch = "mips") {
        4452
    } else if cfg!(target_arch = "mips64") {
        5452
    } else {
        452
    };
    let name = std::ffi::CString::new(name).map_err(|_| Errno::INVAL)?;
    // SAFETY: the descriptor is open, the name ends with NUL, and the kernel
    // only reads it.
    let result = unsafe {
        libc::syscall(
            FCHMODAT2,
            directory.as_fd().as_raw_fd(),
            name.as_ptr(),
            mode.bits() as libc::c_uint,
            libc::AT_SYMLINK_NOFOLLOW,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// How long OpenSSL resumes a session; the `openssl` crate has no setter.
#[cfg(feature = "tls13")]
pub(crate) fn set_tls_session_timeout(
    context: &mut openssl::ssl::SslContextBuilder,
    timeout: std::time::Duration,
) {
    unsafe extern "C" {
        fn SSL_CTX_set_timeout(context: *mut libc::c_void, seconds: libc::c_long) -> libc::c_long;
    }
    let seconds = libc::c_long::try_from(timeout.as_secs()).unwrap_or(libc::c_long::MAX);
    // SAFETY: the builder owns a live SSL_CTX, which the call only writes a
    // number into.
    unsafe { SSL_CTX_set_timeout(context.as_ptr().cast(), seconds) };
}

/// Has OpenSSL (3.0 or later) send a TLS 1.3 ticket with the next write on an
/// established server connection; the `openssl` crate has no call for it.
#[cfg(feature = "tls13")]
pub(crate) fn send_tls_ticket(ssl: &openssl::ssl::SslRef) {
    unsafe extern "C" {
        fn SSL_new_session_ticket(ssl: *mut libc::c_void) -> libc::c_int;
    }
    let ssl = std::ptr::from_ref(ssl).cast_mut().cast();
    // SAFETY: a reference to an `SslRef` is the SSL pointer itself
    // (foreign-types, `ForeignTypeRef::as_ptr`), and the connection is alive.
    // The call only counts a ticket up; where it can't, it says so, which
    // costs the client a full handshake and nothing else.
    unsafe { SSL_new_session_ticket(ssl) };
}

/// Offers a session for resumption, as an FTP client does on its data
/// connections and a thief with a ticket of another's.
#[cfg(all(test, feature = "ftps"))]
pub(crate) fn offer_tls_session(
    ssl: &mut openssl::ssl::SslRef,
    session: &openssl::ssl::SslSessionRef,
) {
    // SAFETY: the tests make all of a client's connections from one context.
    unsafe { ssl.set_session(session) }.expect("a session fits its context");
}

/// Signals that are blocked, to be waited for.
pub struct SignalSet(libc::sigset_t);

impl SignalSet {
    fn of(signals: &[i32]) -> SignalSet {
        // SAFETY: sigemptyset makes the zeroed set a valid one; adding a
        // number that is no signal fails and changes nothing.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in signals {
                libc::sigaddset(&mut set, *signal);
            }
            SignalSet(set)
        }
    }

    /// Blocks signals for this thread and all that it starts from now on.
    ///
    /// # Errors
    /// What the system says.
    pub fn block(signals: &[i32]) -> io::Result<SignalSet> {
        let set = SignalSet::of(signals);
        set.mask(libc::SIG_BLOCK)?;
        Ok(set)
    }

    /// Lets signals of the set act on this thread again.
    ///
    /// # Errors
    /// What the system says.
    pub fn unblock(&self, signals: &[i32]) -> io::Result<()> {
        SignalSet::of(signals).mask(libc::SIG_UNBLOCK)
    }

    fn mask(&self, how: i32) -> io::Result<()> {
        // SAFETY: the set is initialised, and the old one is not asked for.
        match unsafe { libc::pthread_sigmask(how, &self.0, std::ptr::null_mut()) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Waits for one of the signals.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&self) -> io::Result<i32> {
        let mut signal = 0;
        // SAFETY: both point to live values of the right type.
        match unsafe { libc::sigwait(&self.0, &mut signal) } {
            0 => Ok(signal),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// The same for at most `timeout`; `None` when it has passed.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait_for(&self, timeout: std::time::Duration) -> io::Result<Option<i32>> {
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().min(i32::MAX as u64) as _,
            tv_nsec: timeout.subsec_nanos() as _,
        };
        // SAFETY: set and timeout are live, and no details are asked for.
        match unsafe { libc::sigtimedwait(&self.0, std::ptr::null_mut(), &timeout) } {
            -1 => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::EAGAIN) => Ok(None),
                error if error.raw_os_error() == Some(libc::EINTR) => Ok(None),
                error => Err(error),
            },
            signal => Ok(Some(signal)),
        }
    }
}

/// Descriptors that a launcher has left open for us, by their number.
pub struct Inherited;

impl Inherited {
    /// A descriptor of our own for the open file behind `number`, closed in
    /// programs that we start. The original stays, closed in them as well.
    ///
    /// # Errors
    /// Nothing is open there, or there are too many descriptors.
    pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
        use std::os::fd::FromRawFd;
        // SAFETY: fcntl on any number only looks at the descriptor table.
        let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
        if copy < 0 {
            return Err(io::Error::last_os_error());
        }
        if number > 2 {
            // SAFETY: as above; the flag changes nothing in this process.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        // SAFETY: the kernel has just made it for us, so nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(copy) })
    }
}

/// What [`fork`] has returned in.
pub enum Fork {
    /// The process that called; the child's number.
    Parent(i32),
    /// The new one.
    Child,
}

/// Makes the process two.
///
/// # Errors
/// What the system says; [`io::ErrorKind::Unsupported`] when there are other
/// threads, because the child would have their locks but not them.
pub fn fork() -> io::Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: with one thread the child is a whole copy and may go on as any
    // program does.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        child => Ok(Fork::Parent(child)),
    }
}

/// The time of day where the machine stands: what syslogd expects.
pub struct LocalTime(libc::tm);

impl LocalTime {
    /// Now.
    pub fn now() -> Self {
        // SAFETY: all fields of tm are numbers, or a pointer that may be null;
        // both calls write into live values of ours and keep nothing.
        unsafe {
            let mut fields = std::mem::zeroed();
            let now = libc::time(std::ptr::null_mut());
            libc::localtime_r(&now, &mut fields);
            LocalTime(fields)
        }
    }

    /// As in RFC 3164, section 4.1.2.
    pub fn syslog(&self) -> String {
        const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let fields = &self.0;
        let month = usize::try_from(fields.tm_mon).unwrap_or(0).min(11) * 3;
        let name = String::from_utf8_lossy(&MONTHS[month..month + 3]).into_owned();
        format!(
            "{name} {:2} {:02}:{:02}:{:02}",
            fields.tm_mday, fields.tm_hour, fields.tm_min, fields.tm_sec
        )
    }
}
