//! The client's first message, read before the TLS library sees it.
//!
//! One reader serves both back-ends, because native-tls offers no hook for
//! the server name and can't refuse an application protocol. It only looks:
//! the same bytes then go to the library, which checks the rest (RFC 5246,
//! section 7.4.1.2; RFC 8446, section 4.1.2).

use super::ResumptionId;

/// Longest ClientHello taken, in bytes. With post-quantum key shares they
/// reach about 2 KiB; more than a record's length is nobody's.
pub(super) const LONGEST: usize = 16 * 1024;

/// What matters of a ClientHello.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The host name asked for (RFC 6066), in lower case.
    pub server_name: Option<String>,
    /// The application protocols offered (RFC 7301); `None` without the
    /// extension.
    pub protocols: Option<Vec<Vec<u8>>>,
    /// Whether it takes a certificate with an EC key: its signatures, and a
    /// cipher suite with it or one of TLS 1.3.
    pub ecdsa: bool,
    /// The sessions that it asks to resume.
    pub sessions: Vec<ResumptionId>,
}

/// OpenSSL's tickets begin with the name of their key (RFC 5077, section 4).
const KEY_NAME: usize = 16;

/// What a ticket can be told from others by.
fn ticket(ticket: &[u8]) -> Option<ResumptionId> {
    ticket.get(..KEY_NAME).map(<[u8]>::to_vec)
}

/// What a client will name the session by that a TLS 1.2 server has granted
/// with these bytes, which end with its ChangeCipherSpec (RFC 5246, section 7.3; RFC
/// 5077, section 3.3). In TLS 1.3 all of that is encrypted.
pub(super) fn granted(mut records: &[u8]) -> Vec<ResumptionId> {
    let mut messages = Vec::new();
    while let [HANDSHAKE, _, _, high, low, rest @ ..] = records {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((body, after)) = rest.split_at_checked(length) else {
            break;
        };
        messages.extend_from_slice(body);
        records = after;
    }
    let (mut ids, mut left) = (Vec::new(), Cursor(&messages));
    while let Some((kind, mut body)) = left.message() {
        let id = match kind {
            // ServerHello: version, random, session id.
            2 => body
                .take(2 + 32)
                .and_then(|_| Some(body.vector8()?.0.to_vec())),
            // NewSessionTicket: lifetime, ticket.
            4 => body.take(4).and_then(|_| ticket(body.vector16()?.0)),
            _ => None,
        };
        ids.extend(id.filter(|id| !id.is_empty()));
    }
    ids
}

/// The type of records with messages of the handshake.
const HANDSHAKE: u8 = 22;

/// What the bytes read so far are.
#[derive(Debug, PartialEq, Eq)]
pub enum FirstBytes {
    /// A whole ClientHello.
    ClientHello(ClientHello),
    /// The beginning of one.
    Incomplete,
    /// No TLS at all, such as an FTP command or an HTTP request.
    NotTls,
    /// The records of TLS with something else inside.
    Malformed,
}

/// Inspects all that the client has sent.
pub fn inspect(bytes: &[u8]) -> FirstBytes {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        // A record of type handshake, version 3.x (SSLv2 hellos, which begin
        // with a length, count as "no TLS").
        match rest {
            [] => break,
            [kind, ..] if *kind != 22 => {
                return if message.is_empty() {
                    FirstBytes::NotTls
                } else {
                    FirstBytes::Malformed
                };
            }
            [_, major, ..] if *major != 3 => return FirstBytes::NotTls,
            [_, _, _, high, low, body @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if length == 0 || length > LONGEST {
                    return FirstBytes::Malformed;
                }
                let here = length.min(body.len());
                message.extend_from_slice(&body[..here]);
                rest = &body[here..];
            }
            _ => break,
        }
        if let Some(found) = hello(&message) {
            return found;
        }
    }
    if message.len() > LONGEST {
        FirstBytes::Malformed
    } else {
        FirstBytes::Incomplete
    }
}

/// The message, once it is whole.
fn hello(message: &[u8]) -> Option<FirstBytes> {
    let [kind, a, b, c, body @ ..] = message else {
        return None;
    };
    let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).ok()?;
    if *kind != 1 || length > LONGEST {
        return Some(FirstBytes::Malformed);
    }
    let body = body.get(..length)?;
    Some(match parse(body) {
        Some(hello) => FirstBytes::ClientHello(hello),
        None => FirstBytes::Malformed,
    })
}

fn parse(body: &[u8]) -> Option<ClientHello> {
    let mut body = Cursor(body);
    body.take(2 + 32)?; // version, random
    let session = body.vector8()?.0;
    let suites = body.vector16()?.0;
    body.vector8()?; // compression methods
    let mut hello = ClientHello::default();
    if !session.is_empty() {
        hello.sessions.push(session.to_vec());
    }
    if body.0.is_empty() {
        return Some(hello); // a hello without extensions is legal
    }
    let suits = |[high, low]: [u8; 2]| match high {
        0x13 => true,
        0xc0 => matches!(low, 0x09 | 0x0a | 0x23 | 0x24 | 0x2b | 0x2c),
        0xcc => low == 0xa9,
        _ => false,
    };
    let ecdsa_suites = pairs(suites).any(suits);
    let mut extensions = body.vector16()?;
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let mut content = extensions.vector16()?;
        match kind {
            0 => hello.server_name = server_name(content),
            // ecdsa_secp256r1_sha256 and its kin (RFC 8446, section 4.2.3).
            13 => {
                let signatures = content.vector16()?.0;
                hello.ecdsa = ecdsa_suites && pairs(signatures).any(|[_, low]| low == 3);
            }
            35 => hello.sessions.extend(ticket(content.0)),
            // The tickets of TLS 1.3 (RFC 8446, section 4.2.11).
            41 => {
                let mut identities = content.vector16()?;
                while !identities.0.is_empty() {
                    hello.sessions.extend(ticket(identities.vector16()?.0));
                    identities.take(4)?; // obfuscated age
                }
            }
            16 => {
                let mut list = content.vector16()?;
                let mut protocols = Vec::new();
                while !list.0.is_empty() {
                    protocols.push(list.vector8()?.0.to_vec());
                }
                hello.protocols = Some(protocols);
            }
            _ => {}
        }
    }
    Some(hello)
}

