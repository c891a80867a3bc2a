"""PUT /v1/doctor/report: what `mxallowctl doctor` has found, kept for GET /v1/doctor.

Root sees what neither the daemon nor a console may look at: the firewall's rules, listeners, the configuration. So who
runs doctor leaves its findings here. The last ones are kept, in memory, with who sent them. Root types their commands,
so nobody else than root and the daemon's user may leave any, whatever else he may change.
"""
import os
import time
from collections.abc import Mapping

from mxallowd.control.answers.bodies import bad, fields_of, no_parameters
from mxallowd.control.exchange import Request, RequestError, Response, Route, timestamp
from mxallowd.process.turns import Turns

MOST, LONGEST = 200, 2000  # findings, and characters of each text
LONGEST_OF_ALL = 100_000  # characters of all texts: GET /v1/doctor makes them JSON in one step
STATES = ("ok", "warning", "broken")


class Findings:
    """Keeps the last report."""

    def __init__(self) -> None:
        self.report: dict[str, object] | None = None  # None: there was none since the start

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("PUT", "/v1/doctor/report", self._take, changes=True, long=True)]

    async def _take(self, request: Request) -> Response:
        no_parameters(request)
        if request.user not in (0, os.geteuid()):
            raise RequestError(403, "forbidden", f"the user with id {request.user} may leave no findings: root and the "
                               "daemon's user may, since others type their commands")
        given = fields_of(request.body, ("findings",))["findings"]
        if not isinstance(given, list) or len(given) > MOST:
            raise bad(f"findings is no list of at most {MOST} findings")
        turns = Turns()
        found = []
        left = LONGEST_OF_ALL
        for one in given:
            found.append(_finding(one))
            left -= sum(len(str(text)) for text in found[-1].values())
            await turns.give()
        if left < 0:
            raise RequestError(413, "too-large", f"the findings have more than {LONGEST_OF_ALL} characters")
        self.report = {"time": timestamp(time.time()), **request.who, "findings": found}
        return Response({"taken": len(found)})


def _finding(given: object) -> dict[str, object]:
    fields = fields_of(given, ("check", "state", "what"), ("why", "command"))
    if fields["state"] not in STATES:
        raise bad(f"state is none of {', '.join(STATES)}")
    return {"check": _text(fields, "check"), "state": fields["state"], "what": _text(fields, "what"),
            **{key: None if fields.get(key) is None else _text(fields, key) for key in ("why", "command")}}


def _text(fields: Mapping[str, object], key: str) -> str:
    value = fields[key]
    if not isinstance(value, str) or len(value) > LONGEST:
        raise bad(f"{key} is no text of at most {LONGEST} characters")
    return value
