"""The lists of networks in the firewall: interval sets that hold what is allowed and what is denied.

    mx_allow4, mx_allow6    networks whose hosts reach the real server, whoever they are
    mx_deny4, mx_deny6      networks whose hosts do not
    mx_direct4, mx_direct6  hosts that rules lead from the fake server to the real one; kept for themselves

They get the ranges that the lists have become, of which no two overlap, so the firewall need not know which list comes
first. They are brought in step when the lists change, and inspected every few seconds, as the whitelist's sets are.
An exchange is one step: an address that is in a set before and after is in it all the time.

Which way it fails: a set stays as it is, and the log says what is wrong. One that the ruleset lacks is said once, and
only where something belongs into it; the queue decides by the lists in any case.
"""
import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol

from mxallowd.log import Log
from mxallowd.log.periodic import Repeated
from mxallowd.metrics.counters import Part, names
from mxallowd.mirrors import TargetError
from mxallowd.mirrors.jobs import Jobs, guarded
from mxallowd.mirrors.mirror import CHECK_S, FINISH_S
from mxallowd.settings import Settings

Range = tuple[int, int]
"""First and last address, as numbers of 32 or 128 bits."""
Ranges = Callable[[], Iterable[Sequence[Range]]]
"""What belongs into each of the target's places: sorted ranges, none beside another. Called from a thread."""
SAMPLE = 32
AGAIN_S = 8.0
BITS = {4: 32, 6: 128}


class Place(NamedTuple):
    """One set."""

    verdict: str  # allow, deny, direct
    version: int

    @property
    def name(self) -> str:
        """What it is called in the firewall."""
        return f"mx_{self.verdict}{self.version}"


PLACES = tuple(Place(verdict, version) for verdict in ("allow", "deny") for version in (4, 6))
DIRECT_PLACES = tuple(Place("direct", version) for version in (4, 6))
_UNLED = "so hosts that try the first MX alone are not led from the fake server to the real one"
Wanted = Mapping[Place, Sequence[Range]]


class NetworkTarget(Protocol):
    """Where such sets are. All calls come from one thread at a time and may wait for the kernel."""

    name: str
    """For the log: what the operator called it."""
    places: Sequence[Place]
    """The sets that it is asked for, of those that there can be."""

    def open(self) -> None:
        """Get hold of what is needed to reach it. Raises StartError."""

    def present(self) -> set[Place]:
        """The sets that are there and of the right kind. Raises TargetError."""

    def fill(self, place: Place, ranges: Sequence[Range]) -> None:
        """Let the set hold these and nothing else. Raises TargetError; it is as it was then."""

    def lacks(self, place: Place, ranges: Sequence[Range], total: int) -> bool:
        """Whether one of these is not in the set, or it holds another number than those of `total` ranges."""

    def remedy(self, place: Place) -> str:
        """What the operator is told where the set lacks."""

    def close(self) -> None:
        """Give back what open() took; the sets stay."""


