//! Files that serve, and files that are refused with what to do.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use openssl::x509::X509;

use super::made::{self, new_key};
pub(super) use super::made::{Made, VALID};
use super::*;

pub(super) fn make(name: &str, issuer: Option<&Made>, days: (i64, i64)) -> Made {
    make_with(name, new_key(), issuer, days)
}

fn make_with(name: &str, key: PKey<Private>, issuer: Option<&Made>, days: (i64, i64)) -> Made {
    let subject = [
        (Nid::ORGANIZATIONNAME, "Example, Inc."),
        (Nid::COMMONNAME, name),
    ];
    made::signed(&subject, key, issuer, days, |builder| {
        if !name.contains('.') {
            made::may_sign(builder);
        }
    })
}

/// Writes certificates and key as PEM, one file each.
pub(super) fn files(place: &Place, chain: &[&Made], key: &[u8]) -> TlsSettings {
    let pair = CertificatePair {
        certificate: place.path("chain.pem"),
        key: place.path("key.pem"),
    };
    let pem: Vec<u8> = chain
        .iter()
        .flat_map(|made| made.certificate.to_pem().unwrap())
        .collect();
    std::fs::write(&pair.certificate, pem).unwrap();
    std::fs::write(&pair.key, key).unwrap();
    std::fs::set_permissions(&pair.key, PermissionsExt::from_mode(0o600)).unwrap();
    TlsSettings {
        certificates: vec![pair],
        ..TlsSettings::default()
    }
}

pub(super) fn pkcs8(made: &Made) -> Vec<u8> {
    made.key.private_key_to_pem_pkcs8().unwrap()
}

fn serves(settings: &TlsSettings) {
    let session = Tls::new(settings).unwrap().session();
    control(&session, &Client::new());
}

fn refusal(settings: &TlsSettings) -> String {
    Tls::new(settings).unwrap_err().to_string()
}

#[test]
fn a_self_signed_pair_is_made_once() {
    let place = Place::new();
    let pair = place.pair("ftp.test");
    let key = std::fs::read(&pair.key).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&pair.key), 0o600);
    make_self_signed(&pair.certificate, &pair.key, &[]).unwrap();
    assert_eq!(std::fs::read(&pair.key).unwrap(), key, "it was made again");
    let facts = place.tls().certificates().unwrap();
    assert_eq!(facts[0].names, ["ftp.test"]);
    assert!(facts[0].days_left >= 3649, "{}", facts[0].days_left);
    let pem = std::fs::read(&pair.certificate).unwrap();
    let digest = X509::from_pem(&pem)
        .unwrap()
        .digest(openssl::hash::MessageDigest::sha256())
        .unwrap();
    let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(facts[0].fingerprint, pairs.join(":"));
    assert_eq!(facts[0].fingerprint.len(), 32 * 3 - 1);
    let left: Vec<_> = std::fs::read_dir(&place.0).unwrap().collect();
    assert_eq!(left.len(), 2, "something was left behind: {left:?}");
    std::fs::remove_file(&pair.certificate).unwrap();
    assert!(make_self_signed(&pair.certificate, &pair.key, &[]).is_err());
    assert_eq!(std::fs::read(&pair.key).unwrap(), key);
    let (certificate, key) = (place.path("none/a.crt"), place.path("a.key"));
    assert!(make_self_signed(&certificate, &key, &[]).is_err());
    assert!(!key.exists(), "a key without a certificate was left");
}

#[test]
fn addresses_and_long_names_fit_a_self_signed_certificate() {
    let place = Place::new();
    let (certificate, key) = (place.path("a.crt"), place.path("a.key"));
    let names = ["192.0.2.1", "2001:db8::1", &"long-".repeat(20)].map(String::from);
    make_self_signed(&certificate, &key, &names).unwrap();
    let made = X509::from_pem(&std::fs::read(&certificate).unwrap()).unwrap();
    let alternatives = made.subject_alt_names().unwrap();
    assert_eq!(alternatives[0].ipaddress(), Some(&[192, 0, 2, 1][..]));
    assert_eq!(alternatives[1].ipaddress().unwrap().len(), 16);
    assert_eq!(alternatives[2].dnsname(), Some(&*names[2]));
}

