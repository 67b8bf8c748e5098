//! What the old scp can do to a path.

use std::io::{self, Read, Write};

use wharf::daemon::sftp::{Options, Scp};
use wharf::daemon::{Services, Session};

use crate::common::packets::session;

/// A command line, `{}` for the path, and what the client sends.
pub type Deed = (&'static str, &'static [u8]);

pub const DEEDS: &[Deed] = &[
    ("scp -f {}", &[0; 40]),
    ("scp -p -f {}", &[0; 40]),
    ("scp -r -f {}", &[0; 400]),
    ("scp -f {}/*", &[0; 400]),
    ("scp -f {}*", &[0; 400]),
    ("scp -r -f /*/{}", &[0; 400]),
    ("scp -t {}", b"C0644 4 f\ndata\0"),
    ("scp -t {}", b"C0644 0 f\n\0"),
    ("scp -t {}/f", b"C0644 4 f\ndata\0"),
    ("scp -p -t {}", b"T1 0 1 0\nC0600 4 f\ndata\0"),
    ("scp -p -t {}", b"T1 0 1 0\nC0600 4 new\ndata\0"),
    ("scp -r -t {}", b"D0700 0 d\nC0644 4 f\ndata\0E\n"),
    (
        "scp -r -p -t {}",
        b"T1 0 1 0\nD0700 0 d\nT1 0 1 0\nC0600 4 f\ndata\0E\n",
    ),
    ("scp -d -t {}", b"C0644 4 f\ndata\0"),
];

/// A client that sends all it has to send, and takes everything.
struct Script<'a>(&'a [u8], Vec<u8>);

impl Read for &mut Script<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for &mut Script<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Yields all that was received.
pub fn run(services: &std::sync::Arc<Services>, (line, input): Deed, path: &str) -> Vec<u8> {
    let session: Session = session(services).unwrap();
    let mut script = Script(input, Vec::new());
    let line = line.replace("{}", path);
    let files = session.files().unwrap();
    // Our own words in a reply tell nothing.
    match Scp::new(line.as_bytes(), &mut script, files, &Options::default()) {
        Ok(mut scp) => while scp.step().unwrap().is_none() {},
        Err(_) => return Vec::new(),
    }
    let heard = String::from_utf8_lossy(&script.1).replace(path, "");
    heard.into_bytes()
}
