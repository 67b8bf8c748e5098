//! User authentication (RFC 4252): `none`, `password`, `publickey` and
//! `keyboard-interactive` (RFC 4256) with a password behind it. The number of
//! tries is limited; the transport's deadline bounds the time.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::algorithms::{Algorithms, SignatureKind};
use super::fault::{Fault, Reason};
use super::packet_stream::Need;
use super::signature;
use super::transport::Transport;
use super::wire::{Put, message};
use super::{AuthOutcome, Handler, Method, Proof};
use crate::auth::{Certificate, PublicKey, plain_algorithm};
use crate::session::log_context::tell_once;
use crate::ssh_data::Reader;
use crate::text::Escaped;

/// Requests of any outcome, `none` and questions about keys included: beyond
/// any agent with many keys, short of a guessing machine.
const MOST_REQUESTS: u32 = 64;
/// Requests for the service: paramiko sends one before each of its tries.
const MOST_SERVICE_REQUESTS: u32 = 2 * MOST_REQUESTS;
/// Keys that may be offered in vain before each further one counts as a failed
/// login: an agent with twenty keys still logs in.
const FREE_KEYS: u32 = 20;
/// The least time that the refusal of a key takes (as in OpenSSH's server).
const LEAST_REFUSAL: Duration = Duration::from_millis(5);

/// Lets somebody in, or ends with a fault.
pub(super) fn login(transport: &mut Transport<'_>, handler: &mut dyn Handler) -> Result<(), Fault> {
    let payload = next(transport)?;
    if first_byte(transport, payload.clone()) != message::SERVICE_REQUEST {
        return Err(Fault::protocol("a login must begin with a service request"));
    }
    service(transport, payload)?;
    let mut tries = Tries::default();
    loop {
        let payload = next(transport)?;
        let outcome = match first_byte(transport, payload.clone()) {
            message::SERVICE_REQUEST => {
                tries.services += 1;
                if tries.services >= MOST_SERVICE_REQUESTS {
                    return Err(too_many());
                }
                service(transport, payload)?;
                continue;
            }
            message::USERAUTH_INFO_RESPONSE => {
                let bytes = transport.packets.incoming.payload(payload.clone());
                info_response(bytes, &mut tries, handler)
            }
            _ => {
                // RFC 4256, section 3.1: another request gives the question up.
                tries.asked = Asked::Nothing;
                let bytes = transport.packets.incoming.payload(payload.clone());
                let request = AuthRequest::read(bytes)?;
                tries.name_stays(request.name)?;
                judge(transport, &request, &mut tries, handler)
            }
        };
        transport.packets.incoming.wipe(payload);
        send_banner(transport, &mut tries)?;
        tries.requests += 1;
        match outcome? {
            Verdict::Accepted => {
                transport.send(&[message::USERAUTH_SUCCESS])?;
                return Ok(());
            }
            Verdict::Question(question) => transport.send(&question)?,
            Verdict::More(methods) => {
                tries.methods = Some(methods);
                failure(transport, tries.methods, true)?;
            }
            Verdict::Refused(counts) => {
                tries.failed += u32::from(counts == Counts::AsTry);
                if tries.failed >= transport.settings.max_tries {
                    return Err(too_many());
                }
                failure(transport, tries.methods, false)?;
            }
            Verdict::Disconnect(text) => {
                return Err(Fault::Disconnect(Reason::TooManyConnections, text.into()));
            }
        }
        if tries.requests >= MOST_REQUESTS {
            return Err(too_many());
        }
    }
}

/// The banner comes once, before the answer to the first request.
fn send_banner(transport: &mut Transport<'_>, tries: &mut Tries) -> Result<(), Fault> {
    if std::mem::replace(&mut tries.banner_sent, true) || transport.settings.banner.is_empty() {
        return Ok(());
    }
    let mut banner = vec![message::USERAUTH_BANNER];
    banner.put_string(transport.settings.banner.as_bytes());
    banner.put_string(b"");
    transport.send(&banner)
}

