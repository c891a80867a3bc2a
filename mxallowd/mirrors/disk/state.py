"""The state: what the daemon knows, on a disk, so that a restart has it again.

It follows the whitelist. A change costs the main loop one append to a list; two or three times a second a thread asks
the table what is true of all these hosts by then, in one compiled call, and appends that to the journal. So no order of
changes can make the copy wrong, and kill -9 costs less than a second. When the journal has outgrown the whitelist, or
changes are lost, another thread writes a snapshot; a third one waits for the disk (fdatasync), so that a slow one does
not hold up what is written next. Of refused hosts no event tells each time: the thread looks through their memory for
those whose last time is new.

Bounds: MAX_DIRTY hosts wait, then the whole whitelist is written instead. A journal that is larger than its snapshot,
and than LEAST_JOURNAL, is replaced within seconds, so a start reads about twice the whitelist at the most. Of refused
hosts rounds.MOST are written a turn, and the others in the next ones. MAX_ENDED hosts are barred, then all are.

Which way it fails: verdicts never depend on the disk. What it does not take is said and tried again, and everything
stays in memory; a file that is damaged costs its blocks.
"""
import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path

from mxallowd.backends import Backends
from mxallowd.engine._records import RECORD_SIZE
from mxallowd.engine._table import CHILD, CONTACT, ORIGINS, OUTBOUND, PATIENCE, RESTORED
from mxallowd.engine.clock import boottime_us
from mxallowd.errors import StartError
from mxallowd.log import Log
from mxallowd.log.periodic import Repeated
from mxallowd.metrics.counters import Part, names
from mxallowd.mirrors.disk import blocks, contents, files
from mxallowd.mirrors.disk.blocks import Clock
from mxallowd.mirrors.disk.directory import Directory, DirectoryError, DirectoryTaken, DirectoryUnsafe
from mxallowd.mirrors.disk.reading import Saved, load
from mxallowd.mirrors.disk.rounds import Rounds
from mxallowd.mirrors.jobs import Jobs
from mxallowd.process.privileges import account_of
from mxallowd.settings import Settings
from mxallowd.settings.options import OPTIONS
from mxallowd.whitelist import ALL, GONE, Change, Whitelist

INTERVAL_S = 0.4
# Nothing changes: a block that says how late it is, for a start whose wall clock went back.
IDLE_S = 60.0
MAX_DIRTY = 1 << 16
EARLY = MAX_DIRTY // 4  # so many are written at once: an operator who empties the whitelist is fast
MAX_ENDED = 1 << 16
LEAST_JOURNAL = 8 << 20
AGAIN_S = 5.0  # after a snapshot, or a try that failed
SHARE = 20  # of the time at most one part is spent writing snapshots
FINISH_S = 5.0
LONGEST_S = 315_360_000  # as --whitelist-time
DEFAULT = next(option.default for option in OPTIONS if option.name == "state-dir")


