//! User authentication (RFC 4252): `none`, `password` and `publickey`, with a
//! limit of tries; the transport's deadline bounds the time.

use std::ops::Range;

use super::fault::{Fault, Reason};
use super::packet_stream::Need;
use super::signature;
use super::transport::Transport;
use super::wire::{Put, Reader, message};
use super::{AuthOutcome, Handler, Method, Proof};
use crate::auth::PublicKey;
use crate::text::Escaped;

/// Requests of any outcome, `none` and questions about keys included: beyond
/// any agent with many keys, short of a guessing machine.
const MOST_REQUESTS: u32 = 64;

/// Lets somebody in, or ends with a fault.
pub(super) fn login(transport: &mut Transport<'_>, handler: &mut dyn Handler) -> Result<(), Fault> {
    service(transport)?;
    let mut tries = Tries::default();
    loop {
        let payload = next(transport)?;
        let outcome = {
            let request = Request::read(transport.packets.incoming.payload(payload.clone()))?;
            tries.name_stays(request.name)?;
            judge(transport, &request, handler)
        };
        transport.packets.incoming.wipe(payload);
        if !std::mem::replace(&mut tries.banner_sent, true) && !transport.settings.banner.is_empty()
        {
            let mut banner = vec![message::USERAUTH_BANNER];
            banner.put_string(transport.settings.banner.as_bytes());
            banner.put_string(b"");
            transport.send(&banner)?;
        }
        tries.requests += 1;
        match outcome? {
            Outcome::Accepted => {
                transport.send(&[message::USERAUTH_SUCCESS])?;
                return Ok(());
            }
            Outcome::KeyWouldDo(question) => transport.send(&question)?,
            Outcome::Refused(counts) => {
                tries.failed += u32::from(counts == Counts::AsTry);
                if tries.failed >= transport.settings.max_tries {
                    return Err(too_many());
                }
                failure(transport)?;
            }
            Outcome::Ended(text) => {
                return Err(Fault::Disconnect(Reason::TooManyConnections, text.into()));
            }
        }
        if tries.requests >= MOST_REQUESTS {
            return Err(too_many());
        }
    }
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
    banner_sent: bool,
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

/// The service request that must come first (RFC 4253, section 10).
fn service(transport: &mut Transport<'_>) -> Result<(), Fault> {
    let payload = next(transport)?;
    let mut reader = Reader::new(transport.packets.incoming.payload(payload));
    if reader.byte()? != message::SERVICE_REQUEST {
        return Err(Fault::protocol("a login must begin with a service request"));
    }
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

fn next(transport: &mut Transport<'_>) -> Result<Range<usize>, Fault> {
    loop {
        if let Some(payload) = transport.next(Need::Packet)? {
            return Ok(payload);
        }
    }
}

fn failure(transport: &mut Transport<'_>) -> Result<(), Fault> {
    let mut answer = vec![message::USERAUTH_FAILURE];
    answer.put_names(
        transport
            .settings
            .methods
            .iter()
            .map(|method| method.name()),
    );
    answer.put_boolean(false);
    transport.send(&answer)
}

/// SSH_MSG_USERAUTH_REQUEST.
struct Request<'a> {
    name: &'a str,
    method: &'a str,
    rest: Reader<'a>,
    /// Everything, for signatures.
    whole: &'a [u8],
}

impl<'a> Request<'a> {
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
        Ok(Request {
            name,
            method: reader.text()?,
            rest: reader,
            whole,
        })
    }
}

enum Outcome {
    Accepted,
    /// SSH_MSG_USERAUTH_PK_OK.
    KeyWouldDo(Vec<u8>),
    Refused(Counts),
    Ended(&'static str),
}

/// Whether a refusal uses up a try. `none` does not: each client asks with it
/// which methods there are.
#[derive(PartialEq, Eq)]
enum Counts {
    AsTry,
    AsQuestion,
}

impl From<AuthOutcome> for Outcome {
    fn from(outcome: AuthOutcome) -> Self {
        match outcome {
            AuthOutcome::Accepted => Outcome::Accepted,
            AuthOutcome::Refused => Outcome::Refused(Counts::AsTry),
            AuthOutcome::Disconnect(text) => Outcome::Ended(text),
        }
    }
}

fn judge(
    transport: &Transport<'_>,
    request: &Request<'_>,
    handler: &mut dyn Handler,
) -> Result<Outcome, Fault> {
    let method = transport
        .settings
        .methods
        .iter()
        .find(|method| method.name() == request.method);
    match (request.method, method) {
        ("none", _) => Ok(match handler.authenticate(request.name, Proof::None) {
            AuthOutcome::Refused => Outcome::Refused(Counts::AsQuestion),
            outcome => outcome.into(),
        }),
        (_, Some(Method::Password)) => {
            let mut rest = request.rest;
            // Passwords can't be changed here (RFC 4252, section 8).
            if rest.boolean()? {
                return Ok(Outcome::Refused(Counts::AsTry));
            }
            let password = rest.string()?;
            Ok(handler
                .authenticate(request.name, Proof::Password(password))
                .into())
        }
        (_, Some(Method::PublicKey)) => public_key(transport, request, handler),
        _ => Ok(Outcome::Refused(Counts::AsTry)),
    }
}

fn public_key(
    transport: &Transport<'_>,
    request: &Request<'_>,
    handler: &mut dyn Handler,
) -> Result<Outcome, Fault> {
    let mut rest = request.rest;
    let signed = rest.boolean()?;
    let algorithm = rest.text()?;
    let blob = rest.string()?;
    let Some(kind) = transport.settings.algorithms.signature(algorithm) else {
        log::debug!(
            "SSH key algorithm {} refused",
            Escaped(algorithm.as_bytes())
        );
        return Ok(Outcome::Refused(Counts::AsTry));
    };
    if Reader::new(blob).string()? != kind.key_type().as_bytes() {
        return Ok(Outcome::Refused(Counts::AsTry));
    }
    let key = PublicKey::new(kind.key_type(), blob);
    // The handler is asked before a signature is checked: verifying is work that
    // a stranger with any large key could make us do.
    match handler.authenticate(request.name, Proof::KeyOffered(&key)) {
        AuthOutcome::Accepted => {}
        outcome => return Ok(outcome.into()),
    }
    if !signed {
        let mut question = vec![message::USERAUTH_PK_OK];
        question.put_string(algorithm.as_bytes());
        question.put_string(blob);
        return Ok(Outcome::KeyWouldDo(question));
    }
    // RFC 4252, section 7: session identifier, then the request up to here.
    let length = request.whole.len() - rest.rest().len();
    let mut message = Vec::with_capacity(length + 64);
    message.put_string(transport.session_id());
    message.put_bytes(&request.whole[..length]);
    if !signature::verify((algorithm, kind), blob, rest.string()?, &message) {
        log::warn!(
            "SSH login of {}: wrong signature of key {}",
            Escaped(request.name.as_bytes()),
            super::fingerprint(blob)
        );
        return Ok(Outcome::Refused(Counts::AsTry));
    }
    Ok(handler
        .authenticate(request.name, Proof::KeyVerified(&key))
        .into())
}
