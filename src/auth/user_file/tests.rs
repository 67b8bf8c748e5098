use super::table::LoadedUsers;
use super::*;
use crate::auth::Perms;
use crate::auth::{Proofs, PublicKey, Right};
use crate::storage::VirtualPath;
use crate::temp::TempDir;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// `$6$` of "secret", 1000 rounds.
fn secret_hash() -> String {
    password::hash_with_rounds(b"secret", 1000).unwrap()
}

/// A directory with a users file.
struct Place(TempDir);

impl Place {
    fn new(name: &str) -> Self {
        Place(TempDir::new(name))
    }

    /// Puts `text` in place as an administrator's tool does: by a rename.
    fn write(&self, text: &str) -> PathBuf {
        let path = self.0.join("users");
        let new = self.0.join("users.new");
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }

    fn open(&self, text: &str) -> UserFile {
        let mut file = UserFile::open(self.write(text), UserDefaults::default()).unwrap();
        if let Users::File(users) = &mut file.users {
            users.look_every = Duration::ZERO;
        }
        file
    }
}

fn login(file: &UserFile, name: &str, password: &str) -> Result<User> {
    login_from(file, name, password, "192.0.2.1")
}

fn login_from(file: &UserFile, name: &str, password: &str, peer: &str) -> Result<User> {
    let peer: IpAddr = peer.parse().unwrap();
    let secret = Secret::Password(password.as_bytes());
    file.authenticate(&Credentials::new(name, secret, peer))
}

fn kind(result: Result<User>) -> ErrorKind {
    result.err().expect("the login must fail").kind()
}

#[test]
fn a_line_yields_its_user() {
    let place = Place::new("yields");
    let home = place.0.display();
    let file = place.open(&format!(
        "ann:{}:{home}:upload-only:uid=1000,gid=100,groups=4+5,max-sessions=2,rate-up=1M,\
         file-mode=640,dir=/in=drop\nbob:{}:{home}::\n",
        secret_hash(),
        secret_hash()
    ));
    let ann = login(&file, "ann", "secret").unwrap();
    assert_eq!(ann.name, "ann");
    assert!(ann.perms.has(Right::Write) && !ann.perms.has(Right::Read));
    let identity = ann.identity.clone().unwrap();
    assert_eq!((identity.uid, identity.gid), (1000, 100));
    assert_eq!(identity.groups, [4, 5]);
    assert_eq!(ann.limits.max_sessions, 2);
    assert_eq!(ann.limits.rate_up, 1 << 20);
    assert_eq!(ann.file_mode, Some(0o640));
    let inside = VirtualPath::root().join(b"in").unwrap();
    assert_eq!(ann.directories, [(inside, Perms::DROP)]);
    let bob = login(&file, "bob", "secret").unwrap();
    assert_eq!(bob.perms, Perms::READ_ONLY);
    assert_eq!(bob.identity, None);
}

#[test]
fn everybody_else_is_refused() {
    let place = Place::new("refused");
    let home = place.0.display();
    let hash = secret_hash();
    let file = place.open(&format!(
        "ann:{hash}:{home}:elr\n\
         locked:!{hash}:{home}:elr\n\
         keyonly:*:{home}:elr\n\
         lan:{hash}:{home}:elr:allow=10.0.0.0/8+fd00::/8,deny=10.9.0.0/16\n\
         old:{hash}:{home}:elr:expires=2020-01-01\n\
         new:{hash}:{home}:elr:expires=9999-01-01\n\
         tls:{hash}:{home}:elr:tls=required\n"
    ));
    for (name, password, peer, want) in [
        ("ann", "secret", "192.0.2.1", true),
        ("ann", "wrong", "192.0.2.1", false),
        ("ann", "", "192.0.2.1", false),
        ("Ann", "secret", "192.0.2.1", false),
        ("", "secret", "192.0.2.1", false),
        ("ann:", "secret", "192.0.2.1", false),
        ("nobody", "secret", "192.0.2.1", false),
        ("locked", "secret", "192.0.2.1", false),
        ("keyonly", "*", "192.0.2.1", false),
        ("lan", "secret", "192.0.2.1", false),
        ("lan", "secret", "10.1.1.1", true),
        ("lan", "secret", "::ffff:10.1.1.1", true),
        ("lan", "secret", "10.9.1.1", false),
        ("lan", "secret", "fd00::1", true),
        ("old", "secret", "192.0.2.1", false),
        ("new", "secret", "192.0.2.1", true),
        ("tls", "secret", "192.0.2.1", false),
    ] {
        let result = login_from(&file, name, password, peer);
        assert_eq!(result.is_ok(), want, "{name} {password} {peer}");
        if !want {
            assert_eq!(kind(result), ErrorKind::LoginRefused, "{name}");
        }
    }
    let mut secure = Credentials::new("tls", Secret::Password(b"secret"), [192, 0, 2, 1].into());
    secure.secure = true;
    assert!(file.authenticate(&secure).is_ok());
}

