"""Names of hosts, as lookups have given them: nothing is asked for them.

A name is confirmed if its own addresses contain the host. Who owns the addresses of a host can let its PTR record have
any name, so unconfirmed ones are kept apart, and push out no confirmed one. Of each kind the oldest goes.
"""
from typing import NamedTuple

MOST = 16_384  # of each kind; some 250 bytes each


class Name(NamedTuple):
    """A name of a host."""

    text: str
    confirmed: bool


class Names:
    """Both kinds, by host (16 bytes)."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._confirmed: dict[bytes, str] = {}
        self._unconfirmed: dict[bytes, str] = {}

    def note(self, host: bytes, name: str, *, confirmed: bool) -> None:
        """A lookup has given this name."""
        if confirmed:
            self._unconfirmed.pop(host, None)
        elif host in self._confirmed:
            return
        kept = self._confirmed if confirmed else self._unconfirmed
        kept.pop(host, None)
        kept[host] = name
        if len(kept) > self._most:
            del kept[next(iter(kept))]

    def find(self, host: bytes) -> Name | None:
        """The name of a host, where one is known."""
        if (text := self._confirmed.get(host)) is not None:
            return Name(text, confirmed=True)
        if (text := self._unconfirmed.get(host)) is not None:
            return Name(text, confirmed=False)
        return None

    def copy(self) -> "Names":
        """As they are now."""
        other = Names(self._most)
        other._confirmed, other._unconfirmed = self._confirmed.copy(), self._unconfirmed.copy()
        return other

    def all(self) -> list[tuple[bytes, int, str]]:
        """All of them, the oldest first of each kind: host, 1 where it is confirmed, text."""
        return [*((host, 0, text) for host, text in self._unconfirmed.items()),
                *((host, 1, text) for host, text in self._confirmed.items())]

    def __len__(self) -> int:
        return len(self._confirmed) + len(self._unconfirmed)
