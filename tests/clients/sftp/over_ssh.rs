//! Clients that come over SSH: to sshd and dropbear, which start the
//! subsystem, and to wharfd itself.

use std::path::Path;

use super::common::tree::assert_same;
use super::daemons::Daemon;
use super::tools::*;

/// Has a client talk to the subsystem under sshd, and to wharfd, which changes
/// keys after each MiB.
pub fn on_each(name: &str, case: fn(&Place, &Daemon)) {
    let place = Place::new(&format!("{name}-sshd"));
    if let Some(daemon) = Daemon::sshd(&place, "") {
        case(&place, &daemon);
    }
    drop(place);
    #[cfg(feature = "sftp")]
    {
        let place = Place::new(&format!("{name}-wharfd"));
        let flags = "--atomic-uploads --ssh-rekey-bytes 1M --log-level debug";
        if let Some(daemon) = Daemon::wharfd(&place, flags) {
            case(&place, &daemon);
            let log = std::fs::read_to_string(place.top().join("daemon.log")).unwrap();
            assert!(log.contains("SSH rekey begins"), "no rekey");
        }
    }
}

/// Runs OpenSSH's scp or sftp with the daemon's options before `arguments`.
pub fn openssh(program: &str, daemon: &Daemon, arguments: &[&str], directory: &Path) -> String {
    let options = daemon.options();
    let options = options.iter().map(String::as_str);
    let all: Vec<&str> = options.chain(arguments.iter().copied()).collect();
    run(program, &all, directory)
}

/// What the other end of scp is called.
fn there(daemon: &Daemon, path: &Path) -> String {
    format!("{}@127.0.0.1:{}", daemon.user, daemon.path(path))
}

fn scp_and_sftp(place: &Place, daemon: &Daemon) {
    let (local, remote) = (place.local(), place.remote());
    make_tree(&local.join("tree"), &PLAIN_NAMES);
    let scp = |arguments: &[&str]| openssh("scp", daemon, arguments, &local);
    scp(&["-rp", "tree", &there(daemon, &remote.join("new"))]);
    assert_same(&local.join("tree"), &remote.join("new"));
    // Shorter than what is there: scp does not truncate at once.
    std::fs::write(local.join("short"), b"short").unwrap();
    scp(&["short", &there(daemon, &remote.join("new/sub/large"))]);
    assert_eq!(
        std::fs::read(remote.join("new/sub/large")).unwrap(),
        b"short"
    );
    scp(&["-r", &there(daemon, &remote.join("new")), "back"]);
    assert_same(&remote.join("new"), &local.join("back"));

    let batch = place.top().join("batch");
    let lines = format!(
        "cd {}\nput -r tree\nget -r tree again\n",
        daemon.path(&remote)
    );
    std::fs::write(&batch, lines).unwrap();
    let address = format!("{}@127.0.0.1", daemon.user);
    openssh(
        "sftp",
        daemon,
        &["-b", batch.to_str().unwrap(), &address],
        &local,
    );
    assert_same(&local.join("tree"), &remote.join("tree"));
    assert_same(&local.join("tree"), &local.join("again"));
}

#[test]
fn scp_and_sftp_through_sshd() {
    for (name, flags) in [("sshd", ""), ("sshd-atomic", "--atomic-uploads")] {
        let place = Place::new(name);
        if let Some(daemon) = Daemon::sshd(&place, flags) {
            scp_and_sftp(&place, &daemon);
        }
    }
}

#[cfg(feature = "sftp")]
#[test]
fn scp_and_sftp_to_wharfd() {
    for (name, flags) in [("own", ""), ("own-atomic", "--atomic-uploads")] {
        let place = Place::new(name);
        if let Some(daemon) = Daemon::wharfd(&place, flags) {
            scp_and_sftp(&place, &daemon);
        }
    }
}

#[test]
fn scp_and_sftp_through_dropbear() {
    let place = Place::new("dropbear");
    if let Some(daemon) = Daemon::dropbear(&place) {
        scp_and_sftp(&place, &daemon);
    }
}

#[test]
fn sshfs_mounts() {
    if !have(&["sshfs", "fusermount3"]) {
        return;
    }
    let fuse = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse");
    if let Err(error) = fuse {
        return skip(&format!("/dev/fuse: {error}"));
    }
    let place = Place::new("sshfs-atomic");
    if let Some(daemon) = Daemon::sshd(&place, "--atomic-uploads") {
        sshfs(&place, &daemon, Uploads::Atomic);
    }
    on_each("sshfs", |place, daemon| {
        let uploads = if daemon.takes_passwords() {
            Uploads::Atomic
        } else {
            Uploads::Plain
        };
        sshfs(place, daemon, uploads);
    });
}

