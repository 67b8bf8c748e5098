//! The public face of version 1, written down as a program that uses all of it: a
//! change that breaks other people's programs breaks this one first, and needs a
//! new major version (docs/versions.md). Lines may be added here with what is
//! added to the library, and change with a new major version only.

use crate::common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use common::{Client, TempDir};
use wharf::auth::{
    AuthorizedKeys, Chain, Identity, PublicKey, QuotaFull, Right, Secret, UserDefaults, UserLimits,
    password, refused,
};
use wharf::config::{
    ClientCertificate, DataPeer, DotFiles, Endpoint, ExternalAddress, Mode, Network, Node,
    PortRange, ProxyData, Ssh, TlsMin, TlsRequired, TlsReuse, UploadReceipt,
};
use wharf::events::{Transferred, Who};
use wharf::storage::{
    Attributes, Create, Directory, Entry, Existing, FileKind, Follow, Mounts, OpenOptions,
    ReadOnly, Space, Write,
};
use wharf::{Anonymous, Authenticator, Credentials, Perms, User, UserFile};
use wharf::{Config, Error, ErrorKind, Protocol, Result, Running, Server};
use wharf::{Event, Events, TransferLog};
use wharf::{File, FileSystem, LocalFs, MemoryFs, Metadata, VirtualPath};
use wharf::{auth, config, events, storage};

/// The names of the root are those of the modules.
type OfRoot<'a> = (
    (Anonymous, Box<dyn Authenticator>, Credentials<'a>, Perms),
    (User, UserFile, Config, Event<'a>, Box<dyn Events>),
    (TransferLog, Box<dyn File>, Box<dyn FileSystem>, LocalFs),
    (MemoryFs, Metadata, VirtualPath),
);
type OfModules<'a> = (
    (
        auth::Anonymous,
        Box<dyn auth::Authenticator>,
        auth::Credentials<'a>,
        auth::Perms,
    ),
    (
        auth::User,
        auth::UserFile,
        config::Config,
        events::Event<'a>,
        Box<dyn events::Events>,
    ),
    (
        events::TransferLog,
        Box<dyn storage::File>,
        Box<dyn storage::FileSystem>,
        storage::LocalFs,
    ),
    (storage::MemoryFs, storage::Metadata, storage::VirtualPath),
);
const _: fn(OfModules<'_>) -> OfRoot<'_> = |same| same;

/// A back-end with every method there is.
struct Wrapped(Arc<dyn FileSystem>);

impl FileSystem for Wrapped {
    fn metadata(&self, path: &VirtualPath, follow: Follow) -> Result<Metadata> {
        self.0.metadata(path, follow)
    }
    fn open(&self, path: &VirtualPath, options: &OpenOptions) -> Result<Box<dyn File>> {
        let OpenOptions {
            read,
            write,
            create,
            mode,
            ..
        } = *options;
        let _: (bool, Write, Create, u32) = (read, write, create, mode);
        Ok(Box::new(WrappedFile(self.0.open(path, options)?)))
    }
    fn read_dir(&self, path: &VirtualPath) -> Result<Box<dyn Directory>> {
        Ok(Box::new(WrappedDirectory(self.0.read_dir(path)?)))
    }
    fn make_dir(&self, path: &VirtualPath, mode: u32) -> Result<()> {
        self.0.make_dir(path, mode)
    }
    fn remove_file(&self, path: &VirtualPath) -> Result<()> {
        self.0.remove_file(path)
    }
    fn remove_dir(&self, path: &VirtualPath) -> Result<()> {
        self.0.remove_dir(path)
    }
    fn rename(&self, from: &VirtualPath, to: &VirtualPath, existing: Existing) -> Result<()> {
        self.0.rename(from, to, existing)
    }
    fn set_attributes(&self, path: &VirtualPath, set: &Attributes, follow: Follow) -> Result<()> {
        self.0.set_attributes(path, set, follow)
    }
    fn read_link(&self, path: &VirtualPath) -> Result<Vec<u8>> {
        self.0.read_link(path)
    }
    fn symlink(&self, target: &[u8], path: &VirtualPath) -> Result<()> {
        self.0.symlink(target, path)
    }
    fn hard_link(&self, path: &VirtualPath, new: &VirtualPath) -> Result<()> {
        self.0.hard_link(path, new)
    }
    fn space(&self, path: &VirtualPath) -> Result<Space> {
        self.0.space(path)
    }
}

struct WrappedFile(Box<dyn File>);

impl File for WrappedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_all_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.0.write_all_at(data, offset)
    }
    fn metadata(&self) -> Result<Metadata> {
        self.0.metadata()
    }
    fn metadata_at_open(&self) -> Result<Metadata> {
        self.0.metadata_at_open()
    }
    fn is_new(&self) -> bool {
        self.0.is_new()
    }
    fn set_attributes(&self, set: &Attributes) -> Result<()> {
        self.0.set_attributes(set)
    }
    fn sync(&self) -> Result<()> {
        self.0.sync()
    }
    fn close(self: Box<Self>) -> Result<()> {
        self.0.close()
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

struct WrappedDirectory(Box<dyn Directory>);

impl Directory for WrappedDirectory {
    fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<Entry>> {
        self.0.next(name)
    }
    fn metadata(&self, name: &[u8], follow: Follow) -> Result<Metadata> {
        self.0.metadata(name, follow)
    }
    fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.0.read_link(name)
    }
}

