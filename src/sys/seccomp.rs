//! A filter of system calls (seccomp(2)) for the process that serves.

use std::io;

/// Calls that a file server never makes and an attacker's code would: other
/// programs, other processes' memory, mounts, the kernel's programmable parts.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_open_by_handle_at,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_personality,
    NEW + 425, // io_uring_setup
    NEW + 426, // io_uring_enter
    NEW + 427, // io_uring_register
    NEW + 428, // open_tree
    NEW + 429, // move_mount
    NEW + 430, // fsopen
    NEW + 431, // fsconfig
    NEW + 432, // fsmount
    NEW + 433, // fspick
    NEW + 438, // pidfd_getfd
    NEW + 442, // mount_setattr
];

/// Calls since Linux 5.1 have the same number everywhere, but for an offset.
const NEW: libc::c_long = if cfg!(target_arch = "mips") {
    4000
} else if cfg!(target_arch = "mips64") {
    5000
} else {
    0
};

/// What the kernel calls the machine (linux/audit.h): its ELF number, and
/// whether it is of 64 bits and little-endian.
const MACHINE: Option<u32> = {
    let number = if cfg!(target_arch = "x86_64") {
        Some(62)
    } else if cfg!(target_arch = "x86") {
        Some(3)
    } else if cfg!(target_arch = "aarch64") {
        Some(183)
    } else if cfg!(target_arch = "arm") {
        Some(40)
    } else if cfg!(target_arch = "riscv64") {
        Some(243)
    } else if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
        Some(8)
    } else {
        None
    };
    let bits = if cfg!(target_pointer_width = "64") {
        0x8000_0000
    } else {
        0
    };
    let order = if cfg!(target_endian = "little") {
        0x4000_0000
    } else {
        0
    };
    match number {
        Some(number) => Some(number | bits | order),
        None => None,
    }
};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

fn statement(code: u32, k: u32) -> libc::sock_filter {
    branch(code, k, 0, 0)
}

fn branch(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    let code = code as u16;
    libc::sock_filter { code, jt, jf, k }
}

/// The filter as a program for the kernel.
fn program(machine: u32) -> Vec<libc::sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let mut program = vec![
        // SECURITY: calls by another table of numbers (32-bit programs) would
        // pass for harmless ones.
        statement(LOAD, ARCHITECTURE),
        branch(EQUAL, machine, 1, 0),
        statement(RETURN, REFUSE),
        statement(LOAD, NUMBER),
    ];
    if cfg!(target_arch = "x86_64") {
        // SECURITY: and so would the numbers of x32.
        program.push(branch(AT_LEAST, 0x4000_0000, 0, 1));
        program.push(statement(RETURN, REFUSE));
    }
    for number in REFUSED {
        program.push(branch(EQUAL, *number as u32, 0, 1));
        program.push(statement(RETURN, REFUSE));
    }
    program.push(statement(RETURN, ALLOW));
    program
}

/// Refuses, with EPERM and for good, the calls that no server of files needs,
/// in all threads. Needs no_new_privs.
///
/// # Errors
/// What the system says; [`io::ErrorKind::Unsupported`] where this kernel or
/// machine has no such filter.
pub fn refuse_system_calls() -> io::Result<()> {
    let machine = MACHINE.ok_or(io::ErrorKind::Unsupported)?;
    let mut program = program(machine);
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program, whose length is its own, before
    // the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const filter,
        )
    };
    match result {
        0 => Ok(()),
        -1 => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            error => Err(error),
        },
        thread => Err(io::Error::other(format!(
            "thread {thread} has another filter"
        ))),
    }
}

/// Traces the process that has started us, as an attacker would; for tests.
///
/// # Errors
/// What the system says.
#[cfg(debug_assertions)]
pub fn trace_parent() -> io::Result<()> {
    // SAFETY: the call takes numbers only, and stops another process at most.
    match unsafe { libc::ptrace(libc::PTRACE_ATTACH, libc::getppid(), 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
