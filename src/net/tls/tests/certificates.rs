//! Files that serve, and files that are refused with what to do.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::net::tls::fingerprint;

#[test]
fn a_self_signed_pair_is_made_once() {
    let place = Place::new();
    let pair = place.pair("ftp.test");
    let key = std::fs::read(&pair.key).unwrap();
    assert!(key.starts_with(b"-----BEGIN PRIVATE KEY-----"));
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&pair.key), 0o600);
    make_self_signed(&pair.certificate, &pair.key, &[]).unwrap();
    assert_eq!(std::fs::read(&pair.key).unwrap(), key, "it was made again");
    let facts = place.tls().certificates().unwrap();
    assert_eq!(facts[0].names, ["ftp.test"]);
    assert!((3600..3700).contains(&facts[0].days_left) || facts[0].days_left > 3600);
    assert_eq!(
        facts[0].fingerprint,
        fingerprint(&pair.certificate).unwrap()
    );
    assert_eq!(facts[0].fingerprint.len(), 32 * 3 - 1);
    let left: Vec<_> = std::fs::read_dir(&place.0).unwrap().collect();
    assert_eq!(left.len(), 2, "something was left behind: {left:?}");
    std::fs::remove_file(&pair.certificate).unwrap();
    assert!(make_self_signed(&pair.certificate, &pair.key, &[]).is_err());
}
