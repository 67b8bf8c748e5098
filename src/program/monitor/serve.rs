//! The monitor's side.

use std::collections::HashMap;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, WaitOptions};
use wharf::auth::{Credentials, Identity, PublicKey, Secret, UserDefaults, UserFile};
use wharf::daemon::os::{Fork, Inherited, SignalSet, fork};
use wharf::daemon::remote::{MESSAGE_MAX, Message, MessageSocket, Parts, RemoteFs};
use wharf::daemon::{Account, Helper, Settings, Swap, SystemUsers, unpoisoned, user_file};
use wharf::storage::{FileSystem, LocalFs};
use wharf::{Error, ErrorKind, Result};

use super::super::cli::{self, Action};
use super::super::{assemble, failure, hooks, identity, landlock, logging};
use super::paths;
use super::{CHANNEL, DIRECTORY, NONE, PATH, Question, WORKER, ourselves, unusable, worker};

/// Questions that are worked on at the same time.
const AT_ONCE: usize = 128;
/// Wrong secrets of a user of the system before each one costs time.
const FREE_TRIES: u32 = 10;
/// What each one costs then.
const PENALTY: Duration = Duration::from_secs(1);
/// After so much time without one, wrong secrets are forgotten.
const FORGET: Duration = Duration::from_secs(600);

/// The monitor, with the server's arguments; its end is the server's.
pub fn run(arguments: &[String]) -> i32 {
    wharf::daemon::os::bound_arenas(2);
    // What ends the server comes to all of its group; the server may have
    // transfers to finish.
    let _blocked = SignalSet::block(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]);
    let _ = rustix::thread::set_name(c"wharfd-monitor");
    let Ok(channel) = Inherited::duplicate(0).map(MessageSocket::from) else {
        return failure::USAGE;
    };
    let quiet = failure::silence(|null| {
        rustix::stdio::dup2_stdin(null)?;
        rustix::stdio::dup2_stdout(null)
    });
    if quiet.is_err() {
        return failure::TEMPORARY;
    }
    let Some(mut given) = read(arguments) else {
        return failure::USAGE;
    };
    if given.daemon {
        given.syslog |= given.log_file.is_none() && logging::has_syslog();
        let _ = failure::silence(|null| rustix::stdio::dup2_stderr(null));
    }
    // Workers share what is in memory now: little, and no secret.
    let mut nursery = None;
    let others = given.users.is_some() || given.system_users || !given.auth_helper.is_empty();
    if others && let Ok((near, far)) = MessageSocket::pair() {
        match fork() {
            Ok(Fork::Child) => {
                drop((channel, near));
                return worker::nurse(far);
            }
            Ok(Fork::Parent(process)) => nursery = Some((near, process)),
            // The first worker needs it.
            Err(_) => {}
        }
    }
    // Without a log of its own its words are lost, not its work.
    let _logs = logging::start(&given);
    let monitor = Arc::new(Monitor {
        arguments: arguments.to_vec(),
        account: identity::account(&given).unwrap_or((u32::MAX, u32::MAX)),
        privileged: identity::is_privileged(),
        settings: Swap::new(MonitorSettings::of(given)),
        workers: Mutex::default(),
        nursery: Mutex::new(nursery.and_then(|(channel, process)| hear(channel, process).ok())),
        tries: Mutex::default(),
    });
    if channel.send(&[1], None).is_err() {
        return 0;
    }
    answer_all(&monitor, &channel);
    0
}

/// Answers the server's questions, a thread each, until it has gone.
fn answer_all(monitor: &Arc<Monitor>, channel: &MessageSocket) {
    let questions = Arc::new(());
    let mut buffer = vec![0; MESSAGE_MAX];
    loop {
        let (length, answer) = match channel.receive(&mut buffer) {
            Ok(Some((length, Some(answer)))) => (length, MessageSocket::from(answer)),
            Ok(Some(_)) | Err(_) => continue,
            Ok(None) => return,
        };
        if Arc::strong_count(&questions) > AT_ONCE {
            let busy = Error::new(ErrorKind::Busy, "the monitor has too much to do");
            let _ = answer.send_now(Message::default().u8(0).error(&busy).as_bytes(), None);
            continue;
        }
        let question = buffer[..length].to_vec();
        // SECURITY: it may hold a password.
        buffer[..length].fill(0);
        let (monitor, turn) = (Arc::clone(monitor), Arc::clone(&questions));
        let thread = std::thread::Builder::new().stack_size(256 * 1024);
        // Without a thread the channel closes, and the server is told so.
        let _ = thread.spawn(move || {
            monitor.reply(&question, &answer);
            drop(turn);
        });
    }
}

