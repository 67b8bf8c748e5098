//! Calls on a socket during a handshake: it may block or not and have any
//! timeouts, and only the handshake's deadline counts.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::net::patience::{STEP, late};
use crate::net::socket::{Interest, Socket, wait};

/// Reads, and waits for it no longer than until `deadline`.
pub(super) fn receive_before(
    socket: &Socket,
    room: &mut [u8],
    deadline: &mut Instant,
) -> io::Result<usize> {
    loop {
        match recv(socket.as_fd(), &mut *room, RecvFlags::DONTWAIT) {
            Ok((count, _)) => return Ok(count),
            Err(rustix::io::Errno::AGAIN) => ready_before(socket, Interest::Read, deadline)?,
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Reads what is there.
pub(super) fn receive_now(socket: &Socket, room: &mut [u8]) -> io::Result<usize> {
    let (count, _) = recv(socket.as_fd(), room, RecvFlags::DONTWAIT)?;
    Ok(count)
}

/// Sends, and waits for it no longer than until `deadline`.
pub(super) fn send_before(
    socket: &Socket,
    data: &[u8],
    deadline: &mut Instant,
) -> io::Result<usize> {
    loop {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match send(socket.as_fd(), data, flags) {
            Ok(count) => return Ok(count),
            Err(rustix::io::Errno::AGAIN) => ready_before(socket, Interest::Write, deadline)?,
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Waits a step, and puts the deadline off as [`late`] says.
fn ready_before(socket: &Socket, interest: Interest, deadline: &mut Instant) -> io::Result<()> {
    let begin = Instant::now();
    let step = deadline.saturating_duration_since(begin).min(STEP);
    let [ready] = wait([(socket.as_fd(), interest)], Some(begin + step))?;
    *deadline += late(begin, step);
    if ready || Instant::now() < *deadline {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer took too long",
        ))
    }
}
