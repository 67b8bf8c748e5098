//! What clients are told of our address.

use std::net::Ipv4Addr;

/// The address of the 227 reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldAddress {
    /// This one.
    Known(Ipv4Addr),
    /// There is none on a connection over IPv6.
    OnlyIpv6,
    /// The name of `passive_address` does not resolve now.
    Unresolved,
}
