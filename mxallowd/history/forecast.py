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
import struct
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mxallowd.engine._refused import Refusals
from mxallowd.engine.events import Event, Kind
from mxallowd.history.followed import DAY_S, Followed, Trace
from mxallowd.history.hourly import Hourly
from mxallowd.history.timeline import Timeline

# Rooms; who was let in by a name, a network or by hand, or came in by patience, met no fake server itself.
ONCE, AGAIN, GOT_IN, LET_IN, PATIENT = range(5)
PLACES = (2048, 1024, 640, 256, 128)  # of an hour: 106,496 hosts in all
WITHIN_S = (300, 3600, DAY_S)
SETTLED_S = 120  # so long after its first refusal it is looked whether a host has tried again at once
MOST_YOUNG = 4096
MOST_PASSED = 8192
_PASSED = struct.Struct("=16sI")
PASSED_SIZE = _PASSED.size
CLOSED_HOURS = 7 * 24
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
    patient: int = 0  # came in by their patience


class _Counts:
    """The same while it is counted: hosts, met, young, and the others as they stand in Sums, but for the last."""

    WIDTH = 5 + 2 * len(WITHIN_S)

    def __init__(self, numbers: Sequence[int] = (0,) * WIDTH, patient: int = 0) -> None:
        self.numbers = list(numbers)
        self.patient = patient  # apart: what is on a disk from before has no place for it

    def add(self, trace: Trace, weight: int, now_s: int) -> None:
        numbers = self.numbers
        numbers[0] += weight
        if trace.met_s:
            taken_s = trace.met_s - trace.first_s
            for at, within_s in enumerate(WITHIN_S, 1):
                if taken_s <= within_s:
                    numbers[at] += weight
            if trace.room == LET_IN:
                numbers[-4] += weight
            elif trace.room == PATIENT:
                self.patient += weight
        else:
            age_s = now_s - trace.first_s
            for at, within_s in enumerate(WITHIN_S, 1 + len(WITHIN_S)):
                if age_s < within_s:
                    numbers[at] += weight
            numbers[-3 if trace.times == 1 else -2] += weight
        if weight > 1:
            numbers[-1] += 1

    def sums(self) -> Sums:
        split = 1 + len(WITHIN_S)
        hosts, met, young = self.numbers[0], self.numbers[1:split], self.numbers[split:-4]
        return Sums(hosts, tuple(met), tuple(young), self.numbers[-4], self.numbers[-3], self.numbers[-2],
                    self.numbers[-1] > 0, self.patient)


class Tried(NamedTuple):
    """A host that kept trying, and never got in."""

    host: bytes
    attempts: int
    first_s: int
    last_s: int


