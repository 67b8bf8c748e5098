//! Certificates, made here: those of our unit tests and of the tests over the
//! wire.

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::BasicConstraints;
use openssl::x509::{X509, X509Builder, X509Name};

/// A certificate with its key.
pub struct Made {
    pub certificate: X509,
    pub key: PKey<Private>,
}

/// Days from now, before and after.
pub const VALID: (i64, i64) = (-10, 30);

pub fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// Says that it may sign others.
pub fn may_sign(builder: &mut X509Builder) {
    let authority = BasicConstraints::new().critical().ca().build().unwrap();
    builder.append_extension(authority).unwrap();
}

/// Makes one that its issuer has signed, or it itself; `days` from now it
/// begins and ends.
pub fn signed(
    subject: &[(Nid, &str)],
    key: PKey<Private>,
    issuer: Option<&Made>,
    days: (i64, i64),
    extend: impl FnOnce(&mut X509Builder),
) -> Made {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let day = |days: i64| Asn1Time::from_unix(now.as_secs() as i64 + days * 86_400).unwrap();
    let mut name = X509Name::builder().unwrap();
    for (kind, text) in subject {
        name.append_entry_by_nid(*kind, text).unwrap();
    }
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    let from = issuer.map_or(&*name, |made| made.certificate.subject_name());
    builder.set_issuer_name(from).unwrap();
    builder.set_not_before(&day(days.0)).unwrap();
    builder.set_not_after(&day(days.1)).unwrap();
    builder.set_pubkey(&key).unwrap();
    extend(&mut builder);
    let signer = issuer.map_or(&key, |made| &made.key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    Made {
        certificate: builder.build(),
        key,
    }
}
