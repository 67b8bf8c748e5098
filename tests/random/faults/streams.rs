//! Streams that fail at every step: SFTP over a channel whose n-th read or
//! write fails, ends or is interrupted, or that moves a byte at a time; FTP
//! whose control connection ends behind every byte of a session.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use wharf::config::Config;
use wharf::storage::MemoryFs;

use super::common::client::{Client, DEADLINE, active_line};
use super::common::{content, put_file, server};
use super::faulty::Faulty;
use super::packets::{self, Body, CLOSE, FOR_READING, NEW, OK, OPENDIR, READDIR, Setup};

const OLD: &[u8] = b"the old contents of the file";
const BETTER: &[u8] = b"new contents, somewhat longer than those before";

/// What happens at the n-th operation of a channel, and from then on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Reads end, writes fail.
    End,
    /// A reset; from then on there is nothing.
    Reset,
    /// A signal, once.
    Interrupted,
    /// A byte at a time.
    Short,
}

struct Channel {
    inner: UnixStream,
    fault: Fault,
    at: usize,
    count: Arc<AtomicUsize>,
}

impl Channel {
    /// The fault of this operation.
    fn step(&self) -> io::Result<Fault> {
        let number = self.count.fetch_add(1, SeqCst) + 1;
        match self.fault {
            Fault::Interrupted if number == self.at => Err(io::ErrorKind::Interrupted.into()),
            Fault::Interrupted => Ok(Fault::None),
            fault if number < self.at => Ok(if fault == Fault::Short {
                fault
            } else {
                Fault::None
            }),
            Fault::Reset => {
                // The peer sees it, too.
                let _ = self.inner.shutdown(Shutdown::Both);
                Err(io::ErrorKind::ConnectionReset.into())
            }
            fault => Ok(fault),
        }
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.step()? {
            Fault::End => {
                let _ = self.inner.shutdown(Shutdown::Both);
                Ok(0)
            }
            Fault::Short => {
                let most = buffer.len().min(1);
                self.inner.read(&mut buffer[..most])
            }
            _ => self.inner.read(buffer),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.step()? {
            Fault::End => {
                let _ = self.inner.shutdown(Shutdown::Both);
                Err(io::ErrorKind::BrokenPipe.into())
            }
            Fault::Short => self.inner.write(&data[..data.len().min(1)]),
            _ => self.inner.write(data),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// An upload over a file, a listing and a download.
fn session(client: &mut packets::Client) {
    client.greet();
    let handle = client.open("f", NEW);
    assert_eq!(client.write(&handle, 0, &BETTER[..10]), OK);
    assert_eq!(client.write(&handle, 10, &BETTER[10..]), OK);
    assert_eq!(client.close(&handle), OK);
    let mut directory = client.call(OPENDIR, Body::new().string("/"));
    let directory = directory.string();
    client.call(READDIR, Body::new().string(&directory)).names();
    let file = client.open("f", FOR_READING);
    assert_eq!(client.data(&file, 0, 100), BETTER);
    assert_eq!(client.status(CLOSE, Body::new().string(&directory)), OK);
}

#[test]
fn every_operation_of_a_channel_fails() {
    for fault in [Fault::End, Fault::Reset, Fault::Interrupted, Fault::Short] {
        let mut ended = 0;
        for at in 1.. {
            let memory = MemoryFs::new();
            put_file(&memory, b"f", OLD);
            let faulty = Faulty::new(memory.clone());
            let plan = Arc::clone(&faulty.plan);
            let mut config = Config::default();
            config.atomic_uploads = true;
            let setup = Setup {
                config,
                ..Setup::default()
            };
            let count = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&count);
            let mut client = packets::Client::connect_over(faulty, setup, move |inner| Channel {
                inner,
                fault,
                at,
                count: counted,
            });
            let went = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                session(&mut client);
            }));
            // It ends, and not by a panic.
            let outcome = client.end();
            let what = format!("{fault:?} at {at}: {outcome:?}");
            assert_eq!(plan.open(), 0, "{what}");
            let found = content(&memory, b"f").unwrap();
            assert!(found == OLD || found == BETTER, "{what}");
            let names = memory_names(&memory);
            assert_eq!(names, ["f"], "{what}");
            if matches!(fault, Fault::Interrupted | Fault::Short) {
                assert!(went.is_ok() && outcome.is_ok(), "{what}");
                assert_eq!(found, BETTER, "{what}");
            }
            if went.is_ok() && (fault != Fault::Interrupted || count.load(SeqCst) < at) {
                break;
            }
            ended += 1;
        }
        assert!(ended > 10 || fault == Fault::Short, "{fault:?}: {ended}");
    }
}

