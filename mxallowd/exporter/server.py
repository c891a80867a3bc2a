"""The exporter: a process that gives the daemon's metrics by HTTP, and has no right to anything else.

    mxallowd.exporter.server LISTENER ONE OTHER USER WALLS

Descriptors of a listening socket and of a pair of sockets, by which the loop wakes itself (one that is started again
inherits a sandbox in which no such pair can be made), the user that it becomes (empty: the default), and `walls` or
`open` (no sandbox). It reads answers from standard input, writes requests to standard output (pipes.py), and ends when
its input does. The daemon's text goes on as it came; prometheus-client adds what is counted here. (To parse the text
and make it again took 5 ms of a core in place of 0.5, which senders of mail could feel.)

GET /metrics, /healthz and /readyz; one request a connection. Bounds: MOST connections, of which the oldest makes room
for a newcomer, so slow clients keep nobody out; a head of MAX_HEAD bytes within HEAD_S; an answer is taken within
WRITE_S. The daemon is asked for each of the three at most once in FRESH_S, however many clients there are.
"""
import asyncio
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus

import h11
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import CollectorRegistry

from mxallowd.exporter.pipes import ALIVE, BEAT_S, END, METRICS, OPENMETRICS, REQUESTS, unpack
from mxallowd.metrics import exposition
from mxallowd.process import sandbox
from mxallowd.process.libc import prctl
from mxallowd.process.privileges import give_up
from mxallowd.process.signals import SIGNALS

MOST = 32
MAX_HEAD, HEAD_S, WRITE_S = 8192, 5.0, 5.0
FRESH_S, ANSWER_S = 0.1, 3.0
LINGER_S = 0.5
# Without a beat of the loop for so long, in time of the processor or of the clock, the kernel ends this process: the
# daemon, which will have started another one, may not send it a signal.
SPINS_S, STANDS_S = 3.0, 60.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
NICENESS = 10
MEMORY = 512 << 20  # bytes of address space, of which Python itself maps much
NO_MORE = ("socket", "socketpair", "connect", "bind", "listen", "execve", "execveat", "fork", "vfork")
_JSON, _PLAIN = "application/json", "text/plain; charset=utf-8"
_NO_ANSWER = "the main loop of the daemon does not answer"
_INDEX = "mxallowd: /metrics, /healthz, /readyz\n"
Answer = tuple[int, str]


