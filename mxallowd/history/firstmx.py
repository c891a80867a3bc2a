"""Hosts that keep meeting the fake server and never come to the real one: senders that try the best MX record alone.

JavaMail, and applications of banks, printers and watchdogs that use it, do so; their mail is lost here until they are
let in. Most spammers do so, too: a name that is confirmed tells more than the number of contacts.

A host is counted for a day from its first contact on. The packet path tells of a host that is entered, and of one that
is listed, has never come to a real server and meets a fake one again. Who comes to the real server within that day,
listed or not, does not count. Hosts that have met the fake server once have a room of their own (followed.py), so a
flood of made-up ones pushes out none that came again.
"""
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from mxallowd.engine._refused import Refusals
from mxallowd.engine.events import Event, Kind
from mxallowd.history.followed import DAY_S, Followed, Trace

CONTACTS = 3  # in a day
ONCE, AGAIN, CAME = range(3)  # rooms
PLACES = (2048, 1024, 1024)  # of an hour
# Some systems send a SYN again although RST was the answer (Windows: twice, each half a second later, same port).
SAME_ATTEMPT_S = 3
MOST_FOUND = 4096  # of days that are over
KEPT_S = 7 * DAY_S
CLOSE = 250


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

    def __init__(self, memory: Memory, came: Callable[[bytes], bool], clock_us: Callable[[], int]) -> None:
        """`came` says of a host whether it came to the real server within a day, as far as others remember."""
        self._memory = memory
        self._came_too = came
        self._clock_us = clock_us
        self._followed = Followed(PLACES)
        self._found: dict[bytes, Found] = {}

    def handle(self, events: Sequence[Event]) -> None:
        """Take a batch of events."""
        for event in events:
            if event.kind == Kind.WHITELISTED:
                self._entered(event.source, event.time_us // 1_000_000, event.length)
            elif event.kind == Kind.MET:
                self._met(event.source, event.time_us // 1_000_000, event.length, event.until_us)
            elif event.kind == Kind.ACCEPTED:
                self._came(event.source, event.time_us // 1_000_000)
            elif event.kind == Kind.REFUSED and self._followed.find(event.source) is not None:
                # Of others the memory of refused hosts tells, as long as it matters.
                self._came(event.source, event.time_us // 1_000_000)

    def tick(self) -> None:
        """Keep whom a day that is over has shown."""
        now_s = self._clock_us() // 1_000_000
        for host, trace, _ in self._followed.close(now_s, CLOSE):
            if (found := self._judge(host, trace)) is not None:
                self._found.pop(host, None)
                self._found[host] = found
                if len(self._found) > MOST_FOUND:
                    del self._found[next(iter(self._found))]
        while self._found and (oldest := next(iter(self._found.values()))).last_s < now_s - KEPT_S:
            del self._found[oldest.host]

    def found(self) -> Iterator[Found]:
        """Hosts with enough contacts, those of earlier days too; a host comes once."""
        told = set()
        for host, trace, _ in self._followed.entries():
            if (found := self._judge(host, trace)) is not None and not self._came_too(host):
                told.add(host)
                yield found
        yield from (found for host, found in list(self._found.items()) if host not in told)

    @property
    def followed(self) -> int:
        """Hosts that are followed now."""
        return len(self._followed)

    def _entered(self, host: bytes, now_s: int, port: int) -> None:
        trace = self._followed.find(host)
        if trace is None:
            known = self._memory.find(host)
            self._followed.note(host, Trace(now_s, now_s, known.times if known else 0, port, 1, ONCE))
        elif trace.room != CAME:
            self._followed.note(host, trace._replace(last_s=now_s, times=trace.times + 1, room=AGAIN))

    def _met(self, host: bytes, now_s: int, again: int, port: int) -> None:
        trace = self._followed.find(host)
        if trace is None:
            # Entered before its day began, or not in the sample.
            self._followed.note(host, Trace(now_s, now_s, max(0, again - 1), 0, 0, AGAIN))
        elif trace.room == ONCE and port == trace.used_s and now_s - trace.first_s < SAME_ATTEMPT_S:
            self._followed.note(host, trace._replace(met_s=again))
        elif trace.room != CAME:
            self._followed.note(host, trace._replace(last_s=now_s, room=AGAIN))

    def _came(self, host: bytes, now_s: int) -> None:
        self._found.pop(host, None)
        trace = self._followed.find(host) or Trace(now_s, now_s, 0, 0, 0, CAME)
        self._followed.note(host, trace._replace(used_s=max(1, now_s), room=CAME))

    def _judge(self, host: bytes, trace: Trace) -> Found | None:
        if trace.room == CAME:
            return None
        known = self._memory.find(host)
        # Less than before: it was pushed out of the memory meanwhile, and is counted from the beginning.
        again = 0 if known is None else known.times - trace.met_s if known.times >= trace.met_s else known.times
        contacts = trace.times + again
        if contacts < CONTACTS:
            return None
        last_s = max(trace.last_s, known.last_us // 1_000_000 if known and again else 0)
        return Found(host, contacts, trace.first_s, last_s)
