"""The networks that the SPF record of a domain lets send, for any sender and any host (RFC 7208).

check_host() asks of one address what the record says; this asks of all addresses at once. A set of addresses is open at
the start, once all of IPv4 and once all of IPv6, since the limits count by what one client makes them ask. Each
directive takes out what it matches, so the first match wins; what + took out is trusted.

Some directives cannot be told without the client: ptr, and what has a macro. They are named and left out. What
they might match stays open, but is remembered: what a later directive lets pass is trusted only if none that was left
out might have refused it before. So what comes out is less than the record lets send, never more.

Addresses that no host of the Internet has (RFC 6890) are never trusted for a record: it is written by somebody else,
and who has them here are our own hosts.

What is wrong in a record (permerror, 2.6.7) takes out what is still open then: a client whose address stood before it
passes all the same. What has no answer (temperror) does so, too, and is told apart, since it may go away.
"""
import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from itertools import islice
from typing import NamedTuple, TypeVar

from mxallowd.dns.resolver import AAAA, MX, TXT, A, LookupFailed, Records
from mxallowd.lists.composition import Network
from mxallowd.text import printable, shortened
from mxallowd.trust.answers import Chain
from mxallowd.trust.ranges import Range, Ranges, ends
from mxallowd.trust.record import Record, RecordError, Term, parse, select
from mxallowd.trust.undecided import State, added

Ask = Callable[[str, int], Awaitable[Records]]
Step = TypeVar("Step")

MAX_LOOKUPS = 10  # terms that ask (4.6.4)
MAX_VOID = 2  # questions without an answer that has data (4.6.4)
MAX_EXCHANGERS = 10  # of an mx directive (4.6.4)
# Ours: what all records together may cost. The largest known senders have some 300 networks.
MAX_RANGES = 20_000
LONGEST_CHAIN = 200  # characters
MAX_NAMED = 20  # of what was left out, and of what is wrong
TURN = 64  # ranges between two chances for the main loop: some 0.2 ms
# Of networks of one's own, of one link, of this host, multicast and reserved ones (RFC 6890).
SPECIAL = tuple(map(ipaddress.ip_network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
    "224.0.0.0/3", "::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8")))
LONGEST_LABEL, LONGEST_NAME = 63, 253


class Flattened(NamedTuple):
    """What a domain lets send."""

    networks: list[Network]  # disjoint; IPv4 first, then by what gave them
    ttl_s: int | None  # the least of all answers; None: none had any
    left_out: list[str]  # directives that depend on who asks, each with its domain
    wrong: list[str]  # what is wrong with the records, or has no answer
    unanswered: bool  # something had no answer, so the next time may give more
    chains: tuple[Chain, ...] = ()  # of the networks, in their order


class _Permanent(Exception):
    """permerror; the text says of which domain."""


class _Temporary(Exception):
    """temperror."""


async def _pieces(steps: Iterable[Step]) -> AsyncIterator[list[Step]]:
    """What comes of the steps, some at a time so that the main loop has its turn."""
    iterator = iter(steps)
    while some := list(islice(iterator, TURN)):
        yield some
        if len(some) == TURN:
            await asyncio.sleep(0)


async def _done(steps: Iterable[object]) -> None:
    async for _ in _pieces(steps):
        pass


class _Notes:
    """What is said of all records of a domain, each once and not without a bound."""

    def __init__(self) -> None:
        self.ttl_s: int | None = None
        self.left_out: dict[str, None] = {}
        self.wrong: dict[str, None] = {}
        self.unanswered = False
        self.special: set[str] = set()  # domains that name such addresses

    def note(self, notes: dict[str, None], text: str) -> None:
        if len(notes) < MAX_NAMED:
            # What has been quoted stays as it is.
            notes[text if text.isascii() and text.isprintable() else printable(text)] = None


