//! `wharfd --check`: what is in force, as a configuration file, and what is
//! wrong, with the place where it was said; what clients will be told, and
//! what works but hardly as it is meant. Nothing is bound, made or changed.

mod advice;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;

use wharf::Server;
use wharf::auth::{UserDefaults, UserFile};
use wharf::config::{Config, KEYS, Mistake};
use wharf::storage::LocalFs;

use super::assemble;
use super::cli::{Invocation, Places};
use super::failure::{USAGE, complain};

/// Checks; the exit code.
pub fn run(invocation: &Invocation) -> i32 {
    let config = &invocation.config;
    let outcome = look(config, &invocation.places);
    // Whoever has closed standard output still gets the code.
    let text = in_force(config, &invocation.places) + &told(config);
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    match outcome {
        Ok(certificates) => {
            for (key, what) in advice::all(config, &certificates) {
                let place = invocation.places.get(key);
                complain(&match place.filter(|place| **place != format!("--{key}")) {
                    Some(place) => format!("{place}: warning: {key}: {what}"),
                    None => format!("wharfd: warning: {key}: {what}"),
                });
            }
            0
        }
        Err(mistakes) => {
            for mistake in mistakes {
                complain(&mistake.to_string());
            }
            USAGE
        }
    }
}

/// What the replies to PASV and EPSV say, as comments of the file: to a
/// client in the local networks and to one elsewhere.
fn told(config: &Config) -> String {
    let endpoints = config.listen.iter().chain(&config.listen_ftps);
    let mut own: Vec<IpAddr> = Vec::new();
    for address in endpoints
        .filter_map(|endpoint| endpoint.resolve().ok())
        .flatten()
    {
        let address = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(outward()),
            // The IPv4 address beside it stands for every address.
            IpAddr::V6(ip) if ip.is_unspecified() => continue,
            ip => ip,
        };
        if !own.contains(&address) {
            own.push(address);
        }
    }
    if own.is_empty() {
        return String::new();
    }
    let ports = config.own_passive_ports();
    let mut text = format!(
        "\n# What clients are told, with a PORT of {}-{} (P1*256+P2)\n",
        ports.first, ports.last
    );
    let elsewhere = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
    let local = config
        .passive_local_networks
        .iter()
        .map(|network| network.address());
    let local = local.into_iter().find(IpAddr::is_ipv4);
    for own in own {
        for (who, peer) in [("LAN", local), ("WAN", Some(elsewhere))] {
            let Some(peer) = peer else { continue };
            let address = config.told_address(own, peer, advice::resolve);
            let passive = match address.map(|address| address.octets()) {
                Some([a, b, c, d]) => format!("PASV 227 ({a},{b},{c},{d},P1,P2), "),
                None => String::new(),
            };
            text.push_str(&format!("# {who} at {own}: {passive}EPSV 229 (|||PORT|)\n"));
        }
    }
    text
}

/// The address of this machine that packets to the world leave by; nothing is
/// sent for this.
fn outward() -> Ipv4Addr {
    let asked = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(203, 0, 113, 1), 9))?;
        socket.local_addr()
    });
    match asked.map(|address| address.ip()) {
        Ok(IpAddr::V4(address)) => address,
        _ => Ipv4Addr::LOCALHOST,
    }
}

/// Every key with its values, as lines that can be read again; a comment
/// says where a value is from, and what is not set is a comment.
fn in_force(config: &Config, places: &Places) -> String {
    let mut text = String::new();
    let mut section = None;
    for key in KEYS {
        if section != Some(key.section) {
            section = Some(key.section);
            text.push_str(&format!("\n# {:?}\n", key.section));
        }
        if let Some(place) = places.get(key.name) {
            text.push_str(&format!("# from {place}:\n"));
        }
        let values = key.shown(config);
        if values.is_empty() {
            text.push_str(&format!("# {}\n", key.name));
        }
        for value in values {
            text.push_str(&format!("{} {value}\n", key.name));
        }
    }
    text.trim_start().into()
}

/// The certificates with the days that are left, or what is wrong.
fn look(config: &Config, places: &Places) -> Result<Vec<(PathBuf, i64)>, Vec<Mistake>> {
    let mut found = Vec::new();
    let mut complain = |keys: &[&str], what: String| {
        // The place of the first of the keys that somebody has set.
        let place = keys.iter().find_map(|key| Some((key, places.get(*key)?)));
        found.push(match place {
            Some((key, place)) => Mistake {
                place: place.clone(),
                what: format!("{key}: {what}"),
            },
            None => Mistake {
                place: "wharfd".into(),
                what,
            },
        });
    };
    if let Some(directory) = &config.program.anonymous
        && let Err(error) = LocalFs::open(directory)
    {
        complain(&["anonymous"], format!("{}: {error}", directory.display()));
    }
    if let Some(path) = &config.program.users
        && let Err(error) = UserFile::open(path, UserDefaults::default())
    {
        // It names the file and the line itself.
        complain(&["users"], error.to_string());
    }
    for (key, path) in [
        ("transfer-log", &config.program.transfer_log),
        ("log-file", &config.program.log_file),
        ("pid-file", &config.program.pid_file),
    ] {
        let above = path.as_ref().and_then(|path| path.parent());
        if let Some(above) = above
            && !above.as_os_str().is_empty()
            && !above.is_dir()
        {
            complain(&[key], format!("{} is no directory", above.display()));
        }
    }
    for (key, endpoints) in [
        ("listen", &config.listen),
        ("listen-ftps", &config.listen_ftps),
        ("listen-sftp", &config.listen_sftp),
        ("listen-health", &config.listen_health),
    ] {
        for endpoint in endpoints {
            if let Err(error) = endpoint.resolve() {
                complain(&[key], format!("{endpoint}: {error}"));
            }
        }
    }
    if !found.is_empty() {
        return Err(found);
    }
    let outcome = assemble::authenticator(config).and_then(|chain| {
        Server::new(without_new_keys(config), chain)
            .check()
            .map_err(|error| error.to_string())
    });
    outcome.map_err(|what| {
        let place = [
            "tls-cert",
            "tls-key",
            "host-key",
            "ssh-kex",
            "ssh-host-key-algorithm",
            "ssh-cipher",
            "ssh-mac",
            "ssh-public-key-algorithm",
            "listen-ftps",
            "listen-sftp",
            "node",
        ]
        .iter()
        .find_map(|key| places.get(*key));
        vec![Mistake {
            place: place.cloned().unwrap_or_else(|| "wharfd".into()),
            what,
        }]
    })
}

/// The settings without the keys that the start would make: made by whoever
/// checks, they would belong to the wrong user.
fn without_new_keys(config: &Config) -> Config {
    let mut config = config.clone();
    let asked = !config.host_key.is_empty();
    config.host_key.retain(|path| path.exists());
    if asked && config.host_key.is_empty() {
        config.listen_sftp.clear();
    }
    if config.self_signed && config.tls_cert.is_empty() {
        let default = Config::default();
        config.self_signed = false;
        config.tls_required = default.tls_required;
        config.tls_required_anonymous = default.tls_required_anonymous;
        config.listen_ftps.clear();
    }
    config
}
