//! 1 GiB there and back, and the end of the server in the middle of it.

use std::io::Write;
use std::path::Path;

use super::daemons::Daemon;
use super::over_ssh::openssh;
use super::tools::*;

const GIB: u64 = 1 << 30;

/// A GiB in which no two MiB are the same.
fn make_large(path: &Path) {
    let mut piece = bytes(1 << 20);
    let mut file = std::fs::File::create(path).unwrap();
    for number in 0..GIB >> 20 {
        piece[..8].copy_from_slice(&number.to_be_bytes());
        piece[1 << 19..(1 << 19) + 8].copy_from_slice(&(!number).to_be_bytes());
        file.write_all(&piece).unwrap();
    }
}

fn checksum(path: &Path) -> String {
    let line = run("sha256sum", &[path.to_str().unwrap()], Path::new("/"));
    line.split_whitespace().next().unwrap().into()
}

/// 64 requests in flight all the time, and both sides change keys meanwhile.
fn there_and_back(place: &Place, daemon: &Daemon) {
    let local = place.local().join("large");
    let remote = place.remote().join("large");
    make_large(&local);
    let want = checksum(&local);
    let batch = place.top().join("batch");
    let address = format!("{}@127.0.0.1", daemon.user);
    let arguments = [
        "-R",
        "64",
        "-o",
        "RekeyLimit=100M",
        "-o",
        "Ciphers=aes128-gcm@openssh.com",
        "-b",
        batch.to_str().unwrap(),
        &address,
    ];
    let sftp = |lines: String| {
        std::fs::write(&batch, lines).unwrap();
        openssh("sftp", daemon, &arguments, &place.local());
    };
    sftp(format!("put large {}\n", daemon.path(&remote)));
    // Never three of them on the disk.
    std::fs::remove_file(&local).unwrap();
    assert_eq!(checksum(&remote), want);
    sftp(format!("get {} large\n", daemon.path(&remote)));
    assert_eq!(std::fs::metadata(&local).unwrap().len(), GIB);
    assert_eq!(checksum(&local), want);
}

#[test]
fn a_gibibyte_through_the_subsystem() {
    let place = Place::new("large-sshd");
    if !have(&["sftp", "sha256sum"]) {
        return;
    }
    if let Some(daemon) = Daemon::sshd(&place, "--atomic-uploads") {
        there_and_back(&place, &daemon);
    }
}

#[cfg(feature = "sftp")]
#[test]
fn a_gibibyte_to_wharfd() {
    let place = Place::new("large-wharfd");
    if !have(&["sftp", "sha256sum"]) {
        return;
    }
    let flags = "--atomic-uploads --ssh-rekey-bytes 150M";
    if let Some(daemon) = Daemon::wharfd(&place, flags) {
        there_and_back(&place, &daemon);
    }
}

/// SIGTERM in the middle of a download and an upload: both come to their end,
/// nobody new gets in, and the server ends with 0.
#[cfg(feature = "sftp")]
#[test]
fn the_end_of_the_server_waits_for_transfers() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let place = Place::new("large-drain");
    if !have(&["sftp"]) {
        return;
    }
    let until = Instant::now() + Duration::from_secs(100);
    let wait_for = |what: &str, done: &mut dyn FnMut() -> bool| {
        while !done() {
            assert!(Instant::now() < until, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    // Twelve seconds each, so that the signal comes in the middle.
    let data = bytes(24 << 20);
    let socket = place.top().join("control");
    let socket = socket.to_str().unwrap();
    let flags = format!(
        "--session-rate-down 2M --session-rate-up 2M --drain-seconds 90 --control-socket {socket}"
    );
    let Some(mut daemon) = Daemon::wharfd(&place, &flags) else {
        return;
    };
    std::fs::write(place.local().join("up"), &data).unwrap();
    std::fs::write(place.remote().join("down"), &data).unwrap();
    let start = |name: &str, line: &str| {
        let batch = place.top().join(name);
        std::fs::write(&batch, line).unwrap();
        Command::new("sftp")
            .args(daemon.options())
            .arg("-b")
            .arg(&batch)
            .arg("ann@127.0.0.1")
            .current_dir(place.local())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let length = |path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let upload = start("batch-up", "put up /up\n");
    wait_for("the upload is under way", &mut || {
        length(place.remote().join("up")) > 0
    });
    let download = start("batch-down", "get /down down\n");
    wait_for("the download is under way", &mut || {
        length(place.local().join("down")) > 0
    });
    let who = ["who", "--json", "--control-socket", socket];
    let shown = run(wharfd(), &who, place.top());
    let line = shown
        .lines()
        .find(|line| line.contains("\"file\":\"/down\""));
    let size = format!("\"size\":{},\"percent\":", data.len());
    assert!(line.is_some_and(|line| line.contains(&size)), "{shown}");
    let process = daemon.process.as_mut().unwrap();
    let sent = Command::new("kill")
        .args(["-s", "TERM", &process.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    let address = daemon.address;
    wait_for("the port is closed", &mut || {
        std::net::TcpStream::connect(address).is_err()
    });
    for child in [upload, download] {
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
    }
    assert!(std::fs::read(place.local().join("down")).unwrap() == data);
    assert!(std::fs::read(place.remote().join("up")).unwrap() == data);
    let process = daemon.process.as_mut().unwrap();
    let mut code = None;
    wait_for("wharfd ends", &mut || {
        code = process.try_wait().unwrap().map(|status| status.code());
        code.is_some()
    });
    assert_eq!(code, Some(Some(0)));
}