class Networks:
    """Keeps the sets of one target."""

    def __init__(
        self, target: NetworkTarget, ranges: Ranges, log: Log, settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = target
        self._ranges = ranges
        self._log = log
        self._clock = clock
        self._flush_on_exit = settings.flush_on_exit
        # Without a queue the sets alone decide.
        self._decides = not settings.queue_num
        self._counters = dict.fromkeys(names(Part.KERNEL_LISTS), 0)
        self._wanted: Wanted | None = None  # None: the lists have changed since
        self._last: Wanted = {}  # as it was composed last
        self._held: set[Place] = set()  # the sets that were brought in step, and not found otherwise since
        self._there: set[Place] = set()
        self._said: set[Place] = set()
        self._said_fault = Repeated(clock)
        self._fault = ""
        self._sample_at = 0
        self._checked_at = float("-inf")
        self._jobs: Jobs | None = None
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def status(self) -> dict[str, object]:
        """Its name, whether the sets that are there hold what they must, what is wrong, and which sets lack."""
        in_step = not self._fault and self._wanted is not None and self._there <= self._held
        what = "direct hosts" if self._target.places == DIRECT_PLACES else "lists"
        return {"name": f"{what} in {self._target.name}", "in_step": in_step, "fault": self._fault or None,
                "lacking": sorted(place.name for place in self._said)}

    def decides(self, verdict: str, version: int) -> bool:
        """Whether the firewall has what this list says of that version of IP, and need not show it to anybody."""
        place = Place(verdict, version)
        return place in self._there and place in self._held

    def open(self) -> None:
        """Reach the target, and have it make its sets, where that was asked for. Raises StartError."""
        self._target.open()
        # What is wrong with it is said by the first look.
        with suppress(TargetError):
            guarded(self._target.present)

    def start(self) -> None:
        """Begin to work, on the running loop."""
        self._jobs = Jobs(asyncio.get_running_loop(), "networks")
        self._task = asyncio.get_running_loop().create_task(self._work())

    def changed(self, _: object = None) -> None:
        """The lists are others now."""
        self._wanted = None
        self._checked_at = float("-inf")
        self._woken.set()

    def tick(self) -> None:
        """Look at the target, where that is due."""
        self._woken.set()

    def reload(self, settings: Settings) -> None:
        """Nothing here depends on the settings; who composes the lists calls changed()."""

    def counters(self) -> dict[str, int]:
        """Its counters, since the start."""
        return dict(self._counters)

    def close(self) -> None:
        """Leave the sets as they are, or empty, where that is wished for."""
        if self._task:
            self._task.cancel()
        if self._jobs is None:
            self._target.close()
        elif not self._jobs.finish(self._finish, FINISH_S):
            self._log.error("kernel-lists-broken", None, table=self._target.name, reason="it takes no end")
        self._jobs = self._task = None

    def _finish(self) -> None:
        try:
            for place in sorted(guarded(self._target.present)) if self._flush_on_exit else ():
                self._target.fill(place, [])
        except (TargetError, OSError) as error:
            self._log.error("kernel-lists-broken", None, table=self._target.name, reason=str(error))
        finally:
            self._target.close()

    # ---- one look after the other

    async def _work(self) -> None:
        while True:
            now = self._clock()
            if now - self._checked_at < CHECK_S:
                self._woken.clear()
                await self._woken.wait()
                continue
            self._checked_at = now
            assert self._jobs
            try:
                await self._look(self._jobs)
            except TargetError as error:
                self._fail(str(error))
            except Exception as error:  # noqa: BLE001  # said as a defect; this loop must not end of it
                self._fault = repr(error)
                asyncio.get_running_loop().call_exception_handler({"message": "networks", "exception": error})

    async def _look(self, jobs: Jobs) -> None:
        if self._wanted is None:
            # Set before they are composed: what changes meanwhile is composed anew.
            self._wanted = {}
            wanted, changed = await jobs.submit(lambda: self._compose(self._last))
            self._held -= changed
            self._last = wanted
            if self._outdated():
                return
            self._wanted = wanted
        wanted = self._wanted
        sample_at = self._sample_at = self._sample_at + SAMPLE
        held = frozenset(self._held)
        self._there = await jobs.submit(lambda: guarded(self._target.present))
        self._say_lacking(wanted)
        fault = ""
        for place in sorted(self._there):
            try:
                filled = await jobs.submit(partial(self._bring_in_step, place, wanted, held, sample_at))
            except TargetError as error:
                self._held.discard(place)
                fault = fault or f"set {place.name}: {error}"
                continue
            self._held.add(place)
            if filled:
                self._counters["kernel-lists-filled"] += 1
                self._log.info("kernel-lists-filled", None, table=self._target.name, set=place.name,
                               ranges=len(wanted[place]))
        if fault:
            raise TargetError(fault)
        self._fault = ""
        self._said_fault.forget()

    def _outdated(self) -> bool:
        return self._wanted is None

    def _compose(self, before: Wanted) -> tuple[Wanted, set[Place]]:
        wanted = dict(zip(self._target.places, self._ranges(), strict=True))
        return wanted, {place for place in wanted if wanted[place] != before.get(place)}

    def _bring_in_step(self, place: Place, wanted: Wanted, held: frozenset[Place], sample_at: int) -> bool:
        return guarded(lambda: self._fill_where_needed(place, wanted[place], known=place in held, sample_at=sample_at))

    def _fill_where_needed(self, place: Place, ranges: Sequence[Range], *, known: bool, sample_at: int) -> bool:
        if known:
            size = len(ranges)
            # Another part at each look, so that all of them have their turn.
            some = [ranges[(sample_at + step) % size] for step in range(min(SAMPLE, size))]
            if not self._target.lacks(place, some, size):
                return False
        self._target.fill(place, ranges)
        return bool(ranges) or known

    def _say_lacking(self, wanted: Wanted) -> None:
        lacking = {place for place in wanted if wanted[place] and place not in self._there}
        for place in sorted(lacking - self._said):
            what = _UNLED if place in DIRECT_PLACES else "so the lists do nothing there" if self._decides else (
                "so its hosts pass by mxallowd where the ruleset accepts them in the kernel" if place.verdict == "deny"
                else "so all of its hosts are shown to mxallowd, which lets them in")
            self._log.warning("kernel-lists-missing", None, table=self._target.name, set=place.name,
                              reason=f"{what}; {self._target.remedy(place)}")
        self._said = lacking

    def _fail(self, reason: str) -> None:
        self._counters["kernel-lists-failed"] += 1
        self._fault = reason
        if self._said_fault.due(reason):
            self._log.error("kernel-lists-broken", None, table=self._target.name, reason=reason)


def prefixes(ranges: Iterable[Range], version: int, longest: int = 0) -> list[tuple[int, int]]:
    """The ranges as networks, (address, length of the prefix); none is shorter than `longest` bits."""
    bits = BITS[version]
    found = []
    for first, last in ranges:
        at = first
        while at <= last:
            size = (at & -at).bit_length() - 1 if at else bits
            size = min(size, (last - at + 1).bit_length() - 1, bits - longest)
            found.append((at, bits - size))
            at += 1 << size
    return found
