"""What is in force: the lists of the configuration, those of files, and what was added by hand.

Files are read at the start, while every right is there, and again at SIGHUP, by a thread beside the main loop. A file
that cannot be used then keeps the content that it had; what is wrong is logged with its line. The networks in force are
an object that is never changed: a new one takes its place in the packet path without a lock.
"""
import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mxallowd.errors import StartError
from mxallowd.lists.beside import beside
from mxallowd.lists.composition import (
    ALLOW,
    CONFIGURATION,
    DENY,
    DIRECT,
    EMPTY,
    Composition,
    Match,
    Network,
    Source,
    record,
)
from mxallowd.lists.files import Fault, ListError, breathe, read
from mxallowd.lists.own import WORDS, Key, Own, OwnFile, OwnNetworks
from mxallowd.log import Log
from mxallowd.settings import Settings

AGAIN_TICKS = 5  # seconds between two tries to write what could not be kept
SLICE = 1000  # networks whose time is over: half a millisecond
MAX_FILES = 100  # the broker of the sandbox knows at most 255 paths
ALL_LISTS = "allow and deny"
TOO_MANY_FILES = f"name more than {MAX_FILES} files"

Place = tuple[Path, str]  # a file and the list that it is of


class Reread(NamedTuple):
    """What became of a list file at a reload."""

    verdict: str
    source: str  # its path
    networks: int  # that hold now
    before: int | None  # that held before; None: the file is new
    changed: bool
    fault: str = ""  # FILE:LINE: reason, the first one; what held before holds
    restart: bool = False  # a restart may read it


class Added(NamedTuple):
    """What became of an addition: how many had room, and why they will not survive a restart (empty: they will)."""

    entered: int
    known: int  # renewed, never shortened
    left_out: int  # there was no room
    unkept: str


