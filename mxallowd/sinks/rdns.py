"""The reverse DNS sink: a sender with several addresses under one name gets in from each of them.

After a host contacted the fake server, its name is looked up, and each other address of the name becomes a **child**. A
host that was refused is looked up as well. If its name is whitelisted now, it becomes a child, and its next SYN passes;
if not, members.py remembers it. waiting.py decides which host is looked up next.

A name counts only if its own addresses contain the host (forward-confirmed), since the owner of a PTR record may write
anything into it. No packet waits for anything here. Everything is bounded, and what exceeds a bound is counted.
"""
import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import zip_longest

from mxallowd.dns.hostnames import reverse_name, valid_names
from mxallowd.dns.resolver import AAAA, PTR, A, LookupFailed, Resolver
from mxallowd.engine.events import Event, Kind, packed
from mxallowd.metrics.counters import Part, names
from mxallowd.settings import Settings
from mxallowd.sinks.hostlog import HostLog
from mxallowd.sinks.members import Members
from mxallowd.sinks.waiting import Bounded, Waiting
from mxallowd.text import LONGEST_QUOTED
from mxallowd.whitelist import Whitelist

MAX_ADDRESSES = 32  # of one name
MAX_QUERIES = 256  # in flight
MAX_LOOKUPS = 128  # under way: one has up to eight queries in flight
MAX_KNOWN_NAMES = 65536


