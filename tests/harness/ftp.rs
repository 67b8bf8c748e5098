//! The entries of fuzzers: bytes of a client on the control connection.
//! Whatever they are, nothing panics and the session ends with the bytes.

#[cfg(feature = "ftps")]
mod under_tls;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::Security;
use super::line::{ControlLine, LineReader};
use super::listing::{self, Facts, ListedAs, Owners, Style};
use crate::auth::{Authenticator, Credentials, Perms, User};
use crate::config::{Config, ListTime};
use crate::error::Result;
use crate::net::socket::Socket;
use crate::net::stream::Stream;
use crate::session::{Services, Session};
use crate::storage::{
    Create, FileKind, FileSystem, MemoryFs, Metadata, OpenOptions, VirtualPath, Write as How,
};
use crate::time::after_1970;

/// Bytes of a client that are looked at: with all that is answered to them
/// they fit into a socket's buffer, so that one thread can be both sides.
const MOST: usize = 1024;

#[cfg(feature = "ftps")]
pub(crate) use under_tls::session as session_under_tls;

struct LetIn(User);

impl Authenticator for LetIn {
    fn authenticate(&self, _: &Credentials<'_>) -> Result<User> {
        Ok(self.0.clone())
    }
}

fn files() -> Result<MemoryFs> {
    let files = MemoryFs::new().with_capacity_limit(1 << 20);
    let root = VirtualPath::root();
    files.make_dir(&root.join(b"d")?, 0o755)?;
    files.symlink(b"d/../f", &root.join(b"link")?)?;
    files.symlink(b"loop", &root.join(b"loop")?)?;
    let options = OpenOptions::write(How::At, Create::New, 0o644);
    files
        .open(&root.join(b"f")?, &options)?
        .write_all_at(b"contents\n", 0)?;
    Ok(files)
}

/// Serves what `data` says to a client who logs in as anybody. An odd first
/// byte logs in before, an even one leaves it to the bytes.
pub fn session(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let login: &[u8] = match first & 1 {
        0 => b"",
        _ => b"USER ann\r\nPASS x\r\n",
    };
    let rest = &rest[..rest.len().min(MOST)];
    // An error is as good as an end.
    let _ = serve(&[login, rest].concat());
}

fn serve(bytes: &[u8]) -> Result<Vec<u8>> {
    let (mut client, server) = UnixStream::pair()?;
    client.write_all(bytes)?;
    client.shutdown(Shutdown::Write)?;
    let services = Arc::new(services()?);
    let peer = SocketAddr::from(([127, 0, 0, 1], 5));
    let ticket = services.limits.admit(peer.ip(), &services.config())?;
    let session = Session::new(&services, ticket, peer, peer, "ftp");
    super::run(Stream::Plain(Socket::from(server)), session, Security::None)?;
    let mut replies = Vec::new();
    client.read_to_end(&mut replies)?;
    Ok(replies)
}

fn services() -> Result<Services> {
    let config = Config {
        data_connect_timeout: Duration::from_millis(1),
        login_delay: Duration::ZERO,
        // Nobody is to be connected to from here.
        active_mode: false,
        site_symlink: crate::config::Symlinks::Anywhere,
        ..Config::default()
    };
    let user = User::new("ann", Arc::new(files()?));
    Ok(Services::new(config, Arc::new(LetIn(user)), Vec::new()))
}

/// The same lines come out however the bytes are cut. The first byte says how
/// they are.
pub fn lines(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let size = usize::from(*first).max(1);
    let whole = read_lines(rest, rest.len().max(1));
    assert_eq!(whole, read_lines(rest, size), "cut at {size}");
}

fn read_lines(bytes: &[u8], size: usize) -> Vec<ControlLine> {
    let mut reader = LineReader::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(size) {
        let mut piece = piece;
        while !piece.is_empty() {
            // A slice has no errors.
            let _ = reader.fill(&mut piece);
            while let Some(line) = reader.next_line() {
                found.push(line);
            }
        }
    }
    found
}

/// No name ends a line of a listing, and every line ends once.
pub fn listed(name: &[u8]) {
    let mut metadata = Metadata::new(FileKind::Link, u64::MAX);
    let number = |at: usize| name.get(at).map_or(0, |byte| i64::from(*byte) << (at * 7));
    metadata.modified = after_1970(number(0) ^ number(3) ^ number(8), 0);
    metadata.mode = number(1) as u32;
    metadata.links = u64::MAX;
    let mut out = Vec::new();
    let owners = Owners::Numbers;
    let style = Style {
        owners,
        now: number(2),
        time: ListTime::Utc,
        human: metadata.mode & 1 == 0,
        mark: metadata.mode & 2 == 0,
    };
    listing::long_line(&mut out, name, &metadata, Some(name), &style);
    listing::name_line(&mut out, name, name);
    let facts = Facts::parse(name);
    let (perms, entry) = (Perms::ALL, ListedAs::Entry);
    listing::facts_line(&mut out, facts, &metadata, perms, owners, entry, name);
    out.extend_from_slice(b"\r\n");
    let is_control = |byte: &&u8| **byte < b' ' || **byte == 0x7f;
    assert_eq!(out.iter().filter(is_control).count(), 6);
    assert_eq!(out.windows(2).filter(|end| end == b"\r\n").count(), 3);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_of_a_fuzzer_is_a_real_one() {
        let replies = serve(b"USER ann\r\nPASS x\r\nSIZE f\r\nQUIT\r\n").unwrap();
        let replies = String::from_utf8(replies).unwrap();
        let codes: Vec<&str> = replies.lines().map(|line| &line[..3]).collect();
        assert_eq!(codes, ["220", "331", "230", "213", "221"]);
    }
}
