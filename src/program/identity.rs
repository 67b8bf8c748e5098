//! Who the daemon is: from root to the user of `--user`, for good.

use std::path::PathBuf;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use wharf::daemon::{Names, Settings, os, paths_of};

use super::failure::Failure;

/// Whom the server becomes: the user that the settings name, else `wharf` or
/// `nobody`, whoever there is.
///
/// # Errors
/// There is no such user.
pub fn account(settings: &Settings) -> Result<(u32, u32), Failure> {
    match &settings.user {
        Some(name) => resolve(name),
        None => Ok(["wharf", "nobody"]
            .into_iter()
            .find_map(|name| resolve(name).ok())
            .unwrap_or((NOBODY, NOBODY))),
    }
}

/// Nobody, on systems without accounts.
const NOBODY: u32 = 65534;

/// Whether this process is root and may become others: in containers without
/// these capabilities, or of users without privileges, root may not.
pub fn is_privileged() -> bool {
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
    let denied = || std::fs::read("/proc/self/setgroups").is_ok_and(|word| word == b"deny\n");
    rustix::process::geteuid().is_root()
        && capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
        && !denied()
}

/// Becomes the user of [`account`], if we are root, and gives up every way
/// back. Call it when ports are bound and keys are read.
///
/// # Errors
/// No such user, or the system does not let us.
pub fn settle(settings: &Settings) -> Result<(), Failure> {
    become_user(settings)?;
    no_new_privileges();
    if rustix::process::geteuid().is_root() && !is_privileged() {
        log::info!("root can't become another user here: it stays root, without capabilities");
        let none = CapabilitySet::empty();
        let none = CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        };
        set_capabilities(None, none).map_err(Failure::temporary)?;
    }
    Ok(())
}

/// As [`settle`], for a process that serves one client and becomes its user:
/// it stays root until then unless the settings name a user.
///
/// # Errors
/// As [`settle`].
pub fn settle_for_one(settings: &Settings) -> Result<(), Failure> {
    if settings.user.is_some() {
        become_user(settings)?;
    }
    // A PAM helper of a daemon without privileges needs setuid unix_chkpwd.
    if settings.auth_helper.is_empty() {
        no_new_privileges();
    }
    Ok(())
}

fn no_new_privileges() {
    if let Err(errno) = rustix::thread::set_no_new_privs(true) {
        log::debug!("no_new_privs: {errno}");
    }
}

/// Whom the start would make of this process, if it changes at all.
///
/// # Errors
/// No such user, or we are not root and somebody else is wanted.
pub fn possible(settings: &Settings) -> Result<Option<(u32, u32)>, Failure> {
    let privileged = is_privileged();
    if !privileged && settings.user.is_none() {
        return Ok(None);
    }
    let account = account(settings)?;
    if privileged {
        return Ok(Some(account));
    }
    if rustix::process::geteuid().as_raw() != account.0 {
        return Err(Failure::usage(format!(
            "user {}: only root can become another user; start as root or leave it out",
            shown(settings, account.0)
        )));
    }
    Ok(None)
}

fn shown(settings: &Settings, uid: u32) -> String {
    let named = settings.user.clone();
    named.unwrap_or_else(|| format!("number {uid}"))
}

fn become_user(settings: &Settings) -> Result<(), Failure> {
    let Some((uid, gid)) = possible(settings)? else {
        return Ok(());
    };
    let name = shown(settings, uid);
    os::become_user(uid, gid, &[])
        .map_err(|error| Failure::temporary(format!("becoming user {name}: {error}")))?;
    // SECURITY: believe the kernel, not the calls.
    let (real, effective) = (rustix::process::getuid(), rustix::process::geteuid());
    if (real.as_raw(), effective.as_raw()) != (uid, uid)
        || (uid != 0 && os::become_user(0, 0, &[]).is_ok())
    {
        return Err(Failure::usage(format!(
            "user {name}: the way back to root is open"
        )));
    }
    match uid {
        0 => log::info!("user {name}: the server process stays root"),
        _ => log::info!("serving as user {name}; users' homes are served as their owners"),
    }
    for path in read_again(settings) {
        if let Err(error) = os::open_setting(&path)
            && error.kind() == std::io::ErrorKind::PermissionDenied
        {
            log::warn!(
                "{} can't be read again as user {name}: {error}; changes need a restart",
                path.display()
            );
        }
    }
    for directory in settings
        .server
        .state_dir
        .iter()
        .chain(&settings.server.shared_dir)
    {
        if let Err(error) = rustix::fs::access(directory, rustix::fs::Access::WRITE_OK) {
            let directory = directory.display();
            log::error!("{directory} can't be written as user {name}: {error}");
        }
    }
    Ok(())
}

