//! The service files of contrib under the programs that read them.
#![cfg(feature = "cli")]

use crate::common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::process::{Process, WHARFD, has, run, signal_to, soon};
use common::{Client, TempDir};

fn contrib(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("contrib")
        .join(path)
}

/// What `make install` makes of contrib in a directory, where the program is
/// in `sbin` and its settings in `etc`.
fn installed(name: &str, with: &str) -> Option<TempDir> {
    if !has("make") {
        return None;
    }
    let place = TempDir::new(name);
    let mut make = Command::new("make");
    make.current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("MAKEFLAGS");
    make.args(["-s", "--no-print-directory", "install"]);
    make.arg(format!("PREFIX={}", place.path().display()));
    make.arg(format!("SYSCONFDIR={}", place.join("etc").display()));
    make.arg(format!("WHARFD={WHARFD}"))
        .arg(format!("WITH={with}"));
    run(&mut make, "");
    std::fs::create_dir_all(place.join("root")).unwrap();
    std::fs::write(place.join("root/file"), "content").unwrap();
    Some(place)
}

/// Settings for a service: any free port, and the directory `root`.
fn settings(place: &TempDir, more: &str) {
    let root = place.join("root");
    let text = format!("listen 127.0.0.1:0\nanonymous {}\n{more}", root.display());
    std::fs::write(place.join("etc/wharfd.conf"), text).unwrap();
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if !has("systemd-analyze") {
        return;
    }
    let Some(place) = installed("units", "systemd") else {
        return;
    };
    let units = place.join("lib/systemd/system");
    let verify = || {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no"]);
        for name in [
            "wharfd.service",
            "wharfd.socket",
            "wharfd-inetd.socket",
            "wharfd-inetd@.service",
            "wharfd-acme.service",
            "wharfd-acme.timer",
        ] {
            command.arg(units.join(name));
        }
        let said = run(&mut command, "");
        assert_eq!(said.trim(), "");
    };
    verify();
    // Memory with passwords in it is never written to a disk.
    for name in [
        "wharfd.service",
        "wharfd-inetd@.service",
        "wharfd-acme.service",
    ] {
        let unit = std::fs::read_to_string(units.join(name)).unwrap();
        assert!(unit.contains("\nLimitCORE=0\n"), "{name}");
    }
    // What the units say of themselves, in tenths.
    let exposure = |unit: &str, most: &str| {
        let mut command = Command::new("systemd-analyze");
        command.args([
            "security",
            "--offline=true",
            "--no-pager",
            "--threshold",
            most,
        ]);
        run(command.arg(units.join(unit)), "");
    };
    exposure("wharfd.service", "19");
    exposure("wharfd-inetd@.service", "17");
    exposure("wharfd-acme.service", "19");
    let drop_ins = units.join("wharfd.service.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::copy(
        contrib("systemd/system-users.conf"),
        drop_ins.join("system-users.conf"),
    )
    .unwrap();
    verify();
    exposure("wharfd.service", "30");
}

/// A service directory: serves, ends on TERM, is started again when it dies,
/// and not again when its settings are wrong.
fn supervised(place: &TempDir, service: &Path, command: &mut Command) {
    settings(place, "");
    let supervisor = Process::start(command);
    let port = |text: &str| -> Option<std::net::SocketAddr> {
        let from = text.rfind("curl ftp://127.")? + "curl ftp://".len();
        text[from..].split('/').next()?.parse().ok()
    };
    assert!(
        soon(|| port(&supervisor.out.text()).is_some()),
        "{}",
        supervisor.log.text()
    );
    let first = port(&supervisor.out.text()).unwrap();
    let mut client = Client::greeted(first);
    client.login("anonymous", "x@");
    assert_eq!(client.fetch("RETR file"), b"content");
    let own = place.join("sbin/wharfd");
    let wharfd = || process_of(&own);
    let pid = wharfd().unwrap();
    signal_to(pid, "KILL");
    assert!(soon(|| wharfd().is_some_and(|other| other != pid)));
    assert!(soon(
        || port(&supervisor.out.text()).is_some_and(|port| port != first)
    ));
    // Settings that stay wrong: the finish script keeps it down.
    settings(place, "nonsense\n");
    signal_to(wharfd().unwrap(), "TERM");
    assert!(soon(|| supervisor.out.text().contains("nonsense")));
    assert!(soon(|| wharfd().is_none()));
    let tries = supervisor.out.text().matches("unknown key").count();
    assert_eq!(tries, 1, "{}: {}", service.display(), supervisor.out.text());
    supervisor.signal("TERM");
}

/// The process that runs a program.
fn process_of(program: &Path) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program))
}

#[test]
fn runit_runs_its_service() {
    if !has("runsv") {
        return;
    }
    let Some(place) = installed("runit", "runit") else {
        return;
    };
    let service = place.join("etc/sv/wharfd");
    supervised(&place, &service, Command::new("runsv").arg(&service));
}