#[test]
fn every_form_of_key_serves() {
    let place = Place::new();
    let elliptic = make("ftp.test", None, VALID);
    let rsa = Rsa::generate(2048).unwrap();
    let sec1 = elliptic.key.ec_key().unwrap().private_key_to_pem().unwrap();
    let pkcs1 = rsa.private_key_to_pem().unwrap();
    let rsa = make_with("ftp.test", PKey::from_rsa(rsa).unwrap(), None, VALID);
    assert!(sec1.starts_with(b"-----BEGIN EC PRIVATE KEY"));
    assert!(pkcs1.starts_with(b"-----BEGIN RSA PRIVATE KEY"));
    // As `openssl ecparam -genkey` writes it.
    let with_parameters = [
        b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n",
        &sec1[..],
    ]
    .concat();
    for (made, key) in [
        (&elliptic, pkcs8(&elliptic)),
        (&elliptic, sec1),
        (&elliptic, with_parameters),
        (&rsa, pkcs1),
        (&rsa, pkcs8(&rsa)),
    ] {
        serves(&files(&place, &[made], &key));
    }
}

#[test]
fn encrypted_keys_want_their_password() {
    let place = Place::new();
    let made = make("ftp.test", None, VALID);
    let cipher = Cipher::aes_256_cbc();
    let encrypted = made
        .key
        .private_key_to_pem_pkcs8_passphrase(cipher, b"se cret")
        .unwrap();
    let old = made
        .key
        .ec_key()
        .unwrap()
        .private_key_to_pem_passphrase(cipher, b"se cret")
        .unwrap();
    for key in [encrypted, old] {
        let mut settings = files(&place, &[&made], &key);
        assert!(refusal(&settings).contains("is encrypted: name a file"));
        settings.key_password_file = Some(place.path("password"));
        assert!(refusal(&settings).contains("password"));
        for (password, good) in [("se cret\n", true), ("se cret", true), ("wrong\n", false)] {
            std::fs::write(place.path("password"), password).unwrap();
            if good {
                serves(&settings)
            } else {
                // And no words of OpenSSL's about paddings.
                let text = refusal(&settings);
                assert!(
                    text.ends_with("does not open with the password in tls-key-password-file"),
                    "{text}"
                )
            }
        }
        std::fs::write(place.path("password"), "x".repeat(5000)).unwrap();
        assert!(refusal(&settings).contains("does not open"));
    }
}

#[test]
fn chains_serve_in_their_order_and_without_what_is_not_theirs() {
    let place = Place::new();
    let root = make("root", None, VALID);
    let middle = make("middle", Some(&root), VALID);
    let own = make("ftp.test", Some(&middle), VALID);
    let other = make("other", None, VALID);
    let key = pkcs8(&own);
    for (chain, want) in [
        (vec![&own], None),
        (vec![&own, &middle], None),
        (vec![&own, &middle, &root], None),
        (vec![&middle, &own], Some("wrong order")),
        (vec![&own, &root, &middle], Some("wrong order")),
        (vec![&root, &middle, &own], Some("wrong order")),
        // One too many is left out.
        (vec![&own, &other], None),
        (vec![&own, &other, &middle], None),
        (vec![&own, &root], None),
        (vec![&other], Some("does not belong")),
        (vec![], Some("no certificate")),
    ] {
        let settings = files(&place, &chain, &key);
        match want {
            None => serves(&settings),
            Some(want) => {
                let text = refusal(&settings);
                assert!(text.contains(want), "{text}");
                assert!(text.contains("chain.pem"), "{text}");
            }
        }
    }
}

#[test]
fn a_whole_chain_reaches_the_client() {
    let place = Place::new();
    let root = make("root", None, VALID);
    let middle = make("middle", Some(&root), VALID);
    let own = make("ftp.test", Some(&middle), VALID);
    let settings = files(&place, &[&own, &middle], &pkcs8(&own));
    let client = Client::with(|builder| {
        let certificate = root.certificate.clone();
        builder.cert_store_mut().add_cert(certificate).unwrap();
        builder.set_verify(openssl::ssl::SslVerifyMode::PEER);
    });
    let session = Tls::new(&settings).unwrap().session();
    control(&session, &client);
}

