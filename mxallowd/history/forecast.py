"""The forecast: what became of hosts that were refused, or would have been in a dry run.

A host is followed for a day from its first refusal on. If it meets the fake server within that day it gets in, so what
it lost is time; what never does is turned away. Hosts that passed after they were refused are counted as they pass:
that is the number of false alarms while the filter is armed.

It lives on events, which tell of a refused host at once and then once a minute; how often it tried, the memory of
refused hosts knows. That memory also tells who was refused before he met the fake server, so who passed is counted
exactly, sampled or not. Days that are over are kept as sums, for a week.

A source can be forged. So hosts that came once, that kept trying and that met the fake server have rooms of their own
(followed.py), and a flood of single SYNs touches the first of these alone.
"""
import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from mxallowd.engine._refused import Refusals
from mxallowd.engine.events import Event, Kind
from mxallowd.history.followed import DAY_S, Followed, Trace

ONCE, AGAIN, GOT_IN, LET_IN = range(4)  # rooms; who was let in by a name, or by hand, met no fake server itself
PLACES = (2048, 1024, 768, 256)  # of an hour: 106,496 hosts in all
WITHIN_S = (300, 3600, DAY_S)
SETTLED_S = 120  # so long after its first refusal it is looked whether a host has tried again at once
MOST_YOUNG = 4096
SUMS_S = 7 * DAY_S
STEP = 250  # hosts looked at between two turns of the loop: about a millisecond


class Memory(Protocol):
    """What is asked of the memory of refused hosts (_refused.pyi)."""

    def find(self, host: bytes) -> Refusals | None:
        """What is known of a host."""


class Sums(NamedTuple):
    """Hosts, counted by what became of them."""

    hosts: int = 0
    met: tuple[int, ...] = (0,) * len(WITHIN_S)
    young: tuple[int, ...] = (0,) * len(WITHIN_S)  # may still meet it within that time
    let_in: int = 0
    came_once: int = 0
    kept_trying: int = 0
    sampled: bool = False

    def plus(self, other: "Sums") -> "Sums":
        """Both together."""
        return Sums(self.hosts + other.hosts, _add(self.met, other.met), _add(self.young, other.young),
                    self.let_in + other.let_in, self.came_once + other.came_once,
                    self.kept_trying + other.kept_trying, self.sampled or other.sampled)


class Tried(NamedTuple):
    """A host that kept trying, and never got in."""

    host: bytes
    attempts: int
    first_s: int
    last_s: int


