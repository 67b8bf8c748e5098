//! Certificates and keys from PEM files, checked before they serve anybody.
//!
//! The TLS library takes a chain in the wrong order or a key of another
//! certificate without a word, and every client then fails. Here they are
//! refused with what to do about it.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{Id, PKey, Private};
#[cfg(feature = "tls13")]
use openssl::x509::X509Crl;
use openssl::x509::{X509, X509NameRef, X509Ref, X509VerifyResult};

use super::hello::ClientHello;
use super::{CertificateFacts, CertificatePair};
use crate::error::{Error, ErrorKind, Result};

/// Longest PEM file read, in bytes; a chain with key is some ten thousand.
const LONGEST_FILE: u64 = 1024 * 1024;

/// Fewest bits of an RSA key, as at OpenSSL's security level 2.
const RSA_LEAST: u32 = 2048;

/// A certificate with its chain and key.
#[derive(Clone)]
pub(super) struct Identity {
    /// The server's own certificate first.
    pub chain: Vec<X509>,
    pub key: PKey<Private>,
    /// What it serves: DNS names in lower case, perhaps `*.example.org`.
    pub names: Vec<String>,
    pub path: PathBuf,
    /// Begin and end of its time, in seconds since 1970.
    pub valid: Range<i64>,
}

impl Identity {
    /// Reads and checks one pair.
    ///
    /// # Errors
    /// `Invalid`, `NotFound` or `Denied`, with the path and what to do.
    pub(super) fn load(pair: &CertificatePair, password: Option<&[u8]>) -> Result<Identity> {
        let path = &pair.certificate;
        let mut chain = read_chain(path)?;
        let key = read_key(&pair.key, password)?;
        check_key(path, &pair.key, &chain, &key)?;
        check_kind(&pair.key, &key)?;
        for what in check_order(path, &mut chain)? {
            log::warn!("{what}");
        }
        let Some(own) = chain.first() else {
            return Err(no_certificate(path));
        };
        Ok(Identity {
            valid: seconds(own.not_before())?..seconds(own.not_after())?,
            names: names(own),
            path: path.clone(),
            chain,
            key,
        })
    }

    /// The chain, and the key as PKCS#8: the only form native-tls takes.
    #[cfg(not(feature = "tls13"))]
    pub(super) fn to_pem(&self) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
        let mut chain = Vec::new();
        for certificate in &self.chain {
            chain.extend(certificate.to_pem()?);
        }
        Ok((chain, self.key.private_key_to_pem_pkcs8()?))
    }

    /// Whether the certificate is for `host` (RFC 6125, section 6.4: a star
    /// stands for one whole label).
    pub(super) fn serves(&self, host: &str) -> bool {
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(parent) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            None => name == host,
        })
    }

    /// Whether its kind of key is the better one for a client: an EC key, if
    /// it takes one.
    pub(super) fn suits(&self, hello: &ClientHello) -> bool {
        hello.ecdsa != (self.key.id() == Id::RSA)
    }

    /// What is wrong with its dates at `now`.
    ///
    /// # Errors
    /// `Invalid`: it has expired.
    pub(super) fn check_dates(&self, now: i64) -> Result<()> {
        if now <= self.valid.end {
            return Ok(());
        }
        let end = Asn1Time::from_unix(self.valid.end as _);
        Err(invalid(format!(
            "the certificate {} expired on {}: renew it, or set the clock if that is wrong",
            self.path.display(),
            end.map_or(String::new(), |end| end.to_string())
        )))
    }

    pub(super) fn facts(&self) -> Result<CertificateFacts> {
        let own = self
            .chain
            .first()
            .ok_or_else(|| no_certificate(&self.path))?;
        Ok(CertificateFacts {
            path: self.path.clone(),
            names: self.names.clone(),
            days_left: (self.valid.end - now()).div_euclid(86_400),
            fingerprint: fingerprint_of(own)?,
        })
    }
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

fn fingerprint_of(certificate: &X509Ref) -> Result<String> {
    let digest = certificate
        .digest(MessageDigest::sha256())
        .map_err(|error| Error::with_source(ErrorKind::Internal, "hashing a certificate", error))?;
    let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    Ok(pairs.join(":"))
}

/// Reads a file of the administrator's, naming it in any error.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let read = || {
        let file = crate::sys::open_setting(path)?;
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("not a plain file"));
        }
        crate::sys::read_at_most(file, LONGEST_FILE)
    };
    read().map_err(|error: std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                " (the server reads it again when it changes, so its own user must be allowed to)"
            }
            _ => "",
        };
        Error::from(error).doing(format!("reading {}{hint}", path.display()))
    })
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::Invalid, text)
}

fn no_certificate(path: &Path) -> Error {
    invalid(format!(
        "{} has no certificate in PEM form (for DER: openssl x509 -inform der -in FILE -out {0})",
        path.display()
    ))
}

