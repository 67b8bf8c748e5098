//! A certificate of the server's own making, so that a new user has FTPS in
//! one command. Clients ask once whether to trust its fingerprint.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use openssl::x509::extension::{SubjectAlternativeName, SubjectKeyIdentifier};
use openssl::x509::{X509, X509NameBuilder};

use super::keys;
use crate::error::{Doing, Error, ErrorKind, Result};

/// Valid from 2025-01-01, not from now: the clock of a router that has just
/// started may say 1970, and a client's may be behind.
const NOT_BEFORE: i64 = 1_735_689_600;
/// Ten years; counted from 2026 at the earliest.
const YEARS_IN_SECONDS: i64 = 10 * 365 * 86_400;
const EARLIEST_NOW: i64 = 1_767_225_600;

/// Longest common name (RFC 5280, upper bound of X.520).
const LONGEST_NAME: usize = 64;

/// Makes an EC P-256 key (mode 0600) and a certificate for `names` (DNS names
/// or addresses; the first is also the common name) unless both files are
/// there already.
///
/// Each file appears whole or not at all, and never replaces another.
///
/// # Errors
/// When only one of the files is there, and when they can't be made.
pub fn make_self_signed(certificate: &Path, key: &Path, names: &[String]) -> Result<()> {
    match (certificate.exists(), key.exists()) {
        (true, true) => return Ok(()),
        (false, false) => {}
        (true, false) => return Err(only_one(certificate, key)),
        (false, true) => return Err(only_one(key, certificate)),
    }
    let (certificate_pem, key_pem) = make(names)
        .map_err(|error| Error::with_source(ErrorKind::Internal, "making a certificate", error))?;
    create(key, &key_pem, 0o600)?;
    if let Err(error) = create(certificate, &certificate_pem, 0o644) {
        // The key is good for nothing alone and would stop the next start.
        let _ = fs::remove_file(key);
        return Err(error);
    }
    Ok(())
}

/// Puts a pair aside, as `*.old`, that is not for all of `names`, so that
/// [`make_self_signed`] makes another.
///
/// # Errors
/// The certificate can't be read, or the files can't be moved.
pub fn retire_self_signed(certificate: &Path, key: &Path, names: &[String]) -> Result<()> {
    if !certificate.exists() || !key.exists() {
        return Ok(());
    }
    let shown = keys::read_chain(certificate)?;
    let alternatives = shown.first().and_then(|own| own.subject_alt_names());
    let has = |name: &String| {
        let address = name.parse::<IpAddr>().ok().map(|address| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        });
        alternatives.iter().flatten().any(|one| match &address {
            Some(address) => one.ipaddress() == Some(address),
            None => one
                .dnsname()
                .is_some_and(|known| known.eq_ignore_ascii_case(name)),
        })
    };
    let Some(missing) = names.iter().find(|name| !has(name)) else {
        return Ok(());
    };
    log::warn!(
        "{} is not for {missing}: a new certificate is made, with a new fingerprint, and clients \
         must trust that one; the old one is kept as *.old",
        certificate.display()
    );
    for path in [certificate, key] {
        let mut old = path.as_os_str().to_owned();
        old.push(".old");
        fs::rename(path, old).doing(format!("putting {} aside", path.display()))?;
    }
    Ok(())
}

fn only_one(there: &Path, missing: &Path) -> Error {
    let text = format!(
        "{} is there and {} is not: remove the one or bring the other back",
        there.display(),
        missing.display()
    );
    Error::new(ErrorKind::Invalid, text)
}

fn make(names: &[String]) -> Result<(Vec<u8>, Vec<u8>), ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let certificate = sign(&key, names)?;
    Ok((certificate.to_pem()?, key.private_key_to_pem_pkcs8()?))
}

fn sign(key: &PKey<Private>, names: &[String]) -> Result<X509, ErrorStack> {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
    let end = now.max(EARLIEST_NOW) + YEARS_IN_SECONDS;

    let mut builder = X509::builder()?;
    builder.set_version(2)?; // counted from zero: X.509 v3
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let serial = serial.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    let first = names.first().map_or("wharfd", String::as_str);
    let mut subject = X509NameBuilder::new()?;
    let cut = first.char_indices().nth(LONGEST_NAME);
    let common = cut.map_or(first, |(at, _)| &first[..at]);
    subject.append_entry_by_nid(Nid::COMMONNAME, common)?;
    let subject = subject.build();
    builder.set_subject_name(&subject)?;
    builder.set_issuer_name(&subject)?;
    let not_before = Asn1Time::from_unix(NOT_BEFORE as _)?;
    builder.set_not_before(&not_before)?;
    let not_after = Asn1Time::from_unix(end as _)?;
    builder.set_not_after(&not_after)?;
    builder.set_pubkey(key)?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    let usage = KeyUsage::new().critical().digital_signature().build()?;
    builder.append_extension(usage)?;
    builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
    let context = builder.x509v3_context(None, None);
    let identifier = SubjectKeyIdentifier::new().build(&context)?;
    let mut alternatives = SubjectAlternativeName::new();
    for name in names {
        match name.parse::<IpAddr>() {
            Ok(address) => alternatives.ip(&address.to_string()),
            Err(_) => alternatives.dns(name),
        };
    }
    let alternatives = if names.is_empty() {
        None
    } else {
        Some(alternatives.build(&context)?)
    };
    builder.append_extension(identifier)?;
    if let Some(alternatives) = alternatives {
        builder.append_extension(alternatives)?;
    }
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// Writes beside `path` and links into place: `link` fails where something is
/// already, so that two servers that start together can't mix their files.
fn create(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".new-{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::hard_link(&beside, path)
    };
    let result = write();
    let _ = fs::remove_file(&beside);
    result.doing(format!("making {}", path.display()))
}
