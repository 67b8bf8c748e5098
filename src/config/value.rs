//! The types of settings: how each is read from text and shown as text.

use std::any::Any;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use super::{
    ClientCertificate, DataPeer, DotFiles, ProxyData, Symlinks, TlsMin, TlsRequired, TlsReuse,
    UploadReceipt,
};
use crate::address::Network;
use crate::auth::{Perms, QuotaFull};
use crate::error::{Error, ErrorKind};

/// A field of the configuration that text can be read into.
pub trait ConfigField: Any {
    /// Takes one value; a list takes it as one more.
    ///
    /// # Errors
    /// What was expected, as one sentence.
    fn accept(&mut self, text: &str) -> Result<(), String>;

    /// The value or values as text that [`ConfigField::accept`] reads.
    fn shown(&self) -> Vec<String>;

    /// Forgets the values of a list, or what may be unset.
    fn clear(&mut self) {}

    /// Takes the value or values of another field of the same type.
    fn assign(&mut self, other: &dyn ConfigField);
}

fn assign<T: Clone + 'static>(to: &mut T, from: &dyn ConfigField) {
    if let Some(from) = (from as &dyn Any).downcast_ref::<T>() {
        to.clone_from(from);
    }
}

/// A type with one value in text form.
pub(super) trait ConfigWord: Clone + 'static {
    fn read(text: &str) -> Result<Self, String>;
    fn show(&self) -> String;
}

impl<W: ConfigWord> ConfigField for W {
    fn accept(&mut self, text: &str) -> Result<(), String> {
        *self = W::read(text)?;
        Ok(())
    }

    fn shown(&self) -> Vec<String> {
        vec![self.show()]
    }

    fn assign(&mut self, other: &dyn ConfigField) {
        assign(self, other);
    }
}

impl<W: ConfigWord> ConfigField for Option<W> {
    fn accept(&mut self, text: &str) -> Result<(), String> {
        *self = Some(W::read(text)?);
        Ok(())
    }

    fn shown(&self) -> Vec<String> {
        self.iter().map(ConfigWord::show).collect()
    }

    fn clear(&mut self) {
        *self = None;
    }

    fn assign(&mut self, other: &dyn ConfigField) {
        assign(self, other);
    }
}

impl<W: ConfigWord> ConfigField for Vec<W> {
    fn accept(&mut self, text: &str) -> Result<(), String> {
        self.push(W::read(text)?);
        Ok(())
    }

    fn shown(&self) -> Vec<String> {
        self.iter().map(ConfigWord::show).collect()
    }

    fn clear(&mut self) {
        Vec::clear(self);
    }

    fn assign(&mut self, other: &dyn ConfigField) {
        assign(self, other);
    }
}

pub(super) fn expected<T>(what: &str, text: &str) -> Result<T, String> {
    Err(format!("expected {what}, not '{}'", text.escape_debug()))
}

impl ConfigWord for bool {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            // UCI and containers' environments write the others.
            "yes" | "on" | "true" | "1" => Ok(true),
            "no" | "off" | "false" | "0" => Ok(false),
            _ => expected("yes or no", text),
        }
    }

    fn show(&self) -> String {
        if *self { "yes" } else { "no" }.into()
    }
}

impl ConfigWord for u32 {
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .or_else(|_| expected("a whole number from 0 to 4294967295", text))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Bytes, or bytes a second, with K, M, G or T for powers of 1024.
impl ConfigWord for u64 {
    fn read(text: &str) -> Result<Self, String> {
        let (digits, shift) = match text.as_bytes().last() {
            Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
            Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
            Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
            Some(b'T' | b't') => (&text[..text.len() - 1], 40),
            _ => (text, 0),
        };
        match digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(1 << shift))
        {
            Some(number) => Ok(number),
            None => expected("a number, with K, M, G or T for powers of 1024", text),
        }
    }