/// The certificates of a PEM file, at least one.
pub(super) fn read_chain(path: &Path) -> Result<Vec<X509>> {
    let pem = read_file(path)?;
    if let Some(is) = other_format(&pem, path).filter(|_| !pem.starts_with(b"-----BEGIN CERT")) {
        return Err(invalid(is));
    }
    let chain = X509::stack_from_pem(&pem).map_err(|error| {
        Error::with_source(
            ErrorKind::Invalid,
            format!("{} has a damaged certificate", path.display()),
            error,
        )
    })?;
    if !chain.is_empty() {
        return Ok(chain);
    }
    if String::from_utf8_lossy(&pem).contains("PRIVATE KEY-----") {
        let file = path.display();
        let text = format!("{file} has a private key and no certificate: is it the other file?");
        return Err(invalid(text));
    }
    Err(no_certificate(path))
}

/// The revocation lists of a PEM file, perhaps none, each signed by one of
/// `authorities`.
#[cfg(feature = "tls13")]
pub(super) fn read_revoked(path: &Path, authorities: &[X509]) -> Result<Vec<X509Crl>> {
    const BEGIN: &str = "-----BEGIN X509 CRL-----";
    let pem = String::from_utf8_lossy(&read_file(path)?).into_owned();
    let mut lists = Vec::new();
    for block in pem.split(BEGIN).skip(1) {
        let list = X509Crl::from_pem(format!("{BEGIN}{block}").as_bytes()).map_err(|error| {
            let text = format!("{} has a damaged revocation list", path.display());
            Error::with_source(ErrorKind::Invalid, text, error)
        })?;
        let signed = authorities.iter().any(|authority| {
            let key = authority.public_key();
            key.is_ok_and(|key| list.verify(&key).unwrap_or(false))
        });
        if !signed {
            return Err(invalid(format!(
                "{} has a revocation list that none of the authorities in tls-client-ca has signed",
                path.display()
            )));
        }
        if list
            .next_update()
            .is_some_and(|end| seconds(end).is_ok_and(|end| end < now()))
        {
            log::warn!(
                "a revocation list in {} is out of date: get the authority's new one",
                path.display()
            );
        }
        lists.push(list);
    }
    Ok(lists)
}

/// PKCS#8, PKCS#1 and SEC1, in the clear or encrypted.
fn read_key(path: &Path, password: Option<&[u8]>) -> Result<PKey<Private>> {
    let pem = read_file(path)?;
    if let Ok(metadata) = fs::metadata(path)
        && metadata.mode() & 0o004 != 0
    {
        log::warn!(
            "the key {} can be read by everybody on this machine: chmod 600 {0}",
            path.display()
        );
    }
    let text = String::from_utf8_lossy(&pem);
    if let Some(is) = other_format(&pem, path)
        && !text.contains("BEGIN PRIVATE KEY")
    {
        return Err(invalid(is));
    }
    if !text.contains("PRIVATE KEY-----") {
        return Err(invalid(format!(
            "{} has no private key in PEM form",
            path.display()
        )));
    }
    let encrypted =
        text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED");
    if encrypted && password.is_none() {
        return Err(invalid(format!(
            "the key {} is encrypted: name a file with its password (tls-key-password-file), or decrypt it with \
             openssl pkey -in {0} -out FILE",
            path.display()
        )));
    }
    // The callback keeps OpenSSL from asking on the terminal.
    let key = PKey::private_key_from_pem_callback(&pem, |buffer| {
        let password = password.unwrap_or_default();
        match buffer.get_mut(..password.len()) {
            Some(room) => {
                room.copy_from_slice(password);
                Ok(password.len())
            }
            None => Ok(0),
        }
    });
    key.map_err(|error| {
        // OpenSSL's own words for a wrong password are of paddings.
        log::debug!("the key {}: {error}", path.display());
        invalid(if encrypted {
            format!(
                "the key {} does not open with the password in tls-key-password-file",
                path.display()
            )
        } else {
            format!("the key {} is damaged", path.display())
        })
    })
}

/// The password in the first line of a file.
pub(super) fn read_password(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = read_file(path)?;
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    bytes.truncate(end.unwrap_or(bytes.len()));
    Ok(bytes)
}

fn check_key(path: &Path, key_path: &Path, chain: &[X509], key: &PKey<Private>) -> Result<()> {
    let matches = |certificate: &X509| {
        certificate
            .public_key()
            .is_ok_and(|public| public.public_eq(key))
    };
    match chain.iter().position(matches) {
        Some(0) => Ok(()),
        Some(_) => Err(wrong_order(path)),
        None => Err(invalid(format!(
            "the key {} does not belong to the certificate {} (compare: openssl x509 -noout \
             -pubkey -in {1}; openssl pkey -pubout -in {0})",
            key_path.display(),
            path.display()
        ))),
    }
}

