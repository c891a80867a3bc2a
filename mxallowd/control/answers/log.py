"""GET /v1/log: the last lines of the log, from memory (log/recent.py), for whoever follows it.

A reader asks for what comes after the last number that it has, by `next` of the answer before. Another `epoch` says
that the daemon was started again, and that numbers begin at 1.
"""
import logging
from itertools import islice

from mxallowd.control.answers.bodies import bad, no_parameters, number_of
from mxallowd.control.exchange import Request, Response, Route
from mxallowd.log.grammar import moment
from mxallowd.log.recent import MOST_LINES, Line, Recent
from mxallowd.process.turns import Turns
from mxallowd.text import quoted

LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
LARGEST = (1 << 53) - 1  # what every reader of JSON has exactly
FEW = 200


class LogLines:
    """Gives them."""

    def __init__(self, recent: Recent) -> None:
        self._recent = recent

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("GET", "/v1/log", self._show)]

    async def _show(self, request: Request) -> Response:
        no_parameters(request, ("after", "limit", "level"))
        query = request.query
        limit = number_of(query, "limit", FEW, 1, MOST_LINES)
        level = query.get("level", "info")
        if level not in LEVELS:
            raise bad(f"level {quoted(level)} is none of {', '.join(LEVELS)}")
        after = number_of(query, "after", 0, 0, LARGEST)
        kept = self._recent.kept()
        lost, more = 0, False
        if "after" in query:
            lost = max(0, kept.first - after - 1) if kept.last > after else 0
            numbers = range(max(kept.first, after + 1), kept.last + 1)
            wanted = (number for number in numbers if kept.line(number).level >= LEVELS[level])
            found = list(islice(wanted, limit))
            more = next(wanted, None) is not None
        else:
            # Who begins to follow gets the newest ones.
            numbers = range(kept.last, kept.first - 1, -1)
            found = list(islice((one for one in numbers if kept.line(one).level >= LEVELS[level]), limit))[::-1]
        turns = Turns()
        lines = []
        for number in found:
            lines.append(_shown(number, kept.line(number)))
            await turns.give()
        return Response({
            "epoch": self._recent.epoch, "first": kept.first, "last": kept.last, "lost": lost,
            "next": found[-1] if more else kept.last, "lines": lines})


def _shown(number: int, line: Line) -> dict[str, object]:
    return {"number": number, "time": moment(line.created), "level": line.level_name, "word": line.word,
            "address": line.address, "text": line.text, "values": line.values}
