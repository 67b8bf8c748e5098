//! Who the daemon is: from root to the user of `--user`, for good.

use wharf::daemon::{Names, Settings, os, paths_of};

use super::failure::Failure;

/// Becomes the user that the settings name, if any, and gives up every way
/// back. Call it when ports are bound and keys are read.
///
/// # Errors
/// No such user, or the system does not let us.
pub fn settle(settings: &Settings) -> Result<(), Failure> {
    if let Some(name) = &settings.user {
        become_user(name, settings)?;
    } else if rustix::process::geteuid().is_root() && !settings.system_users {
        log::info!(
            "running as root; with --user NAME wharfd gives that up after binding its ports"
        );
    }
    // A PAM helper of a daemon without privileges needs setuid unix_chkpwd.
    if settings.auth_helper.is_empty()
        && let Err(errno) = rustix::thread::set_no_new_privs(true)
    {
        log::debug!("no_new_privs: {errno}");
    }
    Ok(())
}

fn become_user(name: &str, settings: &Settings) -> Result<(), Failure> {
    let (uid, gid) = resolve(name)?;
    let own = rustix::process::geteuid();
    if !own.is_root() {
        return match own.as_raw() == uid {
            true => Ok(()),
            false => Err(Failure::usage(format!(
                "user {name}: only root can become another user; start as root or leave it out"
            ))),
        };
    }
    if settings.system_users {
        return Err(Failure::usage(
            "system-users need root, to act as each of them on their files; leave user out",
        ));
    }
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
    let read_again = paths_of(Names::FileRead, settings).into_iter();
    let read_again = read_again.map(|(_, path)| path);
    for path in read_again.chain(settings.config_file.clone()) {
        if let Err(error) = std::fs::File::open(&path)
            && error.kind() == std::io::ErrorKind::PermissionDenied
        {
            log::warn!(
                "{} can't be read again as user {name}: {error}; changes need a restart",
                path.display()
            );
        }
    }
    Ok(())
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
