//! Private keys in OpenSSH's own file format (OpenSSH, PROTOCOL.key), without
//! a passphrase: a server has nobody to ask for one.

use openssl::base64;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;

use super::fault::Fault;
use super::wire::Put;
use crate::ssh_data::Reader;

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Whether the text is in this format.
pub(super) fn recognise(text: &str) -> bool {
    text.contains(BEGIN)
}

fn bad(text: &'static str) -> Fault {
    Fault::protocol(text)
}

/// Reads a key file.
pub(super) fn decode(text: &str) -> Result<PKey<Private>, Fault> {
    let body = text
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once(END))
        .map(|(body, _)| body)
        .ok_or_else(|| bad("the key file has no end line"))?;
    let body: String = body.split_ascii_whitespace().collect();
    let bytes = base64::decode_block(&body).map_err(|_| bad("the key file is not base64"))?;
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| bad("the key file has a wrong beginning"))?;
    let mut reader = Reader::new(rest);
    if reader.string()? != b"none" {
        return Err(bad("the key is protected by a passphrase"));
    }
    let _kdf = (reader.string()?, reader.string()?);
    if reader.u32()? != 1 {
        return Err(bad("the file must hold one key"));
    }
    let _public = reader.string()?;
    let mut reader = Reader::new(reader.string()?);
    if reader.u32()? != reader.u32()? {
        return Err(bad("the key's check numbers differ"));
    }
    match reader.text()? {
        "ssh-ed25519" => ed25519(reader),
        "ecdsa-sha2-nistp256" => ecdsa(reader, Nid::X9_62_PRIME256V1),
        "ecdsa-sha2-nistp384" => ecdsa(reader, Nid::SECP384R1),
        "ecdsa-sha2-nistp521" => ecdsa(reader, Nid::SECP521R1),
        "ssh-rsa" => rsa(reader),
        _ => Err(bad("there is no use for this type of key here")),
    }
}

fn ed25519(mut reader: Reader<'_>) -> Result<PKey<Private>, Fault> {
    let public = reader.string()?;
    let pair = reader.string()?;
    let Some(seed) = pair.get(..32) else {
        return Err(bad("the ed25519 key is cut short"));
    };
    let key = PKey::private_key_from_raw_bytes(seed, Id::ED25519)?;
    if key.raw_public_key()? != public {
        return Err(bad("the public and the private part do not fit"));
    }
    Ok(key)
}

fn ecdsa(mut reader: Reader<'_>, curve: Nid) -> Result<PKey<Private>, Fault> {
    let _name = reader.string()?;
    let public = reader.string()?;
    let private = BigNum::from_slice(reader.mpint()?)?;
    let group = EcGroup::from_curve_name(curve)?;
    let mut context = BigNumContext::new()?;
    let point = EcPoint::from_bytes(&group, public, &mut context)?;
    let key = EcKey::from_private_components(&group, &private, &point)?;
    key.check_key()?;
    Ok(PKey::from_ec_key(key)?)
}

fn rsa(mut reader: Reader<'_>) -> Result<PKey<Private>, Fault> {
    let mut number = || -> Result<BigNum, Fault> { Ok(BigNum::from_slice(reader.mpint()?)?) };
    let (n, e, d) = (number()?, number()?, number()?);
    let (inverse, p, q) = (number()?, number()?, number()?);
    let one = BigNum::from_u32(1)?;
    let mut context = BigNumContext::new()?;
    let mut reduced = |prime: &BigNum| -> Result<BigNum, Fault> {
        let mut less = BigNum::new()?;
        less.checked_sub(prime, &one)?;
        let mut rest = BigNum::new_secure()?;
        rest.nnmod(&d, &less, &mut context)?;
        Ok(rest)
    };
    let (dmp1, dmq1) = (reduced(&p)?, reduced(&q)?);
    let rsa = Rsa::from_private_components(n, e, d, p, q, dmp1, dmq1, inverse)?;
    if !rsa.check_key()? {
        return Err(bad("the parts of the RSA key do not fit"));
    }
    Ok(PKey::from_rsa(rsa)?)
}

/// Writes an ed25519 key file as `ssh-keygen` does. PKCS#8 would do for us, but
/// `ssh-keygen` before 9.6 can't read ed25519 keys in it.
pub(super) fn encode_ed25519(key: &PKey<Private>, comment: &str) -> Result<String, Fault> {
    let public = key.raw_public_key()?;
    let mut blob = Vec::new();
    blob.put_string(b"ssh-ed25519");
    blob.put_string(&public);

    let mut check = [0; 4];
    openssl::rand::rand_bytes(&mut check)?;
    let mut secret = Vec::new();
    secret.put_bytes(&check);
    secret.put_bytes(&check);
    secret.put_bytes(&blob);
    let mut pair = key.raw_private_key()?;
    pair.extend_from_slice(&public);
    secret.put_string(&pair);
    secret.put_string(comment.as_bytes());
    for pad in 1.. {
        if secret.len().is_multiple_of(8) {
            break;
        }
        secret.put_byte(pad);
    }

    let mut file = MAGIC.to_vec();
    file.put_string(b"none");
    file.put_string(b"none");
    file.put_string(b"");
    file.put_u32(1);
    file.put_string(&blob);
    file.put_string(&secret);

    let encoded = base64::encode_block(&file);
    let mut text = format!("{BEGIN}\n");
    for line in encoded.as_bytes().chunks(70) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(END);
    text.push('\n');
    Ok(text)
}
