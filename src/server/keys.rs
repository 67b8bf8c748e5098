//! Keys and certificates of a server: from settings to what TLS and SSH use.

use std::path::PathBuf;
use std::sync::Arc;

use super::secure_shell::SshSetup;
use super::state_dir;
use crate::config::{ClientCertificate, Config, TlsMin, TlsRequired, TlsReuse};
use crate::error::{Error, ErrorKind, Result};
use crate::net::tls::{
    CertificatePair, CloseNotify, Tls, TlsSettings, make_self_signed, retire_self_signed,
};

/// What a server proves who it is with.
pub struct Keys {
    /// Certificates for FTPS.
    pub tls: Option<Tls>,
    /// Host keys for SFTP.
    pub host_keys: Option<Arc<SshSetup>>,
}

impl Keys {
    /// Reads what the settings name, and makes what they ask to be made.
    ///
    /// # Errors
    /// A file that can't be used, with what to do; TLS settings that contradict
    /// each other.
    pub fn load(config: &Config) -> Result<Keys> {
        SshSetup::check(config)?;
        Ok(Keys {
            host_keys: host_keys(config)?,
            tls: tls(config)?,
        })
    }
}

/// Files that are named for certificates and keys.
fn files(config: &Config) -> [Vec<&PathBuf>; 2] {
    let of_tls = config.tls_cert.iter().chain(&config.tls_key);
    let of_tls = of_tls.chain(&config.tls_key_password_file);
    [
        of_tls.chain(&config.tls_client_ca).collect(),
        config.host_key.iter().collect(),
    ]
}

impl Keys {
    /// Reads again what `config` names. Where it names the same files as
    /// `before` and this process may not read one of them any more, because
    /// it has given up root since, what was read from them stays in force.
    ///
    /// # Errors
    /// As for [`Keys::load`].
    pub fn reload(config: &Config, before: &Config, keys: Keys) -> Result<Keys> {
        let out_of_reach = |of: &[&PathBuf]| {
            of.iter()
                .find_map(|path| match crate::sys::open_setting(path) {
                    Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                        Some(path.display().to_string())
                    }
                    _ => None,
                })
        };
        let ([tls_files, host_files], [tls_before, host_before]) = (files(config), files(before));
        let kept = |path: &str| {
            log::warn!(
                "{path}: may not be read any more; what was read at the start stays in force"
            );
        };
        SshSetup::check(config)?;
        let host_keys = match out_of_reach(&host_files) {
            Some(path) if host_files == host_before => {
                kept(&path);
                keys.host_keys
            }
            _ => host_keys(config)?,
        };
        let tls = match out_of_reach(&tls_files) {
            Some(path) if tls_files == tls_before => {
                kept(&path);
                keys.tls
            }
            _ => tls(config)?,
        };
        Ok(Keys { tls, host_keys })
    }
}

fn host_keys(config: &Config) -> Result<Option<Arc<SshSetup>>> {
    if config.listen_sftp.is_empty() && config.host_key.is_empty() {
        Ok(None)
    } else {
        SshSetup::load(config).map(|keys| Some(Arc::new(keys)))
    }
}

fn invalid<T>(what: &'static str) -> Result<T> {
    Err(Error::new(ErrorKind::Invalid, what))
}

/// Whether anything is said of TLS that a server without it would betray.
fn asks_for_tls(config: &Config) -> bool {
    !config.tls_cert.is_empty() || config.self_signed || only_with_certificate(config).is_some()
}