class RdnsSink:
    """Looks hosts up and admits what their names entail."""

    def __init__(
        self, settings: Settings, hostlog: HostLog, whitelist: Whitelist, resolver: Resolver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hostlog = hostlog
        self._whitelist = whitelist
        self._resolver = resolver
        self._counters = dict.fromkeys(names(Part.RDNS), 0)
        self._waiting = Waiting(settings.dns_rate, hostlog.stress, clock)
        self._active: dict[bytes, asyncio.Task[None]] = {}
        self._met: set[bytes] = set()  # of those under way, the ones that met the fake server
        self._queries = asyncio.Semaphore(MAX_QUERIES)
        self._names: Bounded[str, int] = Bounded(MAX_KNOWN_NAMES)  # whitelisted names and until when
        self._members = Members(clock)
        self.reload(settings)
        self._again: asyncio.TimerHandle | None = None
        self._closed = False

    # ---- what the main loop calls

    def handle(self, events: Sequence[Event]) -> None:
        """Queue the hosts of contacts and refusals."""
        for event in events:
            if event.source in self._active:
                if event.kind == Kind.WHITELISTED:
                    # Asked about as a refused host just now: the answer is taken as a contact's.
                    self._met.add(event.source)
            elif event.kind == Kind.WHITELISTED:
                self._waiting.queue_contact(event.source)
            elif event.kind == Kind.ACCEPTED:
                self._waiting.promote(event.source)
            elif event.kind == Kind.REFUSED:
                self._waiting.queue_refused(event.source)
        self._start()

    def tick(self) -> None:
        """What is due by time: for those who wait, and for the resolver."""
        self._waiting.tick()
        self._members.tick()
        # Stress mode may have ended.
        self._start()
        self._resolver.tick()

    def reload(self, settings: Settings) -> None:
        """Take over the settings that can change, and read the resolvers again."""
        self._lifetime_us = settings.whitelist_time * 1_000_000
        self._unconfirmed_too = settings.rdns_unconfirmed
        self._waiting.set_rate(settings.dns_rate)
        self._resolver.reload(settings.dns_server)

    def counters(self) -> dict[str, int]:
        """Its counters, since the start."""
        return self._counters | {"limited": self._waiting.limited}

    def fill(self) -> float:
        """How full the longest queue of hosts is, 1.0 being its bound."""
        return self._waiting.fill()

    def close(self) -> None:
        """End what is under way; nothing of it is lost that a restart would not ask again."""
        self._closed = True
        if self._again:
            self._again.cancel()
        for task in self._active.values():
            task.cancel()
        self._resolver.close()

    def _start(self) -> None:
        while len(self._active) < MAX_LOOKUPS and (found := self._waiting.take()):
            host, contact = found
            if contact:
                self._met.add(host)
            self._active[host] = asyncio.get_running_loop().create_task(self._look_up(host))
        if self._again is None and len(self._active) < MAX_LOOKUPS and self._waiting.has_next():
            # Only the rate holds them back.
            self._again = asyncio.get_running_loop().call_later(self._waiting.pause_s, self._go_on)

    def _go_on(self) -> None:
        self._again = None
        if not self._closed:
            self._start()

    # ---- one lookup

    async def _look_up(self, source: bytes) -> None:
        try:
            self._counters["looked-up"] += 1
            found = await self._names_of(source)
            if source in self._met:
                self._admit_family(source, found)
            else:
                self._admit_member(source, found)
        except LookupFailed as error:
            self._counters["timed-out" if error.timed_out else "lookup-failed"] += 1
            self._waiting.note_failure(source, contact=source in self._met)
        finally:
            self._active.pop(source, None)
            self._met.discard(source)
            if not self._closed:
                self._start()

    async def _ask(self, name: str, kind: int) -> list[str]:
        async with self._queries:
            return await self._resolver.ask(name, kind)

    async def _names_of(self, source: bytes) -> dict[str, set[bytes]]:
        """The host's names that count, with their addresses. Raises LookupFailed."""
        found: dict[str, set[bytes]] = {}
        failure: BaseException | None = None
        written = await self._ask(reverse_name(source), PTR)
        # Escapes make a name four times as long, and then syslog would cut the line.
        for name in valid_names(
                written, lambda text: self._hostlog.info("bad-name", source, name=text[:LONGEST_QUOTED])):
            answers = await asyncio.gather(self._ask(name, A), self._ask(name, AAAA), return_exceptions=True)
            failures = [answer for answer in answers if isinstance(answer, BaseException)]
            # One family is enough: many name servers fail for AAAA alone.
            lists = [answer for answer in answers if isinstance(answer, list)]
            # In turn, so that a long list of one family leaves room for the other.
            texts = [text for both in zip_longest(*lists) for text in both if text is not None]
            addresses = {packed(text) for text in texts[:MAX_ADDRESSES]}
            if source in {packed(text) for text in texts}:
                self._counters["confirmed"] += 1
                found[name] = addresses
            elif failures:
                failure = failures[0]
            else:
                self._counters["unconfirmed"] += 1
                self._hostlog.info("unconfirmed", source, name=name, addresses=len(texts))
                # Never for a refused host: anybody can write a PTR record that names a whitelisted host.
                if self._unconfirmed_too and source in self._met:
                    found[name] = addresses
        if failure and not found:
            raise failure
        return found

    def _admit_family(self, source: bytes, found: dict[str, set[bytes]]) -> None:
        """The host met the fake server: its clock starts anew, and all other addresses of its names come in."""
        if not found:
            return
        now_us = self._whitelist.now_us()
        until_us = now_us + self._lifetime_us
        # Restarted once: further contacts are no events while it is listed.
        if not self._whitelist.renew(source, until_us, now_us):
            return
        for name, addresses in found.items():
            self._names.note(name, until_us)
            for address in sorted(addresses - {source}):
                self._admit(address, name, source, until_us, now_us)
            for member in self._members.take(name):
                self._admit(member, name, None, until_us, now_us)

    def _admit_member(self, source: bytes, found: dict[str, set[bytes]]) -> None:
        """The host was refused: it comes in if one of its names is whitelisted now, or as soon as one is."""
        now_us = self._whitelist.now_us()
        for name in found:
            until_us = self._names.get(name, 0)
            if until_us > now_us:
                self._admit(source, name, None, until_us, now_us)
                return
        for name in found:
            self._members.note(name, source)

    def _admit(self, address: bytes, name: str, parent: bytes | None, until_us: int, now_us: int) -> None:
        if self._whitelist.admit(address, until_us, now_us):
            self._counters["children"] += 1
            of = {"of": parent} if parent else {}
            self._hostlog.info("child", address, name=name, **of, seconds=(until_us - now_us) // 1_000_000)
