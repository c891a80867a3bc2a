"""The exporter from the daemon's side: the port is bound and the process started with the daemon, and it is answered.

It says once a second that it runs. One that has ended, asks for what it must not, or has said nothing for SILENT_TICKS
is replaced, and the log says so. The daemon keeps the listening socket, so that clients wait meanwhile. Answers are
made on the main loop, at most one in LEAST_S, whatever the other end does, and one that it does not take holds up
nobody.

One that stands still cannot be ended from within the sandbox. It ends by itself: by its own timers, with its input once
it goes on, and with the daemon. MOST_LEFT of them may be left; then no other one is started.

Which way it fails: a port that cannot be bound is an error at the start. Later the daemon goes on without metrics.
"""
import asyncio
import fcntl
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec

from mxallowd.control.exchange import Response
from mxallowd.errors import StartError
from mxallowd.exporter.pipes import ALIVE, MOST_WAITING, OPENMETRICS, OPENMETRICS_TYPE, REQUESTS, pack
from mxallowd.log import Log
from mxallowd.process.child import command
from mxallowd.settings import Settings

NEEDED = ("prometheus_client", "h11")
BACKLOG = 64
# Between two starts; twice as long after each one that did not last, up to the longest.
AGAIN_S, LONGEST_S, LASTED_S = 1.0, 60.0, 30.0
LEAST_S = 0.02
END_S = 0.3  # the loop waits for it at the end; later it ends with the daemon
SILENT_TICKS = 15  # it has a processor only while nobody else wants it
MOST_BEATS = 64  # between two ticks, of which the loop may be late
MOST_LEFT = 4


