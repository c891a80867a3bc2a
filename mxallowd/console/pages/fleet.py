"""The fleet as this gateway sees it: GET /v1/fleet, in the words of `mxallowctl fleet status`."""
from collections.abc import Mapping

from mxallowd.console.asking import Daemon, Refusal
from mxallowd.console.visit import Page, Visit


async def show(_: Visit, daemon: Daemon) -> Page:
    """The page; without a fleet it says how to have one."""
    try:
        found = await daemon.get("/v1/fleet")
    except Refusal as refusal:
        if refusal.code != "no-fleet":
            raise
        return Page("fleet.html", {"found": None})
    here = found["longest_seconds"]
    peers = [{**one, "reasons": _reasons(one["refused"]), "own": one["origin"] == found["origin"],
              "other_time": one["longest_seconds"] not in (None, here)} for one in found["peers"]]
    return Page("fleet.html", {"found": found, "peers": peers, "reasons": _reasons(found["refused"])})


def _reasons(refused: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(reason, count) for reason, count in refused.items() if count]
