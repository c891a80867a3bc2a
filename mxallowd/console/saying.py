"""What changes came to, kept for the page that each of them leads to, until that page has shown it.

A browser is sent from a change to a page (303). That page, a fault in its place too, shows what was said for it, and no
other one does: beside another host's name it would be taken for that host's. Two answers for one page stand one behind
the other, as after a double click. Bounds: MOST pages, LONGEST characters each, KEPT_S.
"""
import time
from collections.abc import Callable
from typing import NamedTuple

MOST, LONGEST = 8, 1000
KEPT_S = 300.0  # who comes later did not come from the change


class Said(NamedTuple):
    """What a page has to say of the changes before it."""

    text: str = ""
    ok: bool = True
    at_s: float = 0.0


class Sayings:
    """Those of a session, by the target of their page: path and query."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, Said] = {}

    def add(self, target: str, text: str, *, ok: bool) -> None:
        """Keep it for this page."""
        before = self.at(target)
        self._said.pop(target, None)
        if before.text and text not in before.text:
            text, ok = f"{before.text} {text}", before.ok and ok
        self._said[target] = Said(text[-LONGEST:], ok, self._clock())
        if len(self._said) > MOST:
            del self._said[next(iter(self._said))]

    def at(self, target: str) -> Said:
        """What this page has to say."""
        said = self._said.get(target, Said())
        return said if self._clock() < said.at_s + KEPT_S else Said()

    def shown(self, target: str, text: str) -> None:
        """It has been shown; what was added meanwhile stays."""
        if self.at(target).text == text:
            self._said.pop(target, None)
