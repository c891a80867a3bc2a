"""Lists: the lines of allow, deny, direct and of trusted senders with their notes and hits; lines by hand come and go.

What a file or the configuration has is shown, and changed there. At most MOST lines are shown at a time.
"""
import asyncio

from mxallowd.console import fields
from mxallowd.console.asking import Daemon, Document, Refusal
from mxallowd.console.changes import LISTS
from mxallowd.console.visit import Page, Visit
from mxallowd.control.exchange import RequestError
from mxallowd.ctl.commands.trust import state

USUAL, MOST = 200, 1_000
FILTERS = ("verdict", "source", "network", "note")
# Where a line comes from that a click may take away.
OWN = ("by hand", "learned")


async def show(visit: Visit, daemon: Daemon) -> Page:
    """The sources, the lines that the filter takes, and the lines of trusted senders."""
    wanted = fields.filters(visit.query, FILTERS)
    values: dict[str, object] = {
        "wanted": {name: visit.query.get(name, "") for name in (*FILTERS, "limit")}, "lists": LISTS, "own": OWN,
        "usual": USUAL, "most": MOST, "fault": None, "lines": [], "more": False, "trust": None, "trust_fault": None,
        "note": f"by {visit.visitor.name}, console",
        "back": fields.here("/lists", wanted | fields.filters(visit.query, ("limit",)))}
    whole, (trust, trust_fault) = await asyncio.gather(daemon.get("/v1/lists"), _trust(daemon))
    values |= {"whole": whole, "trust": trust, "trust_fault": trust_fault}
    try:
        limit = fields.limit(visit.query, USUAL, MOST)
        lines, more = await daemon.lines("/v1/lists/networks", wanted | {"limit": str(limit + 1)}, limit)
    except (RequestError, Refusal) as error:
        return Page("lists.html", values | {"fault": str(error)}, error.status)
    return Page("lists.html", values | {"lines": lines, "more": more})


async def _trust(daemon: Daemon) -> tuple[Document | None, str | None]:
    """What is known of trusted senders, with the state of each line in words; or why there is nothing."""
    try:
        found = await daemon.get("/v1/trust")
    except Refusal as error:
        return None, str(error)
    return found | {"lines": [line | {"state": state(line)} for line in found["lines"]]}, None
