//! What `make install` and `make deb` put where, the package on a throw-away
//! copy of this system, and the image from scratch.
// Once is enough: not with the small build, too.
#![cfg(all(feature = "cli", feature = "ftps"))]

use crate::common;

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::process::{Process, WHARFD, copy_libraries, has, run_within};
use common::{Client, TempDir};

/// Tools of packagers do much, on a machine that may do more besides.
#[track_caller]
fn slowly(command: &mut Command, input: &str) -> String {
    run_within(Duration::from_secs(300), command, input)
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn is_root() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        eprintln!("SKIP: needs root");
    }
    root
}

/// All files and links below a directory, from there.
fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                directories.push(path)
            } else {
                let name = path.strip_prefix(root).unwrap();
                found.insert(name.to_str().unwrap().to_owned());
            }
        }
    }
    found
}

fn make(arguments: &[&str], root: &TempDir) -> String {
    let mut command = Command::new("make");
    command.current_dir(here()).env_remove("MAKEFLAGS");
    command.args(["-s", "--no-print-directory"]).args(arguments);
    command.arg(format!("DESTDIR={}", root.path().display()));
    slowly(command.arg(format!("WHARFD={WHARFD}")), "")
}

#[test]
fn make_install_puts_each_file_where_its_system_looks() {
    if !has("make") {
        return;
    }
    let cases: &[(&str, &[&str])] = &[
        ("WITH=", &[]),
        (
            "WITH=systemd logrotate fail2ban xinetd",
            &[
                "etc/fail2ban/filter.d/wharfd.conf",
                "etc/fail2ban/jail.d/wharfd.conf",
                "etc/logrotate.d/wharfd",
                "etc/xinetd.d/wharfd",
                "usr/lib/modules-load.d/wharf.conf",
                "usr/lib/sysctl.d/60-wharf.conf",
                "usr/lib/systemd/system/wharfd-acme.service",
                "usr/lib/systemd/system/wharfd-acme.timer",
                "usr/lib/systemd/system/wharfd-inetd.socket",
                "usr/lib/systemd/system/wharfd-inetd@.service",
                "usr/lib/systemd/system/wharfd.service",
                "usr/lib/systemd/system/wharfd.socket",
                "usr/lib/sysusers.d/wharf.conf",
                "usr/lib/tmpfiles.d/wharf.conf",
            ],
        ),
        ("WITH=openrc", &["etc/init.d/wharfd"]),
        ("WITH=openwrt", &["etc/config/wharfd", "etc/init.d/wharfd"]),
        ("WITH=runit", &["etc/sv/wharfd/finish", "etc/sv/wharfd/run"]),
        (
            "WITH=s6",
            &["etc/s6/sv/wharfd/finish", "etc/s6/sv/wharfd/run"],
        ),
    ];
    for (with, want) in cases {
        let root = TempDir::new("install");
        let link = "SFTP_SERVER=/usr/libexec/sftp-server";
        make(&["install", "PREFIX=/usr", link, with], &root);
        let installed = files(root.path());
        let is_documentation = |name: &&String| name.starts_with("usr/share/");
        let outside: BTreeSet<_> = installed
            .iter()
            .filter(|name| !is_documentation(name))
            .collect();
        let base = ["usr/libexec/sftp-server", "usr/sbin/wharfd"];
        let want: BTreeSet<_> = want
            .iter()
            .chain(&base)
            .map(|name| (*name).to_owned())
            .collect();
        assert_eq!(outside, want.iter().collect(), "{with}");
        for page in std::fs::read_dir(here().join("man")).unwrap() {
            let page = page.unwrap().file_name().into_string().unwrap();
            let section = page.rsplit('.').next().unwrap();
            let name = format!("usr/share/man/man{section}/{page}");
            assert!(installed.contains(&name), "{name}");
        }
        let program = |name: &str| root.join(name).metadata().unwrap().mode() & 0o777;
        assert_eq!(program("usr/sbin/wharfd"), 0o755);
        for name in want.iter().filter(|name| name.starts_with("etc/")) {
            let runs = ["init.d", "sv"].iter().any(|part| name.contains(part));
            assert_eq!(program(name), if runs { 0o755 } else { 0o644 }, "{name}");
        }
        make(&["uninstall", "PREFIX=/usr", link], &root);
        assert_eq!(files(root.path()), BTreeSet::new(), "{with}");
    }
}

#[test]
fn installed_files_name_the_place_of_the_program_and_keep_changes() {
    if !has("make") {
        return;
    }
    let root = TempDir::new("place");
    make(&["install", "WITH=systemd runit"], &root);
    let text = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let unit = text("usr/local/lib/systemd/system/wharfd.service");
    assert!(
        unit.contains("\nExecStart=/usr/local/sbin/wharfd "),
        "{unit}"
    );
    // An address or a disk that comes later: never given up, with a pause.
    let tries = "StartLimitIntervalSec=0 Restart=on-failure RestartSec=5";
    assert!(tries.split(' ').all(|line| unit.contains(line)), "{unit}");
    let own = "#!/bin/sh\nexec /usr/local/sbin/wharfd /srv\n";
    std::fs::write(root.join("etc/sv/wharfd/run"), own).unwrap();
    let said = make(&["install", "WITH=systemd runit"], &root);
    assert!(said.contains("kept "), "{said}");
    assert_eq!(text("etc/sv/wharfd/run"), own);
    assert!(text("etc/sv/wharfd/run.new").contains("--config"));
}