class Exporter:
    """The process, as far as there is one."""

    def __init__(self, settings: Settings, answer: Callable[[str, str], Response], log: Log) -> None:
        """`answer` takes a word of pipes.REQUESTS and the field `Accept`."""
        assert settings.metrics is not None
        self._address, self._port = settings.metrics
        self._user = settings.user or ""
        self._walls = not settings.no_sandbox
        self._answer = answer
        self._log = log
        self._listener: socket.socket | None = None
        self._pair: tuple[socket.socket, ...] = ()  # for the loop of each process; the sandbox lets nobody make one
        self._process: subprocess.Popen[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started_at = self._answered_at = float("-inf")
        self._pause_s = AGAIN_S
        self._waiting: list[bytes] = []
        self._unsent = b""
        self._timer: asyncio.TimerHandle | None = None
        self._fault = ""
        self._beats = self._silent_ticks = 0
        self._left: list[subprocess.Popen[bytes]] = []  # replaced, and not ended yet
        self._said_left = False

    def open(self) -> None:
        """Bind the port and start it, before any privilege is given up. Raises StartError."""
        if missing := [name for name in NEEDED if find_spec(name) is None]:
            raise StartError(f"metrics needs the Python package {missing[0].replace('_', '-')}")
        family = socket.AF_INET6 if self._address.version == 6 else socket.AF_INET
        shown = f"[{self._address}]" if self._address.version == 6 else str(self._address)
        try:
            self._listener = socket.socket(family, socket.SOCK_STREAM)
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                self._listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._listener.bind((str(self._address), self._port))
            self._listener.listen(BACKLOG)
            self._listener.setblocking(False)
            self._pair = socket.socketpair()
            self._run()
        except OSError as error:
            self.close()
            raise StartError(f"cannot give metrics at {shown}:{self._port}: {error.strerror}") from None

    def start(self) -> None:
        """Answer it from now on, in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._listen()

    def tick(self) -> None:
        """See to it, once a second."""
        if self._listener is None or self._loop is None:
            return
        # By ticks and not by a clock: a daemon that was stopped itself heard nothing either.
        self._silent_ticks = 0 if self._beats else self._silent_ticks + 1
        self._beats = 0
        self._left = [one for one in self._left if one.poll() is None]
        reason = self._ended() or self._fault or (
            f"has said nothing for {self._silent_ticks} seconds" if self._silent_ticks >= SILENT_TICKS else "")
        lived_s = time.monotonic() - self._started_at
        if not reason or lived_s < self._pause_s:
            return
        if len(self._left) >= MOST_LEFT:
            self._say_left()
            return
        self._said_left = False
        self._let_go()
        self._pause_s = AGAIN_S if lived_s >= LASTED_S else min(LONGEST_S, 2 * self._pause_s)
        try:
            self._run()
            self._listen()
        except OSError as error:
            self._log.error("metrics", reason=f"the exporter {reason}; it cannot be started: {error.strerror}")
        else:
            self._log.warning("metrics", reason=f"the exporter {reason}; it was started again")

    def _say_left(self) -> None:
        if not self._said_left:
            numbers = ", ".join(str(one.pid) for one in self._left)
            self._log.error("metrics", reason=f"exporters stand still, and none is started as long as they do: end the "
                            f"processes {numbers}")
        self._said_left = True

    def close(self) -> None:
        """End it, by the end of its input."""
        process = None if self._silent_ticks > 1 else self._process
        self._let_go()
        self._loop = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for one in self._pair:
            one.close()
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
        for left in self._left:
            # Nobody waits for it any more, and that is no mistake.
            left.returncode = left.poll() or 0

    # ---- the process

    def _run(self) -> None:
        assert self._listener is not None
        self._started_at = time.monotonic()
        self._fault = ""
        self._silent_ticks = 0
        numbers = [one.fileno() for one in (self._listener, *self._pair)]
        self._process = subprocess.Popen(
            command("mxallowd.exporter.server", *map(str, numbers), self._user, "walls" if self._walls else "open"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=numbers, bufsize=0,
            process_group=0)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_NONBLOCK)

    def _ended(self) -> str:
        if self._process is None:
            return "is not there"
        status = self._process.poll()
        return "" if status is None else f"has ended, status {status}"

    def _let_go(self) -> None:
        """Answer it no more; it ends with its input."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        process, self._process = self._process, None
        if process is None or process.stdin is None or process.stdout is None:
            return
        if self._loop is not None:
            self._loop.remove_reader(process.stdout.fileno())
            self._loop.remove_writer(process.stdin.fileno())
        process.stdin.close()
        process.stdout.close()
        self._waiting, self._unsent = [], b""
        if process.poll() is None:
            with suppress(OSError):
                # Forbidden within the sandbox.
                process.kill()
            self._left.append(process)

    # ---- requests and answers

    def _listen(self) -> None:
        assert self._loop is not None
        if self._process is not None and self._process.stdout is not None:
            self._loop.add_reader(self._process.stdout.fileno(), self._read)

    def _read(self) -> None:
        assert self._process and self._process.stdout and self._loop
        descriptor = self._process.stdout.fileno()
        try:
            data = os.read(descriptor, 64)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        verbs = [bytes([byte]) for byte in data.replace(ALIVE, b"")]
        self._beats += data.count(ALIVE)
        too_many = self._beats > MOST_BEATS or len(self._waiting) + len(verbs) > MOST_WAITING
        if not data or too_many or not REQUESTS.keys() >= {*verbs}:
            self._loop.remove_reader(descriptor)
            # An end is said with its status, by the next tick.
            self._fault = "asked for what it must not ask for" if data else ""
            return
        self._waiting += verbs
        self._go_on()

    def _go_on(self) -> None:
        """Answer the next request, unless it is too early or the answer before it has not been taken."""
        assert self._loop is not None
        if self._timer is not None or self._unsent or not self._waiting:
            return
        early_s = LEAST_S - (time.monotonic() - self._answered_at)
        if early_s > 0:
            self._timer = self._loop.call_later(early_s, self._later)
            return
        self._answered_at = time.monotonic()
        self._unsent = self._packed(self._waiting.pop(0))
        self._write()

    def _packed(self, verb: bytes) -> bytes:
        assert self._loop is not None
        try:
            response = self._answer(REQUESTS[verb], OPENMETRICS_TYPE if verb == OPENMETRICS else "")
        except Exception as error:  # noqa: BLE001  # whoever waits is answered
            self._loop.call_exception_handler({"message": "metrics", "exception": error})
            return pack(500, '{"status": "defect", "reasons": ["an error of mxallowd itself; the log has it"]}\n')
        return pack(response.status, response.body if isinstance(response.body, str)
                    else json.dumps(response.body) + "\n")

    def _later(self) -> None:
        self._timer = None
        self._go_on()

    def _write(self) -> None:
        assert self._process and self._process.stdin and self._loop
        descriptor = self._process.stdin.fileno()
        self._loop.remove_writer(descriptor)
        try:
            self._unsent = self._unsent[os.write(descriptor, self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            # It has ended, as the next tick will say.
            self._waiting, self._unsent = [], b""
            return
        if self._unsent:
            self._loop.add_writer(descriptor, self._write)
        else:
            self._go_on()
