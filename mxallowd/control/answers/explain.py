"""GET /v1/explain/{what}: what becomes of a host, a name or a network, why, and what to do.

It asks the tables that decide: the compiled decision (_foresight), the lists as the packet path has them, and the
firewall's sets through their mirrors. Nothing is changed by a question. A name is resolved by the daemon's own
resolver, for RESOLVE_S at most; MOST_ADDRESSES of it are explained, of a network MOST_SHOWN hosts are named.
"""
import asyncio
import encodings.idna
import encodings.punycode  # noqa: F401  # both now: later the daemon's user may be unable to read them
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mxallowd._foresight import Foresight
from mxallowd.control.answers.bodies import bad, host_of, network_of, no_parameters
from mxallowd.control.answers.busiest import busiest_of
from mxallowd.control.answers.judging import (
    IN_A_DRY_RUN,
    attempts_s,
    ended,
    listed,
    no_sender,
    of_network,
    rehearsed,
    table,
    together,
    unheard,
    what_to_do,
    why,
)
from mxallowd.control.answers.listing import NOTES, bounds, shown
from mxallowd.control.answers.patience import of_host
from mxallowd.control.answers.sharing import Changes, Shared
from mxallowd.control.answers.since import Since
from mxallowd.control.answers.ways import Kernel, Meets, meets
from mxallowd.control.exchange import Request, RequestError, Response, Route, timestamp
from mxallowd.engine._patience import Patience
from mxallowd.engine._refused import STEP_US, Refused
from mxallowd.engine._table import ORIGINS
from mxallowd.engine.events import MAPPED, address_text, packed
from mxallowd.history.hosts import Happening, Hosts
from mxallowd.lists.composition import DENY, Composition
from mxallowd.mirrors import TargetError
from mxallowd.process.turns import Turns
from mxallowd.settings import Settings
from mxallowd.settings.values import Network
from mxallowd.sinks.bucket import Buckets
from mxallowd.text import quoted
from mxallowd.whitelist import Whitelist

MOST_ADDRESSES, MOST_SHOWN = 16, 20
RESOLVE_S, KERNEL_S = 5.0, 2.0
NAMES_PER_S, NAMES_AT_ONCE, MOST_ASKERS = 2, 10, 64  # of each user
_NAME = re.compile(r"(?=.{1,253}\.?$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_-]{1,63})*\.?")

# What an outcome of the decision means; the verdict is drop for these two alone.
DROPS = ("real-refused", "real-denied")
REASONS = {
    "fake-new": "it is whitelisted by this contact, and the fake server rejects the connection",
    "fake-known": "it is whitelisted already, and the fake server rejects the connection",
    "fake-no-host": "no remote host has this address, so it is not whitelisted",
    "fake-denied": "a list denies it, so it is not whitelisted by this contact",
    "real-first": "it is whitelisted, and comes to the real server for the first time",
    "real-again": "it is whitelisted, and was at the real server before",
    "real-allowed": "a list allows it",
    "real-untold": "nobody is refused at this moment, since contacts may have passed unseen or are being restored",
    "real-patient": "it is not whitelisted, and was refused as often as --patience asks for",
    "real-network": "it is not whitelisted; a contact of another host let in its network",
    "real-refused": "it is not whitelisted: it has not contacted the fake server within the last whitelist-time",
    "real-denied": "a list denies it, whatever else is true",
    "other": "it is this host itself, or the destination is no server of the configuration",
}


NOT_LED = "; it is direct, but the rules do not lead it (mxallowctl doctor)"
LED = "; but it is led to the real server where the ruleset does so, and is no contact then"


class KernelCopy(Protocol):
    """A mirror of a table of the firewall."""

    @property
    def name(self) -> str:
        """What the operator called it."""

    async def sets_of(self, host: bytes) -> dict[str, bool]:
        """Its sets, and whether each holds the host. Raises TargetError."""


