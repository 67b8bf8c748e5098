//! A client that sends what it is told, byte for byte, to a server in a
//! thread at the other end of a socket pair. Every read has a deadline.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use wharf::auth::{Authenticator, Credentials, Perms, Secret, User};
use wharf::config::Config;
use wharf::daemon::sftp::{self, Options};
use wharf::daemon::{Encrypted, Services, Session};
use wharf::storage::{FileSystem, VirtualPath};
use wharf::{Error, ErrorKind};

/// How long anything may take, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

pub const INIT: u8 = 1;
pub const OPEN: u8 = 3;
pub const CLOSE: u8 = 4;
pub const READ: u8 = 5;
pub const WRITE: u8 = 6;
pub const LSTAT: u8 = 7;
pub const FSTAT: u8 = 8;
pub const SETSTAT: u8 = 9;
pub const FSETSTAT: u8 = 10;
pub const OPENDIR: u8 = 11;
pub const READDIR: u8 = 12;
pub const REMOVE: u8 = 13;
pub const MKDIR: u8 = 14;
pub const RMDIR: u8 = 15;
pub const REALPATH: u8 = 16;
pub const STAT: u8 = 17;
pub const RENAME: u8 = 18;
pub const READLINK: u8 = 19;
pub const SYMLINK: u8 = 20;
pub const EXTENDED: u8 = 200;

pub const STATUS: u8 = 101;
pub const HANDLE: u8 = 102;
pub const DATA: u8 = 103;
pub const NAME: u8 = 104;
pub const ATTRS: u8 = 105;
pub const EXTENDED_REPLY: u8 = 201;

pub const OK: u32 = 0;
pub const EOF: u32 = 1;
pub const NO_SUCH_FILE: u32 = 2;
pub const PERMISSION_DENIED: u32 = 3;
pub const FAILURE: u32 = 4;
pub const BAD_MESSAGE: u32 = 5;
pub const UNSUPPORTED: u32 = 8;

pub const FOR_READING: u32 = 1;
pub const FOR_WRITING: u32 = 2;
pub const APPEND: u32 = 4;
pub const CREAT: u32 = 8;
pub const TRUNC: u32 = 0x10;
pub const EXCL: u32 = 0x20;
pub const NEW: u32 = FOR_WRITING | CREAT | TRUNC;

/// Bytes of a request.
#[derive(Default, Clone)]
pub struct Body(pub Vec<u8>);

impl Body {
    pub fn new() -> Self {
        Body::default()
    }
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }
    pub fn string(self, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let mut body = self.u32(value.len() as u32);
        body.0.extend_from_slice(value);
        body
    }
    /// Attributes that say nothing.
    pub fn none(self) -> Self {
        self.u32(0)
    }
}

/// A reply, read field by field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub kind: u8,
    pub id: u32,
    pub rest: Vec<u8>,
}

