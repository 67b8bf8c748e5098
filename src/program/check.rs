//! `wharfd --check`: what is in force, as a configuration file, and what is
//! wrong, with the place where it was said; what clients will be told, and
//! what works but is probably a mistake. Nothing is bound, made or changed.

mod advice;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use wharf::Server;
use wharf::config::{Config, Endpoint};
use wharf::daemon::{self, KEYS, Mistake, Names, Settings, ToldAddress, paths_of, user_file};
use wharf::storage::LocalFs;

use super::cli::Invocation;
use super::failure::{USAGE, complain};
use super::places::Places;
use super::{acme, assemble};
use super::{identity, logging};

/// Checks; the exit code.
pub fn run(invocation: &Invocation) -> i32 {
    let settings = &invocation.settings;
    let outcome = look(settings, &invocation.places);
    // Whoever has closed standard output still gets the code.
    let text = in_force(settings, &invocation.places) + &told(settings);
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    match outcome {
        Ok(certificates) => {
            for (key, what) in advice::all(settings, &certificates) {
                let place = invocation.places.of(key).unwrap_or("wharfd");
                let place = if place == format!("--{key}") {
                    "wharfd"
                } else {
                    place
                };
                complain(&format!("{place}: warning: {key}: {what}"));
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
fn told(settings: &Settings) -> String {
    let endpoints = settings
        .server
        .listen
        .iter()
        .chain(&settings.server.listen_ftps);
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
    let ports = daemon::own_passive_ports(&settings.server);
    let mut text = format!(
        "\n# What clients are told, with a PORT of {}-{} (P1*256+P2)\n",
        ports.first, ports.last
    );
    let elsewhere = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
    let local = settings
        .server
        .passive_local_networks
        .iter()
        .map(|network| network.address());
    let local = local.into_iter().find(IpAddr::is_ipv4);
    for own in own {
        for (who, peer) in [("LAN", local), ("WAN", Some(elsewhere))] {
            let Some(peer) = peer else { continue };
            let address = daemon::told_address(&settings.server, own, peer, advice::resolve);
            let passive = match address {
                ToldAddress::Known(address) => {
                    let [a, b, c, d] = address.octets();
                    format!("PASV 227 ({a},{b},{c},{d},P1,P2), ")
                }
                ToldAddress::Unresolved => "PASV 425, ".into(),
                ToldAddress::OnlyIpv6 => String::new(),
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
fn in_force(settings: &Settings, places: &Places) -> String {
    let mut text = String::new();
    let mut section = None;
    for key in KEYS {
        if section != Some(key.section) {
            section = Some(key.section);
            text.push_str(&format!("\n# {:?}\n", key.section));
        }
        if let Some(place) = places.of(key.name) {
            text.push_str(&format!("# from {place}:\n"));
        }
        let values = key.shown(settings);
        if values.is_empty() {
            text.push_str(&format!("# {}\n", key.name));
        }
        for value in values {
            text.push_str(&format!("{} {value}\n", key.name));
        }
    }
    text.trim_start().into()
}

/// A key, and what is wrong with its value.
type Fault = (&'static str, String);

/// The certificates with the days that are left, or what is wrong.
fn look(settings: &Settings, places: &Places) -> Result<Vec<(PathBuf, i64)>, Vec<Mistake>> {
    let mut faults = Vec::new();
    served(settings, &mut faults);
    made(settings, &mut faults);
    bound(settings, &mut faults);
    if settings.syslog && !logging::has_syslog() {
        faults.push(("syslog", "no syslogd listens at /dev/log".into()));
    }
    if let Err(failure) = identity::possible(settings) {
        faults.push(("user", failure.what));
    }
    if let Err(what) = acme::check(settings) {
        faults.push(("acme", what));
    }
    if !faults.is_empty() {
        let faults = faults.into_iter();
        return Err(faults
            .map(|(key, what)| places.mistake(key, what))
            .collect());
    }
    let sources = assemble::Sources::default();
    let outcome = assemble::authenticator(settings, &sources).and_then(|users| {
        Server::new(without_new_keys(&settings.server), users)
            .check()
            .map_err(|error| error.to_string())
    });
    outcome.map_err(|what| vec![places.blame(what, settings)])
}

/// Trees and users.
fn served(settings: &Settings, faults: &mut Vec<Fault>) {
    for (key, path) in paths_of(Names::DirectoryServed, settings) {
        if let Err(error) = LocalFs::open(&path) {
            faults.push((key.name, format!("{}: {error}", path.display())));
        }
    }
    if let Some(path) = &settings.users {
        // They name the file and the line themselves.
        let mistakes = user_file::entries(path, usize::MAX).1.into_iter();
        faults.extend(mistakes.map(|error| ("users", error.to_string())));
    }
}

/// Files and directories that the start makes, or writes to.
fn made(settings: &Settings, faults: &mut Vec<Fault>) {
    for (key, path) in paths_of(Names::FileWritten, settings) {
        if path.is_dir() {
            let what = format!("{} is a directory; name a file", path.display());
            faults.push((key.name, what));
        }
    }
    for (key, path) in paths_of(Names::DirectoryWritten, settings) {
        if path.exists() && !path.is_dir() {
            faults.push((key.name, format!("{} is no directory", path.display())));
        }
    }
    // A host key is read, and made where it is missing.
    let host_keys = paths_of(Names::FileRead, settings).into_iter();
    let host_keys = host_keys.filter(|(key, _)| key.name == "host-key");
    let made = [Names::FileWritten, Names::DirectoryWritten];
    let made = made.into_iter().flat_map(|names| paths_of(names, settings));
    for (key, path) in made.chain(host_keys) {
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        if let Some(above) = above.filter(|above| !path.exists() && !above.is_dir()) {
            faults.push((key.name, format!("{} is no directory", above.display())));
        }
    }
}

/// Ports: their addresses, each of them once.
fn bound(settings: &Settings, faults: &mut Vec<Fault>) {
    let mut bound = Vec::new();
    for key in KEYS.iter().filter(|key| key.names == Names::Port) {
        for endpoint in key.shown(settings) {
            let Ok(parsed) = endpoint.parse::<Endpoint>() else {
                continue;
            };
            match parsed.resolve() {
                Err(error) => faults.push((key.name, format!("{endpoint}: {error}"))),
                Ok(addresses) => {
                    let taken = |one: &&SocketAddr| one.port() != 0 && bound.contains(*one);
                    if let Some(again) = addresses.iter().find(taken) {
                        faults.push((key.name, format!("{again} is given twice")));
                    }
                    bound.extend(addresses);
                }
            }
        }
    }
}

/// The settings without the keys that the start would make: made by whoever
/// checks, they would belong to the wrong user.
fn without_new_keys(config: &Config) -> Config {
    let mut config = config.clone();
    let asked = cfg!(feature = "sftp") && !config.host_key.is_empty();
    // A build without SSH refuses them all.
    config.host_key.retain(|path| !asked || path.exists());
    if asked && config.host_key.is_empty() {
        config.listen_sftp.clear();
    }
    if cfg!(feature = "ftps") && config.self_signed && config.tls_cert.is_empty() {
        let default = Config::default();
        config.self_signed = false;
        config.tls_required = default.tls_required;
        config.tls_required_anonymous = default.tls_required_anonymous;
        config.listen_ftps.clear();
    }
    config
}
