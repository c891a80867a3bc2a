"""GET /metrics, /healthz and /readyz: what monitoring asks for, by the control socket and by --metrics; GET /v1/series.

/healthz: does it work as it is? A restart is the remedy where it says no. /readyz: are mails decided as they should be,
now? It says no during the start and the end, and while a table of the kernel is broken; waiting may be the remedy. Both
answer 200 or 503, and their body says why not. /v1/series has all three as one object, by the control socket alone.
"""
import time
from collections.abc import Callable, Mapping, Sequence

from mxallowd.control.answers.bodies import no_parameters
from mxallowd.control.exchange import JSON, Request, Response, Route, timestamp
from mxallowd.log.grammar import moment
from mxallowd.metrics.exposition import OPENMETRICS, TEXT, render, wants_openmetrics
from mxallowd.metrics.series import Histogram, Value

Reasons = Callable[[], Sequence[str]]
"""Why not; none: it is so."""
METRICS, HEALTH, READY = "metrics", "healthz", "readyz"


class Metrics:
    """The answers. None of them waits for anything, and each takes well under a millisecond."""

    def __init__(
        self, values: Callable[[], Mapping[str, Value]], unhealthy: Reasons, unready: Reasons,
        warnings: Reasons = lambda: (),
    ) -> None:
        """`values` are those of series.py, by name; what is unhealthy is not ready either.

        `warnings` are faults with which mail is still decided, by what held before: no reason to send it elsewhere.
        """
        self._values = values
        self._unhealthy = unhealthy
        self._unready = unready
        self._warnings = warnings

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("GET", f"/{METRICS}", self._get_metrics), Route("GET", f"/{HEALTH}", self._get_health),
                Route("GET", f"/{READY}", self._get_ready), Route("GET", "/v1/series", self._get_series)]

    def answer(self, what: str, accept: str = "") -> Response:
        """The answer to METRICS, HEALTH or READY. `accept` is the field of that name."""
        if what == METRICS:
            openmetrics = wants_openmetrics(accept)
            return Response(render(self._all_values(), openmetrics=openmetrics),
                            content_type=OPENMETRICS if openmetrics else TEXT)
        reasons = [*self._unhealthy(), *(self._unready() if what == READY else ())]
        word = "ready" if what == READY else "healthy"
        body: dict[str, object] = {"status": f"not-{word}" if reasons else word, "reasons": reasons}
        if what == READY:
            body["warnings"] = list(self._warnings())
        return Response(body, 503 if reasons else 200, JSON)

    def _all_values(self) -> dict[str, Value]:
        ill = bool(self._unhealthy())
        return {**self._values(), "healthy": int(not ill), "ready": int(not ill and not self._unready())}

    async def _get_series(self, request: Request) -> Response:
        no_parameters(request)
        values = self._all_values()
        since_s = values.get("start_time_seconds")
        return Response({
            "time": moment(time.time()), "since": timestamp(since_s) if isinstance(since_s, float) else None,
            "values": {name: _plain(value) for name, value in values.items()},
            "healthy": bool(values["healthy"]), "ready": bool(values["ready"]),
            "reasons": [*self._unhealthy(), *self._unready()], "warnings": list(self._warnings())})

    async def _get_metrics(self, request: Request) -> Response:
        no_parameters(request)
        return self.answer(METRICS, request.accept)

    async def _get_health(self, request: Request) -> Response:
        no_parameters(request)
        return self.answer(HEALTH)

    async def _get_ready(self, request: Request) -> Response:
        no_parameters(request)
        return self.answer(READY)


def _plain(value: Value) -> object:
    """A value as JSON has it."""
    if isinstance(value, Histogram):
        return {"bounds": list(value.bounds), "counts": list(value.counts), "total": value.total}
    return dict(value) if isinstance(value, Mapping) else value
