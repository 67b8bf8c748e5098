//! Serving: from settings to a running server, and its end by signals.

mod reload;

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use wharf::TransferLog;
use wharf::config::Config;
use wharf::daemon::Services;
use wharf::daemon::Settings;
use wharf::daemon::log_context::tell_once;
use wharf::events::Events;
use wharf::{Fingerprint, Protocol, Running};

use super::acme::Beside;
use super::assemble::{Sources, failure, server, start_monitor};
use super::background::{self, PidFile};
use super::cli::Invocation;
use super::counters::Counters;
use super::failure::{Failure, complain};
use super::hooks::Hooks;
use super::landlock::Programs;
use super::logging::{self, Logs};
use super::metrics_port::MetricsPort;
use super::signals::{Signal, Signals};
use super::systemd::{self, Handed, Notify};
use super::{control, counters, descriptors, identity, inetd, landlock};

/// Serves until a signal ends it; the exit code.
pub fn run(invocation: Invocation) -> i32 {
    wharf::daemon::os::bound_arenas(4);
    if invocation.inetd {
        return inetd::run(invocation.settings);
    }
    let handed = match systemd::sockets() {
        Ok(handed) => handed,
        Err(what) => return Failure::usage(what).tell(),
    };
    let mut listeners = Vec::new();
    for socket in handed {
        match socket {
            Handed::Listener(listener, name) => listeners.push((listener, name)),
            Handed::Connection(socket) => return inetd::run_on(socket, invocation.settings),
        }
    }
    match start(invocation, listeners) {
        Ok(daemon) => daemon.serve(),
        Err(failure) => failure.tell(),
    }
}

/// Between two looks whether nobody is there, so that memory can be given back.
const QUIET: Duration = Duration::from_secs(60);

/// Everything that runs.
struct Daemon {
    invocation: Invocation,
    /// The settings as they were given at the start.
    given: Settings,
    signals: Signals,
    running: Running,
    logs: Logs,
    transfer_log: Option<Arc<TransferLog>>,
    notify: Notify,
    pid_file: Option<PidFile>,
    counters: Arc<Counters>,
    hooks: Option<Arc<Hooks>>,
    domain: landlock::Domain,
    sources: Sources,
}

fn start(
    mut invocation: Invocation,
    listeners: Vec<(TcpListener, String)>,
) -> Result<Daemon, Failure> {
    let given = invocation.settings.clone();
    let parent = if invocation.settings.daemon {
        Some(background::detach()?)
    } else {
        None
    };
    let settings = &mut invocation.settings;
    if parent.is_some() {
        find_log(settings);
    }
    let logs = logging::start(settings).map_err(Failure::usage)?;
    let signals =
        Signals::take().map_err(|error| Failure::temporary(format!("taking signals: {error}")))?;
    descriptors::raise(&settings.server)?;
    if !listeners.is_empty() {
        forget_listeners(&mut settings.server);
    } else if invocation.default_listen {
        // A machine without IPv6 is served all the same.
        let there = |host: &str| host != "::1" || TcpListener::bind("[::1]:0").is_ok();
        (settings.server.listen).retain(|endpoint| there(&endpoint.host));
    }
    let acme = Beside::start(settings)?;
    let sources = Sources::with(start_monitor(settings, &invocation.arguments)?);
    let monitor = sources.monitor.clone();
    let monitor = monitor.as_ref();
    let (mut server, transfer_log) = server(settings, &sources)?;
    let counters = Arc::new(Counters::default());
    server = server.with_events(Arc::clone(&counters) as Arc<dyn Events>);
    let hooks = Hooks::new(settings, monitor);
    if let Some(hooks) = &hooks {
        server = server.with_events(Arc::clone(hooks) as Arc<dyn Events>);
    }
    for (listener, name) in listeners {
        let protocol = protocol(&name, settings)?;
        server = server.with_listener(listener, protocol);
    }
    let server = server.bind().map_err(failure)?;
    let pid_file = match &settings.pid_file {
        Some(path) => Some(PidFile::write(path)?),
        None => None,
    };
    let helpers = Helpers::bind(settings)?;
    let fingerprints = server.fingerprints();
    identity::settle(settings)?;
    sources.tell_what_is_closed(settings);
    let programs = match monitor {
        Some(_) => Programs::Elsewhere,
        None => Programs::Here,
    };
    let domain = landlock::apply(settings, programs)?;
    landlock::refuse_system_calls(settings, programs)?;
    if let Some(hooks) = &hooks {
        hooks.start().map_err(Failure::temporary)?;
    }
    logs.start_thread();
    if let Some(acme) = acme {
        acme.hear()?;
    }
    let running = server.start().map_err(failure)?;
    helpers.start(running.services(), &counters)?;
    #[cfg(debug_assertions)]
    super::exploit::start();
    if invocation.print_port {
        print_ports(running.addresses())
    } else {
        tell(running.addresses(), settings, &fingerprints)
    }
    if let Some(parent) = parent {
        parent.ready();
    }
    let notify = Notify::from_environment();
    notify.ready();
    Ok(Daemon {
        invocation,
        given,
        signals,
        running,
        logs,
        transfer_log,
        notify,
        pid_file,
        counters,
        hooks,
        domain,
        sources,
    })
}

/// Ports that are not for clients: bound while we may, served by a thread each.
struct Helpers {
    control: Option<UnixListener>,
    metrics: Vec<MetricsPort>,
}

impl Helpers {
    fn bind(settings: &Settings) -> Result<Self, Failure> {
        let control = settings.control_socket.as_deref();
        let mut metrics = Vec::new();
        for endpoint in &settings.listen_metrics {
            metrics.push(MetricsPort::bind(endpoint, settings)?);
        }
        Ok(Helpers {
            control: control.map(control::bind).transpose()?,
            metrics,
        })
    }

