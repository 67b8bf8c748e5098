//! Rotation of host keys (OpenSSH's PROTOCOL, section 2.5): after the login a
//! client is told all keys of the server, and may ask for a proof that they are
//! the server's. So it knows the next key before the old one goes.

use super::algorithms::{HOST_KEYS, SignatureKind};
use super::fault::Fault;
use super::host_key::{HostKey, HostKeys};
use super::wire::{Put, message};
use crate::ssh_data::Reader;

const ANNOUNCE: &[u8] = b"hostkeys-00@openssh.com";
pub(super) const PROVE: &[u8] = b"hostkeys-prove-00@openssh.com";

/// The message that tells a client of all keys; nothing, where it knows the only
/// one already.
pub(super) fn announcement(keys: &HostKeys) -> Option<Vec<u8>> {
    if keys.all().len() < 2 {
        return None;
    }
    let mut request = vec![message::GLOBAL_REQUEST];
    request.put_string(ANNOUNCE);
    request.put_boolean(false);
    for key in keys.all() {
        request.put_string(key.blob());
    }
    Some(request)
}

/// The answer to [`PROVE`]: a signature by each key that is asked for, over this
/// session. `None`: a key that is not ours, or one asked for twice.
///
/// `negotiated` is how the key exchange was signed: an RSA key signs in the same
/// way, which the client is sure to know.
pub(super) fn proof(
    keys: &HostKeys,
    session_id: &[u8],
    negotiated: Option<(&'static str, SignatureKind)>,
    mut asked: Reader<'_>,
) -> Result<Option<Vec<u8>>, Fault> {
    let mut answer = vec![message::REQUEST_SUCCESS];
    let mut left: Vec<&HostKey> = keys.all().iter().collect();
    while !asked.rest().is_empty() {
        let blob = asked.string()?;
        let Some(at) = left.iter().position(|key| key.blob() == blob) else {
            return Ok(None);
        };
        let key = left.swap_remove(at);
        let fits = |(_, kind): &(&str, SignatureKind)| kind.key_type() == key.key_type();
        let first = || HOST_KEYS.iter().copied().find(|row| fits(row));
        let Some(algorithm) = negotiated.filter(|row| fits(row)).or_else(first) else {
            return Ok(None);
        };
        let mut data = Vec::new();
        data.put_string(PROVE);
        data.put_string(session_id);
        data.put_string(blob);
        answer.put_string(&key.sign(algorithm, &data)?);
    }
    Ok(Some(answer))
}
