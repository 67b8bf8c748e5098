//! Descriptors that whoever has started this process left open in it.

use std::os::fd::RawFd;

/// Closes all descriptors from 3 on but those in `kept`, which are closed in
/// programs that we start. To be called before anything is opened.
pub fn close_inherited(kept: &[RawFd]) {
    let mut kept: Vec<RawFd> = kept.iter().copied().filter(|number| *number > 2).collect();
    kept.sort_unstable();
    kept.dedup();
    let mut from = 3;
    for number in kept {
        close_range(from, number - 1);
        // SAFETY: fcntl on any number only looks at the descriptor table.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        from = number + 1;
    }
    close_range(from, RawFd::MAX);
}

fn close_range(from: RawFd, to: RawFd) {
    if from > to {
        return;
    }
    // SAFETY: nothing of ours is open yet, so no owner loses a descriptor; the
    // call takes numbers only. By number, for C libraries that don't know it.
    if unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) } == 0 {
        return;
    }
    // Linux before 5.9. Who raises the limit that far starts few servers.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = limit.current.unwrap_or(1 << 16).min(1 << 16) as RawFd;
    for number in from..=to.min(most) {
        // SAFETY: as above.
        unsafe { libc::close(number) };
    }
}
