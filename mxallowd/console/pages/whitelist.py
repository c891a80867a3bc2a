"""Whitelist: the entries that a filter takes, and taking them out. Never all of them: the first ones, up to MOST.

The daemon reads the filter, and its sentence about a mistake is shown beside the form, which stays filled.
"""
import asyncio

from mxallowd.console import fields
from mxallowd.console.asking import Daemon, Document, Refusal
from mxallowd.console.visit import Page, Visit
from mxallowd.control.exchange import RequestError
from mxallowd.ctl.commands.entries import ORIGINS

USUAL, MOST = 200, 1_000
FILTERS = ("origin", "used", "proven", "network", "note", "gateway")


async def show(visit: Visit, daemon: Daemon) -> Page:
    """The numbers, the filter, and the entries."""
    wanted = fields.filters(visit.query, FILTERS)
    values: dict[str, object] = {
        "wanted": {name: visit.query.get(name, "") for name in (*FILTERS, "limit")}, "origins": ORIGINS,
        "usual": USUAL, "most": MOST, "fault": None, "entries": [], "more": False, "full": None, "ticks": fields.TICKED,
        "back": fields.here("/whitelist", wanted | fields.filters(visit.query, ("limit",)))}
    try:
        limit = fields.limit(visit.query, USUAL, MOST)
        (entries, more), status = await asyncio.gather(
            daemon.lines("/v1/entries", wanted | {"limit": str(limit + 1)}, limit), daemon.get("/v1/status"))
    except (RequestError, Refusal) as error:
        return Page("whitelist.html", values | {"fault": str(error)}, error.status)
    return Page("whitelist.html", values | {
        "entries": entries, "more": more, "full": status["whitelist"], "gateways": gateways(entries)})


def gateways(entries: list[Document]) -> bool:
    """Whether any was told by another gateway, so that a column for it is needed."""
    return any(one.get("gateway") for one in entries)