fn too_many() -> Fault {
    Fault::Disconnect(
        Reason::NoMoreAuthMethodsAvailable,
        "too many authentication failures".into(),
    )
}

#[derive(Default)]
struct Tries {
    name: Option<String>,
    failed: u32,
    requests: u32,
    services: u32,
    /// Keys that were refused.
    keys: u32,
    /// What keyboard-interactive waits for.
    asked: Asked,
    /// The only methods that are left, once something has been shown.
    methods: Option<&'static [Method]>,
    banner_sent: bool,
}

/// What keyboard-interactive has asked for.
#[derive(Default)]
enum Asked {
    #[default]
    Nothing,
    Password,
    /// The code that goes with this password.
    Code(Vec<u8>),
}

impl Tries {
    /// RFC 4252 lets a client change the name, but nobody does it in good
    /// faith (OpenSSH ends the connection too).
    fn name_stays(&mut self, name: &str) -> Result<(), Fault> {
        match &self.name {
            Some(before) if before != name => Err(Fault::protocol("the user name changed")),
            Some(_) => Ok(()),
            None => {
                self.name = Some(name.to_owned());
                Ok(())
            }
        }
    }
}

/// Answers a service request (RFC 4253, section 10): the one that comes first,
/// and those that some clients repeat before each try.
fn service(transport: &mut Transport<'_>, payload: Range<usize>) -> Result<(), Fault> {
    let mut reader = Reader::new(transport.packets.incoming.payload(payload));
    reader.byte()?;
    if reader.string()? != b"ssh-userauth" {
        return Err(Fault::Disconnect(
            Reason::ServiceNotAvailable,
            "only ssh-userauth is served before login".into(),
        ));
    }
    let mut accept = vec![message::SERVICE_ACCEPT];
    accept.put_string(b"ssh-userauth");
    transport.send(&accept)
}

fn first_byte(transport: &Transport<'_>, payload: Range<usize>) -> u8 {
    let bytes = transport.packets.incoming.payload(payload);
    bytes.first().copied().unwrap_or_default()
}

fn next(transport: &mut Transport<'_>) -> Result<Range<usize>, Fault> {
    loop {
        if let Some(payload) = transport.next(Need::Packet)? {
            return Ok(payload);
        }
    }
}

fn failure(
    transport: &mut Transport<'_>,
    left: Option<&[Method]>,
    partial: bool,
) -> Result<(), Fault> {
    let mut answer = vec![message::USERAUTH_FAILURE];
    let methods = transport.settings.methods.iter();
    let left = methods.filter(|method| left.is_none_or(|left| left.contains(method)));
    answer.put_names(left.map(|method| method.name()));
    answer.put_boolean(partial);
    transport.send(&answer)
}

/// SSH_MSG_USERAUTH_REQUEST.
struct AuthRequest<'a> {
    name: &'a str,
    method: &'a str,
    rest: Reader<'a>,
    /// Everything, for signatures.
    whole: &'a [u8],
}

impl<'a> AuthRequest<'a> {
    fn read(whole: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(whole);
        if reader.byte()? != message::USERAUTH_REQUEST {
            return Err(Fault::protocol("a login request was expected"));
        }
        let name = reader.text()?;
        if reader.string()? != b"ssh-connection" {
            return Err(Fault::Disconnect(
                Reason::ServiceNotAvailable,
                "only ssh-connection is served after login".into(),
            ));
        }
        Ok(AuthRequest {
            name,
            method: reader.text()?,
            rest: reader,
            whole,
        })
    }
}