fn read(arguments: &[String]) -> Option<Settings> {
    match cli::read(arguments, cli::environment()) {
        Ok(Action::Serve(invocation)) => Some(invocation.settings),
        // The server reads the same, and says what is wrong.
        _ => None,
    }
}

/// What the settings say, until they are read again.
struct MonitorSettings {
    given: Settings,
    users: Option<UserFile>,
    system: Option<SystemUsers>,
    helper: Option<Helper>,
}

impl MonitorSettings {
    fn of(given: Settings) -> Self {
        let users = given.users.as_ref();
        let defaults = UserDefaults::default;
        MonitorSettings {
            users: users.and_then(|path| UserFile::open(path, defaults()).ok()),
            system: (given.system_users)
                .then(|| assemble::system_users(&given, defaults()).ok())
                .flatten(),
            helper: assemble::helper(&given),
            given,
        }
    }
}

/// The channel to a worker, while there is one.
type Worker = Arc<Mutex<Option<MessageSocket>>>;

struct Monitor {
    arguments: Vec<String>,
    /// Whom the server acts as.
    account: (u32, u32),
    privileged: bool,
    settings: Swap<MonitorSettings>,
    /// Each with a lock of its own: a home on a disk that hangs holds up its
    /// own user.
    workers: Mutex<HashMap<(Identity, PathBuf), Worker>>,
    nursery: Mutex<Option<Arc<MessageSocket>>>,
    tries: Mutex<HashMap<String, (u32, Instant)>>,
}

/// What is answered, and the descriptor that goes with it.
type MonitorAnswer = Result<(Message, Option<OwnedFd>)>;

impl Monitor {
    fn reply(self: &Arc<Self>, question: &[u8], answer: &MessageSocket) {
        let (message, descriptor) = match self.answer(&mut Parts::of(question)) {
            Ok(answer) => answer,
            Err(error) => (Message::default().u8(0).error(&error), None),
        };
        let descriptor = descriptor.as_ref().map(AsFd::as_fd);
        if let Err(error) = answer.send_now(message.as_bytes(), descriptor) {
            log::debug!("an answer of the monitor is lost: {error}");
        }
    }

    fn settings(&self) -> Arc<MonitorSettings> {
        self.settings.load()
    }

    fn answer(self: &Arc<Self>, parts: &mut Parts<'_>) -> MonitorAnswer {
        let settings = self.settings();
        let done = || Message::default().u8(1);
        let missing = |what: &'static str| Error::new(ErrorKind::Internal, what);
        match parts.u8()? {
            n if n == Question::System as u8 => {
                let system = settings.system.as_ref();
                let system = system.ok_or_else(|| missing("system-users needs a restart"))?;
                self.judge(system, parts)
            }
            n if n == Question::Home as u8 => {
                let users = settings.users.as_ref();
                let users = users.ok_or_else(|| missing("users needs a restart"))?;
                let entry = user_file::entry(users, parts.text()?)
                    .ok_or_else(|| missing("no such user in the users file"))?;
                match parts.u8()?.checked_sub(1) {
                    None => self.home_of(done(), &entry),
                    Some(number) => self.mount_of(done(), &entry, number),
                }
            }
            n if n == Question::Helper as u8 => {
                let helper = settings.helper.as_ref();
                let helper = helper.ok_or_else(|| missing("auth-helper needs a restart"))?;
                let (name, password) = (parts.text()?, parts.bytes()?);
                let environment = helper.ask(name, password, address(parts.text()?)?)?;
                let entry = helper.entry(name, &environment)?;
                self.home_of(done().bytes(&environment), &entry)
            }
            n if n == Question::Hook as u8 => {
                let account = Some(self.account).filter(|_| self.privileged);
                let words = hooks::carry_out(&settings.given, parts.bytes()?, account)?;
                Ok((done().bytes(words.unwrap_or_default().as_bytes()), None))
            }
            n if n == Question::File as u8 => {
                let path = Path::new(std::ffi::OsStr::from_bytes(parts.bytes()?));
                Ok((done(), Some(self.file(&settings.given, path)?.into())))
            }
            n if n == Question::Reload as u8 => {
                if let Some(given) = read(&self.arguments) {
                    self.settings.replace(MonitorSettings::of(given));
                }
                Ok((done(), None))
            }
            _ => Err(missing("an unknown question")),
        }
    }

    /// A file that the settings name.
    fn file(&self, given: &Settings, path: &Path) -> Result<File> {
        let denied = |what: &'static str| Err(Error::new(ErrorKind::Denied, what));
        let mut logs = given.log_file.iter().chain(&given.transfer_log);
        if logs.any(|log| log == path) {
            return if self.is_out_of_reach(path) {
                Ok(wharf::daemon::os::open_log(path)?)
            } else {
                denied("others can change where the path leads")
            };
        }
        let known = identity::read_again(given).any(|known| known == path);
        if known || landlock::is_key_file(given, path) {
            paths::open(path)
        } else {
            denied("not a file of the settings")
        }
    }

