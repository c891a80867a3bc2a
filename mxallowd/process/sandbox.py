"""The sandbox: which files may be reached (Landlock) and which system calls there are (seccomp), for good.

It is a second protection beside privileges.py. The main thread enters it before it starts others, since Landlock and
seccomp apply to a thread and to what it starts; the guard and the broker enter it by themselves. Files of the system
are listed here: those that the C library and Python open later. Each part of the daemon names the further paths that it
needs; what must be opened by its name again, the broker opens (broker.py).

Landlock has no say about connect(2) to a UNIX socket of the file system, so that no such socket can be made. (A process
that is `secluded` may have streams of that kind, and reaches by them what a name of a few characters leads to in its
directory, which it cannot leave. Without O_PATH it has no descriptor of a socket's file, which would have such a name
in /dev/fd; without datagrams it sends to nobody whom it has not connected to.) Landlock has none about signals and
limits of other processes either (before its sixth version), so seccomp allows these calls for the process itself alone:
what is compared is the number of the process.

Which way it fails: if the kernel has no Landlock or no seccomp, the log says so, and the daemon runs.
"""
import ctypes
import ctypes.util
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mxallowd.process.child import PACKAGE
from mxallowd.process.libc import call, prctl

# linux/landlock.h; the numbers of the calls are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH, _RULESET_VERSION = 1, 1
_PR_SET_DUMPABLE = 4  # linux/prctl.h
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_FILE = 1, 2, 4, 8, 32, 128, 256
_TRUNCATE = 1 << 14
# Of the first version 13 rights on files; then to link from elsewhere, to truncate, and to control devices.
_FS_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_NETWORK_SINCE, _BIND_AND_CONNECT_TCP = 4, 3
_SCOPED_SINCE, _SCOPE_ABSTRACT_UNIX_SOCKET = 6, 1
# Not all of /etc, nor /run: who is root could read there what root alone may read. A rule for a file holds for that
# file, and not for one that takes its place.
READABLE = (
    "/usr", "/lib", "/lib64", "/proc", "/sys/devices/system/cpu", "/dev/urandom", "/etc/ld.so.cache", "/etc/localtime",
    "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/hosts", "/etc/protocols",
    "/etc/services", "/etc/iproute2")
# Of which version it is, no constant says.
READABLE_PATTERN = "python3*"
WRITABLE = ("/dev/null",)

SONAMES = {"c": "libc.so.6", "seccomp": "libseccomp.so.2"}
# CLONE_NEW… of linux/sched.h: namespaces of mounts, control groups, host names, IPC, users, processes and networks. In
# one of users, a process has every capability.
NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
# None of these is ever needed again; each has been part of an escape.
FORBIDDEN = (
    "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "mount", "umount2", "pivot_root", "move_mount",
    "open_tree", "open_tree_attr", "fsopen", "fsmount", "fsconfig", "mount_setattr", "chroot", "setns", "unshare",
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff",
    "bpf", "perf_event_open", "userfaultfd", "add_key", "request_key", "keyctl", "open_by_handle_at",
    "name_to_handle_at", "quotactl", "acct", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex",
    "sethostname", "setdomainname", "personality", "iopl", "ioperm", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid",
    "setfsgid", "chown", "fchown", "lchown", "fchownat", "chmod", "fchmod", "fchmodat", "fchmodat2", "setxattr",
    "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr", "fremovexattr", "removexattrat", "utime",
    "utimes", "utimensat", "futimesat", "file_setattr", "mknod", "mknodat", "tkill", "pidfd_send_signal", "pidfd_getfd",
    "process_madvise", "process_mrelease", "migrate_pages", "move_pages", "ioprio_set", "vhangup", "syslog")
# Of the calls above, those that a library may not know yet: their numbers are the same on every architecture.
NUMBERS = {"setxattrat": 463, "removexattrat": 466, "open_tree_attr": 467, "file_setattr": 469, "fchmodat2": 452}
# Calls that name a process by one of their arguments: it has to be this one. For the others 0 means that.
OWN = {"kill": 0, "tgkill": 0, "rt_sigqueueinfo": 0, "rt_tgsigqueueinfo": 0}
OWN_AS_ZERO = {
    "prlimit64": 0, "setpriority": 1, "sched_setaffinity": 0, "sched_setscheduler": 0, "sched_setparam": 0,
    "sched_setattr": 0, "setpgid": 0}