class Forecast:
    """Takes events, and changes of the whitelist. Main thread; times are seconds of the timeline."""

    def __init__(self, memory: Memory, timeline: Timeline) -> None:
        self._memory = memory
        self._timeline = timeline
        self.hosts = Followed(PLACES)
        self.closed = Hourly(_Counts.WIDTH, CLOSED_HOURS)  # days that are over, by the hour in which they were closed
        self.closed_patient = Hourly(1, CLOSED_HOURS)
        self.passed = Hourly(1)
        self._young: deque[bytes] = deque(maxlen=MOST_YOUNG)
        self._passed_s: dict[bytes, int] = {}  # when a host passed last, the oldest first
        self.since_s = timeline.now_s()
        self.later_passed = 0
        """Hosts that passed within a day after they were refused, since the daemon's start."""

    @property
    def followed(self) -> int:
        """Hosts that are followed now."""
        return len(self.hosts)

    # ---- what happens

    def handle(self, events: Sequence[Event]) -> None:
        """Take a batch of events."""
        for event in events:
            if event.kind == Kind.REFUSED:
                self._refused(event)
            elif event.kind == Kind.WHITELISTED:
                self._got_in(event.source, self._timeline.of(event.time_us), GOT_IN)
            elif event.kind in (Kind.ACCEPTED, Kind.BY_NETWORK):
                self._passed(event.source, self._timeline.of(event.time_us))

    def admitted(self, host: bytes, *, patient: bool = False) -> None:
        """It was let in without a contact of its own; `patient`: for having been refused often enough."""
        self._got_in(host, self._timeline.now_s(), PATIENT if patient else LET_IN)

    def tick(self) -> None:
        """Close the days that are over, and look whether young hosts have come again."""
        now_s = self._timeline.now_s()
        for _ in range(min(STEP, len(self._young))):
            trace = self.hosts.find(self._young[0])
            if trace is not None and trace.room == ONCE:
                if now_s - trace.first_s < SETTLED_S:
                    break
                # Its place stays that of a host that came once: what is in the sample is a matter of chance alone.
                self.hosts.note(self._young[0], self._with_memory(self._young[0], trace))
            self._young.popleft()
        if closed := self.hosts.close(now_s, STEP):
            counts = _Counts()
            for _, trace, weight in closed:
                counts.add(trace, weight, trace.first_s + DAY_S + 1)
            self._close(counts, now_s)
        self.closed.tick(now_s)
        self.closed_patient.tick(now_s)
        self.passed.tick(now_s)

    def _close(self, counts: _Counts, now_s: int) -> None:
        self.closed.add(now_s, counts.numbers)
        if counts.patient:
            self.closed_patient.add(now_s, (counts.patient,))

    def saved(self) -> bytes:
        """Who has passed when; all else is in `hosts`, `closed` and `passed`."""
        return b"".join(_PASSED.pack(*one) for one in self._passed_s.items())

    def restore(self, saved: bytes) -> None:
        """Take what saved() gave, before there is any. Raises ValueError where it is not whole."""
        if len(saved) % _PASSED.size:
            raise ValueError("these are no hosts that passed")
        now_s = self._timeline.now_s()
        for host, passed_s in _PASSED.iter_unpack(saved):
            if passed_s <= now_s:
                self._note_passed(host, passed_s)

    def restored(self) -> None:
        """All of it is there again: those that came just now are looked at as tick() does."""
        now_s = self._timeline.now_s()
        self._young.extend(host for host, trace, _ in self.hosts.entries()
                           if trace.room == ONCE and now_s - trace.first_s < SETTLED_S)

    def _refused(self, event: Event) -> None:
        now_s, times = self._timeline.of(event.time_us), max(1, event.length)
        trace = self._of_today(event.source, now_s)
        if trace is not None:
            # By the memory, which several threads write, and of which tick() may have told before this event came.
            # Where it had to let the host go meanwhile, it is counted from the beginning.
            found = self._memory.find(event.source)
            times = found.times if found and found.times >= trace.times else max(times, trace.times + 1)
            room = AGAIN if trace.room == ONCE else trace.room
            self.hosts.note(event.source, trace._replace(last_s=now_s, times=times, room=room))
            return
        first_s = now_s
        if times > 1 and (found := self._memory.find(event.source)):
            before_s = self._timeline.of(found.first_us)
            first_s = before_s if now_s - before_s < DAY_S else now_s
        trace = Trace(first_s, now_s, 0, 0, times, AGAIN if times > 1 else ONCE)
        if self.hosts.note(event.source, trace) and times == 1:
            self._young.append(event.source)

    def _of_today(self, host: bytes, now_s: int) -> Trace | None:
        """A host that is followed; one whose day is over is closed at once, and what it does now begins another."""
        trace = self.hosts.find(host)
        if trace is None or now_s - trace.first_s <= DAY_S:
            return trace
        counts = _Counts()
        counts.add(trace, self.hosts.weight(trace), now_s)
        self._close(counts, now_s)
        self.hosts.drop(host)
        return None

    def _trace_of(self, host: bytes, now_s: int) -> Trace | None:
        """What is known of a host that was refused within a day, and has not passed since."""
        trace = self._of_today(host, now_s)
        if trace is None and (found := self._memory.find(host)):
            first_s, last_s = self._timeline.of(found.first_us), self._timeline.of(found.last_us)
            if now_s - last_s < DAY_S and last_s > self._passed_s.get(host, 0):
                return Trace(first_s if now_s - first_s < DAY_S else last_s, last_s, 0, 0, found.times, AGAIN)
        return trace

    def _got_in(self, host: bytes, now_s: int, room: int) -> None:
        trace = self._trace_of(host, now_s)
        if trace is not None and trace.room not in (GOT_IN, LET_IN, PATIENT):
            trace = self._with_memory(host, trace)
            self.hosts.note(host, trace._replace(met_s=max(now_s, trace.first_s, 1), room=room))

    def _passed(self, host: bytes, now_s: int) -> None:
        trace = self._trace_of(host, now_s)
        # Once for each time that it was refused and passed.
        if trace is not None and trace.last_s > self._passed_s.get(host, 0):
            self.later_passed += 1
            self.passed.add(now_s, (1,))
            self._note_passed(host, now_s)
            self.hosts.note(host, trace._replace(used_s=max(now_s, 1), met_s=trace.met_s or max(now_s, 1),
                                                 room=trace.room if trace.met_s else LET_IN))

    def _note_passed(self, host: bytes, now_s: int) -> None:
        self._passed_s.pop(host, None)
        self._passed_s[host] = max(now_s, 1)
        if len(self._passed_s) > MOST_PASSED:
            del self._passed_s[next(iter(self._passed_s))]

    def _with_memory(self, host: bytes, trace: Trace) -> Trace:
        """With the attempts that no event has told of."""
        found = self._memory.find(host)
        if found is None or found.times < trace.times:
            return trace
        return trace._replace(times=found.times, last_s=max(trace.last_s, self._timeline.of(found.last_us)))

    # ---- what is asked

    async def collect(self) -> tuple[Sums, list[Tried]]:
        """All hosts, at most of the last eight days, and those of the last day that kept trying."""
        now_s = self._timeline.now_s()
        counts, tried = _Counts(self.closed.sums(), self.closed_patient.sums()[0]), []
        for number, (host, known, weight) in enumerate(self.hosts.entries(), 1):
            trace = known if known.met_s else self._with_memory(host, known)
            counts.add(trace, weight, now_s)
            if not trace.met_s and trace.times > 1:
                tried.append(Tried(host, trace.times, trace.first_s, trace.last_s))
            if number % STEP == 0:
                await asyncio.sleep(0)
        return counts.sums(), tried
