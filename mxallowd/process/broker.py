"""The broker: a process beside the daemon that opens a few files and connects to syslog for it.

The daemon's sandbox lets it open neither a file of /etc by its name nor a UNIX socket: a rule of Landlock for a
directory would hold for all that is below it, and the files that SIGHUP reads again may be replaced, or be links to any
place. So the daemon asks this process, which has the rights of the daemon's user and no capability, hands over
descriptors, and takes a number: of a file that may be opened or removed, or of syslog. Both were said at its start, and
a link is followed anew at each opening. A path is taken for one purpose: to open a file that the configuration names by
now, which the broker reads itself (lists/broker.py, which runs this).

    mxallowd.lists.broker CONFIG USER CHANNEL... - VERB:PATH...

USER is what --user says, or empty; CHANNEL are descriptors of sockets (SOCK_SEQPACKET), one for each process that asks;
VERB is `open`, `remove` or `connect`. A request has two bytes, a running number and the place of the path among those
words, or NAMED and the path; the answer has that number, errno, and the descriptor if errno is 0. It ends when every
channel is closed.

Which way it fails: if it has ended or does not answer, what asks gets an OSError, and the daemon says so.
"""
import errno
import os
import select
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from mxallowd.errors import StartError
from mxallowd.process import privileges, sandbox
from mxallowd.process.child import command

# It opens local files; a disk that needs longer fails a reload, and the old configuration holds.
TIMEOUT_S = 1.0
END_S = 2.0
OPEN, REMOVE, CONNECT = "open", "remove", "connect"
NAMED = 255  # a place that no word has
LONGEST_PATH = 4096  # PATH_MAX of linux/limits.h
GONE = "the broker of the sandbox has ended; restart mxallowd"
_ANSWER = struct.Struct("=Bi")
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_KINDS = (socket.SOCK_DGRAM, socket.SOCK_STREAM)


class Channel:
    """One process's way to the broker. Any of its threads may ask."""

    def __init__(self, channel: socket.socket, words: Sequence[str]) -> None:
        self._socket = channel
        self._socket.settimeout(TIMEOUT_S)
        self._words = words
        self._lock = threading.Lock()
        self._number = 0

    def knows(self, verb: str, path: str) -> bool:
        """Whether that may be asked for."""
        return f"{verb}:{path}" in self._words

    def ask(self, verb: str, path: str) -> int:
        """Have it done; the descriptor, -1 where there is none. Raises OSError."""
        return self._ask(bytes((self._words.index(f"{verb}:{path}"),)))

    def open_named(self, path: str) -> int:
        """A descriptor to read a file that the configuration names by now. Raises OSError."""
        return self._ask(bytes((NAMED,)) + os.fsencode(path))

    def _ask(self, request: bytes) -> int:
        with self._lock:
            self._number = (self._number + 1) % 256
            try:
                self._socket.send(bytes((self._number,)) + request)
                while True:
                    data, descriptors, _, _ = socket.recv_fds(self._socket, _ANSWER.size, 1, socket.MSG_CMSG_CLOEXEC)
                    if len(data) < _ANSWER.size:
                        raise BrokenPipeError
                    number, fault = _ANSWER.unpack(data)
                    if number == self._number:
                        break
                    # To a request that was given up.
                    for descriptor in descriptors:
                        os.close(descriptor)
            except (BrokenPipeError, ConnectionError):
                raise OSError(errno.EPIPE, GONE) from None
            except TimeoutError:
                raise OSError(errno.ETIMEDOUT, "the broker of the sandbox does not answer") from None
        if fault:
            raise OSError(fault, os.strerror(fault))
        return descriptors[0] if descriptors else -1


_channel: Channel | None = None
_guards: socket.socket | None = None


def use(channel: Channel | None) -> None:
    """Ask by this channel from now on, in this process; None: do it here."""
    global _channel  # noqa: PLW0603  # the sandbox is the process's, and so is its way out
    _channel = channel


def use_inherited(descriptor: int, path: str) -> None:
    """Ask by a channel of the daemon's, as the guard does, to connect to `path` alone: the first word of all."""
    use(Channel(socket.socket(fileno=descriptor), [f"{CONNECT}:{path}"]))


def guards_channel() -> int:
    """The descriptor that the guard inherits; -1 where there is no broker."""
    return -1 if _guards is None else _guards.fileno()


def open_file(path: Path) -> int:
    """A descriptor to read that file. Raises OSError."""
    if _channel is None:
        return os.open(path, _OPEN_FLAGS)
    if _channel.knows(OPEN, str(path)):
        return _channel.ask(OPEN, str(path))
    return _channel.open_named(str(path))


def remove(path: Path) -> None:
    """Remove that file. Raises OSError."""
    try:
        # A start that fails has still its rights, which the broker has not.
        path.unlink()
    except PermissionError:
        if _channel is None or not _channel.knows(REMOVE, str(path)):
            raise
        _channel.ask(REMOVE, str(path))


