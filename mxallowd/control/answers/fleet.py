"""GET /v1/fleet: the fleet as this gateway sees it, and each other gateway that it has heard."""
from collections.abc import Mapping, Sequence
from typing import Protocol

from mxallowd.control.answers.bodies import no_parameters
from mxallowd.control.exchange import Request, RequestError, Response, Route


class Fleet(Protocol):
    """This gateway in its fleet, as it is asked here."""

    def status(self) -> Mapping[str, object]:
        """All that an operator may want to know; durations are seconds, null where it never was.

        site, origin, engine: names and the address, without a secret; origin_shared: another gateway has that name
        keys: their numbers (Keys.numbers())
        connected, since_seconds: of the connection, or of the fault
        fault, remedy: texts for people, or null; warnings: texts about an engine that works all the same
        clock_seconds: how far this host's clock is ahead of the engine's, below 0 behind; 0 where that is not known
        heard_seconds, said_seconds, read_seconds: since the last batch of another gateway, the last own one, and the
            last answer of the engine
        waiting: hosts that are to be said; told, told_room: entries of others now, and how many have room
        longest_seconds: how long an entry can last here (Settings.longest_time)
        stream: first, last (IDs) and length, or null
        refused: records and batches that were not taken, or (too-many) entries that made room, by reason; of all
            gateways, and of unknown ones
        peers: origin, shared (two gateways have it), heard_seconds, lag_ms, longest_seconds (there), entries (told by
            it, now), records (heard in all), epoch, refused (by reason); those heard last first. peers_left_out: how
            many are not shown
        strangers: origin, reason, messages, heard_seconds of names in which somebody speaks without our key
        """

    def removed(self, host: bytes) -> tuple[str, float] | None:
        """Which gateway has removed a host, and when (seconds since 1970); None: that is not known."""


class FleetAnswers:
    """The answer."""

    def __init__(self, fleets: Sequence[Fleet]) -> None:
        """One, or none where there is no --fleet."""
        self._fleets = fleets

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [Route("GET", "/v1/fleet", self._show)]

    async def _show(self, request: Request) -> Response:
        no_parameters(request)
        if not self._fleets:
            raise RequestError(404, "no-fleet", "this gateway has no fleet: --fleet names no engine")
        return Response(dict(self._fleets[0].status()))


def summary(status: Mapping[str, object]) -> dict[str, object]:
    """The same in few words, for the status of the daemon."""
    peers, left_out = status["peers"], status["peers_left_out"]
    assert isinstance(peers, Sequence)
    assert isinstance(left_out, int)
    return {**{key: status[key] for key in ("site", "origin", "engine", "connected", "fault", "told")},
            "peers": len(peers) + left_out}