class Daemon:
    """The way to the daemon. One request of each kind is under way, whoever waits for it."""

    def __init__(self, source: int, sink: int, ended: Callable[[], None]) -> None:
        self._sink = sink
        self._source = source
        self._ended = ended
        self._data = bytearray()
        self._order: list[bytes] = []
        self._asked: dict[bytes, asyncio.Future[Answer]] = {}
        self._known: dict[bytes, tuple[float, Answer]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(source, self._read)

    def beat(self) -> None:
        """Say that the loop runs, now and from now on."""
        signal.setitimer(signal.ITIMER_PROF, SPINS_S)
        signal.setitimer(signal.ITIMER_REAL, STANDS_S)
        # A pipe that is full is that of a daemon which does not run.
        with suppress(BlockingIOError):
            os.write(self._sink, ALIVE)
        self._loop.call_later(BEAT_S, self.beat)

    async def ask(self, verb: bytes) -> Answer:
        """Status and text. Raises TimeoutError."""
        known = self._known.get(verb)
        if known is not None and self._loop.time() - known[0] < FRESH_S:
            return known[1]
        future = self._asked.get(verb)
        if future is None:
            future = self._asked[verb] = self._loop.create_future()
            os.write(self._sink, verb)
            self._order.append(verb)
        return await asyncio.wait_for(asyncio.shield(future), ANSWER_S)

    def _read(self) -> None:
        more = os.read(self._source, 65_536)
        if not more:
            self._loop.remove_reader(self._source)
            self._ended()
            return
        self._data += more
        while (answer := unpack(self._data)) is not None:
            verb = self._order.pop(0)
            self._known[verb] = self._loop.time(), answer
            self._asked.pop(verb).set_result(answer)


class Collector:
    """The series of this process."""

    def __init__(self) -> None:
        self.requests: dict[int, int] = {}  # by their status
        self.dropped = 0

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        family = CounterMetricFamily(
            "mxallowd_exporter_requests", "requests that the exporter has answered, by their status", labels=["status"])
        for status, times in sorted(self.requests.items()):
            family.add_metric([str(status)], times)
        yield family
        yield CounterMetricFamily(
            "mxallowd_exporter_dropped", "connections that the exporter dropped to make room for others",
            value=self.dropped)


class Server:
    """Serves HTTP on a listening socket."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._open: dict[asyncio.Task[None], None] = {}  # in their order
        self._own = Collector()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self._own)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client."""
        task = asyncio.current_task()
        assert task is not None
        while len(self._open) >= MOST:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
            self._own.dropped += 1
        self._open[task] = None
        try:
            await self._answer(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            # Gone, too slow, or in the way.
            pass
        finally:
            self._open.pop(task, None)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, MAX_HEAD)
        status, kind, body = 400, _PLAIN, "this is no request of HTTP/1.1\n"
        extra: list[tuple[str, str]] = []
        method = b"GET"
        try:
            async with asyncio.timeout(HEAD_S):
                request = await _request(reader, connection)
        except TimeoutError:
            status, body = 408, "the request did not come in time\n"
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
        else:
            if request is None:
                return
            method = request.method
            if method not in (b"GET", b"HEAD"):
                status, body, extra = 405, "GET and HEAD alone\n", [("Allow", "GET, HEAD")]
            else:
                accept = b",".join(value for name, value in request.headers if name == b"accept").decode("latin-1")
                status, kind, body = await self._found(request.target.decode("latin-1").partition("?")[0], accept)
        self._own.requests[status] = self._own.requests.get(status, 0) + 1
        data = body.encode()
        headers = [("Content-Type", kind), ("Content-Length", str(len(data))), ("Connection", "close"),
                   ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"), *extra]
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers)]
        writer.write("\r\n".join([*lines, "", ""]).encode("ascii") + (b"" if method == b"HEAD" else data))
        async with asyncio.timeout(WRITE_S):
            await writer.drain()
            writer.write_eof()
        # What a client still sends is read for a moment: with it unread, the end would be a reset.
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while await reader.read(65_536):
                    pass

    async def _found(self, path: str, accept: str) -> tuple[int, str, str]:
        """Status, type and text of a path."""
        if path == "/":
            return 200, _PLAIN, _INDEX
        verb = next((verb for verb, name in REQUESTS.items() if path == f"/{name}"), None)
        if verb is None:
            return 404, _PLAIN, _INDEX
        # As the control socket chooses. (That of prometheus-client raises where a version is none.)
        openmetrics = verb == METRICS and exposition.wants_openmetrics(accept)
        if openmetrics:
            verb = OPENMETRICS
        try:
            status, text = await self._daemon.ask(verb)
        except TimeoutError:
            if path != "/metrics":
                word = "not-ready" if path == "/readyz" else "not-healthy"
                return 503, _JSON, f'{{"status": "{word}", "reasons": ["{_NO_ANSWER}"]}}\n'
            return 503, _PLAIN, f"{_NO_ANSWER}\n"
        if path != "/metrics" or status != 200:
            return status, _JSON, text
        kind = exposition.OPENMETRICS if openmetrics else exposition.TEXT
        encoder = generate_openmetrics if openmetrics else generate_latest
        return 200, kind, text.removesuffix(END) + encoder(self._registry).decode()


async def _request(reader: asyncio.StreamReader, connection: h11.Connection) -> h11.Request | None:
    """The request; None: there comes none. Raises h11.RemoteProtocolError."""
    head = bytearray()
    while b"\r\n\r\n" not in head:
        more = await reader.read(MAX_HEAD)
        if not more:
            return None
        head += more
        if len(head) > MAX_HEAD:
            raise h11.RemoteProtocolError("too long", 431)
        # Readers differ about these.
        if head.count(b"\n") != head.count(b"\r\n") or b"\0" in head:
            raise h11.RemoteProtocolError("a line ends by LF alone")
    connection.receive_data(bytes(head))
    request = connection.next_event()
    if not isinstance(request, h11.Request):
        raise h11.RemoteProtocolError("no request")
    if request.http_version not in (b"1.0", b"1.1"):
        raise h11.RemoteProtocolError("another version", 505)
    for name, value in request.headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")):
            raise h11.RemoteProtocolError("it has a body", 413)
    return request


async def _serve(listener: socket.socket, user: str, *, walls: bool) -> None:
    ended = asyncio.Event()
    daemon = Daemon(0, 1, ended.set)
    server = await asyncio.start_server(Server(daemon).serve, sock=listener, limit=MAX_HEAD, backlog=MOST)
    # What the loop needs of the system it has by now.
    sandbox.load()
    give_up(user or None, keep=())
    if walls:
        sandbox.enter(sandbox.program(), alone=True, forbidden=NO_MORE)
    # With whoever started it this process ends too, even one that stands still (prctl(2); forgotten with the user).
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    daemon.beat()
    await ended.wait()
    server.close()


def main(words: list[str]) -> int:
    """Run as the exporter."""
    listener, one, other, user, walls = words
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    os.set_blocking(1, False)
    # Whoever delivers mail comes first, and at once: a thread that wakes up takes the processor from an idle one in
    # that moment, from others once they have had their share of a millisecond and more.
    os.nice(NICENESS)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    # What the loop asks for when it is made.
    socket.socketpair = lambda *_: (
        socket.socket(fileno=int(one)), socket.socket(fileno=int(other)))
    asyncio.run(_serve(socket.socket(fileno=int(listener)), user, walls=walls == "walls"))
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