/// Files that are read again while the server runs.
pub fn read_again(settings: &Settings) -> impl Iterator<Item = PathBuf> {
    let named = paths_of(Names::FileRead, settings).into_iter();
    named
        .map(|(_, path)| path)
        .chain(settings.config_file.clone())
}

/// The main group and the further groups of a user's number.
pub fn groups_of(uid: u32) -> Option<(u32, Vec<u32>)> {
    groups(uid, &read("/etc/passwd"), &read("/etc/group"))
}

fn groups(uid: u32, passwd: &str, group: &str) -> Option<(u32, Vec<u32>)> {
    let line = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let number = |field: Option<&&str>| field.and_then(|field| field.parse::<u32>().ok());
    let account = line
        .into_iter()
        .find(|line| number(line.get(2)) == Some(uid))?;
    let name = *account.first()?;
    let lines = group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let member =
        |line: &Vec<&str>| (line.get(3)).is_some_and(|list| list.split(',').any(|one| one == name));
    let further = lines.filter(member).filter_map(|line| number(line.get(2)));
    Some((number(account.get(3))?, further.collect()))
}

/// The numbers of user and group that `user` names.
///
/// # Errors
/// There is no such user or group.
pub fn resolve(name: &str) -> Result<(u32, u32), Failure> {
    numbers(name, &read("/etc/passwd"), &read("/etc/group"))
}

fn read(path: &str) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `NAME`, `UID`, `NAME:GROUP` or `UID:GID`, with the account files as text.
fn numbers(text: &str, passwd: &str, group: &str) -> Result<(u32, u32), Failure> {
    let (user, wished) = match text.split_once(':') {
        Some((user, wished)) => (user, Some(wished)),
        None => (text, None),
    };
    let field = |line: &str, at: usize| line.split(':').nth(at)?.parse::<u32>().ok();
    let line = passwd.lines().find(|line| {
        let named = line.split(':').next() == Some(user);
        named
            || (user
                .parse::<u32>()
                .is_ok_and(|uid| field(line, 2) == Some(uid)))
    });
    let uid = user.parse().ok().or_else(|| field(line?, 2));
    let uid = uid.ok_or_else(|| {
        Failure::usage(format!(
            "user {text}: no such user in /etc/passwd; make one, or give a number"
        ))
    })?;
    let gid = match wished {
        Some(wished) => wished.parse().ok().or_else(|| {
            let line = group
                .lines()
                .find(|line| line.split(':').next() == Some(wished))?;
            field(line, 2)
        }),
        // A number without an entry, as in containers, is its own group.
        None => Some(line.and_then(|line| field(line, 3)).unwrap_or(uid)),
    };
    let gid = gid.ok_or_else(|| {
        Failure::usage(format!(
            "user {text}: no such group in /etc/group; make one, or give a number"
        ))
    })?;
    Ok((uid, gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_a_number_are_found() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:11:12::/srv:\n";
        let group = "anns:x:12:\nstaff:x:13:bob,ann\nother:x:14:anna\n";
        assert_eq!(groups(11, passwd, group), Some((12, vec![13])));
        assert_eq!(groups(15, passwd, group), None);
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nftp:x:101:102::/srv:/bin/false\n+broken\n";
        let group = "root:x:0:\nwww:x:33:\n";
        for (text, want) in [
            ("ftp", Some((101, 102))),
            ("101", Some((101, 102))),
            ("12345", Some((12345, 12345))),
            ("ftp:www", Some((101, 33))),
            ("ftp:5", Some((101, 5))),
            ("12345:6", Some((12345, 6))),
            ("nobody", None),
            ("ftp:nogroup", None),
            ("", None),
            ("-1", None),
        ] {
            assert_eq!(numbers(text, passwd, group).ok(), want, "{text}");
        }
    }
}
