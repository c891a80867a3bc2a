from collections.abc import Iterable
from typing import Final, final

from mxallowd.engine._refused import Refused
from mxallowd.engine._ring import Ring
from mxallowd.engine._rules import Rules
from mxallowd.engine._table import Table

OUTCOME_NAMES: Final[tuple[str, ...]]
"""Names of the outcomes of a decision, indexed by their number; of them "real-refused" and "real-denied" drop it."""

@final
class Fastpath:
    """The decision for one queue: it writes one shard of the table and one ring of events."""

    def __new__(
        cls, table: Table, ring: Ring, rules: Rules, *, shard: int = 0, queue: int = 0, refused: Refused | None = None,
        listed: Refused | None = None, contacts: Refused | None = None,
    ) -> Fastpath:
        """`queue` is the number that events carry. Refused hosts are noted in shard `shard` of `refused`.

        Without `refused` each refusal is an event. `listed` is the same for hosts that lists deny or allow. In
        `contacts`, a memory of the same kind, it notes whitelisted hosts that never came to a real server and meet a
        fake one again. Raises IndexError on a shard that the table or one of them does not have.
        """
    table: Table
    ring: Ring
    refused: Refused | None
    listed: Refused | None
    contacts: Refused | None
    def tell_evicted(self) -> None:
        """Write an EVICTED event for each live host that makes room, for who keeps a copy of the whitelist.

        Before the queue thread starts.
        """
    def publish(self, rules: Rules) -> None:
        """Let `rules` hold from the next batch on. Main thread only.

        Those that hold until then are kept with them, and no others.
        """
    def take_over(self) -> None:
        """Let what was published hold at once, and the rules before go: for who decides in the thread that publishes.

        Raises RuntimeError while a queue thread has this path.
        """
    def decide(self, packets: Iterable[bytes], now_us: int) -> bytes:
        """The outcomes, a byte each, of IP packets that arrived in this order at `now_us`.

        The time is CLOCK_BOOTTIME in microseconds, or any clock that does not jump. Raises RuntimeError while a queue
        thread has this path.
        """
    def counters(self) -> dict[str, int]:
        """Packets by outcome since the start: OUTCOME_NAMES, Part.DECISION in metrics/counters.py."""
