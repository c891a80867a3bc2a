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

def no_syn(packet: bytes) -> bool:
    """Whether an IP packet is for certain no connection attempt: no TCP segment with SYN and without ACK, RST and FIN.

    That is what `--syn` of iptables means (RFC 9293, 3.1 has the flags). A later fragment is none; where the flags are
    not among the bytes it may be one. IPv6 extension headers are passed over (RFC 8200, 4), at most eight. Raises
    ValueError with one of REASONS where the header cannot be parsed.
    """
