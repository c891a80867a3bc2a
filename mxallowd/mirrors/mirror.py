"""The kernel table sink: keeps a table of the firewall (mirrors/kernel/) the same as the whitelist.

What happens to a host, by an event or by another sink, marks it as **dirty**; whatever the whitelist says of it when
its turn comes goes to the kernel, so no order of events can leave it wrong. Changes go as one batch at a time, from
a thread, as soon as the one before is done: a quiet system has each of them in the kernel within a millisecond, a busy
one pays one transaction for many.

Some seconds apart the kernel's table is inspected, and asked for a sample of the hosts that must be in it. A table that
was flushed, replaced or could not take a change is filled again in one transaction. Which way it fails: the firewall's
table stays as it is, and the log says that it is not what it should be; verdicts of the queue are not touched.
"""
import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from mxallowd.engine.events import Event, Kind
from mxallowd.log import Log
from mxallowd.mirrors import Copied, Listed, Listing, Target, TargetError, seconds_left
from mxallowd.mirrors.jobs import Jobs
from mxallowd.settings import Settings
from mxallowd.whitelist import Whitelist

MAX_DIRTY = 65_536
BATCH = 4096  # hosts of one change: some 100 ms at the most
CHECK_S = 3.0
# A filling takes a second for 400,000 hosts; in a flood it must not become all that is done.
REFILL_AGAIN_S = 8.0
REFILL_SHARE = 5
SAY_AGAIN_S = 60.0
FINISH_S = 10.0
REFRESH_S = 1.0
# What ends sooner may have ended in the kernel; what is younger may still be on its way, but not for so long.
ENDING_S = 1.0
AGAIN_S = 0.2
# A table that had no room for all is filled again after so long: others have ended meanwhile, or it was made larger.
WITHOUT_ROOM_S = 60.0
Result = TypeVar("Result")
COUNTERS = ("table-changed", "table-filled", "table-failed", "table-limited", "kernel-accepted", "kernel-refused")


