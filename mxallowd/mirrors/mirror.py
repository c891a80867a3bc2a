"""A mirror keeps its target the same as the whitelist.

Every change marks its host as **dirty**. When it is the host's turn, the target gets what the whitelist says about it
at that moment, so no order of changes can make the target wrong. A thread sends dirty hosts in batches, one after the
other: on a quiet system each of them is in the target within a millisecond, on a busy one many share a transaction.

Every few seconds the target is inspected, and asked for a sample of the hosts that must be in it. A target that was
emptied or replaced, or could not take a change, is filled again in one transaction. Which way it fails: the target
stays as it is, and the log says what is wrong with it; verdicts of the queue are not affected. Only where there is no
queue, so that nobody new would ever get in, a target that cannot be written ends the start.
"""
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from mxallowd.errors import StartError
from mxallowd.log import Log
from mxallowd.log.periodic import Repeated
from mxallowd.metrics.counters import Part, names
from mxallowd.mirrors import (
    ALWAYS_S,
    Copied,
    Listed,
    Listing,
    Original,
    Target,
    TargetError,
    TargetRejects,
    TargetWrong,
    rejection,
)
from mxallowd.mirrors import listed as as_listed
from mxallowd.mirrors.adoption import adopt
from mxallowd.mirrors.dirty import Dirty
from mxallowd.mirrors.expiry import Expiry
from mxallowd.mirrors.jobs import Jobs, guarded
from mxallowd.mirrors.suspects import Suspects
from mxallowd.settings import Settings
from mxallowd.whitelist import Change

MAX_DIRTY = 65_536
BATCH = 4096  # hosts of one change: some 100 ms at the most
CHECK_S = 3.0
# A filling takes a second for 400,000 hosts; in a flood it must not become all that is done.
REFILL_AGAIN_S = 8.0
REFILL_SHARE = 5
FINISH_S = 10.0
REFRESH_S = 1.0
# What ends sooner may have ended in the target; what is younger may still be on its way, but not for so long.
ENDING_S = 1.0
AGAIN_S = 0.2
# Where the target alone decides, the start waits for its first filling: 2,000,000 hosts.
FIRST_S, FIRST_LOOK_S = 5.0, 0.005
# A target that had no room for all is filled again after so long: others have ended meanwhile, or it was made larger.
WITHOUT_ROOM_S = 60.0
NEW_END = (Change.CONTACT, Change.ADMITTED, Change.ADOPTED, Change.RENEWED)
Result = TypeVar("Result")


