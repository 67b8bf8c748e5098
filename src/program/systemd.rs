//! What systemd and its service say to each other: sockets that are bound
//! already (sd_listen_fds(3)), and how the service is (sd_notify(3)).

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};
use wharf::daemon::os::Inherited;

/// Number of the first socket that is handed over.
const FIRST: i32 = 3;
/// More than anybody has.
const MOST: i32 = 64;

/// A socket that was handed over.
pub enum Handed {
    /// A bound port and its name (`FileDescriptorName=` of the socket unit).
    Listener(TcpListener, String),
    /// A connection (`Accept=yes`).
    Connection(OwnedFd),
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// The numbers of the sockets that were handed over to this process.
pub fn numbers() -> std::ops::Range<i32> {
    // They may be for a process that has started this one.
    let ours = variable("LISTEN_PID").parse() == Ok(std::process::id());
    let count = variable("LISTEN_FDS").parse().unwrap_or(0).clamp(0, MOST);
    FIRST..FIRST + if ours { count } else { 0 }
}

/// The sockets that were handed over to this process.
///
/// # Errors
/// One that is neither a TCP listener nor a connection, as a sentence.
pub fn sockets() -> Result<Vec<Handed>, String> {
    let names = variable("LISTEN_FDNAMES");
    let mut names = names.split(':');
    numbers()
        .map(|number| {
            let name = names.next().unwrap_or_default();
            take(number, name).map_err(|what| format!("LISTEN_FDS: descriptor {number}: {what}"))
        })
        .collect()
}

fn take(number: i32, name: &str) -> Result<Handed, String> {
    let socket = Inherited::duplicate(number).map_err(|error| error.to_string())?;
    let text = |error: rustix::io::Errno| error.to_string();
    if sockopt::socket_type(&socket).map_err(text)? != SocketType::STREAM {
        return Err("not a stream socket".into());
    }
    if !sockopt::socket_acceptconn(&socket).map_err(text)? {
        return Ok(Handed::Connection(socket));
    }
    match sockopt::socket_domain(&socket).map_err(text)? {
        AddressFamily::INET | AddressFamily::INET6 => {
            Ok(Handed::Listener(socket.into(), name.into()))
        }
        _ => Err("not a TCP socket; ListenStream= needs a port".into()),
    }
}

/// The way to tell the service manager how we are; silent without one.
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// Looks for a service manager.
    pub fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET")
            .filter(|name| !name.is_empty())
            .and_then(|name| connect(name.as_bytes()).ok());
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC")
            .filter(|microseconds| ours && *microseconds > 0)
            .map(Duration::from_micros);
        Notify {
            watchdog: watchdog.filter(|_| socket.is_some()),
            socket,
        }
    }

    /// How often [`Notify::alive`] must be called: twice in the time after
    /// which the manager would kill us.
    pub fn heartbeat(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 2)
    }

    /// The sockets are bound and served.
    pub fn ready(&self) {
        self.send("READY=1\nSTATUS=Serving\n");
    }

    /// Settings are read again; [`Notify::ready`] follows.
    pub fn reloading(&self) {
        // `Type=notify-reload` wants the time to tell old answers from new.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let microseconds = now.tv_sec as i128 * 1_000_000 + now.tv_nsec as i128 / 1000;
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=Reading settings again\n"
        ));
    }

    /// The end has begun and may take `drain`.
    pub fn stopping(&self, drain: Duration) {
        let microseconds = (drain + Duration::from_secs(10)).as_micros();
        self.send(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={microseconds}\nSTATUS=Waiting for transfers to finish\n"
        ));
    }

    /// A word about how it goes, for `systemctl status`.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={text}\n"));
    }

    /// The main thread runs.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            self.send("WATCHDOG=1\n");
        }
    }

    fn send(&self, text: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(text.as_bytes())
        {
            log::debug!("telling the service manager: {error}");
        }
    }
}

fn connect(name: &[u8]) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A manager that hangs must not hold us.
    socket.set_nonblocking(true)?;
    Ok(socket)
}
