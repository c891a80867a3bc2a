"""Which lines the log takes: all of them, or errors alone, until a reload of the configuration or the next start."""
from mxallowd.control.answers.bodies import fields_of, no_parameters
from mxallowd.control.exchange import Request, RequestError, Response, Route
from mxallowd.log import Log

LEVELS = {"info": False, "error": True}  # whether the log is quiet then


class LogLevel:
    """Shows and changes the level."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("GET", "/v1/log-level", self._show), Route("PUT", "/v1/log-level", self._change, changes=True)]

    async def _show(self, request: Request) -> Response:
        no_parameters(request)
        return Response({"level": "info" if self._log.takes_info() else "error"})

    async def _change(self, request: Request) -> Response:
        no_parameters(request)
        level = fields_of(request.body, ("level",))["level"]
        if level not in ("info", "error"):
            raise RequestError(400, "bad-request", "level is neither \"info\" nor \"error\"")
        self._log.set_quiet(LEVELS[level])
        # Asked for, so it is written whatever the level is.
        self._log.notice("log-level", None, **request.who, set=level)
        return Response({"level": level})
