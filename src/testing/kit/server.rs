//! A server in this process for a test: users, rights, settings and files in
//! a line each, on ports that the system chooses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use wharf::auth::{Authenticator, Chain, Credentials, Perms, Secret, User, UserLimits};
use wharf::config::{Config, Endpoint};
use wharf::daemon::{Key, Settings};
use wharf::events::Events;
use wharf::storage::{
    Attributes, Create, FileSystem, Follow, LocalFs, MemoryFs, OpenOptions, VirtualPath, Write,
};
use wharf::{Error, ErrorKind, Running, Server};

use super::client::Client;
use super::pattern::bytes;

/// A user of a test: name, password, rights.
#[derive(Clone)]
pub struct TestUser {
    pub name: String,
    pub password: String,
    pub perms: Perms,
    pub directories: Vec<(VirtualPath, Perms)>,
    pub limits: UserLimits,
    /// Files of their own.
    pub home: Option<Arc<dyn FileSystem>>,
}

struct TestUsers(Vec<TestUser>, Arc<dyn FileSystem>);

impl Authenticator for TestUsers {
    fn authenticate(&self, credentials: &Credentials<'_>) -> wharf::Result<User> {
        let refused = || Error::new(ErrorKind::LoginRefused, "wrong name or password");
        let user = self
            .0
            .iter()
            .find(|user| user.name == credentials.name)
            .ok_or_else(refused)?;
        match credentials.secret {
            Secret::Password(password) if password == user.password.as_bytes() => {}
            _ => return Err(refused()),
        }
        let files = user.home.as_ref().unwrap_or(&self.1);
        let mut found = User::new(&user.name, Arc::clone(files)).with_perms(user.perms);
        found.directories = user.directories.clone();
        found.limits = user.limits;
        Ok(found)
    }
}

/// Settings of a server to start.
pub struct Builder {
    settings: Settings,
    users: Vec<TestUser>,
    anonymous: Option<Perms>,
    guests: bool,
    directory: Option<PathBuf>,
    files: Option<Arc<dyn FileSystem>>,
    memory: MemoryFs,
    events: Vec<Arc<dyn Events>>,
}

/// A server with `ann` (password `secret`, every right) and anonymous users
/// who may read, on an empty file system in memory.
pub fn server() -> Builder {
    let mut settings = Settings::default();
    let config = &mut settings.server;
    config.listen = ["127.0.0.1", "::1"]
        .map(|host| Endpoint {
            host: host.into(),
            port: 0,
        })
        .to_vec();
    config.login_delay = Duration::ZERO;
    config.data_connect_timeout = Duration::from_secs(20);
    Builder {
        settings,
        users: Vec::new(),
        anonymous: None,
        guests: true,
        directory: None,
        files: None,
        memory: MemoryFs::new(),
        events: Vec::new(),
    }
}

impl Builder {
    /// Sets a key of the configuration; a second value of a list is one more.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        let row = Key::find(key).unwrap_or_else(|| panic!("no key {key}"));
        row.set(&mut self.settings, value)
            .unwrap_or_else(|what| panic!("{key}: {what}"));
        self
    }

    /// Changes the configuration directly.
    pub fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.settings.server);
        self
    }

    /// One more user; with the first, `ann` is no longer there by itself.
    pub fn user(mut self, name: &str, password: &str, rights: &str) -> Self {
        self.users.push(TestUser {
            name: name.into(),
            password: password.into(),
            perms: rights.parse::<Perms>().unwrap(),
            directories: Vec::new(),
            limits: UserLimits::default(),
            home: None,
        });
        self
    }

    /// Other rights of the last user at a directory.
    pub fn at(mut self, directory: &str, rights: &str) -> Self {
        let path = VirtualPath::root().join(directory.as_bytes()).unwrap();
        let user = self.users.last_mut().expect("a user before");
        user.directories
            .push((path, rights.parse::<Perms>().unwrap()));
        self
    }

    /// Limits of the last user.
    pub fn limits(mut self, change: impl FnOnce(&mut UserLimits)) -> Self {
        change(&mut self.users.last_mut().expect("a user before").limits);
        self
    }

    /// Files of the last user's own.
    pub fn home(mut self, files: Arc<dyn FileSystem>) -> Self {
        self.users.last_mut().expect("a user before").home = Some(files);
        self
    }

    /// No anonymous users.
    pub fn without_guests(mut self) -> Self {
        self.guests = false;
        self
    }

    /// Other rights of anonymous users.
    pub fn anonymous(mut self, rights: &str) -> Self {
        self.anonymous = Some(rights.parse::<Perms>().unwrap());
        self
    }

    /// Serves a directory instead of memory.
    pub fn directory(mut self, path: &Path) -> Self {
        self.directory = Some(path.into());
        self
    }

    /// Serves this memory.
    pub fn memory(mut self, memory: MemoryFs) -> Self {
        self.memory = memory;
        self
    }

    /// Serves any file system.
    pub fn files(mut self, files: Arc<dyn FileSystem>) -> Self {
        self.files = Some(files);
        self
    }

    /// Tells `listener` what happens.
    pub fn events(mut self, listener: Arc<dyn Events>) -> Self {
        self.events.push(listener);
        self
    }

    /// Starts it.
    pub fn start(mut self) -> TestServer {
        let files: Arc<dyn FileSystem> = match (self.files, &self.directory) {
            (Some(files), _) => files,
            (None, Some(path)) => Arc::new(LocalFs::open(path).unwrap()),
            (None, None) => Arc::new(self.memory),
        };
        if self.users.is_empty() {
            self.users.push(TestUser {
                name: "ann".into(),
                password: "secret".into(),
                perms: Perms::ALL,
                directories: Vec::new(),
                limits: UserLimits::default(),
                home: None,
            });
        }
        let guests = wharf::auth::Anonymous::new(
            Arc::clone(&files),
            self.anonymous.unwrap_or(Perms::READ_ONLY),
        );
        let chain = if self.guests {
            Chain::new().with(guests)
        } else {
            Chain::new()
        };
        let chain = chain.with(TestUsers(self.users, Arc::clone(&files)));
        let mut server = Server::new(self.settings.server, Arc::new(chain));
        for listener in self.events {
            server = server.with_events(listener);
        }
        let running = server.bind().unwrap().start().unwrap();
        TestServer {
            v4: running.addresses()[0].0,
            v6: running.addresses()[1].0,
            running: Some(running),
            files,
        }
    }
}

