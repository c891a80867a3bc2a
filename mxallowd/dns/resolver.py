"""DNS queries, sent by c-ares on the main loop.

c-ares says which sockets it waits for, and the loop calls it when they are ready. Every call happens on the loop's
thread, so nothing here locks. c-ares handles answers that are late, wrong, truncated or invalid; a query here returns a
list of texts, or the kind of failure.
"""
import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

import pycares

from mxallowd.dns.resolvconf import RESOLV_CONF, ResolvConf
from mxallowd.errors import MxallowdError, StartError
from mxallowd.log import Log

TIMEOUT_S = 1.5
TRIES = 2
# How often c-ares looks for questions whose time is over, while there are any.
CLOCK_S = 0.1
RECEIVE_BUFFER = 1 << 20
# c-ares keeps every answer for its time to live, some 1.6 kB each, and has no bound: this is ours.
QUESTIONS_PER_CACHE = 20_000
MAX_ALIASES = 8

PTR, A, AAAA = pycares.QUERY_TYPE_PTR, pycares.QUERY_TYPE_A, pycares.QUERY_TYPE_AAAA
TXT, MX = pycares.QUERY_TYPE_TXT, pycares.QUERY_TYPE_MX
# They say that nothing is there, which is an answer.
_NOTHING = {pycares.errno.ARES_ENODATA, pycares.errno.ARES_ENOTFOUND}


def check() -> None:
    """Raise StartError where c-ares would hang: it asks for random bytes without an end while a filter refuses them."""
    try:
        os.getrandom(1)
    except OSError as error:
        # Without the call it takes /dev/urandom.
        if error.errno != errno.ENOSYS:
            raise StartError(f"reverse DNS needs getrandom(2), and here it says: {error.strerror}; "
                             "no-rdns-whitelist does without") from None
    except AttributeError:
        # The systems without it have another one that never fails.
        return