enum Verdict {
    Accepted,
    /// SSH_MSG_USERAUTH_PK_OK or SSH_MSG_USERAUTH_INFO_REQUEST.
    Question(Vec<u8>),
    Refused(Counts),
    More(&'static [Method]),
    Disconnect(&'static str),
}

/// Whether a refusal uses up a try. `none` does not: each client asks with it
/// which methods there are.
#[derive(PartialEq, Eq)]
enum Counts {
    AsTry,
    AsQuestion,
}

impl From<AuthOutcome> for Verdict {
    fn from(outcome: AuthOutcome) -> Self {
        match outcome {
            AuthOutcome::Accepted => Verdict::Accepted,
            AuthOutcome::More(methods) => Verdict::More(methods),
            AuthOutcome::Refused => Verdict::Refused(Counts::AsTry),
            AuthOutcome::Disconnect(text) => Verdict::Disconnect(text),
        }
    }
}

fn judge(
    transport: &Transport<'_>,
    request: &AuthRequest<'_>,
    tries: &mut Tries,
    handler: &mut dyn Handler,
) -> Result<Verdict, Fault> {
    let method = transport
        .settings
        .methods
        .iter()
        .filter(|method| tries.methods.is_none_or(|left| left.contains(method)))
        .find(|method| method.name() == request.method);
    match (request.method, method) {
        ("none", _) => Ok(match handler.authenticate(request.name, Proof::None) {
            AuthOutcome::Refused => Verdict::Refused(Counts::AsQuestion),
            outcome => outcome.into(),
        }),
        (_, Some(Method::Password)) => {
            let mut rest = request.rest;
            // Passwords can't be changed here (RFC 4252, section 8).
            if rest.boolean()? {
                return Ok(Verdict::Refused(Counts::AsTry));
            }
            let password = rest.string()?;
            Ok(handler
                .authenticate(request.name, Proof::Password(password))
                .into())
        }
        (_, Some(Method::KeyboardInteractive)) => {
            tries.asked = Asked::Password;
            Ok(Verdict::Question(prompt(b"Password: ")))
        }
        (_, Some(Method::PublicKey)) => public_key(transport, request, tries, handler),
        _ => Ok(Verdict::Refused(Counts::AsTry)),
    }
}

/// SSH_MSG_USERAUTH_INFO_REQUEST (RFC 4256, section 3.2) with one prompt.
fn prompt(text: &[u8]) -> Vec<u8> {
    let mut question = vec![message::USERAUTH_INFO_REQUEST];
    // Name, instruction, language.
    for _ in 0..3 {
        question.put_string(b"");
    }
    question.put_u32(1);
    question.put_string(text);
    question.put_boolean(false);
    question
}

/// The answer to [`prompt`].
fn info_response(
    bytes: &[u8],
    tries: &mut Tries,
    handler: &mut dyn Handler,
) -> Result<Verdict, Fault> {
    let Some(name) = &tries.name else {
        return Err(Fault::protocol("an answer without a question"));
    };
    let asked = std::mem::take(&mut tries.asked);
    if matches!(asked, Asked::Nothing) {
        return Err(Fault::protocol("an answer without a question"));
    }
    let mut reader = Reader::new(bytes);
    reader.byte()?;
    if reader.u32()? != 1 {
        return Ok(Verdict::Refused(Counts::AsTry));
    }
    let answer = reader.string()?;
    let mut both = match asked {
        Asked::Code(password) => password,
        // SECURITY: asked whatever the password is, or it could be guessed on
        // its own.
        _ if handler.wants_code(name) => {
            tries.asked = Asked::Code(answer.to_vec());
            return Ok(Verdict::Question(prompt(b"One-time code: ")));
        }
        _ => return Ok(handler.authenticate(name, Proof::Password(answer)).into()),
    };
    both.put_bytes(answer.trim_ascii());
    let outcome = handler.authenticate(name, Proof::Password(&both));
    both.fill(0);
    Ok(outcome.into())
}

fn public_key(
    transport: &Transport<'_>,
    request: &AuthRequest<'_>,
    tries: &mut Tries,
    handler: &mut dyn Handler,
) -> Result<Verdict, Fault> {
    let began = Instant::now();
    let mut rest = request.rest;
    let signed = rest.boolean()?;
    let algorithm = rest.text()?;
    let blob = rest.string()?;
    let algorithms = &transport.settings.algorithms;
    let Some(mut shown) = Shown::read(algorithms, algorithm, blob) else {
        let what = Escaped(algorithm.as_bytes());
        tell_once(log::Level::Info, "SSH key algorithm refused", &what);
        return Ok(refuse_key(request.name, tries, handler, began));
    };
    // The handler is asked before a signature is checked: verifying is work
    // that anybody with any large key could make us do.
    match handler.authenticate(request.name, Proof::KeyOffered(&shown.key)) {
        AuthOutcome::Accepted => {}
        AuthOutcome::Refused | AuthOutcome::More(_) => {
            return Ok(refuse_key(request.name, tries, handler, began));
        }
        outcome => return Ok(outcome.into()),
    }
    if !shown.is_certified(algorithms) {
        log::warn!(
            "SSH login of {}: a certificate that its authority has not signed",
            Escaped(request.name.as_bytes())
        );
        return Ok(refuse_key(request.name, tries, handler, began));
    }
    if !signed {
        let mut question = vec![message::USERAUTH_PK_OK];
        question.put_string(algorithm.as_bytes());
        question.put_string(blob);
        return Ok(Verdict::Question(question));
    }
    // RFC 4252, section 7: session identifier, then the request up to here.
    let length = request.whole.len() - rest.rest().len();
    let mut message = Vec::with_capacity(length + 64);
    message.put_string(transport.session_id());
    message.put_bytes(&request.whole[..length]);
    let signed = rest.string()?;
    let by = (shown.algorithm.as_str(), shown.kind);
    if !signature::verify(by, shown.plain_blob(), signed, &message) {
        log::warn!(
            "SSH login of {}: wrong signature of key {}",
            Escaped(request.name.as_bytes()),
            super::fingerprint(blob)
        );
        return Ok(Verdict::Refused(Counts::AsTry));
    }
    shown.key.user_verified = signature::user_verified(shown.kind, signed)?;
    Ok(handler
        .authenticate(request.name, Proof::KeyVerified(&shown.key))
        .into())
}

/// What a client shows: a key, or a certificate of one.
struct Shown<'a> {
    key: PublicKey,
    /// The algorithm of its signatures, without the certificate.
    algorithm: String,
    kind: SignatureKind,
    certificate: Option<Certificate<'a>>,
}

impl<'a> Shown<'a> {
    /// `None`: nothing that is allowed or can be read.
    fn read(allowed: &Algorithms, algorithm: &str, blob: &'a [u8]) -> Option<Self> {
        let plain = plain_algorithm(algorithm);
        let name = plain.as_deref().unwrap_or(algorithm);
        let kind = allowed.signature(name)?;
        // One that is cut is a key that is refused, as with sshd.
        let key_type = Reader::new(blob).text().unwrap_or_default();
        let certificate = match plain {
            Some(_) => Some(Certificate::read(blob)?),
            None => None,
        };
        let inner = certificate
            .as_ref()
            .map_or(key_type, |certificate| &certificate.key.algorithm);
        (inner == kind.key_type()).then(|| Shown {
            key: PublicKey::new(key_type, blob),
            algorithm: name.to_owned(),
            kind,
            certificate,
        })
    }

    fn plain_blob(&self) -> &[u8] {
        let certificate = self.certificate.as_ref();
        certificate.map_or(&self.key.blob, |certificate| &certificate.key.blob)
    }

    /// Whether its authority has signed it, if it is a certificate.
    fn is_certified(&self, allowed: &Algorithms) -> bool {
        let certificate = self.certificate.as_ref();
        certificate.is_none_or(|certificate| signature::is_certified(certificate, allowed))
    }
}

/// Refuses a key: for nothing at first, because agents offer all they have,
/// and later as a failed login.
///
/// SECURITY: the time of the answer does not tell whether the name exists and
/// has keys that had to be read.
fn refuse_key(name: &str, tries: &mut Tries, handler: &mut dyn Handler, began: Instant) -> Verdict {
    tries.keys += 1;
    if tries.keys > FREE_KEYS {
        return handler.too_many_keys(name).into();
    }
    let mut least = LEAST_REFUSAL;
    while least < began.elapsed() {
        least *= 2;
    }
    std::thread::sleep(least.saturating_sub(began.elapsed()));
    Verdict::Refused(Counts::AsQuestion)
}
