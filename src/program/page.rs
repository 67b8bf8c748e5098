//! The status page: what happens now, for a browser, at the port of the
//! metrics. It changes nothing, and asks nobody else for anything.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use rustix::rand::{GetRandomFlags, getrandom};
use wharf::daemon::{Phase, Request, Response, Services, SessionInfo, Settings};

use super::counters::{Counters, count};
use super::json::quoted;
use super::landlock;

const PAGE: &str = include_str!("page/page.html");
/// Stands in the page for what only this answer may run.
const NONCE: &str = "NONCE";

/// What the page shows besides sessions and counts.
pub struct StatusPage {
    since: Instant,
    /// A directory of each file system that is served.
    trees: Vec<PathBuf>,
}

impl StatusPage {
    /// The page of a server with these settings.
    pub fn new(settings: &Settings) -> Self {
        let mut trees: Vec<(Option<u64>, PathBuf)> = Vec::new();
        for path in landlock::served(settings) {
            let disk = std::fs::metadata(&path).ok();
            let disk = disk.map(|found| std::os::unix::fs::MetadataExt::dev(&found));
            if disk.is_some() && trees.iter().all(|(known, _)| *known != disk) {
                trees.push((disk, path));
            }
        }
        StatusPage {
            since: Instant::now(),
            trees: trees.into_iter().map(|(_, path)| path).collect(),
        }
    }

    /// The page, or what it asks for; `None` for other paths.
    pub fn answer(
        &self,
        request: &Request<'_>,
        counters: &Counters,
        services: &Services,
    ) -> Option<Response> {
        match request.path {
            b"/" => Some(page()),
            b"/status.json" => Some(Response {
                content_type: "application/json",
                headers: "Cache-Control: no-store\r\n".into(),
                ..Response::text("200 OK", self.json(counters, services))
            }),
            _ => None,
        }
    }

    fn json(&self, counters: &Counters, services: &Services) -> String {
        let config = services.config();
        let sessions = services.registry.all();
        let running = |uploads: bool| -> u64 {
            let those = sessions
                .iter()
                .filter(|session| session.activity().uploads == uploads);
            those.map(|session| session.bytes.load(Relaxed)).sum()
        };
        let phase = match services.phase() {
            Phase::Running => "running",
            _ => "stopping",
        };
        let bans = services.limits.bans(&config);
        let certificates = services.tls().and_then(|tls| tls.certificates().ok());
        let certificates = certificates.unwrap_or_default();
        let mut text = format!(
            "{{\"version\":{},\"phase\":\"{phase}\",\"uptime\":{},\"limit\":{},",
            quoted(env!("CARGO_PKG_VERSION")),
            self.since.elapsed().as_secs(),
            config.threads,
        );
        let _ = write!(
            text,
            "\"logins\":{},\"refused\":{},\"received\":{},\"sent\":{},\"sessions\":{},",
            counters.all_logins(),
            count(&counters.refused),
            count(&counters.received) + running(true),
            count(&counters.sent) + running(false),
            list(sessions.iter().map(|session| session_json(session))),
        );
        let _ = write!(
            text,
            "\"disks\":{},\"certificates\":{},\"bans\":{}}}",
            list(self.trees.iter().filter_map(|path| disk_json(path))),
            list(certificates.iter().map(|one| {
                let path = quoted(&one.path.display().to_string());
                format!("{{\"path\":{path},\"days\":{}}}", one.days_left)
            })),
            list(bans.iter().map(|(network, left)| {
                let address = quoted(&network.to_string());
                format!("{{\"address\":{address},\"seconds\":{}}}", left.as_secs())
            })),
        );
        text
    }
}

fn page() -> Response {
    let mut bytes = [0; 16];
    // Without chance, at the very start of a machine, the browser runs nothing.
    let filled = getrandom(&mut bytes, GetRandomFlags::NONBLOCK).is_ok_and(|length| length == 16);
    let nonce = if filled {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    } else {
        String::new()
    };
    Response {
        content_type: "text/html; charset=utf-8",
        headers: format!(
            "Content-Security-Policy: default-src 'none'; script-src 'nonce-{nonce}'; \
             style-src 'nonce-{nonce}'; connect-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'\r\n\
             X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
             Cache-Control: no-store\r\n"
        ),
        ..Response::text("200 OK", PAGE.replace(NONCE, &nonce))
    }
}

fn session_json(session: &SessionInfo) -> String {
    let words = session.activity().clone();
    let milliseconds = words
        .transfer_since
        .map_or(0, |since| since.elapsed().as_millis());
    format!(
        "{{\"id\":{},\"user\":{},\"address\":\"{}\",\"protocol\":\"{}\",\"tls\":\"{}\",\
         \"seconds\":{},\"command\":{},\"file\":{},\"bytes\":{},\"size\":{},\
         \"milliseconds\":{milliseconds}}}",
        session.id,
        quoted(&session.user.load()),
        session.peer.ip().to_canonical(),
        session.protocol,
        words.tls.version,
        session.since.elapsed().as_secs(),
        quoted(&words.command),
        quoted(&words.file),
        session.bytes.load(Relaxed),
        session.size.load(Relaxed),
    )
}

fn disk_json(path: &Path) -> Option<String> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(format!(
        "{{\"path\":{},\"free\":{},\"size\":{}}}",
        quoted(&path.display().to_string()),
        disk.f_bavail.saturating_mul(disk.f_frsize),
        disk.f_blocks.saturating_mul(disk.f_frsize),
    ))
}

fn list(objects: impl Iterator<Item = String>) -> String {
    format!("[{}]", objects.collect::<Vec<_>>().join(","))
}