    /// Judges credentials of a user of the system.
    fn judge(self: &Arc<Self>, system: &SystemUsers, parts: &mut Parts<'_>) -> MonitorAnswer {
        let (name, peer) = (parts.text()?, address(parts.text()?)?);
        let (secure, question) = (parts.u8()? != 0, parts.u8()? != 0);
        let key;
        let secret = match parts.u8()? {
            0 => Secret::Password(parts.bytes()?),
            _ => {
                let mut shown = PublicKey::new(parts.text()?, parts.bytes()?);
                shown.user_verified = match parts.u8()? {
                    2 => None,
                    verified => Some(verified == 1),
                };
                key = shown;
                Secret::PublicKey(&key)
            }
        };
        let mut credentials = Credentials::new(name, secret, peer);
        credentials.secure = secure;
        credentials.dry_run = question;
        let guesses = matches!(secret, Secret::Password(_));
        if guesses {
            self.pay(name);
        }
        let open = |account: &Account| -> Result<Arc<dyn FileSystem>> {
            let identity = Some(account.identity.clone());
            match self.open(identity, &account.home)? {
                (CHANNEL, Some(fd)) => Ok(Arc::new(RemoteFs::new(MessageSocket::from(fd)))),
                _ => Ok(Arc::new(LocalFs::open(&account.home)?)),
            }
        };
        let account = match system.judge(&credentials, &open) {
            Ok(account) => account,
            Err(error) if !guesses => return Err(error),
            Err(error) => {
                let mut tries = self.tries();
                let known = tries.entry(name.to_owned()).or_insert((0, Instant::now()));
                *known = (known.0.saturating_add(1), Instant::now());
                return Err(error);
            }
        };
        let answer = Message::default().u8(1);
        if question {
            return Ok((answer.u8(NONE), None));
        }
        let (kind, descriptor) = self.open(Some(account.identity), &account.home)?;
        Ok((answer.u8(kind), descriptor))
    }