/// Keys that clients can make a handshake with.
fn check_kind(path: &Path, key: &PKey<Private>) -> Result<()> {
    let advice = "make an EC key (openssl ecparam -name prime256v1 -genkey -noout) or an RSA key \
                  of 3072 bits (openssl genrsa 3072), and a certificate for it";
    let wrong = match key.id() {
        Id::RSA | Id::RSA_PSS if key.bits() < RSA_LEAST => {
            format!("is an RSA key of {} bits, which clients refuse", key.bits())
        }
        Id::RSA | Id::RSA_PSS | Id::ED25519 | Id::ED448 => return Ok(()),
        Id::EC => match key.ec_key().ok().and_then(|key| key.group().curve_name()) {
            Some(Nid::X9_62_PRIME256V1 | Nid::SECP384R1 | Nid::SECP521R1) => return Ok(()),
            Some(curve) => format!(
                "is on the curve {}, which TLS clients do not have",
                curve.short_name().unwrap_or("without a name")
            ),
            None => "is on a curve without a name, which TLS does not allow".into(),
        },
        Id::DSA => "is a DSA key, which TLS clients refuse".into(),
        _ => "is of a kind that TLS does not sign with".into(),
    };
    Err(invalid(format!(
        "the key {} {wrong}: {advice}",
        path.display()
    )))
}

/// Takes from the chain what has nothing to do with it; a sentence for each.
pub(super) fn check_order(path: &Path, chain: &mut Vec<X509>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let issued = |above: &X509, below: &X509| above.issued(below) == X509VerifyResult::OK;
    let mut at = 1;
    while at < chain.len() {
        if issued(&chain[at], &chain[at - 1]) {
            at += 1;
            continue;
        }
        let others = || chain.iter().enumerate().filter(|(other, _)| *other != at);
        let is_issuer = others().any(|(_, other)| issued(&chain[at], other));
        if is_issuer || others().any(|(other, above)| other > at && issued(above, &chain[at])) {
            return Err(wrong_order(path));
        }
        found.push(format!(
            "{}: a certificate behind the server's own is not sent, because it did not issue the \
             one before it: {}; take it out, or put the missing one between them",
            path.display(),
            crate::text::Escaped(common_name(&chain[at]).unwrap_or_default().as_bytes()),
        ));
        chain.remove(at);
    }
    Ok(found)
}

fn wrong_order(path: &Path) -> Error {
    invalid(format!(
        "{}: the certificates are in the wrong order; put the server's own first, then each \
         one's issuer (cat server.pem intermediate.pem > {0})",
        path.display()
    ))
}

/// Seconds since 1970.
fn seconds(time: &Asn1TimeRef) -> Result<i64> {
    let since = Asn1Time::from_unix(0).and_then(|epoch| epoch.diff(time));
    let since =
        since.map_err(|error| Error::with_source(ErrorKind::Internal, "reading a date", error))?;
    Ok(i64::from(since.days) * 86_400 + i64::from(since.secs))
}

/// The DNS names; certificates of the old kind have only a common name.
fn names(certificate: &X509Ref) -> Vec<String> {
    let alternative = certificate.subject_alt_names();
    let mut names: Vec<String> = alternative
        .iter()
        .flatten()
        .filter_map(|name| name.dnsname())
        .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
        .collect();
    if names.is_empty() {
        names.extend(common_name(certificate).map(|name| name.to_ascii_lowercase()));
    }
    names
}

fn common_name(certificate: &X509Ref) -> Option<String> {
    common_name_of(certificate.subject_name())
}

pub(super) fn common_name_of(name: &X509NameRef) -> Option<String> {
    let entry = name.entries_by_nid(Nid::COMMONNAME).next()?;
    Some(entry.data().to_string().ok()?.to_string())
}

/// What a file holds instead of what it should, and the command that makes of
/// it what it should.
fn other_format(content: &[u8], path: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(content);
    let (is, command) = if text.contains("BEGIN OPENSSH PRIVATE KEY") {
        (
            "a key in OpenSSH's format",
            "ssh-keygen -p -m PKCS8 -f FILE",
        )
    } else if text.contains("BEGIN PKCS7") {
        ("PKCS#7", "openssl pkcs7 -print_certs -in FILE -out NEW")
    } else if text.contains("BEGIN TRUSTED CERTIFICATE") {
        (
            "a certificate with OpenSSL's own notes on trust",
            "openssl x509 -in FILE -out NEW",
        )
    } else if Pkcs12::from_der(content).is_ok() {
        ("PKCS#12", "openssl pkcs12 -in FILE -nodes -out NEW")
    } else if content.first() == Some(&0x30) {
        (
            "in DER and not in PEM form",
            "openssl x509 -inform der -in FILE -out NEW, for a key openssl pkey -inform der",
        )
    } else {
        return None;
    };
    Some(format!(
        "{} is {is}: convert it ({command})",
        path.display()
    ))
}