    fn show(&self) -> String {
        for (shift, letter) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
            if *self != 0 && self.is_multiple_of(1 << shift) {
                return format!("{}{letter}", self >> shift);
            }
        }
        self.to_string()
    }
}

/// Seconds, with fractions, or with `m`, `h` or `d`. Whole numbers do: reading
/// and writing floating-point ones would be 25 KB of the program.
impl ConfigWord for Duration {
    fn read(text: &str) -> Result<Self, String> {
        let (digits, factor) = match text.as_bytes().last() {
            Some(b's') => (&text[..text.len() - 1], 1),
            Some(b'm') => (&text[..text.len() - 1], 60),
            Some(b'h') => (&text[..text.len() - 1], 3600),
            Some(b'd') => (&text[..text.len() - 1], 86400),
            _ => (text, 1),
        };
        let nanoseconds = nanoseconds(digits).and_then(|number| number.checked_mul(factor));
        match nanoseconds {
            Some(number) if number <= 315_360_000 * NANOSECONDS => Ok(Duration::from_nanos(number)),
            _ => expected("seconds, or a number with m, h or d, up to ten years", text),
        }
    }

    fn show(&self) -> String {
        let whole = self.as_secs().to_string();
        match self.subsec_nanos() {
            0 => whole,
            rest => format!("{whole}.{}", format!("{rest:09}").trim_end_matches('0')),
        }
    }
}

const NANOSECONDS: u64 = 1_000_000_000;

/// `12`, `0.5`: a decimal number of seconds. Digits below a nanosecond are dropped.
fn nanoseconds(digits: &str) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let mut rest = 0;
    for place in 0..9 {
        let digit = fraction.as_bytes().get(place).map_or(0, |byte| byte - b'0');
        rest = rest * 10 + u64::from(digit);
    }
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(NANOSECONDS)?.checked_add(rest)
}

impl ConfigWord for String {
    fn read(text: &str) -> Result<Self, String> {
        match text.chars().find(|character| character.is_control()) {
            Some(_) => expected("text without control characters", text),
            None => Ok(text.into()),
        }
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl ConfigWord for PathBuf {
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            expected("a path", text)
        } else {
            Ok(text.into())
        }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl ConfigWord for Perms {
    fn read(text: &str) -> Result<Self, String> {
        Perms::read(text)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl ConfigWord for Network {
    fn read(text: &str) -> Result<Self, String> {
        Network::read(text)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Types with a few words, each with its meaning, in one line each.
macro_rules! words {
    ($type:ty: $($word:literal => $value:path),+ $(,)?) => {
        impl ConfigWord for $type {
            fn read(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($value),)+
                    _ => expected(concat!("one of", $(" ", $word),+), text),
                }
            }

            fn show(&self) -> String {
                match self { $($value => $word.into(),)+ }
            }
        }
    };
}

pub(super) use words;

words!(DataPeer: "same-address" => DataPeer::SameAddress, "same-network" => DataPeer::SameNetwork, "any" => DataPeer::Any);
words!(ProxyData: "header" => ProxyData::Header, "tls" => ProxyData::Tls);
words!(TlsRequired: "no" => TlsRequired::No, "login" => TlsRequired::Login, "data" => TlsRequired::Data);
words!(TlsMin: "default" => TlsMin::Default, "1.2" => TlsMin::Tls12, "1.3" => TlsMin::Tls13);
words!(TlsReuse: "off" => TlsReuse::Off, "prefer" => TlsReuse::Prefer, "require" => TlsReuse::Require);
words!(ClientCertificate: "no" => ClientCertificate::No, "optional" => ClientCertificate::Optional, "required" => ClientCertificate::Required);
words!(QuotaFull: "refuse" => QuotaFull::Refuse, "delete-oldest" => QuotaFull::DeleteOldest);
words!(UploadReceipt: "no" => UploadReceipt::No, "log" => UploadReceipt::Log, "sidecar" => UploadReceipt::Sidecar);
words!(Symlinks: "no" => Symlinks::No, "yes" => Symlinks::Inside, "anywhere" => Symlinks::Anywhere);
words!(DotFiles: "show" => DotFiles::Show, "hide" => DotFiles::Hide, "deny" => DotFiles::Deny);

/// Permission bits, written in octal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u32);

impl ConfigWord for Mode {
    fn read(text: &str) -> Result<Self, String> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Mode(mode)),
            _ => expected("permission bits from 000 to 777 in octal", text),
        }
    }

    fn show(&self) -> String {
        format!("{:03o}", self.0)
    }
}

/// A range of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

impl PortRange {
    /// How many ports there are.
    pub fn count(&self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }
}

impl ConfigWord for PortRange {
    fn read(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(PortRange { first, last }),
            _ => expected("ports such as 50000-50100", text),
        }
    }