#[test]
fn bad_files_are_refused_with_what_to_do() {
    let place = Place::new();
    let made = make("ftp.test", None, VALID);
    let past = make("ftp.test", None, (-20, -1));
    let future = make("ftp.test", None, (5, 20));
    let short = Rsa::generate(512).unwrap();
    let short = make_with("ftp.test", PKey::from_rsa(short).unwrap(), None, VALID);
    // It stops FTPS alone.
    let tls = Tls::new(&files(&place, &[&past], &pkcs8(&past))).unwrap();
    let text = tls.usable().unwrap_err().to_string();
    assert!(
        text.contains("expired on") && text.contains("renew"),
        "{text}"
    );
    // The clock of a router that has just started.
    serves(&files(&place, &[&future], &pkcs8(&future)));
    let text = refusal(&files(&place, &[&short], &pkcs8(&short)));
    assert!(text.contains("RSA key of 512 bits"), "{text}");
    for (key, want) in [
        (&b""[..], "no private key"),
        (b"-----BEGIN CERTIFICATE-----\n", "no private key"),
        (
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "damaged",
        ),
    ] {
        let text = refusal(&files(&place, &[&made], key));
        assert!(text.contains(want) && text.contains("key.pem"), "{text}");
    }
    let mut settings = files(&place, &[&made], &pkcs8(&made));
    std::fs::write(&settings.certificates[0].certificate, [0x30, 0x82, 1]).unwrap();
    assert!(refusal(&settings).contains("-inform der"));
    settings.certificates[0].certificate = place.path("missing.pem");
    let error = Tls::new(&settings).unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::NotFound);
    assert!(error.to_string().contains("missing.pem"));
    settings.certificates[0].certificate = place.0.to_path_buf();
    assert!(refusal(&settings).contains("not a plain file"));
    settings.certificates.clear();
    assert!(refusal(&settings).contains("needs a certificate"));
}

#[test]
fn a_name_added_later_makes_a_new_self_signed_certificate() {
    let place = Place::new();
    let pair = place.pair("ftp.test");
    let before = std::fs::read(&pair.certificate).unwrap();
    let again = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        retire_self_signed(&pair.certificate, &pair.key, &names).unwrap();
        make_self_signed(&pair.certificate, &pair.key, &names).unwrap();
        std::fs::read(&pair.certificate).unwrap()
    };
    assert!(again(&["FTP.test"]) == before);
    let after = again(&["ftp.test", "192.0.2.1", "2001:db8::1"]);
    assert!(after != before);
    assert!(again(&["ftp.test", "2001:db8::1", "192.0.2.1"]) == after);
    assert!(std::fs::read(place.path("ftp.test.crt.old")).unwrap() == before);
}

#[test]
fn keys_that_no_handshake_can_use_are_refused() {
    let brainpool = EcGroup::from_curve_name(Nid::BRAINPOOL_P256R1).unwrap();
    let brainpool = PKey::from_ec_key(EcKey::generate(&brainpool).unwrap()).unwrap();
    let short = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
    for (key, want) in [
        (brainpool, "curve brainpoolP256r1"),
        (short, "RSA key of 1024 bits"),
    ] {
        key_is_refused(key, want);
    }
}

/// Not made here: an OpenSSL without DSA can't link what makes such keys.
#[test]
fn a_dsa_key_is_refused() {
    let key = PKey::private_key_from_pem(include_bytes!("dsa.pem")).unwrap();
    key_is_refused(key, "DSA");
}

fn key_is_refused(key: PKey<Private>, want: &str) {
    let place = Place::new();
    let made = make_with("ftp.test", key, None, VALID);
    let text = refusal(&files(&place, &[&made], &pkcs8(&made)));
    assert!(
        text.contains(want) && text.contains("make an EC key"),
        "{text}"
    );
}

#[test]
fn other_formats_are_named_with_the_command_that_converts_them() {
    let place = Place::new();
    let made = make("ftp.test", None, VALID);
    let pkcs12 = Pkcs12::builder()
        .pkey(&made.key)
        .cert(&made.certificate)
        .build2("secret")
        .unwrap()
        .to_der()
        .unwrap();
    let der = made.certificate.to_der().unwrap();
    let marked = |label: &str| {
        format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n").into_bytes()
    };
    let wrong = [
        (marked("OPENSSH PRIVATE KEY"), "ssh-keygen -p -m PKCS8"),
        (marked("PKCS7"), "openssl pkcs7 -print_certs"),
        (marked("TRUSTED CERTIFICATE"), "openssl x509 -in"),
        (pkcs12, "openssl pkcs12"),
        (der, "-inform der"),
    ];
    for (content, want) in wrong {
        let settings = files(&place, &[&made], &content);
        let text = refusal(&settings);
        assert!(text.contains(want) && text.contains("key.pem"), "{text}");
        let settings = files(&place, &[&made], &pkcs8(&made));
        std::fs::write(&settings.certificates[0].certificate, &content).unwrap();
        let text = refusal(&settings);
        assert!(text.contains(want) && text.contains("chain.pem"), "{text}");
    }
}

#[cfg(not(feature = "tls13"))]
#[test]
fn client_certificates_are_refused_at_start() {
    let place = Place::new();
    let settings = TlsSettings {
        client_certificate: crate::net::tls::ClientCertificate::Optional,
        ..place.settings()
    };
    let error = Tls::new(&settings).unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Unsupported);
    assert!(error.to_string().contains("tls13"));
}
