//! `wharfd --check`: what is in force, as a configuration file, and what is
//! wrong, with the place where it was said. Nothing is bound, made or changed.

use std::io::Write;
use std::sync::Arc;

use wharf::Server;
use wharf::auth::{UserDefaults, UserFile};
use wharf::config::{Config, KEYS, Mistake};
use wharf::storage::LocalFs;

use super::cli::{Invocation, Places};
use super::failure::{USAGE, complain};
use super::serve;

/// Checks; the exit code.
pub fn run(invocation: &Invocation) -> i32 {
    let mistakes = mistakes(&invocation.config, &invocation.places);
    // Whoever has closed standard output still gets the code.
    let _ = std::io::stdout()
        .lock()
        .write_all(in_force(&invocation.config, &invocation.places).as_bytes());
    for mistake in &mistakes {
        complain(&mistake.to_string());
    }
    match mistakes.is_empty() {
        true => 0,
        false => USAGE,
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

fn mistakes(config: &Config, places: &Places) -> Vec<Mistake> {
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
    if let Some(directory) = &config.anonymous
        && let Err(error) = LocalFs::open(directory)
    {
        complain(&["anonymous"], format!("{}: {error}", directory.display()));
    }
    if let Some(path) = &config.users
        && let Err(error) = UserFile::open(path, UserDefaults::default())
    {
        // It names the file and the line itself.
        complain(&["users"], error.to_string());
    }
    for (key, path) in [
        ("transfer-log", &config.transfer_log),
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
        return found;
    }
    let outcome = serve::authenticator(config).and_then(|chain| {
        Server::new(without_new_keys(config), Arc::clone(&chain) as Arc<_>)
            .check()
            .map_err(|error| error.to_string())
    });
    if let Err(what) = outcome {
        let place = [
            "tls-cert",
            "tls-key",
            "host-key",
            "listen-ftps",
            "listen-sftp",
            "node",
        ]
        .iter()
        .find_map(|key| places.get(*key));
        found.push(Mistake {
            place: place.cloned().unwrap_or_else(|| "wharfd".into()),
            what,
        });
    }
    found
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