def connect(path: str) -> socket.socket:
    """A socket that is connected to that UNIX socket, of whichever kind it is. Raises OSError."""
    if _channel is not None and _channel.knows(CONNECT, path):
        return socket.socket(fileno=_channel.ask(CONNECT, path))
    return _connected(path)


def _connected(path: str) -> socket.socket:
    for kind in _KINDS:
        made = socket.socket(socket.AF_UNIX, kind)
        try:
            # One that is full answers at once, so it holds nobody up.
            made.settimeout(TIMEOUT_S)
            made.connect(path)
        except OSError as error:
            made.close()
            if error.errno != errno.EPROTOTYPE:
                raise
        else:
            made.settimeout(None)
            return made
    raise OSError(errno.EPROTOTYPE, os.strerror(errno.EPROTOTYPE))


class Broker:
    """The process, from the daemon's side."""

    def __init__(
        self, program: Sequence[str], user: str | None, opened: Iterable[Path], removed: Iterable[Path],
        connected: Iterable[str],
    ) -> None:
        """`program` is the module that runs it, and what that takes first. `connected`: syslog, and what else."""
        self._program = [*program, user or ""]
        # The first one is the guard's as well.
        self.words = [*(f"{CONNECT}:{path}" for path in connected),
                      *dict.fromkeys(f"{OPEN}:{path}" for path in opened),
                      *(f"{REMOVE}:{path}" for path in removed)]
        self._process: subprocess.Popen[bytes] | None = None
        self._said = False

    def start(self) -> None:
        """Start it, and ask it from now on. Raises StartError."""
        global _guards  # as the channel
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            _guards, theirs_too = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs, theirs_too:
                channels = (theirs.fileno(), theirs_too.fileno())
                self._process = subprocess.Popen(
                    command(*self._program, *map(str, channels), "-", *self.words),
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=channels,
                    process_group=0)
        except OSError as error:
            raise StartError(f"cannot start the broker of the sandbox: {error.strerror}") from None
        self._ours = ours
        use(Channel(ours, self.words))

    def ended(self) -> str:
        """Why it does not run, empty while it does; it cannot be started again from within the sandbox."""
        if self._process is None or self._process.poll() is None:
            return ""
        return f"it has ended, status {self._process.returncode}: neither reload nor a new syslog until a restart"

    def fault(self) -> str:
        """The same, once, for the log."""
        if self._said or not (reason := self.ended()):
            return ""
        self._said = True
        return reason

    def close(self) -> None:
        """End it by the end of its channels."""
        global _guards  # noqa: PLW0603  # as the channel
        use(None)
        if self._process is None:
            return
        self._ours.close()
        if _guards is not None:
            _guards.close()
            _guards = None
        try:
            # The guard may hold its own channel for a last line.
            self._process.wait(0)
        except subprocess.TimeoutExpired:
            # Not a child that anybody waits for any more.
            self._process.returncode = 0
        self._process = None


def serve(channels: Sequence[socket.socket], words: Sequence[str], named: Callable[[], Collection[str]]) -> None:
    """Answer until every channel is closed."""
    waiting = {channel.fileno(): channel for channel in channels}
    while waiting:
        for descriptor in select.select(list(waiting), [], [])[0]:
            try:
                request = waiting[descriptor].recv(2 + LONGEST_PATH)
                if len(request) >= 2:
                    _answer(waiting[descriptor], request[0], _word(request[1:], words, named))
                    continue
            except OSError:
                # It has gone in the middle of it.
                pass
            waiting.pop(descriptor).close()


def _word(request: bytes, words: Sequence[str], named: Callable[[], Collection[str]]) -> str:
    """What is asked for, as one of the words; empty: that may not be."""
    if request[0] == NAMED:
        path = os.fsdecode(request[1:])
        return f"{OPEN}:{path}" if path in named() else ""
    return words[request[0]] if request[0] < len(words) and len(request) == 1 else ""


def _answer(channel: socket.socket, number: int, word: str) -> None:
    verb, _, path = word.partition(":")
    descriptor, fault = -1, 0
    try:
        if verb == OPEN:
            descriptor = os.open(path, _OPEN_FLAGS)
        elif verb == REMOVE:
            Path(path).unlink()
        elif verb == CONNECT:
            descriptor = _connected(path).detach()
        else:
            fault = errno.EPERM
    except OSError as error:
        fault = error.errno or errno.EIO
    try:
        if descriptor >= 0:
            socket.send_fds(channel, [_ANSWER.pack(number, 0)], [descriptor])
        else:
            channel.send(_ANSWER.pack(number, fault))
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def run(words: list[str], named: Callable[[], Collection[str]]) -> int:
    """Run as the broker. `named` are the paths that may be opened besides, at this moment."""
    user, *rest = words
    border = rest.index("-")
    channels, words = rest[:border], rest[border + 1 :]
    # What ends or disturbs the daemon is not for us: we end with it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    sandbox.load()
    privileges.give_up(user or None, keep=())
    removed = [Path(word.partition(":")[2]).parent for word in words if word.startswith(f"{REMOVE}:")]
    sandbox.enter([Path("/")], removed, alone=True)
    serve([socket.socket(fileno=int(channel)) for channel in channels], words, named)
    return 0
