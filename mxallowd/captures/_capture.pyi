from typing import Final

LINK_TYPES: Final[dict[int, str]]
"""The link types that can be read, by their LINKTYPE_ or DLT_ number (https://www.tcpdump.org/linktypes.html)."""
HEAD: Final[int]
"""Bytes of a packet that a candidate holds, from the IP header on."""
CANDIDATE_SIZE: Final[int]
"""Bytes of one candidate."""

FILTER_ANY: Final[int]
FILTER_PORT: Final[int]
FILTER_AND: Final[int]
FILTER_OR: Final[int]
"""Operations of a filter's program: true, a port at an end (1: source, 2: destination, 3: either), and, or."""
MAX_FILTER: Final[int]
"""Bytes of the longest program."""

def select(data: bytes, records: bytes, link_type: int, program: bytes) -> tuple[bytes, int]:
    """The connection attempts in a batch of captured records that the filter lets through, and how many are malformed.

    `data` and `records` are what pcapy's next_batch gives: the bytes, and 16 bytes a record (seconds, microseconds,
    offset, length; native order). `program` is postfix, instructions of 4 bytes each: operation, ends, port in network
    order. A candidate is a TCP packet with SYN and without ACK, RST and FIN whose ports pass it; it is given as
    CANDIDATE_SIZE bytes: time in microseconds since 1970 (8), length (4), and HEAD bytes of the packet.
    Malformed are records too short or inconsistent to tell. Raises ValueError on a link type outside LINK_TYPES and on
    a program that does not leave one value.
    """

def survey(data: bytes, records: bytes, link_type: int) -> tuple[int, dict[int, int]]:
    """Why records are no candidates: how many connection attempts there are for any filter, and how many carry no IP.

    The latter by their Ethernet type behind VLAN tags, -1 where the link type has none. Arguments as for select().
    """

def count_destinations(candidates: bytes, counts: dict[bytes, int]) -> None:
    """Add to `counts` how often each address (16 bytes, IPv4 in IPv4-mapped form) is a destination of candidates."""
