//! What `wharfd --check` warns of: settings that work, but not as somebody
//! meant them.

use std::net::{Ipv4Addr, ToSocketAddrs};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use wharf::config::{ExternalAddress, Network};
use wharf::daemon::user_file::{self, Entry};
use wharf::daemon::{self, Names, Settings, paths_of};

use super::super::identity;

/// Days before the end of a certificate at which it is time to act: renewal
/// by ACME comes thirty days before, so that something is wrong then.
const DAYS_LEFT: i64 = 21;
/// Homes that are named one by one.
const HOMES_MAX: usize = 20;

/// Addresses that nobody outside can reach: RFC 1918, 5735, 6598.
const PRIVATE: [&str; 7] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
];

/// The key that a piece of advice is about, and the sentence.
pub type Advice = (&'static str, String);

/// All advice about settings without mistakes; `certificates` are files with
/// the days that are left.
pub fn all(settings: &Settings, certificates: &[(PathBuf, i64)]) -> Vec<Advice> {
    let mut found = Vec::new();
    external_address(settings, &mut found);
    passive_range(settings, &mut found);
    for (path, days) in certificates {
        if *days <= DAYS_LEFT {
            found.push((
                "tls-cert",
                format!("{} expires in {days} days: renew it", path.display()),
            ));
        }
        let seen = daemon::client_view(path).unwrap_or_default();
        found.extend(seen.into_iter().map(|what| ("tls-cert", what)));
    }
    readable_by_all(settings, &mut found);
    homes(settings, &mut found);
    programs(settings, &mut found);
    denied_commands(settings, &mut found);
    found
}

/// The IPv4 address of a name.
pub fn resolve(name: &str) -> Option<Ipv4Addr> {
    let mut addresses = (name, 0).to_socket_addrs().ok()?;
    addresses.find_map(|address| match address {
        std::net::SocketAddr::V4(address) => Some(*address.ip()),
        std::net::SocketAddr::V6(_) => None,
    })
}

fn is_private(address: Ipv4Addr) -> bool {
    let mut networks = PRIVATE
        .iter()
        .filter_map(|text| text.parse::<Network>().ok());
    networks.any(|network| network.contains(address.into()))
}

fn external_address(settings: &Settings, found: &mut Vec<Advice>) {
    let key = "passive-address";
    let (address, name) = match &settings.server.passive_address {
        None => return,
        Some(ExternalAddress::Fixed(address)) => (Some(*address), address.to_string()),
        Some(ExternalAddress::Name(name)) => (resolve(name), name.clone()),
    };
    match address {
        None => found.push((
            key,
            format!("{name} does not resolve to an IPv4 address now; until it does, PASV is refused with 425 and EPSV works"),
        )),
        Some(address) if is_private(address) => found.push((
            key,
            format!("{address} is a private address, which clients outside can't reach"),
        )),
        Some(_) => {}
    }
}

fn passive_range(settings: &Settings, found: &mut Vec<Advice>) {
    let serves_ftp = !settings.server.listen.is_empty() || !settings.server.listen_ftps.is_empty();
    let ports = daemon::own_passive_ports(&settings.server).count();
    if serves_ftp && !settings.server.shared_data_ports && ports < settings.server.threads {
        found.push((
            "passive-ports",
            format!(
                "{ports} ports for up to {} sessions (threads), of which each may want one at a time",
                settings.server.threads
            ),
        ));
    }
}

fn denied_commands(settings: &Settings, found: &mut Vec<Advice>) {
    let rows = daemon::tables::rows();
    for verb in &settings.server.deny_commands {
        let named = |known: &str| known.eq_ignore_ascii_case(verb);
        let is_known = rows.iter().any(|(known, aliases, _)| {
            named(known.trim_start_matches("SITE ")) || aliases.iter().any(|alias| named(alias))
        });
        if !is_known && !daemon::tables::NOT_DONE.iter().any(|row| named(row.0)) {
            found.push((
                "deny-commands",
                format!("{verb} is no command of this server"),
            ));
        }
    }
}

fn readable_by_all(settings: &Settings, found: &mut Vec<Advice>) {
    for (key, path) in paths_of(Names::FileRead, settings) {
        // The key is in the certificate's file, unless it has one of its own.
        let public = key.name == "tls-cert" && !settings.server.tls_key.is_empty();
        if key.is_secret
            && !public
            && std::fs::metadata(&path).is_ok_and(|file| file.mode() & 0o004 != 0)
        {
            found.push((
                key.name,
                format!(
                    "{} can be read by everybody on this machine: chmod o-r {0}",
                    path.display()
                ),
            ));
        }
    }
}

/// Whom the server acts as on files.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Actor {
    uid: u32,
    groups: Vec<u32>,
}