/// The first setting that means something only where there is a certificate.
fn only_with_certificate(config: &Config) -> Option<&'static str> {
    let required = [config.tls_required, config.tls_required_anonymous];
    [
        (!config.listen_ftps.is_empty(), "listen-ftps"),
        (
            required.iter().any(|what| *what > TlsRequired::No),
            "tls-required",
        ),
        (!config.tls_key.is_empty(), "tls-key"),
        (
            config.tls_key_password_file.is_some(),
            "tls-key-password-file",
        ),
        (config.tls_client_ca.is_some(), "tls-client-ca"),
        (config.tls_client_crl.is_some(), "tls-client-crl"),
        (
            config.tls_client_certificate != ClientCertificate::No,
            "tls-client-certificate",
        ),
        (config.tls_reuse == TlsReuse::Require, "tls-reuse"),
        (config.tls_min != TlsMin::Default, "tls-min"),
        (config.tls_ciphers.is_some(), "tls-ciphers"),
        (config.tls_curves.is_some(), "tls-curves"),
        (!config.tls_old_clients.is_empty(), "tls-old-clients"),
    ]
    .into_iter()
    .find_map(|(said, key)| said.then_some(key))
}

/// TLS as the settings say; `None` without certificates.
///
/// # Errors
/// A file that can't be used, or settings that contradict each other.
fn tls(config: &Config) -> Result<Option<Tls>> {
    if !cfg!(feature = "ftps") {
        return if asks_for_tls(config) {
            Err(Error::new(
                ErrorKind::Unsupported,
                "this wharfd was built without FTPS and has no TLS: leave out the options of TLS",
            ))
        } else {
            Ok(None)
        };
    }
    let certificates = certificates(config)?;
    if certificates.is_empty() {
        return match only_with_certificate(config) {
            Some(key) => Err(Error::new(
                ErrorKind::Invalid,
                format!("{key} needs tls-cert and tls-key, or self-signed"),
            )),
            None => Ok(None),
        };
    }
    if config.tls_client_certificate != ClientCertificate::No && config.tls_client_ca.is_none() {
        return invalid("tls-client-certificate needs tls-client-ca");
    }
    if config.tls_client_crl.is_some() && config.tls_client_ca.is_none() {
        return invalid("tls-client-crl needs tls-client-ca");
    }
    let settings = TlsSettings {
        certificates,
        key_password_file: config.tls_key_password_file.clone(),
        client_ca: config.tls_client_ca.clone(),
        client_crl: config.tls_client_crl.clone(),
        min: config.tls_min,
        ciphers: config.tls_ciphers.clone().unwrap_or_default(),
        curves: config.tls_curves.clone().unwrap_or_default(),
        old_clients: config.tls_old_clients.clone(),
        client_certificate: match (&config.tls_client_ca, config.tls_client_certificate) {
            (Some(_), ClientCertificate::No) => ClientCertificate::Optional,
            (_, wanted) => wanted,
        },
        close_notify: if config.tls_relaxed_close {
            CloseNotify::Optional
        } else {
            CloseNotify::Required
        },
        ..TlsSettings::default()
    };
    Tls::new(&settings).map(Some)
}

/// The certificates that are named, or else one that is made if it may be.
fn certificates(config: &Config) -> Result<Vec<CertificatePair>> {
    let keys = match (&config.tls_cert[..], &config.tls_key[..]) {
        // A key may be in its certificate's file.
        (certificates, []) => certificates,
        (certificates, keys) if certificates.len() == keys.len() => keys,
        _ => {
            return Err(Error::new(
                ErrorKind::Invalid,
                "tls-key must be given once for each tls-cert, in the same order",
            ));
        }
    };
    if config.tls_cert.is_empty() && config.self_signed {
        return Ok(vec![self_signed(config)?]);
    }
    let pairs = config.tls_cert.iter().zip(keys);
    let pairs = pairs.map(|(certificate, key)| CertificatePair {
        certificate: certificate.clone(),
        key: key.clone(),
    });
    Ok(pairs.collect())
}

fn self_signed(config: &Config) -> Result<CertificatePair> {
    let (certificate, key) = state_dir::own_pair(&state_dir::open(config)?);
    let names = if config.self_signed_names.is_empty() {
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy().into_owned();
        vec![host, "localhost".into(), "127.0.0.1".into(), "::1".into()]
    } else {
        config.self_signed_names.clone()
    };
    if !config.self_signed_names.is_empty() {
        retire_self_signed(&certificate, &key, &names)?;
    }
    make_self_signed(&certificate, &key, &names)?;
    Ok(CertificatePair { certificate, key })
}
