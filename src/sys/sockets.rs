//! What the kernel knows of a socket and rustix does not ask.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// How long a segment and its acknowledgement take on a TCP connection, as the
/// kernel has seen it so far (TCP_INFO, tcp(7)).
pub(crate) fn round_trip(socket: impl AsFd) -> Option<Duration> {
    /// Where `tcpi_rtt` ends in `struct tcp_info`: eight bytes, fifteen numbers
    /// before it. The kernel fills as much of it as is asked for.
    const END: usize = 72;
    let mut info = [0u8; END];
    let mut length = END as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `info`, and how
    // many it has written into `length`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut length,
        )
    };
    let microseconds = info
        .last_chunk::<4>()
        .map(|bytes| u32::from_ne_bytes(*bytes))?;
    (result == 0 && length as usize == END && microseconds > 0)
        .then(|| Duration::from_micros(microseconds.into()))
}

/// Bytes in the send queue: the peer has not acknowledged them (SIOCOUTQ,
/// tcp(7)). A FIN that was sent counts as one.
pub(crate) fn unacknowledged(socket: impl AsFd) -> Option<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int, to which the pointer leads. SIOCOUTQ
    // is TIOCOUTQ on every machine.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 {
        bytes.try_into().ok()
    } else {
        None
    }
}

/// Has the next bind(2) to port 0 choose an address alone. The port is chosen
/// by connect(2), which can use one port for many destinations (ip(7),
/// IP_BIND_ADDRESS_NO_PORT, since Linux 4.2).
pub(crate) fn bind_address_without_port(socket: impl AsFd) -> io::Result<()> {
    const IP_BIND_ADDRESS_NO_PORT: libc::c_int = 24;
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one int, to which the pointer leads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