impl Actor {
    /// The user that the daemon becomes, or stays.
    fn daemon(settings: &Settings) -> Self {
        let own = rustix::process::geteuid();
        match own.is_root().then(|| identity::account(settings)) {
            Some(Ok((uid, gid))) => Actor {
                uid,
                groups: vec![gid],
            },
            _ => Actor {
                uid: own.as_raw(),
                groups: [rustix::process::getegid()]
                    .into_iter()
                    .chain(rustix::process::getgroups().unwrap_or_default())
                    .map(|group| group.as_raw())
                    .collect(),
            },
        }
    }

    fn of(entry: &Entry, daemon: &Actor) -> Self {
        match entry.options.identity() {
            Some(identity) => Actor {
                uid: identity.uid,
                groups: [vec![identity.gid], identity.groups].concat(),
            },
            // Where we have privileges it is the owner of the home.
            None => match std::fs::metadata(&entry.home) {
                Ok(home) if rustix::process::geteuid().is_root() && home.uid() != 0 => Actor {
                    uid: home.uid(),
                    groups: vec![home.gid()],
                },
                _ => daemon.clone(),
            },
        }
    }

    /// What is in the way of listing a directory, by the bits of its mode and
    /// those of the directories above.
    fn trouble(&self, home: &Path) -> Option<String> {
        for directory in home.ancestors().collect::<Vec<_>>().into_iter().rev() {
            let metadata = match std::fs::metadata(directory) {
                Ok(metadata) => metadata,
                Err(error) => return Some(format!("{}: {error}", directory.display())),
            };
            let wanted = if directory == home { 0o5 } else { 0o1 };
            let mode = metadata.permissions().mode();
            let bits = match () {
                () if self.uid == 0 => 0o7,
                () if metadata.uid() == self.uid => mode >> 6,
                () if self.groups.contains(&metadata.gid()) => mode >> 3,
                () => mode,
            };
            if !metadata.is_dir() || bits & wanted != wanted {
                return Some(format!(
                    "user number {} may not enter {}",
                    self.uid,
                    directory.display()
                ));
            }
        }
        None
    }
}

fn homes(settings: &Settings, found: &mut Vec<Advice>) {
    let daemon = Actor::daemon(settings);
    if let Some(directory) = &settings.anonymous
        && let Ok(directory) = std::path::absolute(directory)
        && let Some(trouble) = daemon.trouble(&directory)
    {
        found.push(("anonymous", trouble));
    }
    let Some(path) = &settings.users else {
        return;
    };
    // Mistakes in it have been told already.
    let (entries, _) = user_file::entries(path, usize::MAX);
    let mut more = 0;
    for entry in entries {
        let Some(trouble) = Actor::of(&entry, &daemon).trouble(&entry.home) else {
            continue;
        };
        // A home that does not exist yet may be made by the first login.
        if entry.options.create_home && !entry.home.exists() {
            continue;
        }
        if found.len() < HOMES_MAX {
            found.push((
                "users",
                format!("the home of {}: {trouble}", entry.name.escape_debug()),
            ))
        } else {
            more += 1
        }
    }
    if more > 0 {
        found.push(("users", format!("{more} more homes can't be entered")));
    }
}

