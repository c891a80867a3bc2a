"""The sandbox: which files may be reached (Landlock) and which system calls there are (seccomp), for good.

It is a second protection beside privileges.py. The main thread enters it before it starts others, since Landlock and
seccomp apply to a thread and to what it starts. Paths of the system are listed here; each part of the daemon names the
further paths that it needs.

Which way it fails: if the kernel has no Landlock or no seccomp, the log says so, and the daemon runs.
"""
import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mxallowd.process.child import PACKAGE
from mxallowd.process.libc import call

# linux/landlock.h; the numbers of the calls are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH, _RULESET_VERSION = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE = 1, 2, 4, 8, 32
_FS_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
READABLE = ("/etc", "/usr", "/lib", "/lib64", "/proc", "/sys/devices/system/cpu", "/run", "/var/run", "/dev")
WRITABLE = ("/dev/null",)
MOST_LINKS = 8

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


def program() -> list[Path]:
    """What the program itself is read from: the interpreter, and this package; modules are imported late."""
    return [Path(sys.prefix), Path(sys.base_prefix), PACKAGE]


def places_of(file: Path) -> list[Path]:
    """The directories in which a file is replaced: its own, and that of each file that it is a link to."""
    places = []
    for _ in range(MOST_LINKS):
        # Of a file in / the file alone: / is everything.
        places.append(file if file.parent == Path("/") else file.parent)
        try:
            if not file.is_symlink():
                break
            file = file.parent / file.readlink()
        except OSError:
            # Closed to this user: what is behind it cannot be read anyway.
            break
    return places


def load() -> None:
    """Load what enter() needs while it can be read: root may have installed this where another user may not look."""
    with suppress(ImportError):
        import pyseccomp  # noqa: F401, PLC0415


def enter(readable: Iterable[Path], removable: Iterable[Path] = ()) -> list[str]:
    """Let Landlock and seccomp hold from now on; warnings about what the kernel does not have.

    `readable` are files and directories to be read besides those of the system; from the directories `removable` files
    may be removed.
    """
    warnings = []
    try:
        _landlock([*map(Path, READABLE), *readable], removable)
    except OSError as error:
        warnings.append(f"no Landlock: {error.strerror}")
    try:
        _seccomp()
    except (OSError, RuntimeError, ImportError) as error:
        warnings.append(f"no seccomp: {error}")
    return warnings


def _landlock(readable: Iterable[Path], removable: Iterable[Path]) -> None:
    abi = call("syscall", _CREATE_RULESET, None, ctypes.c_size_t(0), _RULESET_VERSION)
    rights = _FS_RIGHTS[min(abi, max(_FS_RIGHTS))]
    attributes = struct.pack("=Q", rights)
    ruleset = call("syscall", _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        for path in readable:
            _allow(ruleset, path, _READ_FILE | _READ_DIR | _EXECUTE)
        for path in removable:
            _allow(ruleset, path, _REMOVE_FILE)
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
        # struct landlock_path_beneath_attr is packed.
        call("syscall", _ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
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
