"""The reverse DNS sink: a sender with several addresses under one name gets in from each of them.

After a host met the fake server its name is asked for, and each other address of the name becomes a **child**. A host
that was refused is asked about as well, except in stress mode: if its name is one that is whitelisted now, it becomes a
child, and its next SYN passes. Hosts that have reached the real server have their turn first, then the others that met
the fake one, then those that were refused.

A name counts only if its own addresses contain the host (forward-confirmed), since a PTR record is
whatever its owner writes. No packet waits for anything here, and all of it is bounded; what is over a bound is
counted.
"""
import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

from mxallowd.dns.hostnames import normal_name, reverse_name
from mxallowd.dns.resolver import AAAA, PTR, A, LookupFailed, Resolver
from mxallowd.engine.events import Event, Kind, packed
from mxallowd.settings import Settings
from mxallowd.sinks.hostlines import HostLines
from mxallowd.text import LONGEST_QUOTED
from mxallowd.whitelist import Whitelist

MAX_NAMES = 4  # of one address
MAX_ADDRESSES = 32  # of one name
MAX_QUERIES = 256  # in flight
MAX_LOOKUPS = 128  # under way: one has up to eight queries in flight
MAX_WAITING = 8192  # of each kind
CROWDED_S = 60.0  # from the last time that a contact was pushed out of its line
SPEED_KEPT = 0.7  # of what it was, from one second to the next
BURST_S = 4  # the burst is what the rate gives in so many seconds
FAILED_S = 60.0
MAX_FAILED = 65536
MAX_KNOWN_NAMES = 65536
RESOLV_CONF = Path("/etc/resolv.conf")

COUNTERS = ("looked-up", "confirmed", "unconfirmed", "children", "limited", "lookup-failed", "timed-out")