fn memory_names(memory: &MemoryFs) -> Vec<String> {
    use wharf::storage::{FileSystem, VirtualPath};
    let mut directory = memory.read_dir(&VirtualPath::root()).unwrap();
    let (mut names, mut name) = (Vec::new(), Vec::new());
    while directory.next(&mut name).unwrap().is_some() {
        names.push(String::from_utf8(name.clone()).unwrap());
    }
    names
}

/// How a control connection ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Reset,
    Close,
    HalfClose,
    Stall,
}

/// Takes what the server connects to, until `done`: sends an upload, and reads
/// whatever comes.
fn serve_data(listener: &TcpListener, done: &AtomicBool) {
    for stream in listener.incoming() {
        if done.load(SeqCst) {
            return;
        }
        let mut stream = stream.unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // The server may have gone.
        let _ = stream.write_all(BETTER);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

/// Everything of a session is sent at once, up to one byte. Whichever it is,
/// the old file or the new one is there and whole, and nothing is left.
#[test]
fn the_control_connection_ends_behind_every_byte() {
    let server = server()
        .set("atomic-uploads", "yes")
        .set("max-per-address", "0")
        .set("max-unauthenticated-per-address", "0")
        .with(|config| {
            config.idle_timeout = Duration::from_millis(300);
            config.stall_timeout = Duration::from_millis(300);
            config.login_timeout = Duration::from_millis(600);
        })
        .start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let port = active_line("PORT", address);
    let script = format!(
        "USER ann\r\nPASS secret\r\nTYPE I\r\n{port}\r\nSTOR f\r\n{port}\r\nRETR f\r\n\
         {port}\r\nLIST\r\nMKD new\r\nRNFR new\r\nRNTO d\r\nRMD d\r\nHASH f\r\n"
    );
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| serve_data(&listener, &done));
        // However this ends, the thread must.
        let _wake = Wake(&done, address);
        for end in [End::Reset, End::Close, End::HalfClose, End::Stall] {
            let mut replaced = 0;
            let mut held = Vec::new();
            for length in 0..=script.len() {
                server.file("f", OLD);
                let mut client = Client::connect(server.v4);
                client.wait_for(220);
                client.raw(&script.as_bytes()[..length]);
                match end {
                    End::Reset => super::common::client::Data::from(client.stream).reset(),
                    End::Close => drop(client),
                    End::HalfClose => {
                        let _ = client.stream.shutdown(Shutdown::Write);
                        held.push(client);
                    }
                    End::Stall => held.push(client),
                }
                if end == End::Stall && length % 50 != 0 && length != script.len() {
                    // Their timeouts run side by side.
                    continue;
                }
                let what = format!("{end:?} behind {:?}", &script[..length]);
                server.until(&what, |server| server.sessions() == 0);
                held.clear();
                let found = server.content("f").unwrap();
                assert!(found == OLD || found == BETTER, "{what}");
                replaced += usize::from(found == BETTER);
                let names = server.names("/");
                let known = |name: &String| ["f", "new", "d"].contains(&name.as_str());
                assert!(names.iter().all(known), "{what}: {names:?}");
            }
            // Who goes may take the upload along; who stays has it.
            assert!(replaced > 0 || end != End::Stall, "nothing was uploaded");
        }
    });
}

/// Ends `serve_data`.
struct Wake<'a>(&'a AtomicBool, std::net::SocketAddr);

impl Drop for Wake<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
        let _ = TcpStream::connect(self.1);
    }
}
