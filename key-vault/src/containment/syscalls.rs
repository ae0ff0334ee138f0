//! Seccomp: the system calls that the vault makes, and no others (`seccomp(2)`).
//!
//! A call that is not listed fails with ENOSYS, as on a kernel that does not know it: the C library then goes an older way, and an
//! intruder none. Not listed are, above all, whatever starts or touches another process (`execve`, `fork`, `ptrace`,
//! `process_vm_readv`, `kill`), mounts, keyrings, namespaces, modules, `bpf`, `perf_event_open`, `io_uring` and `userfaultfd`. Memory
//! is never writable and executable at once, nor made executable at all, but for a token's library.

use std::collections::BTreeMap;

use libc::{c_long, c_ulong};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Op,
    SeccompCondition as Condition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use crate::Config;

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

#[rustfmt::skip]
const ALWAYS: &[c_long] = &[
    // Files and their folders.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_openat, libc::SYS_close, libc::SYS_close_range, libc::SYS_lseek,
    libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_fcntl, libc::SYS_flock, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_ftruncate, libc::SYS_fallocate,
    libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_linkat, libc::SYS_unlinkat,
    libc::SYS_mkdirat, libc::SYS_readlinkat, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_fchmod,
    libc::SYS_fchmodat, libc::SYS_fchown, libc::SYS_umask, libc::SYS_utimensat, libc::SYS_dup, libc::SYS_dup3, libc::SYS_pipe2,
    libc::SYS_fadvise64,
    // Memory.
    libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_brk, libc::SYS_mlock, libc::SYS_mlock2, libc::SYS_munlock,
    libc::SYS_mincore, libc::SYS_membarrier, libc::SYS_getcpu, libc::SYS_get_mempolicy,
    // Time, waiting, threads.
    libc::SYS_futex, libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_clock_gettime, libc::SYS_clock_getres,
    libc::SYS_gettimeofday, libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_set_robust_list,
    libc::SYS_get_robust_list, libc::SYS_set_tid_address, libc::SYS_rseq, libc::SYS_gettid, libc::SYS_exit, libc::SYS_exit_group,
    libc::SYS_restart_syscall, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2,
    libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_eventfd2,
    // Signals to itself.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_rt_sigtimedwait, libc::SYS_sigaltstack,
    // Connections.
    libc::SYS_socketpair, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept4, libc::SYS_connect, libc::SYS_getsockname,
    libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_recvfrom, libc::SYS_recvmsg,
    libc::SYS_recvmmsg, libc::SYS_shutdown,
    // What it is and may use.
    libc::SYS_getpid, libc::SYS_getppid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid,
    libc::SYS_getrandom, libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrusage,
];

/// Older names of the same, where there are some.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLDER: &[c_long] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_rename, libc::SYS_link, libc::SYS_unlink,
    libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_readlink, libc::SYS_chmod, libc::SYS_dup2, libc::SYS_pipe, libc::SYS_poll,
    libc::SYS_select, libc::SYS_epoll_wait, libc::SYS_time, libc::SYS_getrlimit, libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// Which kind of socket, beside the flags that it may have.
const KIND: i32 = 0xf;

/// What is asked of open files: whether they are a terminal, how much there is to read, not to wait.
const REQUESTS: [c_ulong; 4] = [
    libc::TCGETS,
    libc::TIOCGWINSZ,
    libc::FIONREAD,
    libc::FIONBIO,
];

/// Naming a thread, naming memory, huge pages.
const CONTROLS: [i32; 4] = [
    libc::PR_SET_NAME,
    libc::PR_SET_VMA,
    libc::PR_GET_THP_DISABLE,
    libc::PR_SET_THP_DISABLE,
];

pub(super) fn restrict(config: &Config) -> Result<(), String> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|error| format!("{}: {error}", std::env::consts::ARCH))?;
    let loads_code = config.unseal.pkcs11.is_some();
    let database = &config.database.url;
    let reach = Reach {
        // A server's name is asked for.
        datagrams: database.port().is_some(),
        // A server that is neither a file nor on a port; a token's library may speak to a service of its own.
        unix: (database.file().is_none() && database.port().is_none()) || loads_code,
    };
    let program = rules(loads_code, reach)
        .and_then(|rules| {
            SeccompFilter::new(
                rules,
                SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
                SeccompAction::Allow,
                architecture,
            )
        })
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())?;
    apply_filter(&program).map_err(|error| error.to_string())
}

