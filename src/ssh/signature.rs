//! Signatures of users' keys: RFC 8709 (ed25519), RFC 5656 (ecdsa), RFC 8332
//! (rsa-sha2) and security keys (OpenSSH, PROTOCOL.u2f).

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::md::{Md, MdRef};
use openssl::md_ctx::MdCtx;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey};
use openssl::rsa::Rsa;
use openssl::sha;

use super::algorithms::{Algorithms, LEAST_RSA_BITS, SignatureKind};
use super::fault::Fault;
use super::wire::Put;
use crate::auth::Certificate;
use crate::ssh_data::Reader;

/// Larger moduli only cost time (OpenSSH's limit too).
const MOST_RSA_BITS: i32 = 16_384;
/// The flag of a security key's signature that says somebody touched it.
const USER_PRESENT: u8 = 1;
/// The one that says that the key has verified who it was.
const USER_VERIFIED: u8 = 4;

/// Whether `signature`, with its algorithm's name in front, is the key's over
/// `message`. A signature or key that can't be read is not an error, it is
/// simply not valid.
pub(super) fn verify(
    algorithm: (&str, SignatureKind),
    blob: &[u8],
    signature: &[u8],
    message: &[u8],
) -> bool {
    let valid = check(algorithm, blob, signature, message).unwrap_or(false);
    // What OpenSSL noted about a bad key must not show up elsewhere.
    drop(openssl::error::ErrorStack::get());
    valid
}

/// Whether a certificate's authority has signed it, in a way that is allowed for
/// users' keys: never over SHA-1.
pub(super) fn is_certified(certificate: &Certificate<'_>, allowed: &Algorithms) -> bool {
    let Certificate {
        authority,
        signature,
        signed,
        ..
    } = certificate;
    let name = Reader::new(signature).text().unwrap_or_default();
    let Some(kind) = allowed.signature(name) else {
        return false;
    };
    verify((name, kind), authority, signature, signed)
}

fn check(
    (name, kind): (&str, SignatureKind),
    blob: &[u8],
    signature: &[u8],
    message: &[u8],
) -> Result<bool, Fault> {
    let mut key = Reader::new(blob);
    let mut signature = Reader::new(signature);
    if key.string()? != kind.key_type().as_bytes() || signature.string()? != name.as_bytes() {
        return Ok(false);
    }
    match kind {
        SignatureKind::Ed25519 => ed25519(key.string()?, signature.string()?, message),
        SignatureKind::RsaSha256 => rsa(key, signature.string()?, Md::sha256(), message),
        SignatureKind::RsaSha512 => rsa(key, signature.string()?, Md::sha512(), message),
        SignatureKind::EcdsaNistp256 => {
            let curve = (Nid::X9_62_PRIME256V1, "nistp256");
            ecdsa(curve, key, signature.string()?, &sha::sha256(message))
        }
        SignatureKind::EcdsaNistp384 => {
            let curve = (Nid::SECP384R1, "nistp384");
            ecdsa(curve, key, signature.string()?, &sha::sha384(message))
        }
        SignatureKind::EcdsaNistp521 => {
            let curve = (Nid::SECP521R1, "nistp521");
            ecdsa(curve, key, signature.string()?, &sha::sha512(message))
        }
        SignatureKind::SkEd25519 => {
            let public = key.string()?;
            let application = key.string()?;
            let raw = signature.string()?;
            match touched(application, signature, message)? {
                Some(signed) => ed25519(public, raw, &signed),
                None => Ok(false),
            }
        }
        SignatureKind::SkEcdsaNistp256 => {
            let point = key;
            key.string()?;
            key.string()?;
            let application = key.string()?;
            let raw = signature.string()?;
            match touched(application, signature, message)? {
                Some(signed) => {
                    let curve = (Nid::X9_62_PRIME256V1, "nistp256");
                    ecdsa(curve, point, raw, &sha::sha256(&signed))
                }
                None => Ok(false),
            }
        }
    }
}

/// What a security key signed: hash of the application, flags, counter, hash
/// of the message. `None` when nobody touched the key.
fn touched(
    application: &[u8],
    mut rest: Reader<'_>,
    message: &[u8],
) -> Result<Option<Vec<u8>>, Fault> {
    let flags = rest.byte()?;
    let counter = rest.u32()?;
    if flags & USER_PRESENT == 0 {
        return Ok(None);
    }
    let mut signed = Vec::new();
    signed.put_bytes(&sha::sha256(application));
    signed.put_byte(flags);
    signed.put_u32(counter);
    signed.put_bytes(&sha::sha256(message));
    Ok(Some(signed))
}

/// Whether a security key has verified its user, as its signature says, which
/// must be right; `None`: it is none.
pub(super) fn user_verified(kind: SignatureKind, signature: &[u8]) -> Result<Option<bool>, Fault> {
    if !matches!(
        kind,
        SignatureKind::SkEd25519 | SignatureKind::SkEcdsaNistp256
    ) {
        return Ok(None);
    }
    let mut signature = Reader::new(signature);
    signature.string()?;
    signature.string()?;
    Ok(Some(signature.byte()? & USER_VERIFIED != 0))
}

fn ed25519(public: &[u8], signature: &[u8], message: &[u8]) -> Result<bool, Fault> {
    if public.len() != 32 || signature.len() != 64 {
        return Ok(false);
    }
    let key = PKey::public_key_from_raw_bytes(public, Id::ED25519)?;
    let mut context = MdCtx::new()?;
    context.digest_verify_init(None, &key)?;
    Ok(context.digest_verify(message, signature)?)
}

/// `key`: e and n.
fn rsa(
    mut key: Reader<'_>,
    signature: &[u8],
    digest: &MdRef,
    message: &[u8],
) -> Result<bool, Fault> {
    let e = BigNum::from_slice(key.mpint()?)?;
    let n = BigNum::from_slice(key.mpint()?)?;
    if n.num_bits() < LEAST_RSA_BITS as i32 || n.num_bits() > MOST_RSA_BITS {
        return Ok(false);
    }
    let width = n.num_bytes() as usize;
    let key = PKey::from_rsa(Rsa::from_public_components(n, e)?)?;
    // RFC 8332, section 3: leading zeroes may have been cut off.
    let Some(zeroes) = width.checked_sub(signature.len()) else {
        return Ok(false);
    };
    let mut full = vec![0; zeroes];
    full.put_bytes(signature);
    let mut context = MdCtx::new()?;
    context.digest_verify_init(Some(digest), &key)?;
    Ok(context.digest_verify(message, &full)?)
}

/// `key`: curve's name and point; `signature`: r and s.
fn ecdsa(
    (curve, name): (Nid, &str),
    mut key: Reader<'_>,
    signature: &[u8],
    digest: &[u8],
) -> Result<bool, Fault> {
    if key.string()? != name.as_bytes() {
        return Ok(false);
    }
    let group = EcGroup::from_curve_name(curve)?;
    let mut context = BigNumContext::new()?;
    let point = EcPoint::from_bytes(&group, key.string()?, &mut context)?;
    let key = EcKey::from_public_key(&group, &point)?;
    key.check_key()?;
    let mut numbers = Reader::new(signature);
    let r = BigNum::from_slice(numbers.mpint()?)?;
    let s = BigNum::from_slice(numbers.mpint()?)?;
    Ok(EcdsaSig::from_private_components(r, s)?.verify(digest, &key)?)
}
