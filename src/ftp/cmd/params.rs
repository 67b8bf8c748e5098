//! How the next transfer goes: TYPE, STRU, MODE, PORT, PASV, EPRT, EPSV,
//! ALLO, REST, RANG, OPTS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::told::ToldAddress;
use crate::digest::Algorithm;
use crate::error::{ErrorKind, Result};
use crate::ftp::arguments::{offset, small_number};
use crate::ftp::data_port::DataPort;
use crate::ftp::listing::Facts;
use crate::ftp::reply::Reply;
use crate::ftp::state::{Interpreter, Mode, Type};
use crate::session::DataFailure;
use crate::session::log_context::tell_once;

fn no_such_parameter() -> Result<Reply> {
    Ok(Reply::new(504, "Not implemented for that parameter."))
}

pub fn transfer_type(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    // Scanners send "A N", some clients "L8" and lower case.
    let words = argument.to_ascii_uppercase();
    state.parameters.transfer_type = match words.trim_ascii() {
        b"A" | b"A N" => Type::Ascii,
        b"I" | b"I N" | b"L 8" | b"L8" => Type::Image,
        _ => return no_such_parameter(),
    };
    Ok(match state.parameters.transfer_type {
        Type::Ascii => Reply::new(200, "Type is ASCII."),
        Type::Image => Reply::new(200, "Type is binary."),
    })
}

pub fn stru(_: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    if argument.trim_ascii().eq_ignore_ascii_case(b"F") {
        Ok(Reply::new(200, "Structure is file."))
    } else {
        no_such_parameter()
    }
}

pub fn mode(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let (mode, words) = match argument.trim_ascii() {
        b"S" | b"s" => (Mode::Stream, "Mode is stream."),
        b"Z" | b"z" if cfg!(feature = "deflate") => (Mode::Deflate, "Mode is deflate."),
        _ => return no_such_parameter(),
    };
    state.parameters.mode = mode;
    Ok(Reply::new(200, words))
}

/// OPTS MODE Z LEVEL 6 (draft-preston-ftpext-deflate, section 3.2).
fn opts_mode(state: &mut Interpreter, value: &[u8]) -> Result<Reply> {
    let value = value.to_ascii_uppercase();
    match value.strip_prefix(b"Z LEVEL ").map(<[u8]>::trim_ascii) {
        Some([level @ b'0'..=b'9']) if cfg!(feature = "deflate") => {
            state.parameters.level = Some(level - b'0');
            Ok(Reply::new(200, "The level is set."))
        }
        _ => Ok(Reply::new(501, "Expected OPTS MODE Z LEVEL and 0 to 9.")),
    }
}

/// EPSV ALL closes every other way to a data connection.
fn only_epsv(state: &Interpreter) -> Option<Reply> {
    state
        .epsv_all
        .then(|| Reply::new(503, "Only EPSV after EPSV ALL."))
}

pub fn port(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    // Whatever is wrong, the old target is gone.
    state.parameters.data = DataPort::None;
    if let Some(reply) = only_epsv(state) {
        return Ok(reply);
    }
    let numbers: Option<Vec<u8>> = argument
        .trim_ascii()
        .split(|byte| *byte == b',')
        .map(|number| small_number(number.trim_ascii()))
        .collect();
    match numbers.as_deref() {
        Some(&[a, b, c, d, high, low]) => {
            let address = Ipv4Addr::new(a, b, c, d);
            let port = u16::from(high) << 8 | u16::from(low);
            active(state, SocketAddr::new(address.into(), port))
        }
        _ => Ok(Reply::new(501, "Expected PORT h,h,h,h,p,p.")),
    }
}