#[test]
fn a_certificate_is_matched_by_its_subject() {
    let place = Place::new("certificate");
    let home = place.0.display();
    let file = place.open(&format!(
        "cam:*:{home}:elr:certificate=CN%3dcam1%2cO%3dfleet,certificate=CN=cam2\nann:*:{home}:elr\n"
    ));
    for (name, subject, want) in [
        ("cam", "CN=cam1,O=fleet", true),
        ("cam", "CN=cam2", true),
        ("cam", "CN=cam", false),
        ("ann", "CN=cam2", false),
        ("nobody", "CN=cam2", false),
    ] {
        let shown = Credentials::new(name, Secret::Certificate(subject), [127, 0, 0, 1].into());
        assert_eq!(file.authenticate(&shown).is_ok(), want, "{name} {subject}");
    }
}

#[test]
fn a_public_key_is_looked_for_in_the_users_own_file() {
    let place = Place::new("keys");
    let home = place.0.display();
    let text =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER x\n";
    std::fs::write(place.0.join("ann.keys"), text).unwrap();
    let blob = [&b"\0\0\0\x0bssh-ed25519\0\0\0\x20"[..], &[0x11; 32]].concat();
    let key = PublicKey::new("ssh-ed25519", blob);
    let other = PublicKey::new("ssh-ed25519", b"other".as_slice());
    let file = place.open(&format!(
        "ann:*:{home}:elr:keys=ann.keys\n\
         cid:!:{home}:elr:keys=ann.keys\n\
         eve:*:{home}:elr:keys=missing\n\
         bob:*:{home}:elr\n"
    ));
    for (name, key, want) in [
        ("ann", &key, true),
        ("ann", &other, false),
        ("cid", &key, false),
        ("eve", &key, false),
        ("bob", &key, false),
        ("nobody", &key, false),
    ] {
        let shown = Credentials::new(name, Secret::PublicKey(key), [127, 0, 0, 1].into());
        let result = file.authenticate(&shown);
        assert_eq!(result.is_ok(), want, "{name}");
        if !want {
            assert_eq!(kind(result), ErrorKind::LoginRefused, "{name}");
        }
    }
}

#[test]
fn more_than_one_proof_can_be_required() {
    let place = Place::new("require");
    let home = place.0.display();
    let text =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER x\n";
    std::fs::write(place.0.join("keys"), text).unwrap();
    let blob = [&b"\0\0\0\x0bssh-ed25519\0\0\0\x20"[..], &[0x11; 32]].concat();
    let key = PublicKey::new("ssh-ed25519", blob);
    let hash = "$5$rounds=1000$wharf$1RfuW6n/Us8eMNckFbThxBOqCT1yO9Y/WcluGJjqeW.";
    let file = place.open(&format!(
        "both:{hash}:{home}:elr:keys=keys,require=publickey+password\n\
         key:{hash}:{home}:elr:keys=keys,require=publickey\n\
         any:{hash}:{home}:elr:keys=keys\n"
    ));
    let password = Secret::Password(b"open sesame");
    let (key, nothing) = (Secret::PublicKey(&key), Proofs::NONE);
    for (name, secret, shown, missing) in [
        ("any", password, nothing, Proofs::NONE),
        ("any", key, nothing, Proofs::NONE),
        ("key", key, nothing, Proofs::NONE),
        ("key", password, nothing, Proofs::PUBLIC_KEY),
        ("both", password, nothing, Proofs::PUBLIC_KEY),
        ("both", key, nothing, Proofs::PASSWORD),
        ("both", key, Proofs::PUBLIC_KEY, Proofs::PASSWORD),
        ("both", key, Proofs::PASSWORD, Proofs::NONE),
        ("both", password, Proofs::PUBLIC_KEY, Proofs::NONE),
    ] {
        let mut credentials = Credentials::new(name, secret, [127, 0, 0, 1].into());
        credentials.shown = shown;
        // Nobody can show more over FTP.
        let at_once = file.authenticate(&credentials);
        assert_eq!(at_once.is_ok(), missing.is_empty(), "{name}");
        credentials.goes_on = true;
        let user = file.authenticate(&credentials).unwrap();
        assert_eq!(user.missing, missing, "{name}");
    }
}

