"""Trusted senders: what their file says becomes networks of the allow list, in the packet path and in kernel sets.

    network     as it stands there
    spf         by Refresh, from what was kept on disk until the first answer comes
    dnswl       hosts that were refused are asked for; who is listed is a network of one address for a while
    domain      hosts that were refused and whose confirmed reverse name is there or below, likewise

They hold from the packet after the one that was refused. Nothing in the packet's way waits for a name server. Networks
change at most once in PACE_S, and rest for REST times as long as that took. Bounds: MAX_HOSTS hosts, of which the one
that came in first goes first; MAX_TASKS questions at a time, and who finds no room is asked for when he is refused
again.
"""
import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import NamedTuple

from mxallowd.dns.limits import Limits
from mxallowd.dns.resolver import Resolver
from mxallowd.engine._networks import RECORD_SIZE
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import MAPPED, Event, Kind
from mxallowd.errors import StartError
from mxallowd.lists.beside import beside
from mxallowd.lists.composition import ALLOW, Source, record_of
from mxallowd.lists.files import ListError
from mxallowd.lists.lists import Lists
from mxallowd.log import Log
from mxallowd.mirrors.disk import blocks, trusted
from mxallowd.mirrors.disk.blocks import Clock
from mxallowd.mirrors.disk.directory import Directory
from mxallowd.mirrors.disk.state import State
from mxallowd.settings import Settings
from mxallowd.sinks import Sink
from mxallowd.sinks.rdns import RdnsSink
from mxallowd.trust import lines
from mxallowd.trust.answers import Answer
from mxallowd.trust.asking import Asking
from mxallowd.trust.dnswl import Dnswl
from mxallowd.trust.flatten import flatten
from mxallowd.trust.lines import DNSWL, DOMAIN, NETWORK, TrustLine
from mxallowd.trust.refresh import Refresh

PACE_S = 1.0
REST = 20  # times as long as the last change took, until the next one
HOST_S = 86_400  # for which a host by dnswl or by its name is trusted
MAX_HOSTS = 16_384
MAX_TASKS = 64
NO_NAMES = "a domain line lets nobody in with no-rdns-whitelist"


class Host(NamedTuple):
    """A host that is let in by a list or its name."""

    line: TrustLine
    why: str
    until_s: int  # seconds since 1970