# Beside a process's number these take what the number is of: PRIO_PROCESS, not a group or a user.
FIRST_ZERO = ("setpriority",)
FAMILIES = (2, 10, 16)  # AF_INET, AF_INET6, AF_NETLINK of linux/socket.h
_AF_UNIX, _MOST_FAMILIES = 1, 64
# Bytes of struct sockaddr_in, the shortest address by which the kernel connects to another host. No filter sees what
# stands in an address; it sees its length.
_SHORTEST_INET = 16
# Of a UNIX socket: the family is two bytes, and Python sends a final zero, which other programs may leave out.
LONGEST_NAME = _SHORTEST_INET - 4
# A secluded process has the sockets that it needs, and stays where it is: names of its sockets begin there.
# The flags of openat2 lie in memory.
SECLUDED = ("bind", "listen", "sendmmsg", "chdir", "fchdir", "openat2")
_MSG_FASTOPEN, _CLONE_THREAD = 0x20000000, 0x00010000  # linux/socket.h, linux/sched.h
_SOCK_TYPES = 0xF  # linux/net.h; flags stand beside the type
_OPENS = {"open": 1, "openat": 2}  # the place of their flags


def program() -> list[Path]:
    """What the program itself is read from: the interpreter, and this package; modules are imported late."""
    return [Path(sys.prefix), Path(sys.base_prefix), PACKAGE]


def load() -> None:
    """Load what enter() needs while it can be read: root may have installed this where another user may not look."""
    # RuntimeError: it does not find the library.
    with suppress(ImportError, OSError, RuntimeError):
        _import_pyseccomp()


def _import_pyseccomp() -> Any:
    """The package. It has the C libraries searched for by ldconfig and compilers, which not every system has."""
    searched = ctypes.util.find_library

    def find(name: str) -> str | None:
        try:
            ctypes.CDLL(SONAMES[name])
        except (KeyError, OSError):
            # Another C library than glibc.
            return searched(name)
        return SONAMES[name]

    ctypes.util.find_library = find
    try:
        import pyseccomp  # noqa: PLC0415  # it loads libseccomp, which may not be there
    finally:
        ctypes.util.find_library = searched
    return pyseccomp


def enter(  # noqa: PLR0913
    readable: Iterable[Path], removable: Iterable[Path] = (), *, writable: Iterable[int] = (), signalled: int = 0,
    alone: bool = False, secluded: bool = False, forbidden: Iterable[str] = (), system: Iterable[str] = READABLE,
) -> list[str]:
    """Let Landlock and seccomp hold from now on; warnings about what the kernel does not have.

    `readable` are files and directories to be read besides those of the system; from the directories `removable` files
    may be removed. `writable` are descriptors of directories in which files may be made, written and removed: open
    ones, since this user may not reach them by name. `signalled` is the one process that may get signals, this one by
    default. A process that is `alone` starts no program, and may have UNIX sockets: it is the one whom others ask for
    them. One that is `secluded` is alone, and can make no socket of a network, nor connect one that it has to anybody:
    as a client it has UNIX sockets, streams alone, by names of LONGEST_NAME bytes at most, relative to the directory
    that it is in.
    `forbidden` are further system calls that it does not need, `system` the files of the system that it reads.
    """
    alone = alone or secluded
    # Nobody of the same user traces it, or reads its memory and its environment, either (prctl(2)).
    prctl(_PR_SET_DUMPABLE, 0)
    warnings = []
    files = [*map(Path, system), *Path("/etc").glob(READABLE_PATTERN), *readable]
    try:
        _landlock(files, removable, writable, execute=not alone, secluded=secluded)
    except OSError as error:
        warnings.append(f"no Landlock: {error.strerror}")
    try:
        _seccomp(signalled or os.getpid(), forbidden, alone=alone, secluded=secluded)
    except (OSError, RuntimeError, ImportError) as error:
        warnings.append(f"no seccomp: {error}")
    return warnings