/// A script that runs as root on a copy of this system that is gone with it:
/// what it changes stays in memory.
fn on_a_copy(directory: &TempDir, script: &str) -> String {
    std::fs::create_dir_all(directory.join("copy")).unwrap();
    let mounts = "set -e; cd \"$1\"; mount -t tmpfs none copy; cd copy; mkdir upper work all; \
                  mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work all; \
                  mount -t proc proc all/proc; mount --rbind /dev all/dev; \
                  mkdir -p all/package; mount --bind \"$1\" all/package; \
                  exec chroot all sh -ec \"$2\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child"]);
    command
        .args(["sh", "-c", mounts, "sh"])
        .arg(directory.path());
    slowly(command.arg(script), "")
}

fn deb_in(directory: &Path) -> PathBuf {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    paths
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .unwrap()
}

#[test]
fn the_debian_package_is_clean_and_comes_and_goes() {
    let programs = ["dpkg-buildpackage", "dh", "lintian", "unshare"];
    if !is_root() || !programs.iter().all(|program| has(program)) {
        return;
    }
    let directory = TempDir::new("deb");
    let build = here().join("contrib/debian/build.sh");
    slowly(
        Command::new("sh")
            .arg(build)
            .arg(WHARFD)
            .arg(directory.path()),
        "",
    );
    let deb = deb_in(directory.path());
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning"]);
    let said = slowly(lintian.arg(&deb), "");
    assert!(!said.contains("E: ") && !said.contains("W: "), "{said}");
    let deb = deb.file_name().unwrap().to_str().unwrap();
    on_a_copy(
        &directory,
        &format!(
            "export DEBIAN_FRONTEND=noninteractive; \
             dpkg --purge wharfd >/dev/null 2>&1 || true; rm -f /etc/wharfd*; \
             dpkg -i /package/{deb}; \
             id wharf; test \"$(stat -c %a:%U:%G /etc/wharfd.users)\" = 640:root:wharf; \
             test -d /srv/ftp; test -e /usr/share/man/man8/wharfd.8.gz; \
             test -e /etc/systemd/system/multi-user.target.wants/wharfd.service; \
             printf 'secret\\n' | wharfd passwd --home /srv/ftp /etc/wharfd.users ann; \
             test \"$(stat -c %a:%U:%G /etc/wharfd.users)\" = 640:root:wharf; \
             wharfd --check --config /etc/wharfd.conf >/dev/null; \
             echo '# mine' >>/etc/wharfd.conf; \
             dpkg -i /package/{deb}; grep -q '# mine' /etc/wharfd.conf; \
             grep -q ann /etc/wharfd.users; \
             dpkg --remove wharfd; \
             test ! -e /usr/sbin/wharfd; test -e /etc/wharfd.conf; test -s /etc/wharfd.users; \
             dpkg --purge wharfd; \
             test ! -e /etc/wharfd.conf; test ! -e /etc/wharfd.users; \
             test ! -e /etc/logrotate.d/wharfd; test ! -e /usr/share/doc/wharfd; \
             test ! -e /lib/systemd/system/wharfd.service; \
             test ! -L /etc/systemd/system/multi-user.target.wants/wharfd.service"
        ),
    );
}

#[test]
fn the_image_from_scratch_serves_by_its_environment() {
    if !is_root() || !has("buildah") {
        return;
    }
    let directory = TempDir::new("image");
    let context = directory.join("context");
    std::fs::create_dir(&context).unwrap();
    let mode = |path: &Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o755));
    std::fs::copy(WHARFD, context.join("wharfd")).unwrap();
    let text = std::fs::read_to_string(here().join("contrib/container/Containerfile")).unwrap();
    // The program that tests are made with is not static: its libraries go along.
    let libraries = context.join("libraries");
    std::fs::create_dir(&libraries).unwrap();
    copy_libraries(Path::new(WHARFD), &libraries);
    let text = text.replacen(
        "COPY wharfd /wharfd\n",
        "COPY wharfd /wharfd\nCOPY libraries /\n",
        1,
    );
    std::fs::write(context.join("Containerfile"), text).unwrap();
    let storage = directory.join("storage");
    let buildah = |arguments: &[&str]| {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(storage.join("root"));
        command.arg("--runroot").arg(storage.join("run"));
        command.args(["--storage-driver", "vfs"]).args(arguments);
        command
    };
    let context = context.to_str().unwrap();
    slowly(
        &mut buildah(&["bud", "--isolation", "chroot", "-t", "wharf", context]),
        "",
    );
    let name = slowly(&mut buildah(&["from", "--pull-never", "wharf"]), "");
    let name = name.trim();
    let served = directory.join("served");
    std::fs::create_dir(&served).unwrap();
    mode(directory.path()).unwrap();
    mode(&served).unwrap();
    std::fs::write(served.join("file"), "content").unwrap();
    let volume = format!("{}:/srv:ro", served.display());
    let mut command = buildah(&["run", "--isolation", "chroot", "--volume", &volume]);
    command.args([
        "--env",
        "WHARFD_LISTEN=127.0.0.1:0",
        "--env",
        "WHARFD_BANNER=from scratch",
    ]);
    // `buildah run` knows no entry point.
    command.args([name, "--", "/wharfd", "--print-port", "/srv"]);
    let mut server = Process::start(&mut command);
    let mut client = Client::greeted(server.address());
    client.login("anonymous", "x@");
    assert_eq!(client.fetch("RETR file"), b"content");
    client.data();
    client.expect("STOR other", 550);
    server.signal("TERM");
    server.wait();
    let inspected = slowly(&mut buildah(&["inspect", "--type", "image", "wharf"]), "");
    for want in [
        "\"/wharfd\"",
        "\"65534:65534\"",
        "\"2121/tcp\"",
        "WHARFD_PASSIVE_PORTS=50000-50009",
    ] {
        assert!(inspected.contains(want), "{want}: {inspected}");
    }
    slowly(&mut buildah(&["rm", name]), "");
}