fn programs(settings: &Settings, found: &mut Vec<Advice>) {
    let mut programs = paths_of(Names::Program, settings);
    // The other words of the same option are arguments.
    programs.dedup_by_key(|(key, _)| key.name);
    for (key, path) in programs {
        // Without a slash it is looked for in PATH.
        if path.components().count() > 1
            && !std::fs::metadata(&path)
                .is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0)
        {
            found.push((key.name, format!("{} is no program", path.display())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf::daemon::Key;

    fn with(given: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (key, value) in given {
            Key::find(key).unwrap().set(&mut settings, value).unwrap();
        }
        settings
    }

    /// A label that is too long is refused without asking the DNS.
    const LONG_NAME: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn settings_that_do_not_do_what_is_meant() {
        let listen = ("listen", "2121");
        for (given, days, want) in [
            (&[listen][..], 60, None),
            (&[listen, ("passive-address", "8.8.8.8")], 60, None),
            (
                &[("passive-address", "192.168.1.5")],
                60,
                Some(("passive-address", "private")),
            ),
            (
                &[("passive-address", "100.64.0.1")],
                60,
                Some(("passive-address", "private")),
            ),
            (
                &[("passive-address", "localhost")],
                60,
                Some(("passive-address", "private")),
            ),
            (
                &[("passive-address", LONG_NAME)],
                60,
                Some(("passive-address", "does not resolve")),
            ),
            (
                &[listen, ("passive-ports", "50000-50010")],
                60,
                Some(("passive-ports", "11 ports for up to 200 sessions")),
            ),
            (
                &[listen, ("passive-ports", "50000-50010"), ("threads", "11")],
                60,
                None,
            ),
            // A node has its slice alone.
            (
                &[listen, ("passive-ports", "50000-50399"), ("node", "1/4")],
                60,
                Some(("passive-ports", "100 ports")),
            ),
            (
                &[("listen-sftp", "22"), ("passive-ports", "50000-50010")],
                60,
                None,
            ),
            (&[], 21, Some(("tls-cert", "in 21 days: renew"))),
            (&[], 22, None),
            (
                &[("on-upload", "/etc/passwd")],
                60,
                Some(("on-upload", "no program")),
            ),
            (
                &[("auth-helper", "/nonexistent/helper")],
                60,
                Some(("auth-helper", "no program")),
            ),
            (
                &[("anonymous", "/nonexistent/tree")],
                60,
                Some(("anonymous", "/nonexistent: ")),
            ),
        ] {
            let found = all(&with(given), &[("cert.pem".into(), days)]);
            match (&found[..], want) {
                ([], None) => {}
                ([(key, what)], Some((want, part))) => {
                    assert!(*key == want && what.contains(part), "{what}");
                }
                (found, want) => panic!("{given:?}: {found:?}, want {want:?}"),
            }
        }
    }

    #[test]
    fn who_may_enter_is_read_from_the_bits() {
        let place = std::env::temp_dir().join(format!("wharf-advice-{}", std::process::id()));
        let home = place.join("a/home");
        std::fs::create_dir_all(&home).unwrap();
        let owner = std::fs::metadata(&home).unwrap();
        let (uid, gid) = (owner.uid(), owner.gid());
        let actor = |uid: u32, gid: u32| Actor {
            uid,
            groups: vec![gid],
        };
        let (other, group) = (actor(uid + 1, gid + 1), actor(uid + 1, gid));
        for (above, own, who, free) in [
            (0o755, 0o755, &other, true),
            (0o711, 0o755, &other, true),
            (0o755, 0o711, &other, false),
            (0o750, 0o755, &other, false),
            (0o750, 0o750, &group, true),
            (0o750, 0o700, &group, false),
            (0o700, 0o755, &group, false),
            (0o000, 0o000, &actor(0, 0), true),
        ] {
            let set = |path: &Path, mode| {
                let permissions = std::fs::Permissions::from_mode(mode);
                std::fs::set_permissions(path, permissions).unwrap();
            };
            set(&place.join("a"), 0o755);
            set(&home, own);
            set(&place.join("a"), above);
            let trouble = who.trouble(&home);
            // Without root we can't even look through 000.
            if who.uid == 0 && uid != 0 {
                continue;
            }
            assert_eq!(trouble.is_none(), free, "{above:o} {own:o} {trouble:?}");
        }
        std::fs::set_permissions(place.join("a"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::remove_dir_all(&place).unwrap();
    }
}