class Bounded(OrderedDict[bytes | str, int | float]):
    """A dict that forgets its oldest entry when it is full."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def note(self, key: bytes | str, value: int | float) -> bool:
        """Set a value as the newest. True: the oldest had to go."""
        self[key] = value
        self.move_to_end(key)
        if len(self) <= self._most:
            return False
        self.popitem(last=False)
        return True


    def forget(self, least: float) -> None:
        """Let go the oldest, as far as their values are not above this one."""
        while self and next(iter(self.values())) <= least:
            self.popitem(last=False)


NOBODY = Bounded(0)


class RdnsSink:
    """Looks hosts up and admits what their names entail."""

    def __init__(
        self, settings: Settings, lines: HostLines, whitelist: Whitelist, resolver: Resolver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lines = lines
        self._whitelist = whitelist
        self._resolver = resolver
        self._stress = lines.stress
        self._clock = clock
        self._counters = dict.fromkeys(COUNTERS, 0)
        # Waiting to be looked up, those of the first line first.
        self._proven = Bounded(MAX_WAITING)
        self._contacts = Bounded(MAX_WAITING)
        self._refused = Bounded(MAX_WAITING)
        self._crowded_until = float("-inf")
        self._speed = float(settings.dns_rate)  # lookups a second, as they have been of late while hosts waited
        self._looked_up_before = 0
        self._active: dict[bytes, asyncio.Task[None]] = {}
        self._met: set[bytes] = set()  # of those under way, the ones that met the fake server
        self._queries = asyncio.Semaphore(MAX_QUERIES)
        self._failed = Bounded(MAX_FAILED)  # refused hosts, and when their lookup failed
        self._failed_contacts = Bounded(MAX_FAILED)
        self._names = Bounded(MAX_KNOWN_NAMES)  # whitelisted names and until when
        self.reload(settings)
        self._tokens = float(self._rate * BURST_S)
        self._filled = clock()
        self._again: asyncio.TimerHandle | None = None
        self._resolv_conf = _changed_at(RESOLV_CONF)
        self._closed = False

    # ---- what the main loop calls

    def handle(self, events: Sequence[Event]) -> None:
        """Put the hosts of contacts and refusals in line."""
        for event in events:
            if event.kind == Kind.WHITELISTED:
                self._refused.pop(event.source, None)
                if event.source in self._active:
                    # Asked about as a refused host just now: the answer is taken as a contact's.
                    self._met.add(event.source)
                elif event.source not in self._proven and not self._has_failed(event.source, contact=True):
                    self._meet(event)
            elif event.kind == Kind.ACCEPTED:
                self._prefer(event.source)
            elif event.kind == Kind.REFUSED and event.source not in self._active \
                    and event.source not in self._contacts and event.source not in self._refused \
                    and not self._has_failed(event.source, contact=False):
                self._counters["limited"] += self._refused.note(event.source, 0)
        self._start()

    def _meet(self, event: Event) -> None:
        if self._contacts.note(event.source, event.until_us):
            self._counters["limited"] += 1
            self._crowded_until = self._clock() + CROWDED_S

    def _prefer(self, source: bytes) -> None:
        waits = self._contacts.pop(source, None) is not None
        # It may have been pushed out of the line by others: at the worst it is asked about once more.
        crowded = self._clock() < self._crowded_until
        if waits or (crowded and source not in self._active and not self._has_failed(source, contact=True)):
            self._counters["limited"] += self._proven.note(source, 0)

    def _pass_over(self) -> None:
        """In stress mode refused hosts go on to wait in line, and as many go as would be looked up without it.

        So the line is as long as the load makes it, and stress mode ends when the load could be borne.
        """
        before, self._looked_up_before = self._looked_up_before, self._counters["looked-up"]
        if not self._stress.on:
            if self._refused:
                self._speed = SPEED_KEPT * self._speed + (1 - SPEED_KEPT) * (self._looked_up_before - before)
            return
        for _ in range(min(len(self._refused), max(1, round(self._speed)))):
            self._refused.popitem(last=False)
            self._counters["limited"] += 1

    def tick(self) -> None:
        """Notice another resolv.conf."""
        self._pass_over()
        for failed in (self._failed, self._failed_contacts):
            failed.forget(self._clock() - FAILED_S)
        # Stress mode may have ended.
        self._start()
        changed_at = _changed_at(RESOLV_CONF)
        if changed_at != self._resolv_conf:
            self._resolv_conf = changed_at
            self._resolver.reload(self._servers)

    def reload(self, settings: Settings) -> None:
        """Take over the settings that can change, and read the resolvers again."""
        self._servers = settings.dns_server
        self._lifetime_us = settings.whitelist_time * 1_000_000
        self._unconfirmed_too = settings.rdns_unconfirmed
        self._rate = settings.dns_rate
        self._resolver.reload(settings.dns_server)

    def counters(self) -> dict[str, int]:
        """Its counters, since the start."""
        return dict(self._counters)

    def fill(self) -> float:
        """How full the longest line is, 1.0 being its bound."""
        return max(len(self._proven), len(self._contacts), len(self._refused)) / MAX_WAITING

    def close(self) -> None:
        """End what is under way; nothing of it is lost that a restart would not ask again."""
        self._closed = True
        if self._again:
            self._again.cancel()
        for task in self._active.values():
            task.cancel()
        self._resolver.close()

    # ---- the line

    def _start(self) -> None:
        now = self._clock()
        self._tokens = min(self._rate * BURST_S, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        while (line := self._next_line()) and len(self._active) < MAX_LOOKUPS and self._tokens >= 1:
            self._tokens -= 1
            contact = line is not self._refused
            source, _ = line.popitem(last=False)
            assert isinstance(source, bytes)
            if contact:
                self._met.add(source)
            self._active[source] = asyncio.get_running_loop().create_task(self._look_up(source))
        if line and self._again is None and len(self._active) < MAX_LOOKUPS:
            # Only the rate holds them back.
            self._again = asyncio.get_running_loop().call_later(max(0.01, 1 / self._rate), self._go_on)

    def _next_line(self) -> Bounded:
        return self._proven or self._contacts or (NOBODY if self._stress.on else self._refused)

    def _go_on(self) -> None:
        self._again = None
        if not self._closed:
            self._start()

    def _has_failed(self, source: bytes, *, contact: bool) -> bool:
        # A refused host's failure does not hold up the lookup of a contact, on which a whole family may depend.
        failed = self._failed_contacts if contact else self._failed
        failed_at = failed.get(source)
        if failed_at is not None and self._clock() - failed_at >= FAILED_S:
            del failed[source]
            failed_at = None
        return failed_at is not None

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
            (self._failed_contacts if source in self._met else self._failed).note(source, self._clock())
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
                written, lambda text: self._lines.info("bad-name", source, name=text[:LONGEST_QUOTED])):
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
                self._lines.info("unconfirmed", source, name=name, addresses=len(texts))
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

    def _admit_member(self, source: bytes, found: dict[str, set[bytes]]) -> None:
        """The host was refused: it comes in if one of its names is whitelisted now."""
        now_us = self._whitelist.now_us()
        for name in found:
            until_us = int(self._names.get(name, 0))
            if until_us > now_us:
                self._admit(source, name, None, until_us, now_us)
                return

    def _admit(self, address: bytes, name: str, parent: bytes | None, until_us: int, now_us: int) -> None:
        if self._whitelist.admit(address, until_us, now_us):
            self._counters["children"] += 1
            of = {"of": parent} if parent else {}
            self._lines.info("child", address, name=name, **of, seconds=(until_us - now_us) // 1_000_000)


def valid_names(written: Iterable[str], bad: Callable[[str], None]) -> list[str]:
    """The host names among the data of PTR records, each once, at most MAX_NAMES; what is none goes to `bad`."""
    names: list[str] = []
    for text in list(written)[: 2 * MAX_NAMES]:
        name = normal_name(text)
        if name is None:
            bad(text)
        elif name not in names:
            names.append(name)
    return names[:MAX_NAMES]


def _changed_at(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino
