//! Counts of what has happened, as Prometheus reads them: in a file for the
//! node exporter's textfile collector, or over HTTP.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wharf::daemon::{Services, SessionInfo};
use wharf::events::{Event, Events, Transferred, Who};

/// Between two writes of the file.
pub const INTERVAL: Duration = Duration::from_secs(15);

/// What a login is encrypted by, as labels of a metric.
const ENCRYPTION: [&str; 6] = ["none", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3", "ssh"];

fn encryption(who: &Who<'_>) -> usize {
    let name = match who.protocol {
        "sftp" => "ssh",
        _ => who.tls.unwrap_or("none"),
    };
    ENCRYPTION
        .iter()
        .position(|known| *known == name)
        .unwrap_or(0)
}

/// What has happened since the start.
#[derive(Default)]
pub struct Counters {
    /// By what encrypted them, as in [`ENCRYPTION`].
    logins: [AtomicU64; ENCRYPTION.len()],
    pub refused: AtomicU64,
    uploads: [AtomicU64; 2],
    downloads: [AtomicU64; 2],
    pub received: AtomicU64,
    pub sent: AtomicU64,
    deleted: AtomicU64,
}

impl Events for Counters {
    fn event(&self, who: &Who<'_>, event: &Event<'_>) {
        let one = |counter: &AtomicU64| {
            counter.fetch_add(1, Relaxed);
        };
        let of = |counters: &[AtomicU64; 2], bytes: &AtomicU64, done: &Transferred<'_>| {
            one(&counters[usize::from(done.complete)]);
            bytes.fetch_add(done.bytes, Relaxed);
        };
        match event {
            Event::LoggedIn => one(&self.logins[encryption(who)]),
            Event::LoginRefused(_) => one(&self.refused),
            Event::Upload(done) => of(&self.uploads, &self.received, done),
            Event::Download(done) => of(&self.downloads, &self.sent, done),
            Event::Deleted(_) => one(&self.deleted),
            _ => {}
        }
    }
}

fn labels() -> [String; ENCRYPTION.len()] {
    ENCRYPTION.map(|name| format!("{{encryption=\"{name}\"}}"))
}

/// A page in Prometheus' text format.
#[derive(Default)]
struct Page(String);

impl Page {
    /// One metric; each value has its labels.
    fn metric(&mut self, name: &str, kind: &str, help: &str, values: &[(&str, u64)]) {
        let _ = writeln!(
            self.0,
            "# HELP wharf_{name} {help}\n# TYPE wharf_{name} {kind}"
        );
        for (labels, value) in values {
            let _ = writeln!(self.0, "wharf_{name}{labels} {value}");
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.metric(name, "gauge", help, &[("", value)]);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.metric(name, "counter", help, &[("", value)]);
    }
}

/// The value of a counter.
pub fn count(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

impl Counters {
    /// The page in Prometheus' text format.
    pub fn page(&self, services: &Services) -> String {
        let mut page = Page::default();
        let version = concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
        page.metric("build_info", "gauge", "The program.", &[(version, 1)]);
        self.sessions(&mut page, services);
        self.logins(&mut page);
        self.transfers(&mut page);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |time| time.as_secs());
        page.gauge("written_time_seconds", "When this was written.", now);
        page.0
    }

    /// Logins of every kind.
    pub fn all_logins(&self) -> u64 {
        self.logins.iter().map(count).sum()
    }

    fn sessions(&self, page: &mut Page, services: &Services) {
        let config = services.config();
        let sessions = services.registry.all();
        let of = |is: &dyn Fn(&SessionInfo) -> bool| {
            sessions.iter().filter(|session| is(session)).count() as u64
        };
        let by = |protocol: &str| of(&|session| session.protocol == protocol);
        page.metric(
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
        page.gauge("sessions_limit", "Sessions that have room.", limit);
        let busy = of(&|session| session.is_busy());
        page.gauge("transfers", "Transfers that run.", busy);
        let bans = services.limits.bans(&config).len();
        page.gauge("bans", "Banned addresses.", bans as u64);
        let labels = labels();
        let under: Vec<_> = labels[1..5]
            .iter()
            .zip(&ENCRYPTION[1..5])
            .map(|(label, version)| {
                let has = |session: &SessionInfo| session.activity().tls.version == *version;
                (label.as_str(), of(&has))
            })
            .collect();
        let help = "Open sessions under TLS by its version.";
        page.metric("tls_sessions", "gauge", help, &under);
    }

    fn logins(&self, page: &mut Page) {
        page.counter("logins_total", "Logins.", self.all_logins());
        let labels = labels();
        let logins = labels.iter().zip(&self.logins);
        let logins: Vec<_> = logins
            .map(|(label, of)| (label.as_str(), count(of)))
            .collect();
        page.metric(
            "logins_by_encryption_total",
            "counter",
            "Logins by what encrypted them; none are those in the clear.",
            &logins,
        );
        let refused = count(&self.refused);
        page.counter("logins_refused_total", "Refused logins.", refused);
    }

    fn transfers(&self, page: &mut Page) {
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
            page.metric(name, "counter", help, &values);
        }
        let received = count(&self.received);
        page.counter("received_bytes_total", "Bytes of uploads.", received);
        let sent = count(&self.sent);
        page.counter("sent_bytes_total", "Bytes of downloads.", sent);
        let deleted = count(&self.deleted);
        page.counter("deleted_files_total", "Files deleted.", deleted);
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
