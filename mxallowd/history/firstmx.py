"""Hosts that keep meeting the fake server and never come to the real one: senders that try the best MX record alone.

JavaMail, and applications of banks, printers and watchdogs that use it, do so; their mail is lost here until they are
let in. Most spammers do so, too: a name that is confirmed tells more than the number of contacts.

A host is counted for a day from its first contact on. The packet path tells of a host that is entered, and of one that
is listed, has never come to a real server and meets a fake one again. Who comes to the real server within that day,
listed or not, does not count. Hosts that have met the fake server once have a room of their own (followed.py), so a
flood of made-up ones pushes out none that came again.
"""
import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from mxallowd.engine._refused import STEP_US, Refusals
from mxallowd.engine.events import Event, Kind
from mxallowd.history.followed import DAY_S, Followed, Trace
from mxallowd.history.timeline import Timeline

CONTACTS = 3  # in a day
ONCE, AGAIN, CAME = range(3)  # rooms
PLACES = (2048, 1024, 1024)  # of an hour
# Some systems send a SYN again although RST was the answer (Windows: twice, each half a second later, same port).
SAME_ATTEMPT_S = 3
MOST_FOUND = 4096  # of days that are over
KEPT_S = 7 * DAY_S
STEP = 250  # hosts looked at between two turns of the loop
_FOUND = struct.Struct("=16sIII")
FOUND_SIZE = _FOUND.size


class Memory(Protocol):
    """What is asked of the memory of contacts, which is one like that of refused hosts (_refused.pyi)."""

    def find(self, host: bytes) -> Refusals | None:
        """How often a listed host met the fake server again."""


class Found(NamedTuple):
    """A host, its contacts in a day, and when these were."""

    host: bytes
    contacts: int
    first_s: int
    last_s: int


class FirstMx:
    """Takes events.

    In a trace, `times` are contacts that entered the host, `met_s` is what its memory had before, and `used_s` the port
    of the first one.
    """

    def __init__(self, memory: Memory, came: Callable[[bytes], bool], timeline: Timeline) -> None:
        """`came` says of a host whether it came to the real server within a day, as far as others remember."""
        self._memory = memory
        self._came_too = came
        self._timeline = timeline
        self.is_led: Callable[[bytes], bool] = lambda host: False
        """Whether a host is led to the real server, so that its mail is not lost."""
        self.hosts = Followed(PLACES)
        self._found: dict[bytes, Found] = {}

    def handle(self, events: Sequence[Event]) -> None:
        """Take a batch of events."""
        for event in events:
            if event.kind == Kind.WHITELISTED:
                self._entered(event)
            elif event.kind == Kind.MET:
                self._met(event.source, self._timeline.of(event.time_us), event.length, event.until_us)
            elif event.kind == Kind.ACCEPTED:
                self._came(event.source, self._timeline.of(event.time_us))
            elif event.kind == Kind.REFUSED and self.hosts.find(event.source) is not None:
                # Of others the memory of refused hosts tells, as long as it matters.
                self._came(event.source, self._timeline.of(event.time_us))

    def tick(self) -> None:
        """Keep whom a day that is over has shown."""
        now_s = self._timeline.now_s()
        for host, trace, _ in self.hosts.close(now_s, STEP):
            if (found := self._judge(host, trace)) is not None:
                self._found.pop(host, None)
                self._found[host] = found
                if len(self._found) > MOST_FOUND:
                    del self._found[next(iter(self._found))]
        while self._found and (oldest := next(iter(self._found.values()))).last_s < now_s - KEPT_S:
            del self._found[oldest.host]

    async def collect(self) -> list[Found]:
        """Hosts with enough contacts, those of earlier days too; a host comes once. Who is led is left out."""
        found: dict[bytes, Found] = {}
        for number, (host, trace, _) in enumerate(self.hosts.entries(), 1):
            if (one := self._judge(host, trace)) is not None and not self._came_too(host):
                found[host] = one
            if number % STEP == 0:
                await asyncio.sleep(0)
        every: list[Found] = []
        for number, one in enumerate(list((self._found | found).values()), 1):
            if not self.is_led(one.host):
                every.append(one)
            if number % STEP == 0:
                await asyncio.sleep(0)
        return every

    def saved(self) -> bytes:
        """What days that are over have shown."""
        return b"".join(_FOUND.pack(*one) for one in self._found.values())

    def restore(self, saved: bytes) -> None:
        """Take what saved() gave, before there is any. Raises ValueError where it is not whole."""
        if len(saved) % _FOUND.size:
            raise ValueError("these are no hosts that were found")
        now_s = self._timeline.now_s()
        for one in map(Found._make, _FOUND.iter_unpack(saved)):
            if one.first_s <= one.last_s <= now_s and len(self._found) < MOST_FOUND:
                self._found[one.host] = one

    @property
    def followed(self) -> int:
        """Hosts that are followed now."""
        return len(self.hosts)

    def _entered(self, event: Event) -> None:
        host, now_s = event.source, self._timeline.of(event.time_us)
        trace = self.hosts.find(host)
        if trace is None:
            self.hosts.note(host, Trace(now_s, now_s, self._before(event), event.length, 1, ONCE))
        elif trace.room != CAME:
            self.hosts.note(host, trace._replace(last_s=now_s, times=trace.times + 1, room=AGAIN))

    def _before(self, event: Event) -> int:
        """How many contacts the memory had before this one: it may have got others until the event came here."""
        known = self._memory.find(event.source)
        return known.times if known and known.first_us < event.time_us - 2 * STEP_US else 0

    def _met(self, host: bytes, now_s: int, again: int, port: int) -> None:
        trace = self.hosts.find(host)
        if trace is None:
            if self._came_too(host):
                return
            # Entered before its day began, or not in the sample.
            self.hosts.note(host, Trace(now_s, now_s, max(0, again - 1), 0, 0, AGAIN))
        elif trace.room == ONCE and port == trace.used_s and now_s - trace.first_s < SAME_ATTEMPT_S:
            self.hosts.note(host, trace._replace(met_s=again))
        elif trace.room != CAME:
            self.hosts.note(host, trace._replace(last_s=now_s, room=AGAIN))

    def _came(self, host: bytes, now_s: int) -> None:
        self._found.pop(host, None)
        trace = self.hosts.find(host) or Trace(now_s, now_s, 0, 0, 0, CAME)
        self.hosts.note(host, trace._replace(used_s=max(1, now_s), room=CAME))

    def _judge(self, host: bytes, trace: Trace) -> Found | None:
        if trace.room == CAME:
            return None
        known = self._memory.find(host)
        # Less than before: it was pushed out of the memory meanwhile, and is counted from the beginning.
        again = 0 if known is None else known.times - trace.met_s if known.times >= trace.met_s else known.times
        contacts = trace.times + again
        if contacts < CONTACTS:
            return None
        last_s = max(trace.last_s, self._timeline.of(known.last_us) if known and again else 0)
        return Found(host, contacts, trace.first_s, last_s)
