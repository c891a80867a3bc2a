"""What the process has before it gives everything else up: listening sockets, certificate, state directory, users.

    open what needs root ── become the user ── the way to the daemon ── sandbox ── serve

The way to the daemon is a link in the state directory, which is the process's directory: inside the sandbox it connects
to no stream but what so short a name leads to (process/sandbox.py), and makes no link. It outlives a restart of
mxallowd, whose directory is another one then.

Which way it fails: what cannot be opened ends the start with one line. A kernel without Landlock or seccomp is a
warning, as it is for mxallowd.
"""
import fcntl
import os
import pwd
import resource
import socket
import ssl
import stat
from contextlib import suppress
from pathlib import Path

from mxallowd.console.places import around, of_users
from mxallowd.console.server import tls_context
from mxallowd.console.settings import PROGRAM, Serving, shown
from mxallowd.errors import StartError
from mxallowd.process import memory, sandbox
from mxallowd.process.privileges import account_of, give_up, groups_of
from mxallowd.settings.values import Address
from mxallowd.text import quoted

BACKLOG = 1024
WAY = "control"  # the link's name
NICENESS = 10
MEMORY = 1 << 30  # bytes of address space, of which Python maps much
DESCRIPTORS = 1024
FILE = 24 << 20  # bytes of a file: more than the history, or what it writes first, ever has
_STDERR = 2
# Python, its packages and this one lie below these; of /etc and /proc it needs nothing more.
SYSTEM = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom")


class Enclosure:
    """All that the process holds."""

    def __init__(self, settings: Serving) -> None:
        self._settings = settings
        self.listeners: list[socket.socket] = []
        self.tls: ssl.SSLContext | None = None
        self.user = ""  # whom it has become; the sandbox hides the system's users
        self._state = -1

    def open(self) -> None:
        """Open what may need root's privileges. Raises StartError."""
        self.tls = tls_of(self._settings)
        for address, port in self._settings.listen:
            try:
                listener = bound(address, port)
                self.listeners.append(listener)
                listener.listen(BACKLOG)
            except OSError as error:
                raise StartError(f"cannot listen at {shown(address, port)}: {error.strerror}") from None
        self._make_state_directory()

    def shut(self) -> list[str]:
        """Give up all privileges and enter the sandbox, for good; warnings. Raises StartError."""
        settings = self._settings
        sandbox.load()
        # What a request needs is imported by now, but for what Python imports late.
        memory.return_what_is_freed()
        groups = groups_of(settings.user) if os.geteuid() == 0 and account_of(settings.user) else []
        warnings = give_up(settings.user, keep=(), groups=groups)
        try:
            self.user = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            self.user = str(os.geteuid())
        if os.geteuid() == 0:
            warnings.append("it stays root, and owns root's files: leave --user root out")
        # Mail comes first. Not SCHED_IDLE: whoever looks for what holds mail up looks at a busy machine.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        limits = [(resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_NOFILE, DESCRIPTORS), (resource.RLIMIT_CORE, 0)]
        # Python ignores SIGXFSZ, so a write beyond it is an error as any. A log that is a file may be as long as it is.
        if not stat.S_ISREG(os.fstat(_STDERR).st_mode):
            limits.append((resource.RLIMIT_FSIZE, FILE))
        for limit, bound in limits:
            with suppress(OSError, ValueError):
                resource.setrlimit(limit, (bound, bound))
        os.umask(0o077)
        self._enter_state_directory()
        if settings.sandbox:
            readable = [*sandbox.program(), of_users(settings.users), *around(settings.cert, settings.key)]
            warnings += sandbox.enter(readable, writable=[self._state], secluded=True, system=SYSTEM)
        else:
            warnings.append("--no-sandbox leaves Landlock and seccomp out")
        return warnings

    def close(self) -> None:
        """Let go of it."""
        for listener in self.listeners:
            listener.close()

    def _make_state_directory(self) -> None:
        directory = self._settings.state_dir
        with suppress(FileExistsError, OSError):
            directory.mkdir(0o700)
            account = account_of(self._settings.user)
            if account is not None:
                os.chown(directory, account.user, account.group)

    def _enter_state_directory(self) -> None:
        name = quoted(str(self._settings.state_dir))
        try:
            self._state = os.open(self._settings.state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._state, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchdir(self._state)
            target = str(self._settings.control.absolute())
            with suppress(FileNotFoundError):
                if str(Path(WAY).readlink()) == target:
                    return
                Path(WAY).unlink()
            Path(WAY).symlink_to(target)
        except BlockingIOError:
            raise StartError(f"another {PROGRAM} uses the state directory {name}") from None
        except OSError as error:
            raise StartError(f"cannot use the state directory {name}: {error.strerror}") from None


def bound(address: Address, port: int) -> socket.socket:
    """A socket at this address that does not listen yet. Raises OSError."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((str(address), port))
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def tls_of(settings: Serving) -> ssl.SSLContext | None:
    """What TLS is done with, where the settings have a certificate. Raises StartError."""
    if settings.cert is None or settings.key is None:
        return None
    for path in (settings.cert, settings.key):
        try:
            path.open("rb").close()
        except OSError as error:
            raise StartError(f"cannot read {quoted(str(path))}: {error.strerror}") from None
    try:
        return tls_context(settings.cert, settings.key)
    except OSError as error:
        why = (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or "they cannot be read"
        raise StartError(f"the certificate {quoted(str(settings.cert))} and the key {quoted(str(settings.key))} "
                         f"cannot be used: {why.lower().replace('_', ' ')}; a key has to be without a passphrase"
                         ) from None