def _landlock(
    readable: Iterable[Path], removable: Iterable[Path], writable: Iterable[int], *, execute: bool, secluded: bool,
) -> None:
    abi = call("syscall", _CREATE_RULESET, None, ctypes.c_size_t(0), _RULESET_VERSION)
    rights = _FS_RIGHTS[min(abi, max(_FS_RIGHTS))]
    attributes = struct.pack("=Q", rights)
    if abi >= _NETWORK_SINCE:
        # What is named here is refused, as no rule allows it.
        attributes += struct.pack("=Q", _BIND_AND_CONNECT_TCP if secluded else 0)
    if abi >= _SCOPED_SINCE:
        # An abstract socket can be reached only inside.
        attributes += struct.pack("=Q", _SCOPE_ABSTRACT_UNIX_SOCKET)
    ruleset = call("syscall", _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        for path in readable:
            _allow(ruleset, path, _READ_FILE | _READ_DIR | (_EXECUTE if execute else 0))
        for path in removable:
            _allow(ruleset, path, _REMOVE_FILE)
        for descriptor in writable:
            _allow_at(ruleset, descriptor, rights & (
                _READ_FILE | _READ_DIR | _WRITE_FILE | _REMOVE_FILE | _MAKE_FILE | _MAKE_DIR | _TRUNCATE))
        for name in WRITABLE:
            _allow(ruleset, Path(name), _READ_FILE | _WRITE_FILE)
        call("syscall", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        # What is not there, or closed to this user, cannot be reached anyway.
        return
    try:
        if not path.is_dir():
            rights &= _READ_FILE | _WRITE_FILE | _EXECUTE
        _allow_at(ruleset, descriptor, rights)
    finally:
        os.close(descriptor)


def _allow_at(ruleset: int, descriptor: int, rights: int) -> None:
    # struct landlock_path_beneath_attr is packed.
    call("syscall", _ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)


def _seccomp(signalled: int, forbidden: Iterable[str], *, alone: bool, secluded: bool) -> None:
    pyseccomp = _import_pyseccomp()

    listed = pyseccomp.SyscallFilter(pyseccomp.ALLOW)

    def forbid(name: str, *conditions: object) -> None:
        # Not known on this architecture, or to this library.
        with suppress(OSError, RuntimeError, ValueError):
            listed.add_rule(pyseccomp.ERRNO(errno.EPERM), name, *conditions)
            return
        with suppress(OSError, RuntimeError, ValueError, KeyError):
            listed.add_rule(pyseccomp.ERRNO(errno.EPERM), NUMBERS[name], *conditions)

    for flag in NAMESPACES:
        forbid("clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    # Its flags lie in memory, where no filter sees them. The C library then takes clone.
    listed.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    for name in dict.fromkeys([*FORBIDDEN, *forbidden]):
        forbid(name)
    for name, place in OWN.items():
        forbid(name, pyseccomp.Arg(place, pyseccomp.NE, signalled))
    for name, place in OWN_AS_ZERO.items():
        forbid(name, pyseccomp.Arg(place, pyseccomp.NE, 0))
    for name in FIRST_ZERO:
        forbid(name, pyseccomp.Arg(0, pyseccomp.NE, 0))
    families = () if secluded else FAMILIES
    for name in ("socket", "socketpair"):
        for family in range(_MOST_FAMILIES):
            if family not in families and not (alone and family == _AF_UNIX):
                forbid(name, pyseccomp.Arg(0, pyseccomp.EQ, family))
        forbid(name, pyseccomp.Arg(0, pyseccomp.GE, _MOST_FAMILIES))
    if alone:
        for name in ("execve", "execveat", "fork", "vfork"):
            forbid(name)
    if secluded:
        _seclude(pyseccomp, forbid)
    listed.load()


def _seclude(pyseccomp: Any, forbid: Callable[..., None]) -> None:
    for name in SECLUDED:
        forbid(name)
    # SOCK_RAW is one of datagrams, too.
    for name in ("socket", "socketpair"):
        for kind in range(_SOCK_TYPES + 1):
            if kind != socket.SOCK_STREAM:
                forbid(name, pyseccomp.Arg(1, pyseccomp.MASKED_EQ, _SOCK_TYPES, kind))
    # Landlock has no say about a descriptor that only stands for a file, by which /dev/fd names any socket shortly.
    for name, place in _OPENS.items():
        forbid(name, pyseccomp.Arg(place, pyseccomp.MASKED_EQ, os.O_PATH, os.O_PATH))
    # A connection that somebody has made to this process can be ended and made anew, to anywhere.
    forbid("connect", pyseccomp.Arg(2, pyseccomp.GE, _SHORTEST_INET))
    # These connect as well, or name whom they send to. (The address of sendmsg lies in memory; a stream of UNIX
    # takes none.)
    forbid("sendto", pyseccomp.Arg(4, pyseccomp.NE, 0))
    forbid("sendto", pyseccomp.Arg(3, pyseccomp.MASKED_EQ, _MSG_FASTOPEN, _MSG_FASTOPEN))
    forbid("sendmsg", pyseccomp.Arg(2, pyseccomp.MASKED_EQ, _MSG_FASTOPEN, _MSG_FASTOPEN))
    # A thread, and no process.
    forbid("clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _CLONE_THREAD, 0))
