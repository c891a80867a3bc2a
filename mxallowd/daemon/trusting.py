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
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from functools import partial

from mxallowd.daemon import trusttold
from mxallowd.daemon.trustsources import Host, made
from mxallowd.dns.limits import Limits
from mxallowd.dns.resolver import Resolver
from mxallowd.engine.clock import boottime_us
from mxallowd.engine.events import Event, Kind
from mxallowd.errors import StartError
from mxallowd.lists.beside import beside
from mxallowd.lists.composition import Source
from mxallowd.lists.files import ListError
from mxallowd.lists.lists import Lists, Reread
from mxallowd.log import Log
from mxallowd.mirrors.disk import blocks, trusted
from mxallowd.mirrors.disk.blocks import Clock
from mxallowd.mirrors.disk.directory import Directory
from mxallowd.mirrors.disk.state import State
from mxallowd.settings import Settings
from mxallowd.sinks import Sink
from mxallowd.sinks.bucket import Bucket
from mxallowd.sinks.rdns import RdnsSink
from mxallowd.text import printable
from mxallowd.trust import lines
from mxallowd.trust.answers import Answer
from mxallowd.trust.asking import SHARE, Asking, Budget
from mxallowd.trust.dnswl import Dnswl
from mxallowd.trust.flatten import flatten
from mxallowd.trust.lines import DNSWL, DOMAIN, TrustLine
from mxallowd.trust.refresh import Refresh

