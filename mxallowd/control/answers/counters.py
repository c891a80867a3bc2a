"""The counters, by the names of metrics/counters.py."""
from collections.abc import Awaitable, Callable, Mapping

from mxallowd.control.answers.bodies import no_parameters
from mxallowd.control.exchange import Request, Response, Route


class Counters:
    """Gives them."""

    def __init__(self, collect: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
        self._collect = collect

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("GET", "/v1/counters", self._show)]

    async def _show(self, request: Request) -> Response:
        no_parameters(request)
        return Response(dict(await self._collect()))