/// What it may reach beside its TCP ports.
#[derive(Clone, Copy)]
struct Reach {
    datagrams: bool,
    unix: bool,
}

fn rules(loads_code: bool, reach: Reach) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = ALWAYS
        .iter()
        .chain(OLDER)
        .map(|call| (*call, Vec::new()))
        .collect();
    let one_of = |argument, values: &[u64]| -> Result<Vec<_>, _> {
        values
            .iter()
            .map(|value| only(argument, Width::Dword, Op::Eq, *value))
            .collect()
    };
    rules.insert(libc::SYS_socket, sockets(reach)?);
    // Landlock does not see a connection that is made by sending.
    for (call, argument) in [
        (libc::SYS_sendto, 3),
        (libc::SYS_sendmsg, 2),
        (libc::SYS_sendmmsg, 3),
    ] {
        let fast = unsigned(libc::MSG_FASTOPEN);
        let plain = only(argument, Width::Dword, Op::MaskedEq(fast), 0)?;
        rules.insert(call, vec![plain]);
    }
    // As `abort` does.
    let myself = u64::from(std::process::id());
    rules.insert(
        libc::SYS_tgkill,
        vec![only(0, Width::Dword, Op::Eq, myself)?],
    );
    rules.insert(libc::SYS_ioctl, one_of(1, &REQUESTS)?);
    rules.insert(libc::SYS_prctl, one_of(0, &CONTROLS.map(unsigned))?);
    if sealpost_failpoints::ARMED {
        // A test lets it die.
        rules.insert(libc::SYS_kill, Vec::new());
    }
    // Threads, no processes. `clone3`, whose flags lie in memory, is not listed: the C library then uses this.
    let thread = unsigned(libc::CLONE_THREAD);
    let threads = only(0, Width::Qword, Op::MaskedEq(thread), thread)?;
    rules.insert(libc::SYS_clone, vec![threads]);
    // Limits of this process alone, and none is changed.
    let ours = Condition::new(0, Width::Dword, Op::Eq, 0)?;
    let unchanged = Condition::new(2, Width::Qword, Op::Eq, 0)?;
    rules.insert(
        libc::SYS_prlimit64,
        vec![SeccompRule::new(vec![ours, unchanged])?],
    );
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let allowed = if loads_code {
            Vec::new()
        } else {
            let executable = unsigned(libc::PROT_EXEC);
            vec![only(2, Width::Dword, Op::MaskedEq(executable), 0)?]
        };
        rules.insert(call, allowed);
    }
    Ok(rules)
}

/// TCP, by its own protocol: Landlock does not see others that carry it (MPTCP). Datagrams and Unix sockets where they are needed.
fn sockets(reach: Reach) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let mut kinds = vec![(libc::SOCK_STREAM, libc::IPPROTO_TCP)];
    if reach.datagrams {
        kinds.push((libc::SOCK_DGRAM, libc::IPPROTO_UDP));
    }
    let mut allowed = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (kind, protocol) in &kinds {
            for protocol in [0, *protocol] {
                allowed.push(SeccompRule::new(vec![
                    Condition::new(0, Width::Dword, Op::Eq, unsigned(family))?,
                    Condition::new(
                        1,
                        Width::Dword,
                        Op::MaskedEq(unsigned(KIND)),
                        unsigned(*kind),
                    )?,
                    Condition::new(2, Width::Dword, Op::Eq, unsigned(protocol))?,
                ])?);
            }
        }
    }
    if reach.unix {
        let unix = unsigned(libc::AF_UNIX);
        allowed.push(only(0, Width::Dword, Op::Eq, unix)?);
    }
    Ok(allowed)
}

fn only(
    argument: u8,
    width: Width,
    op: Op,
    value: u64,
) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![Condition::new(argument, width, op, value)?])
}

/// As the filter sees an argument.
fn unsigned(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}