PACE_S = 1.0
REST = 20  # times as long as the last change took, until the next one
HOST_S = 86_400  # for which a host by dnswl or by its name is trusted
MAX_HOSTS = 16_384
MAX_TASKS = 64
BURST_S = 4  # of questions, as lookups of names have it
NO_NAMES = "a domain line lets nobody in with no-rdns-whitelist, or with rdns-max-children 0"
_ASKED: frozenset[int] = frozenset((Kind.REFUSED,))
_MET: frozenset[int] = frozenset((Kind.WHITELISTED, Kind.MET))


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
        self._rdns = next((sink for sink in sinks if isinstance(sink, RdnsSink)), None)
        self._settings = settings
        # What lookups of names may ask is what we may ask; where there are none, it is ours alone.
        self._limits = self._rdns.limits if self._rdns else Limits(settings.dns_zone_rate)
        self._share = Bucket(*_share(settings))
        self._resolver = Resolver(asyncio.get_running_loop(), settings.dns_server, log)
        self._asking = Asking(self._resolver, Budget(
            self._limits, self._rdns.queries if self._rdns else Bucket(*_share(settings)), self._share))
        self._refresh = Refresh(lambda domain: flatten(domain, self._asking.records), self._learned, log)
        self._lines: list[TrustLine] = []
        self._domains: dict[str, TrustLine] = {}
        self._dnswl = Dnswl((), self._asking.records, log)
        self._hosts: OrderedDict[bytes, Host] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked = 0  # hosts that are asked for now
        self._reading = asyncio.Lock()
        self._reread: asyncio.Task[None] | None = None
        self._read_s = 0.0  # when the file was read that holds
        self._fault = ""  # of the last reading
        self._outcome: Reread | None = None
        self._counts = dict.fromkeys(("dnswl-listed", "trust-pushed-out"), 0)
        self._stale = self._unsaved = False
        self._publishing: asyncio.Task[None] | None = None
        self._published_s, self._pace_s = float("-inf"), PACE_S
        self._directory: Directory | None = None
        self._gone = [0, 0]  # counts of lists that stand no more in the file: passed over, distrusted
        self._moment = partial(_moment, blocks.boot_id())
        self._shared: Callable[[bytes, str], object] = lambda host, name: None
        if self._rdns:
            self._rdns.trusts, self._rdns.trust = self._is_trusted, self._named

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
        """Ask for hosts that were refused, and where first-mx-only asks for it for those that met the fake server."""
        if not self._dnswl.zones:
            return
        kinds = _ASKED | _MET if any(zone.line.first_mx_only for zone in self._dnswl.zones) else _ASKED
        for event in events:
            if event.kind in kinds and self._asked < MAX_TASKS:
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
        """Read the file again, and ask again for what has failed: the name servers may be others."""
        self._settings = settings
        self._limits.set_rate(settings.dns_zone_rate)
        self._limits.forget()
        self._share.resize(*_share(settings))
        self._resolver.reload(settings.dns_server)
        self._reread = self._begin(self._read_again())

    def counters(self) -> dict[str, int]:
        """Its counters, since the start; who gets in counts as allowed by a list."""
        zones = self._dnswl.zones
        return {**self._refresh.counts, **self._counts, "trust-questions": self._asking.questions,
                "trust-networks": self._told().networks(), "trust-hosts": len(self._hosts),
                "trust-faults": len(self.faults()),
                "dnswl-passed-over": sum(zone.passed_over for zone in zones) + self._gone[0],
                "dnswl-distrusted": sum(zone.times_distrusted for zone in zones) + self._gone[1]}

    def close(self) -> None:
        """Leave out what is under way; a restart asks again."""
        writing = self._publishing is not None and not self._publishing.done()
        for task in self._tasks:
            task.cancel()
        self._resolver.close()
        # A thread that writes still needs it; the end of the process closes it then.
        if self._directory and not writing:
            self._directory.close()

    # ---- what is told of it

    def _told(self) -> trusttold.Told:
        return trusttold.Told(self._path, self._read_s, self._fault, self._lines, self._refresh, self._dnswl.zones,
                              self._hosts, self._asking.questions, "" if self._names() else NO_NAMES)

    def document(self) -> dict[str, object]:
        """All that an operator may want to know (GET /v1/trust)."""
        return self._told().document()

    def summary(self) -> dict[str, object]:
        """The same in few words, for the status."""
        return self._told().summary()

    def faults(self) -> list[str]:
        """What is wrong now, each with file and line."""
        return self._told().faults()

    def values(self) -> dict[str, dict[str, float]]:
        """Of metrics, by line."""
        return self._told().values()

    def refresh(self, domain: str | None) -> int | None:
        """Ask for this domain now, or for all: how many were asked for; None: no line has that domain."""
        if domain is not None and all(known.line.subject != domain for known in self._refresh.known()):
            return None
        count = self._refresh.ask_soon(domain)
        if count:
            # c-ares keeps answers for their time to live; who asks for this wants newer ones.
            self._resolver.reload(self._settings.dns_server)
        return count

    def rest_s(self, domain: str | None) -> int | None:
        """Seconds until one may be asked for again that refresh() left out, having asked just now; None: none was."""
        rest_s = self._refresh.rest_s(domain)
        return None if rest_s is None else max(1, math.ceil(rest_s))

    async def settled(self) -> Reread | None:
        """What became of the file, once the reload that was asked for last has ended."""
        if self._reread is not None:
            await asyncio.wait([self._reread])
        return self._outcome

    # ---- who is trusted

    def _take(self, found: list[TrustLine], kept: dict[str, Answer] | None = None) -> None:
        before, lines_before = [zone.line for zone in self._dnswl.zones], self._lines
        self._lines, self._read_s = found, time.time()
        self._domains = {line.subject: line for line in found if line.word == DOMAIN}
        wanted = [line for line in found if line.word == DNSWL]
        if wanted != before:
            self._gone[0] += sum(zone.passed_over for zone in self._dnswl.zones)
            self._gone[1] += sum(zone.times_distrusted for zone in self._dnswl.zones)
            self._dnswl = Dnswl(wanted, self._asking.records, self._log)
            for zone in self._dnswl.zones:
                zone.doubted = self._doubt
        gone = {line.text for line in lines_before if line.word in (DNSWL, DOMAIN)} - {
            line.text for line in found if line.word in (DNSWL, DOMAIN)}
        for host in [host for host, one in self._hosts.items() if one.key in gone] if gone else ():
            del self._hosts[host]
        self._refresh.take(found, kept)
        if self._domains and not self._names():
            where = next(iter(self._domains.values())).where
            self._log.warning("trust-wrong", where=where, reason=NO_NAMES)

    def _names(self) -> bool:
        return self._rdns is not None and self._settings.rdns_max_children > 0

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
            self._shared(host, name)

    def share(self, shared: Callable[[bytes, str], object]) -> None:
        """Tell this one of each host whose confirmed name lets it in, and of the name.

        Not of those that a list of the DNS lets in: once it is distrusted, they are out again at once.
        """
        self._shared = shared

    async def _ask(self, host: bytes) -> None:
        try:
            found = await self._dnswl.find(host)
            if found:
                self._counts["dnswl-listed"] += 1
                self._let_in(host, found.line, f"score {found.score}")
        finally:
            self._asked -= 1

    def _doubt(self, line: TrustLine, seconds: float) -> None:
        """A list was sound so long ago: whom it let in since then is out again."""
        since_s = time.time() - seconds + HOST_S - 1
        for host in [host for host, one in self._hosts.items() if one.key == line.text and one.until_s >= since_s]:
            del self._hosts[host]
            self._stale = True
        self._publish_soon()

    def _let_in(self, host: bytes, line: TrustLine, why: str) -> None:
        # Who is in already stays as long as if he came in now.
        known = self._hosts.pop(host, None)
        self._hosts[host] = Host(line.text, why, int(time.time()) + HOST_S)
        if len(self._hosts) > MAX_HOSTS:
            self._hosts.popitem(last=False)
            self._counts["trust-pushed-out"] += 1
        if known is None:
            self._stale = True
            self._publish_soon()

    # ---- what holds

    def _learned(self, another: bool) -> None:
        """An answer came. One that says what held before is kept as of now, and nothing is laid out anew."""
        self._unsaved = True
        self._stale |= another
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
                found = await beside(partial(lines.read, self._path, gently=True))
            except ListError as error:
                for fault in error.faults:
                    self._log.error("list-failed", where=fault.where, reason=fault.reason)
                self._end_reading(str(error), restart=error.faults[0].restart)
                return
            except (StartError, MemoryError) as error:
                reason = str(error) or "there is not enough memory"
                self._log.error("list-failed", where=self._path, reason=reason)
                self._end_reading(f"{printable(str(self._path))}: {reason}")
                return
            before, lines_before = self._told().networks(), self._lines
            self._take(found)
            changed = found != lines_before
            self._end_reading("", before, changed=changed)
            self._refresh.ask_soon(failed_only=True)
            self._learned(another=changed)

    def _end_reading(
        self, fault: str, before: int | None = None, *, changed: bool = False, restart: bool = False,
    ) -> None:
        self._fault = fault
        networks = self._told().networks()
        self._outcome = Reread("trust", str(self._path), networks, networks if before is None else before, changed,
                               fault, restart)

    def _begin(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        # The loop keeps only a weak reference.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _share(settings: Settings) -> tuple[float, float]:
    """Questions a second of trusted senders, and the burst."""
    per_s = settings.dns_query_rate / SHARE
    return per_s, max(1.0, per_s * BURST_S)


def _moment(boot: bytes) -> Clock:
    return Clock(boot, boottime_us(), time.time_ns() // 1000)
