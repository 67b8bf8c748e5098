//! The client's side of RFC 8555: signed requests, orders, http-01.

use std::time::{Duration, Instant};

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::EcKey;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::sha::sha256;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use super::json::Json;
use crate::program::json::quoted;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the authority may take to look at an answer, or to sign.
const POLL: Duration = Duration::from_secs(180);
/// The longest pause that is asked for and kept within a run.
const PAUSE_MAX: u64 = 30;
/// The longest body that is read.
const BODY_MAX: u64 = 1 << 20;
/// How often a request is made again whose nonce was too old.
const NONCE_TRIES: u32 = 8;

/// Why there is no certificate, as a sentence.
pub type AcmeResult<T> = Result<T, String>;

/// An account at an authority.
pub struct Client {
    agent: Agent,
    directory: Json,
    nonce: Option<String>,
    key: EcKey<Private>,
    /// The account's address, once known.
    account: Option<String>,
}

/// What the authority answers.
struct Response {
    location: String,
    pause: u64,
    body: String,
}

impl Response {
    fn json(&self) -> AcmeResult<Json> {
        Json::parse(&self.body).ok_or_else(|| "the authority's answer is no JSON".into())
    }
}

/// Whoever makes answers to challenges known.
pub trait Answers {
    /// From now on `content` is found at `token`.
    fn put(&self, token: &str, content: &str) -> AcmeResult<()>;
}

impl Client {
    /// Asks the directory for its addresses.
    pub fn new(directory: &str, key: EcKey<Private>) -> AcmeResult<Client> {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::NativeTls)
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let agent: Agent = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .https_only(true)
            .user_agent(concat!("wharfd/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let mut client = Client {
            agent,
            directory: Json::List(Vec::new()),
            nonce: None,
            key,
            account: None,
        };
        let response = client.agent.get(directory).call();
        client.directory = client.read(response)?.json()?;
        Ok(client)
    }

    /// Where the terms of service are.
    pub fn terms(&self) -> &str {
        let meta = self.directory.field("meta");
        meta.map_or("", |meta| meta.text("termsOfService"))
    }

    /// Finds the account of the key, or, where the terms are agreed to, makes
    /// one.
    pub fn log_in(&mut self, email: Option<&str>, agreed: bool) -> AcmeResult<()> {
        let mut payload = String::from("{\"onlyReturnExisting\":true}");
        if agreed {
            let contact = email.map_or(String::new(), |email| {
                format!(",\"contact\":[{}]", quoted(&format!("mailto:{email}")))
            });
            payload = format!("{{\"termsOfServiceAgreed\":true{contact}}}");
        }
        let url = self.address("newAccount")?;
        let answer = self.post(&url, &payload).map_err(|error| {
            if error.contains("accountDoesNotExist") {
                let terms = self.terms();
                return format!(
                    "there is no account yet: read the terms of service ({terms}) and give \
                     --agree-terms"
                );
            }
            error
        })?;
        self.account = Some(answer.location);
        Ok(())
    }

    /// Orders a certificate for `names` with the key in a signing request;
    /// the chain in PEM.
    pub fn obtain(
        &mut self,
        names: &[String],
        request: &[u8],
        answers: &dyn Answers,
    ) -> AcmeResult<String> {
        let identifiers: Vec<String> = names
            .iter()
            .map(|name| format!("{{\"type\":\"dns\",\"value\":{}}}", quoted(name)))
            .collect();
        let payload = format!("{{\"identifiers\":[{}]}}", identifiers.join(","));
        let url = self.address("newOrder")?;
        let placed = self.post(&url, &payload)?;
        let order = placed.json()?;
        for authorization in order.list("authorizations") {
            if let Json::Text(url) = authorization {
                self.prove(url, answers)?;
            }
        }
        let ready = self.poll(&placed.location, &["ready", "valid"])?;
        let payload = format!("{{\"csr\":{}}}", quoted(&base64url(request)));
        self.post(ready.text("finalize"), &payload)?;
        let order = self.poll(&placed.location, &["valid"])?;
        Ok(self.post(order.text("certificate"), "")?.body)
    }

