//! The only `unsafe`: what rustix can't do.
#![allow(unsafe_code)]

mod descriptors;
pub(crate) mod directory;
#[cfg(all(feature = "sftp", ossl300))]
pub(crate) mod kem;
mod landlock;
mod local_time;
mod seccomp;
mod sockets;
mod wipe;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::io::Errno;

pub use descriptors::close_inherited;
pub use landlock::Landlock;
pub(crate) use local_time::local_offset;
pub use seccomp::refuse_system_calls;
#[cfg(debug_assertions)]
pub use seccomp::trace_parent;
pub(crate) use sockets::{bind_address_without_port, round_trip, unacknowledged};
pub use wipe::Wiping;

type Opener = dyn Fn(&Path) -> io::Result<File> + Send + Sync;

static OPENER: OnceLock<Box<Opener>> = OnceLock::new();

/// From now on `opener` opens files of the settings that this process may not
/// read. The first one counts.
pub fn set_opener(opener: Box<Opener>) {
    let _ = OPENER.set(opener);
}

/// Opens a file of the settings for reading, through whoever may.
///
/// # Errors
/// What the system says.
pub fn open_setting(path: &Path) -> io::Result<File> {
    // O_NONBLOCK: opening a FIFO would wait for a writer for ever.
    let opened = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path);
    match (opened, OPENER.get()) {
        (Err(error), Some(opener)) if error.kind() == io::ErrorKind::PermissionDenied => {
            opener(path)
        }
        (opened, _) => opened,
    }
}

/// What a file holds, but no more than so many bytes.
pub(crate) fn read_at_most(file: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a log for writing at its end, and makes it if there is none, through
/// whoever may.
///
/// # Errors
/// What the system says.
pub fn open_log(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.append(true).create(true).mode(0o640);
    match (options.open(path), OPENER.get()) {
        (Err(error), Some(opener)) if error.kind() == io::ErrorKind::PermissionDenied => {
            opener(path)
        }
        (opened, _) => opened,
    }
}

/// Closes a descriptor and says what the last write-back said, which dropping
/// it does not. Whatever is said, the descriptor is gone (Linux, close(2)).
pub(crate) fn close(fd: OwnedFd) -> io::Result<()> {
    // SAFETY: `into_raw_fd` gives up ownership, so it is closed exactly once.
    match unsafe { libc::close(fd.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What the last call of the C library has failed with.
fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Gives back the pages of the calling thread's stack that were needed once
/// and are not now: a session waits for hours with what a hash or a listing
/// has touched. The main thread's are left alone; it serves one session.
// With a frame of its own, which is small: what lies so far below a local of it
// belongs to nobody who will return.
#[inline(never)]
pub(crate) fn release_stack() {
    const MARGIN: usize = if cfg!(debug_assertions) { 4096 } else { 512 };
    if rustix::thread::gettid() == rustix::process::getpid() {
        return;
    }
    let local = 0u8;
    let here = std::hint::black_box(&raw const local).addr();
    // SAFETY: the attributes are initialised by the first call if it succeeds,
    // and destroyed once. The bounds it tells are those of the calling thread's
    // own stack, which grows downwards on every machine that Linux has for us;
    // this frame and those of the calls from it take less than the margin, and
    // below them nothing is alive, so that it may read as zeros.
    unsafe {
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return;
        }
        let (mut lowest, mut size) = (std::ptr::null_mut::<libc::c_void>(), 0);
        let known = libc::pthread_attr_getstack(attributes.as_ptr(), &mut lowest, &mut size) == 0;
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        let page = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).unwrap_or(0);
        let inside = (lowest.addr()..lowest.addr().saturating_add(size)).contains(&here);
        if known && inside && page.is_power_of_two() {
            let end = here.saturating_sub(MARGIN) & !(page - 1);
            let unused = end.saturating_sub(lowest.addr());
            libc::madvise(lowest, unused, libc::MADV_DONTNEED);
        }
    }
}

/// Has the C library share a few regions of memory among all threads. It
/// would have eight for each processor, 64 MiB of addresses each: too many on
/// large machines with small limits, and none too few for sessions, which wait.
pub fn bound_arenas(most: i32) {
    // SAFETY: it sets a number and may be called at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, most);
    }
    let _ = most;
}

/// Gives back what sessions that have ended leave free in the C library's heap.
pub fn trim_heap() {
    // SAFETY: it touches free memory only and may be called at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
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
        _ => Err(last_errno()),
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

/// The name of the key that a context seals its tickets with: the first bytes
/// of each ticket, in the clear (RFC 5077, section 4).
#[cfg(feature = "tls13")]
pub(crate) fn tls_ticket_key_name(context: &openssl::ssl::SslContextRef) -> Option<[u8; 16]> {
    unsafe extern "C" {
        fn SSL_CTX_ctrl(
            context: *mut libc::c_void,
            command: libc::c_int,
            number: libc::c_long,
            pointer: *mut libc::c_void,
        ) -> libc::c_long;
    }
    /// SSL_CTRL_GET_TLSEXT_TICKET_KEYS: the name and two keys of 32 bytes.
    const GET_TICKET_KEYS: libc::c_int = 58;
    let mut keys = [0u8; 80];
    let context = std::ptr::from_ref(context).cast_mut().cast();
    // SAFETY: a reference to an `SslContextRef` is the SSL_CTX pointer itself
    // (foreign-types, `ForeignTypeRef::as_ptr`). The call writes into `keys`
    // and refuses a length that is not its own.
    let done = unsafe { SSL_CTX_ctrl(context, GET_TICKET_KEYS, 80, keys.as_mut_ptr().cast()) };
    let name = *keys.first_chunk()?;
    (done == 1).then_some(name)
}

/// The names of all ciphers that a connection may use, in their order.
#[cfg(feature = "tls13")]
pub(crate) fn tls_cipher_names(ssl: &openssl::ssl::SslRef) -> Vec<std::ffi::CString> {
    unsafe extern "C" {
        fn SSL_get_cipher_list(ssl: *const libc::c_void, at: libc::c_int) -> *const libc::c_char;
    }
    let ssl = std::ptr::from_ref(ssl).cast();
    let name = |at| {
        // SAFETY: a reference to an `SslRef` is the SSL pointer itself; past the
        // end of the list the call answers null.
        let name = unsafe { SSL_get_cipher_list(ssl, at) };
        // SAFETY: else it is a constant of the library, ended by a zero.
        (!name.is_null()).then(|| unsafe { std::ffi::CStr::from_ptr(name) }.to_owned())
    };
    (0..).map_while(name).collect()
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

    /// Waits for one of the signals, at most `timeout`; `None` when it has passed.
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

/// Makes the whole process another user's, for good: real, effective and saved
/// ids of all threads.
///
/// # Errors
/// What the system says.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the C library reads as many numbers as the slice has; the other
    // calls take numbers only. It changes all threads, which is wanted.
    let done = unsafe {
        libc::setgroups(groups.len() as _, groups.as_ptr()) == 0
            && libc::setresgid(gid, gid, gid) == 0
            && libc::setresuid(uid, uid, uid) == 0
    };
    if done {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests;