/// A server that runs. Dropping it stops it and checks that nothing is left.
pub struct TestServer {
    running: Option<Running>,
    pub v4: SocketAddr,
    pub v6: SocketAddr,
    pub files: Arc<dyn FileSystem>,
}

impl TestServer {
    /// A client that has read the greeting.
    pub fn connect(&self) -> Client {
        Client::greeted(self.v4)
    }

    /// `ann`, logged in, in TYPE I.
    pub fn ann(&self) -> Client {
        self.login("ann", "secret")
    }

    /// Any user, logged in, in TYPE I.
    pub fn login(&self, name: &str, password: &str) -> Client {
        let mut client = self.connect();
        client.login(name, password);
        client.expect("TYPE I", 200);
        client
    }

    /// The running server.
    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until it is dropped")
    }

    /// Sessions that are alive.
    pub fn sessions(&self) -> usize {
        self.running().services().registry.all().len()
    }

    /// Waits until `done` says so; the deadline is the test's failure.
    pub fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        until(what, || done(self));
    }

    /// Puts a file there, with the directories above it.
    pub fn file(&self, path: &str, content: &[u8]) {
        put_file(self.files.as_ref(), path.as_bytes(), content);
    }

    /// The content of a file; `None` if there is none.
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        content(self.files.as_ref(), path.as_bytes())
    }

    /// The names in a directory, sorted; those of unfinished uploads, too.
    pub fn names(&self, path: &str) -> Vec<String> {
        let path = VirtualPath::root().join(path.as_bytes()).unwrap();
        let mut directory = self.files.read_dir(&path).unwrap();
        let (mut names, mut name) = (Vec::new(), Vec::new());
        while directory.next(&mut name).unwrap().is_some() {
            names.push(String::from_utf8_lossy(&name).into_owned());
        }
        names.sort();
        names
    }

    /// Stops it and says whether every session had ended in time.
    pub fn stop(mut self, drain: Duration) -> bool {
        self.running
            .take()
            .is_some_and(|running| running.stop(drain))
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        let services = Arc::clone(running.services());
        let ended = running.stop(Duration::ZERO);
        if std::thread::panicking() {
            return;
        }
        assert!(ended, "threads of sessions are left");
        assert_eq!(services.limits.sessions(), 0, "places are left");
        assert!(services.registry.all().is_empty(), "sessions are left");
    }
}

/// Waits until `done` says so, at most ten seconds.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Puts a file into a file system, with the directories above it.
pub fn put_file(files: &dyn FileSystem, path: &[u8], content: &[u8]) {
    let path = VirtualPath::root().join(path).unwrap();
    make_dirs(files, &path.parent());
    let options = OpenOptions::write(Write::Truncate, Create::IfMissing, 0o644);
    let file = files.open(&path, &options).unwrap();
    file.write_all_at(content, 0).unwrap();
    file.close().unwrap();
}

/// Makes a directory and those above it.
pub fn make_dirs(files: &dyn FileSystem, path: &VirtualPath) {
    if !path.is_root() {
        make_dirs(files, &path.parent());
        match files.make_dir(path, 0o755) {
            Err(error) if error.kind() != ErrorKind::Exists => panic!("{path}: {error}"),
            _ => {}
        }
    }
}

/// The content of a file; `None` if there is none.
pub fn content(files: &dyn FileSystem, path: &[u8]) -> Option<Vec<u8>> {
    let path = VirtualPath::root().join(path).unwrap();
    let file = match files.open(&path, &OpenOptions::read()) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => panic!("{path}: {error}"),
    };
    let mut content = vec![0; file.metadata().unwrap().size as usize];
    let mut at = 0;
    while at < content.len() {
        match file.read_at(&mut content[at..], at as u64).unwrap() {
            0 => break,
            length => at += length,
        }
    }
    content.truncate(at);
    Some(content)
}

/// Puts an entry of a dialogue's `tree` there, last changed at `modified`.
///
/// # Errors
/// What the file system said.
pub fn plant(files: &dyn FileSystem, entry: &str, modified: SystemTime) -> wharf::Result<()> {
    let join = |path: &str| VirtualPath::root().join(&bytes(path));
    let path = if let Some((path, target)) = entry.split_once(" -> ") {
        let path = join(path)?;
        make_dirs(files, &path.parent());
        files.symlink(&bytes(target), &path)?;
        path
    } else if let Some((path, content)) = entry.split_once(" = ") {
        put_file(files, &bytes(path), &bytes(content));
        join(path)?
    } else if entry.ends_with('/') {
        make_dirs(files, &join(entry)?);
        join(entry)?
    } else {
        put_file(files, &bytes(entry), b"");
        join(entry)?
    };
    let mut attributes = Attributes::default();
    attributes.modified = Some(modified);
    let mut aged = path;
    // Of the directories above, too: an entry has just been made in them.
    loop {
        match files.set_attributes(&aged, &attributes, Follow::No) {
            Err(error) if error.kind() != ErrorKind::Unsupported => return Err(error),
            _ if aged.is_root() => return Ok(()),
            _ => aged = aged.parent(),
        }
    }
}
