"""Giving up privileges, for good, once everything that needs them is open.

The order: the capabilities that could ever come back (bounding set), the groups, the user, the capabilities
themselves; then what may be read and written (Landlock) and which system calls there are (seccomp). It is done before
any thread exists: capabilities, Landlock and seccomp belong to a thread and what it starts. Of the capabilities
CAP_NET_ADMIN stays: without it no verdict is taken (net/netfilter/nfnetlink.c checks it for every message).

Which way it fails: a user that was asked for and is not there, and a kernel that refuses to take a privilege away, end
the start. Landlock and seccomp are a second wall; a kernel without them is said, and the daemon runs.
"""
import ctypes
import errno
import os
import pwd
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mxallowd.errors import StartError
from mxallowd.text import quoted

CAP_SETPCAP, CAP_NET_ADMIN = 8, 12  # linux/capability.h
_PR_SET_KEEPCAPS, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 8, 23, 24  # linux/prctl.h
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
DEFAULT_USER = "mxallowd"
NICENESS = -11  # that of _watch; the queue threads lower theirs to -10

# linux/landlock.h; the numbers of the calls are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH, _RULESET_VERSION = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE = 1, 2, 4, 8, 32
_FS_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
READABLE = ("/etc", "/usr", "/lib", "/lib64", "/proc", "/sys/devices/system/cpu", "/run", "/var/run", "/dev")
WRITABLE = ("/dev/null",)

# CLONE_NEW… of linux/sched.h: namespaces of mounts, control groups, host names, IPC, users, processes and networks. In
# one of users, a process has every capability.
NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
# None of these is ever needed again; each has been part of an escape.
FORBIDDEN = (
    "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "mount", "umount2", "pivot_root", "move_mount",
    "open_tree", "fsopen", "fsmount", "fsconfig", "mount_setattr", "chroot", "setns", "unshare", "init_module",
    "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "bpf",
    "perf_event_open", "userfaultfd", "add_key", "request_key", "keyctl", "open_by_handle_at", "name_to_handle_at",
    "quotactl", "acct", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname",
    "setdomainname", "personality", "iopl", "ioperm", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid",
    "chown", "fchown", "lchown", "fchownat", "mknod", "mknodat")

_libc = ctypes.CDLL(None, use_errno=True)


def _call(function: str, *arguments: object) -> int:
    result = int(getattr(_libc, function)(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _prctl(option: int, argument: int, third: int = 0) -> int:
    long = ctypes.c_ulong
    return _call("prctl", option, long(argument), long(third), long(0), long(0))


def give_up(user: str | None, keep: Iterable[int] = (CAP_NET_ADMIN,)) -> list[str]:
    """Become `user` where this is root, with these capabilities alone; warnings.

    None: DEFAULT_USER, where there is such a user. Raises StartError.
    """
    keep = frozenset(keep)
    account = _account(user)
    try:
        # A process of ours that is started again has not even this one.
        if CAP_SETPCAP in _held():
            _shrink_bounding_set(keep)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        # A helper that is started again has none any more, and may not set any.
        if os.geteuid() == 0 and os.getgroups():
            os.setgroups([])
        if account is not None:
            _prctl(_PR_SET_KEEPCAPS, 1)
            os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
            os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
        # Whoever started us may have left us just these, and no way to set any.
        if _held() != keep:
            _set_capabilities(keep & _held())
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    except OSError as error:
        raise StartError(f"cannot give up privileges: {error.strerror}") from None
    if user is None and os.geteuid() == 0:
        return [f"there is no user {DEFAULT_USER}: it stays root, with no capability but CAP_NET_ADMIN"]
    return []


def _account(user: str | None) -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    try:
        account = pwd.getpwnam(user or DEFAULT_USER)
    except KeyError:
        if user is not None:
            raise StartError(f"there is no user {quoted(user)}") from None
        return None
    return None if account.pw_uid == 0 else account


def raise_priority() -> None:
    """Let the threads that are started next have the priority of the packet path, while that is still allowed."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, min(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


def usual_priority() -> None:
    """Back to the usual one, for this thread and what it starts from now on."""
    if os.getpriority(os.PRIO_PROCESS, 0) == NICENESS:
        os.setpriority(os.PRIO_PROCESS, 0, 0)


def _held() -> frozenset[int]:
    """The capabilities that this thread is permitted."""
    text = next(line for line in Path("/proc/thread-self/status").read_text(encoding="utf-8").splitlines()
                if line.startswith("CapPrm:"))
    bits = int(text.split()[1], 16)
    return frozenset(number for number in range(64) if bits >> number & 1)


def _shrink_bounding_set(keep: frozenset[int]) -> None:
    for number in range(64):
        try:
            there = _prctl(_PR_CAPBSET_READ, number)
        except OSError:
            # The kernel has no capability of that number, nor of a higher one.
            return
        if there and number not in keep:
            _prctl(_PR_CAPBSET_DROP, number)


def _set_capabilities(keep: Iterable[int]) -> None:
    bits = sum(1 << number for number in keep)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    # Effective, permitted, inheritable; the lower 32 of each, then the higher.
    _call("capset", header, struct.pack("=6I", low, low, 0, high, high, 0))


def load_sandbox() -> None:
    """Load what sandbox() needs while it can be read: root may have installed this where another user may not look."""
    with suppress(ImportError):
        import pyseccomp  # noqa: F401, PLC0415


def sandbox(readable: Iterable[Path], emptied: Path | None = None) -> list[str]:
    """Landlock and seccomp, as far as the kernel has them; what it has not, as warnings.

    `readable` are files and directories to be read besides those of the system; from the directory `emptied` files may
    be removed.
    """
    warnings = []
    try:
        _landlock([*map(Path, READABLE), *readable], emptied)
    except OSError as error:
        warnings.append(f"no Landlock: {error.strerror}")
    try:
        _seccomp()
    except (OSError, RuntimeError, ImportError) as error:
        warnings.append(f"no seccomp: {error}")
    return warnings


def _landlock(readable: Iterable[Path], emptied: Path | None) -> None:
    abi = _call("syscall", _CREATE_RULESET, None, ctypes.c_size_t(0), _RULESET_VERSION)
    rights = _FS_RIGHTS[min(abi, max(_FS_RIGHTS))]
    attributes = struct.pack("=Q", rights)
    ruleset = _call("syscall", _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        for path in readable:
            _allow(ruleset, path, _READ_FILE | _READ_DIR | _EXECUTE)
        if emptied is not None:
            _allow(ruleset, emptied, _REMOVE_FILE)
        for name in WRITABLE:
            _allow(ruleset, Path(name), _READ_FILE | _WRITE_FILE)
        _call("syscall", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        # What is not there cannot be read.
        return
    try:
        if not path.is_dir():
            rights &= _READ_FILE | _WRITE_FILE | _EXECUTE
        # struct landlock_path_beneath_attr is packed.
        _call("syscall", _ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def _seccomp() -> None:
    import pyseccomp  # noqa: PLC0415  # it loads libseccomp, which may not be there

    listed = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for flag in NAMESPACES:
        listed.add_rule(pyseccomp.ERRNO(errno.EPERM), "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    # Its flags lie in memory, where no filter sees them. The C library then takes clone.
    listed.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    for name in FORBIDDEN:
        try:
            listed.add_rule(pyseccomp.ERRNO(1), name)  # EPERM
        except (OSError, RuntimeError, ValueError):
            # Not known on this architecture.
            continue
    listed.load()
