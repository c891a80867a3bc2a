"""The pages: one module for each, from answers of the daemon to what its template shows.

`PAGES` is what the head of each page leads to, in this order; `CHANGES` is what forms may ask for, by POST.
"""
from typing import NamedTuple

from mxallowd.console import changes
from mxallowd.console.pages import doctor, fleet, lists, log, overview, refused, search, trial, whitelist
from mxallowd.console.visit import Change, Show


class Entry(NamedTuple):
    """A page of the head."""

    path: str
    title: str
    show: Show


PAGES: tuple[Entry, ...] = (
    Entry("/", "Overview", overview.show),
    Entry("/search", "Search", search.show),
    Entry("/refused", "Refused", refused.show),
    Entry("/whitelist", "Whitelist", whitelist.show),
    Entry("/lists", "Lists", lists.show),
    Entry("/trial", "Trial", trial.show),
    Entry("/fleet", "Fleet", fleet.show),
    Entry("/doctor", "Doctor", doctor.show),
    Entry("/log", "Log", log.show),
)
CHANGES: dict[str, Change] = changes.CHANGES
