//! A filter of system calls, for what no path rule can hold: sockets, other processes' memory, new namespaces, and parts
//! of the kernel that a task has no business with. What it refuses fails with EPERM; the task goes on.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use super::orders::Sockets;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refused with whatever arguments.
const REFUSED: &[i64] = &[
    // other processes
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_perf_event_open,
    // namespaces and mounts
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_open_by_handle_at,
    // ways past this filter, and parts of the kernel with a history
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_fanotify_init,
    // the machine itself
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// What all processes of a machine share where they have no namespace of their own.
const REFUSED_SHARED: &[i64] = &[
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

/// Changes of a file's mode, owner, times and attributes that name it by a path. No rule of Landlock holds these, so
/// where it is alone they are refused; by an open file they go on, because Landlock holds the opening.
const REFUSED_BY_PATH: &[i64] = &[
    libc::SYS_fchmodat,
    SYS_FCHMODAT2,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    SYS_SETXATTRAT,
    SYS_REMOVEXATTRAT,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
];

// The same number on every machine, and not in the C library's headers yet.
const SYS_FCHMODAT2: i64 = 452;
const SYS_SETXATTRAT: i64 = 463;
const SYS_REMOVEXATTRAT: i64 = 466;
const SYS_FILE_SETATTR: i64 = 469;

/// What clone(2) makes namespaces by.
const NEW_NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Puts the filters on this process and all it will start. `alone`: no mount namespace holds what paths lead to.
pub(super) fn restrict(sockets: Sockets, alone: bool) -> Result<(), String> {
    for program in programs(sockets, alone)? {
        seccompiler::apply_filter(&program).map_err(|error| format!("seccomp refused: {error}"))?;
    }
    Ok(())
}

/// Tries in this process, which is of no more use afterwards, whether the kernel really holds what it is told.
pub(super) fn attempt() -> Result<(), String> {
    restrict(Sockets::None, true)?;
    match std::net::UdpSocket::bind("127.0.0.1:0") {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        _ => Err("seccomp holds nothing".to_owned()),
    }
}

fn programs(sockets: Sockets, alone: bool) -> Result<Vec<BpfProgram>, String> {
    build(sockets, alone).map_err(|error| format!("there is no filter of system calls for this machine: {error}"))
}

fn build(sockets: Sockets, alone: bool) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let mut refused: Rules = REFUSED.iter().map(|&call| (call, Vec::new())).collect();
    let namespaces = NEW_NAMESPACES.iter().map(|&flag| rule(vec![has(0, flag)?])).collect::<Result<_, _>>()?;
    refused.insert(libc::SYS_clone, namespaces);
    // Bytes put into somebody's terminal would be typed there.
    let typing = [libc::TIOCSTI, libc::TIOCLINUX].map(|request| rule(vec![is(1, request)?]));
    refused.insert(libc::SYS_ioctl, typing.into_iter().collect::<Result<_, _>>()?);
    if alone {
        refused.extend(REFUSED_BY_PATH.iter().map(|&call| (call, Vec::new())));
        refused.extend(REFUSED_SHARED.iter().map(|&call| (call, Vec::new())));
        refused.insert(SYS_FILE_SETATTR, Vec::new());
        // Bounds and priorities of itself, which is 0, and of nobody else.
        for (call, argument) in [(libc::SYS_prlimit64, 0), (libc::SYS_setpriority, 1), (libc::SYS_ioprio_set, 1)] {
            refused.insert(call, vec![rule(vec![is_not(argument, 0)?])?]);
        }
        // A user's processes are all of them, with 0 as with any number.
        let user = is(0, u64::from(libc::PRIO_USER))?;
        refused.entry(libc::SYS_setpriority).or_default().push(rule(vec![user])?);
        // Without a path it is about an open file.
        let named = SeccompCondition::new(1, Len::Qword, Op::Ne, 0)?;
        refused.insert(libc::SYS_utimensat, vec![rule(vec![named])?]);
    }
    add_sockets(&mut refused, sockets)?;
    // Its flags are in memory, where no filter can look. ENOSYS makes every C library use clone instead.
    let unknown: Rules = [(libc::SYS_clone3, Vec::new())].into();
    let refused = program(refused, libc::EPERM)?;
    Ok(vec![refused, program(unknown, libc::ENOSYS)?])
}

fn add_sockets(refused: &mut Rules, sockets: Sockets) -> Result<(), seccompiler::BackendError> {
    let families: &[i32] = match sockets {
        Sockets::None => &[],
        Sockets::Network => &[libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK],
        Sockets::NetworkAndUnix => &[libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_UNIX],
    };
    let other = families.iter().map(|&family| is_not(0, family)).collect::<Result<Vec<_>, _>>()?;
    let rules = if other.is_empty() { Vec::new() } else { vec![rule(other)?] };
    refused.insert(libc::SYS_socket, rules);
    if sockets != Sockets::NetworkAndUnix {
        // A pair that is connected for good reaches nobody else; a datagram socket of one can still be pointed anywhere.
        let family = rule(vec![is_not(0, libc::AF_UNIX)?])?;
        let type_of = |kind: i32| -> Result<_, seccompiler::BackendError> {
            let all = (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).cast_unsigned();
            SeccompCondition::new(1, Len::Dword, Op::MaskedEq(u64::from(!all)), u64::from(kind.cast_unsigned()))
        };
        refused.insert(libc::SYS_socketpair, vec![family, rule(vec![type_of(libc::SOCK_DGRAM)?])?]);
        // The kernel takes a raw one for a datagram socket here.
        let raw = rule(vec![type_of(libc::SOCK_RAW)?])?;
        refused.entry(libc::SYS_socketpair).or_default().push(raw);
    }
    Ok(())
}

fn program(rules: Rules, errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let refuse = SeccompAction::Errno(errno.cast_unsigned());
    let program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()?;
    Ok(if cfg!(target_arch = "x86_64") { [no_x32().to_vec(), program].concat() } else { program })
}

/// The calls of a second numbering that an x86-64 kernel may offer, each of which would pass by its number.
fn no_x32() -> [sock_filter; 3] {
    const X32: u32 = 0x4000_0000;
    let load = sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    let is_x32 = sock_filter { code: 0x35, jt: 0, jf: 1, k: X32 };
    let refuse = sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0000 | libc::ENOSYS.cast_unsigned() };
    [load, is_x32, refuse]
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(conditions)
}

fn has(argument: u8, flag: i32) -> Result<SeccompCondition, seccompiler::BackendError> {
    let flag = u64::from(flag.cast_unsigned());
    SeccompCondition::new(argument, Len::Dword, Op::MaskedEq(flag), flag)
}

fn is(argument: u8, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, Len::Dword, Op::Eq, value)
}

fn is_not(argument: u8, value: i32) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, Len::Dword, Op::Ne, u64::from(value.cast_unsigned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_fits_the_kernel() {
        for sockets in [Sockets::None, Sockets::Network, Sockets::NetworkAndUnix] {
            for alone in [false, true] {
                for program in programs(sockets, alone).unwrap() {
                    assert!(program.len() < 4096, "{sockets:?} {alone}: {}", program.len());
                }
            }
        }
    }
}
