//! The back-end on the `openssl` crate: TLS 1.2 and 1.3, client certificates,
//! and a cipher order that fits the processor.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::ssl::{
    AlpnError, ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions,
    SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::{CrlStatus, X509, X509Crl, X509NameRef, X509Ref, X509VerifyResult};

use super::keys::{self, Identity};
use super::stream::Peer;
use super::wire::Wire;
use super::{HandshakeStep, Purpose, ResumptionId, Rules, TlsSettings};
use crate::config::{ClientCertificate, TlsMin};
use crate::error::{Error, ErrorKind, Result};
use crate::text::Escaped;

/// How long a session can be resumed, counted from the control connection's
/// handshake: the longest that TLS 1.3 allows (RFC 8446, section 4.6.1).
/// OpenSSL's own two hours are shorter than a day's mirror run.
const TICKET_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Tickets sent when a TLS 1.3 control connection begins. Most clients use
/// the last one for every data connection. Others use each only once (curl),
/// and some only those of the control connection (Java, Erlang): for each data
/// connection a new one follows there, and none on the data connection.
const TICKETS: usize = 2;

/// Sessions kept for clients without tickets: one control connection's.
const SESSIONS_KEPT: i32 = 16;

const AES_FIRST: &str = "ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20:\
     AES128-GCM-SHA256:AES256-GCM-SHA384:ECDHE+AES+SHA256:ECDHE+AES+SHA:!PSK:!aNULL";
const CHACHA_FIRST: &str = "ECDHE+CHACHA20:ECDHE+AES128+AESGCM:ECDHE+AESGCM:\
     AES128-GCM-SHA256:AES256-GCM-SHA384:ECDHE+AES+SHA256:ECDHE+AES+SHA:!PSK:!aNULL";
const AES_FIRST_13: &str =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
const CHACHA_FIRST_13: &str =
    "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384";

/// OpenSSL's own list for TLS 1.3.
const OPENSSL_13: &str =
    "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";

/// A certificate and the rules for clients, as OpenSSL takes them.
pub(super) struct Material {
    identity: Identity,
    authorities: Vec<X509>,
    revoked: Arc<Vec<X509Crl>>,
    min: TlsMin,
    ciphers: String,
    system_ciphers: bool,
    curves: String,
    client_certificate: ClientCertificate,
}

impl Material {
    /// Prepares `identity` once; its parts are shared by all sessions.
    ///
    /// # Errors
    /// When the authorities can't be read, or are missing.
    pub(super) fn new(identity: &Identity, settings: &TlsSettings) -> Result<Material> {
        let authorities = match &settings.client_ca {
            Some(path) => keys::read_chain(path)?,
            None => Vec::new(),
        };
        if settings.client_certificate != ClientCertificate::No && authorities.is_empty() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "client certificates need the authority's certificate (client-ca)",
            ));
        }
        // Lists may be beside the authorities, in the same file.
        let mut revoked = Vec::new();
        for path in settings.client_ca.iter().chain(&settings.client_crl) {
            revoked.extend(keys::read_revoked(path, &authorities)?);
        }
        if let Some(path) = &settings.client_crl
            && revoked.is_empty()
        {
            let text = format!("{} has no revocation list in PEM form", path.display());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        Ok(Material {
            revoked: Arc::new(revoked),
            min: settings.min,
            ciphers: settings.ciphers.clone(),
            system_ciphers: system_names_ciphers().unwrap_or(false),
            curves: settings.curves.clone(),
            identity: identity.clone(),
            authorities,
            client_certificate: settings.client_certificate,
        })
    }
}

/// A context with its own session cache and ticket key.
pub(super) struct Context(SslContext);

impl Context {
    pub(super) fn new(material: &Material, rules: Rules) -> io::Result<Context> {
        Ok(Context(build(material, rules)?))
    }

    /// What clients name sessions by that were granted on `wire`: the number
    /// or the ticket of TLS 1.2, and the key of all tickets, which TLS 1.3
    /// sends where `wire` can't see them.
    pub(super) fn resumption_ids(&self, wire: &Wire) -> Vec<ResumptionId> {
        let mut ids = wire.resumption_ids();
        ids.extend(crate::sys::tls_ticket_key_name(&self.0).map(Vec::from));
        ids
    }

    /// Runs the handshake on `wire`, as far as what has come allows.
    pub(super) fn accept(
        &self,
        wire: Wire,
        purpose: Purpose,
    ) -> io::Result<HandshakeStep<Connection, Handshake>> {
        let mut ssl = Ssl::new(&self.0)?;
        ssl.set_num_tickets(match purpose {
            Purpose::Control => TICKETS,
            Purpose::Data(_) => 0,
        })?;
        Handshake(SslStream::new(ssl, wire)?).step()
    }
}

/// A handshake that waits for the peer.
pub(super) struct Handshake(SslStream<Wire>);

