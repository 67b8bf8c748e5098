//! Programs of the administrator that are run when something has happened:
//! by path, without a shell, outside the session's way.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wharf::ErrorKind;
use wharf::daemon::Settings;
use wharf::daemon::log_context::LogContext;
use wharf::daemon::remote::{Message, Parts};
use wharf::daemon::{ChildGroup, Swap, unpoisoned};
use wharf::events::{Event, Events, Who};
use wharf::storage::VirtualPath;

use super::monitor::Monitor;

/// Events that wait for a program. At 300 bytes each a flood costs 300 KiB;
/// what comes on top is logged and dropped.
const QUEUE: usize = 1024;
/// Programs at the same time.
const AT_ONCE: usize = 4;
/// How long the end of the server waits for programs.
const LAST: Duration = Duration::from_secs(10);
/// Between two looks at a program that runs.
const LOOK: Duration = Duration::from_millis(20);

/// One program to run.
struct HookCall {
    program: PathBuf,
    timeout: Duration,
    event: &'static str,
    /// The old path of what was renamed.
    from: Option<OsString>,
    path: Option<OsString>,
    session: LogContext,
    bytes: Option<u64>,
    sha256: Option<String>,
}

/// The hooks of a server.
pub struct Hooks {
    programs: Swap<Programs>,
    queue: Mutex<Option<SyncSender<HookCall>>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    waiting: Arc<Mutex<Receiver<HookCall>>>,
    /// Who starts the programs; `None`: this process.
    monitor: Option<Arc<Monitor>>,
}

/// What is run, and how long it may take.
struct Programs {
    upload: Option<PathBuf>,
    login: Option<PathBuf>,
    delete: Option<PathBuf>,
    download: Option<PathBuf>,
    rename: Option<PathBuf>,
    timeout: Duration,
}

impl Programs {
    fn of(settings: &Settings) -> Self {
        Programs {
            upload: settings.on_upload.clone(),
            login: settings.on_login.clone(),
            delete: settings.on_delete.clone(),
            download: settings.on_download.clone(),
            rename: settings.on_rename.clone(),
            timeout: settings.hook_timeout,
        }
    }
}

impl Hooks {
    /// The hooks that the settings name; `None` without any.
    pub fn new(settings: &Settings, monitor: Option<&Arc<Monitor>>) -> Option<Arc<Self>> {
        if !settings.starts_programs() {
            return None;
        }
        let (queue, waiting) = sync_channel(QUEUE);
        Some(Arc::new(Hooks {
            programs: Swap::new(Programs::of(settings)),
            queue: Mutex::new(Some(queue)),
            workers: Mutex::default(),
            waiting: Arc::new(Mutex::new(waiting)),
            monitor: monitor.cloned(),
        }))
    }

    /// Runs the programs of other settings from now on.
    pub fn change(&self, settings: &Settings) {
        self.programs.replace(Programs::of(settings));
    }