class _Family:
    """One walk through the records: all addresses of IPv4, or all of IPv6."""

    def __init__(self, version: int, ask: Ask, notes: _Notes) -> None:
        self._version = version
        self._ask = ask
        self._notes = notes
        self._lookups = self._void = self._done = self._counted = 0
        self._path: list[str] = []  # domains that led to the record at hand
        self._given: dict[str, Ranges] = {}  # by that path: what its terms let pass, as far as it was open then

    async def passed(self, domain: str) -> list[tuple[str, Ranges]]:
        """The addresses that pass, by the path that led to them."""
        everything = Ranges([(0, (1 << (32 if self._version == 4 else 128)) - 1)])
        # A client with an IPv4-mapped address comes by IPv4 (5), so these are left out as well.
        for special in SPECIAL:
            if special.version == self._version:
                everything.cut(*ends(special))
        state = State(everything)
        await self._guarded(state, domain, self._domain(state, domain))
        found = []
        for path, given in self._given.items():
            # No other term can have let these addresses pass. But an include may have been meant for something else.
            passed = Ranges()
            async for some in self._slices(given, counted=False):
                for one in some:
                    await _done(added(passed, state.verdict.passed.parts(*one)))
            found.append((path, passed))
        return found

    async def _guarded(self, state: State, domain: str, steps: Awaitable[object]) -> None:
        try:
            await steps
            return
        except (_Permanent, RecordError) as error:
            self._notes.note(self._notes.wrong, f"{shortened(domain)} {error}")
        except _Temporary as error:
            self._notes.note(self._notes.wrong, str(error))
            self._notes.unanswered = True
        async for some in self._slices(state.open, counted=False):
            await _done(state.break_off(some))

    async def _domain(self, state: State, domain: str) -> None:
        text = await self._record_of(domain)
        if text is None:
            raise _Permanent("has no SPF record")
        steps = parse(text)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                record: Record = end.value
                break
            await asyncio.sleep(0)
        await self._record(state, domain, record)

    async def _record_of(self, domain: str) -> str | None:
        return select((await self._answer(domain, TXT, counts=False)).texts) if _can_be_asked(domain) else None

    async def _record(self, state: State, domain: str, record: Record) -> None:
        for term in record.terms:
            if not state.open:
                break
            await self._term(state, domain, term)
        if record.redirect is not None and state.open:
            self._count_lookup()
            if record.redirect_has_macro:
                self._leave_out(domain, f"redirect={record.redirect}")
                await self._may_match(state, state.open, passes=True)
            else:
                target = record.redirect.removesuffix(".").lower()
                await self._take(state, target, passes=True)
        # What is open has met no match, unless what was left out let it pass.
        async for some in self._slices(state.may_pass, counted=False):
            await _done(state.leave_unsure(some))

    async def _take(self, state: State, domain: str, *, passes: bool) -> None:
        """What the record of another domain says, of what is open."""
        inner = State(state.open.copy())
        self._path.append(domain)
        await self._guarded(inner, domain, self._domain(inner, domain))
        self._path.pop()
        verdict = inner.verdict
        await self._match(state, verdict.passed, passes=passes)
        await self._may_match(state, verdict.unsure, passes=passes)
        async for some in self._slices(verdict.broken):
            await _done(state.break_off(some))

    async def _term(self, state: State, domain: str, term: Term) -> None:
        passes = term.qualifier == "+"
        if term.network is not None:
            if term.network.version == self._version:
                if domain not in self._notes.special and _is_special(term.network):
                    self._notes.special.add(domain)
                    self._notes.note(
                        self._notes.wrong, f"{domain} names addresses of no host of the Internet: {term.text}")
                await self._give(state, [ends(term.network)], passes=passes)
            return
        if term.mechanism == "all":
            await self._give(state, state.open, passes=passes)
            return
        self._count_lookup()
        if term.has_macro or term.mechanism == "ptr":
            self._leave_out(domain, term.text)
            await self._may_match(state, state.open, passes=passes)
            return
        target = domain if term.domain is None else term.domain.lower()
        if term.mechanism == "include":
            await self._take(state, target, passes=passes)
        elif term.mechanism == "exists":
            # A whatever the client's family is (5.7).
            if _can_be_asked(target) and (await self._answer(target, A)).texts:
                await self._give(state, state.open, passes=passes)
        else:
            hosts = [target] if term.mechanism == "a" else await self._exchangers(target)
            # All are asked for before any is compared: whom an error meets must not hang on their order.
            found = []
            for host in hosts:
                found += await self._addresses(host, term)
            await self._give(state, found, passes=passes)

    async def _exchangers(self, domain: str) -> list[str]:
        names = (await self._answer(domain, MX)).texts if _can_be_asked(domain) else []
        if len(names) > MAX_EXCHANGERS:
            raise _Permanent(f"asks for more than {MAX_EXCHANGERS} mail exchangers, of {domain}")
        return [name.removesuffix(".").lower() for name in names]

    async def _addresses(self, host: str, term: Term) -> list[Range]:
        if not _can_be_asked(host):
            return []
        answer = await self._answer(host, A if self._version == 4 else AAAA)
        found = []
        for number, text in enumerate(answer.texts, 1):
            found.append(ends(_network(text, self._version, term)))
            if number % TURN == 0:
                await asyncio.sleep(0)
        return found

    async def _answer(self, name: str, kind: int, *, counts: bool = True) -> Records:
        try:
            records = await self._ask(name, kind)
        except LookupFailed as error:
            raise _Temporary(f"{name}: {error}") from None
        if records.ttl_s is not None:
            known = self._notes.ttl_s
            self._notes.ttl_s = records.ttl_s if known is None else min(known, records.ttl_s)
        if counts and not records.texts:
            self._void += 1
            if self._void > MAX_VOID:
                raise _Permanent(f"asks for more than {MAX_VOID} names without an answer, for IPv{self._version}")
        return records

    def _count_lookup(self) -> None:
        self._lookups += 1
        if self._lookups > MAX_LOOKUPS:
            raise _Permanent(f"asks more than {MAX_LOOKUPS} questions")

    async def _give(self, state: State, ranges: Iterable[Range], *, passes: bool) -> None:
        """A term matches these."""
        given = self._given.setdefault(_chain(self._path), Ranges())
        async for some in self._slices(ranges):
            async for parts in _pieces(state.match(some, passes=passes)):
                for one, sure in parts:
                    if sure:
                        given.add(*one)

    async def _match(self, state: State, ranges: Iterable[Range], *, passes: bool) -> None:
        async for some in self._slices(ranges):
            await _done(state.match(some, passes=passes))

    async def _may_match(self, state: State, ranges: Iterable[Range], *, passes: bool) -> None:
        async for some in self._slices(ranges):
            await _done(state.may_match(some, passes=passes))

    async def _slices(self, ranges: Iterable[Range], *, counted: bool = True) -> AsyncIterator[list[Range]]:
        """The ranges, some at a time so that the main loop has its turn."""
        every = list(ranges)
        for at in range(0, len(every), TURN):
            some = every[at : at + TURN]
            yield some
            before, self._done = self._done, self._done + len(some)
            self._counted += len(some) if counted else 0
            if counted and self._counted > MAX_RANGES:
                raise _Permanent(f"and what it includes have more than {MAX_RANGES} networks")
            if before // TURN != self._done // TURN:
                await asyncio.sleep(0)

    def _leave_out(self, domain: str, text: str) -> None:
        self._notes.note(self._notes.left_out, f"{domain}: {shortened(text)}")