impl Handshake {
    /// Goes on with what has come.
    pub(super) fn step(mut self) -> io::Result<HandshakeStep<Connection, Handshake>> {
        let error = match self.0.accept() {
            Ok(()) => return Ok(HandshakeStep::Done(Connection(self.0))),
            Err(error) if error.code() == ErrorCode::WANT_READ => {
                return Ok(HandshakeStep::Wait(self));
            }
            Err(error) => error,
        };
        Err(error.into_io_error().unwrap_or_else(|error| {
            let verified = self.0.ssl().verify_result();
            if verified == openssl::x509::X509VerifyResult::OK {
                io::Error::new(io::ErrorKind::InvalidData, error)
            } else {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the client's certificate: {}", verified.error_string()),
                )
            }
        }))
    }
}

/// SSL_OP_CLEANSE_PLAINTEXT: what was decrypted is overwritten once it is read.
/// Before OpenSSL 3 it stays until the next record.
const CLEANSE: SslOptions = SslOptions::from_bits_retain(if cfg!(ossl300) { 1 << 1 } else { 0 });

fn build(material: &Material, rules: Rules) -> Result<SslContext, ErrorStack> {
    let mut context = SslContext::builder(SslMethod::tls_server())?;
    context.set_options(
        SslOptions::NO_COMPRESSION
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::CIPHER_SERVER_PREFERENCE
            | SslOptions::PRIORITIZE_CHACHA
            // SECURITY: a password came in a record.
            | CLEANSE,
    );
    let min = match (rules, material.min) {
        (Rules::Old, _) => SslVersion::TLS1,
        (_, TlsMin::Tls13) => SslVersion::TLS1_3,
        (_, TlsMin::Tls12) => SslVersion::TLS1_2,
        // What the system's openssl.cnf says is in force already.
        (_, TlsMin::Default) => match context.min_proto_version() {
            Some(SslVersion::TLS1_3) => SslVersion::TLS1_3,
            _ => SslVersion::TLS1_2,
        },
    };
    context.set_min_proto_version(Some(min))?;
    context.set_mode(
        SslMode::AUTO_RETRY
            | SslMode::ACCEPT_MOVING_WRITE_BUFFER
            | SslMode::ENABLE_PARTIAL_WRITE
            | SslMode::RELEASE_BUFFERS,
    );
    set_ciphers(&mut context, material, rules)?;
    if !material.curves.is_empty() {
        context.set_groups_list(&material.curves)?;
    }
    let mut chain = material.identity.chain.iter();
    if let Some(own) = chain.next() {
        context.set_certificate(own)?;
    }
    context.set_private_key(&material.identity.key)?;
    for issuer in chain {
        context.add_extra_chain_cert(issuer.clone())?;
    }
    context.set_alpn_select_callback(|_, offered| choose_protocol(offered));
    context.set_session_cache_size(SESSIONS_KEPT);
    // Without it OpenSSL resumes no session that a client certificate opened.
    context.set_session_id_context(b"wharf")?;
    crate::sys::set_tls_session_timeout(&mut context, TICKET_LIFE);
    require_certificate(&mut context, material)?;
    Ok(context.build())
}

fn set_ciphers(
    context: &mut SslContextBuilder,
    material: &Material,
    rules: Rules,
) -> Result<(), ErrorStack> {
    if material.ciphers.is_empty() && rules == Rules::Usual && material.system_ciphers {
        return Ok(());
    }
    let (ciphers, ciphers_13) = if processor_has_aes() {
        (AES_FIRST, AES_FIRST_13)
    } else {
        (CHACHA_FIRST, CHACHA_FIRST_13)
    };
    // The suites of TLS 1.3 have names and a list of their own.
    let (own_13, own): (Vec<&str>, Vec<&str>) = (material.ciphers.split(':'))
        .filter(|name| !name.is_empty())
        .partition(|name| name.starts_with("TLS_"));
    let mut list = if own.is_empty() {
        ciphers.to_owned()
    } else {
        own.join(":")
    };
    if rules == Rules::Old {
        // OpenSSL 3 counts the hashes of these versions to level 0.
        list.push_str(":ECDHE+AES+SHA:AES128-SHA:AES256-SHA:@SECLEVEL=0");
    }
    context.set_cipher_list(&list)?;
    context.set_ciphersuites(&if own_13.is_empty() {
        ciphers_13.to_owned()
    } else {
        own_13.join(":")
    })?;
    Ok(())
}

/// Whether the system's openssl.cnf names ciphers: a new context then has
/// others than OpenSSL's own, or another order.
fn system_names_ciphers() -> Result<bool, ErrorStack> {
    let names = |context: SslContextBuilder| -> Result<_, ErrorStack> {
        Ok(crate::sys::tls_cipher_names(&*Ssl::new(&context.build())?))
    };
    let new = || SslContext::builder(SslMethod::tls_server());
    let mut plain = new()?;
    plain.set_cipher_list("DEFAULT")?;
    plain.set_ciphersuites(OPENSSL_13)?;
    Ok(names(new()?)? != names(plain)?)
}

