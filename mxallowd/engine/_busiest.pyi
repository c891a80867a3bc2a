from typing import final

from mxallowd.engine._refused import Refused

def busiest(
    refused: Refused, start: int, budget: int, least: int, *, since: int = 0,
    network: tuple[bytes, bytes] | None = None,
) -> tuple[int, bytes, int]:
    """Known hosts, looked for in `budget` slots from `start`: how many, those above `least` attempts, the next start.

    They are records as Refused.entries() gives them. `since` is the step that the last attempt is not before, `network`
    its first and its last address; no IPv4 address is in one of IPv6. Raises ValueError where one is not 16 bytes.
    """

@final
class Weights:
    """How busy the networks of refused hosts are (/24 of IPv4, /48 of IPv6), about."""

    def __new__(cls, refused: Refused, since: int = 0) -> Weights:
        """Of hosts whose last attempt is not before the step `since`. Raises MemoryError."""
    def weigh(self, start: int, budget: int) -> int:
        """Add up what `budget` slots from `start` have, and the next start, 0 at the end."""
    def level(self) -> int:
        """The weight that the heaviest networks have at least, with all that was weighed; 1 where they are few."""
    def heavy(self, start: int, budget: int, level: int) -> tuple[bytes, int]:
        """The hosts of networks with that weight, as records, and of others whose hash is the same; the next start."""
