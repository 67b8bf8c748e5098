use super::*;
use crate::temp::TempDir;
use std::os::unix::fs::PermissionsExt;

/// Account files and a home of the test's own.
struct Etc(TempDir);

impl Etc {
    fn new(name: &str) -> Self {
        let etc = Etc(TempDir::new(name));
        let home = etc.0.display();
        let account =
            |name: &str, uid: u32, shell: &str| format!("{name}:x:{uid}:100::{home}:{shell}\n");
        etc.write(
            "passwd",
            &[
                account("root", 0, "/bin/sh"),
                account("ann", 1000, "/bin/sh"),
                account("listed", 1001, "/bin/sh"),
                account("daemon", 1002, "/usr/sbin/nologin"),
                account("gone", 1003, "/bin/sh"),
                account("old", 1004, "/bin/sh"),
                account("fresh", 1005, "/bin/sh"),
                account("locked", 1006, "/bin/sh"),
                account("nohash", 1007, "/bin/sh"),
                account("des", 1008, "/bin/sh"),
                account("noline", 1009, "/bin/sh"),
                "homeless:x:1010:100::home:/bin/sh\n".to_string(),
            ]
            .concat(),
        );
        let hash = password::hash_with_rounds(b"secret", 1000).unwrap();
        etc.write(
            "shadow",
            &format!(
                "root:{hash}:19000:0:99999:7:::\n\
                 ann:{hash}:19000:0:99999:7:::\n\
                 listed:{hash}:19000:0:99999:7:::\n\
                 daemon:{hash}:19000:0:99999:7:::\n\
                 gone:{hash}:19000:0:99999:7::19001:\n\
                 old:{hash}:19000:0:10:7:::\n\
                 fresh:{hash}:0:0:99999:7:::\n\
                 locked:!{hash}:19000:0:99999:7:::\n\
                 nohash::19000:0:99999:7:::\n\
                 des:abJnggxhB/yWI:19000:0:99999:7:::\n\
                 homeless:{hash}:19000:0:99999:7:::\n"
            ),
        );
        etc.write("group", "users:x:100:\nscan:x:4:bob,ann\n");
        etc.write("shells", "# shells\n/bin/sh\n");
        etc.write("ftpusers", "root\nlisted # no\n");
        etc
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    fn users(&self) -> SystemUsers {
        SystemUsers::open(SystemPaths::below(&self.0), UserDefaults::default()).unwrap()
    }
}

fn login(users: &SystemUsers, name: &str, secret: Secret<'_>) -> Result<User> {
    users.authenticate(&Credentials::new(name, secret, [127, 0, 0, 1].into()))
}

#[test]
fn a_user_of_the_system_has_numbers_groups_and_a_home() {
    let etc = Etc::new("user");
    let user = login(&etc.users(), "ann", Secret::Password(b"secret")).unwrap();
    let want = Identity {
        uid: 1000,
        gid: 100,
        groups: vec![100, 4],
    };
    assert_eq!(user.identity, Some(want));
    assert_eq!(user.name, "ann");
    assert!(!user.anonymous);
}

#[test]
fn everybody_who_must_not_is_refused() {
    let etc = Etc::new("refused");
    let users = etc.users();
    for (name, password) in [
        ("ann", "wrong"),
        ("ann", ""),
        ("nobody", "secret"),
        ("", "secret"),
        ("root", "secret"),
        ("listed", "secret"),
        ("daemon", "secret"),
        ("gone", "secret"),
        ("old", "secret"),
        ("fresh", "secret"),
        ("locked", "secret"),
        ("nohash", ""),
        ("des", "secret"),
        ("noline", "secret"),
        ("homeless", "secret"),
    ] {
        let result = login(&users, name, Secret::Password(password.as_bytes()));
        let error = result.err().expect(name);
        assert_eq!(error.kind(), ErrorKind::LoginRefused, "{name}");
    }
    etc.write("nologin", "");
    assert!(login(&users, "ann", Secret::Password(b"secret")).is_err());
    std::fs::remove_file(etc.0.join("nologin")).unwrap();
    assert!(login(&users, "ann", Secret::Password(b"secret")).is_ok());
}

#[test]
fn root_may_when_allowed_and_not_listed() {
    let etc = Etc::new("root");
    let users = etc.users().with_root(Root::Allowed);
    assert!(login(&users, "root", Secret::Password(b"secret")).is_err());
    std::fs::remove_file(etc.0.join("ftpusers")).unwrap();
    assert!(login(&users, "root", Secret::Password(b"secret")).is_ok());
}

#[test]
fn files_that_are_missing_mean_what_the_manual_pages_say() {
    let etc = Etc::new("missing");
    let users = etc.users();
    for name in ["group", "shells", "ftpusers"] {
        std::fs::remove_file(etc.0.join(name)).unwrap();
    }
    let user = login(&users, "ann", Secret::Password(b"secret")).unwrap();
    assert_eq!(user.identity.unwrap().groups, [100]);
    std::fs::remove_file(etc.0.join("shadow")).unwrap();
    let error = login(&users, "ann", Secret::Password(b"secret"))
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::LoginRefused);
    std::fs::remove_file(etc.0.join("passwd")).unwrap();
    let error = login(&users, "ann", Secret::Password(b"secret"))
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn keys_count_only_where_nobody_else_can_write() {
    let etc = Etc::new("keys");
    let users = etc.users();
    // The files are ours: the account must be as well.
    let uid = rustix::process::geteuid().as_raw();
    let uid = if uid == 0 { 1000 } else { uid };
    let home = etc.0.join("home");
    std::fs::create_dir_all(home.join(".ssh")).unwrap();
    etc.write(
        "passwd",
        &format!("ann:x:{uid}:100::{}:/bin/sh\n", home.display()),
    );
    let file = home.join(".ssh/authorized_keys");
    let text =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER x\n";
    std::fs::write(&file, text).unwrap();
    let blob = [&b"\0\0\0\x0bssh-ed25519\0\0\0\x20"[..], &[0x11; 32]].concat();
    let key = PublicKey::new("ssh-ed25519", blob);
    // Root's file counts where the user could read it, too.
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&file).unwrap());
    for (path, mode, want) in [
        (&file, 0o600, owner == uid),
        (&file, 0o660, false),
        (&file, 0o644, true),
        (&home.join(".ssh"), 0o777, false),
        (&home.join(".ssh"), 0o700, true),
        (&home, 0o770, false),
        (&home, 0o755, true),
    ] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        if want {
            // Whatever the umask of the test has left.
            for (path, mode) in [(&home, 0o755), (&home.join(".ssh"), 0o700)] {
                std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
            }
        }
        let result = login(&users, "ann", Secret::PublicKey(&key));
        assert_eq!(result.is_ok(), want, "{} {mode:o}", path.display());
    }
    let other = PublicKey::new("ssh-ed25519", b"x".as_slice());
    assert!(login(&users, "ann", Secret::PublicKey(&other)).is_err());
}