class State:
    """One state directory; or none, where it cannot be had, and then it does nothing."""

    def __init__(
        self, settings: Settings, whitelist: Whitelist, backends: Backends, log: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._whitelist = whitelist
        self._table = backends.table
        self._refused = backends.refused
        self._backends = backends
        self._source = contents.Source(whitelist, backends)
        self._log = log
        self._now_s = clock
        self._boot = blocks.boot_id()
        self._directory: Directory | None = None
        self._journal: files.Journal | None = None
        self._number = 0  # the highest that is in use
        self._snapshot_number = self._snapshot_size = 0  # of the last one that was written
        self._filling = False  # a snapshot is under way that brings what single changes did not
        # What may have changed since it was written.
        self._dirty: list[bytes] = []
        self._new_ended: list[tuple[bytes, int]] = []
        self._many = asyncio.Event()  # of them
        self._rounds = Rounds(backends)
        self._partial = False  # what was saved is not all in the whitelist yet
        self._ended: dict[bytes, int] = {}  # until when no copy may bring them back
        self._stale = False  # single changes will not do any more
        self._whole_s = clock()  # since then something may be missing on the disk
        self._wrote_s = self._tried_s = float("-inf")
        self._took_s = 0.0
        self._jobs: dict[str, Jobs] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending = False
        self._said = Repeated(clock)
        self._counters = dict.fromkeys(names(Part.STATE), 0)
        self._saved: Saved | None = None
        self.fault = ""  # why what changes is not on the disk, or why there is no state at all
        self.is_unsafe = False  # others could have written what is in the directory

    # ---- what others ask

    @property
    def directory(self) -> Path | None:
        """Where it is kept; None: it is not."""
        return self._directory.path if self._directory else None

    @property
    def descriptor(self) -> int | None:
        """The open directory, for the sandbox."""
        return self._directory.descriptor if self._directory else None

    def shared(self) -> Directory | None:
        """The directory, for a part that ends by itself. Raises OSError."""
        return self._directory.shared() if self._directory else None

    def age_s(self) -> float | None:
        """Seconds since the disk had everything; None: there is no state."""
        return max(0.0, self._now_s() - self._whole_s) if self._directory else None

    def counters(self) -> dict[str, int]:
        """Its counters, since the start."""
        return dict(self._counters) if self._directory else {}

    # ---- the start, before any packet comes

    def open(self) -> None:
        """Take the directory, read what it has, and follow the whitelist. Raises StartError where another has it."""
        path = self._settings.state_dir
        try:
            self._directory = Directory(path, account_of(self._settings.user))
        except DirectoryError as error:
            # Two daemons that nobody has told to share one go on as they did without.
            if isinstance(error, DirectoryTaken) and path != DEFAULT:
                raise StartError(str(error)) from None
            self.fault = str(error)
            self.is_unsafe = isinstance(error, DirectoryUnsafe)
            self._log.warning("state-off", None, directory=path, reason=str(error))
            return
        try:
            self._read(self._directory)
        except (OSError, ValueError, MemoryError) as error:
            self._fail(error)
        self._whitelist.follow_as_copier(self)

    def _read(self, directory: Directory) -> None:
        lifetime_us = self._settings.whitelist_time * 1_000_000
        most_us = [lifetime_us if origin in (CONTACT, CHILD, RESTORED, PATIENCE) else LONGEST_S * 1_000_000
                   for origin in range(len(ORIGINS))] + [(self._settings.proven_time or 0) * 1_000_000]
        most_us[OUTBOUND] = self._settings.longest_time * 1_000_000
        hosts = self._table.max_entries + self._refused.max_hosts
        most_bytes = 4 * (RECORD_SIZE + 1) * max(hosts, 1 << 20) + (64 << 20)
        self._number = max([0, *directory.numbers("snapshot"), *directory.numbers("journal")])
        saved = load(directory, self._clock(), most_us, list(self._whitelist.servers), most_bytes)
        for name, damage in saved.damage:
            self._log.warning("state-damaged", None, file=directory.path / name, bytes=damage.bytes,
                              reason=damage.reason)
        self._saved = saved
        self._ended = saved.barred
        self._whitelist.bar(saved.barred)
        self._whitelist.provenance.recall(saved.notes)
        for part in saved.refused:
            own = bytes(self._refused.number_of(server) for server in part.servers)
            self._refused.restore(part.records, own.ljust(256, b"\xff"), self._whitelist.now_us(), part.back_us)
        patience = self._backends.patience
        for records, back_us in saved.patience:
            # Who was removed waits anew; where there were too many to remember, everybody does.
            if patience is not None and ALL not in saved.barred:
                patience.restore(records, self._whitelist.now_us(), back_us)
        for host in saved.barred:
            self._backends.forget_waiting(host)

    def take_records(self) -> bytes:
        """The entries that were saved, once: for who restores them, while packets are decided."""
        records = self._saved.records if self._saved else b""
        self._saved = self._saved._replace(records=b"", notes={}, refused=[], patience=[]) if self._saved else None
        self._partial = bool(records)
        # Nobody says that all has changed where nothing is entered, and a row of journals would stay.
        self._stale |= bool(not records and self._saved and self._number)
        return records

    def settled(self) -> None:
        """They are in the whitelist, as far as they will be: a snapshot of it may take the place of what was read."""
        self._partial = False

    def restored(self, entered: int, known: int, left_out: int) -> None:
        """They are in the whitelist."""
        if self._directory and self._saved and self._saved.number:
            self._log.info("state-read", None, directory=self._directory.path, entered=entered, known=known,
                           left_out=left_out, refused=len(self._refused))

    def start(self) -> None:
        """Begin to write, on the running loop."""
        if not self._directory:
            return
        loop = asyncio.get_running_loop()
        self._jobs = {name: Jobs(loop, f"state {name}") for name in ("journal", "sync", "snapshot")}
        self._begin("journal", self._work())

    def _begin(self, name: str, work: Coroutine[None, None, None]) -> None:
        self._tasks[name] = asyncio.get_running_loop().create_task(work)

    def _idle(self, name: str) -> bool:
        return name not in self._tasks or self._tasks[name].done()

    # ---- what the whitelist and the packet path tell

    def changed(self, host: bytes, change: Change) -> None:
        """Note it: what is true of it is asked later."""
        self.touched([host])
        # Of those that another gateway ended there may be any number, and its stream says it again.
        if change in GONE and not self._whitelist.ended_elsewhere:
            self._new_ended.append((host, self._whitelist.ended_until_us))

    def touched(self, hosts: list[bytes]) -> None:
        """Note them."""
        if len(self._dirty) < MAX_DIRTY:
            self._dirty += hosts
        else:
            self._stale = True
        if len(self._dirty) >= EARLY:
            self._many.set()

    def missed(self) -> None:
        """Write all of it again."""
        self._stale = True

    # ---- what the main loop calls

    def tick(self) -> None:
        """What waits stays within its bound, whatever the disk does."""
        if len(self._dirty) > MAX_DIRTY:
            del self._dirty[MAX_DIRTY:]
            self._stale = True
        if len(self._new_ended) > MAX_DIRTY:
            # The longest time holds for all of them.
            self._new_ended = [(ALL, 0)]

    def reload(self, settings: Settings) -> None:
        """The lifetime of entries counts for the next one that is ended."""
        self._settings = settings

    def close(self) -> None:
        """Write what is not written yet, and give the directory back."""
        self._ending = True
        for task in self._tasks.values():
            task.cancel()
        ended = True
        if self._jobs:
            ended = self._jobs["journal"].finish(self._finish, FINISH_S)
            ended &= self._jobs["snapshot"].finish(lambda: None, FINISH_S)
            self._jobs["sync"].finish(lambda: None, FINISH_S)
            self._jobs = {}
        # A thread that is stuck in a call goes on using it.
        if self._directory and ended:
            self._directory.close()
        self._directory = None

    def _finish(self) -> None:
        try:
            self._append(*self._take(), always=True)
            while not self._rounds.over:
                self._append([], [])
            assert self._journal
            self._journal.sync()
        except (OSError, MemoryError) as error:
            self._fail(error)

    # ---- one turn after the other

    async def _work(self) -> None:
        while True:
            batch = self._take()
            try:
                idle = self._now_s() - self._wrote_s >= IDLE_S
                if any(batch) or self._journal is None or idle or self._rounds.due(self._now_s()):
                    taken_s = self._now_s()
                    if await self._jobs["journal"].submit(partial(self._append, *batch, always=idle)):
                        self._wrote_s = taken_s
                        if self._idle("sync"):
                            self._begin("sync", self._sync())
                if not self._stale and not self._filling:
                    self._mend()
                self._look_for_snapshot()
            except (OSError, MemoryError) as error:
                self._keep(*batch)
                self._fail(error)
            except Exception as error:  # noqa: BLE001  # said as a defect; this loop must not end of it
                self._stale = True
                asyncio.get_running_loop().call_exception_handler({"message": "state", "exception": error})
            if self.fault:
                await asyncio.sleep(INTERVAL_S)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._many.wait(), INTERVAL_S)

    def _take(self) -> tuple[list[bytes], list[tuple[bytes, int]]]:
        self._many.clear()
        batch = self._dirty, self._new_ended
        self._dirty, self._new_ended = [], []
        return batch

    def _keep(self, dirty: list[bytes], ended: list[tuple[bytes, int]]) -> None:
        self._dirty[:0] = dirty
        self._new_ended[:0] = ended
        self.tick()

    def _mend(self) -> None:
        self._whole_s = self._now_s()
        if self.fault:
            self.fault = ""
            self._said.forget()
            self._log.info("state-mended", None, directory=self.directory)

    def _fail(self, error: Exception) -> None:
        self._counters["state-failed"] += 1
        self.fault = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if self._said.due(self.fault):
            self._log.error("state-broken", None, directory=self._settings.state_dir, reason=self.fault)

    # ---- the thread of the journal

    def _append(self, dirty: list[bytes], ended: list[tuple[bytes, int]], *, always: bool = False) -> bool:
        """Whether there was something to be written."""
        if self._journal is None:
            self._next_journal()
            assert self._journal
        made = [*self._source.of_hosts(dirty), *contents.of_ended(self._end(ended)), *self._rounds.take()]
        if made or always:
            self._journal.append(made or [(blocks.Kind.END, b"")], self._clock())
        self._counters["state-changes"] += len(dirty)
        self._rounds.written()
        return bool(made or always)

    def _end(self, ended: list[tuple[bytes, int]]) -> dict[bytes, int]:
        """Of the hosts that were ended those that have not come in again; until when each is barred."""
        now_us = self._whitelist.now_us()
        own_us = now_us + self._settings.longest_time * 1_000_000
        new = {host: max(own_us, until_us) for host, until_us in ended if self._whitelist.find(host) is None}
        for host in new:
            self._ended.pop(host, None)
        while self._ended and next(iter(self._ended.values())) <= now_us:
            del self._ended[next(iter(self._ended))]
        if len(self._ended) + len(new) > MAX_ENDED:
            # Whoever has come in later ends later.
            self._ended, new = {}, {ALL: own_us}
        self._ended |= new
        return new

    def _next_journal(self) -> None:
        assert self._directory
        journal = files.Journal(self._directory, self._number + 1, self._clock())
        if self._journal:
            self._journal.close()
        self._number += 1
        self._journal = journal

    def _clock(self) -> Clock:
        return Clock(self._boot, boottime_us(), time.time_ns() // 1000)

    # ---- the thread that waits for the disk

    async def _sync(self) -> None:
        journal = self._journal
        assert journal
        try:
            await self._jobs["sync"].submit(journal.sync)
        except (OSError, ValueError) as error:
            if journal is not self._journal:
                return
            # What it holds since the last time may be lost, and a second call would not say so (fsync(2)).
            self._journal = None
            self._stale = True
            self._fail(error)

    # ---- the thread of the snapshot

    def _look_for_snapshot(self) -> None:
        assert self._journal
        if self._partial:
            return
        outgrown = self._journal.size > max(LEAST_JOURNAL, self._snapshot_size)
        pause_s = max(AGAIN_S, SHARE * self._took_s)
        if (outgrown or self._stale) and self._idle("snapshot") and self._now_s() - self._tried_s >= pause_s:
            self._tried_s = self._now_s()
            self._filling, self._stale = self._stale, False
            self._begin("snapshot", self._snapshot())

    async def _snapshot(self) -> None:
        assert self._journal and self._directory
        try:
            # One that has no snapshot yet takes this one, so that tries that fail leave no row of journals.
            if self._journal.number == self._snapshot_number or self._journal.size > LEAST_JOURNAL:
                await self._jobs["journal"].submit(self._next_journal)
            number = self._journal.number
            self._snapshot_size = await self._jobs["snapshot"].submit(partial(
                files.write_snapshot, self._directory, number, self._clock, self._contents()))
            self._snapshot_number = number
            self._counters["state-snapshots"] += 1
        except (OSError, MemoryError) as error:
            self._stale = True
            self._fail(error)
        finally:
            self._took_s = self._now_s() - self._tried_s
            self._filling = False

    def _contents(self) -> blocks.Contents:
        now_us = self._whitelist.now_us()
        # Before what is listed: one that has come in again is.
        yield from contents.of_ended({host: until_us for host, until_us in self._ended.copy().items()
                                      if until_us > now_us})
        for one in self._source.whole():
            if self._ending:
                raise OSError("it is the end")
            yield one