struct Users(Arc<dyn FileSystem>);

impl Authenticator for Users {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Result<User> {
        let _: (IpAddr, bool) = (credentials.peer, credentials.secure);
        match (credentials.name, credentials.secret) {
            ("ann", Secret::Password(b"secret")) => {
                let mut user = User::new("ann", Arc::clone(&self.0)).with_perms(Perms::ALL);
                let public = VirtualPath::root().join(b"public")?;
                user.directories.push((public, Perms::READ_ONLY));
                user.limits.max_sessions = 2;
                user.limits.rate_down = 0;
                user.limits.rate_up = 0;
                let _: (&bool, &Option<String>) = (&user.anonymous, &user.contact);
                let _: &Option<Identity> = &user.identity;
                let _: &UserLimits = &user.limits;
                Ok(user)
            }
            (_, Secret::PublicKey(key)) => {
                let _: &PublicKey = key;
                Err(refused("no keys here"))
            }
            (_, Secret::Certificate(_)) => Err(refused("no certificates here")),
            _ => Err(Error::new(ErrorKind::LoginRefused, "nobody we know")),
        }
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Events for Heard {
    fn event(&self, who: &Who<'_>, event: &Event<'_>) {
        let _: (u64, Option<&str>, bool) = (who.session, who.user, who.anonymous);
        let _: (SocketAddr, &str) = (who.peer, who.protocol);
        let transferred = |transferred: &Transferred<'_>| {
            let _: (Duration, bool) = (transferred.time, transferred.ascii);
            let complete = if transferred.complete { "whole" } else { "cut" };
            format!("{} {} {complete}", transferred.path, transferred.bytes)
        };
        let heard = match event {
            Event::LoggedIn => "in".into(),
            Event::LoginRefused(name) => format!("refused {name}"),
            Event::LoggedOut => "out".into(),
            Event::Download(download) => format!("get {}", transferred(download)),
            Event::Upload(upload) => format!("put {}", transferred(upload)),
            Event::Deleted(path) => format!("delete {path}"),
            Event::DirectoryRemoved(path) => format!("rmdir {path}"),
            Event::DirectoryMade(path) => format!("mkdir {path}"),
            Event::Renamed(from, to) => format!("rename {from} {to}"),
            _ => "something new".into(),
        };
        self.0.lock().unwrap().push(heard);
    }
}

fn listening() -> Result<Config> {
    let mut config = Config::default();
    config.listen.push("127.0.0.1:0".parse()?);
    config.login_delay = Duration::ZERO;
    Ok(config)
}

#[test]
fn a_program_of_the_first_release_runs() -> Result<()> {
    let files: Arc<dyn FileSystem> = Arc::new(Wrapped(Arc::new(MemoryFs::new())));
    let heard = Arc::new(Heard::default());
    let users = Chain::new()
        .with(Anonymous::new(Arc::clone(&files), Perms::READ_ONLY))
        .with(Users(Arc::clone(&files)));
    let server: Server = Server::new(listening()?, Arc::new(users))
        .with_events(Arc::clone(&heard) as Arc<dyn Events>)
        .bind()?;
    server.check()?;
    let _: Vec<(SocketAddr, Protocol)> = server.addresses();
    let running: Running = server.start()?;
    assert_eq!(
        running.addresses(),
        [(running.addresses()[0].0, Protocol::Ftp)]
    );

    let mut client = Client::greeted(running.addresses()[0].0);
    client.login("ann", "secret");
    client.expect("TYPE I", 200);
    assert_eq!(client.store("STOR a", b"hello").code, 226);
    assert_eq!(client.fetch("RETR a"), b"hello");
    client.expect("MKD d", 257);
    client.expect("RNFR a", 350);
    client.expect("RNTO d/b", 250);
    client.expect("DELE d/b", 250);
    client.expect("RMD d", 250);
    client.expect("QUIT", 221);
    client.closed();
    assert!(running.stop(Duration::from_secs(20)));
    assert_eq!(
        *heard.0.lock().unwrap(),
        [
            "in",
            "put /a 5 whole",
            "get /a 5 whole",
            "mkdir /d",
            "rename /a /d/b",
            "delete /d/b",
            "rmdir /d",
            "out",
        ]
    );
    Ok(())
}

#[test]
fn two_servers_one_lent_listener_and_one_lent_connection() -> Result<()> {
    let users = || {
        let files = Arc::new(ReadOnly::new(Arc::new(MemoryFs::new())));
        Arc::new(Anonymous::new(files, Perms::ALL))
    };
    let one = Server::new(listening()?, users()).bind()?.start()?;
    let lent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let two = Server::new(Config::default(), users())
        .with_listener(lent, Protocol::Ftp)
        .bind()?
        .start()?;
    for running in [&one, &two] {
        let mut client = Client::greeted(running.addresses()[0].0);
        client.login("anonymous", "x");
        client.expect("MKD d", 550);
    }
    assert!(one.stop(Duration::ZERO) && two.stop(Duration::ZERO));

    let lent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let stream = TcpStream::connect(lent.local_addr().unwrap()).unwrap();
    let (accepted, peer) = lent.accept().unwrap();
    let server = Server::new(Config::default(), users()).bind()?;
    let session = std::thread::spawn(move || server.serve(accepted, peer, Protocol::Ftp));
    let mut client = Client::over(stream, peer);
    client.wait_for(220);
    client.expect("QUIT", 221);
    client.closed();
    session.join().unwrap()
}

#[test]
fn the_parts_are_where_they_were() -> Result<()> {
    // Fields of the configuration; each is also a key of wharfd.conf(5).
    #[rustfmt::skip]
    let Config {
        listen, listen_ftps, listen_sftp, tls_cert, tls_key, tls_key_password_file, self_signed,
        self_signed_names, tls_required, tls_required_anonymous, tls_reuse, tls_relaxed_close,
        tls_min, tls_ciphers, tls_curves, tls_old_clients, tls_client_ca, tls_client_crl, tls_client_certificate, ccc, host_key, ssh, state_dir, node, node_name, proxy_from, proxy_data,
        listen_health, drain_file, drain_delay, shared_dir, banner, passive_ports,
        passive_address, passive_local_networks, shared_data_ports, active_mode, data_peer, data_peer_allow,
        threads, max_per_address, max_per_user, max_unauthenticated,
        max_unauthenticated_per_address, allow, deny, login_timeout, login_tries, login_delay,
        ban_after, ban_time, ban_exempt, idle_timeout, stall_timeout, data_connect_timeout, session_timeout,
        max_commands_per_second, rate_down, rate_up, session_rate_down, session_rate_up,
        atomic_uploads, fsync_uploads, delete_broken_uploads, quota_bytes, quota_files, quota_full,
        retention, upload_receipt, file_mode, dir_mode, dot_files,
        deny_names, deny_commands, site_symlink, max_recursion, ..
    } = Config::default();
    let _: [Vec<Endpoint>; 4] = [listen, listen_ftps, listen_sftp, listen_health];
    let _: (TlsRequired, TlsRequired, TlsReuse) = (tls_required, tls_required_anonymous, tls_reuse);
    let _: (TlsMin, [Option<String>; 2]) = (tls_min, [tls_ciphers, tls_curves]);
    let _: [Vec<Network>; 6] = [
        tls_old_clients,
        allow,
        deny,
        proxy_from,
        passive_local_networks,
        data_peer_allow,
    ];
    let _: (PortRange, DataPeer, DotFiles) = (passive_ports, data_peer, dot_files);
    let _: (ClientCertificate, ProxyData) = (tls_client_certificate, proxy_data);
    let _: (Option<Node>, Option<String>) = (node, node_name);
    let _: (Option<ExternalAddress>, Ssh) = (passive_address, ssh);
    let _: (QuotaFull, UploadReceipt) = (quota_full, upload_receipt);
    let _: (Mode, Mode) = (file_mode, dir_mode);
    let _: (std::ops::RangeInclusive<Duration>, Vec<Network>) = (ban_time, ban_exempt);
    let _: [Duration; 8] = [
        drain_delay,
        login_timeout,
        login_delay,
        idle_timeout,
        stall_timeout,
        data_connect_timeout,
        session_timeout,
        retention,
    ];
    let _: [u32; 7] = [
        threads,
        max_per_address,
        max_per_user,
        max_unauthenticated,
        max_unauthenticated_per_address,
        login_tries,
        ban_after,
    ];
    let _: [u64; 6] = [
        rate_down,
        rate_up,
        session_rate_down,
        session_rate_up,
        quota_bytes,
        quota_files,
    ];
    let _: [bool; 8] = [
        self_signed,
        tls_relaxed_close,
        ccc,
        active_mode,
        shared_data_ports,
        atomic_uploads,
        fsync_uploads,
        delete_broken_uploads,
    ];
    let _: wharf::config::Symlinks = site_symlink;
    let _ = (
        tls_cert,
        tls_key,
        tls_key_password_file,
        self_signed_names,
        tls_client_ca,
        tls_client_crl,
        host_key,
    );
    let _ = (
        state_dir,
        drain_file,
        shared_dir,
        banner,
        max_commands_per_second,
        deny_names,
    );
    let _ = (deny_commands, max_recursion);

    // Rights.
    let perms = "read-only"
        .parse::<Perms>()
        .unwrap()
        .with(Right::Delete)
        .without(Right::Read);
    assert!(perms.has(Right::Delete) && perms.can_write() && perms.both(Perms::ALL) == perms);

    // Paths and metadata.
    let path = VirtualPath::root().join(b"a/../b//c")?;
    assert_eq!((path.as_bytes(), path.name()), (&b"/b/c"[..], &b"c"[..]));
    assert!(path.starts_with(&path.parent()) && !path.is_root());
    assert_eq!(path.components().count(), 2);
    let mut metadata = Metadata::new(FileKind::File, 5);
    metadata.modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    (metadata.changed, metadata.accessed) = (metadata.modified, metadata.modified);
    metadata.id = (1, 2);
    let mut attributes = Attributes::default();
    attributes.modified = Some(SystemTime::UNIX_EPOCH);
    let mut space = Space::default();
    space.blocks = 1;
    let _: (Metadata, Attributes, Space) = (metadata, attributes, space);
    let _ = OpenOptions::write(Write::Truncate, Create::IfMissing, 0o644);

    // Files: a directory, and several put together.
    let place = TempDir::new("api");
    let local: Arc<dyn FileSystem> = Arc::new(LocalFs::open(place.path())?);
    let _ = Mounts::new(Arc::clone(&local)).mount(VirtualPath::root().join(b"m")?, local)?;
    let _ = MemoryFs::new()
        .with_capacity_limit(1 << 20)
        .with_clock(SystemTime::now);

    // Users from files, and the transfer log.
    std::fs::write(place.join("users"), "").unwrap();
    UserFile::open(place.join("users"), UserDefaults::default())?;
    assert!(password::verify(&password::hash(b"secret")?, b"secret")?);
    let keys: AuthorizedKeys = AuthorizedKeys::parse(b"", "nowhere");
    assert!(keys.is_empty());
    let log: TransferLog = TransferLog::open(Path::new(&place.join("log")))?;
    log.reopen();
    let _ = Credentials::new("ann", Secret::Password(b""), Ipv4Addr::LOCALHOST.into());

    // Errors: a kind, what was being done, the cause.
    let cause = std::io::Error::from(std::io::ErrorKind::NotFound);
    let error = Error::with_source(ErrorKind::NotFound, "reading", cause).doing("opening a");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    Ok(())
}
