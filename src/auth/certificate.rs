//! OpenSSH certificates (PROTOCOL.certkeys): what they say, and whether that
//! lets a user in.
//!
//! No crypto here: that the authority has signed one, and that the client has
//! its key, is for the SSH transport to prove.

use std::net::IpAddr;
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use super::PublicKey;
use crate::address::Network;
use crate::ssh_data::Reader;

/// How the names of certificates' types and signatures end.
pub(crate) const CERTIFICATE: &str = "-cert-v01@openssh.com";
/// The most principals of one, as in OpenSSH.
const MOST_PRINCIPALS: usize = 256;

/// Whom a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer {
    /// A user, who logs in with it.
    User,
    /// A server, which shows it to clients.
    Host,
}

/// What a certificate says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Certificate<'a> {
    /// The key that it certifies.
    pub key: PublicKey,
    /// Its number.
    pub serial: u64,
    /// Whom it is for.
    pub bearer: Bearer,
    /// What its authority calls it, for logs.
    pub id: &'a [u8],
    /// Users, or names of the host.
    principals: Vec<&'a [u8]>,
    /// Seconds since 1970 began.
    valid: Range<u64>,
    /// Critical options, by name.
    options: Vec<(&'a [u8], &'a [u8])>,
    /// The key of the authority.
    pub authority: &'a [u8],
    /// What the authority has signed.
    pub signed: &'a [u8],
    /// Its signature, with the algorithm's name in front.
    pub signature: &'a [u8],
}

/// The algorithm of the key below a certificate's, of key types and signatures;
/// `None`: it is no certificate's.
pub fn plain_algorithm(name: &str) -> Option<String> {
    let base = name.strip_suffix(CERTIFICATE)?;
    // Security keys have the domain in their plain names, too.
    Some(if base.starts_with("sk-") {
        format!("{base}@openssh.com")
    } else {
        base.to_owned()
    })
}

/// How many strings a public key of a type has behind its name; `None`: none
/// that OpenSSH knows. Which types may log in is a matter of the transport's
/// allow-list.
pub(super) fn fields(key_type: &[u8]) -> Option<usize> {
    Some(match key_type {
        b"ssh-ed25519" => 1,
        b"ssh-rsa" => 2,
        b"ecdsa-sha2-nistp256" | b"ecdsa-sha2-nistp384" | b"ecdsa-sha2-nistp521" => 2,
        b"sk-ssh-ed25519@openssh.com" => 2,
        b"sk-ecdsa-sha2-nistp256@openssh.com" => 3,
        _ => return None,
    })
}

impl<'a> Certificate<'a> {
    /// Reads a certificate; `None`: it is none, or one that is broken.
    pub fn read(blob: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(blob);
        let plain = plain_algorithm(std::str::from_utf8(reader.string().ok()?).ok()?)?;
        let _nonce = reader.string().ok()?;
        let public = reader.rest();
        for _ in 0..fields(plain.as_bytes())? {
            reader.string().ok()?;
        }
        let public = &public[..public.len() - reader.rest().len()];
        let mut key = (plain.len() as u32).to_be_bytes().to_vec();
        key.extend_from_slice(plain.as_bytes());
        key.extend_from_slice(public);
        let serial = reader.u64().ok()?;
        let bearer = match reader.u32().ok()? {
            1 => Bearer::User,
            2 => Bearer::Host,
            _ => return None,
        };
        let id = reader.string().ok()?;
        let principals = strings(reader.string().ok()?)?;
        let valid = reader.u64().ok()?..reader.u64().ok()?;
        let options = pairs(reader.string().ok()?)?;
        // What they permit, there is nothing of here: terminals, forwarding.
        // `no-touch-required` is not heeded: a touch stays required.
        let _extensions = pairs(reader.string().ok()?)?;
        let _reserved = reader.string().ok()?;
        let authority = reader.string().ok()?;
        let signed = &blob[..blob.len() - reader.rest().len()];
        let signature = reader.string().ok()?;
        if !reader.is_empty() || principals.len() > MOST_PRINCIPALS {
            return None;
        }
        Some(Certificate {
            key: PublicKey::new(plain, key),
            serial,
            bearer,
            id,
            principals,
            valid,
            options,
            authority,
            signed,
            signature,
        })
    }

    /// Whether it is valid at this time.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH);
        now.is_ok_and(|now| self.valid.contains(&now.as_secs()))
    }

    /// Whether a user who shows it may come in, by what it says: `verified` is
    /// [`PublicKey::user_verified`], `names` judges its principals.
    ///
    /// # Errors
    /// Why not, for the log.
    pub(super) fn admits(
        &self,
        peer: IpAddr,
        verified: Option<bool>,
        now: SystemTime,
        names: impl Fn(&[u8]) -> bool,
    ) -> Result<(), &'static str> {
        if self.bearer != Bearer::User {
            return Err("it is for a host");
        }
        if !self.is_valid(now) {
            return Err("it is not valid now");
        }
        // Without principals it is for everybody in some versions of OpenSSH's
        // server, by which one that was made in haste opens all accounts.
        if !self.principals.iter().any(|name| names(name)) {
            return Err("it is for none of these names");
        }
        for (name, value) in &self.options {
            let mut inner = Reader::new(value);
            match *name {
                b"force-command"
                    if inner
                        .string()
                        .is_ok_and(|command| command == b"internal-sftp") => {}
                b"force-command" => return Err("it is for another command than SFTP"),
                b"source-address" => {
                    let list = inner.string().map_err(|_| "its source-address is broken")?;
                    if !from_here(list, peer)? {
                        return Err("its source-address is another one");
                    }
                }
                b"verify-required" if verified == Some(false) => {
                    return Err("its security key has not verified its user");
                }
                b"verify-required" if self.key.algorithm.starts_with("sk-") => {}
                _ => return Err("it has a critical option that is not known here"),
            }
            if !inner.is_empty() {
                return Err("one of its critical options is broken");
            }
        }
        Ok(())
    }
}

/// Whether one of the networks of `source-address` has the peer. As in OpenSSH,
/// one that is none makes all count for nothing.
fn from_here(list: &[u8], peer: IpAddr) -> Result<bool, &'static str> {
    let list = std::str::from_utf8(list).map_err(|_| "its source-address is broken")?;
    let mut found = false;
    for network in list.split(',') {
        let network = Network::read(network).map_err(|_| "its source-address is broken")?;
        found |= network.contains(peer);
    }
    Ok(found)
}

fn strings(list: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = Reader::new(list);
    let mut all = Vec::new();
    while !reader.is_empty() {
        all.push(reader.string().ok()?);
    }
    Some(all)
}

/// Options: names and values, each name once.
fn pairs(rest: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let strings = strings(rest)?;
    let (pairs, []) = strings.as_chunks() else {
        return None;
    };
    let pairs: Vec<_> = pairs.iter().map(|[name, value]| (*name, *value)).collect();
    let mut names: Vec<_> = pairs.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    (names.len() == pairs.len()).then_some(pairs)
}

#[cfg(test)]
mod tests;
