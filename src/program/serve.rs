//! Serving: from settings to a running server, and its end by signals.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use wharf::auth::{Anonymous, Chain, UserDefaults, UserFile};
use wharf::config::Config;
use wharf::session::events::Events;
use wharf::session::transfer_log::TransferLog;
use wharf::storage::LocalFs;
use wharf::{Error, ErrorKind, Protocol, Server};

use super::cli::{Invocation, TEMPORARY, USAGE};
use super::logging;
use super::signals::{Signal, Signals};

/// Serves until a signal ends it; the exit code.
pub fn run(invocation: Invocation) -> i32 {
    let logs = match logging::start(&invocation.config.program) {
        Ok(logs) => logs,
        Err(what) => return complain(&what, USAGE),
    };
    let signals = match Signals::take() {
        Ok(signals) => signals,
        Err(error) => return complain(&format!("taking signals: {error}"), TEMPORARY),
    };
    let config = invocation.config;
    let authenticator = match authenticator(&config) {
        Ok(chain) => chain,
        Err(what) => return complain(&what, USAGE),
    };
    let drain = config.drain;
    let directory = config.anonymous.clone();
    let mut config = config;
    if invocation.default_listen {
        // A machine without IPv6 is served all the same.
        config.listen.retain(|endpoint| {
            endpoint.host != "::1" || std::net::TcpListener::bind("[::1]:0").is_ok()
        });
    }
    let transfer_log = match config.transfer_log.as_deref().map(TransferLog::open) {
        None => None,
        Some(Ok(log)) => Some(Arc::new(log)),
        Some(Err(error)) => return complain(&error.to_string(), USAGE),
    };
    let mut server = Server::new(config, authenticator);
    if let Some(log) = &transfer_log {
        server = server.with_events(Arc::clone(log) as Arc<dyn Events>);
    }
    let server = match server.bind() {
        Ok(server) => server,
        Err(error) => return complain(&error.to_string(), exit_code(&error)),
    };
    let fingerprints = server.fingerprints();
    let running = match server.start() {
        Ok(running) => running,
        Err(error) => return complain(&error.to_string(), TEMPORARY),
    };
    match invocation.print_port {
        true => print_ports(running.addresses()),
        false => tell(running.addresses(), directory.as_deref(), &fingerprints),
    }
    loop {
        match signals.wait() {
            Signal::Reload => {
                log::info!("reading users again");
                logs.reopen();
                if let Some(log) = &transfer_log
                    && let Err(error) = log.reopen()
                {
                    log::error!("{error}; transfers go on in the old file");
                }
                if let Err(error) = running.services().authenticator().reload() {
                    log::error!("{error}; the old users stay in force");
                }
            }
            Signal::Interrupt => {
                running.stop(std::time::Duration::ZERO);
                return 0;
            }
            Signal::Terminate => {
                log::info!(
                    "stopping; transfers may finish for {} seconds",
                    drain.as_secs()
                );
                signals.second_ends_at_once();
                running.stop(drain);
                return 0;
            }
        }
    }
}

fn complain(what: &str, code: i32) -> i32 {
    eprintln!("wharfd: {what}");
    code
}

/// The users that the settings name.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn authenticator(config: &Config) -> Result<Arc<Chain>, String> {
    let mut chain = Chain::new();
    if let Some(directory) = &config.anonymous {
        let file_system = LocalFs::open(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        chain = chain.with(Anonymous::new(
            Arc::new(file_system),
            config.anonymous_rights,
        ));
    }
    if let Some(path) = &config.users {
        chain = chain.with(
            UserFile::open(path, UserDefaults::default()).map_err(|error| error.to_string())?,
        );
    }
    match chain.is_empty() {
        true => Err(
            "nobody could log in: give a DIR to serve, or --users FILE. See wharfd --help.".into(),
        ),
        false => Ok(Arc::new(chain)),
    }
}

/// A wrong setting stays wrong; a port in use may be free another time.
fn exit_code(error: &Error) -> i32 {
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::Unsupported => USAGE,
        _ => TEMPORARY,
    }
}

/// Each bound address as a line, for whoever has started us.
fn print_ports(addresses: &[(SocketAddr, Protocol)]) {
    let lines: String = addresses
        .iter()
        .map(|(address, _)| format!("{address}\n"))
        .collect();
    say(&lines);
}

/// Says how to connect.
fn tell(
    addresses: &[(SocketAddr, Protocol)],
    directory: Option<&Path>,
    fingerprints: &[(String, String)],
) {
    let mut text = match directory {
        Some(directory) => format!(
            "wharfd serves {} to everybody. Connect with\n",
            directory.display()
        ),
        None => "wharfd serves its users. Connect with\n".into(),
    };
    for (address, protocol) in addresses {
        let host = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".into(),
            IpAddr::V6(ip) if ip.is_unspecified() => "localhost".into(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let port = address.port();
        text.push_str(&match protocol {
            Protocol::Ftp => format!(
                "  curl ftp://{host}:{port}/    lftp ftp://{host}:{port}    ftp://{host}:{port}/\n"
            ),
            Protocol::Ftps => format!("  lftp ftps://{host}:{port}    ftps://{host}:{port}/\n"),
            Protocol::Sftp => format!(
                "  sftp -P {port} USER@{}    sftp://{host}:{port}/\n",
                host.trim_matches(['[', ']'])
            ),
        });
    }
    for (what, fingerprint) in fingerprints {
        text.push_str(&format!("SHA-256 of {what}: {fingerprint}\n"));
    }
    text.push_str("Ctrl-C stops it.\n");
    say(&text);
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; the server serves all the same.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
