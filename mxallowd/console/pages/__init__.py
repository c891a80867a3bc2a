"""The pages: one module for each, from answers of the daemon to what its template shows.

`PAGES` is what the head of each page leads to, in this order; `CHANGES` is what forms may ask for, by POST.
"""
from typing import NamedTuple

from mxallowd.console.pages import overview
from mxallowd.console.visit import Change, Show


class Entry(NamedTuple):
    """A page of the head."""

    path: str
    title: str
    show: Show


PAGES: tuple[Entry, ...] = (
    Entry("/", "Overview", overview.show),
)
CHANGES: dict[str, Change] = {}
