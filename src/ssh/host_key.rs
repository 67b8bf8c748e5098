//! The server's own keys: read, made on first start, and used to sign.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use openssl::base64;
use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey, PointConversionForm};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::md::Md;
use openssl::md_ctx::MdCtx;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;

use super::algorithms::{Algorithms, LEAST_RSA_BITS, SignatureKind};
use super::fault::Fault;
use super::openssh_key;
use super::signature;
use super::wire::Put;
use crate::auth::{Bearer, Certificate};
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::sys::{open_setting, read_at_most};

/// A key file is a few KiB; more is not read.
const LARGEST_FILE: u64 = 64 << 10;
/// Bits of new RSA keys.
const NEW_RSA_BITS: u32 = 3072;

/// The server's host keys.
pub struct HostKeys {
    keys: Vec<HostKey>,
}

/// One key of the server.
pub(super) struct HostKey {
    path: PathBuf,
    key_type: &'static str,
    blob: Vec<u8>,
    key: PKey<Private>,
    certificate: Option<Vec<u8>>,
}

impl HostKeys {
    /// Reads the keys in `paths`; what does not exist is made, with mode 0600:
    /// an RSA key of 3072 bits when the file's name contains `rsa`, an ECDSA
    /// key (nistp256) when it contains `ecdsa`, else an Ed25519 key.
    ///
    /// Understood are OpenSSH's format, PKCS#8, PKCS#1 and SEC1 in PEM, all
    /// without a passphrase.
    ///
    /// # Errors
    /// When a file can't be read, made or understood, when others may write
    /// it, when an RSA key has less than 2048 bits, or when `paths` is empty.
    pub fn load_or_create(paths: &[PathBuf]) -> Result<HostKeys> {
        let mut keys = Vec::new();
        for path in paths {
            keys.push(load_or_create(path)?);
        }
        if keys.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "no SSH host key is named"));
        }
        Ok(HostKeys { keys })
    }

    /// Adds certificates from the files in `paths`, each of one of the
    /// keys, as `ssh-keygen -h -s` makes them.
    ///
    /// # Errors
    /// When a file can't be read, is no host certificate whose authority has
    /// signed it, or is none of a key that is here.
    pub fn with_certificates(mut self, paths: &[PathBuf]) -> Result<HostKeys> {
        for path in paths {
            let doing = || format!("reading the host certificate {}", path.display());
            let broken =
                |what: &str| Error::new(ErrorKind::Invalid, format!("{}: {what}", doing()));
            let text = open_setting(path).and_then(|file| read_at_most(file, LARGEST_FILE));
            let text = text.doing(doing())?;
            let mut words = text.split(u8::is_ascii_whitespace);
            let blob = words.nth(1).and_then(crate::base64::decode);
            let blob = blob.ok_or_else(|| broken("it is not TYPE BASE64"))?;
            let certificate = Certificate::read(&blob);
            let certificate = certificate
                .filter(|it| it.bearer == Bearer::Host)
                .ok_or_else(|| broken("it is no certificate of a host (ssh-keygen -h -s)"))?;
            if !signature::is_certified(&certificate, &Algorithms::default()) {
                return Err(broken("its authority has not signed it"));
            }
            if !certificate.is_valid(SystemTime::now()) {
                log::warn!("{}: clients are not shown it, it is not valid now", doing());
            }
            let own = |key: &&mut HostKey| key.blob == certificate.key.blob;
            let key = self.keys.iter_mut().find(own);
            let key = key.ok_or_else(|| broken("it is of none of the host keys"))?;
            key.certificate = Some(blob);
        }
        Ok(self)
    }

    /// File, type and SHA256 fingerprint of each key, as `ssh-keygen -l`
    /// shows them.
    pub fn fingerprints(&self) -> Vec<(PathBuf, String, String)> {
        self.keys
            .iter()
            .map(|key| {
                (
                    key.path.clone(),
                    key.key_type.to_owned(),
                    fingerprint(&key.blob),
                )
            })
            .collect()
    }

    /// All keys.
    pub(super) fn all(&self) -> &[HostKey] {
        &self.keys
    }

    /// The first key of a type.
    pub(super) fn find(&self, key_type: &str) -> Option<&HostKey> {
        self.keys.iter().find(|key| key.key_type == key_type)
    }
}

