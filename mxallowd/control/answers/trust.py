"""GET /v1/trust, and POST /v1/trust/refresh: the lines of trusted senders, and asking for their records now."""
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mxallowd.control.answers.bodies import bad, fields_of, no_parameters
from mxallowd.control.answers.hits import HitsShown
from mxallowd.control.exchange import Request, RequestError, Response, Route
from mxallowd.dns.hostnames import normal_name
from mxallowd.log import Log
from mxallowd.text import printable, quoted


class Trust(Protocol):
    """Trusted senders, as they are asked here."""

    def document(self) -> Mapping[str, Any]:
        """All that an operator may want to know."""

    def refresh(self, domain: str | None) -> int | None:
        """Ask for this domain now, or for all: how many were asked for; None: no line has that domain."""

    def rest_s(self, domain: str | None) -> int | None:
        """Seconds until one may be asked for again that refresh() left out, having asked just now; None: none was."""


class TrustAnswers:
    """The answers."""

    def __init__(self, trusted: Sequence[Trust], log: Log, hits: HitsShown) -> None:
        """One, or none where there is no --trust."""
        self._trusted = trusted
        self._log = log
        self._hits = hits

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("GET", "/v1/trust", self._show), Route("POST", "/v1/trust/refresh", self._refresh, changes=True)]

    def _one(self) -> Trust:
        if not self._trusted:
            raise RequestError(404, "no-trust", "there is no file of trusted senders: --trust names none")
        return self._trusted[0]

    async def _show(self, request: Request) -> Response:
        no_parameters(request)
        one = self._one()
        of_line = await self._hits.of_trusted()
        found = dict(one.document())
        return Response(found | {"lines": [line | of_line(line["line"]) for line in found["lines"]]})

    async def _refresh(self, request: Request) -> Response:
        no_parameters(request)
        body = fields_of({} if request.body is None else request.body, (), ("domain",))
        text = body.get("domain")
        if "domain" in body and not isinstance(text, str):
            raise bad(f"the domain {quoted(repr(text)[:200])} is no text")
        # What is no name at all stands in no line either.
        domain = None if text is None else normal_name(str(text)) or ""
        count = self._one().refresh(domain)
        if count is None:
            raise RequestError(404, "no-such-line", f"there is no line spf {printable(str(text))[:200]}")
        self._log.notice("trust-asked", None, **request.who, domain=domain or "all", asked=count)
        return Response({"asked": count, "again_seconds": self._one().rest_s(domain)})