class Forecast:
    """Takes events, and changes of the whitelist. Main thread; times are seconds of `clock_us`."""

    def __init__(self, memory: Memory, clock_us: Callable[[], int]) -> None:
        self._memory = memory
        self._clock_us = clock_us
        self._followed = Followed(PLACES)
        self._young: deque[bytes] = deque(maxlen=MOST_YOUNG)
        self._days: deque[tuple[int, Sums]] = deque()  # by the hour in which they were closed
        self.since_s = clock_us() // 1_000_000
        self.later_passed = 0
        """Hosts that passed within a day after they were refused."""

    @property
    def followed(self) -> int:
        """Hosts that are followed now."""
        return len(self._followed)

    # ---- what happens

    def handle(self, events: Sequence[Event]) -> None:
        """Take a batch of events."""
        for event in events:
            if event.kind == Kind.REFUSED:
                self._refused(event)
            elif event.kind == Kind.WHITELISTED:
                self._got_in(event.source, event.time_us // 1_000_000, GOT_IN)
            elif event.kind == Kind.ACCEPTED:
                self._passed(event.source, event.time_us // 1_000_000)

    def admitted(self, host: bytes) -> None:
        """It was let in without a contact of its own."""
        self._got_in(host, self._clock_us() // 1_000_000, LET_IN)

    def tick(self) -> None:
        """Close the days that are over, and look whether young hosts have come again."""
        now_s = self._clock_us() // 1_000_000
        for _ in range(min(STEP, len(self._young))):
            trace = self._followed.find(self._young[0])
            if trace is not None and trace.room == ONCE:
                if now_s - trace.first_s < SETTLED_S:
                    break
                # Its place stays that of a host that came once: what is in the sample is a matter of chance alone.
                self._followed.note(self._young[0], self._with_memory(self._young[0], trace))
            self._young.popleft()
        closed = self._followed.close(now_s, STEP)
        if closed:
            sums = Sums()
            for _, trace, weight in closed:
                sums = sums.plus(_sums_of(trace, weight, trace.first_s + DAY_S + 1))
            hour = now_s // 3600
            if self._days and self._days[-1][0] == hour:
                sums = self._days.pop()[1].plus(sums)
            self._days.append((hour, sums))
        while self._days and self._days[0][0] * 3600 < now_s - SUMS_S:
            self._days.popleft()

    def _refused(self, event: Event) -> None:
        now_s, times = event.time_us // 1_000_000, max(1, event.length)
        trace = self._followed.find(event.source)
        if trace is not None:
            # Where the memory had to let it go meanwhile, it is counted from the beginning.
            times = times if times > trace.times else trace.times + 1
            room = AGAIN if trace.room == ONCE else trace.room
            self._followed.note(event.source, trace._replace(last_s=now_s, times=times, room=room))
            return
        first_s = now_s
        if times > 1 and (found := self._memory.find(event.source)) and now_s - found.first_us // 1_000_000 < DAY_S:
            first_s = found.first_us // 1_000_000
        trace = Trace(first_s, now_s, 0, 0, times, AGAIN if times > 1 else ONCE)
        if self._followed.note(event.source, trace) and times == 1:
            self._young.append(event.source)

    def _trace_of(self, host: bytes, now_s: int) -> Trace | None:
        """What is known of a host that was refused within a day."""
        trace = self._followed.find(host)
        if trace is None and (found := self._memory.find(host)):
            first_s, last_s = found.first_us // 1_000_000, found.last_us // 1_000_000
            if now_s - last_s < DAY_S:
                return Trace(first_s if now_s - first_s < DAY_S else last_s, last_s, 0, 0, found.times, AGAIN)
        return trace

    def _got_in(self, host: bytes, now_s: int, room: int) -> None:
        trace = self._trace_of(host, now_s)
        if trace is not None and trace.room not in (GOT_IN, LET_IN):
            trace = self._with_memory(host, trace)
            self._followed.note(host, trace._replace(met_s=max(now_s, trace.first_s, 1), room=room))

    def _passed(self, host: bytes, now_s: int) -> None:
        trace = self._trace_of(host, now_s)
        # Once for each time that it was refused and passed.
        if trace is not None and not (trace.used_s and trace.last_s <= trace.used_s):
            self.later_passed += 1
            self._followed.note(host, trace._replace(used_s=max(now_s, 1), met_s=trace.met_s or max(now_s, 1),
                                                     room=trace.room if trace.met_s else LET_IN))

    def _with_memory(self, host: bytes, trace: Trace) -> Trace:
        """With the attempts that no event has told of."""
        found = self._memory.find(host)
        if found is None or found.times < trace.times:
            return trace
        return trace._replace(times=found.times, last_s=max(trace.last_s, found.last_us // 1_000_000))

    # ---- what is asked

    async def collect(self) -> tuple[Sums, list[Tried]]:
        """All hosts of this run, at most of the last eight days, and those of the last day that kept trying."""
        now_s = self._clock_us() // 1_000_000
        sums, tried = Sums(), []
        for _, day in self._days:
            sums = sums.plus(day)
        for number, (host, known, weight) in enumerate(self._followed.entries(), 1):
            trace = known if known.met_s else self._with_memory(host, known)
            sums = sums.plus(_sums_of(trace, weight, now_s))
            if not trace.met_s and trace.times > 1:
                tried.append(Tried(host, trace.times, trace.first_s, trace.last_s))
            if number % STEP == 0:
                await asyncio.sleep(0)
        return sums, tried


def _add(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _sums_of(trace: Trace, weight: int, now_s: int) -> Sums:
    met = trace.met_s != 0
    taken_s = trace.met_s - trace.first_s
    return Sums(
        weight, tuple(weight * (met and taken_s <= within_s) for within_s in WITHIN_S),
        tuple(weight * (not met and now_s - trace.first_s < within_s) for within_s in WITHIN_S),
        weight * (trace.room == LET_IN), weight * (not met and trace.times == 1),
        weight * (not met and trace.times > 1), weight > 1)
