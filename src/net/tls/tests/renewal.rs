//! Certificates change while the server runs.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicBool;

use super::certificates::{Made, VALID, files, make, pkcs8};
use super::*;

/// Later than any look there has been.
fn later(looks: u64) -> Instant {
    Instant::now() + Duration::from_secs(2 * looks)
}

/// The digest of the certificate that a new session shows.
fn shown(session: &SessionTls) -> Vec<u8> {
    let (_server, client) = control(session, &Client::new());
    let certificate = client.0.ssl().peer_certificate().unwrap();
    digest(&certificate)
}

fn digest(certificate: &openssl::x509::X509Ref) -> Vec<u8> {
    let sha256 = openssl::hash::MessageDigest::sha256();
    certificate.digest(sha256).unwrap().to_vec()
}

/// Puts files in place as certbot and acme.sh do: written beside, renamed.
fn replace(settings: &TlsSettings, certificate: &[u8], key: &[u8]) {
    let pair = &settings.certificates[0];
    for (path, content) in [(&pair.certificate, certificate), (&pair.key, key)] {
        let beside = path.with_extension("new");
        std::fs::write(&beside, content).unwrap();
        std::fs::set_permissions(&beside, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::rename(&beside, path).unwrap();
    }
}

fn install(settings: &TlsSettings, made: &Made) {
    replace(settings, &made.certificate.to_pem().unwrap(), &pkcs8(made));
}

#[test]
fn new_connections_get_the_new_certificate() {
    let place = Place::new();
    let [old, new] = [(); 2].map(|()| make("ftp.test", None, VALID));
    let settings = files(&place, &[&old], &pkcs8(&old));
    let tls = Tls::new(&settings).unwrap();
    let before = tls.session();
    install(&settings, &new);
    // Not looked at more than once a second.
    assert!(tls.look(Instant::now()).is_none());
    assert_eq!(shown(&tls.session_at(later(1))), digest(&new.certificate));
    assert!(tls.look(later(2)).is_none(), "nothing has changed since");
    // A session keeps the certificate it began with.
    assert_eq!(shown(&before), digest(&old.certificate));
}

#[test]
fn while_a_disk_hangs_sessions_go_on_with_what_was_read() {
    let place = Place::new();
    let made = make("ftp.test", None, VALID);
    let tls = Tls::new(&files(&place, &[&made], &pkcs8(&made))).unwrap();
    let _look = tls.looking();
    let session = tls.session_at(later(1));
    assert_eq!(shown(&session), digest(&made.certificate));
}

#[test]
fn a_broken_pair_leaves_the_old_one_and_is_told_once() {
    let place = Place::new();
    let [old, new, other] = [(); 3].map(|()| make("ftp.test", None, VALID));
    let settings = files(&place, &[&old], &pkcs8(&old));
    let tls = Tls::new(&settings).unwrap();
    let pem = new.certificate.to_pem().unwrap();
    let cut = &pem[..pem.len() / 2];
    let mut looks = (1..).map(later);
    let mut next = || looks.next().unwrap();
    for (certificate, key) in [(&pem[..], pkcs8(&other)), (cut, pkcs8(&new))] {
        replace(&settings, certificate, &key);
        assert!(tls.look(next()).unwrap().is_err());
        assert!(tls.look(next()).is_none(), "the same files, told again");
        assert_eq!(shown(&tls.session()), digest(&old.certificate));
    }
    std::fs::remove_file(&settings.certificates[0].key).unwrap();
    assert!(tls.look(next()).unwrap().is_err());
    assert_eq!(shown(&tls.session()), digest(&old.certificate));
    install(&settings, &new);
    tls.look(next()).unwrap().unwrap();
    assert_eq!(shown(&tls.session()), digest(&new.certificate));
}

#[test]
fn renewal_under_load_fails_nobody() {
    let place = Place::new();
    let pairs: Vec<Made> = (0..4).map(|_| make("ftp.test", None, VALID)).collect();
    let known: Vec<_> = pairs.iter().map(|made| digest(&made.certificate)).collect();
    let settings = files(&place, &[&pairs[0]], &pkcs8(&pairs[0]));
    let tls = Tls::new(&settings).unwrap();
    let (started, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let served: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut served = 0;
                    while !done.load(Ordering::Relaxed) || served < 10 {
                        // Every session looks at the files, right among the
                        // renames that a renewal consists of.
                        let look = started.fetch_add(1, Ordering::Relaxed) as u64;
                        let session = tls.session_at(later(look));
                        assert!(known.contains(&shown(&session)));
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        for made in pairs.iter().cycle().take(40) {
            install(&settings, made);
            thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
        clients.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert!(served >= 30);
    let last = &pairs[39 % 4];
    let look = started.load(Ordering::Relaxed) as u64 + 2;
    assert_eq!(
        shown(&tls.session_at(later(look))),
        digest(&last.certificate)
    );
}