class Mirror:
    """Keeps one target."""

    def __init__(
        self, target: Target, whitelist: Original, log: Log, settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = target
        self._whitelist = whitelist
        self._log = log
        self._clock = clock
        self._flush_on_exit = settings.flush_on_exit
        # Without a queue, who is not in the target does not get in.
        self._decides = not settings.queue_num
        self._counters = dict.fromkeys(names(Part.KERNEL_TABLE), 0)
        self._totals: dict[str, int] = {}
        self._dirty = Dirty()
        self._expiry = Expiry()
        self._suspects = Suspects()
        self._jobs: Jobs | None = None
        self._stale = False  # single changes will not do any more
        self._complete = True  # every host had room at the last filling
        self._fault = ""  # why changes cannot be made now
        self._said_fault = Repeated(clock)
        self._said_full = False
        self._rejected = rejection.Rejected(log, target.name, clock)
        self._checked_at = self._refilled_at = float("-inf")
        self._refill_took_s = 0.0
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._take_times(settings)

    # ---- the start, before any packet comes

    def open(self) -> None:
        """Reach the target, take over what it holds from before, and follow the whitelist. Raises StartError."""
        self._target.open()
        try:
            copied, complete = guarded(self._target.read)
        except TargetError as error:
            self._fail(error)
            # One that is missing may be created later.
            if self._decides and isinstance(error, TargetWrong):
                raise StartError(f"{self._target.name}: {error}; nobody new would get in") from None
        else:
            self._adopt(copied, complete=complete)
            self._probe()
        # What is adopted from here is no news to it.
        self._whitelist.follow(self)

    def _probe(self) -> None:
        try:
            guarded(self._target.probe)
        except TargetError as error:
            self._fail(error)
            if self._decides:
                raise StartError(f"{self._target.name} cannot be written, so nobody new would get in: {error}") \
                    from None

    def _adopt(self, copied: Sequence[Copied], *, complete: bool) -> None:
        adoption = adopt(self._whitelist, copied, self._longest_s, expires=self._target.expires,
                         renewable_s=self._renewable_s, most_fresh_s=self._most_fresh_s)
        self._stale = adoption.lacking
        for host in adoption.differing:
            self._mark(host)
        for one in copied if not self._target.expires else ():
            self._note_expiry(one.host)
        if copied:
            say = self._log.info if complete else self._log.warning
            say("kernel-table-read", None, table=self._target.name, entries=len(copied), adopted=adoption.adopted,
                complete="yes" if complete else "no")

    def start(self) -> None:
        """Begin to work, on the running loop."""
        self._jobs = Jobs(asyncio.get_running_loop(), "mirror")
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def first_filled(self) -> None:
        """Wait until the target has what the whitelist has, where it alone decides; for FIRST_S at the most.

        Then no sender is refused who was known before, from the moment on that this process is ready. A fault is no
        reason to wait: it is said, and lasts.
        """
        deadline, wanted = self._clock() + FIRST_S, int(self._stale)
        while (self._decides and not self._fault and self._clock() < deadline
               and (self._dirty or self._counters["kernel-table-filled"] < wanted)):
            await asyncio.sleep(FIRST_LOOK_S)

    # ---- what the whitelist tells

    def changed(self, host: bytes, change: Change) -> None:
        """Mark it; what happened matters only for its turn, and for when its time is over."""
        if change is Change.PROVEN and not self._shows_unused:
            # No table of a firewall shows it, but for hosts whose contacts no longer matter.
            return
        self._mark(host, used=change is Change.USED)
        if not self._target.expires and change in NEW_END:
            self._note_expiry(host)
        self._wanted.set()

    def missed(self) -> None:
        """Fill the target again."""
        self._stale = True
        self._wanted.set()

    # ---- what the main loop calls

    def tick(self) -> None:
        """Let expired hosts go, where the target does not; look at it, where that is due."""
        for host in self._expiry.take(self._whitelist.now_us()):
            self._mark(host)
        if self._expiry.size > 2 * len(self._whitelist) + MAX_DIRTY:
            # A flood of short-lived entries: the next filling sets it right.
            self._stale = True
        # It was told a shorter time than some have left, and must hear of them again before that is over.
        self._stale |= self._clock() - self._refilled_at >= self._retold_s < float("inf")
        for host in self._rejected.take():
            self._mark(host)
        self._wanted.set()

    def reload(self, settings: Settings) -> None:
        """Take over the lifetime of entries, and from when on a contact or a use renews them."""
        before = self._renewable_s, self._most_fresh_s, self._shows_unused
        self._take_times(settings)
        if (self._renewable_s, self._most_fresh_s, self._shows_unused) != before:
            # Who stands in the target as fresh may not be so any more.
            self.missed()

    def _take_times(self, settings: Settings) -> None:
        # A copy does not tell who is proven.
        self._longest_s = settings.longest_time
        self._retold_s = self._target.longest_s / 2 if self._longest_s > self._target.longest_s else float("inf")
        # Who is to be learned by his contacts must be seen at each of them.
        self._shows_unused = settings.direct_after is not None
        lifetime_s = settings.whitelist_time
        renewed_s = settings.renewed_after_us // 1_000_000
        self._renewable_s = 0 if settings.renew == "never" else lifetime_s - renewed_s
        # Other gateways are told of each contact, once a minute.
        self._most_fresh_s = renewed_s if settings.fleet else ALWAYS_S

    async def refresh(self) -> None:
        """Counters are about to be shown: ask for what the target counts, for at most a second."""
        if self._jobs is None or self._fault:
            return
        try:
            self._take_totals(await asyncio.wait_for(
                self._jobs.submit(lambda: guarded(self._target.totals)), REFRESH_S))
        except (TargetError, TimeoutError):
            # The next inspection says what is wrong.
            return

    def counters(self) -> dict[str, int]:
        """Its counters, since the start."""
        return self._counters | {"kernel-table-rejected": self._rejected.count}

    @property
    def name(self) -> str:
        """Of its target."""
        return self._target.name

    @property
    def fault(self) -> str:
        """Why the target takes no changes now; "": it does."""
        return self._fault

    @property
    def drops(self) -> bool:
        """Whether the ruleset was seen to drop in a dry run."""
        return self._target.drops

    def in_step(self) -> bool:
        """Whether the target takes changes, and no filling is due: what is still on its way takes milliseconds."""
        return not (self._fault or self._stale)

    async def sets_of(self, host: bytes) -> dict[str, bool]:
        """The target's sets, and whether each holds the host now. Raises TargetError."""
        if self._jobs is None:
            raise TargetError("it is not served")
        return await self._do(lambda: self._target.sets_of(host))

    def status(self) -> dict[str, object]:
        """Its name, whether it is in step, and why it cannot be changed, where it cannot."""
        return {"name": self.name, "in_step": self.in_step(), "fault": self._fault or None}

    def fill(self) -> float:
        """How many hosts wait for the target, 1.0 being the bound."""
        return self._dirty.longest / MAX_DIRTY

    def close(self) -> None:
        """Let the target have what it does not have yet; or nothing at all, where that is wished for."""
        if self._task:
            self._task.cancel()
        if self._jobs is not None:
            if not self._jobs.finish(self._finish, FINISH_S):
                self._log.warning("kernel-table-broken", None, table=self._target.name,
                                  reason="no answer at the end")
                return
            self._jobs = None
        self._target.close()

    def _finish(self) -> None:
        try:
            guarded(self._bring_the_rest)
        except Exception as error:  # noqa: BLE001  # nobody waits for what this thread raises
            self._counters["kernel-table-failed"] += 1
            self._log.error("kernel-table-broken", None, table=self._target.name,
                            reason=str(error) if isinstance(error, TargetError) else repr(error))

    def _bring_the_rest(self) -> None:
        if self._flush_on_exit:
            self._target.flush()
        elif self._stale and not self._fault:
            try:
                self._fill()
            except TargetRejects:
                found = self._search()
                self._rejected.add(found.rejected)
                self._fill_again(found)
        elif not self._fault:
            while self._dirty:
                self._rejected.add(rejection.change(self._target, *self._batch(BATCH)).rejected)

    # ---- dirty hosts

    def _mark(self, host: bytes, *, used: bool = False) -> None:
        if self._fault:
            # No change can be made; once one can, a filling brings all.
            self._stale = True
            return
        if not self._dirty.mark(host, MAX_DIRTY, used=used):
            self._counters["kernel-table-limited"] += 1
            self._stale = True

    def _note_expiry(self, host: bytes) -> None:
        found = self._whitelist.find(host)
        if found:
            self._expiry.note(host, found[0])

    def _batch(self, most: int) -> tuple[list[Listed], list[bytes]]:
        """What the whitelist says of the dirty hosts: those that it lists, and those that it does not."""
        listed, unlisted = [], []
        now_us = self._whitelist.now_us()
        for host in self._dirty.take(most):
            found = self._whitelist.find(host)
            if host in self._rejected:
                continue
            if found:
                listed.append(as_listed(
                    host, found[0], used=found[1], now_us=now_us,
                    renewable_s=ALWAYS_S if self._shows_unused and self._shows(host) else self._renewable_s,
                    most_fresh_s=self._most_fresh_s))
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
                self._fail(error)
            except Exception as error:  # noqa: BLE001  # said as a defect; this loop must not end of it
                self._stale = True
                self._fault = repr(error)
                asyncio.get_running_loop().call_exception_handler({"message": "mirror", "exception": error})

    def _next(self) -> Callable[[], Awaitable[None]] | None:
        now = self._clock()
        if now - self._checked_at >= CHECK_S:
            return self._check
        if self._stale and not self._fault and now - self._refilled_at >= max(
                REFILL_AGAIN_S, REFILL_SHARE * self._refill_took_s):
            return self._refill
        # What a filling will bring in any case can still come earlier.
        return self._change if self._dirty and not self._fault else None

    async def _change(self) -> None:
        listed, unlisted = self._batch(BATCH)
        found = await self._do(lambda: rejection.change(self._target, listed, unlisted))
        self._take_rejected(found)
        self._counters["kernel-table-changed"] += (
            len(listed) + len(unlisted) - len(found.rejected) - len(found.unsettled))

    async def _check(self) -> None:
        self._checked_at = self._clock()
        soonest_us = self._whitelist.now_us() + int(ENDING_S * 1_000_000)
        listed = self._whitelist.sample(self._target.sample)
        listed |= {host: found for host in self._suspects.hosts if (found := self._whitelist.find(host))}
        hosts = self._settled({host: used for host, (until_us, used) in listed.items()
                               if until_us > soonest_us and host not in self._rejected})
        faulty = bool(self._fault)

        def look() -> tuple[set[bytes], dict[str, int]]:
            self._target.inspect()
            if faulty:
                # That it is there does not mean that it can be written.
                self._target.probe()
            return self._target.missing(hosts), self._target.totals()

        missing, totals = await self._do(look)
        self._take_totals(totals)
        self._fault = ""
        if not self._complete and self._checked_at - self._refilled_at >= WITHOUT_ROOM_S:
            self._stale = True
        # Where not all had room, some are missing rightly; never all.
        if missing and not self._stale and (self._complete or len(missing) == len(hosts)):
            # A host that was used just now may be on its way: what is missing has to be so twice.
            await asyncio.sleep(AGAIN_S)
            again = self._settled({host: hosts[host] for host in missing})
            missing = await self._do(lambda: self._target.missing(again))
        else:
            missing = set()
        missing = self._suspects.count(hosts, missing)
        if missing:
            self._stale = True
            self._log.warning("kernel-table-broken", None, table=self._target.name,
                              reason=f"{len(missing)} of {len(hosts)} hosts that must be in it are not")

    def _settled(self, hosts: dict[bytes, bool]) -> dict[bytes, bool]:
        waiting = self._dirty.among(hosts)
        return {host: used for host, used in hosts.items() if host not in waiting}

    async def _refill(self) -> None:
        started = self._refilled_at = self._clock()
        # From here on each further reason asks for a filling of its own.
        self._stale = False
        self._expiry.clear()

        try:
            left_out, entries = await self._do(self._fill)
        except TargetRejects:
            found = await self._do(self._search)
            self._take_rejected(found)
            left_out, entries = await self._do(lambda: self._fill_again(found))
        for host, until_us in entries.times() if not self._target.expires else ():
            self._expiry.note(host, until_us)
        self._complete = left_out == 0
        if self._complete:
            self._said_fault.forget()
        self._refill_took_s = self._clock() - started
        self._counters["kernel-table-filled"] += 1
        if self._complete or not self._said_full:
            say = self._log.info if self._complete else self._log.warning
            say("kernel-table-filled", None, table=self._target.name, entries=len(entries), left_out=left_out)
        self._said_full = not self._complete

    def _fill(self) -> tuple[int, Listing]:
        """How many found no room, and what it was to hold."""
        entries = self._listing()
        return self._target.refill(entries), entries

    def _search(self) -> rejection.Found:
        return rejection.search(self._target, self._listing(), BATCH)

    def _fill_again(self, found: rejection.Found) -> tuple[int, Listing]:
        # Where no host was to blame, all of them have been entered one by one, and no filling would do better.
        return self._fill() if found.rejected or not self._target.expires else (0, self._listing())

    def _shows(self, host: bytes) -> bool:
        # A SYN to the real server may be made up.
        return not self._whitelist.knows_real(host)

    def _listing(self) -> Listing:
        """All that is to be in the target."""
        return Listing(
            self._whitelist.records(), self._whitelist.now_us(), self._renewable_s, self._rejected.hosts(),
            shows=self._shows if self._shows_unused else None, most_fresh_s=self._most_fresh_s)

    async def _do(self, work: Callable[[], Result]) -> Result:
        assert self._jobs
        return await self._jobs.submit(lambda: guarded(work))

    # ---- what goes wrong

    def _take_rejected(self, found: rejection.Found) -> None:
        self._rejected.add(found.rejected)
        self._dirty.again(found.unsettled)

    def _fail(self, error: TargetError) -> None:
        self._counters["kernel-table-failed"] += 1
        self._stale = True
        self._say_fault(str(error))

    def _take_totals(self, totals: dict[str, int]) -> None:
        for name, value in totals.items():
            before = self._totals.get(name, value)
            # A counter that went back was made anew with its ruleset.
            self._counters[f"kernel-{name}"] += value - before if value >= before else value
            self._totals[name] = value

    def _say_fault(self, reason: str) -> None:
        if self._said_fault.due(reason):
            self._log.error("kernel-table-broken", None, table=self._target.name, reason=reason)
        self._fault = reason
        self._dirty.clear()