class Expiry:
    """When hosts are to be looked at again, for tables that do not forget by themselves: one string a second."""

    def __init__(self) -> None:
        self._due: dict[int, bytearray] = {}
        self.size = 0

    def note(self, host: bytes, until_us: int) -> None:
        """Look at it when its time is over."""
        self._due.setdefault(until_us // 1_000_000 + 1, bytearray()).extend(host)
        self.size += 1

    def take(self, now_us: int) -> Iterator[bytes]:
        """The hosts whose time is over."""
        for second in sorted(second for second in self._due if second * 1_000_000 <= now_us):
            hosts = self._due.pop(second)
            self.size -= len(hosts) // 16
            for at in range(0, len(hosts), 16):
                yield bytes(hosts[at : at + 16])

    def clear(self) -> None:
        """Forget all."""
        self._due.clear()
        self.size = 0


class KernelTableSink:
    """Keeps one kernel table."""

    def __init__(
        self, table: Target, whitelist: Whitelist, log: Log, settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._whitelist = whitelist
        self._log = log
        self._clock = clock
        self._flush_on_exit = settings.flush_on_exit
        self._counters = dict.fromkeys(COUNTERS, 0)
        self._totals: dict[str, int] = {}
        # Hosts whose state in the kernel may differ from that in the whitelist; those that have reached the real server
        # have their turn first. One that stands here twice is looked at twice. (A dict would grow and shrink by steps.)
        self._dirty: deque[bytes] = deque()
        self._proven: deque[bytes] = deque()
        self._expiry = Expiry()
        self._jobs: Jobs | None = None
        self._stale = False  # single changes will not do any more
        self._complete = True  # every host had room at the last filling
        self._fault = ""  # why changes cannot be made now
        self._said = ""
        self._said_full = False
        self._said_at = float("-inf")
        self._checked_at = self._refilled_at = float("-inf")
        self._refill_took_s = 0.0
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.reload(settings)

    # ---- the start, before any packet comes

    def open(self) -> None:
        """Reach the kernel, and take over what its table holds from before. Raises StartError."""
        self._table.open()
        self._whitelist.listen(self)
        try:
            held, whole = self._table.read()
        except TargetError as error:
            self._stale = True
            self._say_fault(str(error))
            return
        self._adopt(held, whole=whole)

    def _adopt(self, held: Sequence[Copied], *, whole: bool) -> None:
        """Nobody who was known before a restart is to be unknown after it."""
        now_us = self._whitelist.now_us()
        left = [one for one in held if one.remaining_s is not None and (one.remaining_s or not self._table.expires)]
        # A flood leaves more in the kernel than there is room for: those stay that have proven themselves, then the
        # newest. They come in as they came in once, the oldest first, which is what expires first.
        left.sort(key=lambda one: (one.used, one.remaining_s or self._lifetime_s))
        left = left[max(0, len(left) - self._whitelist.room()):]
        left.sort(key=lambda one: one.remaining_s or self._lifetime_s)
        adopted = 0
        for host, remaining_s, used in left:
            until_us = now_us + 1_000_000 * min(remaining_s or self._lifetime_s, self._lifetime_s)
            if not self._whitelist.adopt(host, until_us, used=used):
                continue
            adopted += 1
            self._note_expiry(host, until_us)
            if remaining_s and remaining_s > self._lifetime_s:
                # It ends sooner than the kernel has been told.
                self._mark(host)
        if held:
            say = self._log.info if whole else self._log.warning
            say("table-read", None, table=self._table.name, entries=len(held), adopted=adopted,
                whole="yes" if whole else "no")

    def start(self) -> None:
        """Begin to work, on the running loop."""
        self._jobs = Jobs(asyncio.get_running_loop(), "kernel-table")
        self._task = asyncio.get_running_loop().create_task(self._work())

    # ---- what the main loop calls

    def handle(self, events: Sequence[Event]) -> None:
        """Mark the hosts of contacts, of first uses, and of entries that made room."""
        for event in events:
            if event.kind == Kind.ACCEPTED:
                self._mark(event.source, self._proven)
            elif event.kind in (Kind.WHITELISTED, Kind.EVICTED):
                self._mark(event.source)
                if event.kind == Kind.WHITELISTED:
                    self._note_expiry(event.source, event.until_us)
        self._wanted.set()

    def changed(self, host: bytes) -> None:
        """Another sink has changed the whitelist."""
        self._mark(host)
        found = self._whitelist.find(host)
        if found:
            self._note_expiry(host, found[0])
        self._wanted.set()

    def tick(self) -> None:
        """Let expired hosts go, where the kernel does not; look at its table."""
        for host in self._expiry.take(self._whitelist.now_us()):
            self._mark(host)
        if self._expiry.size > 2 * len(self._whitelist) + MAX_DIRTY:
            # A flood of short-lived entries: the next filling sets it right.
            self._stale = True
        self._wanted.set()

    def lost_events(self) -> None:
        """Changes of the whitelist that nobody told of."""
        self._stale = True

    def reload(self, settings: Settings) -> None:
        """Take over the lifetime of entries."""
        self._lifetime_s = settings.whitelist_time

    async def refresh(self) -> None:
        """Ask the kernel for its counters."""
        if self._jobs is None or self._fault:
            return
        try:
            self._take_totals(await asyncio.wait_for(self._jobs.submit(self._table.totals), REFRESH_S))
        except (TargetError, TimeoutError):
            # The next inspection says what is wrong.
            return

    def counters(self) -> dict[str, int]:
        """Its counters, since the start."""
        return dict(self._counters)

    def fill(self) -> float:
        """How many hosts wait for the kernel, 1.0 being the bound."""
        return max(len(self._dirty), len(self._proven)) / MAX_DIRTY

    def close(self) -> None:
        """Let the kernel have what it does not have yet; or nothing at all, where that is wished for."""
        if self._task:
            self._task.cancel()
        if self._jobs is not None:
            if not self._jobs.finish(self._finish, FINISH_S):
                self._log.warning("table-broken", None, table=self._table.name,
                                  reason="no answer at the end")
                return
            self._jobs = None
        self._table.close()

    def _finish(self) -> None:
        try:
            if self._flush_on_exit:
                self._table.flush()
            elif self._stale and not self._fault:
                self._table.refill(self._listing())
            elif (self._proven or self._dirty) and not self._fault:
                self._table.change(*self._batch(len(self._proven) + len(self._dirty)))
        except TargetError as error:
            self._log.error("table-broken", None, table=self._table.name, reason=str(error))

    # ---- dirty hosts

    def _mark(self, host: bytes, line: deque[bytes] | None = None) -> None:
        line = self._dirty if line is None else line
        if self._fault:
            # No change can be made; once one can, a filling brings all.
            self._stale = True
            return
        if len(line) >= MAX_DIRTY:
            self._counters["table-limited"] += 1
            self._stale = True
            return
        line.append(host)

    def _note_expiry(self, host: bytes, until_us: int) -> None:
        if not self._table.expires:
            self._expiry.note(host, until_us)

    def _batch(self, most: int) -> tuple[list[Listed], list[bytes]]:
        """What the whitelist says of the dirty hosts: those that it lists, and those that it does not."""
        listed, unlisted = [], []
        now_us = self._whitelist.now_us()
        hosts: dict[bytes, None] = {}
        while len(hosts) < most and (line := self._proven or self._dirty):
            hosts[line.popleft()] = None
        for host in hosts:
            found = self._whitelist.find(host)
            if found:
                listed.append(Listed(host, seconds_left(found[0], now_us), found[1]))
            else:
                unlisted.append(host)
        return listed, unlisted

    # ---- one job after the other

    async def _work(self) -> None:
        while True:
            step = self._next()
            if step is None:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            try:
                await step()
            except TargetError as error:
                self._counters["table-failed"] += 1
                self._stale = True
                self._say_fault(str(error))
            except Exception as error:  # noqa: BLE001  # said as a defect; this loop must not end of it
                self._stale = True
                self._fault = repr(error)
                asyncio.get_running_loop().call_exception_handler({"message": "kernel table", "exception": error})

    def _next(self) -> Callable[[], Awaitable[None]] | None:
        now = self._clock()
        if now - self._checked_at >= CHECK_S:
            return self._check
        if self._stale and not self._fault and now - self._refilled_at >= max(
                REFILL_AGAIN_S, REFILL_SHARE * self._refill_took_s):
            return self._refill
        # What a filling will bring in any case can still come earlier.
        return self._change if (self._proven or self._dirty) and not self._fault else None

    async def _change(self) -> None:
        listed, unlisted = self._batch(BATCH)
        await self._do(lambda: self._table.change(listed, unlisted))
        self._counters["table-changed"] += len(listed) + len(unlisted)

    async def _check(self) -> None:
        self._checked_at = self._clock()
        soonest_us = self._whitelist.now_us() + int(ENDING_S * 1_000_000)
        hosts = self._settled({
            host: used for host, (until_us, used) in self._whitelist.sample(self._table.sample).items()
            if until_us > soonest_us})

        def look() -> tuple[set[bytes], dict[str, int]]:
            self._table.inspect()
            return self._table.missing(hosts), self._table.totals()

        missing, totals = await self._do(look)
        self._take_totals(totals)
        self._fault = ""
        if not self._complete and self._checked_at - self._refilled_at >= WITHOUT_ROOM_S:
            self._stale = True
        # Where not all had room, some are missing rightly; never all.
        if not missing or self._stale or (not self._complete and len(missing) < len(hosts)):
            return
        # A host that was used just now may be on its way: what is missing has to be so twice.
        await asyncio.sleep(AGAIN_S)
        again = self._settled({host: hosts[host] for host in missing})
        missing = await self._do(lambda: self._table.missing(again))
        if missing:
            self._stale = True
            self._log.warning("table-broken", None, table=self._table.name,
                              reason=f"{len(missing)} of {len(hosts)} hosts that must be in it are not")

    def _settled(self, hosts: dict[bytes, bool]) -> dict[bytes, bool]:
        waiting = {host for host in chain(self._proven, self._dirty) if host in hosts}
        return {host: used for host, used in hosts.items() if host not in waiting}

    async def _refill(self) -> None:
        started = self._refilled_at = self._clock()
        # From here on each further reason asks for a filling of its own.
        self._stale = False
        self._expiry.clear()

        def fill() -> tuple[int, Listing]:
            listing = self._listing()
            return self._table.refill(listing), listing

        left_out, entries = await self._do(fill)
        for host, until_us in entries.times() if not self._table.expires else ():
            self._expiry.note(host, until_us)
        self._complete = left_out == 0
        if self._complete:
            self._said = ""
        self._refill_took_s = self._clock() - started
        self._counters["table-filled"] += 1
        if self._complete or not self._said_full:
            say = self._log.info if self._complete else self._log.warning
            say("table-filled", None, table=self._table.name, entries=len(entries), left_out=left_out)
        self._said_full = not self._complete

    def _listing(self) -> Listing:
        """All that is to be in the table."""
        return Listing(self._whitelist.records(), self._whitelist.now_us())

    async def _do(self, work: Callable[[], Result]) -> Result:
        assert self._jobs
        return await self._jobs.submit(work)

    def _take_totals(self, totals: dict[str, int]) -> None:
        for name, value in totals.items():
            before = self._totals.get(name, value)
            # A counter that went back was made anew with its ruleset.
            self._counters[f"kernel-{name}"] += value - before if value >= before else value
            self._totals[name] = value

    def _say_fault(self, reason: str) -> None:
        now = self._clock()
        if reason != self._said or now - self._said_at >= SAY_AGAIN_S:
            self._said, self._said_at = reason, now
            self._log.error("table-broken", None, table=self._table.name, reason=reason)
        self._fault = reason
        self._dirty.clear()
        self._proven.clear()