impl Reply {
    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.rest.split_off(length);
        std::mem::replace(&mut self.rest, rest)
    }
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().unwrap())
    }
    pub fn string(&mut self) -> Vec<u8> {
        let length = self.u32() as usize;
        self.take(length)
    }
    /// The number of a STATUS.
    pub fn status(mut self) -> u32 {
        assert_eq!(self.kind, STATUS, "{self:?}");
        let code = self.u32();
        assert!(!self.string().is_empty(), "a status has words");
        assert_eq!(self.string(), b"", "language");
        assert!(self.rest.is_empty());
        code
    }
    pub fn attributes(&mut self) -> Stat {
        let mut stat = Stat::default();
        let flags = self.u32();
        assert_eq!(flags & !15, 0);
        if flags & 1 != 0 {
            stat.size = self.u64();
        }
        if flags & 2 != 0 {
            (stat.uid, stat.gid) = (self.u32(), self.u32());
        }
        if flags & 4 != 0 {
            stat.mode = self.u32();
        }
        if flags & 8 != 0 {
            (stat.accessed, stat.modified) = (self.u32(), self.u32());
        }
        stat
    }
    /// The entries of a NAME.
    pub fn names(mut self) -> Vec<(Vec<u8>, Vec<u8>, Stat)> {
        assert_eq!(self.kind, NAME, "{self:?}");
        let count = self.u32();
        let names = (0..count)
            .map(|_| (self.string(), self.string(), self.attributes()))
            .collect();
        assert!(self.rest.is_empty());
        names
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stat {
    pub size: u64,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub accessed: u32,
    pub modified: u32,
}

/// What is served, and how.
pub struct Setup {
    pub config: Config,
    pub perms: Perms,
    pub directories: Vec<(VirtualPath, Perms)>,
    pub options: Options,
}

impl Default for Setup {
    fn default() -> Self {
        let mut config = Config::default();
        config.site_symlink = wharf::config::Symlinks::Anywhere;
        Setup {
            config,
            perms: Perms::ALL,
            directories: Vec::new(),
            options: Options::default(),
        }
    }
}

impl Setup {
    /// What sessions of the user share.
    pub fn services(self, files: impl FileSystem + 'static) -> Arc<Services> {
        let files: Arc<dyn FileSystem> = Arc::new(files);
        let mut user = User::new("ann", files).with_perms(self.perms);
        user.directories = self.directories;
        Arc::new(Services::new(
            self.config,
            Arc::new(LetIn(user)),
            Vec::new(),
        ))
    }
}

/// A session of the user of a [`Setup`].
pub fn session(services: &Arc<Services>) -> Result<Session, Error> {
    let peer = "192.0.2.7:5".parse().unwrap();
    let ticket = services
        .limits
        .admit("192.0.2.7".parse().unwrap(), &services.config())?;
    let mut session = Session::new(services, ticket, peer, peer, "sftp");
    session.login("ann", Secret::Password(b""), Encrypted::Yes)?;
    Ok(session)
}

struct LetIn(User);

impl Authenticator for LetIn {
    fn authenticate(&self, _: &Credentials<'_>) -> wharf::Result<User> {
        Ok(self.0.clone())
    }
}

pub struct Client {
    pub stream: UnixStream,
    server: JoinHandle<Result<(), Error>>,
    next: u32,
}

impl Client {
    /// A server of `files` and a client that has not greeted yet.
    pub fn connect(files: impl FileSystem + 'static, setup: Setup) -> Client {
        Self::connect_over(files, setup, |channel| channel)
    }

    /// The same, where the server's end of the channel is wrapped.
    pub fn connect_over<C: Read + Write>(
        files: impl FileSystem + 'static,
        setup: Setup,
        wrap: impl FnOnce(UnixStream) -> C + Send + 'static,
    ) -> Client {
        let (stream, channel) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let options = setup.options.clone();
        let server = std::thread::spawn(move || {
            let mut channel = wrap(channel);
            let session = session(&setup.services(files))?;
            sftp::serve(&mut channel, session.files()?, &options)
        });
        Client {
            stream,
            server,
            next: 100,
        }
    }

    /// A client of a program at the other end, whose end is not looked at.
    #[allow(dead_code)]
    pub fn of_stream(stream: UnixStream) -> Client {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Client {
            stream,
            server: std::thread::spawn(|| Ok(())),
            next: 100,
        }
    }

    /// A session of its own with a server that runs, greeted; for tests of both
    /// protocols.
    #[allow(dead_code)]
    pub fn beside(services: &Arc<Services>, name: &str, password: &str) -> Client {
        let (stream, mut channel) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let (services, name) = (Arc::clone(services), name.to_owned());
        let password = password.to_owned();
        let server = std::thread::spawn(move || {
            let peer = "192.0.2.7:5".parse().unwrap();
            let ticket = services
                .limits
                .admit("192.0.2.7".parse().unwrap(), &services.config())?;
            let mut session = Session::new(&services, ticket, peer, peer, "sftp");
            let secret = Secret::Password(password.as_bytes());
            session.login(&name, secret, Encrypted::Yes)?;
            sftp::serve(&mut channel, session.files()?, &Options::default())
        });
        let mut client = Client {
            stream,
            server,
            next: 100,
        };
        client.greet();
        client
    }

    /// The same, greeted.
    pub fn start(files: impl FileSystem + 'static, setup: Setup) -> Client {
        let mut client = Client::connect(files, setup);
        assert_eq!(client.greet()[0].0, b"posix-rename@openssh.com");
        client
    }

    /// Sends INIT; yields the extensions.
    pub fn greet(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.packet(INIT, &Body::new().u32(3).0);
        let mut version = self.receive();
        assert_eq!((version.kind, version.id), (2, 3));
        let mut extensions = Vec::new();
        while !version.rest.is_empty() {
            extensions.push((version.string(), version.string()));
        }
        extensions
    }

    pub fn packet(&mut self, kind: u8, rest: &[u8]) {
        let mut packet = (rest.len() as u32 + 1).to_be_bytes().to_vec();
        packet.push(kind);
        packet.extend_from_slice(rest);
        self.stream.write_all(&packet).unwrap();
    }

    /// Sends a request; yields its number.
    pub fn send(&mut self, kind: u8, body: Body) -> u32 {
        self.next = self
            .next
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        let id = self.next;
        let rest = [&id.to_be_bytes()[..], &body.0].concat();
        self.packet(kind, &rest);
        id
    }

    pub fn receive(&mut self) -> Reply {
        let mut header = [0; 9];
        self.stream.read_exact(&mut header).unwrap();
        let length = u32::from_be_bytes(header[..4].try_into().unwrap()) as usize;
        assert!((5..=256 * 1024).contains(&length), "{length}");
        let mut rest = vec![0; length - 5];
        self.stream.read_exact(&mut rest).unwrap();
        Reply {
            kind: header[4],
            id: u32::from_be_bytes(header[5..].try_into().unwrap()),
            rest,
        }
    }

    pub fn call(&mut self, kind: u8, body: Body) -> Reply {
        let id = self.send(kind, body);
        let reply = self.receive();
        assert_eq!(reply.id, id);
        reply
    }

    pub fn extended(&mut self, name: &str, body: Body) -> Reply {
        let mut whole = Body::new().string(name);
        whole.0.extend_from_slice(&body.0);
        self.call(EXTENDED, whole)
    }

    pub fn status(&mut self, kind: u8, body: Body) -> u32 {
        self.call(kind, body).status()
    }

    pub fn try_open(&mut self, path: &str, flags: u32) -> Reply {
        self.call(OPEN, Body::new().string(path).u32(flags).none())
    }

    pub fn open(&mut self, path: &str, flags: u32) -> Vec<u8> {
        let mut reply = self.try_open(path, flags);
        assert_eq!(reply.kind, HANDLE, "{path}: {reply:?}");
        reply.string()
    }

    pub fn close(&mut self, handle: &[u8]) -> u32 {
        self.status(CLOSE, Body::new().string(handle))
    }

    pub fn write(&mut self, handle: &[u8], offset: u64, data: &[u8]) -> u32 {
        self.status(WRITE, Body::new().string(handle).u64(offset).string(data))
    }

    pub fn read(&mut self, handle: &[u8], offset: u64, length: u32) -> Reply {
        self.call(READ, Body::new().string(handle).u64(offset).u32(length))
    }

    pub fn data(&mut self, handle: &[u8], offset: u64, length: u32) -> Vec<u8> {
        let mut reply = self.read(handle, offset, length);
        assert_eq!(reply.kind, DATA, "{reply:?}");
        reply.string()
    }

    pub fn put(&mut self, path: &str, data: &[u8]) {
        let handle = self.open(path, NEW);
        assert_eq!(self.write(&handle, 0, data), OK);
        assert_eq!(self.close(&handle), OK);
    }

    pub fn get(&mut self, path: &str) -> Vec<u8> {
        let handle = self.open(path, FOR_READING);
        let data = self.data(&handle, 0, 100_000);
        assert_eq!(self.close(&handle), OK);
        data
    }

    pub fn stat(&mut self, path: &str) -> Stat {
        let mut reply = self.call(STAT, Body::new().string(path));
        assert_eq!(reply.kind, ATTRS, "{path}: {reply:?}");
        reply.attributes()
    }

    /// All names of a directory and its longest reply.
    pub fn list(&mut self, path: &str) -> (Vec<Vec<u8>>, usize) {
        let mut handle = self.call(OPENDIR, Body::new().string(path));
        assert_eq!(handle.kind, HANDLE, "{path}: {handle:?}");
        let handle = handle.string();
        let (mut all, mut longest) = (Vec::new(), 0);
        loop {
            let reply = self.call(READDIR, Body::new().string(&handle));
            longest = longest.max(reply.rest.len() + 5);
            if reply.kind == STATUS {
                assert_eq!(reply.status(), EOF);
                break;
            }
            all.extend(reply.names().into_iter().map(|(name, ..)| name));
        }
        assert_eq!(self.close(&handle), OK);
        (all, longest)
    }

    /// Ends the channel; yields how the server took it.
    pub fn end(self) -> Result<(), ErrorKind> {
        drop(self.stream);
        let outcome = self.server.join().expect("the server must not panic");
        outcome.map_err(|error| error.kind())
    }

    /// The server ends the session by itself; yields how.
    pub fn ended(mut self) -> Result<(), ErrorKind> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "{rest:?}");
        self.end()
    }
}
