"""Refused: who is busiest, who keeps trying, and who meets the fake server alone. Each row leads to the search.

Three answers of the daemon, asked for together; where one of them cannot be had, its part says why, and the others are
shown.
"""
import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from mxallowd.console.asking import Daemon, Document, Refusal
from mxallowd.console.visit import Page, Visit

SHOWN = 50
LIMIT = {"limit": str(SHOWN)}


async def show(visit: Visit, daemon: Daemon) -> Page:
    """All of it. What cannot be reached at all is the fault of the whole page."""
    del visit  # it takes nothing
    (top, top_fault), (forecast, forecast_fault), (first, first_fault) = await asyncio.gather(
        _asked(daemon, "/v1/top", {}), _asked(daemon, "/v1/forecast", LIMIT),
        _asked(daemon, "/v1/first-mx-only", LIMIT))
    return Page("refused.html", {
        "top": top, "top_fault": top_fault, "forecast": forecast, "forecast_fault": forecast_fault,
        "first": first, "first_fault": first_fault, "shown": SHOWN,
        "partly": None if forecast is None else partly(forecast["seen"]),
        "nameless": _nameless([*(forecast or {}).get("hosts_that_kept_trying", []), *(first or {}).get("hosts", [])]),
        "not_led": first is not None and any(one.get("direct_not_led") for one in first["hosts"])})


async def _asked(daemon: Daemon, path: str, query: Mapping[str, str]) -> tuple[Document | None, str | None]:
    try:
        return await daemon.get(path, query), None
    except Refusal as error:
        return None, str(error)


def partly(seen: Mapping[str, Any] | None) -> str | None:
    """How exact the numbers are, where the firewall shows a part of what it refuses; None: they are exact."""
    if seen is None:
        return None
    if seen["of"] is None:
        return ("The firewall shows mxallowd at most 100 refused packets a second; hosts whose packets it did not show "
                "are missing here.")
    if seen["packets"] >= seen["of"]:
        return None
    return (f"mxallowd was shown {seen['packets']} of {seen['of']} refused packets: hosts that sent none of these are "
            "missing here.")


def _nameless(hosts: Sequence[Mapping[str, Any]]) -> bool:
    return bool(hosts) and all(one["name"] is None for one in hosts)