#[derive(PartialEq, Eq)]
enum Uploads {
    Plain,
    Atomic,
}

fn sshfs(place: &Place, daemon: &Daemon, uploads: Uploads) {
    let mount = place.top().join("mount");
    std::fs::create_dir(&mount).unwrap();
    let what = there(daemon, &place.remote());
    openssh(
        "sshfs",
        daemon,
        &[&what, mount.to_str().unwrap()],
        place.top(),
    );
    let unmount = Unmount(&mount);
    make_tree(&place.local().join("tree"), &PLAIN_NAMES);
    let from = place.local().join("tree");
    let arguments = ["-r", from.to_str().unwrap(), mount.to_str().unwrap()];
    run("cp", &arguments, place.top());
    assert_same(&from, &mount.join("tree"));
    // The kernel closes files after the program that wrote them goes on,
    // so an atomic upload may take a moment longer to appear.
    if uploads == Uploads::Plain {
        assert_same(&from, &place.remote().join("tree"));
    }

    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    let file = mount.join("tree/plain");
    std::fs::write(&file, b"0123456789").unwrap();
    let mut end = std::fs::OpenOptions::new()
        .append(true)
        .open(&file)
        .unwrap();
    end.write_all(b"end").unwrap();
    drop(end);
    let cut = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    cut.set_len(11).unwrap();
    cut.sync_all().unwrap();
    drop(cut);
    std::fs::rename(&file, mount.join("moved")).unwrap();
    std::fs::hard_link(mount.join("moved"), mount.join("hard")).unwrap();
    std::os::unix::fs::symlink("moved", mount.join("soft")).unwrap();
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(mount.join("moved"), mode).unwrap();
    for name in ["moved", "hard", "soft"] {
        assert_eq!(std::fs::read(mount.join(name)).unwrap(), b"0123456789e");
    }
    let there = std::fs::metadata(place.remote().join("hard")).unwrap();
    assert_eq!(there.permissions().mode() & 0o777, 0o600);
    std::fs::remove_dir_all(mount.join("tree")).unwrap();
    assert!(!place.remote().join("tree").exists());
    run("df", &[mount.to_str().unwrap()], place.top());
    drop(unmount);
}

/// Takes the mount away, whatever happens.
struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        // Lazily: a mount that is busy must not keep its directory.
        let arguments = ["-u", "-z", self.0.to_str().unwrap_or_default()];
        let _ = try_run("fusermount3".as_ref(), &arguments, Path::new("/"));
    }
}

#[test]
fn rclone_syncs() {
    if have(&["rclone"]) {
        on_each("rclone", rclone);
    }
}

fn rclone(place: &Place, daemon: &Daemon) {
    let config = place.top().join("rclone.conf");
    let text = format!(
        "[r]\ntype = sftp\nhost = 127.0.0.1\nport = {}\nuser = {}\nkey_file = {}\n\
         known_hosts_file = {}\nshell_type = none\n",
        daemon.port(),
        daemon.user,
        daemon.key.display(),
        daemon.known_hosts.display()
    );
    std::fs::write(&config, text).unwrap();
    make_tree(&place.local().join("tree"), &PLAIN_NAMES);
    let remote = format!("r:{}", daemon.path(&place.remote().join("tree")));
    let rclone = |arguments: &[&str]| {
        let config = ["--config", config.to_str().unwrap()];
        run("rclone", &[&config[..], arguments].concat(), &place.local())
    };
    rclone(&["sync", "tree", &remote]);
    assert_same(&place.local().join("tree"), &place.remote().join("tree"));
    rclone(&["check", "--download", "tree", &remote]);
    std::fs::remove_file(place.local().join("tree/plain")).unwrap();
    rclone(&["sync", "tree", &remote]);
    assert!(!place.remote().join("tree/plain").exists());
    rclone(&["copy", &remote, "back"]);
    assert_same(&place.local().join("tree"), &place.local().join("back"));
}

#[test]
fn lftp_mirrors() {
    if have(&["lftp"]) {
        on_each("lftp", lftp);
    }
}

