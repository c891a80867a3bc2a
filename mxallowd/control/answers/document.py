"""The document of the API (OpenAPI 3.1), which tests hold against the routes and against the running daemon."""
import json
from pathlib import Path

from mxallowd.control.answers.bodies import no_parameters
from mxallowd.control.exchange import Request, Response, Route

FILE = Path(__file__).parent.parent / "openapi.json"


class Document:
    """Gives it."""

    def __init__(self) -> None:
        # Once, at the start: a disk may be slow later.
        self._document: object = json.loads(FILE.read_text(encoding="utf-8"))

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("GET", "/v1/openapi.json", self._show)]

    async def _show(self, request: Request) -> Response:
        no_parameters(request)
        return Response(self._document)
