from typing import Final, Literal, final

RECORD_SIZE: Final[int]
"""Bytes of a record: an address (16, IPv4 in IPv4-mapped form), the length of its prefix of 128 bits, denied or not."""
MOST_NETWORKS: Final[int]
"""What a set holds at most."""

@final
class Networks:
    """Networks of the lists, laid over each other; never changed once made."""

    def __new__(cls, records: bytes) -> Networks:
        """Lay out these records; a rule is known by the place of its record.

        The longest network holds, of equally long ones that of deny, of equal ones the first. Bits behind a prefix do
        not count. Gives the interpreter free while it works, so threads may call it. Raises ValueError on records that
        are not whole, a prefix of more than 128 bits, or too many networks, and MemoryError.
        """
    records: bytes
    def find(self, address: bytes) -> int | None:
        """The number of the rule that holds for an address of 16 bytes; None where none does."""
    def look_up(self, addresses: bytes) -> bytes:
        """What the lists say of each of many addresses: 0 nothing, 1 allowed, 2 denied. As the packet path asks."""
    def overlapping(self, first: bytes, last: bytes, most: int) -> list[int]:
        """The numbers of at most `most` rules whose network shares an address with that range, in their order."""
    def overlapping_from(
        self, first: bytes, last: bytes, start: int, budget: int, most: int,
    ) -> tuple[list[int], int]:
        """The same of the next `budget` rules from `start` (0 at first), and the next start, 0 at the end."""
    def deciding(self, first: bytes, last: bytes, *, denied: bool, most: int) -> list[int]:
        """The numbers of at most `most` rules, of deny or of allow, that hold for an address of that range."""
    def ranges(self, version: Literal[4, 6], *, denied: bool) -> bytes:
        """Disjoint ranges that are denied, or allowed, in their order, none beside another.

        For each the first and the last address, 4 or 16 bytes in network order.
        """
    def memory(self) -> int:
        """Bytes of memory."""
    def __len__(self) -> int: ...