fn lftp(place: &Place, daemon: &Daemon) {
    make_tree(&place.local().join("tree"), &PLAIN_NAMES);
    let connect = format!("ssh -a -x {}", daemon.options().join(" "));
    let remote = place.remote();
    let script = format!(
        "set net:max-retries 1; set sftp:connect-program \"{connect}\"; \
         open -u {},x sftp://127.0.0.1; cd {}; mirror -R tree; mirror tree back; \
         put -O tree tree/plain -o again; mv tree/again moved; chmod 600 moved; ls -l; exit",
        daemon.user,
        daemon.path(&remote)
    );
    run("lftp", &["--norc", "-c", &script], &place.local());
    assert!(remote.join("moved").exists());
    assert_same(&place.local().join("tree"), &remote.join("tree"));
    assert_same(&place.local().join("tree"), &place.local().join("back"));
}

#[test]
fn curl_transfers() {
    if !have(&["curl"]) {
        return;
    }
    if !run("curl", &["-V"], Path::new("/")).contains(" sftp ") {
        return missed("this curl has no SFTP");
    }
    on_each("curl", curl);
}

fn curl(place: &Place, daemon: &Daemon) {
    let data = bytes(2_000_000);
    std::fs::write(place.local().join("a"), &data).unwrap();
    let url = format!(
        "sftp://127.0.0.1:{}{}/",
        daemon.port(),
        daemon.path(&place.remote()).trim_end_matches('/')
    );
    let curl = |arguments: &[&str]| {
        let user = format!("{}:", daemon.user);
        let public = format!("{}.pub", daemon.key.display());
        let always = [
            "-sSk",
            "-u",
            &user,
            "--key",
            daemon.key.to_str().unwrap(),
            "--pubkey",
            &public,
        ];
        run("curl", &[&always[..], arguments].concat(), &place.local())
    };
    let new = format!("{url}new/b%20c");
    curl(&["--ftp-create-dirs", "-T", "a", &new]);
    assert!(std::fs::read(place.remote().join("new/b c")).unwrap() == data);
    std::fs::write(place.local().join("back"), &data[..700_000]).unwrap();
    curl(&["-C", "-", "-o", "back", &new]);
    assert!(std::fs::read(place.local().join("back")).unwrap() == data);
    let listing = curl(&[&format!("{url}new/")]);
    assert!(listing.contains("b c"), "{listing}");
    let remove = format!("rm \"{}\"", daemon.path(&place.remote().join("new/b c")));
    curl(&["-Q", &remove, &url]);
    assert!(!place.remote().join("new/b c").exists());
}

#[test]
fn psftp_and_pscp_work() {
    if have(&["psftp", "pscp", "puttygen"]) {
        on_each("psftp", putty);
    }
}

fn putty(place: &Place, daemon: &Daemon) {
    let (local, remote) = (place.local(), place.remote());
    let key = place.top().join("key.ppk");
    let made = [
        daemon.key.to_str().unwrap(),
        "-O",
        "private",
        "-o",
        key.to_str().unwrap(),
    ];
    run("puttygen", &made, place.top());
    let fingerprint = run(
        "ssh-keygen",
        &["-lf", daemon.known_hosts.to_str().unwrap()],
        place.top(),
    );
    let fingerprint = fingerprint.split_whitespace().nth(1).unwrap();
    let port = daemon.port();
    let always = [
        "-batch",
        "-P",
        &port,
        "-i",
        key.to_str().unwrap(),
        "-hostkey",
        fingerprint,
    ];
    make_tree(&local.join("tree"), &PLAIN_NAMES);
    let batch = place.top().join("batch");
    let lines = format!(
        "cd {}\nput -r tree\nget -r tree back\nmv tree/plain x\nls\n",
        daemon.path(&remote)
    );
    std::fs::write(&batch, lines).unwrap();
    let address = format!("{}@127.0.0.1", daemon.user);
    let arguments = [&always[..], &["-b", batch.to_str().unwrap(), &address]].concat();
    run("psftp", &arguments, &local);
    assert_same(&local.join("tree"), &local.join("back"));
    assert!(remote.join("x").exists());
    let target = there(daemon, &remote);
    let arguments = [&always[..], &["-sftp", "tree/sub/large", &target]].concat();
    run("pscp", &arguments, &local);
    assert!(std::fs::read(remote.join("large")).unwrap() == bytes(3 << 20));
}
