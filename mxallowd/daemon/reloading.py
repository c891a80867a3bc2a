"""Reloading: the configuration is read again while packets are served, as SIGHUP asks for it.

A file that is being written is not read, since half a configuration can be a valid one. An invalid configuration
changes nothing. Options that need a restart keep their values, and the log names them.
"""
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from mxallowd.control.answers.reload import Outcome, Reread
from mxallowd.control.changers import Changers
from mxallowd.daemon.fleet import Fleet
from mxallowd.daemon.trusted import Trusting
from mxallowd.lists.lists import Lists
from mxallowd.log import Log
from mxallowd.process.supervisor import Supervisor
from mxallowd.settings import Settings, changed, configfile
from mxallowd.settings.loading import Loaded
from mxallowd.settings.options import OPTIONS, Kind
from mxallowd.text import LONGEST_QUOTED

RELOAD_AFTER_S = 0.05
# A configuration that is being written is read when it did not change between two looks; if it always does, it is not.
REST_S = 0.3
MOST_LOOKS = 20


class Reloading:
    """The settings in force, and how others take their place."""

    def __init__(
        self, settings: Settings, load: Callable[[], Loaded], apply: Callable[[Settings], None], log: Log,
        supervisor: Supervisor,
    ) -> None:
        """`load` reads everything again; `apply` lets new settings hold."""
        self.settings = settings
        self._load = load
        self._apply = apply
        self._log = log
        self._supervisor = supervisor
        # Waits for what apply() began, the reading of list files, and says in the outcome what came of it.
        self.settle: Callable[[Outcome], Awaitable[Outcome]] | None = None
        self._settling: set[asyncio.Task[None]] = set()
        self._waits: asyncio.TimerHandle | None = None
        self._closed = False
        self._asked: list[asyncio.Future[Outcome | None]] = []
        self.last: Outcome | None = None  # what came of the last one

    async def ask_and_wait(self) -> Outcome | None:
        """Reload soon, and tell what came of it; None: the daemon ends."""
        if self._closed:
            return None
        answer: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        self.ask()
        return await answer

    def ask(self) -> None:
        """Reload soon, once the file is at rest."""
        # One that waits will see what this one is about: of thousands of signals some reloads are made.
        if self._waits is None and not self._closed:
            self._supervisor.reloading()
            self._wait(RELOAD_AFTER_S, None, MOST_LOOKS)

    def close(self) -> None:
        """Make none any more; one that waits is left out."""
        self._closed = True
        for task in self._settling:
            task.cancel()
        _tell(self._asked, None)
        if self._waits:
            self._waits.cancel()

    def _end(self, asked: list[asyncio.Future[Outcome | None]]) -> None:
        if self.settle is None or self.last is None or self.last.reason:
            _tell(asked, self.last)
            self._supervisor.ready()
            return
        task = asyncio.get_running_loop().create_task(self._end_settled(self.settle(self.last), asked))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _end_settled(
        self, settled: Awaitable[Outcome], asked: list[asyncio.Future[Outcome | None]]) -> None:
        outcome = None
        try:
            outcome = self.last = await settled
        finally:
            _tell(asked, outcome)
            self._supervisor.ready()

    def _fail(self, where: object, reason: str) -> None:
        self._log.error("reload-failed", where=where, reason=reason)
        # Of several problems the first one is told.
        if self.last is None:
            self.last = Outcome(time.time(), str(where), reason)

    def _wait(self, seconds: float, before: tuple[int, int, int] | None, looks: int) -> None:
        self._waits = asyncio.get_running_loop().call_later(seconds, self._look, before, looks)

    def _look(self, before: tuple[int, int, int] | None, looks: int) -> None:
        now = configfile.being_written(self.settings.config)
        at_rest = now in {None, before}
        if not at_rest and looks:
            self._wait(REST_S, now, looks - 1)
            return
        self._waits = None
        self.last = None
        try:
            loaded = self._load() if at_rest else None
            # Who began to write meanwhile has shown us half of it, perhaps.
            if loaded is not None and (after := configfile.being_written(self.settings.config)) not in {None, now}:
                loaded = None
                if looks:
                    self._wait(REST_S, after, looks - 1)
                    return
            if loaded is not None:
                self.reload(loaded)
            else:
                self._fail(self.settings.config, "it is still being written")
        except Exception as error:
            # The log has it as a defect.
            self.last = Outcome(time.time(), str(self.settings.config), repr(error)[:LONGEST_QUOTED])
            raise
        finally:
            if self._waits is None:
                asked, self._asked = self._asked, []
                self._end(asked)

    def reload(self, loaded: Loaded | None = None) -> bool:
        """Take what was loaded, or is now. False: it cannot be used, as the log says, and nothing has changed."""
        loaded = loaded or self._load()
        self.last = None
        for problem in loaded.problems:
            if problem.fatal:
                self._fail(problem.where, problem.message)
            else:
                self._log.warning("config", where=problem.where, reason=problem.message)
        if loaded.settings is None:
            return False
        different = changed(self.settings, loaded.settings)
        fixed = [option.name for option in OPTIONS if option.name in different and not option.live]
        if fixed:
            self._log.warning("restart-needed", options=",".join(fixed))
        # What needs a restart stays what it is, so that the next reload is held against what is in force.
        self.settings = replace(loaded.settings, **{
            option.field: getattr(self.settings, option.field) for option in OPTIONS
            if not option.live and option.kind is not Kind.ACTION})
        self._apply(self.settings)
        live = tuple(name for name in different if name not in fixed)
        self.last = Outcome(time.time(), changed=live, restart_needed=tuple(fixed),
                            warnings=tuple(f"{one.where}: {one.message}" for one in loaded.warnings))
        self._log.info("reloaded", changed=",".join(live) or "nothing")
        return True


def _tell(asked: list[asyncio.Future[Outcome | None]], outcome: Outcome | None) -> None:
    for answer in asked:
        if not answer.done():
            answer.set_result(outcome)


async def settled(
    lists: Lists, trusted: Sequence[Trusting], fleets: Sequence[Fleet], changers: Changers, outcome: Outcome,
) -> Outcome:
    """The outcome with what came of each file of lists, of trusted senders and of the fleet, once they were read.

    And of the group that may change the daemon.
    """
    found = [*await lists.settled(), *[one for part in trusted if (one := await part.settled())]]
    waiting = [one.verdict for one in found if one.restart]
    failed = [changers.fault] if changers.fault else []
    failed += [fault for fleet in fleets for fault in await fleet.settled()]
    return replace(
        outcome, changed=(*outcome.changed, *(name for fleet in fleets for name in fleet.changed)),
        restart_needed=tuple(dict.fromkeys([*outcome.restart_needed, *waiting])),
        lists=tuple(Reread(one.verdict, one.source, one.networks, one.before, one.changed, one.fault or None)
                    for one in found),
        failed=(*lists.faults.values(), *(one.fault for one in found if one.verdict == "trust" and one.fault),
                *failed))