/// The SHA256 fingerprint of a key blob, as OpenSSH writes it.
pub fn fingerprint(blob: &[u8]) -> String {
    let hash = base64::encode_block(&openssl::sha::sha256(blob));
    format!("SHA256:{}", hash.trim_end_matches('='))
}

fn load_or_create(path: &Path) -> Result<HostKey> {
    match load(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create(path).doing(format!("making the host key {}", path.display()))?;
            load(path)
        }
        other => other,
    }
}

fn load(path: &Path) -> Result<HostKey> {
    let doing = || format!("reading the host key {}", path.display());
    let file = open_setting(path).doing(doing())?;
    let mode = file.metadata().doing(doing())?.mode();
    if mode & 0o022 != 0 {
        return Err(Error::new(
            ErrorKind::Denied,
            format!("{}: others may write the file", doing()),
        ));
    }
    if mode & 0o044 != 0 {
        // Not an error: secrets mounted into containers are often like that.
        log::warn!("host key {}: others may read the file", path.display());
    }
    let mut text = String::new();
    file.take(LARGEST_FILE)
        .read_to_string(&mut text)
        .doing(doing())?;
    let key = parse(&text).map_err(|fault| {
        let what = match fault {
            // OpenSSL's own words are of decoders and paddings.
            Fault::Crypto(_) if text.contains("ENCRYPTED") => {
                "it has a passphrase: remove it with ssh-keygen -p -N '' -f FILE".to_owned()
            }
            Fault::Crypto(_) => "not a private key in PEM or OpenSSH's format".to_owned(),
            fault => Error::from(fault).to_string(),
        };
        Error::new(ErrorKind::Invalid, format!("{}: {what}", doing()))
    })?;
    HostKey::new(path, key)
        .map_err(|cause| Error::with_source(ErrorKind::Invalid, doing(), cause))?
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!(
                    "{}: only ed25519, ECDSA and RSA of {LEAST_RSA_BITS} bits or more are of use",
                    doing()
                ),
            )
        })
}

fn parse(text: &str) -> Result<PKey<Private>, Fault> {
    if openssh_key::recognise(text) {
        return openssh_key::decode(text);
    }
    // The callback keeps OpenSSL from asking the terminal for a passphrase.
    Ok(PKey::private_key_from_pem_callback(
        text.as_bytes(),
        |_| Ok(0),
    )?)
}

/// Makes a key in a file that appears as a whole: two servers that start at
/// once must not read each other's half, and the first one's key stays.
fn create(path: &Path) -> Result<()> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let text = generate(&name)?;
    let mut random = [0; 8];
    openssl::rand::rand_bytes(&mut random).map_err(internal)?;
    let temporary = path.with_file_name(format!(".{name}.{:016x}", u64::from_ne_bytes(random)));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // File systems without hard links.
            Err(_) => fs::rename(&temporary, path),
            Ok(()) => Ok(()),
        }
    };
    let result = write();
    // Gone already when it was renamed.
    let _ = fs::remove_file(&temporary);
    result?;
    log::info!("made the host key {}", path.display());
    Ok(())
}

fn generate(name: &str) -> Result<String> {
    let pkcs8 = |key: PKey<Private>| -> Result<String, ErrorStack> {
        let pem = key.private_key_to_pem_pkcs8()?;
        Ok(String::from_utf8_lossy(&pem).into_owned())
    };
    if name.contains("ecdsa") {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).map_err(internal)?;
        let key = EcKey::generate(&group).and_then(PKey::from_ec_key);
        key.and_then(pkcs8).map_err(internal)
    } else if name.contains("rsa") {
        let key = Rsa::generate(NEW_RSA_BITS).and_then(PKey::from_rsa);
        key.and_then(pkcs8).map_err(internal)
    } else {
        let key = PKey::generate_ed25519().map_err(internal)?;
        Ok(openssh_key::encode_ed25519(&key, "wharf")?)
    }
}