class LookupFailed(MxallowdError):
    """A question without an answer. `timed_out`: nobody answered in time."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


class NotNow(LookupFailed):
    """It was not asked: a limit of its zone holds it back."""


class Records(NamedTuple):
    """The data of records, and the least time to live of them and of the aliases that led there, in seconds."""

    texts: list[str]
    ttl_s: int | None  # None: there are none


class Resolver:
    """A c-ares channel on a loop. `servers` are ADDRESS or ADDRESS:PORT texts; none: those of resolv.conf."""

    def __init__(self, loop: asyncio.AbstractEventLoop, servers: Sequence[str], log: Log | None = None) -> None:
        self._loop = loop
        self._clock: asyncio.TimerHandle | None = None
        self._waiting = 0
        self._asked = 0
        self._servers = list(servers)
        self._resolv_conf = ResolvConf(RESOLV_CONF, log)
        self._channel = self._new_channel()

    async def ask(self, name: str, kind: int, aliased: Callable[[str], object] | None = None) -> list[str]:
        """The data of all records of that kind (PTR, A or AAAA): names or addresses. Raises LookupFailed."""
        return (await self.records(name, kind, aliased)).texts

    async def records(self, name: str, kind: int, aliased: Callable[[str], object] | None = None) -> Records:
        """The records of that kind: PTR, A, AAAA, TXT (strings joined) or MX (names). Raises LookupFailed.

        `aliased` is told each name that an alias (CNAME) in the answer leads to, in lower case, MAX_ALIASES at most.
        """
        self._asked += 1
        if self._asked % QUESTIONS_PER_CACHE == 0:
            self.reload(self._servers)
        while True:
            channel = self._channel
            result, error = await self._answer(channel, name, kind)
            # A reload took that channel away; the new one is asked in its place.
            if error != pycares.errno.ARES_ECANCELLED or channel is self._channel:
                break
        if result is None:
            if error in _NOTHING:
                return Records([], None)
            text = pycares.errno.strerror(error or 0)
            raise LookupFailed(str(text), timed_out=error == pycares.errno.ARES_ETIMEOUT)
        if aliased:
            aliases = (record.data for record in result.answer if record.type == pycares.QUERY_TYPE_CNAME)
            for data in islice(aliases, MAX_ALIASES):
                assert isinstance(data, pycares.CNAMERecordData)
                aliased(_decoded(data.cname).lower().removesuffix("."))
        texts = [_text(record) for record in result.answer if record.type == kind]
        return Records(texts, min((record.ttl for record in result.answer), default=None))

    async def _answer(
        self, channel: pycares.Channel, name: str, kind: int
    ) -> tuple[pycares.DNSResult | None, int | None]:
        future: asyncio.Future[tuple[pycares.DNSResult | None, int | None]] = self._loop.create_future()

        def answered(result: pycares.DNSResult | None, error: int | None) -> None:
            # A name that cannot be sent both calls back and raises.
            if not future.done():
                future.set_result((result, error))

        self._waiting += 1
        self._start_clock()
        try:
            try:
                channel.query(name, kind, callback=answered)
            except pycares.AresError as error:
                # It may have called back before; where it has not, nothing else would ever answer.
                answered(None, error.args[0])
            return await future
        finally:
            self._waiting -= 1

    def reload(self, servers: Sequence[str]) -> None:
        """Ask these servers from now on; none: read resolv.conf again. Cached answers are forgotten.

        Questions under way are asked again. By a new channel: c-ares' own reinit() goes on in a thread of its own, and
        would call us back from there.
        """
        self._servers = list(servers)
        self._resolv_conf.read()
        before, self._channel = self._channel, self._new_channel()
        _end(before)

    def tick(self) -> None:
        """Called about once a second: another resolv.conf is read."""
        if self._resolv_conf.changed():
            self.reload(self._servers)

    def close(self) -> None:
        """End every question."""
        if self._clock:
            self._clock.cancel()
        _end(self._channel)

    def _new_channel(self) -> pycares.Channel:
        # No `lookups`, which query() has no use for: pycares frees that text before c-ares reads it (5.2).
        return pycares.Channel(
            flags=pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_NOALIASES, timeout=TIMEOUT_S, tries=TRIES,
            servers=self._servers or list(self._resolv_conf.servers), sock_state_cb=self._socket_changed,
            socket_receive_buffer_size=RECEIVE_BUFFER)

    def _start_clock(self) -> None:
        if self._clock is None:
            self._clock = self._loop.call_later(CLOCK_S, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._clock = None
        self._channel.process_fd(pycares.ARES_SOCKET_BAD, pycares.ARES_SOCKET_BAD)
        if self._waiting:
            self._start_clock()

    def _socket_changed(self, descriptor: int, readable: bool, writable: bool) -> None:
        bad = pycares.ARES_SOCKET_BAD
        if readable:
            self._loop.add_reader(descriptor, self._channel.process_fd, descriptor, bad)
        else:
            self._loop.remove_reader(descriptor)
        if writable:
            self._loop.add_writer(descriptor, self._channel.process_fd, bad, descriptor)
        else:
            self._loop.remove_writer(descriptor)


def _end(channel: pycares.Channel) -> None:
    """End its questions on this thread: after close() alone, c-ares would call back on another one."""
    channel.cancel()
    channel.close()


def _text(record: pycares.DNSRecord) -> str:
    data = record.data
    if isinstance(data, pycares.PTRRecordData):
        return _decoded(data.dname)
    if isinstance(data, pycares.TXTRecordData):
        return _decoded(data.data)
    if isinstance(data, pycares.MXRecordData):
        return _decoded(data.exchange)
    assert isinstance(data, pycares.ARecordData | pycares.AAAARecordData)
    return _decoded(data.addr)


def _decoded(text: str | bytes) -> str:
    return text.decode("ascii", "surrogateescape") if isinstance(text, bytes) else text
