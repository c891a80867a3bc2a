"""Names of whitelisted hosts, each with the host that brought it: a bounded dict, whose oldest name goes first.

It also knows of whom it has names: only their end matters to it, and of others there may be any number.
"""
from collections import OrderedDict
from typing import NamedTuple


class Known(NamedTuple):
    """A name."""

    until_us: int
    source: bytes  # who met a fake server
    number: int  # grows with each that is noted


class KnownNames:
    """At most so many names."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: OrderedDict[str, Known] = OrderedDict()
        self._of: dict[bytes, int] = {}  # names, by their source

    def note(self, name: str, known: Known) -> None:
        """Let this hold of a name, as the newest."""
        self._leave(self._names.pop(name, None))
        self._names[name] = known
        self._of[known.source] = self._of.get(known.source, 0) + 1
        if len(self._names) > self._most:
            self._leave(self._names.popitem(last=False)[1])

    def _leave(self, known: Known | None) -> None:
        if known is not None:
            self._of[known.source] -= 1
            if not self._of[known.source]:
                del self._of[known.source]

    def find(self, name: str) -> Known | None:
        """What is known of a name."""
        return self._names.get(name)

    def has(self, source: bytes) -> bool:
        """Whether a name of this host is known."""
        return source in self._of

    def clear(self) -> None:
        """Forget all."""
        self._names.clear()
        self._of.clear()

    def __len__(self) -> int:
        return len(self._names)