class Trusted:
    """A sink, which a file of trusted senders feeds."""

    def __init__(
        self, settings: Settings, lists: Lists, state: Callable[[], State | None], sinks: Sequence[Sink], log: Log,
    ) -> None:
        assert settings.trust is not None
        self._path = settings.trust
        self._lists = lists
        self._state = state
        self._log = log
        self._limits = Limits(settings.dns_zone_rate)
        self._resolver = Resolver(asyncio.get_running_loop(), settings.dns_server, log)
        self._asking = Asking(self._resolver, self._limits)
        self._refresh = Refresh(lambda domain: flatten(domain, self._asking.records), self._changed, log)
        self._lines: list[TrustLine] = []
        self._domains: dict[str, TrustLine] = {}
        self._dnswl = Dnswl((), self._asking.records, log)
        self._hosts: OrderedDict[bytes, Host] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked = 0  # hosts that are asked for now
        self._reading = asyncio.Lock()
        self._stale = self._unsaved = False
        self._publishing: asyncio.Task[None] | None = None
        self._published_s, self._pace_s = float("-inf"), PACE_S
        self._directory: Directory | None = None
        self._names = any(isinstance(sink, RdnsSink) for sink in sinks)
        self._moment = partial(_moment, blocks.boot_id())
        for sink in sinks:
            if isinstance(sink, RdnsSink):
                sink.trusts, sink.trust = self._is_trusted, self._named

    # ---- the start

    def open(self) -> None:
        """Read the file and what is kept, before the lists are laid out. Raises StartError."""
        try:
            found = lines.read(self._path, as_we_are=True)
        except ListError as error:
            raise StartError(str(error)) from None
        self._take(found, self._kept())
        self._lists.trusted = self._sources()()

    def _kept(self) -> dict[str, Answer]:
        state = self._state()
        try:
            self._directory = state.shared() if state else None
            if self._directory is None:
                return {}
            kept, damage = trusted.read(self._directory)
        except FileNotFoundError:
            return {}
        except OSError as error:
            kept, damage = {}, blocks.Damage(0, error.strerror or str(error))
        if damage and self._directory:
            self._log.warning("state-damaged", None, file=self._directory.path / trusted.NAME, bytes=damage.bytes,
                              reason=damage.reason)
        return kept

    def start(self) -> None:
        """Ask from now on, on the running loop."""
        self._begin(self._refresh.run())

    # ---- a sink

    def handle(self, events: Sequence[Event]) -> None:
        """Ask for hosts that were refused."""
        if not self._dnswl.zones:
            return
        for event in events:
            if event.kind == Kind.REFUSED and self._asked < MAX_TASKS:
                self._asked += 1
                self._begin(self._ask(event.source))

    def tick(self) -> None:
        """Let what has changed hold, and who is over go."""
        now_s = time.time()
        while self._hosts and next(iter(self._hosts.values())).until_s <= now_s:
            self._hosts.popitem(last=False)
            self._stale = True
        self._resolver.tick()
        self._publish_soon()

    def reload(self, settings: Settings) -> None:
        """Read the file again."""
        self._limits.set_rate(settings.dns_zone_rate)
        self._limits.forget()
        self._resolver.reload(settings.dns_server)
        self._begin(self._read_again())

    def counters(self) -> dict[str, int]:
        """None of its own: who gets in by a list counts there."""
        return {}

    def close(self) -> None:
        """Leave out what is under way; a restart asks again."""
        writing = self._publishing is not None and not self._publishing.done()
        for task in self._tasks:
            task.cancel()
        self._resolver.close()
        # A thread that writes still needs it; the end of the process closes it then.
        if self._directory and not writing:
            self._directory.close()

    # ---- who is trusted

    def _take(self, found: list[TrustLine], kept: dict[str, Answer] | None = None) -> None:
        before = [zone.line for zone in self._dnswl.zones]
        self._lines = found
        self._domains = {line.subject: line for line in found if line.word == DOMAIN}
        wanted = [line for line in found if line.word == DNSWL]
        if wanted != before:
            self._dnswl = Dnswl(wanted, self._asking.records, self._log)
        texts = {line.text: line for line in found if line.word in (DNSWL, DOMAIN)}
        self._hosts = OrderedDict((host, one._replace(line=texts[one.line.text])) for host, one in self._hosts.items()
                                  if one.line.text in texts)
        self._refresh.take(found, kept)
        if self._domains and not self._names:
            where = next(iter(self._domains.values())).where
            self._log.warning("trust-wrong", where=where, reason=NO_NAMES)

    def _is_trusted(self, name: str) -> bool:
        return self._domain_of(name) is not None

    def _domain_of(self, name: str) -> TrustLine | None:
        if not self._domains:
            return None
        labels = name.split(".")
        above = (".".join(labels[at:]) for at in range(len(labels)))
        return next((self._domains[one] for one in above if one in self._domains), None)

    def _named(self, host: bytes, name: str) -> None:
        if line := self._domain_of(name):
            self._let_in(host, line, name)

    async def _ask(self, host: bytes) -> None:
        try:
            found = await self._dnswl.find(host)
            if found:
                self._let_in(host, found.line, f"score {found.score}")
        finally:
            self._asked -= 1

    def _let_in(self, host: bytes, line: TrustLine, why: str) -> None:
        # Who is in already stays as long as if he came in now.
        known = self._hosts.pop(host, None)
        self._hosts[host] = Host(line, why, int(time.time()) + HOST_S)
        if len(self._hosts) > MAX_HOSTS:
            self._hosts.popitem(last=False)
        if known is None:
            self._stale = True
            self._publish_soon()

    # ---- what holds

    def _changed(self) -> None:
        self._stale = self._unsaved = True
        self._publish_soon()

    def _publish_soon(self) -> None:
        running = self._publishing is not None and not self._publishing.done()
        if (self._stale or self._unsaved) and not running and time.monotonic() - self._published_s >= self._pace_s:
            self._published_s = time.monotonic()
            self._publishing = self._begin(self._publish())

    async def _publish(self) -> None:
        if self._stale:
            self._stale = False
            started_s = time.monotonic()
            await self._lists.trust(await beside(self._sources()))
            # A million networks of lists are laid out anew each time: with them it is done less often.
            self._pace_s = max(PACE_S, REST * (time.monotonic() - started_s))
        if self._unsaved and self._directory:
            self._unsaved = False
            answers = self._refresh.answers()
            try:
                await beside(partial(trusted.write, self._directory, self._moment, answers))
            except (OSError, StartError, MemoryError) as error:
                # With the next answer it is tried again; until then what was kept before is.
                self._log.warning("trust-unkept", reason=getattr(error, "strerror", None) or error)

    def _sources(self) -> Callable[[], list[Source]]:
        """What makes the networks of what is known now; it may be called in another thread."""
        spf = [(known.line, known.answer) for known in self._refresh.known() if known.answer]
        return partial(made, str(self._path), self._lines, list(self._hosts.items()), spf)

    async def _read_again(self) -> None:
        # One after the other, so that the newest content holds in the end.
        async with self._reading:
            try:
                found = await beside(partial(lines.read, self._path))
            except ListError as error:
                for fault in error.faults:
                    self._log.error("list-failed", where=fault.where, reason=fault.reason)
                return
            except (StartError, MemoryError) as error:
                self._log.error("list-failed", where=self._path, reason=str(error) or "there is not enough memory")
                return
            self._take(found)
            self._changed()

    def _begin(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        # The loop keeps only a weak reference.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def made(
    file: str, every: list[TrustLine], hosts: list[tuple[bytes, Host]], spf: list[tuple[TrustLine, Answer]],
) -> list[Source]:
    """The sources. A line's number and words are what `explain` names; lines with the flag are sources of their own."""
    found = []
    for flag in (False, True):
        networks = [line for line in every if line.word == NETWORK and line.first_mx_only is flag]
        let_in = [(host, one) for host, one in hosts if one.line.first_mx_only is flag]
        found += [
            Source(file, ALLOW, b"".join(line.record for line in networks), [line.number for line in networks],
                   [_note(line) for line in networks], trusted=True, first_mx_only=flag),
            Source(file, ALLOW, b"".join(_record(host) for host, _ in let_in), [one.line.number for _, one in let_in],
                   [_note(one.line, one.why) for _, one in let_in], [one.until_s for _, one in let_in], trusted=True,
                   first_mx_only=flag)]
    return [*found, *(
        Source(file, ALLOW, answer.records, [line.number] * (len(answer.records) // RECORD_SIZE), _notes(line, answer),
               trusted=True, first_mx_only=line.first_mx_only)
        for line, answer in spf)]


def _notes(line: TrustLine, answer: Answer) -> list[str]:
    chains = answer.chains or ((len(answer.records) // RECORD_SIZE, ""),)
    return [note for count, text in chains for note in [_note(line, f"by {text}" if text else "")] * count]


def _record(host: bytes) -> bytes:
    return record_of(host[12:], 32, ALLOW) if host.startswith(MAPPED) else record_of(host, 128, ALLOW)


def _note(line: TrustLine, why: str = "") -> str:
    """What stands behind a network: the line, what let this host in or which record gave it, and the line's note."""
    return ", ".join(part for part in (line.text, why, line.note) if part)


def _moment(boot: bytes) -> Clock:
    return Clock(boot, boottime_us(), time.time_ns() // 1000)
