//! What clients will think of a certificate, for `wharfd --check`: they know
//! the authorities of their system and nothing else.

use std::path::Path;

use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509PurposeId, X509Ref, X509StoreContext, X509VerifyResult};

use super::keys;
use crate::error::{Error, ErrorKind, Result};
use crate::text::Escaped;

/// The object identifier of the extension TLS feature (RFC 7633) in DER.
const TLS_FEATURE: &[u8] = b"\x06\x08\x2b\x06\x01\x05\x05\x07\x01\x18";

// Of x509_vfy.h; the crate has no names for them.
const OK: i32 = 0;
const DEPTH_ZERO_SELF_SIGNED_CERT: i32 = 18;
const SELF_SIGNED_CERT_IN_CHAIN: i32 = 19;
const NO_ISSUER_HERE: i32 = 20;
const NO_ISSUER_SENT: i32 = 21;
const INVALID_PURPOSE: i32 = 26;

/// Whom a certificate must come from.
enum Trust {
    /// Somebody the system knows.
    System,
    /// Nobody: only what it is for is looked at.
    Itself,
}

/// Sentences about what clients will not like in a file with a certificate and
/// its issuers; its dates are not looked at.
///
/// # Errors
/// The file can't be used at all.
pub fn client_view(path: &Path) -> Result<Vec<String>> {
    let mut chain = keys::read_chain(path)?;
    let mut found = keys::check_order(path, &mut chain)?;
    let file = path.display();
    look(&chain, &mut |what| found.push(format!("{file}: {what}"))).map_err(|error| {
        Error::with_source(ErrorKind::Internal, format!("looking at {file}"), error)
    })?;
    Ok(found)
}

fn look(chain: &[X509], found: &mut dyn FnMut(String)) -> Result<(), ErrorStack> {
    let Some((own, issuers)) = chain.split_first() else {
        return Ok(());
    };
    if verify(own, issuers, Trust::Itself)?.as_raw() == INVALID_PURPOSE {
        found(
            "its key usage or extended key usage does not let it be a server's (serverAuth): \
             clients refuse it; ask for a certificate of a server"
                .into(),
        );
    } else {
        trust(chain, verify(own, issuers, Trust::System)?, found);
    }
    if let Some(last) = issuers.last()
        && last.issued(last) == X509VerifyResult::OK
    {
        found("the authority's own certificate at the end need not be sent: take it out".into());
    }
    let names = own.subject_alt_names();
    if !names
        .iter()
        .flatten()
        .any(|name| name.dnsname().is_some() || name.ipaddress().is_some())
    {
        found("it has no name in subjectAltName, and clients look at nothing else".into());
    }
    let der = own.to_der()?;
    if der
        .windows(TLS_FEATURE.len())
        .any(|part| part == TLS_FEATURE)
    {
        found(
            "it demands OCSP stapling (must-staple), which this server does not do: clients that \
             heed it refuse it; ask for one without"
                .into(),
        );
    }
    Ok(())
}

fn trust(chain: &[X509], result: X509VerifyResult, found: &mut dyn FnMut(String)) {
    let Some(last) = chain.last() else { return };
    found(match result.as_raw() {
        OK => return,
        DEPTH_ZERO_SELF_SIGNED_CERT => {
            "it is self-signed: clients ask their users whether to trust it".into()
        }
        SELF_SIGNED_CERT_IN_CHAIN => format!(
            "this machine does not know its authority, {}: clients must be told of it",
            issuer(last)
        ),
        NO_ISSUER_HERE | NO_ISSUER_SENT => {
            let place = last.authority_info().and_then(|all| {
                let mut urls = all
                    .iter()
                    .filter(|one| one.method().nid() == Nid::AD_CA_ISSUERS);
                urls.find_map(|one| Some(one.location().uri()?.to_owned()))
            });
            let place = place.map_or(String::new(), |place| {
                format!(" (from {}, as PEM)", Escaped(place.as_bytes()))
            });
            format!(
                "the certificate of {} is missing: put it behind the others in this file{place}, or \
                 clients fail that have not met it elsewhere; if it is an authority of your own, \
                 clients must be told of it",
                issuer(last)
            )
        }
        _ => format!("clients will say: {}", result.error_string()),
    });
}

fn issuer(certificate: &X509Ref) -> String {
    let name = keys::common_name_of(certificate.issuer_name());
    Escaped(name.unwrap_or_default().as_bytes()).to_string()
}

fn verify(own: &X509, issuers: &[X509], trust: Trust) -> Result<X509VerifyResult, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    let mut flags = X509VerifyFlags::NO_CHECK_TIME;
    match trust {
        Trust::System => store.set_default_paths()?,
        Trust::Itself => {
            store.add_cert(own.clone())?;
            flags |= X509VerifyFlags::PARTIAL_CHAIN;
        }
    }
    store.set_flags(flags)?;
    store.set_purpose(X509PurposeId::SSL_SERVER)?;
    let mut untrusted = Stack::new()?;
    for issuer in issuers {
        untrusted.push(issuer.clone())?;
    }
    X509StoreContext::new()?.init(&store.build(), own, &untrusted, |context| {
        context.verify_cert()?;
        Ok(context.error())
    })
}
