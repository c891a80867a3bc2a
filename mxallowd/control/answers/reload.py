"""Reloading the configuration, as SIGHUP does, with an answer that says what came of it."""
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mxallowd.control.answers.bodies import bad, no_parameters
from mxallowd.control.exchange import Request, RequestError, Response, Route
from mxallowd.log import Log


@dataclass(frozen=True)
class Reread:
    """What became of a list file."""

    verdict: str
    source: str  # its path
    networks: int
    before: int | None  # None: it is new
    changed: bool
    fault: str | None


@dataclass(frozen=True)
class Outcome:
    """What came of a reload."""

    at_s: float  # seconds since 1970
    where: str = ""  # of the first problem
    reason: str = ""  # empty: it succeeded
    changed: tuple[str, ...] = ()  # options that hold now
    restart_needed: tuple[str, ...] = ()  # options whose change waits for a restart
    lists: tuple[Reread, ...] = ()
    warnings: tuple[str, ...] = ()  # WHERE: reason of what is passed over, as --check says it
    failed: tuple[str, ...] = ()  # FILE:LINE: reason of each list that keeps what it had


class Reload:
    """Asks for one."""

    def __init__(self, reload: Callable[[], Awaitable[Outcome | None]], log: Log) -> None:
        """`reload` gives None where the daemon is ending."""
        self._reload = reload
        self._log = log

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("POST", "/v1/reload", self._ask, changes=True)]

    async def _ask(self, request: Request) -> Response:
        no_parameters(request)
        if request.body not in (None, {}):
            raise bad("a reload takes no body")
        # Before it: what the log says of the reload itself stands behind.
        self._log.notice("reload-asked", None, **request.who)
        outcome = await self._reload()
        if outcome is None:
            raise RequestError(503, "ending", "the daemon is ending")
        if outcome.reason:
            raise RequestError(422, "reload-failed", f"{outcome.where}: {outcome.reason}")
        return Response({
            "changed": list(outcome.changed), "restart_needed": list(outcome.restart_needed),
            "lists": [{"list": one.verdict, "source": one.source, "networks": one.networks, "before": one.before,
                       "changed": one.changed, "fault": one.fault} for one in outcome.lists],
            "warnings": list(outcome.warnings), "failed": list(outcome.failed)})
