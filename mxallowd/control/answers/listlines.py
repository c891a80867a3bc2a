"""GET /v1/lists/networks: every network of the lists with its line, its note and its hits, as a stream.

A million of them are looked at in less than a second, of which no turn of the main loop takes more than some
milliseconds. It tells the lists as they were when it was asked.
"""
import asyncio
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from mxallowd.control.answers.bodies import bad, host_of, network_of, no_parameters
from mxallowd.control.answers.hits import HitsShown
from mxallowd.control.answers.listing import line
from mxallowd.control.answers.networks import VERDICTS, shown
from mxallowd.control.exchange import NDJSON, Request, Response, Route
from mxallowd.engine.events import address_text
from mxallowd.lists.composition import DIRECT, Composition, Network, Source, ends_of
from mxallowd.process.turns import Turns
from mxallowd.provenance import MAX_TEXT
from mxallowd.text import quoted

LINES, MOST_LINES = 1_000, 1_000_000
MAX_SOURCE = 4_200  # characters: the longest path, and a number
# Networks between two looks at the clock: by their addresses, without the interpreter, and by their text.
SLICE, PIECE, STEP = 1 << 17, 256, 100


class Wanted(NamedTuple):
    """Which networks are asked for; None: all are."""

    verdict: str | None
    source: str | None
    network: Network | None
    note: str | None  # stands in the note, as casefold() has it

    def takes_source(self, source: Source) -> bool:
        """Whether any network of a source can be one of them."""
        verdict = self.verdict is None or source.verdict == self.verdict or (
            self.verdict == DIRECT and source.is_direct)
        return verdict and (self.note is None or bool(source.notes)) and (
            self.source is None or self.source in source.name or self.source.startswith(f"{source.name}:"))

    def takes(self, source: Source, row: int) -> bool:
        """Whether the network in that row of such a source is one; its addresses were looked at before."""
        if self.source is not None and self.source not in source.name and (
                not source.lines or self.source != f"{source.name}:{source.lines[row]}"):
            return False
        return self.note is None or self.note in (source.notes[row] or "").casefold()


class ListLines:
    """Tells them."""

    def __init__(self, composition: Callable[[], Composition], hits: HitsShown) -> None:
        """`composition` has the lists in force."""
        self._composition = composition
        self._hits = hits

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("GET", "/v1/lists/networks", self._list)]

    async def _list(self, request: Request) -> Response:
        query = dict(request.query)
        no_parameters(request, (*Wanted._fields, "limit"))
        verdict = query.get("verdict")
        if verdict is not None and verdict not in VERDICTS:
            raise bad(f"verdict {quoted(verdict)} is none of {', '.join(VERDICTS)}")
        source, note = query.get("source"), query.get("note")
        if source is not None and len(source) > MAX_SOURCE:
            raise bad(f"source {quoted(source)} has more than {MAX_SOURCE} characters, and no source has")
        if note is not None and len(note) > MAX_TEXT:
            raise bad(f"note {quoted(note)} has more than {MAX_TEXT} characters, and no note has")
        wanted = Wanted(verdict, source, _network_of(query["network"]) if "network" in query else None,
                        None if note is None else note.casefold())
        text = query.get("limit", str(LINES))
        if not text.isascii() or not text.isdigit() or len(text) > 7 or not 1 <= int(text) <= MOST_LINES:
            raise bad(f"limit {quoted(text)} is not a number from 1 to {MOST_LINES}")
        return Response(pieces=self._pieces(wanted, int(text)), content_type=NDJSON)

    async def _pieces(self, wanted: Wanted, limit: int) -> AsyncIterator[bytes]:
        composition = self._composition()
        hits = await self._hits.of_rules(composition)
        lines: list[bytes] = []
        async for number in numbers(composition, wanted):
            match = composition.rule(number)
            source, _ = composition.place(number)
            lines.append(line({**shown(match), "direct": source.is_direct,
                               **self._hits.shown(match, hits.get(number))}))
            limit -= 1
            if len(lines) == STEP or not limit:
                yield b"".join(lines)
                lines.clear()
                await asyncio.sleep(0)
            if not limit:
                return
        if lines:
            yield b"".join(lines)


async def numbers(composition: Composition, wanted: Wanted) -> AsyncIterator[int]:
    """The numbers of the rules that are wanted, in the order of their sources."""
    if wanted.network is not None:
        async for some in _overlapping(composition, wanted.network):
            for number in some:
                source, row = composition.place(number)
                if wanted.takes_source(source) and wanted.takes(source, row):
                    yield number
        return
    for first, source in composition.by_source():
        if not wanted.takes_source(source):
            continue
        turns = Turns()
        for row in range(len(source)):
            if wanted.takes(source, row):
                yield first + row
            if row % PIECE == 0:
                await turns.give()


async def _overlapping(composition: Composition, network: Network) -> AsyncIterator[list[int]]:
    first, last = ends_of(network)
    turns, start = Turns(), -1
    while start:
        found, start = composition.networks.overlapping_from(first, last, max(start, 0), SLICE, PIECE)
        yield found
        await turns.give()


def _network_of(text: str) -> Network:
    """A network or an address. Raises RequestError."""
    return network_of(text if "/" in text else address_text(host_of(text)))
