//! The way in: from a bound port to a session.
//!
//! `socket`, `stream` and `tls` are the leaves that every protocol reads and
//! writes through; the rest of the room stands above the protocols.

pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod tls;