pub fn eprt(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    state.parameters.data = DataPort::None;
    if let Some(reply) = only_epsv(state) {
        return Ok(reply);
    }
    let wrong = || {
        Ok(Reply::new(
            501,
            "Expected EPRT |1|address|port| or |2|address|port|.",
        ))
    };
    let text = String::from_utf8_lossy(argument.trim_ascii()).into_owned();
    let Some(delimiter) = text
        .chars()
        .next()
        .filter(|first| ('!'..='~').contains(first))
    else {
        return wrong();
    };
    let parts: Vec<&str> = text.split(delimiter).collect();
    let ["", family, address, port, ""] = parts[..] else {
        return wrong();
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(family) || !digits(port) {
        return wrong();
    }
    if family != "1" && family != "2" {
        return Ok(Reply::new(522, "Network protocol not supported, use (1,2)"));
    }
    // A link-local address may carry its zone, which is ours to know.
    let bare = address.split('%').next().unwrap_or(address);
    match (bare.parse::<IpAddr>(), port.parse::<u16>()) {
        (Ok(address), Ok(port)) if address.is_ipv4() == (family == "1") => {
            let mut address = SocketAddr::new(address, port);
            if let (SocketAddr::V6(address), SocketAddr::V6(peer)) =
                (&mut address, state.session.peer())
            {
                address.set_scope_id(peer.scope_id());
            }
            active(state, address)
        }
        _ => wrong(),
    }
}

/// Notes where to connect to. Never to a third party or to a service of the
/// client's machine (CERT CA-1997-27, RFC 2577).
fn active(state: &mut Interpreter, mut address: SocketAddr) -> Result<Reply> {
    // lftp says "EPRT |2|::|port|" over IPv6 and means itself; after a refusal
    // it waits for ever.
    let peer = state.session.peer().ip().to_canonical();
    if address.ip().is_unspecified() && address.is_ipv4() == peer.is_ipv4() {
        address.set_ip(peer);
    }
    if !state.session.config().active_mode {
        return Ok(Reply::new(
            502,
            "Active mode is switched off; use EPSV or PASV.",
        ));
    }
    if address.port() < 1024 || !state.may_be_data_peer(address.ip()) {
        let failures = &state.session.services().data_failures;
        failures.count(DataFailure::WrongAddress);
        tell_once(log::Level::Warn, "refused to connect to", &address);
        return Ok(Reply::new(
            500,
            "Connections go to your own address and to ports from 1024 only.",
        ));
    }
    state.parameters.data = DataPort::Active(address);
    Ok(Reply::new(200, "I will connect there."))
}

pub fn pasv(state: &mut Interpreter, _: &[u8]) -> Result<Reply> {
    if let Some(reply) = only_epsv(state) {
        return Ok(reply);
    }
    let address = match state.told_address() {
        ToldAddress::Known(address) => address,
        ToldAddress::OnlyIpv6 => {
            return Ok(Reply::new(425, "PASV is for IPv4; use EPSV."));
        }
        ToldAddress::Unresolved => {
            return Ok(Reply::new(
                425,
                "The server does not know its own address now; use EPSV.",
            ));
        }
    };
    match state.open_passive() {
        Ok(port) => {
            let [a, b, c, d] = address.octets();
            // Exactly these words: FileZilla and others search them.
            Ok(Reply::new(
                227,
                format!(
                    "Entering Passive Mode ({a},{b},{c},{d},{},{}).",
                    port >> 8,
                    port & 255
                ),
            ))
        }
        Err(error) => Ok(no_port(state, &error)),
    }
}

fn no_port(state: &mut Interpreter, error: &crate::Error) -> Reply {
    let failures = &state.session.services().data_failures;
    failures.count(DataFailure::NoPort);
    tell_once(log::Level::Error, "no passive port", error);
    if error.kind() == ErrorKind::Busy {
        return Reply::new(425, "All ports of the passive range are in use; try again.");
    }
    Reply::new(425, "No data port can be opened now.")
}

pub fn epsv(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let own = if state.session.reached().is_ipv4() {
        "1"
    } else {
        "2"
    };
    let argument = String::from_utf8_lossy(argument.trim_ascii()).to_ascii_uppercase();
    match argument.as_str() {
        "ALL" => {
            state.epsv_all = true;
            state.parameters.data = DataPort::None;
            return Ok(Reply::new(200, "Only EPSV from now on."));
        }
        "" => {}
        family if family == own => {}
        family if family.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Ok(Reply::new(
                522,
                format!("Network protocol not supported, use ({own})"),
            ));
        }
        _ => {
            return Ok(Reply::new(
                501,
                "Expected EPSV, EPSV 1, EPSV 2 or EPSV ALL.",
            ));
        }
    }
    match state.open_passive() {
        Ok(port) => Ok(Reply::new(
            229,
            format!("Entering Extended Passive Mode (|||{port}|)"),
        )),
        Err(error) => Ok(no_port(state, &error)),
    }
}