class Lists:
    """The lists. All calls come from the main thread."""

    def __init__(
        self, settings: Settings, publish: Callable[[Composition], None], log: Log, networks: OwnNetworks | None = None,
    ) -> None:
        """`publish` lets a composition hold in the packet path. Without `networks`, nothing by hand is kept."""
        self._settings = settings
        self._publish = publish
        self._log = log
        self.own = OwnNetworks(None) if networks is None else networks
        self._files: dict[Place, Source] = {}
        self.faults: dict[str, str] = {}  # by file, of the last reading: FILE:LINE: reason
        self.reread: tuple[Reread, ...] = ()  # of the last reload
        self._reloading: asyncio.Task[None] | None = None
        self.composition = EMPTY
        self.trusted: Sequence[Source] = ()  # of trusted senders; change it before load(), later by trust()
        self._followers: list[Callable[[Composition], None]] = []
        self._busy = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked = False
        self._said_unkept = ""
        self._file = OwnFile()
        self._configured: tuple[Settings | None, list[Source]] = None, []  # the networks of these settings
        self._ticks = 0

    # ---- start, reload, end of a time

    def follow(self, changed: Callable[[Composition], None]) -> None:
        """Call this with each composition that comes to hold, from now on."""
        self._followers.append(changed)

    def load(self, *, is_unsafe: bool = False) -> None:
        """Read everything and let it hold, before the daemon serves. Raises StartError.

        `is_unsafe`: others than the daemon may have written what the state directory has, which is not believed.
        """
        places = places_of(self._settings)
        if len({path for path, _ in places}) > MAX_FILES:
            raise StartError(f"allow and deny {TOO_MANY_FILES}")
        if self.own.path and (is_unsafe or not _is_directory(self.own.path.parent)):
            self.own.path = None
        try:
            self._files = {place: read(*place, as_we_are=True) for place in places}
            for where, reason in self.own.load():
                self._log.warning("own-list", where=where, reason=reason)
            self._hold(self._composing()())
        except (ListError, ValueError) as error:
            raise StartError(str(error)) from None
        except MemoryError:
            raise StartError("there is not enough memory for the lists") from None

    def reload(self, settings: Settings) -> None:
        """Read again soon; all that changes holds at once."""
        self._settings = settings
        if self._asked:
            return
        if not (places_of(settings) or self._files or settings.allow or settings.deny or len(self.composition)):
            self.reread = ()
        else:
            self._asked = True
            self._reloading = self._begin(self._reload())

    async def settled(self) -> tuple[Reread, ...]:
        """What became of each file, once the reload that was asked for last has ended."""
        if self._reloading is not None:
            await asyncio.wait([self._reloading])
        return self.reread

    async def trust(self, sources: Sequence[Source]) -> None:
        """Let these networks of trusted senders hold in place of those before."""
        self.trusted = sources
        async with self._busy:
            await self._compose()

    def tick(self) -> None:
        """Let networks go whose time is over."""
        if self.own.due():
            self._begin(self._expired())
        elif (self._said_unkept or self._file.appended) and not self._busy.locked():
            self._ticks += 1
            # The disk may have room again; and what is left of a time is written from time to time.
            if self._ticks % AGAIN_TICKS == 0:
                self._begin(self._keep())

    def close(self) -> None:
        """Leave out what is under way; what was answered has been written."""
        for task in self._tasks:
            task.cancel()

    # ---- by hand

    async def add(self, networks: Iterable[tuple[str, Network, str | None, int | None]]) -> Added:
        """Add (verdict, network, note, seconds) by hand; a known one is renewed, never shortened. They hold then."""
        keys, known, left_out = self.own.add_all(networks)
        return Added(len(keys) - known, known, left_out, await self._changed(keys))

    async def add_network(
        self, verdict: str, network: Network, note: str | None = None, seconds: int | None = None) -> Added:
        """Add one."""
        return await self.add([(verdict, network, note, seconds)])

    async def remove_network(self, verdict: str, network: Network) -> bool:
        """Remove what was added by hand, never what a file or the configuration has. Whether it was there."""
        removed = self.own.remove(verdict, network)
        if removed:
            await self._changed()
        return removed

    async def flush(self) -> int:
        """Remove all that was added by hand; how many networks."""
        count = len(self.own.networks)
        if count:
            self.own.networks.clear()
            await self._changed()
        return count

    # ---- questions

    def find(self, address: bytes) -> Match | None:
        """The network that decides about an address of 16 bytes; the very table of the packet path says it."""
        return self.composition.find(address)

    def entries(self) -> Iterator[Match]:
        """What was added by hand, at this moment; whoever asks for more than some takes a break between them."""
        own = self.own.snapshot()
        for (verdict, network), one in own.networks.items():
            yield Match(verdict, network, WORDS[verdict][0], 0, one.note, one.until(own.now_us, own.now_s))

    def get(self, verdict: str, network: Network) -> Own | None:
        """What was added by hand of just that network."""
        return self.own.networks.get((verdict, network))

    def warnings(self) -> list[str]:
        """That files could not be read again, without their names and content: strangers may ask for metrics."""
        return ["lists could not be read again, and what they had holds; mxallowctl status names them"
                ] if self.faults else []

    def count(self, verdict: str) -> int:
        """How many networks a list has. Hosts of trusted senders with first-mx-only are both allowed and direct."""
        return sum(len(source) for source in self.composition.sources
                   if source.verdict == verdict or (verdict == DIRECT and source.is_direct))

    # ----

    def _composing(self, pause: Callable[[], None] | None = None) -> Callable[[], Composition]:
        """What makes a composition of all that is there now; it may be called in another thread."""
        own, settings, files = self.own.snapshot(), self._settings, [*self._files.values(), *self.trusted]

        def compose() -> Composition:
            known, configured = self._configured
            if known is not settings:
                given = _given(settings)
                configured = [_source(given, verdict) for verdict in given]
                self._configured = settings, configured
            return Composition.of([*own.sources(pause), *configured, *files])

        return compose

    def _hold(self, composition: Composition) -> None:
        self.composition = composition
        self._publish(composition)
        for changed in self._followers:
            changed(composition)

    def _begin(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        # The loop keeps only a weak reference.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _reload(self) -> None:
        async with self._busy:
            # A SIGHUP from here on may be about what is being read.
            self._asked = False
            places = list(dict.fromkeys(places_of(self._settings)))
            self.faults, self.reread = {}, ()
            if len({path for path, _ in places}) > MAX_FILES:
                self._fail_all(TOO_MANY_FILES)
            else:
                await self._read_again(places)
        self._log.info("lists", None, allowed=self.count(ALLOW), denied=self.count(DENY))

    async def _read_again(self, places: list[Place]) -> None:
        try:
            read_now = await beside(lambda: _read_all(places))
        except StartError as error:
            self._fail_all(str(error))
            return
        files: dict[Place, Source] = {}
        failed: dict[Place, Fault] = {}
        for place, found in zip(places, read_now, strict=True):
            if isinstance(found, Source):
                files[place] = found
                continue
            for fault in found:
                self._log.error("list-failed", where=fault.where, reason=fault.reason)
            failed[place] = found[0]
            self.faults[str(place[0])] = f"{found[0].where}: {found[0].reason}"
            if place in self._files:
                files[place] = self._files[place]
        before, self._files = self._files, files
        if not await self._compose():
            self._files = before
        # One that is not named any more has been read as empty.
        self.reread = tuple(
            _reread(place, before.get(place), self._files.get(place), failed.get(place))
            for place in dict.fromkeys([*places, *before]))

    def _fail_all(self, reason: str) -> None:
        """No list can change, of whatever file."""
        self._log.error("list-failed", where=ALL_LISTS, reason=reason)
        self.faults[ALL_LISTS] = f"{ALL_LISTS}: {reason}"

    async def _compose(self) -> bool:
        try:
            composition = await beside(self._composing(breathe))
        except (ValueError, MemoryError, StartError) as error:
            self._fail_all(str(error) or "there is not enough memory")
            return False
        self.faults.pop(ALL_LISTS, None)
        self._hold(composition)
        return True

    def _looking(self) -> Callable[[], tuple[list[Key], int]]:
        mine = self.own.snapshot()
        return lambda: mine.over(breathe)

    async def _keep(self) -> None:
        async with self._busy:
            await self._write(None)

    async def _expired(self) -> None:
        over, next_us = await beside(self._looking())
        self.own.wait_for(next_us)
        while over:
            self.own.drop(over[-SLICE:])
            # Freed here, not all at once.
            del over[-SLICE:]
            await asyncio.sleep(0)
        await self._changed()

    async def _changed(self, added: list[Key] | None = None) -> str:
        """Let what is there by hand hold, and write it; why it is not kept, empty where it is.

        `added` is all that has changed; None: it may be anything.
        """
        async with self._busy:
            await self._compose()
            return await self._write(added)

    async def _write(self, added: list[Key] | None) -> str:
        path = self.own.path
        if path is None:
            return "there is no state directory"
        try:
            await beside(self._file.writing(self.own, path, added, breathe))
        except OSError as error:
            reason = f"{path}: {error.strerror}"
            if reason != self._said_unkept:
                self._log.warning("own-list", where=path, reason=error.strerror)
            self._said_unkept = reason
            return reason
        self._said_unkept = ""
        return ""


def _reread(place: Place, before: Source | None, now: Source | None, fault: Fault | None) -> Reread:
    def content(source: Source | None) -> object:
        return (source.records, list(source.notes)) if source else None

    return Reread(
        place[1], str(place[0]), len(now) if now else 0, None if before is None else len(before),
        content(before) != content(now), f"{fault.where}: {fault.reason}" if fault else "",
        fault is not None and fault.restart)


def _given(settings: Settings) -> dict[str, Sequence[Network | Path]]:
    return {ALLOW: settings.allow, DENY: settings.deny}


def _source(given: Mapping[str, Sequence[Network | Path]], verdict: str) -> Source:
    """The networks that stand in the configuration itself."""
    return Source(CONFIGURATION, verdict, b"".join(
        record(one, verdict) for one in given[verdict] if not isinstance(one, Path)))


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # This user may not even look: nothing can be kept there.
        return False


def places_of(settings: Settings) -> list[Place]:
    """The list files of these settings, with the list that each is of."""
    return [(value, verdict) for verdict, values in ((ALLOW, settings.allow), (DENY, settings.deny))
            for value in values if isinstance(value, Path)]


def list_files(settings: Settings) -> list[Path]:
    """The list files of these settings, each once; no more than the daemon takes."""
    trust = [settings.trust] if settings.trust else []
    return list(dict.fromkeys([*trust, *(path for path, _ in places_of(settings))]))[:MAX_FILES + len(trust)]


def problems(settings: Settings) -> list[Fault]:
    """What is wrong with the list files, for --check."""
    return [fault for found in _read_all(places_of(settings), gently=False) if not isinstance(found, Source)
            for fault in found]


def _read_all(places: list[Place], *, gently: bool = True) -> list[Source | list[Fault]]:
    found: list[Source | list[Fault]] = []
    for place in places:
        try:
            found.append(read(*place, gently=gently))
        except ListError as error:
            found.append(error.faults)
        except MemoryError:
            found.append([Fault(str(place[0]), "there is not enough memory for it")])
    return found