    fn show(&self) -> String {
        format!("{}-{}", self.first, self.last)
    }
}

/// A port to listen on, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Address or host name; empty for every address of the machine.
    pub host: String,
    /// Port; 0 lets the system choose.
    pub port: u16,
}

impl Endpoint {
    /// The addresses to bind. Every address of the machine is one dual-stack
    /// socket, with IPv4 alone as the second choice.
    ///
    /// # Errors
    /// A host name that does not resolve.
    pub fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        if self.host.is_empty() {
            return Ok(vec![
                (Ipv6Addr::UNSPECIFIED, self.port).into(),
                (Ipv4Addr::UNSPECIFIED, self.port).into(),
            ]);
        }
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

impl ConfigWord for Endpoint {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || {
            expected(
                "[ADDRESS:]PORT, such as 2121, 127.0.0.1:2121 or [::]:2121",
                text,
            )
        };
        let (host, port) = match text.rsplit_once(':') {
            None => ("", text),
            Some((host, port)) => match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
                Some(Some(host)) => (host, port),
                Some(None) => return wrong(),
                None if host.contains(':') => return wrong(),
                None if host == "*" => ("", port),
                None if host.is_empty() => return wrong(),
                None => (host, port),
            },
        };
        match port.parse() {
            Ok(port) => Ok(Endpoint {
                host: host.into(),
                port,
            }),
            Err(_) => wrong(),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Types that a program can read from text, as the daemon's options are.
macro_rules! parsed {
    ($($type:ty),+ $(,)?) => {$(
        /// Reads what the daemon's option takes.
        impl std::str::FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                ConfigWord::read(text).map_err(|what| Error::new(ErrorKind::Invalid, what))
            }
        }
    )+};
}

pub(super) use parsed;

parsed!(
    ClientCertificate,
    DataPeer,
    DotFiles,
    Endpoint,
    ExternalAddress,
    Mode,
    PortRange,
    ProxyData,
    QuotaFull,
    TlsRequired,
    TlsReuse,
    UploadReceipt,
);

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Endpoint {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.as_str() {
            "" => write!(f, "{}", self.port),
            host if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// The address that clients outside are told in the 227 reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExternalAddress {
    /// This one.
    Fixed(Ipv4Addr),
    /// Whatever the name resolves to, asked again every minute, because
    /// addresses of home lines change.
    Name(String),
}

impl ConfigWord for ExternalAddress {
    fn read(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return if address.is_unspecified() {
                // A camera that was told 0.0.0.0 wrote files of 0 bytes.
                expected("an address that clients can reach", text)
            } else {
                Ok(ExternalAddress::Fixed(address))
            };
        }
        let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if !text.is_empty()
            && text.bytes().all(name)
            && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        {
            Ok(ExternalAddress::Name(text.into()))
        } else {
            expected("an IPv4 address or a host name", text)
        }
    }

    fn show(&self) -> String {
        match self {
            ExternalAddress::Fixed(address) => address.to_string(),
            ExternalAddress::Name(name) => name.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
