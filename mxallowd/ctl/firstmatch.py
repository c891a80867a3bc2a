"""A table of which the first matching line counts, as lists that go by the longest network have it.

Postfix asks a CIDR table from its top (cidr_table(5)); of mxallowd's lists the longest network holds. So

- a line of which all is decided by one line before it is never reached there, and left out here;
- an address that is permitted before a larger network is rejected becomes an allowed network of that address, which
  beats the denied one; as an entry of the whitelist it never would;
- a network out of which a line before it takes a part by `dunno` cannot be said here, and is a fault.

All of a table is read before any of it is entered. No input or output, no clock.
"""
import ipaddress
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mxallowd.ctl.dumps import DUNNO, Item, Left
from mxallowd.text import quoted

Place = tuple[int, int, int]  # version, bits of the prefix, and these bits
_OUTSIDE_OF_NETWORKS = ""  # the verdict of an address that becomes an entry


class _Line(NamedTuple):
    number: int
    found: Item | Left
    place: Place | None  # None: of a Left


def settled(lines: Iterable[tuple[int, Item | Left]]) -> Iterator[tuple[int, Item | Left]]:
    """What each numbered line comes to, in their order."""
    decided: dict[Place, str] = {}  # the verdicts of the lines that are reached
    around_dunno: set[Place] = set()
    reached: list[_Line] = []
    for number, found in lines:
        if isinstance(found, Left):
            reached.append(_Line(number, found, None))
            continue
        place = _place(found.what)
        verdict = found.verdict or "allow"
        left = None
        before = next((decided[one] for one in _around(place) if one in decided), None)
        if before is not None:
            left = Left("the lines before them say so already" if before == verdict else
                        "lines before them decide otherwise, and the first one counts", expected=True)
        elif verdict == DUNNO:
            decided[place] = verdict
            around_dunno.update(_around(place))
            left = Left("dunno decides nothing", expected=True)
        elif place in around_dunno:
            left = Left(f"{quoted(found.what)} holds but for a part, which a dunno before it takes out: split it")
        else:
            decided[place] = verdict
        reached.append(_Line(number, left or found, place))
    denied = {place for place, verdict in decided.items() if verdict == "deny"}
    for line in reached:
        if isinstance(line.found, Item) and line.found.verdict == _OUTSIDE_OF_NETWORKS and line.place and any(
                one in denied for one in _around(line.place)):
            yield line.number, line.found._replace(verdict="allow")
        else:
            yield line.number, line.found


def _place(network: str) -> Place:
    parsed = ipaddress.ip_network(network)
    return parsed.version, parsed.prefixlen, int(parsed.network_address) >> parsed.max_prefixlen - parsed.prefixlen


def _around(place: Place) -> Iterator[Place]:
    """It, and every network that contains it."""
    version, bits, base = place
    for fewer in range(bits + 1):
        yield version, bits - fewer, base >> fewer
