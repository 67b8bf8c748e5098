//! A world of its own for a run: network, mount and process namespaces.
//!
//! The peers need system users, a PAM service and fixed ports. Inside the namespaces all of this is private:
//! nothing of the host's `/etc` changes, no port can clash, every file lives on a tmpfs that disappears with
//! the run, and no server outlives it.

use crate::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

const MARK: &str = "WHARF_BENCH_ISOLATED";

/// The private tmpfs of a run.
pub const PLACE: &str = "/run/wharf-bench";

/// The named user of every server, with a home in [`home`].
pub const USER: &str = "bench";
/// The password of [`USER`].
pub const PASSWORD: &str = "wharf-bench";
/// What `openssl passwd -6` makes of [`PASSWORD`]: every server pays for the same hash.
pub const HASH: &str = "$6$wharfbench0$xzus0naMpMOMP/asmeDOp6KqCT8mKBrakGkBkSdSpXP0ZVxJF1wpGMm3DzZ/lZn38n/I701TulyMHiymf7Hmo1";
/// The numeric user and group of [`USER`].
pub const USER_ID: u32 = 2000;

/// Further users of the system with the same home and password: `bench1` and so on.
pub const MORE_USERS: u32 = 21;

/// The home of [`USER`] and of anonymous.
pub fn home() -> PathBuf {
    Path::new(PLACE).join("home")
}

/// Runs this program again inside fresh namespaces and returns its exit code; `None` when we are inside.
pub fn enter() -> Result<Option<i32>> {
    if std::env::var_os(MARK).is_some() {
        furnish()?;
        return Ok(None);
    }
    if !rustix::process::geteuid().is_root() {
        return Err(
            "the benchmark needs root: it runs the peers in namespaces of their own".into(),
        );
    }
    let status = Command::new("unshare")
        .args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "--",
        ])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .status()?;
    Ok(Some(status.code().unwrap_or(1)))
}

fn furnish() -> Result<()> {
    run("ip", &["link", "set", "lo", "up"])?;
    run(
        "mount",
        &[
            "-t",
            "tmpfs",
            "-o",
            "mode=755,size=90%,nr_inodes=0",
            "none",
            "/run",
        ],
    )?;
    let home = home();
    for directory in [
        &home,
        &home.join("up"),
        Path::new("/run/empty"),
        Path::new("/run/sshd"),
    ] {
        std::fs::create_dir_all(directory)?;
    }
    std::os::unix::fs::chown(home.join("up"), Some(USER_ID), Some(USER_ID))?;
    let place = Path::new(PLACE);
    let home = home.display();
    let more = |line: &dyn Fn(u32) -> String| (1..=MORE_USERS).map(line).collect::<String>();
    let accounts = more(&|n| format!("{USER}{n}:x:{0}:{0}::{home}:/bin/sh\n", 3000 + n));
    let passwords = more(&|n| format!("{USER}{n}:{HASH}:19000:0:99999:7:::\n"));
    overlay(
        place,
        "passwd",
        &format!(
            "{accounts}{USER}:x:{USER_ID}:{USER_ID}::{home}:/bin/sh\nftp:x:2001:2001::{home}:/usr/sbin/nologin\n\
             sshd:x:2002:65534::/run/sshd:/usr/sbin/nologin\n"
        ),
    )?;
    overlay(
        place,
        "group",
        &format!("{USER}:x:{USER_ID}:\nftp:x:2001:\n"),
    )?;
    overlay(
        place,
        "shadow",
        &format!(
            "{passwords}{USER}:{HASH}:19000:0:99999:7:::\nftp:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n"
        ),
    )?;
    run("mount", &["-t", "tmpfs", "none", "/etc/pam.d"])?;
    std::fs::write(
        "/etc/pam.d/wharf-bench",
        "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n",
    )?;
    // Thousands of short data connections a second: without this, closed ones would use up the ports.
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "10000 65000")?;
    Ok(())
}

/// Puts a copy of `/etc/NAME` with `lines` added over the original, in this mount namespace only.
fn overlay(place: &Path, name: &str, lines: &str) -> Result<()> {
    let original = format!("/etc/{name}");
    let copy = place.join(name);
    let mut text = std::fs::read_to_string(&original)?;
    text.push_str(lines);
    std::fs::copy(&original, &copy)?;
    std::fs::write(&copy, text)?;
    run("mount", &["--bind", &copy.display().to_string(), &original])
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program).args(arguments).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{program} {} failed", arguments.join(" ")).into())
    }
}