fn pairs(bytes: &[u8]) -> impl Iterator<Item = [u8; 2]> {
    bytes
        .chunks_exact(2)
        .filter_map(|pair| pair.try_into().ok())
}

/// A name that can't be read counts as none: it only chooses a certificate.
fn server_name(mut content: Cursor<'_>) -> Option<String> {
    let mut list = content.vector16()?;
    while !list.0.is_empty() {
        let kind = list.take(1)?;
        let name = list.vector16()?;
        if kind == [0] {
            let name = std::str::from_utf8(name.0).ok()?;
            return Some(name.trim_end_matches('.').to_ascii_lowercase());
        }
    }
    None
}

/// Takes from the front of a slice, never past its end.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<usize> {
        let bytes = self.take(2)?;
        Some(usize::from(u16::from_be_bytes([
            *bytes.first()?,
            *bytes.last()?,
        ])))
    }

    /// A message of the handshake: its type and its body.
    fn message(&mut self) -> Option<(u8, Cursor<'a>)> {
        let [kind, a, b, c] = *self.take(4)?.first_chunk()?;
        let length = u32::from_be_bytes([0, a, b, c]);
        let body = self.take(usize::try_from(length).ok()?)?;
        Some((kind, Cursor(body)))
    }

    fn vector8(&mut self) -> Option<Cursor<'a>> {
        let length = usize::from(*self.take(1)?.first()?);
        self.take(length).map(Cursor)
    }

    fn vector16(&mut self) -> Option<Cursor<'a>> {
        let length = self.number()?;
        self.take(length).map(Cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hello with `extensions`, cut into records of `record` bytes.
    fn sample(extensions: &[(u16, &[u8])], record: usize) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        body.push(0);
        body.extend_from_slice(&[0, 2, 0xc0, 0x2f, 1, 0]);
        let mut list = Vec::new();
        for (kind, content) in extensions {
            list.extend_from_slice(&kind.to_be_bytes());
            list.extend_from_slice(&(content.len() as u16).to_be_bytes());
            list.extend_from_slice(content);
        }
        body.extend_from_slice(&(list.len() as u16).to_be_bytes());
        body.extend_from_slice(&list);
        let mut message = vec![1, 0];
        message.extend_from_slice(&(body.len() as u16).to_be_bytes());
        message.extend_from_slice(&body);
        let mut bytes = Vec::new();
        for piece in message.chunks(record) {
            bytes.extend_from_slice(&[22, 3, 1]);
            bytes.extend_from_slice(&(piece.len() as u16).to_be_bytes());
            bytes.extend_from_slice(piece);
        }
        bytes
    }

    const NAME: &[u8] = b"\0\x0c\0\0\x09Host.Test";
    const PROTOCOLS: &[u8] = b"\0\x04\x03ftp";

    #[test]
    fn name_and_protocols_are_found_however_the_hello_is_cut() {
        for record in [1, 3, 50, 16384] {
            let bytes = sample(&[(0, NAME), (16, PROTOCOLS), (43, b"\x02\x03\x03")], record);
            for end in 0..bytes.len() {
                assert_eq!(
                    inspect(&bytes[..end]),
                    FirstBytes::Incomplete,
                    "{end} of {record}"
                );
            }
            let want = ClientHello {
                sessions: Vec::new(),
                ecdsa: false,
                server_name: Some("host.test".into()),
                protocols: Some(vec![b"ftp".to_vec()]),
            };
            assert_eq!(inspect(&bytes), FirstBytes::ClientHello(want));
        }
    }

    #[test]
    fn what_is_no_hello_is_told_from_one() {
        let mut broken = sample(&[(16, b"\0\x04\x09ftp")], 16384);
        assert_eq!(inspect(&broken), FirstBytes::Malformed);
        broken[5] = 2; // a ServerHello
        assert_eq!(inspect(&broken), FirstBytes::Malformed);
        for (bytes, want) in [
            (&b"USER me\r\n"[..], FirstBytes::NotTls),
            (b"GET / HTTP/1.1\r\n", FirstBytes::NotTls),
            (b"\x80\x2e\x01\x00\x02", FirstBytes::NotTls), // SSLv2
            (b"\x16\x03\x01\x00\x00", FirstBytes::Malformed),
            (b"\x16\x03\x01\xff\xff\x01", FirstBytes::Malformed),
            (
                b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
                FirstBytes::Malformed,
            ),
            (b"\x16\x03\x01\x00\x01\x01\x17", FirstBytes::Malformed),
            (b"", FirstBytes::Incomplete),
        ] {
            assert_eq!(inspect(bytes), want, "{bytes:?}");
        }
    }

    #[test]
    fn noise_never_panics() {
        let good = sample(&[(0, NAME), (16, PROTOCOLS)], 16384);
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = value;
                inspect(&bytes);
            }
        }
    }
}
