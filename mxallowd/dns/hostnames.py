"""Host names from the DNS: what counts as one, and the addresses as names of the reverse tree.

The owner of a PTR record may write anything into it. Only host names (RFC 1123, 2.1; lengths of RFC 1035, 2.3.4) are
looked up. Underscores count as letters: they are in the names of real senders, and mxallowd 1.9 took them.
"""
import re
from collections.abc import Callable, Iterable

from mxallowd.engine.events import MAPPED

LONGEST_NAME = 253
MAX_NAMES = 4  # of one address
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")


def normal_name(text: str) -> str | None:
    """The host name in lower case and without its final dot; None where it is no host name."""
    name = text.lower().removesuffix(".")
    if not name or len(name) > LONGEST_NAME or not all(_LABEL.match(label) for label in name.split(".")):
        return None
    # An address is no name, and a single label would be completed by the resolver's search list.
    return name if "." in name and not name.rpartition(".")[2].isdigit() else None


def valid_names(written: Iterable[str], bad: Callable[[str], None]) -> list[str]:
    """The host names among the data of PTR records, each once, at most MAX_NAMES; what is none goes to `bad`."""
    names: list[str] = []
    for text in list(written)[: 2 * MAX_NAMES]:
        name = normal_name(text)
        if name is None:
            bad(text)
        elif name not in names:
            names.append(name)
    return names[:MAX_NAMES]


def reverse_name(address: bytes) -> str:
    """The name in in-addr.arpa (RFC 1035, 3.5) or ip6.arpa (RFC 3596, 2.5) of 16 bytes, IPv4 in IPv4-mapped form."""
    if address.startswith(MAPPED):
        return ".".join(str(octet) for octet in reversed(address[12:])) + ".in-addr.arpa"
    return ".".join(reversed(address.hex())) + ".ip6.arpa"