    /// Starts the threads that run the programs. Call it when the process is
    /// who it will be: the programs are the same.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(&self) -> std::io::Result<()> {
        for _ in 0..AT_ONCE {
            let (waiting, monitor) = (Arc::clone(&self.waiting), self.monitor.clone());
            let worker = std::thread::Builder::new()
                .name("hook".into())
                .stack_size(128 * 1024)
                .spawn(move || work(&waiting, monitor.as_deref()))?;
            self.workers().push(worker);
        }
        Ok(())
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        unpoisoned(self.workers.lock())
    }

    /// Takes no more events and waits a while for the programs that are due.
    pub fn finish(&self) {
        *unpoisoned(self.queue.lock()) = None;
        let until = Instant::now() + LAST;
        while self.workers().iter().any(|worker| !worker.is_finished()) {
            if Instant::now() > until {
                log::warn!("ending while hook programs still run");
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Events for Hooks {
    fn event(&self, who: &Who<'_>, event: &Event<'_>) {
        let programs = self.programs.load();
        let (program, word, path, bytes) = match event {
            Event::Upload(done) if done.complete => (
                &programs.upload,
                "upload",
                Some(done.path),
                Some(done.bytes),
            ),
            Event::LoggedIn => (&programs.login, "login", None, None),
            Event::Deleted(path) => (&programs.delete, "delete", Some(*path), None),
            Event::Download(done) if done.complete => (
                &programs.download,
                "download",
                Some(done.path),
                Some(done.bytes),
            ),
            Event::Renamed(_, path) => (&programs.rename, "rename", Some(*path), None),
            _ => return,
        };
        let Some(program) = program else { return };
        let bytes_of = |path: &VirtualPath| OsStringExt::from_vec(path.as_bytes().to_vec());
        let job = HookCall {
            program: program.clone(),
            timeout: programs.timeout,
            event: word,
            from: match event {
                Event::Renamed(from, _) => Some(bytes_of(from)),
                _ => None,
            },
            path: path.map(bytes_of),
            session: LogContext::from(who),
            bytes,
            sha256: match event {
                Event::Upload(done) => done.sha256.map(String::from),
                _ => None,
            },
        };
        let queue = unpoisoned(self.queue.lock());
        if let Some(queue) = &*queue
            && let Err(TrySendError::Full(job)) = queue.try_send(job)
        {
            log::error!(
                "{}: {QUEUE} events wait already; this one is lost",
                job.program.display()
            );
        }
    }
}

fn work(waiting: &Mutex<Receiver<HookCall>>, monitor: Option<&Monitor>) {
    loop {
        let job = unpoisoned(waiting.lock()).recv();
        let Ok(job) = job else { return };
        let what = job.program.display();
        let _lines = job.session.clone().enter();
        let outcome = match monitor {
            Some(monitor) => monitor.hook(job.message()),
            None => run(&job, None),
        };
        match outcome {
            Ok(None) => log::debug!("{what}: done"),
            Ok(Some(trouble)) => log::warn!("{what}: {trouble}"),
            Err(error) => log::error!("{what}: {error}"),
        }
    }
}

impl HookCall {
    /// Everything but the program and its time, which are the settings'.
    fn message(&self) -> Message {
        let bytes_of = |path: &Option<OsString>| {
            let bytes = path.as_ref().map(|path| path.as_bytes());
            (bytes.is_some().into(), bytes.unwrap_or_default().to_vec())
        };
        let ((has_from, from), (has_path, path)) = (bytes_of(&self.from), bytes_of(&self.path));
        Message::default()
            .bytes(self.event.as_bytes())
            .bytes(self.session.user.load().as_bytes())
            .u8(has_from)
            .bytes(&from)
            .u8(has_path)
            .bytes(&path)
            .bytes(self.session.address.to_string().as_bytes())
            .bytes(self.session.protocol.as_bytes())
            .u64(self.session.session)
            .u8(self.bytes.is_some().into())
            .u64(self.bytes.unwrap_or_default())
            .u8(self.sha256.is_some().into())
            .bytes(self.sha256.as_deref().unwrap_or_default().as_bytes())
    }
}

/// Runs the program of a job that has come as a message; what went wrong with
/// it, as words.
///
/// # Errors
/// It can't be started, or the message makes no sense.
pub fn carry_out(
    settings: &Settings,
    message: &[u8],
    account: Option<(u32, u32)>,
) -> wharf::Result<Option<String>> {
    let mut parts = Parts::of(message);
    let programs = Programs::of(settings);
    let known = [
        ("upload", &programs.upload),
        ("login", &programs.login),
        ("delete", &programs.delete),
        ("download", &programs.download),
        ("rename", &programs.rename),
    ];
    let event = parts.text()?;
    let found = known.into_iter().find(|(word, _)| *word == event);
    let Some((event, Some(program))) = found else {
        return Err(wharf::Error::new(
            ErrorKind::Internal,
            "the settings name no such hook",
        ));
    };
    let wrong = || wharf::Error::new(ErrorKind::Internal, "a message makes no sense");
    let user = parts.text()?;
    let mut path = || -> wharf::Result<Option<OsString>> {
        let path = optional(parts.u8()?, OsStr::from_bytes(parts.bytes()?));
        Ok(path.map(OsString::from))
    };
    let (from, path) = (path()?, path()?);
    let address = parts.text()?.parse().map_err(|_| wrong())?;
    let named = parts.text()?;
    let mut protocols = ["ftp", "ftps", "sftp"].into_iter();
    let protocol = protocols.find(|word| *word == named).ok_or_else(wrong)?;
    let job = HookCall {
        program: program.clone(),
        timeout: programs.timeout,
        event,
        from,
        path,
        session: LogContext {
            session: parts.u64()?,
            address,
            protocol,
            user: user.into(),
        },
        bytes: optional(parts.u8()?, parts.u64()?),
        sha256: optional(parts.u8()?, parts.text()?.to_owned()),
    };
    run(&job, account)
}

fn optional<T>(there: u8, value: T) -> Option<T> {
    (there != 0).then_some(value)
}

/// What is wrong with how the program has ended, if anything. It runs as
/// `account`, if there is one.
fn run(job: &HookCall, account: Option<(u32, u32)>) -> wharf::Result<Option<String>> {
    let mut command = Command::new(&job.program);
    if let Some((uid, gid)) = account {
        command.uid(uid).gid(gid);
    }
    // The arguments and variables hold bytes that a client has chosen. No
    // shell sees them, and the variables all have names of our own.
    command.arg(job.event).args(&job.from).args(&job.path);
    command.env_clear();
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    command
        .env("PATH", path)
        .env("WHARF_EVENT", job.event)
        .env("WHARF_USER", &*job.session.user.load())
        .env("WHARF_ADDRESS", job.session.address.to_string())
        .env("WHARF_PROTOCOL", job.session.protocol)
        .env("WHARF_SESSION", job.session.session.to_string());
    if let Some(path) = &job.path {
        command.env("WHARF_PATH", path);
    }
    if let Some(from) = &job.from {
        command.env("WHARF_FROM", from);
    }
    if let Some(bytes) = job.bytes {
        command.env("WHARF_BYTES", bytes.to_string());
    }
    if let Some(sum) = &job.sha256 {
        command.env("WHARF_SHA256", sum);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let ended = ChildGroup::start(&mut command)?.wait(Instant::now() + job.timeout)?;
    Ok(match ended {
        Some(status) => (!status.success()).then(|| status.to_string()),
        None => Some(format!("ended after {} seconds", job.timeout.as_secs())),
    })
}