@dataclass(frozen=True)
class Sources:
    """What is asked."""

    settings: Callable[[], Settings]
    whitelist: Whitelist
    refused: Refused
    foresights: Sequence[Foresight]  # of all paths
    lists: Callable[[], Composition]
    history: Hosts
    mirrors: Sequence[KernelCopy]
    addresses: Callable[[str], Awaitable[list[bytes]]] | None = None  # of a name; None: no name server is asked
    patience: Callable[[], Patience | None] = lambda: None  # it may come by a reload
    # Of a host, the network that a contact has let in, and until when (the packet path's clock).
    network: Callable[[bytes], tuple[str, int] | None] = lambda host: None
    not_led: Callable[[bytes], bool] = lambda host: False  # whether it is direct, and no rule leads it
    fleet: Callable[[], Mapping[str, object] | None] = lambda: None  # its status; None: there is none
    # Which gateway has removed a host, and when (1970).
    removed: Callable[[bytes], tuple[str, float] | None] = lambda host: None


class Explain:
    """Explains."""

    def __init__(self, sources: Sources, changes: Changes) -> None:
        self._sources = sources
        self._since = Since(sources.history, lambda: sources.settings().whitelist_time)
        self._networks = Shared(self._network, changes)
        self._askers: Buckets[int] = Buckets(NAMES_PER_S, NAMES_AT_ONCE, MOST_ASKERS)  # by user

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("GET", "/v1/explain/{what:path}", self._explain)]

    async def _explain(self, request: Request) -> Response:
        no_parameters(request)
        what = request.parameters["what"]
        if "/" in what:
            network = network_of(what)
            if network.prefixlen < network.max_prefixlen:
                return Response(await self._networks.get(network))
            what = str(network.network_address)
        if ":" in what or re.fullmatch(r"[0-9.]+", what):
            return Response(await self._address(host_of(what)))
        name = _name_of(what)
        if not self._may_ask(request.user):
            raise RequestError(429, "too-many", f"more than {NAMES_PER_S} names a second: ask for addresses, or later")
        return Response(await self._name(name))

    def _may_ask(self, user: int) -> bool:
        """Whether this user may have one more name asked about: the name servers of others have to answer."""
        return self._askers.of(user).take()

    # ---- one address

    async def _address(self, host: bytes) -> dict[str, object]:
        sources = self._sources
        now_us, now_s = sources.whitelist.now_us(), time.time()
        entry = sources.whitelist.entry(host)
        match = sources.lists().find(host)
        tables = [(mirror.name, await self._asked(mirror, host)) for mirror in sources.mirrors]
        settings = sources.settings()
        # In a dry run with a queue the kernel gets no network that is denied.
        denies = not (settings.dry_run and settings.queue_num)
        kernel = [table(name, one, entry, match, denies=denies) for name, one in tables]
        merged = together([one for _, one in tables])
        following = self._next(host, merged, now_us)
        real = [one["verdict"] for one in following if one["role"] == "real"]
        strange = no_sender(host, [packed(str(one)) for one in (
            *settings.fake_mailserver, *settings.real_mailserver)])
        gets_in = bool(real) and all(verdict == "accept" for verdict in real)
        exempt = next((name for name, one in tables if one.exempts()), None)
        fleet = sources.fleet()
        happened, wall = sources.history.find(host), now_s - now_us / 1_000_000
        let_in = sources.network(host)
        network = let_in and {"network": let_in[0], "until": timestamp(wall + let_in[1] / 1_000_000)}
        end = None if entry else ended(
            happened, settings.whitelist_time, now_us // 1_000_000, wall, sources.removed(host))
        return {
            "kind": "address", "address": address_text(host), "gets_in": gets_in,
            "entry": None if entry is None else shown(entry, now_us, now_s, self._since),
            "why": strange or rehearsed(why(entry, match, exempt, end, network), [
                str(one["outcome"]) for one in following if one["role"] == "real"] if settings.dry_run else []),
            "sender": strange is None, "network": network,
            "list": None if match is None else listed(match),
            "direct": None if (direct := sources.lists().find_direct(host)) is None else (
                listed(direct) | {"not_led": sources.not_led(host)}),
            "refused": self._refused(host, happened, wall),
            # A deny holds whatever its refusals come to.
            "patience": None if match is not None and match.verdict == DENY else of_host(
                sources.patience(), settings, host, now_us, now_s),
            "last": self._last(host, happened, wall, dry_run=settings.dry_run),
            "remembered_since": timestamp(wall + sources.history.since_s),
            "way": self._way(merged), "next": following, "kernel": kernel,
            "known": None not in real, "not_asked": self._not_asked(),
            "fleet": None if gets_in or strange or fleet is None else unheard(fleet),
            "do": [] if strange else what_to_do(
                address_text(host), match, gets_in=gets_in, has_server=bool(real), kernel=kernel,
                shared=fleet is not None)}

    def _last(self, host: bytes, happened: list[Happening], wall: float, *, dry_run: bool) -> list[dict[str, object]]:
        """What its last connections met. A refused host has one event a minute; its last attempt is known, too."""
        refused = self._sources.refused.find(host)
        last = max((one.time_s for one in happened if one.what in ("refused", "denied")), default=0)
        # Of one attempt the packet that was sent again is no other one.
        if refused is not None and refused.times > 1 and refused.last_us // 1_000_000 > last + STEP_US // 1_000_000:
            happened = sorted([*happened, Happening(
                refused.last_us // 1_000_000, "refused", refused.server, refused.times)], key=lambda one: one.time_s)
        names = IN_A_DRY_RUN if dry_run else {}
        return [{"time": timestamp(wall + one.time_s), "what": names.get(one.what, one.what),
                 "server": None if one.server is None else address_text(one.server), "times": one.times}
                for one in happened]

    def _not_asked(self) -> str | None:
        """What decides as well, and cannot be asked from here."""
        settings = self._sources.settings()
        if settings.nft_table is not None:
            return None
        rules = "pf.conf" if settings.pf_table else "the firewall's rules"
        return f"{rules} may exempt hosts before mxallowd is asked; that is not looked at here"

    def _refused(self, host: bytes, happened: Sequence[Happening], wall: float) -> dict[str, object] | None:
        found = self._sources.refused.find(host)
        if found is None:
            return None
        first, last = attempts_s(found.first_us, found.last_us, found.times, happened)
        return {"first": timestamp(wall + first), "last": timestamp(wall + last), "times": found.times,
                "server": None if found.server is None else address_text(found.server)}

    def _way(self, kernel: Kernel | None) -> str:
        settings = self._sources.settings()
        if settings.queue_num:
            return "b" if self._sources.mirrors else "a"
        if settings.pf_table:
            return "pf"
        # The sets that --nft-setup makes are of no ruleset.
        return "d" if settings.door or (kernel and kernel.at_door() and not settings.nft_setup) else "c"

    def _next(self, host: bytes, kernel: Kernel | None, now_us: int) -> list[dict[str, object]]:
        settings, way = self._sources.settings(), self._way(kernel)
        direct = self._sources.lists().find_direct(host) is not None
        four = host.startswith(MAPPED)
        following: list[dict[str, object]] = []
        for role, servers in (("fake", settings.fake_mailserver), ("real", settings.real_mailserver)):
            for server in map(packed, map(str, servers)):
                if server.startswith(MAPPED) != four:
                    continue
                outcomes = {one.foresee(host, server, now_us) for one in self._sources.foresights}
                # A path that lets everybody in at this moment is not the one to count on.
                outcome = next((one for one in sorted(outcomes) if one in DROPS), min(outcomes, default="other"))
                drops = outcome in DROPS
                ways: dict[str, Meets] = {"a": {
                    "verdict": "accept" if settings.dry_run or not drops else "drop", "by": "mxallowd",
                    "outcome": outcome, "reason": REASONS.get(outcome, outcome)
                    + ("; dry run: accepted all the same" if settings.dry_run and drops else "")
                    + ((NOT_LED if self._sources.not_led(host) else LED) if direct and role == "fake" else "")}}
                ways |= {name: meets(name, role, ways["a"], kernel, dry_run=settings.dry_run)
                         for name in ("b", "c", "d", "pf")}
                for one in ways.values():
                    if one["outcome"] == "fake-led" and self._sources.not_led(host):
                        one["reason"] = f"{one['reason']}{NOT_LED}"
                # Without a table of the firewall mxallowd alone can be asked.
                in_force = ways[way if kernel is not None else "a"]
                following.append({"server": address_text(server), "role": role, **in_force, "ways": ways})
        return following

    async def _asked(self, mirror: KernelCopy, host: bytes) -> Kernel:
        version, pf_table = 4 if host.startswith(MAPPED) else 6, self._sources.settings().pf_table
        try:
            return Kernel(await asyncio.wait_for(mirror.sets_of(host), KERNEL_S), version, pf_table)
        except (TargetError, TimeoutError) as error:
            return Kernel({}, version, pf_table, str(error) or "no answer in time")

    # ---- a name, a network

    async def _name(self, name: str) -> dict[str, object]:
        addresses, fault = await self._resolve(name)
        # Together, so that a table of the firewall that does not answer is waited for once.
        explained = await asyncio.gather(*(self._address(host) for host in addresses[:MOST_ADDRESSES]))
        noted, more_noted = await self._noted(name, set(addresses))
        return {"kind": "name", "name": name, "fault": fault, "addresses": explained,
                "left_out": max(0, len(addresses) - MOST_ADDRESSES), "noted": noted, "more_noted": more_noted,
                "gets_in": bool(explained) and all(one["gets_in"] for one in explained)}

    async def _noted(self, name: str, without: set[bytes]) -> tuple[list[dict[str, object]], bool]:
        """Entries that came in by this name, or whose note has it, beside its addresses of today."""
        whitelist = self._sources.whitelist
        found: list[dict[str, object]] = []
        turns = Turns()
        for number, one in enumerate(whitelist.provenance.texts(), 1):
            if one is None:
                await turns.pass_on()
                continue
            host, text = one
            if number % NOTES == 0:
                await turns.give()
            if name not in text.lower() or host in without:
                continue
            entry = whitelist.entry(host)
            if entry is None:
                continue
            if len(found) == MOST_SHOWN:
                return found, True
            found.append(shown(entry, whitelist.now_us(), time.time(), self._since))
        return found, False

    async def _resolve(self, name: str) -> tuple[list[bytes], str | None]:
        if self._sources.addresses is None:
            return [], "no name server is asked (no-rdns-whitelist): ask for an address"
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await self._sources.addresses(name)
        except TimeoutError:
            return [], (f"no answer within {RESOLVE_S:.0f} s: the name servers are silent, or the limits of questions "
                        "(dns-query-rate, dns-zone-rate) are reached")
        except Exception as error:  # noqa: BLE001  # the resolver's own errors; what it says is the answer
            return [], f"{error}"
        return found, None if found else "the name has no address"

    async def _network(self, network: Network) -> dict[str, object]:
        whitelist = self._sources.whitelist
        first, last = bounds(network)
        now_us, now_s = whitelist.now_us(), time.time()
        counts, used, proven = [0] * len(ORIGINS), 0, 0
        start, turns = -1, Turns()
        while start:
            of_origin, some_used, some_proven, start = whitelist.survey(max(start, 0), (first, last))
            counts = [known + more for known, more in zip(counts, of_origin, strict=True)]
            used, proven = used + some_used, proven + some_proven
            await turns.give()
        some: list[dict[str, object]] = []
        start = -1
        while start and len(some) < MOST_SHOWN:
            found, start = whitelist.chosen(max(start, 0), MOST_SHOWN - len(some), network=(first, last))
            some += [shown(entry, now_us, now_s, self._since) for host in found
                     if (entry := whitelist.entry(host)) is not None]
            await turns.give()
        origins = {name: count for name, count in zip(ORIGINS, counts, strict=True) if count}
        refused, busiest = await self._refused_in(first, last)
        lists = self._sources.lists().overlapping(network, MOST_SHOWN + 1)
        verdict, do = of_network(network, lists[:MOST_SHOWN], more=len(lists) > MOST_SHOWN)
        return {"kind": "network", "network": str(network), "entries": sum(counts), "origins": origins,
                "used": used, "proven": proven, "some": some, "refused": refused, "busiest": busiest,
                "lists": [listed(match) for match in lists[:MOST_SHOWN]], "more_lists": len(lists) > MOST_SHOWN,
                "verdict": verdict, "do": do}

    async def _refused_in(self, first: bytes, last: bytes) -> tuple[int, list[dict[str, object]]]:
        now_us, now_s = self._sources.whitelist.now_us(), time.time()
        count, best = await busiest_of(self._sources.refused, MOST_SHOWN, network=(first, last))
        return count, [
            {"address": address_text(one.host), "times": one.times,
             "last": timestamp(now_s - (now_us - one.last_us) / 1_000_000)} for one in best]


def _name_of(text: str) -> str:
    """A name as name servers have it, which one in other letters becomes (RFC 3490). Raises RequestError."""
    try:
        name = text if text.isascii() else text.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    if not _NAME.fullmatch(name):
        raise bad(f"{quoted(text)} is neither an address nor a network nor a name")
    return name.rstrip(".").lower()
