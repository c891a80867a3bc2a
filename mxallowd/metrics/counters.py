"""The counters: every number the daemon keeps, under one name each, in one flat picture.

The first three are those of the contract. SIGUSR1 logs them; later parts show the same picture elsewhere.
"""
from collections.abc import Iterable
from typing import Protocol

from mxallowd.backends import Backends
from mxallowd.sinks.stress import Stress


class Counting(Protocol):
    """A sink or a mirror."""

    def counters(self) -> dict[str, int]:
        """Its own counters, since the start."""


def collect(backend: Backends, parts: Iterable[Counting], stress: Stress) -> dict[str, int]:
    """All counters since the start, and `entries`, the present size of the whitelist."""
    outcomes: dict[str, int] = {}
    for fastpath in backend.fastpaths:
        for name, value in fastpath.counters().items():
            outcomes[name] = outcomes.get(name, 0) + value
    table = backend.table.counters()
    more: dict[str, int] = {}
    for part in parts:
        for name, value in part.counters().items():
            more[name] = more.get(name, 0) + value
    return {
        # Where the kernel refuses by itself, it tells us of a part of them and counts all.
        "blocked": max(outcomes["real-refused"], more.get("kernel-refused", 0)),
        "successful": table["successful"],
        "direct-to-fake": table["direct-to-fake"],
        **{name: table[name] for name in ("entries", "added", "evicted", "full")},
        **outcomes,
        **backend.counters(),
        **more,
        "stress": stress.times,
    }
