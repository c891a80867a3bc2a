from typing import Final

REASONS: Final[tuple[str, ...]]
"""Why a header cannot be parsed, indexed by the parser's status; the empty string at 0 is success."""

def addresses(packet: bytes) -> tuple[bytes, bytes]:
    """Source and destination of an IP packet, 16 bytes each in network order, IPv4 in IPv4-mapped form.

    `packet` starts at the IP header (RFC 791, 3.1; RFC 8200, 3) and may end anywhere. Raises ValueError with
    one of REASONS where the header cannot be parsed.
    """

def port(packet: bytes) -> int:
    """The TCP port that an IP packet comes from (RFC 9293, 3.1), 0 where it is not TCP or not among these bytes.

    A later fragment has none, and behind an IPv6 extension header none is looked for. Never raises.
    """