fn internal(error: ErrorStack) -> Error {
    Error::from(Fault::Crypto(error))
}

impl HostKey {
    /// `None`: no type of key that we use.
    fn new(path: &Path, key: PKey<Private>) -> Result<Option<Self>, ErrorStack> {
        let mut blob = Vec::new();
        let key_type = match key.id() {
            Id::ED25519 => {
                blob.put_string(b"ssh-ed25519");
                blob.put_string(&key.raw_public_key()?);
                "ssh-ed25519"
            }
            Id::EC => {
                let ec = key.ec_key()?;
                let group = ec.group();
                let (key_type, curve) = match group.curve_name() {
                    Some(Nid::X9_62_PRIME256V1) => ("ecdsa-sha2-nistp256", "nistp256"),
                    Some(Nid::SECP384R1) => ("ecdsa-sha2-nistp384", "nistp384"),
                    Some(Nid::SECP521R1) => ("ecdsa-sha2-nistp521", "nistp521"),
                    _ => return Ok(None),
                };
                let mut context = BigNumContext::new()?;
                let point = ec.public_key().to_bytes(
                    group,
                    PointConversionForm::UNCOMPRESSED,
                    &mut context,
                )?;
                blob.put_string(key_type.as_bytes());
                blob.put_string(curve.as_bytes());
                blob.put_string(&point);
                key_type
            }
            Id::RSA => {
                if key.bits() < LEAST_RSA_BITS {
                    return Ok(None);
                }
                let rsa = key.rsa()?;
                blob.put_string(b"ssh-rsa");
                blob.put_mpint(&rsa.e().to_vec());
                blob.put_mpint(&rsa.n().to_vec());
                "ssh-rsa"
            }
            _ => return Ok(None),
        };
        Ok(Some(HostKey {
            path: path.to_owned(),
            key_type,
            blob,
            key,
            certificate: None,
        }))
    }

    /// The type of the key, as its blob begins.
    pub(super) fn key_type(&self) -> &'static str {
        self.key_type
    }

    /// Its certificate, while that is valid.
    pub(super) fn certificate(&self) -> Option<&[u8]> {
        let blob = self.certificate.as_deref()?;
        let now = SystemTime::now();
        Certificate::read(blob)
            .is_some_and(|certificate| certificate.is_valid(now))
            .then_some(blob)
    }

    /// The public key's blob (RFC 4253, section 6.6).
    pub(super) fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// A signature with its algorithm's name, as it goes on the wire.
    pub(super) fn sign(
        &self,
        algorithm: (&str, SignatureKind),
        data: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        let digest = match algorithm.1 {
            SignatureKind::Ed25519 => None,
            SignatureKind::RsaSha512 | SignatureKind::EcdsaNistp521 => Some(Md::sha512()),
            SignatureKind::EcdsaNistp384 => Some(Md::sha384()),
            _ => Some(Md::sha256()),
        };
        let mut signature = Vec::new();
        let mut context = MdCtx::new()?;
        context.digest_sign_init(digest, &self.key)?;
        context.digest_sign_to_vec(data, &mut signature)?;
        if self.key.id() == Id::EC {
            // RFC 5656, section 3.1.2: r and s, not DER.
            let numbers = EcdsaSig::from_der(&signature)?;
            signature.clear();
            signature.put_mpint(&numbers.r().to_vec());
            signature.put_mpint(&numbers.s().to_vec());
        }
        let mut out = Vec::new();
        out.put_string(algorithm.0.as_bytes());
        out.put_string(&signature);
        Ok(out)
    }
}
