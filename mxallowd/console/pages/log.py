"""The log: its last lines, filtered; the script adds what comes (loglines.py)."""
from mxallowd.console.asking import Daemon
from mxallowd.console.loglines import LEVELS, Filter, filter_of
from mxallowd.console.visit import Page, Visit
from mxallowd.console.watching import Watching
from mxallowd.control.exchange import RequestError

SHOWN = 200
STATES = {"info": "", "warning": "warning", "error": "broken"}


async def show(visit: Visit, daemon: Daemon) -> Page:
    """The page."""
    if not isinstance(daemon, Watching):
        raise TypeError("the log needs what is watched")
    fault = ""
    try:
        wanted = filter_of(visit.query)
    except RequestError as error:
        wanted, fault = Filter(), str(error)
    kept = await daemon.log.recent()
    taken = [line for line in kept if wanted.takes(line)]
    typed = {"level": wanted.level, "word": visit.query.get("word", ""), "q": visit.query.get("q", "")}
    return Page("log.html", {
        "lines": taken[: -SHOWN - 1 : -1], "kept": len(kept), "older": max(0, len(taken) - SHOWN), "fault": fault,
        "levels": list(LEVELS), "states": STATES, "typed": typed, "wanted": wanted, "epoch": daemon.log.epoch,
        "last": kept[-1].number if kept else 0}, 400 if fault else 200)