    /// Shows that a name leads here (section 8.3).
    fn prove(&mut self, url: &str, answers: &dyn Answers) -> AcmeResult<()> {
        let authorization = self.post(url, "")?.json()?;
        if authorization.text("status") == "valid" {
            return Ok(());
        }
        let name = authorization.field("identifier");
        let name = name.map_or("", |name| name.text("value")).to_owned();
        let mut challenges = authorization.list("challenges").iter();
        let challenge = challenges
            .find(|challenge| challenge.text("type") == "http-01")
            .ok_or_else(|| format!("the authority offers no http-01 for {name}"))?;
        let token = challenge.text("token");
        // SECURITY: it becomes the name of a file.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if token.is_empty() || !token.bytes().all(is_plain) {
            return Err("the authority's token is no token".into());
        }
        let thumbprint = sha256(self.public().map_err(words)?.as_bytes());
        answers.put(token, &format!("{token}.{}", base64url(&thumbprint)))?;
        self.post(challenge.text("url"), "{}")?;
        self.poll(url, &["valid"])
            .map(drop)
            .map_err(|error| format!("the authority can't verify {name}: {error}"))
    }

    /// Asks until something has one of the states.
    fn poll(&mut self, url: &str, states: &[&str]) -> AcmeResult<Json> {
        let until = Instant::now() + POLL;
        loop {
            let answer = self.post(url, "")?;
            let json = answer.json()?;
            match json.text("status") {
                state if states.contains(&state) => return Ok(json),
                "invalid" => return Err(trouble(&json)),
                state if Instant::now() > until => return Err(format!("it stays {state}")),
                _ => {}
            }
            std::thread::sleep(Duration::from_secs(answer.pause.clamp(1, PAUSE_MAX)));
        }
    }

    fn address(&self, of: &str) -> AcmeResult<String> {
        match self.directory.text(of) {
            "" => Err(format!("the directory has no {of}; is its URL right?")),
            url => Ok(url.to_owned()),
        }
    }

    /// A signed request (section 6.2); without a payload, a POST-as-GET.
    fn post(&mut self, url: &str, payload: &str) -> AcmeResult<Response> {
        let mut tries = 0;
        loop {
            let body = self.signed(url, payload)?;
            let request = self.agent.post(url);
            let response = request
                .header("Content-Type", "application/jose+json")
                .send(body.as_bytes());
            match self.read(response) {
                Err(error) if error.contains(":badNonce") && tries < NONCE_TRIES => tries += 1,
                outcome => return outcome,
            }
        }
    }

    fn signed(&mut self, url: &str, payload: &str) -> AcmeResult<String> {
        if self.nonce.is_none() {
            let url = self.address("newNonce")?;
            let response = self.agent.head(&url).call();
            self.read(response)?;
        }
        let nonce = self.nonce.take().ok_or("the authority gives no nonce")?;
        let who = match &self.account {
            Some(account) => format!("\"kid\":{}", quoted(account)),
            None => format!("\"jwk\":{}", self.public().map_err(words)?),
        };
        let head = format!(
            "{{\"alg\":\"ES256\",{who},\"nonce\":{},\"url\":{}}}",
            quoted(&nonce),
            quoted(url)
        );
        let (head, payload) = (base64url(head.as_bytes()), base64url(payload.as_bytes()));
        let signature = self.sign(&format!("{head}.{payload}")).map_err(words)?;
        Ok(format!(
            "{{\"protected\":\"{head}\",\"payload\":\"{payload}\",\"signature\":\"{}\"}}",
            base64url(&signature)
        ))
    }

    fn sign(&self, text: &str) -> Result<Vec<u8>, ErrorStack> {
        let signature = EcdsaSig::sign(&sha256(text.as_bytes()), &self.key)?;
        let mut bytes = signature.r().to_vec_padded(32)?;
        bytes.extend(signature.s().to_vec_padded(32)?);
        Ok(bytes)
    }

    /// The public key, as its thumbprint is made of it (RFC 7638).
    fn public(&self) -> Result<String, ErrorStack> {
        let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
        let mut context = BigNumContext::new()?;
        let point = self.key.public_key();
        point.affine_coordinates(self.key.group(), &mut x, &mut y, &mut context)?;
        Ok(format!(
            "{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"{}\",\"y\":\"{}\"}}",
            base64url(&x.to_vec_padded(32)?),
            base64url(&y.to_vec_padded(32)?)
        ))
    }

    fn read(
        &mut self,
        response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> AcmeResult<Response> {
        let mut response = response.map_err(|error| unreachable_because(&error.to_string()))?;
        let header = |name| {
            let value = response.headers().get(name);
            value.and_then(|value| Some(value.to_str().ok()?.to_owned()))
        };
        if let Some(nonce) = header("replay-nonce") {
            self.nonce = Some(nonce);
        }
        let answer = Response {
            location: header("location").unwrap_or_default(),
            pause: header("retry-after")
                .and_then(|text| text.parse().ok())
                .unwrap_or(1),
            body: String::new(),
        };
        let well = response.status().is_success();
        let body = response.body_mut().with_config().limit(BODY_MAX);
        let body = body
            .read_to_string()
            .map_err(|error| unreachable_because(&error.to_string()))?;
        if well {
            return Ok(Response { body, ..answer });
        }
        let problem = Json::parse(&body).unwrap_or(Json::Text(String::new()));
        let mut what = match problem.text("detail") {
            "" => format!("the authority answers {}", response.status()),
            detail => format!("{detail} ({})", problem.text("type")),
        };
        if problem.text("type").ends_with(":rateLimited") {
            what.push_str(&format!("; wait {} seconds at least", answer.pause));
        }
        Err(what)
    }
}