#[test]
fn a_broken_file_is_refused_with_every_mistake() {
    let place = Place::new("broken");
    let path = place.write("ann:secret:/:elr\n\nbob:*:home:elr:colour=red\n");
    let error = UserFile::open(&path, UserDefaults::default())
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    for part in ["users:1:5: ", "users:3:7: ", "users:3:16: "] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("secret"), "{text}");
    let missing = UserFile::open(place.0.join("none"), UserDefaults::default());
    assert_eq!(missing.err().unwrap().kind(), ErrorKind::NotFound);
}

#[test]
fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
    let place = Place::new("changed");
    let home = place.0.display();
    let hash = secret_hash();
    let file = place.open(&format!("ann:{hash}:{home}:elr\n"));
    assert!(login(&file, "bob", "secret").is_err());
    place.write(&format!("ann:{hash}:{home}:elr\nbob:{hash}:{home}:elr\n"));
    assert!(login(&file, "bob", "secret").is_ok());

    place.write("bob:secret");
    assert!(login(&file, "bob", "secret").is_ok());
    assert!(login(&file, "ann", "secret").is_ok());

    std::fs::remove_file(place.0.join("users")).unwrap();
    assert!(login(&file, "ann", "secret").is_ok());
    assert!(login(&file, "ann", "secret").is_ok());

    place.write(&format!("bob:{hash}:{home}:elr\n"));
    assert!(login(&file, "ann", "secret").is_err());
    assert!(login(&file, "bob", "secret").is_ok());
}