#[test]
fn unknown_names_cost_what_most_accounts_cost() {
    let hash = |rounds| password::hash_with_rounds(b"x", rounds).unwrap();
    let text = format!(
        "a:{}:\nb:{}:\nc:{}:\nd:*:\ne:$1$x$y:\n",
        hash(1000),
        hash(1500),
        hash(1500)
    );
    let usual = usual_hash(text.as_bytes());
    assert_eq!(password::cost_class(&usual), "$6$rounds=1500$");
    assert_eq!(usual_hash(b"a:*:\n"), "");
}

/// What stands in the place of a user's key file is looked at before it is
/// opened: devices, FIFOs and files of others are not.
#[test]
fn key_files_are_the_users_own() {
    use crate::storage::{LocalFs, VirtualPath};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    let place = TempDir::new("own-keys");
    let (file, link) = (place.join("keys"), place.join("link"));
    std::fs::write(&file, "").unwrap();
    let mode = |bits| {
        let mode = std::fs::Permissions::from_mode(bits);
        std::fs::set_permissions(&file, mode).unwrap();
    };
    mode(0o600);
    symlink("keys", &link).unwrap();
    let home = LocalFs::open(place.path()).unwrap();
    let read = |path: &Path, uid| {
        let name = path.file_name().unwrap().as_encoded_bytes();
        keys::read(&home, &VirtualPath::root().join(name).unwrap(), uid)
    };
    let owner = std::fs::metadata(&file).unwrap().uid();
    for path in [&file, &link] {
        assert!(read(path, owner).is_ok());
        assert!(read(path, owner + 1).is_err());
    }
    // Root's, and everybody may read it.
    mode(0o644);
    let theirs = read(&file, owner + 1);
    assert_eq!(theirs.is_ok(), owner == 0);
    mode(0o620);
    assert!(read(&file, owner).is_err());
    let fifo = place.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let error = read(&fifo, owner).unwrap_err();
    assert!(error.to_string().contains("it is no file"), "{error}");
    // Nothing outside of the home is even looked at.
    let device = place.join("device");
    symlink("/dev/zero", &device).unwrap();
    assert_eq!(
        read(&device, owner).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

/// The time of an answer is that of the hashes: it must not tell names apart.
#[test]
fn every_refused_name_costs_the_same_hashes() {
    use crate::auth::password::tests::work_of;
    let etc = Etc::new("work");
    let users = etc.users();
    let refused = "root listed daemon gone old fresh locked nohash des noline homeless nobody";
    for name in refused.split(' ') {
        for given in [&b"secret"[..], b"wrong", b""] {
            let work = work_of(|| login(&users, name, Secret::Password(given)));
            assert_eq!(work, ["$6$rounds=1000$"], "{name}");
        }
        let long = [b'x'; 600];
        assert!(work_of(|| login(&users, name, Secret::Password(&long))).is_empty());
    }
    let work = work_of(|| login(&users, "ann", Secret::Password(b"wrong")));
    assert_eq!(work, ["$6$rounds=1000$"]);
}
