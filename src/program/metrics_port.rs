//! The port of the metrics: who may ask there, and for what.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use wharf::config::Endpoint;
use wharf::daemon::{HttpPort, Request, Response, Services, Settings, base64_decode};

use super::assemble;
use super::counters::{Counters, INTERVAL};
use super::failure::Failure;
#[cfg(feature = "page")]
use super::page::StatusPage;

/// A port, bound.
pub struct MetricsPort {
    port: HttpPort,
    access: Access,
    #[cfg(feature = "page")]
    page: StatusPage,
}

/// Who may ask.
#[derive(Clone, Copy)]
enum Access {
    /// Whoever reaches a port of this machine alone.
    Local,
    /// Everybody, for counts and nothing else.
    Counts,
    /// Who knows a token; its SHA-256, as comparing that tells nothing of it.
    Token([u8; 32]),
}

impl MetricsPort {
    /// Binds the port and reads the token.
    ///
    /// # Errors
    /// As for any port, or the file of the token says nothing.
    pub fn bind(endpoint: &Endpoint, settings: &Settings) -> Result<Self, Failure> {
        let port = HttpPort::bind(endpoint).map_err(assemble::failure)?;
        let access = match &settings.metrics_token_file {
            Some(path) => Access::Token(token(path)?),
            None if port.is_local() => Access::Local,
            None => Access::Counts,
        };
        Ok(MetricsPort {
            port,
            access,
            #[cfg(feature = "page")]
            page: StatusPage::new(settings),
        })
    }

    /// Answers for as long as the process lives.
    pub fn serve(mut self, counters: &Counters, services: &Arc<Services>) {
        let access = self.access;
        #[cfg(feature = "page")]
        let page = self.page;
        let answer = |request: &Request<'_>| {
            if !matches!(request.method, b"GET" | b"HEAD") {
                return Response::text("405 Method Not Allowed", "");
            }
            if let Some(refusal) = access.refusal(request) {
                return refusal;
            }
            if request.path == b"/metrics" {
                return Response {
                    content_type: "text/plain; version=0.0.4; charset=utf-8",
                    ..Response::text("200 OK", counters.page(services))
                };
            }
            #[cfg(feature = "page")]
            if !matches!(access, Access::Counts)
                && let Some(answer) = page.answer(request, counters, services)
            {
                return answer;
            }
            Response::text("404 Not Found", "The counts are at /metrics.\n")
        };
        loop {
            self.port.serve_for(INTERVAL, &answer);
        }
    }
}

impl Access {
    fn refusal(self, request: &Request<'_>) -> Option<Response> {
        match self {
            Access::Counts => None,
            // SECURITY: a page elsewhere whose name has become 127.0.0.1 asks
            // through the browser of somebody here (DNS rebinding).
            Access::Local => (request.path != b"/metrics" && !names_us(request)).then(|| {
                let why = "Ask for localhost, or for an address of this machine.\n";
                Response::text("403 Forbidden", why)
            }),
            Access::Token(want) => {
                let given = given(request).as_deref().map(hmac_sha256::Hash::hash);
                (given != Some(want)).then(|| Response {
                    headers: "WWW-Authenticate: Basic realm=\"wharf\"\r\n".into(),
                    ..Response::text("401 Unauthorized", "The password is the token.\n")
                })
            }
        }
    }
}

/// Whether the browser asks for this machine by an address, or by a name that
/// nobody else gives.
fn names_us(request: &Request<'_>) -> bool {
    let Some(host) = request.header("host") else {
        return true;
    };
    let host = String::from_utf8_lossy(host);
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => &host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || bare.parse::<IpAddr>().is_ok()
}

/// The token as `Bearer TOKEN`, or as the password of anybody.
fn given(request: &Request<'_>) -> Option<Vec<u8>> {
    let value = request.header("authorization")?;
    let blank = value.iter().position(|byte| *byte == b' ')?;
    let (kind, word) = (&value[..blank], value[blank..].trim_ascii());
    if kind.eq_ignore_ascii_case(b"bearer") {
        return Some(word.to_vec());
    }
    if !kind.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = base64_decode(word)?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

fn token(path: &Path) -> Result<[u8; 32], Failure> {
    let trouble =
        |what: String| Failure::usage(format!("metrics-token-file {}: {what}", path.display()));
    let text = std::fs::read(path).map_err(|error| trouble(error.to_string()))?;
    let token = text.trim_ascii();
    if token.len() < 16 {
        return Err(trouble(
            "a token of at least 16 characters is needed, as openssl rand -hex 16 makes".into(),
        ));
    }
    Ok(hmac_sha256::Hash::hash(token))
}