pub fn allo(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    // "ALLO 5 R 5" names a record size, too.
    let mut words = argument
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty());
    let Some(bytes) = words.next().and_then(offset) else {
        return Ok(Reply::new(501, "Expected ALLO and a number of bytes."));
    };
    // 200 and not 202, at which Dahua cameras hang up.
    match state.files()?.space(&state.parameters.directory) {
        Ok(space) if space.available() < bytes => Ok(Reply::new(452, "Not enough space.")),
        Ok(_) => Ok(Reply::new(200, "Enough space.")),
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Denied) => {
            Ok(Reply::new(200, "No need to allocate."))
        }
        Err(error) => Err(error),
    }
}

pub fn rest(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    match offset(argument.trim_ascii()) {
        Some(offset) => {
            (state.parameters.restart, state.parameters.range_end) = (offset, None);
            Ok(Reply::new(350, format!("Restarting at {offset}.")))
        }
        None => Ok(Reply::new(
            501,
            "Expected REST and an offset of at most 63 bits.",
        )),
    }
}

pub fn rang(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let words: Vec<_> = argument
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty())
        .collect();
    let [first, last] = words[..] else {
        return Ok(Reply::new(501, "Expected RANG and two offsets."));
    };
    match (offset(first), offset(last)) {
        // draft-bryan-ftp-range: a first byte after the last one resets.
        (Some(1), Some(0)) => {
            (state.parameters.restart, state.parameters.range_end) = (0, None);
            Ok(Reply::new(350, "Restarting at 0. No range."))
        }
        (Some(first), Some(last)) if first <= last => {
            (state.parameters.restart, state.parameters.range_end) = (first, Some(last));
            Ok(Reply::new(
                350,
                format!("Restarting at {first}. End byte range at {last}."),
            ))
        }
        _ => Ok(Reply::new(
            501,
            "Expected RANG and two offsets, the smaller first.",
        )),
    }
}

pub fn opts(state: &mut Interpreter, argument: &[u8]) -> Result<Reply> {
    let argument = argument.trim_ascii();
    let end = argument
        .iter()
        .position(|byte| *byte == b' ')
        .unwrap_or(argument.len());
    let (name, value) = (&argument[..end], argument[end..].trim_ascii());
    match name.to_ascii_uppercase().as_slice() {
        // Before USER, too: else the Windows Explorer gives up.
        b"UTF8" | b"UTF-8" => match value.to_ascii_uppercase().as_slice() {
            b"" | b"ON" | b"NLST" => Ok(Reply::new(200, "Names are UTF-8.")),
            b"OFF" => Ok(Reply::new(
                504,
                "Names are bytes; there is nothing to switch off.",
            )),
            _ => Ok(Reply::new(501, "Expected OPTS UTF8 ON.")),
        },
        b"MLST" => {
            state.parameters.facts = Facts::parse(value);
            Ok(Reply::new(
                200,
                format!("MLST OPTS {}", state.parameters.facts.names()),
            ))
        }
        b"MODE" => opts_mode(state, value),
        b"HASH" if value.is_empty() => Ok(Reply::new(200, state.parameters.hash.name())),
        b"HASH" => match Algorithm::find(&String::from_utf8_lossy(value)) {
            Some(algorithm) => {
                state.parameters.hash = algorithm;
                Ok(Reply::new(200, algorithm.name()))
            }
            None => Ok(Reply::new(501, "Unsupported hash.")),
        },
        _ => Ok(Reply::new(501, "Unknown option.")),
    }
}
