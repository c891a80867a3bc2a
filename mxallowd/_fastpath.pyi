from collections.abc import Iterable, Mapping, Sequence
from typing import Final, final

from mxallowd.engine._networks import Networks
from mxallowd.engine._patience import Patience
from mxallowd.engine._refused import Refused
from mxallowd.engine._ring import Ring
from mxallowd.engine._table import Table

RENEW: Final[Mapping[str, int]]
"""What restarts the time of an entry that has lost an eighth of it, by the words of the option `renew`."""
OUTCOME_NAMES: Final[tuple[str, ...]]
"""Names of the outcomes of a decision, indexed by their number; of them "real-refused" and "real-denied" drop it."""

@final
class Rules:
    """The servers and the lifetime of an entry, compiled; never changed once made."""

    def __new__(
        cls, fake: Sequence[bytes], real: Sequence[bytes], lifetime_s: int, numbers: Mapping[bytes, int] | None = None,
        *, renew: int = 0, networks: Networks | None = None, patience: Patience | None = None,
        patience_times: int = 0, patience_us: int = 0, patience_networks: bool = False,
    ) -> Rules:
        """Addresses are 16 bytes in network order, IPv4 in IPv4-mapped form (RFC 4291, 2.5.5.2).

        `numbers` are those of Refused.number_of, by address; 255 where one is missing. `renew` is one of RENEW;
        `networks` are those of the lists. With `patience`, who was refused `patience_times` times, each `patience_us`
        after the one before, comes in, or with `patience_networks` his network does. Raises ValueError on an address
        of another length, refusals that cannot be counted, a lifetime
        outside 1 to 2**29 seconds, or a number outside 0 to 255.
        """

    networks: Networks | None
    patience: Patience | None

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
        """Let `rules` hold from the next batch on. Main thread only."""
    def decide(self, packets: Iterable[bytes], now_us: int) -> bytes:
        """The outcomes, a byte each, of IP packets that arrived in this order at `now_us`.

        The time is CLOCK_BOOTTIME in microseconds, or any clock that does not jump. Raises RuntimeError while a queue
        thread has this path.
        """
    def counters(self) -> dict[str, int]:
        """Packets by outcome since the start: OUTCOME_NAMES, Part.DECISION in metrics/counters.py."""
