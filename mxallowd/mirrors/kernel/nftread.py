"""What a listing of a set of nft lacks: single questions find it, and the newest elements tell that it may lack some.

The kernel answers in parts, and counts its way through the set anew for each. Where rules enter hosts meanwhile, or
elements end, the set is rearranged between two parts; the answer says nothing of that.
"""
import time
from collections.abc import Iterable, Mapping
from itertools import islice

from mxallowd.mirrors.kernel.nfmessages import Remaining
from mxallowd.mirrors.kernel.nfquery import NfQuery
from mxallowd.mirrors.kernel.nftset import MET_S

# Questions between two looks at the clock: some 20 ms.
AT_ONCE = 4096


def look_up(query: NfQuery, name: str, keys: Iterable[bytes], deadline: float) -> tuple[dict[bytes, Remaining], bool]:
    """Ask for single elements, which no rearrangement hides; whether all were asked for in time.

    `deadline` as of time.monotonic(). Raises TargetError.
    """
    found: dict[bytes, Remaining] = {}
    rest = iter(keys)
    while some := list(islice(rest, AT_ONCE)):
        if time.monotonic() >= deadline:
            return found, False
        found.update(query.get(name, some))
    return found, True


def grew(held: Mapping[bytes, Remaining], since: float) -> bool:
    """Whether a rule has entered one of these since then (time.monotonic()), by the time that is left to it."""
    newest = MET_S - (time.monotonic() - since)
    return any(not isinstance(left, bytes) and newest < left <= MET_S for left in held.values())