#[test]
fn s6_runs_its_service() {
    if !has("s6-supervise") {
        return;
    }
    let Some(place) = installed("s6", "s6") else {
        return;
    };
    let service = place.join("etc/s6/sv/wharfd");
    supervised(&place, &service, Command::new("s6-supervise").arg(&service));
}

/// What procd and UCI are to the script: settings in UCI's form, told to the
/// callbacks one by one, and a command. OpenWrt's own need its machine.
const OPENWRT: &str = r#"
config() { config_cb "$1" "$2"; }
option() { option_cb "$1" "$2"; }
list() { list_cb "$1" "$2"; }
config_load() { . "$SETTINGS"; }
reset_cb() { :; }
logger() { :; }
procd_open_instance() { :; }
procd_close_instance() { :; }
procd_set_param() { [ "$1" != command ] || { shift; printf '%s\n' "$@"; }; }
"#;

/// Starts the service of OpenWrt with these settings: its command, and what
/// was wrong.
fn openwrt(directory: &TempDir, settings: &str) -> (Vec<String>, String) {
    let file = directory.join("settings");
    std::fs::write(&file, settings).unwrap();
    let init = std::fs::read_to_string(contrib("openwrt/wharfd.init")).unwrap();
    let init = init
        .replace("/usr/sbin/wharfd", WHARFD)
        .replace("/var/run/wharf", directory.join("run").to_str().unwrap());
    let mut shell = Command::new("sh");
    shell.env("SETTINGS", &file);
    shell.args(["-c", &format!("{OPENWRT}\n{init}\nstart_service\n")]);
    let output = shell.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let words = said.lines().map(str::to_owned).collect();
    (words, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn every_option_of_openwrt_is_a_key() {
    let directory = TempDir::new("openwrt");
    let root = directory.join("share");
    std::fs::create_dir(&root).unwrap();
    let given = std::fs::read_to_string(contrib("openwrt/wharfd.config")).unwrap();
    let place = directory.path().to_str().unwrap();
    let given = given
        .replace("/mnt/share", root.to_str().unwrap())
        .replace("'/etc/wharfd'", &format!("'{place}'"))
        .replace("/var/run/wharf", place);
    assert_eq!(openwrt(&directory, &given), (vec![], String::new()));
    let on = given.replace("option enabled '0'", "option enabled '1'");
    let more = on.clone()
        + "\tlist listen '127.0.0.1:2121'\n\toption atomic_uploads '1'\n\toption banner 'It is ours'\n"
        + "config client 'other'\n\toption no_key_at_all '1'\n";
    let (words, wrong) = openwrt(&directory, &more);
    let file = directory.join("run/main.conf");
    assert_eq!(wrong, "");
    assert_eq!(
        words,
        [WHARFD, "--syslog", "--config", file.to_str().unwrap()]
    );
    let text = std::fs::read_to_string(&file).unwrap();
    for line in [
        "listen 21",
        "listen 127.0.0.1:2121",
        "atomic-uploads 1",
        "banner It is ours",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
    let (words, wrong) = openwrt(&directory, &(on + "\toption frobnicate '1'\n"));
    assert_eq!(words, [""; 0]);
    assert!(wrong.contains("frobnicate"), "{wrong}");
}

#[test]
fn openrc_starts_with_words_that_wharfd_takes() {
    let directory = TempDir::new("openrc");
    let script = format!(
        ". {}\nprintf '%s\\n' $command_args\n",
        contrib("openrc/wharfd").display()
    );
    let said = run(Command::new("sh").args(["-c", &script]), "");
    let mut words: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    assert!(
        words.ends_with(&["--config", "/etc/wharfd.conf"]),
        "{words:?}"
    );
    words.truncate(words.len() - 2);
    for word in ["--daemon", "--pid-file", "--syslog"] {
        assert!(words.contains(&word), "{words:?}");
    }
    // No syslogd listens where the tests run, which the check would refuse.
    words.retain(|word| *word != "--syslog");
    let mut check = common::process::wharfd();
    run(check.arg("--check").args(&words).arg(directory.path()), "");
}

#[test]
fn shellcheck_is_content_with_every_script() {
    if !has("shellcheck") {
        return;
    }
    let mut command = Command::new("shellcheck");
    command.args(["--shell", "dash"]);
    let mut directories = vec![contrib("."), contrib("../tests"), contrib("../.ci")];
    let mut count = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = std::fs::read(&path).unwrap();
            let first = String::from_utf8_lossy(text.split(|byte| *byte == b'\n').next().unwrap())
                .into_owned();
            let is_shell = first.starts_with("#!") && !first.contains("make");
            if is_shell {
                command.arg(path);
                count += 1;
            }
        }
    }
    assert!(count >= 10, "{count}");
    // Scripts of procd and OpenRC set what others read (SC2034), and use
    // `local`, which their shells have (SC3043).
    command.args(["--exclude", "SC2034,SC3043"]);
    run(&mut command, "");
}
