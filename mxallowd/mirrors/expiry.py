"""When to check hosts again, for targets whose entries do not end by themselves: one string for each second."""
from collections.abc import Iterator


class Expiry:
    """Hosts by the second in which their time is over. One that is noted again is looked at twice."""

    def __init__(self) -> None:
        self._due: dict[int, bytearray] = {}
        self.size = 0

    def note(self, host: bytes, until_us: int) -> None:
        """Look at it when its time is over."""
        self._due.setdefault(until_us // 1_000_000 + 1, bytearray()).extend(host)
        self.size += 1

    def take(self, now_us: int) -> Iterator[bytes]:
        """The hosts whose time is over."""
        for second in sorted(second for second in self._due if second * 1_000_000 <= now_us):
            hosts = self._due.pop(second)
            self.size -= len(hosts) // 16
            for at in range(0, len(hosts), 16):
                yield bytes(hosts[at : at + 16])

    def clear(self) -> None:
        """Forget all."""
        self._due.clear()
        self.size = 0
