"""The forecast of a trial, and of the filter while it is armed: GET /v1/forecast, in the words of `mxallowctl`."""
from collections.abc import Mapping
from typing import Any

from mxallowd.console.asking import Daemon
from mxallowd.console.visit import Page, Visit
from mxallowd.ctl.commands.trial import how_exact, outcomes, span

NAMED = 50  # hosts, and networks
MEANINGS = ("good senders that know the second mail exchanger; they are let in from then on",
            "senders that came often enough for --patience",
            "neighbours of hosts that got in, or an operator's decision, or another gateway's",
            "what nolisting keeps out, as a rule",
            "look at these below: a sender whose mail you want would be among them")


async def show(_: Visit, daemon: Daemon) -> Page:
    """The page."""
    found = await daemon.get("/v1/forecast", {"limit": str(NAMED)})
    hosts = found["hosts"]
    return Page("trial.html", {
        "found": found,
        "verb": "would have been refused" if found["dry_run"] else "was refused" if hosts == 1 else "were refused",
        "exact": how_exact(found["seen"]),
        "refused": _share(found["connections"]["refused"], _tries(found)),
        "tries": _tries(found),
        "within": [{"span": span(one["within_seconds"]), "hosts": one["hosts"], "still_may": one["still_may"],
                    "percent": _share(one["hosts"], hosts)} for one in found["met_the_fake"]],
        "outcomes": [{"hosts": number, "what": what, "meaning": meaning, "percent": _share(number, hosts)}
                     for (number, what), meaning in zip(outcomes(found), MEANINGS, strict=True)],
    })


def _tries(found: Mapping[str, Any]) -> int:
    return int(found["connections"]["refused"] + found["connections"]["accepted"])


def _share(part: int, whole: int) -> float | None:
    """In percent; None: of nothing there is no share."""
    return None if whole <= 0 else round(100 * min(part, whole) / whole, 1)
