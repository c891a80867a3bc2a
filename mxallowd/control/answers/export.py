"""The export: all entries and all networks that were added by hand, as a stream that an import reads again."""
from collections.abc import AsyncIterator
from itertools import islice

from mxallowd.control.answers.bodies import no_parameters
from mxallowd.control.answers.listing import STEP, Wanted, line, lines
from mxallowd.control.answers.networks import OwnNetworks
from mxallowd.control.answers.since import Since
from mxallowd.control.exchange import NDJSON, Request, Response, Route, timestamp
from mxallowd.whitelist import Whitelist


class Export:
    """Streams what there is."""

    def __init__(self, whitelist: Whitelist, since: Since, networks: OwnNetworks | None) -> None:
        self._whitelist = whitelist
        self._since = since
        self._networks = networks

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("GET", "/v1/export", self._export)]

    async def _export(self, request: Request) -> Response:
        no_parameters(request)
        return Response(pieces=self._pieces(), content_type=NDJSON)

    async def _pieces(self) -> AsyncIterator[bytes]:
        count = 1 << 62
        async for piece in lines(
                self._whitelist, self._since, Wanted(), count, lambda entry: {"kind": "entry", **entry}):
            yield piece
        networks = iter(self._networks.listing() if self._networks is not None else ())
        while some := list(islice(networks, STEP)):
            yield b"".join(line({
                "kind": "network", "verdict": one.verdict, "network": str(one.network), "note": one.note or None,
                "until": None if one.until_s is None else timestamp(one.until_s)}) for one in some)
