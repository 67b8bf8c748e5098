//! Counts of what has happened, as Prometheus reads them: in a file for the
//! node exporter's textfile collector, or over HTTP.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wharf::session::Services;
use wharf::session::events::{Event, Events, Transferred, Who};

/// Between two writes of the file.
pub const INTERVAL: Duration = Duration::from_secs(15);
/// How long a scraper may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest request that is read.
const REQUEST_MAX: usize = 8192;

/// What has happened since the start.
#[derive(Default)]
pub struct Counters {
    logins: AtomicU64,
    refused: AtomicU64,
    uploads: [AtomicU64; 2],
    downloads: [AtomicU64; 2],
    received: AtomicU64,
    sent: AtomicU64,
    deleted: AtomicU64,
}

impl Events for Counters {
    fn event(&self, _: &Who<'_>, event: &Event<'_>) {
        let one = |counter: &AtomicU64| {
            counter.fetch_add(1, Relaxed);
        };
        let of = |counters: &[AtomicU64; 2], bytes: &AtomicU64, done: &Transferred<'_>| {
            one(&counters[usize::from(done.complete)]);
            bytes.fetch_add(done.bytes, Relaxed);
        };
        match event {
            Event::LoggedIn => one(&self.logins),
            Event::LoginRefused(_) => one(&self.refused),
            Event::Upload(done) => of(&self.uploads, &self.received, done),
            Event::Download(done) => of(&self.downloads, &self.sent, done),
            Event::Deleted(_) => one(&self.deleted),
            _ => {}
        }
    }
}

impl Counters {
    /// The page in Prometheus' text format.
    pub fn page(&self, services: &Services) -> String {
        let mut page = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
            let _ = writeln!(
                page,
                "# HELP wharf_{name} {help}\n# TYPE wharf_{name} {kind}"
            );
            for (labels, value) in values {
                let _ = writeln!(page, "wharf_{name}{labels} {value}");
            }
        };
        let config = services.config();
        let sessions = services.registry.all();
        let busy = sessions.iter().filter(|live| live.is_busy()).count();
        let by = |protocol: &str| {
            let of = sessions.iter().filter(|live| live.protocol == protocol);
            of.count() as u64
        };
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        let version = concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
        metric("build_info", "gauge", "The program.", &[(version, 1)]);
        metric(
            "sessions",
            "gauge",
            "Open sessions.",
            &[
                ("{protocol=\"ftp\"}", by("ftp")),
                ("{protocol=\"ftps\"}", by("ftps")),
                ("{protocol=\"sftp\"}", by("sftp")),
            ],
        );
        let limit = u64::from(config.threads);
        metric(
            "sessions_limit",
            "gauge",
            "Sessions that have room.",
            &[("", limit)],
        );
        metric(
            "transfers",
            "gauge",
            "Transfers that run.",
            &[("", busy as u64)],
        );
        let bans = services.limits.bans(&config).len();
        metric("bans", "gauge", "Banned addresses.", &[("", bans as u64)]);
        metric(
            "logins_total",
            "counter",
            "Logins.",
            &[("", count(&self.logins))],
        );
        let refused = [("", count(&self.refused))];
        metric(
            "logins_refused_total",
            "counter",
            "Refused logins.",
            &refused,
        );
        for (name, counters, help) in [
            ("uploads_total", &self.uploads, "Uploads that have ended."),
            (
                "downloads_total",
                &self.downloads,
                "Downloads that have ended.",
            ),
        ] {
            let values = [
                ("{complete=\"no\"}", count(&counters[0])),
                ("{complete=\"yes\"}", count(&counters[1])),
            ];
            metric(name, "counter", help, &values);
        }
        let received = [("", count(&self.received))];
        metric(
            "received_bytes_total",
            "counter",
            "Bytes of uploads.",
            &received,
        );
        let sent = [("", count(&self.sent))];
        metric("sent_bytes_total", "counter", "Bytes of downloads.", &sent);
        let deleted = [("", count(&self.deleted))];
        metric("deleted_files_total", "counter", "Files deleted.", &deleted);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |time| time.as_secs());
        metric(
            "written_time_seconds",
            "gauge",
            "When this was written.",
            &[("", now)],
        );
        page
    }

    /// Writes the page to a file that appears as a whole.
    ///
    /// # Errors
    /// What writing or renaming said.
    pub fn write(&self, services: &Services, path: &Path) -> io::Result<()> {
        let mut temporary = path.as_os_str().to_owned();
        // The collector only reads names that end in `.prom`.
        temporary.push(".new");
        std::fs::write(&temporary, self.page(services))?;
        std::fs::rename(&temporary, path)
    }
}

/// Answers scrapers, one at a time, for as long as the process lives.
pub fn serve(listener: &TcpListener, counters: &Arc<Counters>, services: &Arc<Services>) {
    loop {
        match listener.accept() {
            // A scraper that goes in the middle is its own trouble.
            Ok((stream, _)) => drop(answer(stream, || counters.page(services))),
            Err(error) => {
                log::error!("listen-metrics: {error}");
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

/// One request of HTTP/1.0: `GET /metrics`.
fn answer(mut stream: TcpStream, page: impl FnOnce() -> String) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let until = Instant::now() + PATIENCE;
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = until.saturating_duration_since(Instant::now());
        let mut piece = [0; 1024];
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&piece[..length]),
        }
        if request.len() > REQUEST_MAX || left.is_zero() {
            return Ok(());
        }
    }
    let mut words = request.split(|byte| byte.is_ascii_whitespace());
    let (status, page) = match (words.next(), words.next()) {
        (Some(b"GET"), Some(b"/metrics")) => ("200 OK", page()),
        (Some(b"GET"), _) => ("404 Not Found", "The page is /metrics.\n".into()),
        _ => ("405 Method Not Allowed", String::new()),
    };
    write!(
        stream,
        "HTTP/1.0 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\n\r\n{page}",
        page.len()
    )
}