fn require_certificate(
    context: &mut SslContextBuilder,
    material: &Material,
) -> Result<(), ErrorStack> {
    let mode = match material.client_certificate {
        ClientCertificate::No => SslVerifyMode::NONE,
        ClientCertificate::Optional => SslVerifyMode::PEER,
        ClientCertificate::Required => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
    };
    if material.revoked.is_empty() {
        context.set_verify(mode);
    } else {
        let lists = Arc::clone(&material.revoked);
        context.set_verify_callback(mode, move |well, chain| {
            let revoked = chain
                .current_cert()
                .is_some_and(|certificate| is_revoked(&lists, certificate));
            if revoked {
                chain.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
                let subject = chain
                    .current_cert()
                    .map(|shown| written(shown.subject_name()));
                let subject = subject.unwrap_or_default();
                log::warn!(
                    "a client's certificate has been revoked: {}",
                    Escaped(subject.as_bytes())
                );
            }
            well && !revoked
        });
    }
    for authority in &material.authorities {
        context.cert_store_mut().add_cert(authority.clone())?;
        context.add_client_ca(authority)?;
    }
    Ok(())
}

fn is_revoked(lists: &[X509Crl], certificate: &X509Ref) -> bool {
    lists.iter().any(|list| {
        let same = list.issuer_name().try_cmp(certificate.issuer_name());
        same.is_ok_and(|order| order.is_eq())
            && matches!(
                list.get_by_serial(certificate.serial_number()),
                CrlStatus::Revoked(_)
            )
    })
}

/// `ftp`, or on data connections `ftp-data` from who offers nothing else
/// (`server` has refused it on control connections). Never FileZilla's
/// `x-filezilla-ftp`: who gets that insists on resumption ever after.
fn choose_protocol(offered: &[u8]) -> Result<&[u8], AlpnError> {
    for wanted in [&b"ftp"[..], b"ftp-data"] {
        let mut rest = offered;
        while let Some((length, names)) = rest.split_first() {
            let Some((name, after)) = names.split_at_checked(usize::from(*length)) else {
                return Err(AlpnError::ALERT_FATAL);
            };
            if name == wanted {
                return Ok(name);
            }
            rest = after;
        }
    }
    Err(AlpnError::ALERT_FATAL)
}

/// AES-GCM is 1.7 times as fast as ChaCha20 with these instructions, and
/// several times as slow without.
fn processor_has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[allow(unreachable_code)]
    false
}

/// An established connection.
#[derive(Debug)]
pub(super) struct Connection(SslStream<Wire>);

impl Connection {
    pub(super) fn wire(&self) -> &Wire {
        self.0.get_ref()
    }

    pub(super) fn wire_mut(&mut self) -> &mut Wire {
        self.0.get_mut()
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }

    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    /// Bytes decrypted and not read.
    pub(super) fn pending(&self) -> usize {
        self.0.ssl().pending()
    }

    /// Puts a close_notify into the wire.
    pub(super) fn close_notify(&mut self) -> io::Result<()> {
        match self.0.shutdown() {
            Ok(_) => Ok(()),
            Err(error) => Err(error.into_io_error().unwrap_or_else(io::Error::other)),
        }
    }

    /// Sends another ticket with the next write; TLS 1.2 has no such thing.
    pub(super) fn offer_ticket(&mut self) {
        if self.0.ssl().version2() == Some(SslVersion::TLS1_3) {
            crate::sys::send_tls_ticket(self.0.ssl());
        }
    }

    pub(super) fn resumed(&self) -> bool {
        self.0.ssl().session_reused()
    }

    pub(super) fn version_and_cipher(&self) -> (&'static str, &'static str) {
        let ssl = self.0.ssl();
        let cipher = ssl.current_cipher().map_or("", |cipher| cipher.name());
        (ssl.version_str(), cipher)
    }

    /// The certificate the client showed, now or in the session resumed.
    pub(super) fn peer(&self) -> Option<Peer> {
        let certificate = self.0.ssl().peer_certificate()?;
        let subject = certificate.subject_name();
        let common_name = subject
            .entries_by_nid(Nid::COMMONNAME)
            .next()
            .and_then(|entry| Some(entry.data().to_string().ok()?.to_string()));
        Some(Peer {
            subject: written(subject),
            common_name,
            digest: certificate.digest(MessageDigest::sha256()).ok()?.to_vec(),
        })
    }
}

/// A name as text, with RFC 4514's backslashes: what stands in one part can't
/// pass for another part.
fn written(name: &X509NameRef) -> String {
    let mut text = String::new();
    for entry in name.entries() {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(entry.object().nid().short_name().unwrap_or("?"));
        text.push('=');
        let value = entry.data().to_string();
        for character in value.as_deref().unwrap_or_default().chars() {
            if ",+\"\\<>;=".contains(character) {
                text.push('\\');
            }
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ftp_is_chosen() {
        for (offered, want) in [
            (&b"\x0fx-filezilla-ftp\x03ftp"[..], Some(&b"ftp"[..])),
            (b"\x03ftp\x0fx-filezilla-ftp", Some(b"ftp")),
            (b"\x08ftp-data", Some(b"ftp-data")),
            (b"\x02h2", None),
            (b"\x09ftp", None),
        ] {
            assert_eq!(choose_protocol(offered).ok(), want, "{offered:?}");
        }
    }
}