def _is_special(network: Network) -> bool:
    return any(one.version == network.version and network.subnet_of(one) for one in SPECIAL)  # type: ignore[arg-type]


def _chain(path: list[str]) -> str:
    """For people: the last domain is the one that says it, so the end is what is kept of a long one."""
    text = ", ".join(path)
    return text if len(text) <= LONGEST_CHAIN else f"...{text[3 - LONGEST_CHAIN:]}"


def _network(text: str, version: int, term: Term) -> Network:
    kind: type[Network] = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
    return kind(f"{text}/{term.lengths[version == 6]}", strict=False)


def _can_be_asked(name: str) -> bool:
    """Whether a question can be made of it: an invalid name is one that does not exist (4.3, 4.8)."""
    labels = name.split(".")
    # A name from the wire may have any bytes; c-ares writes those that are not printable with a backslash.
    sound = name.isascii() and name.isprintable() and "\\" not in name
    return sound and len(name) <= LONGEST_NAME and all(0 < len(label) <= LONGEST_LABEL for label in labels)


async def flatten(domain: str, ask: Ask) -> Flattened:
    """The networks that may send for a domain. `ask` is Resolver.records or the like; each question goes to it once."""
    answers: dict[tuple[str, int], Records | LookupFailed] = {}

    async def once(name: str, kind: int) -> Records:
        if (name, kind) not in answers:
            try:
                answers[name, kind] = await ask(name, kind)
            except LookupFailed as error:
                answers[name, kind] = error
        found = answers[name, kind]
        if isinstance(found, LookupFailed):
            raise found
        return found

    notes = _Notes()
    networks: list[Network] = []
    chains = []
    for version in (4, 6):
        for path, passed in await _Family(version, once, notes).passed(domain):
            before = len(networks)
            for number, network in enumerate(passed.networks(version)):
                networks.append(network)
                if number % TURN == TURN - 1:
                    await asyncio.sleep(0)
            if len(networks) > before:
                chains.append((len(networks) - before, path))
    return Flattened(networks, notes.ttl_s, list(notes.left_out), list(notes.wrong), notes.unanswered, tuple(chains))