    fn start(self, services: &Arc<Services>, counters: &Arc<Counters>) -> Result<(), Failure> {
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new()
                .name(name.into())
                .stack_size(128 * 1024);
            thread.spawn(work).map(drop).map_err(Failure::temporary)
        };
        if let Some(listener) = self.control {
            let services = Arc::clone(services);
            spawn(
                "control",
                Box::new(move || control::serve(&listener, &services)),
            )?;
        }
        for port in self.metrics {
            let (services, counters) = (Arc::clone(services), Arc::clone(counters));
            let serve = move || port.serve(&counters, &services);
            spawn("metrics", Box::new(serve))?;
        }
        Ok(())
    }
}

/// A daemon without a log file has syslogd, if there is one.
fn find_log(settings: &mut Settings) {
    if settings.log_file.is_none() && !settings.syslog {
        settings.syslog = logging::has_syslog();
        if !settings.syslog {
            complain("wharfd: no syslogd listens; without --log-file FILE nothing is logged");
        }
    }
}

/// Sockets that are handed to us stand for all that the settings listen on.
fn forget_listeners(config: &mut Config) {
    config.listen.clear();
    config.listen_ftps.clear();
    config.listen_sftp.clear();
}

/// What is spoken on a socket, by the name that its unit gives it.
fn protocol(name: &str, settings: &Settings) -> Result<Protocol, Failure> {
    match name {
        "" | "ftp" | "unknown" => Ok(Protocol::Ftp),
        "ftps" => Ok(Protocol::Ftps),
        "sftp" if settings.server.host_key.is_empty() => Err(Failure::usage(
            "a socket is called sftp; SFTP needs --host-key FILE",
        )),
        "sftp" => Ok(Protocol::Sftp),
        // Without a name systemd takes that of the socket unit.
        name if name.ends_with(".socket") => Ok(Protocol::Ftp),
        name => Err(Failure::usage(format!(
            "a socket is called '{}'; FileDescriptorName= must be ftp, ftps or sftp",
            name.escape_debug()
        ))),
    }
}

impl Daemon {
    fn serve(mut self) -> i32 {
        self.beat();
        loop {
            match self.signals.wait(self.interval()) {
                None => self.beat(),
                Some(Signal::Reload) => self.reload(),
                Some(Signal::Interrupt) => return self.stop(Duration::ZERO),
                Some(Signal::Terminate) => {
                    let drain = self.invocation.settings.drain;
                    log::info!(
                        "stopping; transfers may finish for {} seconds",
                        drain.as_secs()
                    );
                    return self.stop(drain);
                }
            }
        }
    }

    /// How often the main thread has something to do.
    fn interval(&self) -> Duration {
        let metrics = self.invocation.settings.metrics_file.as_ref();
        let metrics = metrics.map(|_| counters::INTERVAL);
        [self.notify.heartbeat(), metrics]
            .into_iter()
            .flatten()
            .fold(QUIET, Duration::min)
    }

    fn beat(&self) {
        if let Some(tls) = self.running.services().tls() {
            tls.watch();
        }
        if let Some(path) = &self.invocation.settings.metrics_file
            && let Err(error) = self.counters.write(self.running.services(), path)
        {
            // Every fifteen seconds the same.
            let what = format_args!("{}: {error}", path.display());
            tell_once(log::Level::Error, "metrics-file", &what);
        }
        // Looking at the sessions takes the locks that everybody needs: were
        // one held for ever, we would not come back and be started again.
        let sessions = self.running.services().registry.all();
        let transfers = sessions.iter().filter(|live| live.is_busy()).count();
        self.notify.alive();
        self.notify.status(&format!(
            "{} sessions, {transfers} transfers",
            sessions.len()
        ));
        if sessions.is_empty() {
            wharf::daemon::os::trim_heap();
        }
    }

    fn stop(self, drain: Duration) -> i32 {
        self.notify.stopping(drain);
        self.signals.second_ends_at_once();
        self.running.stop(drain);
        if let Some(hooks) = &self.hooks {
            hooks.finish();
        }
        drop(self.pid_file);
        if let Some(path) = &self.invocation.settings.control_socket {
            // After giving up root it may have to stay; the next start takes it.
            let _ = std::fs::remove_file(path);
        }
        log::info!("stopped");
        self.logs.finish();
        0
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
fn tell(addresses: &[(SocketAddr, Protocol)], settings: &Settings, fingerprints: &[Fingerprint]) {
    let mut text = match &settings.anonymous {
        Some(directory) => format!(
            "wharfd serves {} to everybody. Connect with\n",
            std::path::absolute(directory)
                .unwrap_or(directory.into())
                .display()
        ),
        None => "wharfd serves its users. Connect with\n".into(),
    };
    let is_certificate = |known: &Fingerprint| matches!(known, Fingerprint::Certificate { .. });
    let tls = fingerprints.iter().any(is_certificate);
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
            _ => String::new(),
        });
        if tls && *protocol == Protocol::Ftp {
            let unknown = if settings.server.self_signed {
                "-k "
            } else {
                ""
            };
            text.push_str(&format!(
                "  curl {unknown}--ssl-reqd ftp://{host}:{port}/\n"
            ));
        }
    }
    for fingerprint in fingerprints {
        text.push_str(&format!("SHA-256 of {fingerprint}\n"));
    }
    if !settings.daemon {
        text.push_str("Ctrl-C stops it.\n");
    }
    say(&text);
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; the server serves all the same.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