fn unreachable_because(error: &str) -> String {
    let hint = if error.contains("not yet valid") || error.contains("has expired") {
        "; is this machine's clock right?"
    } else if error.contains("issuer certificate") || error.contains("self-signed") {
        "; this machine does not know who signed the authority's own certificate (ca-certificates)"
    } else {
        ""
    };
    format!("the authority can't be reached: {error}{hint}")
}

/// What an order, an authorization or a challenge has failed by.
fn trouble(json: &Json) -> String {
    let own = json.field("error");
    let challenges = json.list("challenges").iter();
    let mut errors = own
        .into_iter()
        .chain(challenges.filter_map(|one| one.field("error")));
    match errors.next() {
        Some(error) => format!("{} ({})", error.text("detail"), error.text("type")),
        None => "it is invalid".into(),
    }
}

fn words(error: ErrorStack) -> String {
    format!("signing: {error}")
}

fn base64url(bytes: &[u8]) -> String {
    let text = openssl::base64::encode_block(bytes);
    text.trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_")
}

/// A new key for an account or a certificate.
pub fn new_key() -> Result<EcKey<Private>, ErrorStack> {
    let curve = openssl::nid::Nid::X9_62_PRIME256V1;
    let mut group = openssl::ec::EcGroup::from_curve_name(curve)?;
    group.set_asn1_flag(openssl::ec::Asn1Flag::NAMED_CURVE);
    EcKey::generate(&group)
}

/// A signing request for names, in DER.
pub fn request(names: &[String], key: &PKey<Private>) -> Result<Vec<u8>, ErrorStack> {
    let mut builder = openssl::x509::X509Req::builder()?;
    builder.set_pubkey(key)?;
    let mut alternatives = openssl::x509::extension::SubjectAlternativeName::new();
    for name in names {
        alternatives.dns(name);
    }
    let extension = alternatives.build(&builder.x509v3_context(None))?;
    let mut extensions = openssl::stack::Stack::new()?;
    extensions.push(extension)?;
    builder.add_extensions(&extensions)?;
    builder.sign(key, openssl::hash::MessageDigest::sha256())?;
    builder.build().to_der()
}
