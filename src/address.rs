//! Addresses and networks: CIDR matching, and the key that limits count by.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// A network in CIDR form, such as `10.0.0.0/8` or `2001:db8::/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Reads `ADDRESS` or `ADDRESS/BITS`.
impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Network, Error> {
        Network::read(text).map_err(|what| Error::new(ErrorKind::Invalid, what))
    }
}

impl Network {
    /// As [`Network::from_str`], with the sentence alone.
    pub(crate) fn read(text: &str) -> Result<Network, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let wrong = || {
            format!(
                "'{}' is not a network such as 192.168.0.0/16",
                text.escape_debug()
            )
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|bits| *bits <= longest)
                .ok_or_else(wrong)?,
        };
        Ok(Network { address, prefix })
    }

    /// An address of the network: the one that was given.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether `address` lies in this network. An IPv4 address that came over
    /// a dual-stack socket counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, canonical(address)) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                u32::from(network).checked_shr(shift) == u32::from(address).checked_shr(shift)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                u128::from(network).checked_shr(shift) == u128::from(address).checked_shr(shift)
            }
            _ => false,
        }
    }

    /// The network of `prefix` bits around `address`: what a limit counts by.
    pub fn around(address: IpAddr, prefix_v4: u8, prefix_v6: u8) -> Network {
        match canonical(address) {
            IpAddr::V4(address) => {
                let shift = 32 - u32::from(prefix_v4.min(32));
                let bits = u32::from(address)
                    .checked_shr(shift)
                    .and_then(|bits| bits.checked_shl(shift));
                Network {
                    address: IpAddr::V4(Ipv4Addr::from(bits.unwrap_or(0))),
                    prefix: prefix_v4.min(32),
                }
            }
            IpAddr::V6(address) => {
                let shift = 128 - u32::from(prefix_v6.min(128));
                let bits = u128::from(address)
                    .checked_shr(shift)
                    .and_then(|bits| bits.checked_shl(shift));
                Network {
                    address: IpAddr::V6(Ipv6Addr::from(bits.unwrap_or(0))),
                    prefix: prefix_v6.min(128),
                }
            }
        }
    }

    /// What limits and bans count by: one IPv4 address, or the /64 of an IPv6
    /// address, because one host has a whole /64 to pick from.
    pub fn of_peer(address: IpAddr) -> Network {
        Network::around(address, 32, 64)
    }

    /// Whether it is what some peer counts by.
    pub fn is_of_peer(&self) -> bool {
        *self == Network::of_peer(self.address)
    }

    /// What the peers of the network count by, if it is that small: the /64 of
    /// one IPv6 address.
    pub fn widened(self) -> Network {
        let of_peer = Network::of_peer(self.address);
        if self.prefix > of_peer.prefix {
            of_peer
        } else {
            self
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = if self.address.is_ipv4() { 32 } else { 128 };
        if self.prefix == longest {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

/// An IPv4 address that a dual-stack socket shows as `::ffff:1.2.3.4`, as IPv4.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_they_say() {
        for (network, address, want) in [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("192.168.1.1", "192.168.1.1", true),
            ("192.168.1.1", "192.168.1.2", false),
            ("2001:db8::/32", "2001:db8:1::5", true),
            ("2001:db8::/32", "2001:db9::5", false),
        ] {
            let network = Network::read(network).unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                want,
                "{network} {address}"
            );
        }
        for text in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0/8"] {
            assert!(Network::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_ipv6_host_counts_by_its_64() {
        let one = Network::of_peer("2001:db8:0:1::5".parse().unwrap());
        let two = Network::of_peer("2001:db8:0:1:ffff::6".parse().unwrap());
        let other = Network::of_peer("2001:db8:0:2::5".parse().unwrap());
        assert_eq!(one, two);
        assert_ne!(one, other);
        assert_eq!(one.to_string(), "2001:db8:0:1::/64");
        assert_eq!(
            Network::of_peer("::ffff:1.2.3.4".parse().unwrap()).to_string(),
            "1.2.3.4"
        );
    }
}