    fn tries(&self) -> MutexGuard<'_, HashMap<String, (u32, Instant)>> {
        let mut tries = unpoisoned(self.tries.lock());
        if tries.len() > 1000 {
            tries.retain(|_, (_, last)| last.elapsed() < FORGET);
        }
        tries
    }

    /// A server that has been taken over can't guess faster than its clients.
    fn pay(&self, name: &str) {
        let known = self.tries().get(name).copied();
        if known.is_some_and(|(count, last)| count >= FREE_TRIES && last.elapsed() < FORGET) {
            std::thread::sleep(PENALTY);
        }
    }

    /// Whether nobody who is not root can make a path lead elsewhere.
    fn is_out_of_reach(&self, path: &Path) -> bool {
        self.account.0 == 0 || !self.privileged || paths::out_of_reach(path)
    }

    fn home_of(self: &Arc<Self>, answer: Message, entry: &user_file::Entry) -> MonitorAnswer {
        let (uid, gid) = self.account;
        let server = Identity {
            uid,
            gid,
            groups: Vec::new(),
        };
        // SECURITY: root makes nothing at a place that the server chooses.
        if self.is_out_of_reach(&entry.home) {
            wharf::daemon::make_home(entry, Some(&server).filter(|_| self.privileged))?;
        }
        self.handed_over(answer, entry.options.identity(), &entry.home)
    }

    /// The directory of a `mount=`, for whom the user is in their home.
    fn mount_of(
        self: &Arc<Self>,
        answer: Message,
        entry: &user_file::Entry,
        number: u8,
    ) -> MonitorAnswer {
        let mount = entry.options.mounts.get(usize::from(number));
        let mount = mount.ok_or(ErrorKind::NotFound)?;
        let identity = match entry.options.identity() {
            None => self.owner(&entry.home)?,
            known => known,
        };
        self.handed_over(answer, identity, &mount.directory)
    }

    fn handed_over(
        self: &Arc<Self>,
        answer: Message,
        identity: Option<Identity>,
        directory: &Path,
    ) -> MonitorAnswer {
        match self.open(identity, directory)? {
            (PATH, _) => {
                let path = directory.as_os_str().as_bytes();
                Ok((answer.u8(PATH).bytes(path), None))
            }
            (kind, descriptor) => Ok((answer.u8(kind), descriptor)),
        }
    }

    /// A home for `identity`, or for whoever owns it.
    fn open(
        self: &Arc<Self>,
        identity: Option<Identity>,
        home: &Path,
    ) -> Result<(u8, Option<OwnedFd>)> {
        let unusable = |error| unusable(home, error);
        let identity = match identity {
            Some(identity) => Some(identity),
            None => self.owner(home).map_err(unusable)?,
        };
        match identity.filter(|_| self.privileged) {
            Some(identity) => {
                let channel = self.connect(identity, home).map_err(unusable)?;
                Ok((CHANNEL, Some(channel.into())))
            }
            None if self.is_out_of_reach(home) => {
                let files = LocalFs::open(home).map_err(unusable)?;
                Ok((
                    DIRECTORY,
                    Some(wharf::daemon::root_of(&files).try_clone_to_owned()?),
                ))
            }
            None => Ok((PATH, None)),
        }
    }

    /// Whom a user acts as whose line does not say it: the owner of the home.
    /// `None`: the server itself, which is not root unless it was told so.
    fn owner(&self, home: &Path) -> Result<Option<Identity>> {
        let metadata = std::fs::metadata(home)?;
        let uid = metadata.uid();
        if uid == 0 || uid == self.account.0 || self.account.0 == 0 {
            return Ok(None);
        }
        let gid = metadata.gid();
        let (gid, groups) = identity::groups_of(uid).unwrap_or((gid, Vec::new()));
        Ok(Some(Identity { uid, gid, groups }))
    }

    /// A connection to the worker of a user and home, which is started if
    /// there is none.
    fn connect(self: &Arc<Self>, identity: Identity, home: &Path) -> Result<MessageSocket> {
        let key = (identity, home.to_path_buf());
        let (near, far) = MessageSocket::pair()?;
        let slot = {
            let mut workers = unpoisoned(self.workers.lock());
            workers.retain(|_, slot| match slot.try_lock() {
                Ok(worker) => worker.as_ref().is_some_and(|worker| !has_ended(worker)),
                // Somebody is at it.
                Err(_) => true,
            });
            Arc::clone(workers.entry(key.clone()).or_default())
        };
        let mut worker = unpoisoned(slot.lock());
        if let Some(worker) = &*worker
            && worker.send(&[1], Some(far.as_fd())).is_ok()
        {
            return Ok(near);
        }
        let started = self.start(&key)?;
        started.send(&[1], Some(far.as_fd()))?;
        *worker = Some(started);
        Ok(near)
    }

    /// Has the nursery start a worker.
    fn start(&self, (identity, home): &(Identity, PathBuf)) -> Result<MessageSocket> {
        let (near, far) = MessageSocket::pair()?;
        let order = worker::order(identity, home);
        {
            let mut nursery = unpoisoned(self.nursery.lock());
            let sent = nursery
                .as_ref()
                .map(|nursery| nursery.send(order.as_bytes(), Some(far.as_fd())));
            if !matches!(sent, Some(Ok(()))) {
                let started = start_nursery()?;
                started.send(order.as_bytes(), Some(far.as_fd()))?;
                *nursery = Some(started);
            }
        }
        drop(far);
        let mut buffer = [0; MESSAGE_MAX];
        let (length, _) = near
            .receive(&mut buffer)?
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the worker did not start"))?;
        let mut parts = Parts::of(&buffer[..length]);
        match parts.u8()? {
            0 => Err(parts.error()?),
            _ => Ok(near),
        }
    }
}

/// Starts the process that starts workers.
fn start_nursery() -> Result<Arc<MessageSocket>> {
    let (near, far) = MessageSocket::pair()?;
    let child = ourselves(WORKER, far).env_clear().spawn()?;
    hear(near, child.id() as i32)
}

/// Starts a thread that hears of workers that should not have ended.
fn hear(channel: MessageSocket, process: i32) -> Result<Arc<MessageSocket>> {
    let near = Arc::new(channel);
    let reports = Arc::clone(&near);
    let thread = std::thread::Builder::new().stack_size(64 * 1024);
    let heard = thread.spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(Some((length, _))) = reports.receive(&mut buffer) {
            let mut parts = Parts::of(&buffer[..length]);
            if let (Ok(uid), Ok(status)) = (parts.u32(), parts.text()) {
                log::error!("the worker process of uid {uid} has ended: {status}");
            }
        }
        let _ = rustix::process::waitpid(Pid::from_raw(process), WaitOptions::empty());
        log::error!("the process that starts workers has ended");
    });
    heard?;
    Ok(near)
}

/// Whether a worker has ended, or will not take another session.
fn has_ended(worker: &MessageSocket) -> bool {
    let now = rustix::event::Timespec::default();
    let mut looked = [PollFd::new(worker, PollFlags::empty())];
    poll(&mut looked, Some(&now)).is_ok_and(|count| count > 0)
}

fn address(text: &str) -> Result<IpAddr> {
    text.parse()
        .map_err(|_| Error::new(ErrorKind::Internal, "a message has no address"))
}
