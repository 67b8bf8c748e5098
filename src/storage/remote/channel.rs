//! A socket pair between two processes of ours: whole messages, each with at
//! most one descriptor.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::error::{Doing, Error, ErrorKind, Result};

/// The largest message: two paths and what goes with them, or as many entries
/// of a directory.
pub const MESSAGE_MAX: usize = 16 * 1024;

/// One end.
#[derive(Debug)]
pub struct MessageSocket(OwnedFd);

impl MessageSocket {
    /// Both ends.
    ///
    /// # Errors
    /// Too many descriptors.
    pub fn pair() -> Result<(MessageSocket, MessageSocket)> {
        let (one, other) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .doing("making a socket pair")?;
        Ok((MessageSocket(one), MessageSocket(other)))
    }

    /// Sends a message, as a whole: several threads may do so.
    ///
    /// # Errors
    /// [`ErrorKind::Disconnected`] when the other process has ended;
    /// [`ErrorKind::NameInvalid`] for a message that is too long.
    pub fn send(&self, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
        self.send_with(message, descriptor, SendFlags::NOSIGNAL)
    }

    /// Sends a message where nothing may wait: an answer has room in a socket that
    /// is new. The socket's own mode stays, since the other process shares it.
    ///
    /// # Errors
    /// Those of [`MessageSocket::send`]; [`ErrorKind::Timeout`] when there is no room.
    pub fn send_now(&self, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
        self.send_with(
            message,
            descriptor,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        )
    }

    fn send_with(
        &self,
        message: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
        flags: SendFlags,
    ) -> Result<()> {
        if message.len() > MESSAGE_MAX {
            return Err(Error::new(ErrorKind::NameInvalid, "names are too long"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = descriptor.as_slice();
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let parts = [IoSlice::new(message)];
        loop {
            match rustix::net::sendmsg(&self.0, &parts, &mut control, flags) {
                Err(Errno::INTR) => {}
                result => return result.map(drop).doing("sending a message"),
            }
        }
    }

    /// Waits for a message; `None` when the other process has ended or closed
    /// its end.
    ///
    /// # Errors
    /// A message that is longer than `buffer`, or too many descriptors.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<(usize, Option<OwnedFd>)>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(buffer)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            match rustix::net::recvmsg(&self.0, &mut parts, &mut control, flags) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                result => break result.doing("receiving a message")?,
            }
        };
        let mut descriptor = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                descriptor = descriptors.last();
            }
        }
        // An empty message is the end: none is ever sent.
        if received.bytes == 0 {
            return Ok(None);
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(Error::new(
                ErrorKind::Busy,
                "a message did not arrive whole",
            ));
        }
        Ok(Some((received.bytes, descriptor)))
    }
}

impl From<OwnedFd> for MessageSocket {
    fn from(socket: OwnedFd) -> Self {
        MessageSocket(socket)
    }
}

impl From<MessageSocket> for OwnedFd {
    fn from(channel: MessageSocket) -> Self {
        channel.0
    }
}

impl AsFd for MessageSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
