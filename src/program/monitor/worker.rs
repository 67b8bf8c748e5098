//! A worker: one user's process, which serves one directory.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, WaitOptions, setrlimit};
use wharf::auth::Identity;
use wharf::daemon::os::{Fork, Inherited, SignalSet};
use wharf::daemon::remote::{self, MESSAGE_MAX, Message, MessageSocket, Parts};
use wharf::storage::LocalFs;
use wharf::{Error, ErrorKind, Result};

use super::super::{failure, landlock};
use super::paths::out_of_reach;

/// How long a worker without sessions stays for the next one.
const LINGER: Duration = Duration::from_secs(5);

/// How soon a worker's end is seen.
const LOOK: Duration = Duration::from_millis(500);

/// Says to a worker whom it becomes.
pub fn order(identity: &Identity, home: &Path) -> Message {
    let order = Message::default()
        .u32(identity.uid)
        .u32(identity.gid)
        .bytes(home.as_os_str().as_encoded_bytes())
        .u32(identity.groups.len() as u32);
    identity.groups.iter().copied().fold(order, Message::u32)
}

/// The nursery, as a program started anew.
pub fn run() -> i32 {
    // What ends the server comes to all of its group; we end with the monitor.
    let _blocked = SignalSet::block(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]);
    let Ok(channel) = Inherited::duplicate(0).map(MessageSocket::from) else {
        return failure::USAGE;
    };
    let _ = failure::silence(|null| rustix::stdio::dup2_stdin(null));
    nurse(channel)
}

/// The nursery: a process that does nothing but start workers, so that these
/// share their memory with it. Each message has a worker's orders and channel;
/// workers that end badly are reported.
pub fn nurse(channel: MessageSocket) -> i32 {
    // A worker has few threads, and they wait for the disk.
    wharf::daemon::os::bound_arenas(1);
    let _ = rustix::thread::set_name(c"wharfd-worker");
    let mut children = HashMap::new();
    loop {
        reap(&mut children, &channel);
        let look = Timespec::try_from(LOOK).ok();
        let mut ready = [PollFd::new(&channel, PollFlags::IN)];
        match poll(&mut ready, look.as_ref().filter(|_| !children.is_empty())) {
            Ok(0) | Err(_) => continue,
            Ok(_) => {}
        }
        let mut order = [0; MESSAGE_MAX];
        let (length, worker) = match channel.receive(&mut order) {
            Ok(Some((length, Some(worker)))) => (length, MessageSocket::from(worker)),
            Ok(Some(_)) | Err(_) => continue,
            Ok(None) => return 0,
        };
        let Some(order) = order.get(..length) else {
            continue;
        };
        match wharf::daemon::os::fork() {
            Ok(Fork::Child) => {
                // SECURITY: the orders of other workers come by it.
                drop(channel);
                return work(&worker, order);
            }
            Ok(Fork::Parent(child)) => {
                children.insert(child, Parts::of(order).u32().unwrap_or_default());
            }
            Err(error) => {
                let error = Error::from(error).doing("starting a worker");
                let _ = worker.send(Message::default().u8(0).error(&error).as_bytes(), None);
            }
        }
    }
}

/// Takes leave of workers that have ended, and tells of those that should not.
fn reap(children: &mut HashMap<i32, u32>, channel: &MessageSocket) {
    while let Ok(Some((child, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        let uid = children.remove(&child.as_raw_nonzero().get());
        let status = ExitStatus::from_raw(status.as_raw());
        if let Some(uid) = uid.filter(|_| !status.success()) {
            let report = Message::default()
                .u32(uid)
                .bytes(status.to_string().as_bytes());
            let _ = channel.send(report.as_bytes(), None);
        }
    }
}

/// What a worker does: becomes the user of its orders, and serves.
fn work(channel: &MessageSocket, order: &[u8]) -> i32 {
    let files = match become_user(order) {
        Ok(files) => files,
        Err(error) => {
            // Who has started us is told, and tells the log.
            let answer = Message::default().u8(0).error(&error);
            let _ = channel.send(answer.as_bytes(), None);
            return 0;
        }
    };
    if channel.send(&[1], None).is_ok() {
        serve(channel, &files);
    }
    0
}

fn become_user(order: &[u8]) -> Result<LocalFs> {
    let mut parts = Parts::of(order);
    let (uid, gid) = (parts.u32()?, parts.u32()?);
    let home = path(parts.bytes()?);
    let mut groups = vec![gid];
    for _ in 0..parts.u32()? {
        groups.push(parts.u32()?);
    }
    groups.dedup();
    // A home below a directory that the user may not enter is opened before;
    // one that root may not look at, on NFS, after.
    let before = if out_of_reach(home) {
        LocalFs::open(home)
    } else {
        Err(ErrorKind::Denied.into())
    };
    wharf::daemon::os::become_user(uid, gid, &groups)?;
    rustix::thread::set_no_new_privs(true)?;
    // SECURITY: believe the kernel, not the calls.
    let (real, effective) = (rustix::process::getuid(), rustix::process::geteuid());
    if (real.as_raw(), effective.as_raw()) != (uid, uid)
        || uid == 0
        || wharf::daemon::os::become_user(0, 0, &[]).is_ok()
    {
        return Err(Error::new(
            ErrorKind::Internal,
            "the way back to root is open",
        ));
    }
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    let files = LocalFs::open(home).or_else(|error| before.map_err(|_| error))?;
    landlock::only(wharf::daemon::root_of(&files));
    if let Err(error) = wharf::daemon::os::refuse_system_calls() {
        log::debug!("the filter of system calls is off: {error}");
    }
    Ok(files)
}

fn path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// Each message brings a connection, served by a thread of its own.
fn serve(channel: &MessageSocket, files: &LocalFs) {
    let sessions = Arc::new(AtomicUsize::new(0));
    loop {
        let mut ready = [PollFd::new(channel, PollFlags::IN)];
        let linger = Timespec::try_from(LINGER).ok();
        match poll(&mut ready, linger.as_ref()) {
            Ok(0) if sessions.load(Ordering::Acquire) == 0 => {
                // From here on nothing more can be sent to us; what has come
                // before is still served.
                let _ = rustix::net::shutdown(channel.as_fd(), rustix::net::Shutdown::Read);
            }
            Ok(0) | Err(_) => continue,
            Ok(_) => {}
        }
        let mut buffer = [0; 16];
        match channel.receive(&mut buffer) {
            Ok(Some((_, Some(connection)))) => start(connection, files, &sessions),
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => break,
        }
    }
    // Either the monitor has ended or we linger no more: sessions that have
    // come at the last moment are served to their end.
    while sessions.load(Ordering::Acquire) > 0 {
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn start(connection: OwnedFd, files: &LocalFs, sessions: &Arc<AtomicUsize>) {
    sessions.fetch_add(1, Ordering::AcqRel);
    let counted = Counted(Arc::clone(sessions));
    let files = files.clone();
    let thread = std::thread::Builder::new().stack_size(128 * 1024);
    // Without a thread the connection closes, and the session is told so.
    let _ = thread.spawn(move || {
        let _counted = counted;
        remote::serve(&MessageSocket::from(connection), &files);
    });
}

/// One of the sessions, however it ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
