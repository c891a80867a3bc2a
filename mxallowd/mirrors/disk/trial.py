"""The file `trial`: what a trial has gathered (history/kept.py), so that a restart does not begin it anew.

It is written as a whole, once a minute and at the end, by a thread of its own, made of the same checked blocks as the
other files. It has at most as many hosts as the histories follow: 10 MB where a flood has filled all rooms.

Which way it fails: what is damaged costs its block; what cannot be written is said, and tried again a minute later.
Nothing else depends on it.
"""
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial

from mxallowd.engine.clock import boottime_us
from mxallowd.history import kept
from mxallowd.history.names import Names
from mxallowd.history.trial import Trial
from mxallowd.log import Log
from mxallowd.log.periodic import Repeated
from mxallowd.mirrors.disk import blocks, files
from mxallowd.mirrors.disk.blocks import Clock, Damage, Kind, Reader
from mxallowd.mirrors.disk.directory import Directory
from mxallowd.mirrors.disk.reading import back_us, read_refused
from mxallowd.mirrors.disk.rounds import refused_blocks
from mxallowd.mirrors.disk.state import State
from mxallowd.mirrors.jobs import Jobs
from mxallowd.settings import Settings

NAME = "trial"
INTERVAL_S = 60.0
MOST_BYTES = 64 << 20
FINISH_S = 5.0
COUNT_S = 1.0
SLOTS = 4096  # of the memory of contacts, between two chances for other threads


class TrialFile:
    """Keeps one trial in the state directory, where there is one."""

    def __init__(
        self, trial: Trial, state: State | None, count: Callable[[], Awaitable[Mapping[str, int]]], log: Log, *,
        moment: Callable[[], Clock] | None = None,
    ) -> None:
        """`count` gives all counters of the daemon, `moment` what a block says of the time."""
        self._trial = trial
        self._state = state
        self._count = count
        self._log = log
        self._moment = moment or partial(_moment, blocks.boot_id())
        self._directory: Directory | None = None
        self._jobs: Jobs | None = None
        self._task: asyncio.Task[None] | None = None
        self._written_s = time.monotonic()
        self._said = Repeated()

    # ---- the start, before any packet comes

    def open(self) -> None:
        """Read the file; the state is open."""
        try:
            self._directory = self._state.shared() if self._state else None
            data = self._directory.read(NAME, MOST_BYTES) if self._directory else b""
        except FileNotFoundError:
            return
        except OSError as error:
            self._say_damage(Damage(0, error.strerror or str(error)))
            return
        self._read(data)

    def _read(self, data: bytes) -> None:
        reader = Reader(data, complete=True)
        found = list(reader)
        wrong, now = 0, self._moment()
        if data and (damage := reader.damage()):
            self._say_damage(damage)
        newest = max((block for block in found if block.kind == Kind.TRIAL), key=lambda block: block.clock.boot_us,
                     default=None)
        if newest:
            with suppress(ValueError):
                self._trial.timeline.go_on(
                    kept.ahead_of(bytes(newest.content)), newest.clock.boot_us + now.since(newest.clock))
        for block in found:
            try:
                self._take(block, now)
            except ValueError:
                wrong += len(block.content)
        if wrong:
            self._say_damage(Damage(wrong, "what stands there is not what such a block holds"))
        self._trial.forecast.restored()

    def _take(self, block: blocks.Block, now: Clock) -> None:
        if block.kind == Kind.TRIAL:
            kept.restore(self._trial, bytes(block.content))
        elif block.kind == Kind.NOTES:
            for host, confirmed, text in blocks.read_notes(block.content):
                self._trial.names.note(host, text, confirmed=confirmed == 1)
        elif block.kind == Kind.REFUSED:
            contacts = self._trial.contacts
            records, servers = read_refused(block.content)
            own = bytes(contacts.number_of(server) for server in servers)
            contacts.restore(records, own.ljust(256, b"\xff"), self._trial.now_us(), back_us(now, block.clock))

    def _say_damage(self, damage: Damage) -> None:
        if self._state and self._state.directory:
            self._log.warning("state-damaged", None, file=self._state.directory / NAME, bytes=damage.bytes,
                              reason=damage.reason)

    # ---- once a minute

    def start(self) -> None:
        """Begin to write, on the running loop."""
        if self._directory:
            self._jobs = Jobs(asyncio.get_running_loop(), "state trial")

    def tick(self) -> None:
        """Write it where it is time to."""
        if time.monotonic() - self._written_s >= INTERVAL_S and (self._task is None or self._task.done()):
            self._written_s = time.monotonic()
            self._task = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        await self.count()
        if self._jobs is None or self._directory is None:
            return
        try:
            await self._jobs.submit(
                partial(self._write, self._directory, await self._taken(), self._trial.names.copy()))
            self._said.forget()
        except (OSError, MemoryError) as error:
            self._fail(error)

    async def _taken(self) -> kept.Taken:
        taking = kept.take(self._trial)
        taken = next(taking)
        for _ in taking:
            await asyncio.sleep(0)
        return taken

    async def count(self) -> None:
        """Have connections counted up to now: at the end, too, as long as everything is there to be asked."""
        with suppress(TimeoutError):
            self._trial.traffic.take(await asyncio.wait_for(self._count(), COUNT_S))

    # ---- the thread

    def _write(self, directory: Directory, taken: kept.Taken, names: Names) -> None:
        files.write_whole(directory, NAME, self._moment, self._contents(taken, names))

    def _contents(self, taken: kept.Taken, names: Names) -> blocks.Contents:
        for piece in kept.pieces_of(taken, blocks.MOST_BYTES):
            yield Kind.TRIAL, piece
        yield from ((Kind.NOTES, content) for content in blocks.note_blocks(names.all()))
        for records in self._contact_records():
            yield from refused_blocks(self._trial.contacts, records)

    def _contact_records(self) -> Iterator[bytes]:
        records, at = self._trial.contacts.entries(0, SLOTS)
        yield records
        while at:
            records, at = self._trial.contacts.entries(at, SLOTS)
            yield records

    def _fail(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if self._said.due(reason) and self._state:
            self._log.error("state-broken", None, directory=self._state.directory, reason=f"the file {NAME}: {reason}")

    # ---- the rest of a part of the daemon

    def reload(self, settings: Settings) -> None:
        """No setting that a reload may change concerns it."""

    def counters(self) -> dict[str, int]:
        """None of its own."""
        return {}

    def close(self) -> None:
        """Write it for the last time; before the state gives the directory back."""
        if self._task:
            self._task.cancel()
        ended = True
        if self._jobs and self._directory:
            *_, taken = kept.take(self._trial)  # a stop waits for it, some 200 ms where a flood has filled all
            ended = self._jobs.finish(
                partial(self._finish, self._directory, taken, self._trial.names.copy()), FINISH_S)
            self._jobs = None
        # A thread that is stuck in a call goes on using it.
        if self._directory and ended:
            self._directory.close()
        self._directory = None

    def _finish(self, directory: Directory, taken: kept.Taken, names: Names) -> None:
        try:
            self._write(directory, taken, names)
        except (OSError, MemoryError) as error:
            self._fail(error)


def _moment(boot: bytes) -> Clock:
    return Clock(boot, boottime_us(), time.time_ns() // 1000)
