//! The boundary between the clear and TLS: bytes before AUTH TLS, bytes in one
//! segment with it, and bytes behind it, under TLS or in its place.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream};

use super::{MOST, services};
use crate::error::{ErrorKind, Result};
use crate::ftp::Security;
use crate::net::socket::Socket;
use crate::net::stream::Stream;
use crate::net::tls::{CertificatePair, Tls, TlsSettings, make_self_signed};
use crate::session::Session;

/// Neither side waits longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A certificate made once for all runs.
fn tls() -> Option<Tls> {
    static TLS: OnceLock<Option<Tls>> = OnceLock::new();
    let made = TLS.get_or_init(|| {
        let place = std::env::temp_dir().join(format!("wharf-fuzz-{}", std::process::id()));
        std::fs::create_dir(&place).ok()?;
        let pair = CertificatePair {
            certificate: place.join("crt"),
            key: place.join("key"),
        };
        let made = make_self_signed(&pair.certificate, &pair.key, &["ftp.test".to_owned()]);
        let settings = TlsSettings {
            certificates: vec![pair],
            handshake_timeout: PATIENCE,
            ..TlsSettings::default()
        };
        let tls = made.and_then(|()| Tls::new(&settings)).ok();
        // It has been read.
        let _ = std::fs::remove_dir_all(&place);
        tls
    });
    made.clone()
}

/// The first byte says how: bit 0, whether a handshake follows; bit 1, whether
/// the connection begins under TLS; the rest, how long the clear part is.
pub fn session(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    // An error is as good as an end.
    let _ = serve(*first, &rest[..rest.len().min(MOST)]);
}

fn serve(how: u8, bytes: &[u8]) -> Result<()> {
    let (client, server) = UnixStream::pair()?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let services = Arc::new(services()?.with_tls(tls()));
    let peer = SocketAddr::from(([127, 0, 0, 1], 5));
    let ticket = services.limits.admit(peer.ip(), &services.config())?;
    let session = Session::new(&services, ticket, peer, peer, "ftp");
    let security = match how & 2 {
        0 => Security::None,
        _ => Security::Tls,
    };
    std::thread::scope(|scope| {
        let client = scope.spawn(|| talk(how, bytes, client));
        // As for all sessions: any end will do.
        let _ = crate::ftp::run(Stream::Plain(Socket::from(server)), session, security);
        let talked = client.join();
        talked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn talk(how: u8, bytes: &[u8], mut client: UnixStream) -> Result<()> {
    let cut = usize::from(how >> 2).min(bytes.len());
    let (clear, rest) = bytes.split_at(cut);
    if how & 2 == 0 {
        // What stands in the clear behind AUTH is in the same segment, and a
        // command of its own.
        let (before, glued) = clear.split_at(clear.len() / 2);
        let login: &[u8] = b"USER ann\r\nPASS x\r\n";
        client.write_all(&[before, b"\r\n", login, b"AUTH TLS\r\n", glued].concat())?;
        while !read_line(&mut client)?.starts_with(b"234 ") {}
    }
    if how & 1 == 0 {
        client.write_all(rest)?;
        client.shutdown(Shutdown::Write)?;
        let mut nothing = Vec::new();
        client.read_to_end(&mut nothing)?;
        return Ok(());
    }
    let internal = |_| ErrorKind::Internal;
    let mut context = SslContext::builder(SslMethod::tls_client()).map_err(internal)?;
    context.set_verify(openssl::ssl::SslVerifyMode::NONE);
    let ssl = Ssl::new(&context.build()).map_err(internal)?;
    let mut secure: SslStream<UnixStream> = SslStream::new(ssl, client).map_err(internal)?;
    secure.connect().map_err(|_| ErrorKind::Disconnected)?;
    if how & 2 != 0 {
        assert!(read_line(&mut secure)?.starts_with(b"220 "));
    }
    secure.write_all(b"PWD\r\n")?;
    // SECURITY: CVE-2011-0411. Nothing from before TLS is answered under TLS,
    // and nobody is logged in.
    let reply = read_line(&mut secure)?;
    assert!(
        reply.starts_with(b"530 "),
        "{:?}",
        reply.escape_ascii().to_string()
    );
    secure.write_all(rest)?;
    let _ = secure.shutdown();
    secure.get_ref().shutdown(Shutdown::Write)?;
    let mut nothing = Vec::new();
    let _ = secure.read_to_end(&mut nothing);
    Ok(())
}

fn read_line(from: &mut impl Read) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        if from.read(&mut byte)? == 0 {
            return Err(ErrorKind::Disconnected.into());
        }
        line.push(byte[0]);
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boundary_is_reached() {
        for how in [0b00, 0b01, 0b10, 0b11, 0b1001] {
            // In place of a handshake these words are an end.
            serve(how, b"USER eve\r\nNOOP\r\n").unwrap();
        }
    }
}
