from typing import Final, final

LEAST_NETWORKS: Final[int]
"""Networks that there must be room for at least: one line."""
NETWORK_BYTES: Final[int]
"""Bytes of memory for each network."""
COUNTERS: Final[tuple[str, ...]]
"""Names of its counters."""

@final
class Meetings:
    """Networks that contacts have let in, in memory that is taken at once and never grows.

    Hosts are 16 bytes in network order, IPv4 in IPv4-mapped form (RFC 4291, 2.5.5.2); times are microseconds of the
    packet path's clock. Queue threads read and write it; so may any thread by these methods. All of them raise
    ValueError where a host is not 16 bytes.
    """

    def __new__(cls, max_networks: int, ipv4_bits: int, ipv6_bits: int) -> Meetings:
        """Room for at most `max_networks` with prefixes of so many bits; 32 and 128 let no network in.

        Raises ValueError on lengths outside 1 to 32, and outside 1 to 64 and 128, or without room for LEAST_NETWORKS;
        MemoryError.
        """
    max_networks: int
    """Networks that there is room for: as asked, rounded down to whole lines."""
    def find(self, host: bytes, now_us: int) -> int | None:
        """Until when the host's network is let in; None: it is not, or not any more."""
    def network(self, host: bytes) -> bytes | None:
        """The first address of the host's network; None: it has none here."""
    def note(self, host: bytes, until_us: int, now_us: int, *, proven: bool = False) -> None:
        """Let the host's network in until then at least. `proven`: the host has completed a handshake."""
    def forget(self, host: bytes) -> None:
        """Let the host's network in no longer."""
    def fill(self, records: bytes, now_us: int) -> None:
        """Let in the networks of those entries that contacts made; records as Table.entries gives them (_records)."""
    def clear(self, start: int, budget: int) -> int:
        """Forget all networks in `budget` places from `start` (0 at first); the next start, 0 at the end."""
    def entries(self, now_us: int, start: int, budget: int) -> tuple[bytes, int]:
        """Networks that are let in, in `budget` places from `start` (0 at first); the next start, 0 at the end.

        A network is a record as of an entry (_records), of its first address.
        """
    def tidy(self, now_us: int, budget: int) -> None:
        """Make the filter anew, by `budget` places at a time: who is over costs unknown hosts no further look then.

        The main thread calls it now and then.
        """
    def status(self) -> dict[str, int]:
        """Networks that were noted since the start, and for how many there is room."""
    def counters(self) -> dict[str, int]:
        """Its counters in metrics/counters.py."""