#[test]
fn a_home_is_made_only_when_the_line_says_so() {
    let place = Place::new("home");
    let hash = secret_hash();
    let home = place.0.join("homes");
    std::fs::create_dir(&home).unwrap();
    let shown = home.display();
    let file = place.open(&format!(
        "ann:{hash}:{shown}/ann:elr\n\
         bob:{hash}:{shown}/bob:elr:create-home=yes\n\
         cid:{hash}:{shown}/cid:elr:create-home=yes,dir-mode=0777\n\
         deep:{hash}:{shown}/no/deep:elr:create-home=yes\n"
    ));
    assert_eq!(kind(login(&file, "ann", "secret")), ErrorKind::NotFound);
    assert_eq!(kind(login(&file, "deep", "secret")), ErrorKind::Internal);
    // Not for somebody with a wrong password.
    assert_eq!(kind(login(&file, "bob", "wrong")), ErrorKind::LoginRefused);
    assert!(!home.join("bob").exists());
    for (name, mode) in [("bob", 0o700), ("cid", 0o777)] {
        for _ in 0..2 {
            assert!(login(&file, name, "secret").is_ok(), "{name}");
        }
        let metadata = std::fs::metadata(home.join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{name}");
    }
}

#[test]
fn unknown_names_cost_what_most_users_cost() {
    let cheap = secret_hash();
    let dear = password::hash_with_rounds(b"secret", 1500).unwrap();
    let line = |name: &str, hash: &str| format!("{name}:{hash}:/:elr\n");
    for (text, want) in [
        (
            line("a", &cheap) + &line("b", &dear) + &line("c", &dear),
            "$6$rounds=1500$",
        ),
        (line("a", &cheap) + &line("b", "*"), "$6$rounds=1000$"),
        (line("a", "*") + &line("b", "!"), ""),
        (String::new(), ""),
    ] {
        let table = LoadedUsers::new(text.clone().into_bytes()).unwrap();
        assert_eq!(password::cost_class(&table.like), want, "{text}");
    }
}

#[test]
fn a_hundred_thousand_users_are_found_by_name() {
    let mut text = String::new();
    for number in (0..100_000).rev() {
        text += &format!("user{number}:*:/srv/{number}:elr:max-sessions={number}\n");
    }
    let table = LoadedUsers::new(text.into_bytes()).unwrap();
    for number in [0, 1, 77_777, 99_999] {
        let entry = table.find(&format!("user{number}")).unwrap();
        assert_eq!(entry.options.max_sessions, Some(number));
    }
    assert!(table.find("user100000").is_none());
    assert!(table.find("user").is_none());
}

#[test]
fn a_key_of_the_keys_file_is_proof_enough() {
    let line = "ssh-ed25519 \
                AAAAC3NzaC1lZDI1NTE5AAAAIEkdRbWO1aMVI4PV1pYKqa3tPZ5fDDDJdtGO0u1gPGSN";
    let place = Place::new("keys");
    let file = place.open(&format!(
        "ann:*:{home}:elr:keys=ann.keys\nbob:*:{home}:elr:\nlot:!:{home}:elr:keys=ann.keys\n",
        home = place.0.display()
    ));
    let keys = place.0.join("ann.keys");
    let restricted = format!("from=\"192.0.2.0/24\" {line}\n");
    let known = AuthorizedKeys::parse(line.as_bytes(), "test");
    let key = known.keys().next().unwrap();
    let comes = |name: &str, peer: &str| {
        let peer: IpAddr = peer.parse().unwrap();
        let shown = Credentials::new(name, Secret::PublicKey(key), peer);
        file.authenticate(&shown).is_ok()
    };
    assert!(!comes("ann", "192.0.2.1"), "there is no keys file");
    std::fs::write(&keys, restricted).unwrap();
    std::fs::set_permissions(&keys, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(comes("ann", "192.0.2.1"));
    assert!(!comes("ann", "198.51.100.1"), "from= holds");
    for other in ["bob", "lot", "nobody"] {
        assert!(!comes(other, "192.0.2.1"), "{other}");
    }
    std::fs::set_permissions(&keys, PermissionsExt::from_mode(0o666)).unwrap();
    assert!(!comes("ann", "192.0.2.1"), "others may write the keys");
}

/// A client asks about a key before it shows that it has it: anybody can.
#[test]
fn a_key_that_is_only_offered_makes_no_home() {
    let line = "ssh-ed25519 \
                AAAAC3NzaC1lZDI1NTE5AAAAIEkdRbWO1aMVI4PV1pYKqa3tPZ5fDDDJdtGO0u1gPGSN";
    let place = Place::new("offered");
    let home = place.0.join("home");
    let file = place.open(&format!(
        "ann:*:{}:elr:keys=ann.keys,create-home=yes\n",
        home.display()
    ));
    let keys = place.0.join("ann.keys");
    std::fs::write(&keys, line).unwrap();
    std::fs::set_permissions(&keys, PermissionsExt::from_mode(0o644)).unwrap();
    let known = AuthorizedKeys::parse(line.as_bytes(), "test");
    let key = known.keys().next().unwrap();
    let mut shown = Credentials::new("ann", Secret::PublicKey(key), [127, 0, 0, 1].into());
    shown.dry_run = true;
    assert!(file.authenticate(&shown).is_ok());
    assert!(!home.exists());
    shown.dry_run = false;
    assert!(file.authenticate(&shown).is_ok());
    assert!(home.is_dir());
}

#[test]
fn a_group_gives_what_a_line_leaves_out() {
    let place = Place::new("groups");
    let home = place.0.display();
    let hash = secret_hash();
    for name in ["ann", "bob"] {
        std::fs::create_dir(place.0.join(name)).unwrap();
    }
    let file = place.open(&format!(
        "ann:{hash}:::group=staff\n\
         bob:{hash}:{home}:elr:group=staff,max-sessions=7,create-home=no\n\
         @staff:*:{home}/%u:upload-only:max-sessions=3,rate-up=1M,tls=optional,allow=192.0.2.0/24\n\
         eve:{hash}:::group=left\n\
         @left:!:{home}:elr:\n\
         out/side:{hash}:{home}::\n"
    ));
    let ann = login(&file, "ann", "secret").unwrap();
    assert_eq!((ann.limits.max_sessions, ann.limits.rate_up), (3, 1 << 20));
    assert!(ann.perms.has(Right::Write) && !ann.perms.has(Right::Read));
    assert_eq!(file.entry("ann").unwrap().home, place.0.join("ann"));
    let bob = login(&file, "bob", "secret").unwrap();
    assert_eq!((bob.limits.max_sessions, bob.limits.rate_up), (7, 1 << 20));
    assert_eq!(bob.perms, "elr".parse().unwrap());
    assert!(login_from(&file, "bob", "secret", "198.51.100.1").is_err());
    assert!(
        login(&file, "eve", "secret").is_err(),
        "the group is locked"
    );
    assert!(login(&file, "@staff", "*").is_err());
    assert!(file.entry("@staff").is_none());

    for (text, part) in [
        (
            "ann:*:::group=staff\n",
            "1:1: there is no line of the group '@staff'",
        ),
        ("ann:*:::\n", "begins with '/'"),
        ("@a:*:/::group=b\n@b:*:/::\n", "can't be in a group"),
        ("@a:*:::\nann:*:::group=a\n", "2:7: expected a home"),
        (
            "@a:*:/x/%u::\n../ann:*:::group=a\n",
            "2:10: expected a home",
        ),
        ("@a:*:/x::\n@a:*:/y::\n", "stands in line 1 already"),
        ("ann:*:/x/%u::\n", "hexadecimal"),
    ] {
        let mistakes = parse(text.as_bytes()).unwrap_err();
        let told = mistakes[0].to_string();
        assert!(told.contains(part), "{text}: {told}");
    }
}

#[test]
fn a_directory_has_a_file_for_each_user() {
    let place = Place::new("directory");
    let users = place.0.join("users");
    let home = place.0.display();
    let hash = secret_hash();
    std::fs::create_dir(&users).unwrap();
    let write = |name: &str, text: String| std::fs::write(users.join(name), text).unwrap();
    write("ann", format!("{hash}:{home}:elr:max-sessions=2\n"));
    write("bob", format!("# made by hand\n\n{hash}:::group=all"));
    write("@all", format!("*:{home}:upload-only:\n"));
    write(".hidden", format!("{hash}:{home}:elr:\n"));
    write("two", format!("{hash}:{home}:elr:\n{hash}:/:elr:\n"));
    write("broken", "x:home:elr:\n".into());
    // As Kubernetes mounts a Secret.
    std::fs::create_dir(users.join("..2026")).unwrap();
    write("..2026/cid", format!("{hash}:{home}:elr:\n"));
    std::os::unix::fs::symlink("..2026", users.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/cid", users.join("cid")).unwrap();

    let file = UserFile::open(&users, UserDefaults::default()).unwrap();
    assert_eq!(
        login(&file, "ann", "secret").unwrap().limits.max_sessions,
        2
    );
    assert!(
        login(&file, "bob", "secret")
            .unwrap()
            .perms
            .has(Right::Write)
    );
    assert!(login(&file, "cid", "secret").is_ok());
    for name in [
        ".hidden",
        "two",
        "broken",
        "@all",
        "nobody",
        "",
        ".",
        "..",
        "..data",
        "..2026/cid",
        "../users/ann",
        "/etc/passwd",
        "ann/",
        "..data/cid",
    ] {
        let refused = login(&file, name, "secret");
        assert_eq!(kind(refused), ErrorKind::LoginRefused, "{name}");
    }
    // Changes hold from the next login on.
    write("dan", format!("{hash}:{home}:elr:\n"));
    std::fs::remove_file(users.join("ann")).unwrap();
    assert!(login(&file, "dan", "secret").is_ok());
    assert!(login(&file, "ann", "secret").is_err());

    let (found, wrong) = entries(&users, usize::MAX);
    let mut names: Vec<_> = found.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["bob", "cid", "dan"]);
    let mut wrong: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    wrong.sort();
    assert!(
        wrong[0].contains("broken:1:3: ") && wrong[1].contains("two:2:1: "),
        "{wrong:?}"
    );
    assert_eq!(entries(&users, 1).0.len() + entries(&users, 1).1.len(), 1);
}
